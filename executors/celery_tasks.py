"""The task of Celery's that runs our leases: what its workers need among their imports.

`celery -A shop worker -I lazygraph.executors.celery_tasks` says so, or the application:
`app.conf.imports = ["lazygraph.executors.celery_tasks"]`.

Covers: claiming a lease, running it, leaving values, reporting; the signs of life of a process that runs one.
Does not cover: sending leases (executors.on_celery), hearing of them (executors.celery_calls).
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import uuid
from base64 import b64decode
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import celery  # type: ignore[import-untyped]

from lazygraph.executors.celery_store import DAY, TASK, claim_of, life_of, lying, reports_of, value_of
from lazygraph.executors.cluster.net import codec
from lazygraph.executors.remote import program_of, run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_celery: Any = celery  # it has no types

SMALL = 4_000
"""So many bytes of what a lease leaves come back with its report; the rest lies in redis."""
BEAT = 1.0
"""Seconds between signs of life."""
FORGOTTEN = 3600
"""Seconds after which redis forgets a life that has given no sign."""


def run_lease(
    site: str, expires: int | None, plan: Mapping[str, str], lease: Mapping[str, str], inputs: list[tuple[str, Any]]
) -> None:
    """Run a lease, unless somebody has begun it already or it is not wanted any more."""
    request = _celery.current_app.current_task.request
    name: str = request.id
    redis, expire = _celery.current_app.backend.client, expires or None
    worker = f"{request.hostname}/{os.getpid()}"
    life = _life_of(worker)
    if not redis.set(claim_of(name), life.name, nx=True, ex=expires or DAY):
        return
    left: dict[int, bytes] = {}

    def leave(entry: int, value: Any) -> None:
        left[entry] = codec.dumps(value)

    def say(said: bytes) -> None:
        with redis.pipeline(transaction=False) as pipe:
            pipe.xadd(reports_of(site), {"said": said})
            pipe.expire(reports_of(site), expires or DAY)
            pipe.execute()

    with life.running(redis):
        program = program_of(b64decode(plan["blob"]) if "blob" in plan else _parcel(plan["name"]), worker)
        there = b64decode(lease["blob"]) if "blob" in lease else lying(redis, lease["name"])
        report = run(program, there, inputs=[_Input(redis, *one) for one in inputs], leave=leave, say=say)
    if life.over:
        raise SystemExit(1)  # the task was made to leave by that, and did not fail: Celery tells what it was
    with redis.pipeline(transaction=False) as pipe:
        told: dict[str | int, Any] = {"lease": name, "report": report}
        room = SMALL
        for entry, blob in left.items():
            room -= len(blob)
            told[entry] = blob if room >= 0 else b""
            if room < 0:
                pipe.set(value_of(name, entry), blob, ex=expire)
        pipe.xadd(reports_of(site), told)
        if expire:
            pipe.expire(reports_of(site), expire)
        pipe.execute()


# Acknowledged when it begins, whatever the application says of its own tasks; a process that dies in the middle of it
# is told of by Celery all the same.
lease: Any = _celery.shared_task(
    name=TASK, ignore_result=True, store_errors_even_if_ignored=True, acks_late=False, reject_on_worker_lost=False,
    rate_limit=None, track_started=False, typing=False,
)(run_lease)  # fmt: skip


@lru_cache(maxsize=8)
def _parcel(name: str) -> bytes:
    return lying(_celery.current_app.backend.client, name)


class _Input(dict[int, Any]):
    """What an earlier lease has left: small pickles came along, others are in redis."""

    def __init__(self, redis: Any, lease: str, small: Mapping[str, str]) -> None:
        self._redis, self._lease, self._small = redis, lease, small

    def __missing__(self, entry: int) -> Any:
        text = self._small.get(str(entry))
        blob = b64decode(text) if text is not None else lying(self._redis, value_of(self._lease, entry))
        return codec.loads(blob)


class _Life:
    """The life of a process: it gives a sign as long as it runs a lease, and is over when Celery ends the process."""

    def __init__(self, worker: str) -> None:
        self.name = life_of(worker, uuid.uuid4().hex)
        self._running = 0
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None
        self.over = False
        if threading.current_thread() is threading.main_thread():
            self._before: Any = signal.getsignal(signal.SIGTERM)
            if callable(self._before):
                signal.signal(signal.SIGTERM, self._end)

    def _end(self, *about: Any) -> None:
        try:
            self._before(*about)
        except SystemExit:  # else it is asked to end when it has nothing to do
            self.over = True
            raise

    @contextlib.contextmanager
    def running(self, redis: Any) -> Iterator[None]:
        """Give signs meanwhile."""
        with self._guard:
            self._running += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._beat, args=(redis,), name="lazygraph-life", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._guard:
                self._running -= 1

    def _beat(self, redis: Any) -> None:
        pause = threading.Event()
        while not pause.wait(BEAT):
            if self._running:
                with contextlib.suppress(Exception):  # redis is away: it may come back
                    redis.incr(self.name)
                    redis.expire(self.name, FORGOTTEN)


@lru_cache(maxsize=1)
def _life_of(worker: str) -> _Life:
    """Return the life of this process, which is called so: a child that was forked has one of its own."""
    return _Life(worker)
