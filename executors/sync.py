"""The sync executor: all in the calling thread, in rank order.  The simplest engine, and the oracle of the others."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from lazygraph.errors import NestingTooDeep
from lazygraph.executors.base import Engine
from lazygraph.executors.isolated import IsolatingDriver, Isolation
from lazygraph.running.context import inside_task
from lazygraph.running.hosting import Host

if TYPE_CHECKING:
    from lazygraph.executors.base import Work
    from lazygraph.planning.plan import Plan
    from lazygraph.running.run import Run


DEEPEST = 50
"""So deep may tasks run tasks in one thread: each level takes about a dozen of the 1000 frames that Python gives."""


class SyncEngine(Engine):
    """Runs a lease before `start` returns.  What its end makes ready is started by the loop, not by recursion.

    Coroutines are awaited on an event loop beside the calling thread, all that are ready together; when nothing else is
    left to run, it waits for them.
    """

    slots = 1

    def __init__(self, isolation: Isolation | None = None) -> None:
        """Make one; `isolation` belongs to whoever gives it."""
        self._queue: deque[Work] = deque()
        self._running = False
        self._own = isolation is None
        self._isolation = isolation or Isolation(replace=False)
        self._host = Host(self._parked, reports=False)

    def _parked(self, more: int) -> None:
        self.slots += more  # what is only awaited holds none

    def start(self, work: Work) -> None:
        """Run the lease, and those that follow from it."""
        self._queue.append(work)
        if self._running:
            return
        self._running = True
        try:
            while self._queue or self._host.waits:
                if not self._queue:
                    self._host.wait()
                    continue
                current, over = self._queue[0], True
                if current.isolated:
                    self._isolation.run(current)
                else:
                    over = self._host.run(current)
                self._queue.popleft()
                if over:
                    current.finished()
        except BaseException:  # Ctrl-C: what has been handed out will not be run
            for awaited in self._host.abandon():
                awaited.abandoned()
            while self._queue:
                self._queue.popleft().abandoned()
            raise
        finally:
            self._running = False

    def stop(self, work: Work, task: int, timeout: float = 5.0) -> bool:
        """Kill an isolated task; raise `TaskCancelled` in any other."""
        return (self._isolation if work.isolated else self._host).stop(work, task, timeout)

    def close(self) -> None:
        """End the child of isolated tasks, and the event loop."""
        if self._own:
            self._isolation.close()
        self._host.close()


class SyncExecutor(IsolatingDriver):
    """Runs everything in the calling thread; `submit` returns when the run has ended.  Threads take turns."""

    shares_memory = True

    def __init__(self, isolation: Isolation | None = None) -> None:
        """Make one; `isolation` has warm children for isolated tasks and outlives it (default: children of its own)."""
        super().__init__(SyncEngine(isolation), "sync")
        self.depth = 0
        self._turn = threading.RLock()

    def submit(self, plan: Plan) -> Run:
        """Run a plan; return when it has ended.  Raises `NestingTooDeep`."""
        depth = getattr(inside_task.get(), "depth", -1) + 1
        if depth > DEEPEST:
            raise NestingTooDeep(DEEPEST)
        with self._turn:
            self.depth = depth
            run = super().submit(plan)
            try:
                while run.block.open and (when := self.next_time()) is not None:
                    self._clock.sleep_until(when)
                    self.tick()
            except BaseException:  # Ctrl-C: nobody will ever hold this run
                self.cancel(run, -1, False)
                raise
            return run

    def _arm(self) -> None:
        """`submit` waits itself."""

    def lend(self) -> None:
        """There is no other thread that could use the slot; what a task here starts by itself runs inline."""

    def take_back(self) -> None:
        """Nothing was lent."""
