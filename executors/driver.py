"""The driver: a Frontier in this process, and an engine that runs its leases.

Written once for sync, threads and every engine to come.

Covers: admitting plans, handing out leases, settling futures, freeing values.
Does not cover: what may run (running.frontier), how a lease runs (engines, running.runner).
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import deque
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any, NamedTuple

from lazygraph.errors import Closed, LazyGraphError, UsedAfterFork
from lazygraph.executors.base import Executor
from lazygraph.executors.current import leave
from lazygraph.running.context import inside_task
from lazygraph.running.events import (
    Action,
    CancelRun,
    CancelTask,
    Dropped,
    Ended,
    Event,
    Failed,
    Freed,
    Recall,
    Returned,
    Settled,
)
from lazygraph.running.frontier import WHOLE_RUN, Frontier
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
    from lazygraph.running.runner import Broken, Report
    from lazygraph.values.node import External


MAX_NESTING = 100
"""How many tasks of one executor may wait for other work at once."""


class NestingTooDeep(LazyGraphError, RecursionError):
    """Too many tasks wait for work that they have started themselves."""

    def __init__(self, most: int) -> None:
        super().__init__(
            f"{most} tasks of this executor wait for other work at once; let a task return what is to be done instead "
            f"of waiting for it, or build the whole graph before it runs"
        )


class _Ending(NamedTuple):
    """A future to settle once the lock is released: its callbacks are other people's code."""

    run: Run
    entry: int
    status: Status
    outcome: Outcome


class _Course:
    """What the driver knows of one run besides the mind's block.

    `failures` are by cause, also of other runs.  `spared` are entries that are freed, but that a runner may be about to
    read: for a task that was given up too late to be taken back.
    """

    __slots__ = ("block", "failures", "program", "run", "seconds_per_task", "spared", "values")

    def __init__(self, run: Run, block: Block, program: Program) -> None:
        self.run, self.block, self.program = run, block, program
        self.values: list[Any] = [None] * len(block)
        self.failures: dict[tuple[int, int], Failure] = {}
        self.seconds_per_task: float | None = None
        self.spared: set[int] = set()


class Work:
    """A lease in the hands of an engine.  The driver may take tasks back from the right of `tasks`."""

    __slots__ = ("_driver", "attempt", "course", "program", "spared", "tasks", "values")

    def __init__(self, driver: Driver, course: _Course, lease: Lease) -> None:
        self._driver, self.course, self.attempt = driver, course, lease.attempt
        self.program, self.values = course.program, course.values
        self.tasks = deque(lease.tasks)
        self.spared: set[int] = set()

    @property
    def lender(self) -> Driver:
        """Whom a task that waits gives its slot to."""
        return self._driver

    def report(self, report: Report) -> None:
        """Tell the driver what has been done so far."""
        self._driver.reported(self, report)

    def finished(self) -> None:
        """Tell the driver that the engine is done with this lease, whatever is left in it."""
        self._driver.finished(self)

    def abandoned(self) -> None:
        """Tell the driver that the program was interrupted in the middle of this lease."""
        self._driver.abandoned(self)


class Driver(Executor):
    """An executor whose mind lives in this process."""

    def __init__(self, engine: Engine, name: str) -> None:
        self.name = name
        self._engine = engine
        self._frontier = Frontier(lineage=False)  # nothing is lost here that would have to be made again
        self._courses: dict[int, _Course] = {}
        self._busy: list[Work] = []
        self._dropped: deque[tuple[Run, int]] = deque()
        # Not reentrant: the collector may drop futures while this very thread holds it, and must see that.
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._closed = False
        self._lent = 0
        self._pid = os.getpid()
        # One that nobody has closed ends with its last reference.  Not at exit: what still runs then needs its threads.
        weakref.finalize(self, engine.close).atexit = False

    # -- what users call ---------------------------------------------------------------------------

    def submit(self, plan: Plan) -> Run:
        """Begin to run a plan; return at once (sync: when it has ended)."""
        if self._pid != os.getpid():
            raise UsedAfterFork(f"executor {self.name!r}")
        self.check(plan)
        run = Run(plan, self)
        bindings = [self._binding(external) for external in plan.externals]
        program = Program(plan.shape, plan.tables)
        with self._lock:
            if self._closed:
                raise Closed(f"executor {self.name!r}")
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
            if not wait:
                blocks = list(self._frontier.blocks.values())
                endings = [e for block in blocks for e in self._handle(CancelRun(block))]
            elif inside_task.get() is not self:  # a task, or what is called when one has ended, would wait for itself
                self._idle.wait_for(lambda: not any(block.open for block in self._frontier.blocks.values()))
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
            if output < 0:
                endings, cancelled = self._handle(CancelRun(run.block)), True
            else:
                endings, cancelled = self._cancel_entry(run.block, run.entry_of(output))
            self._idle.notify_all()
        _settle(endings)
        return cancelled

    def _cancel_entry(self, block: Block, entry: int) -> tuple[list[_Ending], bool]:
        endings: list[_Ending] = []
        for work in self._works_of(block):
            if _removed(work.tasks, entry):  # handed out, and not started
                endings = self._handle(Returned(block, [entry], work.attempt))
        endings += self._handle(CancelTask(block, entry))
        return endings, entry in block.causes

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
            if run.block is not None and run.block.base in self._courses:
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
            if work.spared:
                self._spare_no_longer(work)
            progress = self._frontier.succeeded(block, report.done, work.attempt)
            course.run.tasks_done += len(report.done) - len(progress.late)
            values = course.values
            endings = [_Ending(course.run, entry, Status.SUCCEEDED, Value(values[entry])) for entry in progress.outputs]
            self._free(course, progress.freed)
            self._free(course, [task for task in progress.late if block.state[task] != State.SUCCEEDED])
            endings += self._perform(progress.actions)
            for broken in report.broken:
                course.failures[block.base, broken.task] = self._failure(work, broken)
                endings += self._handle(Failed(block, broken.task, work.attempt))
            if report.skipped:
                endings += self._handle(Returned(block, report.skipped, work.attempt))
            endings += self._drain()
        _settle(endings)
        if not work.tasks or len(self._busy) < self._slots:
            self._pump()

    def _failure(self, work: Work, broken: Broken) -> Failure:
        return Failure(
            broken.node,
            f"{broken.node}-{work.course.run.number}-{broken.task}",
            work.attempt,
            broken.exception,
            broken.text,
            when=time.time(),
            origin=broken.origin,
        )

    def finished(self, work: Work) -> None:
        """A lease has ended; what is left in it is free again."""
        with self._lock:
            self._busy.remove(work)
            self._spare_no_longer(work)
            endings = []
            if work.tasks:
                endings = self._handle(Returned(work.course.block, list(work.tasks), work.attempt))
            self._idle.notify_all()
        _settle(endings)
        self._pump()

    def abandoned(self, work: Work) -> None:
        """The program was interrupted while it ran this lease: nothing more of its run is started, here or anywhere."""
        with self._lock:
            self._busy.remove(work)
            endings = self._handle(CancelRun(work.course.block))
            self._idle.notify_all()
        _settle(endings)

    # -- slots of tasks that wait ------------------------------------------------------------------

    @property
    def _slots(self) -> int:
        return self._engine.slots + self._lent

    def lend(self) -> None:
        """A task here is about to wait for other work: one more may run meanwhile."""
        with self._lock:
            if self._lent >= MAX_NESTING:
                raise NestingTooDeep(MAX_NESTING)
            self._lent += 1
        self._pump()

    def take_back(self) -> None:
        """A task that has waited goes on."""
        with self._lock:
            self._lent -= 1

    # -- handing out -------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Start leases while there are free slots and ready tasks."""
        while True:
            with self._lock:
                self._drain()
                work = self._next_work()
                if work is None:
                    return
                self._busy.append(work)
            self._engine.start(work)

    def _next_work(self) -> Work | None:
        if len(self._busy) >= self._slots:
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
                self._free(self._courses[action.block.base], action.tasks)
            elif isinstance(action, Recall):
                self._recall(action)
        for action in actions:
            if isinstance(action, Ended):
                self._courses.pop(action.block.base, None)
        return endings

    def _works_of(self, block: Block) -> list[Work]:
        return [work for work in self._busy if work.course.block is block]

    def _recall(self, recall: Recall) -> None:
        """Take tasks that are given up out of their leases; a runner that has begun one keeps what it reads."""
        works = self._works_of(recall.block)
        begun = [task for task in recall.tasks if not any(_removed(work.tasks, task) for work in works)]
        for work in works:
            for task in begun:
                work.spared.update(recall.block.inputs_of(task))
            work.course.spared |= work.spared

    def _spare_no_longer(self, work: Work) -> None:
        """A runner has reported, so it is done with whatever it had begun before."""
        course, spared = work.course, work.spared
        work.spared = set()
        course.spared = {entry for other in self._works_of(course.block) for entry in other.spared}
        self._free(course, [entry for entry in spared if course.block.state[entry] != State.SUCCEEDED])

    def _free(self, course: _Course, entries: Sequence[int]) -> None:
        values, spared = course.values, course.spared
        for entry in entries:
            if not spared or entry not in spared:
                values[entry] = None

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
        cause = course.block.causes[entry]
        if cause == (course.block.base, WHOLE_RUN):
            return _cancelled(course.run, entry)
        failure = course.failures.get(cause)
        if failure is None:
            failure = course.failures[cause] = self._failure_elsewhere(course, cause)
        return failure

    def _failure_elsewhere(self, course: _Course, cause: tuple[int, int]) -> Failure:
        """Return what happened at `cause`, which is in another run, or was cancelled."""
        bound = [bound[0].base for bound in course.block.bindings if bound is not None]
        for home in filter(None, map(self._courses.get, (cause[0], *bound))):
            if cause in home.failures:
                return home.failures[cause]
        home_of_cause = self._courses.get(cause[0])
        if home_of_cause is None or cause[1] == WHOLE_RUN:
            key = home_of_cause.run.id if home_of_cause is not None else "a run that is over"
            return Failure(key, key, 1, CancelledError(f"{key!r}, which this reads from, was cancelled"))
        return _cancelled(home_of_cause.run, cause[1])


def _cancelled(run: Run, entry: int) -> Failure:
    shape = run.plan.shape
    name = shape.name_of(entry)
    error = CancelledError(f"{name!r} was cancelled before it ran")
    return Failure(name, run.key_of_entry(entry), 1, error, origin=shape.origin_of(entry))


def _removed(tasks: deque[int], task: int) -> bool:
    try:
        tasks.remove(task)
    except ValueError:  # not there, or the runner was faster
        return False
    return True


def _settle(endings: Sequence[_Ending]) -> None:
    for run, entry, status, outcome in endings:
        run.settle(entry, status, outcome)


def _smoothed(old: float | None, new: float) -> float:
    return new if old is None else 0.5 * old + 0.5 * new
