"""The sync executor: all in the calling thread, in rank order.  The simplest engine, and the oracle of the others."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from lazygraph.errors import NestingTooDeep
from lazygraph.executors.base import Engine
from lazygraph.executors.isolated import IsolatingDriver, Isolation
from lazygraph.running.context import MAX_NESTING, inside_task, patience
from lazygraph.running.events import CancelRun
from lazygraph.running.hosting import Host
from lazygraph.running.stack import with_room

if TYPE_CHECKING:
    from collections.abc import Callable

    from lazygraph.executors.base import Work
    from lazygraph.planning.plan import Plan
    from lazygraph.running.course import Work as Handed
    from lazygraph.running.run import Run
    from lazygraph.running.runner import Report


FOREVER, LATE = float("inf"), -1.0


class SyncEngine(Engine):
    """Runs a lease before `start` returns.  What its end makes ready is started by the loop, not by recursion.

    `patience` says how many seconds what is awaited may still take; then it is cancelled.

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
        self.patience: Callable[[], float] = _endless

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
                    if not self._host.wait(self.patience()) and self.patience() <= 0:
                        for awaited in self._host.abandon():
                            awaited.finished()
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


def _endless() -> float:
    return FOREVER


class SyncExecutor(IsolatingDriver):
    """Runs everything in the calling thread; `submit` returns when the run has ended.  Threads take turns.

    Tasks in tasks run there too, until they have used up 600 frames of its stack: the next one is run by a thread of
    its own, for which this one waits.  What belongs to a thread (a lock it holds, `threading.local`) does not go along.
    """

    shares_memory = True

    def __init__(self, isolation: Isolation | None = None) -> None:
        """Make one; `isolation` has warm children for isolated tasks and outlives it (default: children of its own)."""
        engine = SyncEngine(isolation)
        super().__init__(engine, "sync")
        engine.patience = partial(_patience_of, weakref.ref(self))
        self.depth = 0
        self._turn = threading.RLock()
        self._until = FOREVER  # the moment at which whoever submitted stops waiting; LATE when that was too soon

    def within(self, outer: Any) -> SyncExecutor:
        """Have those see what runs here who see what runs on `outer`, whose task this is made for; return this."""
        driver = getattr(outer, "executor", outer)
        around = getattr(getattr(driver, "_engine", None), "around", None)
        if around is not None:
            self._engine = around(self._engine)
        return self

    def submit(self, plan: Plan) -> Run:
        """Run a plan; return when it has ended.  Raises `NestingTooDeep`.

        Raises `TimeoutError` when its caller waits no longer: between two tasks, and nothing more of it is started.
        """
        outer = inside_task.get()
        depth = getattr(outer, "depth", 0) + 1 if outer else 0
        if depth > MAX_NESTING:
            raise NestingTooDeep(MAX_NESTING)
        return with_room(partial(self._run, plan, depth), self._give_up) if depth else self._run(plan, 0)

    def _run(self, plan: Plan, depth: int) -> Run:
        seconds, token = patience.get(), patience.set(None)
        until = self._clock.now() + (FOREVER if seconds is None else seconds)
        mine: Callable[[], bool] = self._turn._is_owned  # type: ignore[attr-defined]
        inside = mine()
        try:
            if not inside and not self._turn.acquire(timeout=-1 if seconds is None else max(0.0, seconds)):
                raise TimeoutError(f"sync has been at another thread's work for {seconds} s")
            return self._run_now(plan, depth, seconds, until)
        finally:
            patience.reset(token)
            if not inside and mine():  # Ctrl-C may come when it has just been had
                self._turn.release()

    def _run_now(self, plan: Plan, depth: int, seconds: float | None, until: float) -> Run:
        before = self.depth, self._until
        self.depth, self._until = depth, until
        try:
            run = super().submit(plan)
            try:
                while run.block.open and (when := self.next_time()) is not None:
                    self._clock.sleep_until(min(when, self._until))
                    self.tick()
                    self._end_what_is_late()
            except BaseException:  # Ctrl-C: nobody will ever hold this run
                self.cancel(run, -1, False)
                raise
            if self._until < 0:
                raise TimeoutError(f"{run!r} has not ended within {seconds} s")
            return run
        finally:
            self.depth, self._until = before

    def reported(self, work: Handed, report: Report) -> None:
        """Take in what has been done; start nothing more of it when nobody waits any longer."""
        super().reported(work, report)
        self._end_what_is_late()

    def _end_what_is_late(self) -> None:
        if 0 <= self._until <= self._clock.now():
            with self._lock:
                blocks = [block for block in self._frontier.blocks.values() if block.open]
                if blocks:
                    self._until = LATE
                endings = [ending for block in blocks for ending in self._handle(CancelRun(block))]
            self._settle(endings)

    def patience(self) -> float:
        """Cancel what is late; return how many seconds what is awaited may still take."""
        self._end_what_is_late()
        return self._until - self._clock.now()

    def _give_up(self) -> None:
        """Start nothing more, and have leave what runs."""
        with self._lock:
            blocks = list(self._frontier.blocks.values())
            running = [one for block in blocks for one in self._running_of(block, -1)]
        self.close(wait=False)
        for work, task in running:
            self._engine.stop(work, task, 0.0)

    def _arm(self) -> None:
        """`submit` waits itself."""

    def lend(self) -> None:
        """There is no other thread that could use the slot; what a task here starts by itself runs inline."""

    def take_back(self) -> None:
        """Nothing was lent."""


def _patience_of(ref: weakref.ref[SyncExecutor]) -> float:
    executor = ref()
    return executor.patience() if executor is not None else FOREVER
