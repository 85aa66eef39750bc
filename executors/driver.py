"""The driver: a Frontier in this process, and an engine that runs its leases.

Written once for sync, threads and every engine to come.

Covers: admitting plans, what users ask, what engines report.
Does not cover: what may run (running.frontier), what follows from it (executors.answering), which lease is next
(executors.handing), how a lease runs (engines, running.runner).
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from lazygraph.errors import Closed, LazyGraphError, ReplacedTooDeep, UsedAfterFork
from lazygraph.executors.base import OF_EVERY_MIND
from lazygraph.executors.cluster.net.callbacks import Callbacks
from lazygraph.executors.current import leave
from lazygraph.executors.handing import Handing
from lazygraph.running.context import inside_task
from lazygraph.running.course import Course, Ending, Made, Work, failed
from lazygraph.running.events import (
    CancelRun,
    CancelTask,
    Dropped,
    Failed,
    Returned,
    RunnerLost,
)
from lazygraph.running.frontier import MAX_REPLACEMENTS
from lazygraph.running.futures import Future
from lazygraph.running.mutation import watched
from lazygraph.running.program import Program
from lazygraph.running.run import Run
from lazygraph.running.runner import Broken
from lazygraph.values.node import Caught as CaughtMark
from lazygraph.values.outcome import Failure, Outcome
from lazygraph.values.status import State, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lazygraph.executors.base import Engine
    from lazygraph.executors.clock import Clock
    from lazygraph.planning.plan import Plan
    from lazygraph.running.block import Block
    from lazygraph.running.runner import Report
    from lazygraph.values.node import External


PATIENCE = 5.0
"""Seconds for which `close` waits for callbacks that are due, and `cancel(force=True)` for what is to leave."""

_LEASED = int(State.LEASED)
_HANDED_OUT = (_LEASED, int(State.RUNNING))


class Driver(Handing):
    """An executor whose mind lives in this process."""

    capabilities = OF_EVERY_MIND

    def __init__(self, engine: Engine, name: str, clock: Clock | None = None) -> None:
        super().__init__(engine, clock)
        self.name, self.tells_early = name, engine.tells_early
        self._dropped: deque[tuple[Run, int]] = deque()
        self._closed = False
        self._callers = Callbacks()
        self._calling: set[int] = set()  # threads that are at a callback
        self._pid = os.getpid()
        # One that nobody has closed ends with its last reference.  Not at exit: what still runs then needs its threads.
        weakref.finalize(self, engine.close).atexit = False
        weakref.finalize(self, self._callers.close).atexit = False

    @property
    def n_slots(self) -> int:  # type: ignore[override]
        """As many tasks run at once as the engine has slots."""
        return self._engine.slots

    # -- what users call ---------------------------------------------------------------------------

    def submit(self, plan: Plan) -> Run:
        """Begin to run a plan; return at once (sync: when it has ended)."""
        if self._pid != os.getpid():
            raise UsedAfterFork(f"executor {self.name!r}")
        self.check(plan)
        run = Run(plan, self)
        bindings = [self._binding(external) for external in plan.externals]
        program = self._program(plan)
        program.label, program.run_id = str(run.number), run.id
        with self._lock:
            if self._closed:
                raise Closed(f"executor {self.name!r}")
            now = self._clock.now()
            self._frontier.wall_ahead = self._clock.wall() - now
            inside = self._lent + 1 if inside_task.get() is self else 0
            block, actions = self._frontier.admit(plan.shape, bindings, plan.fail_fast, now, plan.skips, inside)
            run.block = block
            self._courses[block.base] = Course(weakref.ref(run), str(run.number), block, program)
            endings = self._perform(actions)
        try:
            self._settle(endings)
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
            endings: list[Ending | Made] = []
            if not wait:
                blocks = list(self._frontier.blocks.values())
                endings = [e for block in blocks for e in self._handle(CancelRun(block))]
        self._settle(endings)
        if wait and inside_task.get() is not self:  # a task would wait for itself
            self._idle.wait_for(self._all_done)
            if threading.get_ident() not in self._calling:
                self._idle.wait_for(self._all_called, PATIENCE)
        self._engine.close()
        self._callers.close()

    def _all_done(self) -> bool:
        with self._lock:
            return not any(block.open for block in self._frontier.blocks.values())

    def _all_called(self) -> bool:
        return not any(isinstance(one, Future) and one.done() for one in list(self.detached))

    def call_apart(self, job: Callable[[], None]) -> None:
        """Call what somebody wants called, in a thread that nobody waits for: it may wait, for anything here too."""
        self._callers.submit(partial(self._call, job))

    def _call(self, job: Callable[[], None]) -> None:
        self._calling.add(threading.get_ident())
        try:
            job()
        finally:
            self._calling.discard(threading.get_ident())
            self._idle.wake()

    def __exit__(self, kind: Any = None, *rest: object) -> None:
        leave(self)
        self.close(wait=kind is None or not issubclass(kind, KeyboardInterrupt))

    # -- what futures ask (running.futures.Owner) --------------------------------------------------

    def fetch(self, run: Run, output: int, timeout: float | None) -> Outcome:
        """Values of local runs are in their futures when they settle."""
        raise AssertionError("a local future settles with its value")

    def status_of(self, run: Run, output: int) -> Status | None:
        """Return how far an output is.  Takes no lock: whoever holds it may show a future."""
        block, entry = run.block, run.entry_of(output)
        if block is None:
            return None
        state: State = block.state_of(entry)
        if state is State.LEASED and any(entry in work.order and entry not in work.tasks for work in list(self._busy)):
            return Status.RUNNING
        return state.status

    def why(self, run: Run, outputs: Sequence[int]) -> list[str]:
        """Say of outputs what they wait for."""
        with self._lock:
            now = self._clock.now()
            return [self._frontier.why(run.block, run.entry_of(output), now) for output in outputs]

    def look(self, run: Run) -> None:
        """Local runs are up to date."""

    def cancel(self, run: Run, output: int, force: bool) -> bool:
        """Cancel one output (-1: the run); True when nothing that has not started will be started for it.

        `force`: what runs is made to leave, unless another run wants it too.
        """
        entry = -1 if output < 0 else run.entry_of(output)
        with self._lock:
            running = self._running_of(run.block, entry) if force else []
            if output < 0:
                endings, cancelled = self._handle(CancelRun(run.block)), True
            else:
                endings, cancelled = self._cancel_entry(run.block, entry)
        self._idle.wake()
        self._settle(endings)
        self._pump()  # somebody may go on without what was cancelled
        if running:
            cancelled = self._stop(running) and (output < 0 or cancelled or entry in run.block.causes)
        return cancelled

    def _stop(self, running: Sequence[tuple[Work, int]]) -> bool:
        """Have running tasks leave, all of them at once; return whether all have within `PATIENCE`."""
        for work, task in running if len(running) > 1 else ():
            self._engine.stop(work, task, 0.0)
        deadline = time.monotonic() + PATIENCE
        answers = [self._engine.stop(work, task, max(0.0, deadline - time.monotonic())) for work, task in running]
        return all(answers)

    def _running_of(self, block: Block, entry: int) -> list[tuple[Work, int]]:
        """Return what runs of a run (entry -1), or of one entry that nobody else wants, and in which leases."""
        blocks = [block, *block.stands.values()] if entry < 0 else [block]
        return [
            (work, task)
            for one in blocks
            for work in self._works_of(one)
            for task in work.order
            if task not in work.tasks and one.state[task] in _HANDED_OUT and (entry < 0 or entry == task)
            if entry < 0 or not one.watchers.get(task)
        ]

    def _cancel_entry(self, block: Block, entry: int) -> tuple[list[Ending | Made], bool]:
        endings = self._call_back(block, entry) if block.state[entry] == _LEASED else []
        endings += self._handle(CancelTask(block, entry))
        return endings, entry in block.causes

    def _call_back(self, block: Block, entry: int) -> list[Ending | Made]:
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
            self._settle(endings)

    def drop_all(self, run: Run) -> None:
        """Nobody holds any future of a run any more: one event instead of one for each."""
        with self._lock:
            endings = self._handle(Dropped(run.block, list(run.plan.shape.outputs)))
        self._settle(endings)
        self._pump()

    def _drain(self) -> list[Ending | Made]:
        endings: list[Ending | Made] = []
        while self._dropped:
            run, output = self._dropped.popleft()
            if run.block is None or run.block.base not in self._courses:
                continue
            entries = run.plan.shape.outputs if output < 0 else (run.entry_of(output),)
            for entry in entries if run.block.open else ():  # nothing of a run that is over is in anybody's hands
                if run.block.state_of(entry) is State.LEASED and run.block.claims[entry] == 1:
                    endings += self._call_back(run.block, entry)
            endings += self._handle(Dropped(run.block, list(entries)))
        return endings

    # -- what engines tell -------------------------------------------------------------------------

    def reported(self, work: Work, report: Report) -> None:
        """Take in what a runner has done; hand out what may run now."""
        course, block = work.course, work.course.block
        with self._lock:
            self._limited.pop(threading.get_ident(), None)
            course.worked(len(report.done) + len(report.broken), report.seconds)
            if report.early:
                self._look_soon()
            elif work.spared:
                self._spare_no_longer(work)
            progress = self._frontier.succeeded(block, report.done, work.attempt, self._clock.now())
            run, values = course.run, course.values
            endings: list[Ending | Made] = []
            if run is not None:
                if block.within is None:  # what a task has become is no further progress
                    run.tasks_done += len(report.done) - len(progress.late)
                if progress.outputs:
                    endings = self._succeeded(run, progress.outputs, values)
            course.free(progress.freed)
            course.free([task for task in progress.late if block.state[task] != State.SUCCEEDED])
            endings += self._perform(progress.actions)
            for broken in report.broken:
                event = failed(block, broken, work.attempt)
                failure = self._failure(work, broken)
                if not (event.stopped or (event.retry and broken.task in block.withdrawn)):
                    course.failures[block.base, broken.task] = failure
                endings += self._handle(event)
                del failure  # until here nobody else may have held it
            for task, plan in report.replaced:
                endings += self._replaced(work, task, plan)
            if report.skipped:
                endings += self._handle(Returned(block, report.skipped, work.attempt))
            endings += self._drain()
        self._settle(endings)
        if not work.tasks or len(self._busy) < self._slots:
            self._pump()

    def _failure(self, work: Work, broken: Broken) -> Failure:
        return Failure(
            broken.node,
            work.course.key_of(broken.node, broken.task, broken.step),
            work.attempt,
            broken.exception,
            broken.text,
            broken.worker,
            when=self._clock.wall(),
            origin=broken.origin,
        )

    def _replaced(self, work: Work, task: int, plan: Plan) -> list[Ending | Made]:
        """Take in what a task is to become."""
        course, block = work.course, work.course.block
        try:
            if block.depth >= MAX_REPLACEMENTS:
                raise ReplacedTooDeep(block.shape.name_of(task), MAX_REPLACEMENTS)
            self.check(plan)
            program = self._program(plan)
            program.label = f"{course.number}.{task}"
            program.run_id = course.program.run_id if course.program is not None else ""
            bindings = [self._binding(external) for external in plan.externals]
            now = self._clock.now()
            new, actions = self._frontier.replaced(block, task, work.attempt, plan.shape, bindings, now)
        except LazyGraphError as error:
            broken = Broken(task, error, str(error), block.shape.name_of(task), block.shape.origin_of(task))
            failure = course.failures[block.base, task] = self._failure(work, broken)
            endings = self._handle(Failed(block, task, work.attempt))
            del failure  # until here nobody else may have held it
            return endings
        if new is not None:
            self._courses[new.base] = course.standing(new, program, task)
        return self._perform(actions)

    def lost(self, work: Work, tasks: Sequence[int], suspect: int | None) -> None:
        """The process that ran these tasks died: they are to be run again, but for one that has killed too many."""
        block = work.course.block
        suspects = [(block, suspect)] if suspect is not None else []
        with self._lock:
            endings = self._handle(RunnerLost([(block, tasks)], suspects))
        self._settle(endings)
