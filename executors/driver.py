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
from typing import TYPE_CHECKING, Any

from lazygraph.errors import Closed, LazyGraphError, NestingTooDeep, ReplacedTooDeep, UsedAfterFork, WorkerDied
from lazygraph.executors.base import Executor
from lazygraph.executors.current import leave
from lazygraph.running.context import MAX_NESTING, inside_task
from lazygraph.running.course import Course, Ending, Work, settle
from lazygraph.running.events import (
    Action,
    Adopted,
    CancelRun,
    CancelTask,
    Caught,
    Dropped,
    Ended,
    Event,
    Failed,
    Freed,
    Poisoned,
    Recall,
    Returned,
    RunnerLost,
    Settled,
)
from lazygraph.running.frontier import MAX_REPLACEMENTS, WHOLE_RUN, Frontier
from lazygraph.running.futures import Future
from lazygraph.running.lease import fitting
from lazygraph.running.mutation import watched
from lazygraph.running.program import Program
from lazygraph.running.run import Run
from lazygraph.running.runner import Broken
from lazygraph.running.waiting import Waiters
from lazygraph.values.node import Caught as CaughtMark
from lazygraph.values.outcome import Failure, Outcome, Value
from lazygraph.values.status import State, Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lazygraph.executors.base import Engine
    from lazygraph.planning.plan import Plan
    from lazygraph.running.block import Block
    from lazygraph.running.runner import Report
    from lazygraph.values.node import External


_LEASED = int(State.LEASED)


class Driver(Executor):
    """An executor whose mind lives in this process."""

    def __init__(self, engine: Engine, name: str) -> None:
        self.name = name
        self._engine = engine
        self._frontier = Frontier(lineage=False)  # nothing is lost here that would have to be made again
        self._courses: dict[int, Course] = {}
        self._busy: list[Work] = []
        self._dropped: deque[tuple[Run, int]] = deque()
        # Not reentrant: the collector may drop futures while this very thread holds it, and must see that.
        self._lock = threading.Lock()
        self._idle = Waiters()
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
        program = self._program(plan)
        with self._lock:
            if self._closed:
                raise Closed(f"executor {self.name!r}")
            block, actions = self._frontier.admit(plan.shape, bindings, plan.fail_fast)
            run.block = block
            self._courses[block.base] = Course(weakref.ref(run), str(run.number), block, program)
            endings = self._perform(actions)
        try:
            settle(endings)
            self._pump()
        except BaseException:  # Ctrl-C: nobody will ever hold this run
            self.cancel(run, -1, False)
            raise
        return run

    def _program(self, plan: Plan) -> Program:
        """Return a plan ready to be called here."""
        return Program(plan.shape, watched(plan.tables))

    def owns(self, external: External) -> bool:
        """Whether a value is held by this executor (others are fetched and go in as constants)."""
        return isinstance(external, Future) and external.run.owner is self

    def _binding(self, external: External) -> tuple[Block, int] | None:
        if isinstance(external, CaughtMark):
            return None
        assert isinstance(external, Future)
        return external.run.block, external.run.entry_of(external.output)

    def close(self, wait: bool = True) -> None:
        """Finish what was submitted (`wait=False`: start nothing more), then end the engine.  Safe to call twice."""
        with self._lock:
            self._closed = True
            endings: list[Ending] = []
            if not wait:
                blocks = list(self._frontier.blocks.values())
                endings = [e for block in blocks for e in self._handle(CancelRun(block))]
        settle(endings)
        if (
            wait and inside_task.get() is not self
        ):  # a task, or what is called when one has ended, would wait for itself
            self._idle.wait_for(self._all_done)
        self._engine.close()

    def _all_done(self) -> bool:
        with self._lock:
            return not any(block.open for block in self._frontier.blocks.values())

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
        self._idle.wake()
        settle(endings)
        return cancelled

    def _cancel_entry(self, block: Block, entry: int) -> tuple[list[Ending], bool]:
        endings = self._call_back(block, entry) if block.state[entry] == _LEASED else []
        endings += self._handle(CancelTask(block, entry))
        return endings, entry in block.causes

    def _call_back(self, block: Block, entry: int) -> list[Ending]:
        """Take a task back that is handed out and has not started, with what stands behind it: that may need it."""
        for work in self._works_of(block):
            if taken := work.take_from(entry):
                return self._handle(Returned(block, taken, work.attempt))
        return []

    def drop(self, run: Run, output: int) -> None:
        """A future was collected.  Runs wherever the collector runs: only notes it when the lock is taken."""
        self._dropped.append((run, output))
        if self._lock.acquire(blocking=False):
            try:
                endings = self._drain()
            finally:
                self._lock.release()
            settle(endings)

    def drop_all(self, run: Run) -> None:
        """Nobody holds any future of a run any more: one event instead of one for each."""
        with self._lock:
            endings = self._handle(Dropped(run.block, list(run.plan.shape.outputs)))
        settle(endings)

    def _drain(self) -> list[Ending]:
        endings: list[Ending] = []
        while self._dropped:
            run, output = self._dropped.popleft()
            if run.block is not None and run.block.base in self._courses:
                entry = run.entry_of(output)
                if run.block.state[entry] == _LEASED and run.block.claims[entry] == 1:
                    endings += self._call_back(run.block, entry)
                endings += self._handle(Dropped(run.block, [entry]))
        return endings

    # -- what engines tell -------------------------------------------------------------------------

    def reported(self, work: Work, report: Report) -> None:
        """Take in what a runner has done; hand out what may run now."""
        course, block = work.course, work.course.block
        with self._lock:
            course.worked(len(report.done) + len(report.broken), report.seconds)
            if work.spared:
                self._spare_no_longer(work)
            progress = self._frontier.succeeded(block, report.done, work.attempt)
            run, values = course.run, course.values
            endings: list[Ending] = []
            if run is not None:
                run.tasks_done += len(report.done) - len(progress.late)
                endings = [Ending(run, entry, Status.SUCCEEDED, Value(values[entry])) for entry in progress.outputs]
            course.free(progress.freed)
            course.free([task for task in progress.late if block.state[task] != State.SUCCEEDED])
            endings += self._perform(progress.actions)
            for broken in report.broken:
                failure = course.failures[block.base, broken.task] = self._failure(work, broken)
                endings += self._handle(Failed(block, broken.task, work.attempt, broken.step is not None))
                del failure  # until here nobody else may have held it
            for task, plan in report.replaced:
                endings += self._replaced(work, task, plan)
            if report.skipped:
                endings += self._handle(Returned(block, report.skipped, work.attempt))
            endings += self._drain()
        settle(endings)
        if not work.tasks or len(self._busy) < self._slots:
            self._pump()

    def _failure(self, work: Work, broken: Broken) -> Failure:
        return Failure(
            broken.node,
            work.course.key_of(broken.node, broken.task, broken.step),
            work.attempt,
            broken.exception,
            broken.text,
            when=time.time(),
            origin=broken.origin,
        )

    def _replaced(self, work: Work, task: int, plan: Plan) -> list[Ending]:
        """Take in what a task is to become."""
        course, block = work.course, work.course.block
        try:
            if block.depth >= MAX_REPLACEMENTS:
                raise ReplacedTooDeep(block.shape.name_of(task), MAX_REPLACEMENTS)
            self.check(plan)
            program = self._program(plan)
        except LazyGraphError as error:
            broken = Broken(task, error, str(error), block.shape.name_of(task), block.shape.origin_of(task))
            failure = course.failures[block.base, task] = self._failure(work, broken)
            endings = self._handle(Failed(block, task, work.attempt))
            del failure  # until here nobody else may have held it
            return endings
        bindings = [self._binding(external) for external in plan.externals]
        new, actions = self._frontier.replaced(block, task, work.attempt, plan.shape, bindings)
        if new is not None:
            self._courses[new.base] = course.standing(new, program, task)
        return self._perform(actions)

    def _adopt(self, action: Adopted, endings: list[Ending]) -> list[Action]:
        """What stands for a task has ended well: its value is the task's."""
        course = self._courses[action.block.base]
        course.values[action.task] = self._courses[action.owner.base].values[action.entry]
        progress = self._frontier.succeeded(action.block, [action.task], action.attempt)
        run = course.run
        if run is not None:
            run.tasks_done += 1
            endings += [Ending(run, at, Status.SUCCEEDED, Value(course.values[at])) for at in progress.outputs]
        course.free(progress.freed)
        return progress.actions

    def lost(self, work: Work, tasks: Sequence[int], suspect: int | None) -> None:
        """The process that ran these tasks died: they are to be run again, but for one that has killed too many."""
        block = work.course.block
        suspects = [(block, suspect)] if suspect is not None else []
        with self._lock:
            endings = self._handle(RunnerLost([(block, tasks)], suspects))
        settle(endings)

    def finished(self, work: Work) -> None:
        """A lease has ended; what is left in it is free again."""
        with self._lock:
            if work in self._busy:
                self._busy.remove(work)
            self._spare_no_longer(work)
            if not work.course.block.open:
                work.course.program = None  # its constants may be large, and a future may be held for long
            endings = []
            if work.tasks:
                endings = self._handle(Returned(work.course.block, list(work.tasks), work.attempt))
        self._idle.wake()
        settle(endings)
        self._pump()

    def abandoned(self, work: Work) -> None:
        """The program was interrupted while it ran this lease: nothing more of its run is started, here or anywhere."""
        with self._lock:
            if work in self._busy:
                self._busy.remove(work)
            endings = self._handle(CancelRun(work.course.block))
        self._idle.wake()
        settle(endings)

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
            try:
                self._engine.start(work)
            except BaseException:  # Ctrl-C, in a task or just here
                self.abandoned(work)
                raise

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

    def _fill_externals(self, course: Course, tasks: Sequence[int]) -> None:
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
        taken = longest.take_later_half()
        if not any(block.pending[task] == 0 for task in taken):
            longest.tasks.extend(taken)
            return False
        self._handle(Returned(block, taken, longest.attempt))
        return True

    # -- what the mind answers ---------------------------------------------------------------------

    def _handle(self, event: Event) -> list[Ending]:
        return self._perform(self._frontier.handle(event, time.monotonic()))

    def _perform(self, actions: Sequence[Action]) -> list[Ending]:
        endings: list[Ending] = []
        while actions:
            following: list[Action] = []
            poisoned: list[Failure] = []  # held until everybody has been told
            recalled: dict[Block, list[int]] = {}
            # Recalls first: what is then freed is spared where it has begun.  Ended runs last: others name what is in
            # them.
            for action in actions:
                if isinstance(action, Recall):
                    recalled.setdefault(action.block, []).extend(action.tasks)
            for block, tasks in recalled.items():
                self._recall(block, tasks)
            for action in actions:
                if isinstance(action, Settled):
                    endings += self._endings(action)
                elif isinstance(action, Freed):
                    self._courses[action.block.base].free(action.tasks)
                elif isinstance(action, Caught):
                    course = self._courses[action.block.base]
                    course.values[action.entry] = self._failure_at(course, action.cause)
                elif isinstance(action, Adopted):
                    following += self._adopt(action, endings)
                elif isinstance(action, Poisoned):
                    poisoned.append(self._poisoned(action))
            for action in actions:
                if isinstance(action, Ended):
                    self._courses.pop(action.block.base, None)
            actions = following
        return endings

    def _poisoned(self, action: Poisoned) -> Failure:
        course, shape = self._courses[action.block.base], action.block.shape
        node, origin = shape.name_of(action.task), shape.origin_of(action.task)
        error = WorkerDied(node, action.times, f"one of {self.name}")
        attempt = action.block.attempt(action.task)
        failure = course.failures[action.block.base, action.task] = Failure(
            node, course.key_of(node, action.task), attempt, error, when=time.time(), origin=origin
        )
        return failure

    def _works_of(self, block: Block) -> list[Work]:
        return [work for work in self._busy if work.course.block is block]

    def _recall(self, block: Block, tasks: Sequence[int]) -> None:
        """Take tasks that are given up out of their leases; a runner that has begun one keeps what it reads."""
        begun = set(tasks)
        works = self._works_of(block)
        for work in works:
            work.strike(begun)
            work.stop(begun)
        for work in works if begun else ():
            work.spared.update(read for task in begun for read in block.inputs_of(task))
            work.course.spared |= work.spared

    def _spare_no_longer(self, work: Work) -> None:
        """A runner has reported, so it is done with whatever it had begun before."""
        course, spared = work.course, work.spared
        work.spared = set()
        course.spared = {entry for other in self._works_of(course.block) for entry in other.spared}
        course.free([entry for entry in spared if course.block.state[entry] != State.SUCCEEDED])

    def _endings(self, settled: Settled) -> list[Ending]:
        course = self._courses[settled.block.base]
        run, state = course.run, settled.state
        if run is None:
            return []
        return [Ending(run, entry, state.status, self._outcome(course, entry, state)) for entry in settled.tasks]

    def _outcome(self, course: Course, entry: int, state: State) -> Outcome:
        if state is State.SUCCEEDED:  # an external that was asked for
            owner, origin = course.block.owner(entry)
            return Value(self._courses[owner.base].values[origin])
        cause = course.block.causes[entry]
        return course.cancelled(entry) if cause == (course.block.base, WHOLE_RUN) else self._failure_at(course, cause)

    def _failure_at(self, course: Course, cause: tuple[int, int]) -> Failure:
        failure = course.failures.get(cause)
        if failure is None:
            failure = course.failures[cause] = self._failure_elsewhere(course, cause)
        return failure

    def _failure_elsewhere(self, course: Course, cause: tuple[int, int]) -> Failure:
        """Return what happened at `cause`, which is in another run, or was cancelled."""
        bound = [bound[0].base for bound in course.block.bindings if bound is not None]
        for home in filter(None, map(self._courses.get, (cause[0], *bound))):
            known = home.failures.get(cause)
            if known is not None:
                return known
        home_of_cause = self._courses.get(cause[0])
        if home_of_cause is not None and cause[1] != WHOLE_RUN:
            return home_of_cause.cancelled(cause[1])
        run = home_of_cause.run if home_of_cause is not None else None
        name = run.id if run is not None else "run"
        return Failure(name, name, 1, CancelledError(f"the {name} that this reads from was cancelled"))
