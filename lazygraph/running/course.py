"""What the driver knows of a run and of its leases besides what the mind knows.

Covers: values, failures, leases in the hands of engines, taking tasks out of them.
Does not cover: what is done with them (executors.driver).
"""

from __future__ import annotations

import weakref
from collections import deque
from concurrent.futures import CancelledError
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from lazygraph.errors import TaskCancelled, TaskExpired
from lazygraph.running.endings import HANDED_OUT
from lazygraph.running.events import Failed
from lazygraph.running.stand_ins import StandIns
from lazygraph.values.outcome import Failure, Missed, Outcome
from lazygraph.values.status import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lazygraph.running.block import Block
    from lazygraph.running.events import Retried
    from lazygraph.running.lease import Lease
    from lazygraph.running.policy import Policy
    from lazygraph.running.program import Program
    from lazygraph.running.run import Run
    from lazygraph.running.runner import Broken, Report
    from lazygraph.values.status import Status


TINY, LONG, MANY = 5e-6, 5e-5, 3
"""Tasks of fewer seconds than `TINY` are tiny; those of `LONG` are not, nor those between if `MANY` reports say so."""


class Ending(NamedTuple):
    """A future to settle once the lock is released: its callbacks are other people's code.

    `outcome` None: its value is fetched when it is wanted.
    """

    run: Run
    entry: int
    status: Status
    outcome: Outcome | None


class Made(NamedTuple):
    """Futures to settle, as `Ending`, of many that have succeeded together and whose values are here."""

    run: Run
    entries: Sequence[int]
    values: Sequence[Any]


class Course:
    """What the driver knows of one run, or of what stands for a task in one (`number` then says which).

    `failures` are by cause, also of other runs.  `spared` are entries that are freed, but that a runner may be about to
    read: for a task that was given up too late to be taken back.
    """

    __slots__ = (
        "_run",
        "alone_until",
        "block",
        "failures",
        "latest",
        "long",
        "missed",
        "number",
        "program",
        "seconds_per_task",
        "spared",
        "values",
    )

    def __init__(self, run: weakref.ref[Run], number: str, block: Block, program: Program) -> None:
        # Weak: a run lives as long as somebody holds it or one of its futures.
        self._run, self.number, self.block = run, number, block
        self.program: Program | None = program
        self.values: list[Any] = [None] * len(block)
        # Weak: an exception's traceback leads to whoever caught it, and so, often, back to the run.  Who can still ask
        # what failed holds a future with the record.
        self.failures: weakref.WeakValueDictionary[tuple[int, int], Failure] = weakref.WeakValueDictionary()
        self.seconds_per_task: float | None = None
        self.latest = LONG  # the same of the last report alone
        self.long = 0  # how many reports have come since the last one of tiny tasks
        self.alone_until = 0.0  # how long one runner is enough for it, however long its tasks take
        self.spared: set[int] = set()
        self.missed: dict[int, Missed] = {}  # entries that have ended without a value, and are read all the same

    def standing(self, block: Block, program: Program, task: int) -> Course:
        """Return the course of what stands for a task of this one."""
        return Course(self._run, f"{self.number}.{task}", block, program)

    @property
    def run(self) -> Run | None:
        """The run, or None when nobody wants to know of it any more."""
        return self._run()

    def free(self, entries: Sequence[int]) -> None:
        """Forget values, but not under a runner's hands."""
        values, spared = self.values, self.spared
        for entry in entries:
            if not spared or entry not in spared:
                values[entry] = None

    @property
    def tiny(self) -> bool:
        """Whether its tasks are not worth a second runner.

        One report says little: a thread that the system has put aside for some milliseconds makes tiny tasks look long.
        """
        return self.latest < LONG and self.long < MANY

    def caught(self, entry: int, failure: Failure, member: bool) -> None:
        """Put a failure where it will be read: as the value that it is, or in the place of one that is missing."""
        if member:
            self.missed[entry] = Missed(failure)
        else:
            self.values[entry] = failure

    def worked(self, tasks: int, seconds: float) -> None:
        """Note how long tasks took."""
        if tasks:
            new, old = seconds / tasks, self.seconds_per_task
            self.latest, self.long = new, 0 if new < TINY else self.long + 1
            self.seconds_per_task = new if old is None else 0.5 * old + 0.5 * new

    def key_of(self, name: str, entry: int, step: int | None = None) -> str:
        """Return the key of an entry that is called `name`, or of a member of it."""
        own = self.block.shape.options[self.block.shape.option[entry]].key if step is None else None
        return f"{own or name}-{self.number}-{entry}" + (f".{step}" if step is not None else "")

    def retried(self, action: Retried) -> None:
        """Keep the failure of an attempt that is followed by another: it is not what the task has ended with."""
        run, failure = self.run, self.failures.pop((action.block.base, action.task), None)
        if run is not None and failure is not None:
            run.history.setdefault(failure.key, []).append(failure)

    def cancelled(self, entry: int, when: float) -> Failure:
        """Return the record of an entry that was cancelled, or has expired, at `when` of the wall clock."""
        shape, run = self.block.shape, self.run
        name = shape.name_of(entry)
        key = run.key_of_entry(entry) if run is not None and run.block is self.block else self.key_of(name, entry)
        error: BaseException
        if self.block.state[entry] == State.EXPIRED:
            error = TaskExpired(name, shape.origin_of(entry))
        else:
            error = CancelledError(f"{name!r} was cancelled before it ran")
        return Failure(name, key, self.block.attempt(entry), error, when=when, origin=shape.origin_of(entry))


class Work:
    """A lease in the hands of an engine.  The driver may take tasks back from the right of `tasks`."""

    __slots__ = (
        "_back",
        "_driver",
        "_stop",
        "attempt",
        "awaits",
        "began",
        "course",
        "isolated",
        "order",
        "outside",
        "policy",
        "program",
        "sent",
        "since",
        "spared",
        "tasks",
        "timeout",
        "told",
        "values",
    )

    def __init__(self, driver: Any, course: Course, lease: Lease, now: float = 0.0) -> None:
        self._driver, self.course, self.attempt, self.since = driver, course, lease.attempt, now
        assert course.program is not None
        self.program = course.program
        self.values: Any = StandIns(course.missed, course.values) if course.missed else course.values
        run = course.run
        if run is not None and run.seen is not None:
            part = course.number.removeprefix(run.label)
            self.program = run.seen.handed(course.program, course.block.shape, part, lease.tasks, lease.attempt)
        self.tasks = deque(lease.tasks)
        self.order = tuple(lease.tasks)
        self.awaits = lease.awaits
        self.outside: Sequence[int] = ()
        self.spared: set[int] = set()
        self.sent: frozenset[int] = frozenset()
        self._stop: Callable[[], object] | None = None
        self._back: Callable[[int | None], list[int]] | None = None
        self.policy: Policy | None = None
        self.isolated = False
        self.timeout: float | None = None
        self.began: Callable[[int], None] | None = None
        self.told: Callable[[int, float, float | None], None] | None = None

    @property
    def lender(self) -> Any:
        """Whom a task that waits gives its slot to."""
        return self._driver

    def report(self, report: Report) -> None:
        """Tell the driver what has been done so far."""
        if self.sent:
            self.sent = self.sent.difference(report.done)
        self._driver.reported(self, report)

    def finished(self) -> None:
        """Tell the driver that the engine is done with this lease, whatever is left in it."""
        self._driver.finished(self)

    def abandoned(self) -> None:
        """Tell the driver that the program was interrupted in the middle of this lease."""
        self._driver.abandoned(self)

    def send(
        self, stop: Callable[[], object] | None = None, back: Callable[[int | None], list[int]] | None = None
    ) -> tuple[list[int], list[int]]:
        """Take all tasks out, to be run somewhere else; return them, and whose values are wanted.

        `stop` asks that place to begin none of them any more and to give back what is left.  `back` takes back a task
        (None: any) and all behind it that has certainly not begun, if the place can tell; under the driver's lock.
        Wanted is what a future names, what another run waits for, or what something reads that is not among them.
        """
        tasks = self._pop(len(self.tasks))
        self.sent, self._stop, self._back = frozenset(tasks), stop, back
        block, inside = self.course.block, set(tasks)
        starts, consumers = block.starts, block.consumers
        read = [task for task in tasks if starts[task] < starts[task + 1]]
        self.outside = [task for task in read if not inside.issuperset(consumers[starts[task] : starts[task + 1]])]
        wanted = inside.intersection(self.outside)
        for claims in (block.futures, block.watchers):
            wanted |= inside.intersection(claims) if len(claims) < len(inside) else inside & claims.keys()
        return tasks, [task for task in tasks if task in wanted]

    def under_way(self, name: Any) -> None:
        """Tell the driver by what name what reads from this lease can wait for it where it is."""
        self._driver.under_way(self, name)

    @property
    def given_up(self) -> bool:
        """Whether nobody waits for any task of it any more."""
        state = self.course.block.state
        return not any(HANDED_OUT[state[task]] for task in self.order)

    def stop(self, tasks: set[int]) -> None:
        """Some of these are not wanted any more: if they are where none can be taken back, have that place stop."""
        if self._stop is not None and not self.sent.isdisjoint(tasks):
            self._stop()

    def lost(self, tasks: Sequence[int], suspect: int | None) -> None:
        """Tell the driver that the runner of these tasks died, probably while it ran `suspect`."""
        self._driver.lost(self, tasks, suspect)

    # Runners take from the left of `tasks` meanwhile, without a lock: each step below is one of the deque's own.

    def take_less_urgent(self, urgency: int) -> list[int]:
        """Take back what is less urgent, and has not started; what is where none can be taken back is asked for."""
        block = self.course.block
        if self._back is not None:
            return self.take_sent() if any(block.priority(at) < urgency for at in self.sent) else []
        if self.sent:
            if self._stop is not None and len(self.sent) > 1 and any(block.priority(at) < urgency for at in self.sent):
                self._stop()
                self._stop = None  # once is enough
            return []
        return self.take_from(next((task for task in list(self.tasks) if block.priority(task) < urgency), -1))

    def take_from(self, first: int) -> list[int]:
        """Take back `first` and what stands behind it, which may need it; [] when it has started."""
        if self.sent:
            return self.take_sent(first) if first in self.sent else []
        waiting = list(self.tasks)
        return self._gone(self._pop(len(waiting) - waiting.index(first))) if first in waiting else []

    def take_sent(self, first: int | None = None) -> list[int]:
        """Take back from somewhere else all that has not begun there, if that can be told, and `first` is of it."""
        taken = self._back(first) if self._back is not None else []
        if taken:
            self.sent = self.sent.difference(taken)
        return self._gone(taken)

    def _gone(self, taken: list[int]) -> list[int]:
        """Note that these are no longer this lease's: where they are handed out next, their attempt has its number."""
        if taken:
            away = set(taken)
            self.order = tuple(task for task in self.order if task not in away)
        return taken

    def _pop(self, count: int) -> list[int]:
        taken: list[int] = []
        pop = self.tasks.pop
        for _ in range(count):
            try:
                taken.append(pop())
            except IndexError:  # the runner was faster
                break
        taken.reverse()
        return taken

    def strike(self, tasks: set[int]) -> None:
        """Take these out of the lease, and out of `tasks`; what stays in `tasks` has started, or is not in here."""
        # From the right: a runner that meanwhile goes on from the left must not find a task without its inputs.
        for task in reversed(list(self.tasks)):
            if task in tasks:
                try:
                    self.tasks.remove(task)
                except ValueError:  # the runner was faster
                    continue
                tasks.remove(task)


def failed(block: Block, broken: Broken, attempt: int) -> Failed:
    """Return what the mind is told of a task that raised."""
    return Failed(
        block,
        broken.task,
        attempt,
        above=broken.step is not None,
        retry=broken.retry,
        asked=broken.asked,
        countdown=broken.countdown,
        max_retries=broken.max_retries,
        stopped=isinstance(broken.exception, TaskCancelled),
    )


def settle(endings: Sequence[Ending | Made]) -> None:
    """Tell runs of what has ended, in order."""
    for (run, kind), ends in groupby(endings, _run_and_kind):
        if kind is Ending:
            run.settle_all(cast("Iterator[Ending]", ends))
        else:
            for made in cast("Iterator[Made]", ends):
                run.settle_values(made.entries, made.values)


def _run_and_kind(ending: Ending | Made) -> tuple[Run, type]:
    return ending.run, type(ending)
