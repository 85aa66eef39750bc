"""The sync executor: all in the calling thread, in rank order.  The simplest engine, and the oracle of the others."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from lazygraph.executors.base import Engine
from lazygraph.executors.driver import Driver
from lazygraph.running.runner import run_lease

if TYPE_CHECKING:
    from lazygraph.executors.base import Work
    from lazygraph.planning.plan import Plan
    from lazygraph.running.run import Run


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
                current = self._queue[0]
                run_lease(current.program, current.tasks, current.values, current.report, current.lender)
                self._queue.popleft()
                current.finished()
        except BaseException:  # Ctrl-C: what has been handed out will not be run
            while self._queue:
                self._queue.popleft().abandoned()
            raise
        finally:
            self._running = False

    def close(self) -> None:
        """Nothing is held."""


class SyncExecutor(Driver):
    """Runs everything in the calling thread; `submit` returns when the run has ended.  Threads take turns."""

    def __init__(self) -> None:
        super().__init__(SyncEngine(), "sync")
        self._turn = threading.RLock()

    def submit(self, plan: Plan) -> Run:
        """Run a plan; return when it has ended."""
        with self._turn:
            return super().submit(plan)

    def lend(self) -> None:
        """There is no other thread that could use the slot; what a task here starts by itself runs inline."""

    def take_back(self) -> None:
        """Nothing was lent."""
