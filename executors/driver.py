"""The driver: a Frontier in this process, and an engine that runs its leases.

Written once for sync, threads and every engine to come.

Covers: admitting plans, handing out leases, settling futures, freeing values.
Does not cover: what may run (running.frontier), how a lease runs (engines, running.runner).
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any, NamedTuple

from lazygraph.errors import Closed, UsedAfterFork
from lazygraph.executors.base import Executor
from lazygraph.executors.current import leave
from lazygraph.running.events import (
    Action,
    CancelRun,
    CancelTask,
    Dropped,
    Ended,
    Event,
    Failed,
    Freed,
    Returned,
    Settled,
)
from lazygraph.running.frontier import Frontier
from lazygraph.running.futures import Future
from lazygraph.running.lease import fitting
from lazygraph.running.program import Program
from lazygraph.running.run import Run
from lazygraph.values.outcome import Failure, Outcome, Value
from lazygraph.values.status import State, Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lazygraph.executors.base import Engine
    from lazygraph.planning.plan import Plan
    from lazygraph.running.block import Block
    from lazygraph.running.lease import Lease
    from lazygraph.running.runner import Report
    from lazygraph.values.node import External


class _Ending(NamedTuple):
    """A future to settle once the lock is released: its callbacks are other people's code."""

    run: Run
    entry: int
    status: Status
    outcome: Outcome


class _Course:
    """What the driver knows of one run besides the mind's block."""

    __slots__ = ("block", "failures", "program", "run", "seconds_per_task", "values")

    def __init__(self, run: Run, block: Block, program: Program) -> None:
        self.run, self.block, self.program = run, block, program
        self.values: list[Any] = [None] * len(block)
        self.failures: dict[int, Failure] = {}
        self.seconds_per_task: float | None = None


class Work:
    """A lease in the hands of an engine.  The driver may take tasks back from the right of `tasks`."""

    __slots__ = ("_driver", "attempt", "course", "program", "tasks", "values")

    def __init__(self, driver: Driver, course: _Course, lease: Lease) -> None:
        self._driver, self.course, self.attempt = driver, course, lease.attempt
        self.program, self.values = course.program, course.values
        self.tasks = deque(lease.tasks)

    def report(self, report: Report) -> None:
        """Tell the driver what has been done so far."""
        self._driver.reported(self, report)

    def finished(self) -> None:
        """Tell the driver that the engine is done with this lease, whatever is left in it."""
        self._driver.finished(self)


class Driver(Executor):
    """An executor whose mind lives in this process."""

    def __init__(self, engine: Engine, name: str) -> None:
        self.name = name
        self._engine = engine
        self._frontier = Frontier()
        self._courses: dict[int, _Course] = {}
        self._busy: list[Work] = []
        self._dropped: deque[tuple[Run, int]] = deque()
        # Not reentrant: the collector may drop futures while this very thread holds it, and must see that.
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._closed = False
        self._pid = os.getpid()

    # -- what users call ---------------------------------------------------------------------------

    def submit(self, plan: Plan) -> Run:
        """Begin to run a plan; return at once (sync: when it has ended)."""
        if self._pid != os.getpid():
            raise UsedAfterFork(f"executor {self.name!r}")
        if self._closed:
            raise Closed(f"executor {self.name!r}")
        self.check(plan)
        run = Run(plan, self)
        bindings = [self._binding(external) for external in plan.externals]
        program = Program(plan.shape, plan.tables)
        with self._lock:
            block, actions = self._frontier.admit(plan.shape, bindings, plan.fail_fast)
            run.block = block
            self._courses[block.base] = _Course(run, block, program)
            endings = self._perform(actions)
        _settle(endings)
        self._pump()
        return run

    def owns(self, external: External) -> bool:
        """Whether a value is held by this executor (others are fetched and go in as constants)."""
        return isinstance(external, Future) and external.run.owner is self

    def _binding(self, external: External) -> tuple[Block, int]:
        assert isinstance(external, Future)
        return external.run.block, external.run.entry_of(external.output)

    def close(self, wait: bool = True) -> None:
        """Finish what was submitted (`wait=False`: start nothing more), then end the engine.  Safe to call twice."""
        with self._lock:
            self._closed = True
            endings: list[_Ending] = []
            if wait:
                self._idle.wait_for(lambda: not any(block.open for block in self._frontier.blocks.values()))
            else:
                blocks = list(self._frontier.blocks.values())
                endings = [e for block in blocks for e in self._handle(CancelRun(block))]
        _settle(endings)
        self._engine.close()

    def __exit__(self, kind: Any = None, *rest: object) -> None:
        leave(self)
        self.close(wait=kind is None or not issubclass(kind, KeyboardInterrupt))

    # -- what futures ask (running.futures.Owner) --------------------------------------------------

    def fetch(self, run: Run, output: int, timeout: float | None) -> Outcome:
        """Values of local runs are in their futures when they settle."""
        raise AssertionError("a local future settles with its value")

    def look(self, run: Run) -> None:
        """Local runs are up to date."""

    def cancel(self, run: Run, output: int, force: bool) -> bool:
        """Cancel one output (-1: the run); True when nothing that has not started will be started for it."""
        with self._lock:
            block = run.block
            if output < 0:
                endings = self._handle(CancelRun(block))
                cancelled = True
            else:
                entry = run.entry_of(output)
                endings = self._handle(CancelTask(block, entry))
                cancelled = State(block.state[entry]) is State.CANCELLED
            self._idle.notify_all()
        _settle(endings)
        return cancelled

    def drop(self, run: Run, output: int) -> None:
        """A future was collected.  Runs wherever the collector runs: only notes it when the lock is taken."""
        self._dropped.append((run, output))
        if self._lock.acquire(blocking=False):
            try:
                endings = self._drain()
            finally:
                self._lock.release()
            _settle(endings)

    def _drain(self) -> list[_Ending]:
        endings: list[_Ending] = []
        while self._dropped:
            run, output = self._dropped.popleft()
            if run.block.base in self._courses:
                endings += self._handle(Dropped(run.block, [run.entry_of(output)]))
        return endings

    # -- what engines tell -------------------------------------------------------------------------

    def reported(self, work: Work, report: Report) -> None:
        """Take in what a runner has done; hand out what may run now."""
        course, block = work.course, work.course.block
        with self._lock:
            count = len(report.done) + len(report.broken)
            if count:
                course.seconds_per_task = _smoothed(course.seconds_per_task, report.seconds / count)
            progress = self._frontier.succeeded(block, report.done, work.attempt)
            course.run.tasks_done += len(report.done)
            values = course.values
            endings = [_Ending(course.run, entry, Status.SUCCEEDED, Value(values[entry])) for entry in progress.outputs]
            for entry in progress.freed:
                values[entry] = None
            endings += self._perform(progress.actions)
            for broken in report.broken:
                course.failures[broken.task] = Failure(
                    broken.node,
                    f"{broken.node}-{course.run.number}-{broken.task}",
                    work.attempt,
                    broken.exception,
                    broken.text,
                    "",
                    time.time(),
                    broken.origin,
                )
                endings += self._handle(Failed(block, broken.task, work.attempt))
            if report.skipped:
                endings += self._handle(Returned(block, report.skipped, work.attempt))
            endings += self._drain()
        _settle(endings)
        if not work.tasks or len(self._busy) < self._engine.slots:
            self._pump()

    def finished(self, work: Work) -> None:
        """A lease has ended; what is left in it is free again."""
        with self._lock:
            self._busy.remove(work)
            if work.tasks:
                endings = self._handle(Returned(work.course.block, list(work.tasks), work.attempt))
            else:
                endings = []
            self._idle.notify_all()
        _settle(endings)
        self._pump()

    # -- handing out -------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Start leases while there are free slots and ready tasks."""
        while True:
            with self._lock:
                work = self._next_work()
                if work is None:
                    return
                self._busy.append(work)
            self._engine.start(work)

    def _next_work(self) -> Work | None:
        if len(self._busy) >= self._engine.slots:
            return None
        block = self._frontier.next_block()
        if block is None and self._take_back():
            block = self._frontier.next_block()
        if block is None:
            return None
        course = self._courses[block.base]
        limit, most = fitting(course.seconds_per_task, self._frontier.ready(), self._engine.slots)
        lease = self._frontier.lease(limit, most=most)
        if lease is None:
            return None
        self._fill_externals(course, lease.tasks)
        return Work(self, course, lease)

    def _fill_externals(self, course: _Course, tasks: Sequence[int]) -> None:
        k = course.block.shape.externals
        if not k:
            return
        for task in tasks:
            for read in course.block.inputs_of(task):
                if read < k:
                    owner, entry = course.block.owner(read)
                    course.values[read] = self._courses[owner.base].values[entry]

    def _take_back(self) -> bool:
        """A slot is idle: free the later half of the longest lease, if something in it could run elsewhere.

        The whole tail goes back, because what stands later in a lease may need what stands earlier.
        """
        longest = max(self._busy, key=lambda work: len(work.tasks), default=None)
        if longest is None or len(longest.tasks) < 2:
            return False
        block = longest.course.block
        taken: list[int] = []
        for _ in range(len(longest.tasks) // 2):
            try:
                taken.append(longest.tasks.pop())
            except IndexError:  # the runner was faster
                break
        taken.reverse()
        if not any(block.pending[task] == 0 for task in taken):
            longest.tasks.extend(taken)
            return False
        self._handle(Returned(block, taken, longest.attempt))
        return True

    # -- what the mind answers ---------------------------------------------------------------------

    def _handle(self, event: Event) -> list[_Ending]:
        return self._perform(self._frontier.handle(event, time.monotonic()))

    def _perform(self, actions: Sequence[Action]) -> list[_Ending]:
        endings: list[_Ending] = []
        for action in actions:
            if isinstance(action, Settled):
                endings += self._endings(action)
            elif isinstance(action, Freed):
                values = self._courses[action.block.base].values
                for entry in action.tasks:
                    values[entry] = None
            elif isinstance(action, Ended):
                self._courses.pop(action.block.base, None)
        return endings

    def _endings(self, settled: Settled) -> list[_Ending]:
        course = self._courses[settled.block.base]
        return [
            _Ending(course.run, entry, settled.state.status, self._outcome(course, entry, settled.state))
            for entry in settled.tasks
        ]

    def _outcome(self, course: _Course, entry: int, state: State) -> Outcome:
        if state is State.SUCCEEDED:  # an external that was asked for
            owner, origin = course.block.owner(entry)
            return Value(self._courses[owner.base].values[origin])
        base, origin = course.block.causes[entry]
        home = self._courses.get(base)
        failure = home.failures.get(origin) if home else None
        if failure is not None:
            return failure
        shape = course.block.shape
        name = shape.name_of(entry)
        error = CancelledError(f"{name!r} was cancelled before it ran")
        return Failure(name, name, course.block.attempt(entry), error, origin=shape.origin_of(entry))


def _settle(endings: Sequence[_Ending]) -> None:
    for run, entry, status, outcome in endings:
        run.settle(entry, status, outcome)


def _smoothed(old: float | None, new: float) -> float:
    return new if old is None else 0.5 * old + 0.5 * new
