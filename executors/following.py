"""A driver of an engine in which leases wait: for their place, or for what other leases will leave.

What is ready comes first.  When nothing is, leases go ahead whose inputs are all under way in the engine: as many at
most as it has slots, and besides those, so that they keep nothing from going that becomes ready.

Covers: when leases go ahead, and how many; taking back what waits there and is not wanted any more.
Does not cover: which tasks may (running.ahead), how leases wait there (executors.away, executors.elsewhere).
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from lazygraph.executors.driver import Driver
from lazygraph.running.ahead import AheadFrontier
from lazygraph.running.events import Returned
from lazygraph.values.status import State, Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from lazygraph.executors.away import Away, Waits
    from lazygraph.executors.base import Engine
    from lazygraph.executors.clock import Clock
    from lazygraph.running.block import Block
    from lazygraph.running.course import Ending, Made, Work
    from lazygraph.running.run import Run


class Following(Driver):
    """A driver that sends leases ahead; `waits` None: to an engine that does not take them."""

    def __init__(self, engine: Engine, name: str, clock: Clock | None = None, waits: Waits | None = None) -> None:
        self._waits = waits
        self._untold: dict[Work, Away] = {}  # leases under way that the mind has not been told of yet
        self._withdrawn: dict[tuple[int, int], int] = {}  # entries that will not come back by themselves -> attempts
        super().__init__(engine, name, clock)
        if waits is not None:
            self._frontier = AheadFrontier(lineage=False)

    @abstractmethod
    def _aside(self, function: Callable[..., object], *args: Any) -> None:
        """Have a function called in a thread that may wait."""

    @abstractmethod
    def _fetched_back(self, work: Work) -> bool:
        """Take a lease back from the engine that has certainly not begun there; may take a while."""

    # -- going ahead -------------------------------------------------------------------------------

    def under_way(self, work: Work, away: Away) -> None:
        """The engine has a lease; the mind is told if it comes to that."""
        with self._lock:
            if work in self._busy:
                self._untold[work] = away

    def finished(self, work: Work) -> None:
        """A lease has ended; what is left in it is free again."""
        self._untold.pop(work, None)
        super().finished(work)

    @property
    def _slots(self) -> int:
        """What waits there for others, or for one of few workers, keeps nothing else from going."""
        placed = [work for work in self._busy if work.policy is not None and work.policy.where is not None]
        return super()._slots + len(placed) + (len(self._waits) if self._waits is not None else 0)

    def _next_following(self) -> Work | None:
        mind = self._frontier
        if self._waits is None or not isinstance(mind, AheadFrontier):
            return None
        if len(self._waits) >= self._engine.slots or mind.next_block() is not None:
            return None
        while self._untold:
            work, away = self._untold.popitem()
            mind.under_way(work.course.block, work.outside, work.attempt, away)
        block = mind.next_following()
        if block is None:
            return None
        course = self._courses[block.base]
        first = course.seconds_per_task is None
        if first and any(work.awaits or len(work.order) > 1 for work in self._works_of(block)):
            return None  # what is short had better go in larger leases, as soon as it is known to be
        limit, most = self._size_of_lease(course, mind.followers())
        lease = mind.lease_following(limit, most)
        return self._work_of(course, lease) if lease is not None else None

    def status_of(self, run: Run, output: int) -> Status | None:
        """Return how far an output is.  What waits there for its inputs waits, as anywhere."""
        status = super().status_of(run, output)
        if status is not Status.RUNNING or self._waits is None:
            return status
        entry = run.entry_of(output)
        ahead = [work for work in list(self._busy) if work.awaits and entry in work.order]
        if any(not other.ended for work in ahead for other in (work.awaits or {}).values()):
            return Status.WAITING
        return status

    # -- taking back -------------------------------------------------------------------------------

    def cancel(self, run: Run, output: int, force: bool) -> bool:
        """Cancel as everywhere; first take back also what waits over there."""
        if output < 0 or run.block is None:
            return super().cancel(run, output, force)
        entry = run.entry_of(output)
        self._withdraw(run.block, entry)
        try:
            return super().cancel(run, output, force)
        finally:
            with self._lock:
                if run.block.state[entry] != State.LEASED:  # it has ended meanwhile: nobody has asked for it
                    self._withdrawn.pop((run.block.base, entry), None)

    def _withdraw(self, block: Block, entry: int) -> None:
        """Asking for it back may take a while, so the lock is not held.  What went ahead comes back with its lease."""
        with self._lock:
            works = [work for work in self._works_of(block) if entry in work.order and not work.tasks]
        for work in works:
            if (len(work.order) == 1 or work.awaits) and self._fetched_back(work):
                with self._lock:
                    self._busy.remove(work)
                    self._untold.pop(work, None)
                    if work.began is not None:
                        self._frontier.has_left(block.base, (entry,), work.attempt, self._clock.now(), ran=False)
                    self._withdrawn[block.base, entry] = work.attempt
                    others = [task for task in work.order if task != entry]
                    endings = self._handle(Returned(block, others, work.attempt))
                self._settle(endings)

    def _call_back(self, block: Block, entry: int) -> list[Ending | Made]:
        """Take back also what has been taken back over there."""
        attempt = self._withdrawn.pop((block.base, entry), None)
        if attempt is not None:
            return self._handle(Returned(block, [entry], attempt))
        endings = super()._call_back(block, entry)
        if not endings:
            self._aside(self._give_up, block, entry)
        return endings

    def _give_up(self, block: Block, entry: int) -> None:
        """Nobody wants an entry any more.  Asked for in a thread that may wait: the collector has no time."""
        self._withdraw(block, entry)
        with self._lock:
            attempt = self._withdrawn.pop((block.base, entry), None)
            endings = self._handle(Returned(block, [entry], attempt)) if attempt is not None else []
        self._settle(endings)
        self._pump()
