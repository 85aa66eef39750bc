"""Graphs on Celery: leases are its messages; its own chains and chords are not used.

Redis, the application's result backend, is where driver and workers meet: whoever begins a lease claims it there first,
so that it begins once whatever the broker delivers; reports come back in one stream; values that are not small, and
plans, lie there under names, until nobody here holds what stands for them.

Covers: sending leases, the broker's queues and priorities.
Does not cover: what leases are (executors.elsewhere), what comes back of them (executors.celery_calls) or does not
(executors.celery_watch), what lies in redis (executors.celery_store), what a worker does (executors.celery_tasks).
"""

from __future__ import annotations

import itertools
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lazygraph.errors import Closed, ConnectionLost, InvalidOption, MissingExtra
from lazygraph.executors.celery_calls import Calls, Sent
from lazygraph.executors.celery_store import TASK, Store, lying, value_of
from lazygraph.executors.celery_watch import COUNT, Watch
from lazygraph.executors.elsewhere import ElsewhereDriver

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Callable, Iterator

    from lazygraph.executors.celery_store import Left
    from lazygraph.executors.elsewhere import Call, Kept
    from lazygraph.running.policy import Policy

    Report = concurrent.futures.Future[bytes]

AHEAD = 4
"""So many messages for each process of the workers are under way at once, as many as Celery itself fetches ahead."""

URGENT = {"amqp": 1, "redis": -1}
"""Which way a broker's priorities go, from 0 to 9, where nothing said is 0."""


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


class CelerySite:
    """Messages to Celery's workers."""

    sends_ahead = False

    def __init__(self, app: Any, together: int, lost_after: float, close: bool = False) -> None:
        """Make one; `close` says whether the application is ours."""
        from kombu.exceptions import OperationalError

        self._app, self.most, self._ours, self._broker_away = app, together, close, OperationalError
        self.store = Store(app)
        with app.connection_for_write() as broker:
            self._urgent = URGENT.get(broker.transport.driver_type, 0)
        self._queues: set[str] = set()  # of those that RabbitMQ has
        self._numbers = itertools.count()
        self._calls = Calls(self.store, lost_after)
        self._watch = Watch(app, self._calls, lost_after, close)

    @property
    def slots(self) -> int:
        """So many messages are under way at once, besides those to named queues."""
        return AHEAD * self._watch.processes

    def place(self, plan: bytes) -> Any:
        """A large plan goes to redis once."""
        with self._reaching():
            return self.store.parcel(f"{self.store.site}-plan-{next(self._numbers)}", plan)

    def call(self, call: Call) -> tuple[Left, Report]:
        """Send a lease."""
        if self._calls.over.is_set():
            raise Closed("executor 'celery'")
        name = f"{self.store.site}-{next(self._numbers)}"
        with self._reaching():
            lease, way = self.store.parcel(f"{name}-lease", call.lease), self._way(call.policy)
            sent = self._calls.add(name, call.plan, lease, call.inputs)
            args = [self.store.site, self.store.expires, call.plan.said, lease.said, [one.said for one in call.inputs]]
            try:
                self._app.send_task(
                    TASK, args, task_id=name, ignore_result=True, shadow=f"{TASK}({call.name})",
                    argsrepr=f"({call.name},)", kwargsrepr="{}", add_to_parent=False, **way,
                )  # fmt: skip
            except BaseException:
                self._calls.ended(name)
                raise
        return sent.left, sent

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except self.store.errors_of_redis as error:
            raise self.store.away(error) from error
        except self._broker_away as error:
            why = f"{type(error).__name__}: {error}"
            raise ConnectionLost(self._app.connection_for_write().as_uri(), why) from error

    def _way(self, policy: Policy | None) -> dict[str, Any]:
        """Return how a message goes: to which queue, how urgent it is, what is to be declared before."""
        way: dict[str, Any] = {}
        if policy is not None and policy.where is not None and policy.where.queue != "default":
            way["queue"] = policy.where.queue
        if policy is not None and (priority := self._urgent * policy.priority) > 0:
            way["priority"] = min(priority, 9)
        if self._ours and self._urgent > 0:
            way["declare"] = self._missing(way.get("queue") or self._app.conf.task_default_queue)
        return way

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

    def lacks(self) -> str:
        """Say whether workers have answered when they were counted last."""
        return f"no worker of Celery has answered within the last {COUNT:g} s" if self._watch.alone else ""

    def listen(self, hear: Callable[[bytes], object]) -> None:
        """It comes with the reports, in their stream."""
        self._calls.listen(hear)

    def fetch(self, kept: Kept, timeout: float | None) -> tuple[bool, bytes]:
        """Take a pickle out of redis, if it is not here."""
        left: Left = kept.left
        blob = left.small.get(kept.entry)
        return True, blob if blob is not None else lying(self.store.redis, value_of(left.lease, kept.entry))

    def cancel(self, report: Report) -> None:
        """Withdraw it if it has not begun."""
        if isinstance(report, Sent):
            self._watch.give_up(report.lease)

    def withdraw(self, report: Report) -> bool:
        """Claim it before a worker does: then none ever begins it."""
        return isinstance(report, Sent) and self._calls.withdraw(report.lease) is not None

    def close(self) -> None:
        """Drop all that lies in redis for us, and end the application if it is ours."""
        if not self._calls.over.is_set():
            self._calls.over.set()
            self._watch.close()
