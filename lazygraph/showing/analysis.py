"""What an observed run has come to: who took how long, who waited for what, and which chain decided when it ended.

A task waits for its inputs until the last of them is there, then for a slot until it begins.  What lies between its
being handed out and its inputs being where it runs is neither: they were moving.

Covers: attempts on one clock, groups of equal names, slots, the true critical path.
Does not cover: seeing them (running.observing), what to change (showing.advice), text (showing.account).
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Literal, NamedTuple

from lazygraph.running.observing import AWAITED, FAILED
from lazygraph.showing.estimating import longest_way

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from lazygraph.running.observing import Sights
    from lazygraph.showing.estimating import Samples
    from lazygraph.values.graph import Shape

Because = Literal["start", "input", "slot", "retry"]
"""Why something on the critical path began when it did: what it waited for last."""

Interval = tuple[float, float]


class Lane(NamedTuple):
    """A slot: one thread of one worker."""

    worker: str
    thread: str


class Attempt(NamedTuple):
    """One attempt of one task, in seconds since the run began.

    `part` is "" for tasks of the run's own plan, ".3" for those of what stands for task 3 of it.  `due` is when nothing
    but a slot was missing, `handed` when it was given one or sent there, `ready` when its inputs were there.
    """

    task: int
    part: str
    name: str
    number: int
    lane: Lane
    due: float
    handed: float
    ready: float
    began: float
    ended: float
    failed: bool

    @property
    def running(self) -> float:
        """Seconds it ran, or was awaited."""
        return self.ended - self.began

    @property
    def moving(self) -> float:
        """Seconds in which it, or its inputs, were on their way."""
        return self.ready - self.handed

    @property
    def waiting(self) -> float:
        """Seconds it waited for a slot: before it was handed out, and behind others where it was sent."""
        return (self.handed - self.due) + (self.began - self.ready)


@dataclass(frozen=True, slots=True)
class Group:
    """The nodes of one name: how many ran, their attempts, seconds by kind, the least and the most of one attempt.

    `expected` is how long an attempt would take by earlier runs (None: nothing is known of them).
    """

    name: str
    nodes: int
    attempts: int
    failed: int
    running: float
    waiting: float
    moving: float
    least: float
    most: float
    expected: float | None = None

    @property
    def mean(self) -> float:
        """Seconds an attempt ran, on average."""
        return self.running / self.attempts if self.attempts else 0.0


class Step(NamedTuple):
    """A piece of the critical path: an attempt, what it waited for last, and seconds since that had ended.

    `moving` is how much of those something was on its way.
    """

    attempt: Attempt
    because: Because
    after: float
    moving: float


@dataclass(frozen=True, slots=True)
class Slots:
    """What the slots did in `elapsed` seconds: all of them together, so up to `count` seconds a second."""

    count: int
    elapsed: float
    running: float
    moving: float

    @property
    def idle(self) -> float:
        """Seconds in which slots had nothing to do."""
        return max(0.0, self.count * self.elapsed - self.running - self.moving)


@dataclass(frozen=True, slots=True)
class Course:
    """How a run went.  `longest` is the longest way through the graph in seconds run; nothing makes it shorter.

    `nodes` of `of` were seen to end.  `awaited` seconds were spent by tasks that held no slot.
    """

    elapsed: float
    nodes: int
    of: int
    attempts: tuple[Attempt, ...]
    groups: tuple[Group, ...]
    path: tuple[Step, ...]
    slots: Slots
    longest: float
    awaited: float


def course_of(shape: Shape, sights: Sights, elapsed: float, slots: int | None) -> Course:
    """Return how a run went that was observed, as far as it has come; `elapsed` seconds since it began.

    `slots`: how many tasks could run at once (None: as many as were seen to).
    """
    attempts = _attempts(shape, sights)
    last = {(one.part, one.task): one for one in attempts if not one.failed}
    own = {task: one for (part, task), one in last.items() if not part}
    final = {_root(one): one for one in attempts if not one.failed}
    elapsed = max([elapsed, *(one.ended for one in attempts)])
    used = {one.lane for one in attempts if one.lane.thread != AWAITED}
    running, moving = _by_lane(attempts)
    count = slots or len(used) or 1
    if elapsed > 0:  # while tasks wait for others, more may run
        count = max(count, ceil((running + moving) / elapsed - 1e-9))
    return Course(
        elapsed=elapsed,
        nodes=len(last),
        of=len(shape) - shape.externals,
        attempts=tuple(attempts),
        groups=_groups(shape, sights, attempts, last),
        path=tuple(_path(shape, attempts, final)),
        slots=Slots(count, elapsed, running, moving),
        longest=longest_way(
            shape.input_offsets,
            shape.inputs,
            [final[at].ended - own[at].began if at in own else 0.0 for at in range(len(shape))],
        ),
        awaited=sum(one.running for one in attempts if one.lane.thread == AWAITED),
    )


# -- attempts --------------------------------------------------------------------------------------


class _Raw(NamedTuple):
    part: str
    task: int
    number: int
    lane: Lane
    handed: float
    ready: float
    began: float
    ended: float
    failed: bool


def _attempts(shape: Shape, sights: Sights) -> list[Attempt]:
    """Return all attempts that were seen, in the order in which they ended."""
    raw = sorted(_raw(sights), key=lambda one: (one.ended, one.began, one.part, one.task))
    ended: dict[int, float] = {}
    for one in raw:
        ended[_root(one)] = one.ended
    found = []
    before: dict[tuple[str, int], float] = {}  # when the attempt before has failed
    for one in raw:
        due = before.get((one.part, one.task), 0.0)
        if one.part:  # what it reads is not known here
            due, name = max(due, one.handed), sights.parts[one.part].get(one.task, "")
        else:
            due = max([due, *(ended.get(read, 0.0) for read in shape.inputs_of(one.task))])
            name = shape.name_of(one.task)
        due = min(due, one.began)  # what was sent ahead of its inputs has waited for those, not for a slot
        handed = min(max(one.handed, due), one.began)
        ready = min(max(one.ready, handed), one.began)
        found.append(
            Attempt(
                one.task, one.part, name, one.number, one.lane, due, handed, ready, one.began, one.ended, one.failed
            )
        )
        if one.failed:
            before[one.part, one.task] = one.ended
    return found


def _root(one: _Raw | Attempt) -> int:
    """Return the task of the run's own plan that an attempt is of, or of what stands for it."""
    return int(one.part.split(".")[1]) if one.part else one.task


def _raw(sights: Sights) -> Iterable[_Raw]:
    shifts, zero = sights.shifts(), sights.began
    for sight in list(sights.leases):
        shift = shifts.get(sight.worker, 0.0) - zero
        for span in sight.spans:
            began, ended = max(0.0, span.began + shift), max(0.0, span.ended + shift)
            ready = began if sight.ready is None else sight.ready + shift
            handed = sight.handed - zero if sight.handed is not None else None
            if handed is None:  # others handed it out: known is when it came
                handed = ready if sight.arrived is None else sight.arrived + shift
            elif sight.ready is None:  # it ran in this process, where nothing has to move
                ready = handed
            yield _Raw(
                sight.part,
                span.task,
                sight.attempt,
                Lane(sight.worker, span.thread),
                handed,
                ready,
                began,
                ended,
                span.how == FAILED,
            )


# -- groups ----------------------------------------------------------------------------------------


def _groups(
    shape: Shape,
    sights: Sights,
    attempts: Iterable[Attempt],
    last: Mapping[tuple[str, int], Attempt],
) -> tuple[Group, ...]:
    by_name: dict[str, list[Attempt]] = {}
    for one in attempts:
        by_name.setdefault(one.name, []).append(one)
    nodes: dict[str, int] = {}
    for one in last.values():
        nodes[one.name] = nodes.get(one.name, 0) + 1
    return tuple(
        sorted(
            (
                Group(
                    name,
                    nodes.get(name, 0),
                    len(those),
                    sum(one.failed for one in those),
                    sum(one.running for one in those),
                    sum(one.waiting for one in those),
                    sum(one.moving for one in those),
                    min(one.running for one in those),
                    max(one.running for one in those),
                    _expected(shape, sights, those),
                )
                for name, those in by_name.items()
            ),
            key=lambda group: -group.running,
        )
    )


def _expected(shape: Shape, sights: Sights, attempts: Iterable[Attempt]) -> float | None:
    known: Samples | None = sights.known
    if known is None:
        return None
    means = [
        sample.mean
        for one in attempts
        if not one.part and (sample := known.of(sights.functions[shape.function[one.task]])) is not None
    ]
    return sum(means) / len(means) if means else None


# -- slots -----------------------------------------------------------------------------------------


def _by_lane(attempts: Iterable[Attempt]) -> tuple[float, float]:
    """Return the seconds in which slots ran something, and those in which they only waited for what was moving."""
    run: dict[Lane, list[Interval]] = {}
    moved: dict[Lane, list[Interval]] = {}
    for one in attempts:
        if one.lane.thread != AWAITED:
            run.setdefault(one.lane, []).append((one.began, one.ended))
            moved.setdefault(one.lane, []).append((one.handed, one.ready))
    running = sum(_covered(intervals) for intervals in run.values())
    either = sum(_covered([*run[lane], *moved[lane]]) for lane in run)
    return running, either - running


def _covered(intervals: Iterable[Interval]) -> float:
    """Return the seconds that lie in at least one interval."""
    whole = end = 0.0
    for began, ended in sorted(intervals):
        whole += max(0.0, ended - max(began, end))
        end = max(end, ended)
    return whole


# -- the critical path -----------------------------------------------------------------------------


class _Past:
    """What had ended when, to look up what something has waited for."""

    def __init__(self, shape: Shape, attempts: Sequence[Attempt], final: Mapping[int, Attempt]) -> None:
        self.shape, self.final = shape, final
        self.place = {one: place for place, one in enumerate(attempts)}
        self.lanes: dict[Lane, list[Attempt]] = {}
        self.roots: dict[int, list[Attempt]] = {}
        for one in attempts:  # in the order of their ends
            self.lanes.setdefault(one.lane, []).append(one)
            if one.part or one.failed or final[one.task] is not one:
                self.roots.setdefault(_root(one), []).append(one)

    def before(self, at: Attempt) -> tuple[Attempt | None, Because]:
        """Return what an attempt waited for last; of an input and a slot that came at one moment, the input."""
        found: Attempt | None = None
        because: Because = "start"
        for one, why in self._candidates(at):
            earlier = one.ended <= at.began and self.place[one] < self.place[at]
            if earlier and (found is None or one.ended > found.ended):
                found, because = one, why
        return found, because

    def _candidates(self, at: Attempt) -> Iterator[tuple[Attempt, Because]]:
        if not at.part:
            for read in self.shape.inputs_of(at.task):
                if read in self.final:
                    yield self.final[read], "input"
        one = self._latest(self.roots.get(_root(at), ()), at)
        if one is not None:
            yield one, "retry" if (one.part, one.task) == (at.part, at.task) else "input"
        if at.lane.thread != AWAITED and (one := self._latest(self.lanes[at.lane], at)) is not None:
            yield one, "slot"

    def _latest(self, those: Sequence[Attempt], at: Attempt) -> Attempt | None:
        """Return, of attempts in the order of their ends, the last that had ended when another began."""
        place = bisect_right(those, at.began, key=lambda one: one.ended) - 1
        while place >= 0 and self.place[those[place]] >= self.place[at]:
            place -= 1
        return those[place] if place >= 0 else None


def _path(shape: Shape, attempts: Sequence[Attempt], final: Mapping[int, Attempt]) -> list[Step]:
    """Return the chain that ends with what ended last, each step behind what it waited for last, the first first."""
    past = _Past(shape, attempts, final)
    steps: list[Step] = []
    at = attempts[-1] if attempts else None
    while at is not None:
        before, because = past.before(at)
        since = before.ended if before is not None else 0.0
        moving = max(0.0, at.ready - max(at.handed, since))
        steps.append(Step(at, because, at.began - since, min(moving, at.began - since)))
        at = before
    return steps[::-1]
