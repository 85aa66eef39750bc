"""Limits: so many starts in any window of time, so many at once, over everything that names the same limit.

A permit is charged from when it is given until one window after the report of the start has come; a report never comes
before its start, so no window of real starts holds more than its number, whatever the clocks of others say.

Each mind counts its own: on a cluster the scheduler does, over all runs; elsewhere each executor instance, and "sync",
a pool or `num_workers=` given to one call is an instance of its own.

Covers: counting permits, when the next is free, lines.
Does not cover: who stands in a line (running.timing).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lazygraph.running.policy import LimitOf

NEVER = float("inf")


class Limit:
    """The permits of one limit."""

    __slots__ = ("_charged", "_most", "_unreported", "_windows", "lines", "returning", "running")

    def __init__(self, of: LimitOf) -> None:
        self._windows, self._most = of.windows, of.most
        self._charged: list[deque[float]] = [deque() for _ in of.windows]  # when each charge ends, ascending
        self._unreported = 0  # given, and not known to have started
        self.running = 0
        self.returning = 0  # those who have lent their place and want one again: before anybody new
        self.lines: list[Line] = []

    def free(self, now: float) -> int:
        """Return how many permits there are now (a large number where only nothing limits them)."""
        left = 1 << 30 if self._most is None else self._most - self.running - self.returning
        for window, charged in zip(self._windows, self._charged, strict=True):
            while charged and charged[0] <= now:
                charged.popleft()
            left = min(left, window.starts - len(charged) - self._unreported)
        return left

    def free_at(self, now: float, called: int = 0) -> float:
        """Return when there is a permit more than is `called` for, as far as that is a matter of time.

        NEVER when something must first start or end, or take what it was called for.
        """
        if self._most is not None and self.running + self.returning + called >= self._most:
            return NEVER
        latest = now
        for window, charged in zip(self._windows, self._charged, strict=True):
            over = len(charged) + self._unreported + called - window.starts
            if over >= len(charged):
                return NEVER
            if over >= 0:
                latest = max(latest, charged[over])
        return latest

    def idle(self, now: float) -> bool:
        """Whether there is no permit that still counts."""
        self.free(now)
        return not (self.running or self.returning or any(self._charged))

    def take(self) -> None:
        """Give a permit."""
        self.running += 1
        self._unreported += 1

    def started(self, now: float) -> None:
        """The report of a start has come."""
        self._unreported -= 1
        for window, charged in zip(self._windows, self._charged, strict=True):
            charged.append(now + window.seconds)

    def ended(self) -> None:
        """What had started has ended."""
        self.running -= 1

    def may_go_on(self) -> bool:
        """Whether there is a place for one that has lent its own."""
        return self._most is None or self.running < self._most

    def given_back(self) -> None:
        """What had a permit has not started, and will not."""
        self.running -= 1
        self._unreported -= 1


class Line:
    """Those who wait for permits of the same limits, as entries of a lane: the smallest is the next.

    One line for each set of limits and place to run, so that a permit is offered to one task of each line and not to
    all that cannot use it because of another limit; and so that those who are let in, but whom nobody takes, hold up
    only their own line.  `called` are those who have been let in and have not taken their permits yet.
    """

    __slots__ = ("called", "due", "limits", "waiting")

    def __init__(self, limits: tuple[Limit, ...]) -> None:
        self.limits = limits
        self.waiting: list[int] = []
        self.called = 0
        self.due = NEVER  # the moment for which a timer is set

    def moves(self, now: float) -> bool:
        """Whether its first may go."""
        return bool(self.waiting) and all(limit.free(now) > self.called for limit in self.limits)

    def moves_at(self, now: float) -> float:
        """Return when its first may go; NEVER when that is no matter of time."""
        return max(limit.free_at(now, self.called) for limit in self.limits)

    def call(self, by: int) -> None:
        """Somebody of this line has been let in, or (-1) has come or will not come any more."""
        self.called += by
