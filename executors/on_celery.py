"""Graphs on Celery: leases are its messages; its own chains and chords are not used.

Redis, the application's result backend, is where driver and workers meet: whoever begins a lease claims it there first,
so that it begins once whatever the broker delivers; reports come back in one stream; values that are not small, and
plans, lie there under names, until nobody here holds what stands for them.

Covers: sending leases, hearing of them, noticing that one will never be heard of.
Does not cover: what lies in redis (executors.celery_store), what a worker does (executors.celery_tasks), what leases
are (executors.elsewhere).
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import itertools
import threading
import time
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple

from lazygraph.errors import CannotConnect, Closed, ConnectionLost, InvalidOption, MissingExtra
from lazygraph.executors.celery_store import (
    CANCELLED,
    TASK,
    Left,
    Store,
    claim_of,
    lying,
    reports_of,
    value_of,
    worker_of,
)
from lazygraph.executors.elsewhere import ElsewhereDriver, GivenUp, Hands, RunnerGone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from lazygraph.executors.elsewhere import Call, Kept

AHEAD = 4
"""So many messages for each process of the workers are under way at once, as many as Celery itself fetches ahead."""

UNKNOWN = 8
"""Processes there are until workers have said how many."""

LOOK, COUNT = 1.0, 30.0
"""Seconds between looks at leases that take long, and between counts of processes."""

URGENT = {"amqp": 1, "redis": -1}
"""Which way a broker's priorities go, from 0 to 9, where nothing said is 0."""

PATIENCE = 5.0
"""Seconds that closing waits for what lies in redis to be dropped."""


class CeleryExecutor(ElsewhereDriver):
    """Runs plans on Celery's workers, whose result backend has to be redis; values that are not small stay there.

    `app` is a Celery application (default: the current one), or the URL of a broker: then `backend` is the URL of redis
    (default: the same).  Its workers need `lazygraph.executors.celery_tasks` among their imports.  `queue=` is a queue
    of Celery's, "default" the application's own default; `priority=` orders what has not been sent, and besides, of
    what a broker has, RabbitMQ prefers what is above 0 and redis defers what is below.  Every task is a message; with
    `together=256` up to so many short tasks without options share one: many short tasks are done sooner, and one
    message, one line of Flower, stands for many tasks.  A worker that gives no sign of life for `lost_after` seconds is
    lost, and what it ran is run again.  With no worker at all a run waits.
    """

    def __init__(
        self, app: Any = None, backend: str | None = None, together: int = 1, lost_after: float = 60.0
    ) -> None:
        celery = _library()
        if together < 1:
            raise InvalidOption(f"CeleryExecutor(together={together!r}): a message has at least one task")
        if app is None and backend is None:
            app = celery.current_app._get_current_object()
        if isinstance(app, str):
            redis = backend or (app if app.startswith(("redis", "sentinel")) else None)
            if redis is None:
                raise InvalidOption(f"CeleryExecutor({app!r}): say backend='redis://...' for results, too")
            app = celery.Celery("lazygraph", broker=app, backend=redis, set_as_current=False)
            site = CelerySite(app, together, lost_after, close=True)
        elif isinstance(app, celery.Celery) and backend is None:
            site = CelerySite(app, together, lost_after)
        else:
            raise InvalidOption(f"CeleryExecutor({app!r}): a Celery application, or the URL of a broker and `backend`")
        super().__init__(site, "celery")


def _library() -> Any:
    try:
        import celery  # type: ignore[import-untyped]
        import redis  # noqa: F401
    except ImportError as error:
        raise MissingExtra("executor 'celery'", "celery") from error
    return celery


class Pending(NamedTuple):
    """A lease that has been sent, with all that must stay where it is meanwhile."""

    report: concurrent.futures.Future[bytes]
    left: Left
    since: float
    held: tuple[Any, ...]


class CelerySite:
    """Messages to Celery's workers."""

    sends_ahead = False

    def __init__(self, app: Any, together: int, lost_after: float, close: bool = False) -> None:
        """Make one; `close` says whether the application is ours."""
        from celery.backends.redis import RedisBackend  # type: ignore[import-untyped]
        from kombu.exceptions import OperationalError

        if not isinstance(app.backend, RedisBackend):
            raise InvalidOption(
                f"the result backend of {app!r} is not redis; give it one: result_backend='redis://...'"
            )
        self._app, self.most, self._ours, self._lost_after = app, together, close, lost_after
        self._redis, self._broker_away = app.backend.client, OperationalError
        self.store = Store(self._redis, int(app.backend.expires or 0) or None)
        self._numbers = itertools.count()
        if self._redis.connection_pool.connection_kwargs.get("decode_responses"):
            raise InvalidOption(
                f"the result backend of {app!r} decodes what it reads; values are bytes: leave that out"
            )
        with app.connection_for_write() as broker:
            self._urgent = URGENT.get(broker.transport.driver_type, 0)
        self._pending: dict[str, Pending] = {}
        self._queues: set[str] = set()  # of those that RabbitMQ has
        self._names: dict[concurrent.futures.Future[bytes], str] = {}
        self._unwanted: SimpleQueue[str | None] = SimpleQueue()
        self._processes, self._alone = UNKNOWN, False
        self._closed = False
        self._hear: Callable[[bytes], object] = len  # until it is said who does
        try:
            self.store.mark()
        except app.backend.connection_errors as error:
            raise CannotConnect(str(app.backend.as_uri()), f"{type(error).__name__}: {error}", "redis") from error
        self._hands = Hands("lazygraph-celery-report")  # who is called when a lease is back may wait for other futures
        self._watcher = threading.Thread(target=self._watch, name="lazygraph-celery-watch", daemon=True)
        self._watcher.start()
        threading.Thread(target=self._listen, name="lazygraph-celery-listen", daemon=True).start()

    @property
    def slots(self) -> int:
        """So many messages are under way at once, besides those to named queues."""
        return AHEAD * self._processes

    def place(self, plan: bytes) -> Any:
        """A large plan goes to redis once."""
        with self._reaching():
            return self.store.parcel(f"{self.store.site}-plan-{next(self._numbers)}", plan)

    def call(self, call: Call) -> tuple[Any, concurrent.futures.Future[bytes]]:
        """Send a lease."""
        if self._closed:
            raise Closed("executor 'celery'")
        with self._reaching():
            return self._send(f"{self.store.site}-{next(self._numbers)}", call)

    @contextlib.contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except self._app.backend.connection_errors as error:
            raise self._away(error) from error
        except self._broker_away as error:
            why = f"{type(error).__name__}: {error}"
            raise ConnectionLost(self._app.connection_for_write().as_uri(), why) from error

    def _away(self, error: BaseException) -> ConnectionLost:
        return ConnectionLost(self._app.backend.as_uri(), f"{type(error).__name__}: {error}")

    def _send(self, name: str, call: Call) -> tuple[Any, concurrent.futures.Future[bytes]]:
        policy, report = call.policy, concurrent.futures.Future[bytes]()
        left, lease = Left(name), self.store.parcel(f"{name}-lease", call.lease)
        where: dict[str, Any] = {}
        if policy is not None and policy.where is not None and policy.where.queue != "default":
            where["queue"] = policy.where.queue
        if policy is not None and (priority := self._urgent * policy.priority) > 0:
            where["priority"] = min(priority, 9)
        if self._ours and self._urgent > 0:
            where["declare"] = self._missing(where.get("queue") or self._app.conf.task_default_queue)
        self._names[report] = name
        self._pending[name] = Pending(report, left, time.monotonic(), (call.plan, lease, call.inputs))
        args = [self.store.site, self.store.expires, call.plan.said, lease.said, [one.said for one in call.inputs]]
        try:
            self._app.send_task(
                TASK, args, task_id=name, ignore_result=True, shadow=f"{TASK}({call.name})",
                argsrepr=f"({call.name},)", kwargsrepr="{}", add_to_parent=False, **where,
            )  # fmt: skip
        except BaseException:
            self._ended(name)
            raise
        return left, report

    def _missing(self, queue: str) -> list[Any]:
        """Return the queue if it has to be declared.  One that is there is taken as it is: it may have priorities."""
        if queue in self._queues:
            return []
        with self._app.connection_for_write() as broker:
            try:
                broker.default_channel.queue_declare(queue, passive=True)
            except broker.channel_errors:
                return [self._app.amqp.queues[queue]]
        self._queues.add(queue)
        return []

    def _ended(self, lease: str) -> Pending | None:
        """Take a lease out; None when that has been done."""
        pending = self._pending.pop(lease, None)
        if pending is not None:
            del self._names[pending.report]
        return pending

    def lacks(self) -> str:
        """Say whether workers have answered when they were counted last."""
        return f"no worker of Celery has answered within the last {COUNT:g} s" if self._alone else ""

    def listen(self, hear: Callable[[bytes], object]) -> None:
        """It comes with the reports, in their stream."""
        self._hear = hear

    def fetch(self, kept: Kept, timeout: float | None) -> tuple[bool, bytes]:
        """Take a pickle out of redis, if it is not here."""
        left: Left = kept.left
        blob = left.small.get(kept.entry)
        return True, blob if blob is not None else lying(self._redis, value_of(left.lease, kept.entry))

    def cancel(self, report: concurrent.futures.Future[bytes]) -> None:
        """Have the thread that watches withdraw it: here nobody may wait for redis."""
        if (lease := self._names.get(report)) is not None:
            self._unwanted.put(lease)

    def withdraw(self, report: concurrent.futures.Future[bytes]) -> bool:
        """Claim it before a worker does: then none ever begins it."""
        lease = self._names.get(report)
        if lease is None or not self.store.claim(lease):
            return False
        self._ended(lease)
        return True

    def close(self) -> None:
        """Drop all that lies in redis for us, and end the application if it is ours."""
        if not self._closed:
            self._closed = True
            self._unwanted.put(None)
            if self._watcher is not threading.current_thread():  # the collector may close it anywhere
                self._watcher.join(PATIENCE)

    # -- what comes back ---------------------------------------------------------------------------

    def _listen(self) -> None:
        """Take in reports, in batches.  A stream is read without being emptied: none is lost with a connection."""
        stream, last, heard = reports_of(self.store.site), b"0", time.monotonic()
        while not self._closed:
            try:
                for _, told in self._redis.xread({stream: last}, count=256, block=int(1000 * LOOK)):
                    for _, fields in told:
                        self._told(fields)
                    last = told[-1][0]
                    self._redis.xtrim(stream, minid=last, approximate=False)
                heard = time.monotonic()
            except Exception as error:  # redis is away: it may come back
                if time.monotonic() - heard > self._lost_after:
                    away = isinstance(error, self._app.backend.connection_errors)
                    for lease in list(self._pending):
                        self._failed(lease, self._away(error) if away else error)
                threading.Event().wait(LOOK)

    def _told(self, fields: dict[bytes, bytes]) -> None:
        if (said := fields.get(b"said")) is not None:
            self._hear(said)
            return
        lease = fields.pop(b"lease").decode()
        pending = self._ended(lease)
        if pending is None:
            return  # it was given up
        report = fields.pop(b"report")
        self.store.drop(claim_of(lease))
        stays = []
        for entry, blob in fields.items():
            if blob:
                pending.left.small[int(entry)] = blob
            else:
                stays.append(value_of(lease, int(entry)))
        self.store.keep(pending.left, stays)
        self._end(pending, report)

    def _end(self, pending: Pending, outcome: bytes | BaseException | None) -> None:
        report = pending.report
        if outcome is None:
            self._hands.call(report.cancel)
        elif isinstance(outcome, bytes):
            self._hands.call(report.set_result, outcome)
        else:
            self._hands.call(report.set_exception, outcome)

    # -- what does not -----------------------------------------------------------------------------

    def _watch(self) -> None:
        """Look after leases that are not wanted, or take long, and after what lies in redis."""
        beats: dict[str, tuple[Any, float]] = {}
        counted, renewed = float("-inf"), time.monotonic()
        while not self._closed:
            try:
                unwanted = self._unwanted.get(timeout=LOOK)
            except Empty:
                unwanted = None
            try:
                if unwanted is not None:
                    self._give_up(unwanted)
                    continue
                now = time.monotonic()
                beats = self._look(beats, now)
                self.store.sweep()
                if self.store.expires and now - renewed > self.store.expires / 4:
                    renewed = now
                    self.store.renew()
                if now - counted > COUNT:
                    counted = now
                    self._see_that_all_is_there()
                    found = _processes(self._app)
                    self._processes, self._alone = found or self._processes, not found
            except Exception:  # redis or the broker are away: they may come back, and signs of life with them
                beats = {}
                threading.Event().wait(LOOK)
        self._let_go()

    def _give_up(self, lease: str) -> None:
        if self.store.claim(lease):
            pending = self._ended(lease)
            if pending is not None:
                self._end(pending, None)

    def _look(self, before: Mapping[str, tuple[Any, float]], now: float) -> dict[str, tuple[Any, float]]:
        """End leases whose process has died, by what Celery says of them or because it gives no sign of life."""
        if self._pending:
            self._see_that_all_is_there()
        leases = [lease for lease, pending in list(self._pending.items()) if now - pending.since > LOOK]
        if not leases:
            return {}
        backend = self._app.backend
        claims = self._redis.mget([claim_of(lease) for lease in leases])
        said = self._redis.mget([backend.get_key_for_task(lease) for lease in leases])
        lives = sorted({claim.decode() for claim in claims if claim is not None and claim != CANCELLED.encode()})
        beats = dict(zip(lives, self._redis.mget(lives), strict=True)) if lives else {}
        seen = {}
        for life, beat in beats.items():
            known, since = before.get(life, (None, now))
            seen[life] = (beat, since if beat == known else now)
        for lease, claim, meta in zip(leases, claims, said, strict=True):
            if meta is not None:
                self._failed(lease, backend.decode_result(meta)["result"])
            elif claim is not None and now - seen.get(claim.decode(), (None, now))[1] > self._lost_after:
                self._failed(lease, RunnerGone(f"{worker_of(claim.decode())} gives no sign of life"))
        return seen

    def _see_that_all_is_there(self) -> None:
        """If redis was emptied nobody knows what has begun, and of what has not it may be that no worker has it."""
        if self.store.has_all():
            return
        for lease in list(self._pending):
            self.store.claim(lease)  # if one has it all the same, it does not begin any more
            self._failed(lease, GivenUp("redis was emptied while Celery had it (FLUSHALL, or it began anew)"))

    def _failed(self, lease: str, error: BaseException) -> None:
        pending = self._ended(lease)
        if pending is not None:
            self.store.drop(self._app.backend.get_key_for_task(lease))
            meant = MEANT.get(type(error).__name__)
            self._end(pending, meant(str(error)) if meant is not None else error)

    def _let_go(self) -> None:
        with contextlib.suppress(Exception):  # redis is away: it will forget
            for lease in list(self._pending):
                self._give_up(lease)
            self.store.clear()
        self._hands.close()
        if self._ours:
            self._app.close()


def _too_long(why: str) -> RunnerGone:
    hint = "raise the time limit of Celery's workers (task_time_limit), or let it do less at a time"
    return RunnerGone(why, alone=GivenUp(f"Celery has killed it when its time limit was over ({why})", hint))


MEANT: Mapping[str, Callable[[str], Exception]] = {
    "WorkerLostError": RunnerGone,
    "TimeLimitExceeded": _too_long,
    "NotRegistered": lambda _: GivenUp(
        f"a worker of Celery does not know the task {TASK!r}",
        "have its workers import it: celery -A ... worker -I lazygraph.executors.celery_tasks",
    ),
    "TaskRevokedError": lambda why: GivenUp(f"somebody has revoked it ({why})"),
}
"""What it means for a lease what Celery says of its message: by the names of its exceptions."""


def _processes(app: Any) -> int:
    """Return how many processes, or threads, those workers have that answer."""
    said = app.control.inspect(timeout=LOOK).stats() or {}
    return sum(int(one.get("pool", {}).get("max-concurrency") or 1) for one in said.values())
