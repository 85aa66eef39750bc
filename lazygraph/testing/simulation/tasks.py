"""What the tasks of a life compute: small and large values, values that cannot travel, exceptions, plans, answers.

Covers: the functions, what a task that is replaced becomes, evaluating all that directly.
Does not cover: which tasks a life has (simulation.lives), what may go wrong with them (simulation.oracle).
"""

from __future__ import annotations

from concurrent.futures import CancelledError
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from lazygraph.errors import LostData, TaskExpired, Unserializable, WorkerDied
from lazygraph.language.members import GATHERS
from lazygraph.language.promise import Delayed, build
from lazygraph.values.node import Node, NodeScope, Replacement, identity
from lazygraph.values.options import DEFAULT
from lazygraph.values.outcome import Failure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lazygraph.running.attempt import Attempt
    from lazygraph.values.options import TaskOptions

NOTHING: Any = object()
"""Stands for the value of a task that has none: it raises, or an input of it has none."""

UNSENDABLE, DIED, EXPIRED, CANCELLED, LOST = "unsendable", "died", "expired", "cancelled", "lost"
SHAKY, ASKS = "shaky", "asks"
"""Kinds of tasks that fail a few times first; the second asks for another attempt itself."""
COLLECT, SKIP = "collect", "skip"
"""Kinds of tasks that go on without values: they read their inputs as a group that says so."""


class Bad(ValueError):
    """What a failing task raises, with its number."""


class Lump:
    """A value that cannot leave the process that made it."""

    def __init__(self, weight: int) -> None:
        self.weight = weight

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Lump) and other.weight == self.weight

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> Any:
        raise TypeError("a lump stays where it is")


class Answered(NamedTuple):
    """What a handler returns: its number, and which failure it was told of."""

    number: int
    failure: Any


class Tally(NamedTuple):
    """What a task makes of a group: its number, and what has come, or the reason why something has not."""

    number: int
    members: tuple[Any, ...]

    @property
    def weight(self) -> int:
        """What those that read it make of it: which members there are may depend on who dies."""
        return self.number


class Reason(NamedTuple):
    """Stands in a `Tally` for a member that has failed."""

    why: Any


def _mix(number: int, inputs: Sequence[Any]) -> int:
    total = number * 31 + 7
    for value in inputs:
        weight = value if isinstance(value, int) else value.weight if isinstance(value, Lump | Tally) else len(value)
        total = (total * 33 + weight) % 1_000_003
    return total


def plain(number: int, *inputs: Any) -> int:
    """A small value."""
    return _mix(number, inputs)


def large(number: int, *inputs: Any) -> str:
    """A value too large to ride along (where a life's inline limit is low)."""
    return "x" * (30 + _mix(number, inputs) % 50)


def lump(number: int, *inputs: Any) -> Lump:
    """A value that cannot travel."""
    return Lump(_mix(number, inputs))


def bad(number: int, *inputs: Any) -> Any:
    """No value."""
    raise Bad(number)


def fails_of(number: int) -> int:
    """Return how often a shaky task fails before it does not."""
    return 1 + number % 3


def shaky(self: Attempt, number: int, *inputs: Any) -> int:
    """A small value, after some attempts that raise."""
    if self.request.attempt <= fails_of(number):
        raise Bad(number)
    return _mix(number, inputs)


def asks(self: Attempt, number: int, *inputs: Any) -> int:
    """A small value, after some attempts that ask for another."""
    if self.request.attempt <= fails_of(number):
        raise self.retry(exc=Bad(number), countdown=(None, 0, 0.5)[number // 3 % 3])
    return _mix(number, inputs)


def tally(number: int, members: Sequence[Any]) -> Tally:
    """What has come of a group."""
    # A value that cannot travel would make this one such.
    kept = [Reason(reason(m.exception)) if isinstance(m, Failure) else _fleeting(m) for m in members]
    return Tally(number, tuple(kept))


def _fleeting(value: Any) -> Any:
    return value.weight if isinstance(value, Lump | Tally) else value


def answer(number: int, failure: Failure, *inputs: Any) -> Answered:
    """What a handler says of a failure."""
    return Answered(number, reason(failure.exception))


def reason(error: BaseException) -> Any:
    """Return the number of the task that raised, or a word for what has gone wrong otherwise."""
    if isinstance(error, Bad):
        return error.args[0]
    return next((word for kind, word in _REASONS.items() if isinstance(error, kind)), repr(error))


_REASONS: Mapping[type, str] = {
    Unserializable: UNSENDABLE,
    WorkerDied: DIED,
    TaskExpired: EXPIRED,
    CancelledError: CANCELLED,
    LostData: LOST,
}


# -- tasks that become plans -----------------------------------------------------------------------


class Inner(NamedTuple):
    """A task of such a plan: what it reads of the tasks before it, and whether of what the replaced task has read."""

    kind: str
    number: int
    inputs: tuple[int, ...]
    outer: bool


class Grown(NamedTuple):
    """Such a plan; the last task's value is what counts.  `handler` answers its failure, `link` reads its value."""

    tasks: tuple[Inner, ...]
    handler: int | None
    link: int | None


_ROOM = 100
"""Numbers that a task has for those it becomes; the last two are those of its handler and its callback."""
_DEEPEST = _ROOM**4


def grown(number: int) -> Grown:
    """Return what the task of this number becomes: always the same."""
    random = Random(number)
    careless = random.choice((0.0, 0.0, 0.0, 0.2))
    tasks = []
    for at in range(random.choice((1, 1, 2, 3, 6))):
        kind = random.choice(("plain", "plain", "large"))
        if number < _DEEPEST and random.random() < 0.3:
            kind = "grow"
        if random.random() < careless:
            kind = random.choice(("bad", "bad", "bad", "lump"))
        inputs = tuple(sorted(random.sample(range(at), min(at, random.choice((0, 1, 1, 2))))))
        tasks.append(Inner(kind, number * _ROOM + at, inputs, random.random() < 0.5))
    handler = number * _ROOM + _ROOM - 1 if random.random() < 0.4 else None
    link = number * _ROOM + _ROOM - 2 if random.random() < 0.3 else None
    return Grown(needed(tasks), handler, link)


def needed(tasks: Sequence[Inner]) -> tuple[Inner, ...]:
    """Leave out what the last task does not need."""
    wanted = {len(tasks) - 1}
    for at in reversed(range(len(tasks))):
        if at in wanted:
            wanted.update(tasks[at].inputs)
    place = {at: new for new, at in enumerate(sorted(wanted))}
    return tuple(tasks[at]._replace(inputs=tuple(place[read] for read in tasks[at].inputs)) for at in sorted(wanted))


def call(
    kind: str, number: int, inputs: Sequence[Any], scope: NodeScope | None = None, row: TaskOptions = DEFAULT
) -> Delayed[Any]:
    """Return the promise of a task's value."""
    if kind in GATHERS:
        promised = [one if isinstance(one, Node) else Delayed(identity, (one,)) for one in inputs]
        members = build(GATHERS[kind], (promised,), {}, DEFAULT, "a life", (), scope)
        return Delayed(tally, (number, members), None, row, "a life", (), scope)
    row = replace(row, bind=True) if kind in (SHAKY, ASKS) else row
    return Delayed(FUNCTIONS[kind], (number, *inputs), None, row, "a life", (), scope)


def grow(number: int, *inputs: Any) -> Replacement:
    """A plan to be run instead."""
    plan = grown(number)
    scope = NodeScope(None) if plan.handler is not None else None
    nodes: list[Delayed[Any]] = []
    for task in plan.tasks:
        read = [nodes[at] for at in task.inputs]
        nodes.append(call(task.kind, task.number, [*read, *(inputs if task.outer else ())], scope))
    if scope is not None and plan.handler is not None:
        scope.handlers.append(call("answer", plan.handler, (scope.caught,)))
    if plan.link is not None:
        nodes[-1]._links = (call("plain", plan.link, (nodes[-1],)),)
    return Replacement(nodes[-1])


FUNCTIONS: Mapping[str, Any] = {
    "plain": plain,
    "large": large,
    "lump": lump,
    "bad": bad,
    "grow": grow,
    "answer": answer,
    SHAKY: shaky,
    ASKS: asks,
}


# -- direct evaluation -----------------------------------------------------------------------------


def value_of(kind: str, number: int, inputs: Sequence[Any]) -> Any:
    """Return what a task gives, called directly, whatever it becomes; of one that fails at first, in the end."""
    if kind in GATHERS:
        return Tally(number, tuple(map(_fleeting, inputs)))
    if kind in (SHAKY, ASKS) and all(value is not NOTHING for value in inputs):
        return _mix(number, inputs)
    if kind == "bad" or any(value is NOTHING for value in inputs):
        return NOTHING
    if kind != "grow":
        return FUNCTIONS[kind](number, *inputs)
    values: list[Any] = []
    for task in grown(number).tasks:
        read = [values[at] for at in task.inputs]
        values.append(value_of(task.kind, task.number, [*read, *(inputs if task.outer else ())]))
    return values[-1]


def may_raise(kind: str, number: int) -> frozenset[Any]:
    """Return what a task may fail with of itself: numbers of tasks in it that raise, UNSENDABLE."""
    if kind == "grow":
        return frozenset().union(*(may_raise(task.kind, task.number) for task in grown(number).tasks))
    return frozenset({number} if kind in ("bad", SHAKY, ASKS) else {UNSENDABLE} if kind == "lump" else ())


def handlers_in(kind: str, number: int) -> Mapping[int, frozenset[Any]]:
    """Return the handlers in what a task becomes, and in what that becomes, and what each may be told of."""
    found: dict[int, frozenset[Any]] = {}
    stack = [(kind, number)]
    while stack:
        one, at = stack.pop()
        if one == "grow":
            plan = grown(at)
            if plan.handler is not None:
                found[plan.handler] = may_raise(one, at)
            stack.extend((task.kind, task.number) for task in plan.tasks)
    return found
