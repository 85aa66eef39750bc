"""Leases that an engine of other people's has, and which of them wait there for which.

An engine may be given a lease before those have ended whose values it reads: it keeps the lease until then.  If one of
them leaves nothing, what waits for it ends as that one did, without having begun.

Covers: who waits for whom, until when it is not known why a lease has failed.
Does not cover: giving leases to engines (executors.elsewhere), what may go ahead (running.ahead).
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Callable, Iterable, Sequence

    from lazygraph.executors.base import Work


class Away:
    """A lease that is away: what it will have left, and the future of its report."""

    __slots__ = ("_readers", "_then", "ahead", "ended", "lacks", "left", "report", "tasks", "waits", "well", "work")

    def __init__(self, work: Work, tasks: Sequence[int], left: Any, report: concurrent.futures.Future[bytes]) -> None:
        self.work: Work | None = work
        self.tasks, self.left = tasks, left
        self.report: concurrent.futures.Future[bytes] | None = report
        self.ahead = False  # whether it went before all its inputs were there
        self.ended = self.well = False
        self.lacks = False  # whether one that it waited for has left nothing
        self.waits: set[Away] = set()  # those it reads from that have not ended
        self._readers: set[Away] = set()
        self._then: Callable[[], object] | None = None


class Waits:
    """Who waits for whom in one engine."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: set[Away] = set()

    def __len__(self) -> int:
        """Return how many leases wait there for others."""
        return len(self._waiting)

    def follow(self, lease: Away, others: Iterable[Away]) -> None:
        """A lease is away that reads what these leave, whether or not they have ended meanwhile."""
        with self._guard:
            for other in others:
                lease.ahead = True
                if not other.ended:
                    lease.waits.add(other)
                    other._readers.add(lease)
                elif not other.well:
                    lease.lacks = True
            if lease.waits:
                self._waiting.add(lease)

    def end(self, lease: Away, well: bool) -> list[Callable[[], object]]:
        """A lease has ended; `well`: with a report of its own.  Returns what is to be called now (see `after`)."""
        due: list[Callable[[], object]] = []
        with self._guard:
            if lease.ended:
                return due
            lease.ended, lease.well = True, well
            lease.work = lease.report = None  # or nothing that it has left could go before the collector comes
            for other in lease.waits:  # its report was faster than theirs
                other._readers.discard(lease)
            lease.waits.clear()
            self._waiting.discard(lease)
            for reader in lease._readers:
                reader.waits.discard(lease)
                reader.lacks = reader.lacks or not well
                if not reader.waits:
                    self._waiting.discard(reader)
                    if reader._then is not None:
                        due.append(reader._then)
                        reader._then = None
            lease._readers.clear()
        return due

    def after(self, lease: Away, then: Callable[[], object]) -> bool:
        """Whether all that a lease waits for has ended; if not, `then` is kept until it has."""
        with self._guard:
            if lease.waits:
                lease._then = then
            return not lease.waits
