"""What a driver does about what its Frontier answers: futures are settled, values freed, leases recalled.

Covers: endings and failures, values that others take over, tasks taken out of leases.
Does not cover: events (executors.driver), what follows from them (running.frontier).
"""

from __future__ import annotations

from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

from lazygraph.errors import WorkerDied
from lazygraph.executors.base import Executor
from lazygraph.executors.clock import Clock
from lazygraph.running.course import Ending, Made, settle
from lazygraph.running.endings import ENDED
from lazygraph.running.events import (
    Action,
    Adopted,
    Caught,
    Ended,
    Event,
    Freed,
    Poisoned,
    Recall,
    Retried,
    Settled,
)
from lazygraph.running.frontier import WHOLE_RUN, Frontier
from lazygraph.values.outcome import Failure, Outcome, Value
from lazygraph.values.status import State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lazygraph.running.block import Block
    from lazygraph.running.course import Course, Work
    from lazygraph.running.run import Run


class Answering(Executor):
    """The part of a driver that carries out what follows from an event.  Its lock is held meanwhile."""

    def __init__(self, clock: Clock | None = None, rows: int = 0) -> None:
        self._clock = clock or Clock()
        # Nothing is lost here that would have to be made again.
        self._frontier = Frontier(lineage=False, rows=rows)
        self._courses: dict[int, Course] = {}
        self._busy: list[Work] = []

    def _handle(self, event: Event) -> list[Ending | Made]:
        return self._perform(self._frontier.handle(event, self._clock.now()))

    def _perform(self, actions: Sequence[Action]) -> list[Ending | Made]:
        endings: list[Ending | Made] = []
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
                    course.caught(action.entry, self._failure_at(course, action.cause), action.member)
                elif isinstance(action, Adopted):
                    following += self._adopt(action, endings)
                elif isinstance(action, Retried):
                    self._courses[action.block.base].retried(action)
                elif isinstance(action, Poisoned):
                    poisoned.append(self._poisoned(action))
            for action in actions:
                if isinstance(action, Ended):
                    self._courses.pop(action.block.base, None)
            actions = following
        return endings

    def _adopt(self, action: Adopted, endings: list[Ending | Made]) -> list[Action]:
        """What stands for a task has ended well: its value is the task's."""
        course = self._courses[action.block.base]
        course.values[action.task] = self._courses[action.owner.base].values[action.entry]
        progress = self._frontier.succeeded(action.block, [action.task], action.attempt, self._clock.now())
        run = course.run
        if run is not None:
            run.tasks_done += action.block.within is None
            endings += self._succeeded(run, progress.outputs, course.values)
        course.free(progress.freed)
        return progress.actions

    def _poisoned(self, action: Poisoned) -> Failure:
        course, shape = self._courses[action.block.base], action.block.shape
        node, origin = shape.name_of(action.task), shape.origin_of(action.task)
        error = WorkerDied(node, action.times, f"one of {self.name}")
        attempt = action.block.attempt(action.task)
        failure = course.failures[action.block.base, action.task] = Failure(
            node, course.key_of(node, action.task), attempt, error, when=self._clock.wall(), origin=origin
        )
        return failure

    def _works_of(self, block: Block) -> list[Work]:
        return [work for work in self._busy if work.course.block is block]

    def _recall(self, block: Block, tasks: Sequence[int]) -> None:
        """Take tasks that are given up out of their leases; a runner that has begun one keeps what it reads."""
        begun = set(tasks)
        works = self._works_of(block)
        for work in works:
            before = set(begun)
            work.strike(begun)
            self._frontier.has_left(block.base, before - begun, work.attempt, self._clock.now(), ran=False)
            work.stop(begun)
        for work in works if begun else ():
            work.spared.update(read for task in begun for read in block.inputs_of(task))
            work.course.spared |= work.spared

    def _spare_no_longer(self, work: Work) -> None:
        """A runner has reported, so it is done with whatever it had begun before."""
        course, spared = work.course, work.spared
        work.spared = set()
        course.spared = {entry for other in self._works_of(course.block) for entry in other.spared}
        # What has not ended is still to come: a task may have been handed out before its inputs were made.
        state = course.block.state if spared else bytearray()
        course.free([entry for entry in spared if ENDED[state[entry]] and state[entry] != State.SUCCEEDED])

    def _endings(self, settled: Settled) -> list[Ending | Made]:
        course = self._courses[settled.block.base]
        run, state = course.run, settled.state
        if run is None:
            return []
        return [Ending(run, entry, state.status, self._outcome(course, entry, state)) for entry in settled.tasks]

    def _succeeded(self, run: Run, outputs: Sequence[int], values: Sequence[Any]) -> list[Ending | Made]:
        """Return what runs are told of outputs that have been made."""
        return [Made(run, outputs, [values[entry] for entry in outputs])]

    def _known(self, value: Any) -> Outcome | None:
        """Return what a future settles with; None when its value is somewhere else, to be fetched when it is wanted."""
        return Value(value)

    def _settle(self, endings: Sequence[Ending | Made]) -> None:
        """Tell futures of what has ended.  Not under the lock: what they call is other people's code."""
        settle(endings)

    def _outcome(self, course: Course, entry: int, state: State) -> Outcome | None:
        if state is State.SUCCEEDED:  # an external that was asked for
            owner, origin = course.block.owner(entry)
            return self._known(self._courses[owner.base].values[origin])
        cause = course.block.causes[entry]
        if cause == (course.block.base, WHOLE_RUN):
            return course.cancelled(entry, self._clock.wall())
        return self._failure_at(course, cause)

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
            return home_of_cause.cancelled(cause[1], self._clock.wall())
        run = home_of_cause.run if home_of_cause is not None else None
        name = run.id if run is not None else "run"
        return Failure(name, name, 1, CancelledError(f"the {name} that this reads from was cancelled"))
