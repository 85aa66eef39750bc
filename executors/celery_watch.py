"""A thread that looks after what is with Celery: of some leases nothing will come by itself.

Covers: withdrawing what is not wanted, leases whose process has died or that redis has forgotten, keeping what lies in
redis from expiring and dropping it, counting processes.
Does not cover: reports (executors.celery_calls), giving signs of life (executors.celery_tasks).
"""

from __future__ import annotations

import contextlib
import threading
import time
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from lazygraph.executors.celery_calls import LOOK
from lazygraph.executors.celery_store import CANCELLED, claim_of, worker_of
from lazygraph.executors.elsewhere import GivenUp, RunnerGone

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lazygraph.executors.celery_calls import Calls

UNKNOWN = 8
"""Processes there are until workers have said how many."""

COUNT = 30.0
"""Seconds between counts of processes."""

PATIENCE = 5.0
"""Seconds that closing waits for what lies in redis to be dropped."""


class Watch:
    """Looks after calls until it is closed.

    `processes` is how many there were when they were counted last, `alone` whether no worker has answered then.
    """

    def __init__(self, app: Any, calls: Calls, lost_after: float, ours: bool) -> None:
        """Begin; `ours` says whether the application ends with it."""
        self._app, self._calls, self._lost_after, self._ours = app, calls, lost_after, ours
        self._store = calls.store
        self.processes, self.alone = UNKNOWN, False
        self._unwanted: SimpleQueue[str | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._watch, name="lazygraph-celery-watch", daemon=True)
        self._thread.start()

    def give_up(self, lease: str) -> None:
        """Have a lease withdrawn soon: whoever says so may not wait for redis."""
        self._unwanted.put(lease)

    def close(self) -> None:
        """End, once all that lies in redis is dropped."""
        self._unwanted.put(None)
        if self._thread is not threading.current_thread():  # the collector may close it anywhere
            self._thread.join(PATIENCE)

    def _watch(self) -> None:
        beats: dict[str, tuple[Any, float]] = {}
        counted, renewed = float("-inf"), time.monotonic()
        while not self._calls.over.is_set():
            try:
                unwanted = self._unwanted.get(timeout=LOOK)
            except Empty:
                unwanted = None
            try:
                if unwanted is not None:
                    self._calls.give_up(unwanted)
                    continue
                now = time.monotonic()
                beats = self._look(beats, now)
                self._store.sweep()
                if self._store.expires and now - renewed > self._store.expires / 4:
                    renewed = now
                    self._store.renew()
                if now - counted > COUNT:
                    counted = now
                    self._see_that_all_is_there()
                    found = _processes(self._app)
                    self.processes, self.alone = found or self.processes, not found
            except Exception:  # redis or the broker are away: they may come back, and signs of life with them
                beats = {}
                self._calls.over.wait(LOOK)
        with contextlib.suppress(Exception):  # redis is away: it will forget
            self._calls.clear()
        if self._ours:
            self._app.close()

    def _look(self, before: Mapping[str, tuple[Any, float]], now: float) -> dict[str, tuple[Any, float]]:
        """End leases whose process has died, by what Celery says of them or because it gives no sign of life.

        Returns the last sign of each process, and since when it is that; `before` is what was returned before.
        """
        if self._calls.pending:
            self._see_that_all_is_there()
        leases = [lease for lease, sent in list(self._calls.pending.items()) if now - sent.since > LOOK]
        if not leases:
            return {}
        redis, errors = self._store.redis, self._store.errors(leases)
        claims = redis.mget([claim_of(lease) for lease in leases])
        lives = sorted({claim.decode() for claim in claims if claim is not None and claim != CANCELLED.encode()})
        beats = dict(zip(lives, redis.mget(lives), strict=True)) if lives else {}
        seen = {}
        for life, beat in beats.items():
            known, since = before.get(life, (None, now))
            seen[life] = (beat, since if beat == known else now)
        for lease, claim, error in zip(leases, claims, errors, strict=True):
            if error is not None:
                self._calls.failed(lease, error)
            elif claim is not None and now - seen.get(claim.decode(), (None, now))[1] > self._lost_after:
                self._calls.failed(lease, RunnerGone(f"{worker_of(claim.decode())} gives no sign of life"))
        return seen

    def _see_that_all_is_there(self) -> None:
        """If redis was emptied nobody knows what has begun, and of what has not it may be that no worker has it."""
        if self._store.has_all():
            return
        for lease in list(self._calls.pending):
            self._store.claim(lease)  # if one has it all the same, it does not begin any more
            self._calls.failed(lease, GivenUp("redis was emptied while Celery had it (FLUSHALL, or it began anew)"))


def _processes(app: Any) -> int:
    """Return how many processes, or threads, those workers have that answer."""
    said = app.control.inspect(timeout=LOOK).stats() or {}
    return sum(int(one.get("pool", {}).get("max-concurrency") or 1) for one in said.values())
