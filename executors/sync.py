"""The sync executor: all in the calling thread, in rank order.  The simplest engine, and the oracle of the others."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from lazygraph.executors.base import Engine
from lazygraph.executors.driver import Driver
from lazygraph.running.runner import run_lease

if TYPE_CHECKING:
    from lazygraph.executors.base import Work


class SyncEngine(Engine):
    """Runs a lease before `start` returns.  What its end makes ready is started by the loop, not by recursion."""

    slots = 1

    def __init__(self) -> None:
        self._queue: deque[Work] = deque()
        self._running = False

    def start(self, work: Work) -> None:
        """Run the lease, and those that follow from it."""
        self._queue.append(work)
        if self._running:
            return
        self._running = True
        try:
            while self._queue:
                current = self._queue.popleft()
                try:
                    run_lease(current.program, current.tasks, current.values, current.report)
                except BaseException:
                    current.tasks.clear()
                    raise
                finally:
                    current.finished()
        finally:
            self._running = False
            self._queue.clear()

    def close(self) -> None:
        """Nothing is held."""


class SyncExecutor(Driver):
    """Runs everything in the calling thread; `submit` returns when the run has ended."""

    def __init__(self) -> None:
        super().__init__(SyncEngine(), "sync")
