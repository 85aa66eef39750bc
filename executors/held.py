"""A lease that is with a child, as its parent has it: what of it can be taken back, killed, made to leave.

Covers: what is known of such a lease, and what is asked of its child.  Everything is called under the lock of whoever
holds it, and waits for nothing.
Does not cover: which child it is with, and what is reported of it (executors.warm).
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from lazygraph.executors.children import AWAITED, NOTHING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lazygraph.executors.children import Child
    from lazygraph.running.runner import Report

GRACE = 1.0
"""Seconds in which a task may leave by itself that would take others along if it were killed."""


class Leaving(NamedTuple):
    """A task that was asked to leave: `gone` is set when its end has been reported; `until` then it may take."""

    gone: threading.Event
    until: float


class Held:
    """A lease that is with a child, or about to be."""

    def __init__(self, tasks: Sequence[int]) -> None:
        self.tasks = tasks
        self.child: Child | None = None
        self.halted = False  # nothing more of it is to begin
        self.killed: int | None = None  # for the sake of this task
        self.settled: set[int] = set()  # have been reported, or taken back: have not begun, and never will
        self.over = False
        self.parked = False  # what is left of it is only awaited
        self.number = 0  # of this lease, as the child counts
        self.leaving: dict[int, Leaving] = {}
        self.left = threading.Event()

    def with_child(self, child: Child) -> None:
        """Note to which child it goes, and tell that what has been asked before."""
        self.child, self.number = child, child.number + 1
        if self.halted:
            child.stop()
        for task in self.leaving:
            child.leave_task(self.number, task)

    def halt(self) -> None:
        """Have nothing more of it begin; where it is only awaited, somebody else's lease runs now."""
        self.halted = True
        if self.child is not None and not self.parked:
            self.child.stop()

    def take_back(self, first: int | None = None) -> list[int]:
        """Have a task (default: any) and what stands behind it not begin; return what has not, and never will."""
        if self.over or self.parked or (first is not None and first not in self._behind()):
            return []
        if first is None and (self.child is None or self.child.at() not in self.tasks):
            return []  # it is still on its way, and would be so again elsewhere
        self.halt()
        taken = [task for task in self._behind() if task not in self.settled]  # after the halt: begun is noted before
        self.settled.update(taken)
        return taken

    def _behind(self) -> Sequence[int]:
        """Return what stands behind the task that the child is at."""
        at = self.child.at() if self.child is not None else NOTHING
        if at == AWAITED:
            return ()
        return self.tasks[self.tasks.index(at) + 1 :] if at in self.tasks else self.tasks

    def is_alone(self, task: int) -> bool:
        """Whether nothing else that has begun would be lost if a task were killed with its child."""
        before = self.tasks[: self.tasks.index(task)]
        return not (self.child is not None and self.child.parked) and self.settled.issuperset(before)

    def kill(self, task: int) -> bool:
        """Kill the child if it is at a task; return whether it is."""
        if self.over or self.parked or self.child is None or task in self.settled:
            return False
        at = self.child.at()
        if at == AWAITED or (at != task and len(self.tasks) > 1):
            return False
        if self.killed is None:
            self.killed = task
            self.child.kill()
        return True

    def leave(self, task: int) -> Leaving:
        """Ask a task to leave that runs or is awaited, and that other tasks would be lost with."""
        known = self.leaving.get(task)
        leaving = known or self.leaving.setdefault(task, Leaving(threading.Event(), time.monotonic() + GRACE))
        if self.over or self.child is None or task in self.settled:
            leaving.gone.set()
        elif known is None:
            self.child.leave_task(self.number, task)
        return leaving

    def settle(self, report: Report) -> None:
        """Note what is about to be reported; what was taken back has been."""
        report.skipped = [task for task in report.skipped if task not in self.settled]
        self.settled.update(report.done, report.skipped)
        self.settled.update(broken.task for broken in report.broken)
        self.settled.update(task for task, _ in report.replaced)

    def still(self) -> list[int]:
        """Return the tasks which have been neither reported yet nor taken back; it is over."""
        self.over = True
        return [task for task in self.tasks if task not in self.settled]

    def has_left(self, everything: bool = False) -> None:
        """Let those go on who wait until something has left that has been reported, or is over now."""
        for task, leaving in list(self.leaving.items()):
            if everything or task in self.settled:
                leaving.gone.set()
