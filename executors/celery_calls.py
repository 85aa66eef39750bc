"""Leases that Celery's workers have been sent: their reports, and what else they end with.

Covers: reports, which come in one stream; withdrawing leases; what it means for one what Celery says of its message.
Does not cover: how leases are sent (executors.on_celery), noticing that of one nothing will come
(executors.celery_watch), what lies in redis (executors.celery_store).
"""

from __future__ import annotations

import concurrent.futures
import threading
import time
from typing import TYPE_CHECKING, Any

from lazygraph.executors.celery_store import TASK, Left, claim_of, reports_of, value_of
from lazygraph.executors.elsewhere import GivenUp, RunnerGone

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lazygraph.executors.celery_store import Store

LOOK = 1.0
"""Seconds between looks at leases that take long, and until redis is tried again when it is away."""


class Sent(concurrent.futures.Future[bytes]):
    """The report of a lease that has been sent, and all that must stay where it is meanwhile."""

    def __init__(self, lease: str, held: tuple[Any, ...]) -> None:
        super().__init__()
        self.lease, self.left, self.held = lease, Left(lease), held
        self.since = time.monotonic()


class Calls:
    """The leases that have been sent and have not ended, by name."""

    def __init__(self, store: Store, lost_after: float) -> None:
        """Make one; `lost_after` is for how many seconds redis may be away."""
        self.store, self._lost_after = store, lost_after
        self.pending: dict[str, Sent] = {}
        self.over = threading.Event()

    def add(self, lease: str, *held: Any) -> Sent:
        """A lease is being sent; all this is held until it has ended."""
        sent = self.pending[lease] = Sent(lease, held)
        return sent

    def ended(self, lease: str) -> Sent | None:
        """Take a lease out; None when that has been done."""
        sent = self.pending.pop(lease, None)
        if sent is not None:
            sent.held = ()
        return sent

    # -- what comes back ---------------------------------------------------------------------------

    def listen(self, hear: Callable[[bytes], object]) -> None:
        """Take in reports from now on; `hear` gets what leases say before that."""
        threading.Thread(target=self._listen, args=(hear,), name="lazygraph-celery-listen", daemon=True).start()

    def _listen(self, hear: Callable[[bytes], object]) -> None:
        """Take in reports, in batches.  A stream is read without being emptied: none is lost with a connection."""
        redis, stream, last, heard = self.store.redis, reports_of(self.store.site), b"0", time.monotonic()
        while not self.over.is_set():
            try:
                for _, told in redis.xread({stream: last}, count=256, block=int(1000 * LOOK)):
                    for _, fields in told:
                        if (said := fields.get(b"said")) is not None:
                            hear(said)
                        else:
                            self._told(fields)
                    last = told[-1][0]
                    redis.xtrim(stream, minid=last, approximate=False)
                heard = time.monotonic()
            except Exception as error:  # redis is away: it may come back
                if time.monotonic() - heard > self._lost_after:
                    away = isinstance(error, self.store.errors_of_redis)
                    for lease in list(self.pending):
                        self.failed(lease, self.store.away(error) if away else error)
                self.over.wait(LOOK)

    def _told(self, fields: dict[bytes, bytes]) -> None:
        lease, report = fields.pop(b"lease").decode(), fields.pop(b"report")
        sent = self.ended(lease)
        if sent is None:
            return  # it was given up
        self.store.drop(claim_of(lease))
        stays = []
        for entry, blob in fields.items():
            if blob:
                sent.left.small[int(entry)] = blob
            else:
                stays.append(value_of(lease, int(entry)))
        self.store.keep(sent.left, stays)
        sent.set_result(report)

    # -- what does not -----------------------------------------------------------------------------

    def failed(self, lease: str, error: BaseException) -> None:
        """Nothing comes of a lease any more, and why."""
        sent = self.ended(lease)
        if sent is not None:
            self.store.drop_error(lease)
            meant = MEANT.get(type(error).__name__)
            sent.set_exception(meant(str(error)) if meant is not None else error)

    def withdraw(self, lease: str) -> Sent | None:
        """Claim a lease before a worker does: then none ever begins it.  Returns what was waited for, if so."""
        return self.ended(lease) if lease in self.pending and self.store.claim(lease) else None

    def give_up(self, lease: str) -> None:
        """Withdraw a lease if that can be, and say that it was cancelled."""
        if (sent := self.withdraw(lease)) is not None:
            sent.cancel()

    def clear(self) -> None:
        """Withdraw all leases, drop all that lies in redis."""
        for lease in list(self.pending):
            self.give_up(lease)
        self.store.clear()


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
