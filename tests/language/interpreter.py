"""What a canvas means, said a second time and as plainly as possible: the rules of composing in a page of Python.

It evaluates descriptions (the classes below), never canvases, and knows nothing of graphs, nodes or lowering.  Two
tasks are enough: `call` gives the call itself, so that nothing that happens to it can be overlooked, and `pack` gives
its arguments as a list.  A negative number among the arguments of `call` is a failure with that number as its name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Call:
    """`task.s(*args, **kwargs)`, or `.si`.  Arguments are plain values, descriptions, or lists and dicts of them."""

    task: str = "call"
    args: tuple[Any, ...] = ()
    kwargs: tuple[tuple[str, Any], ...] = ()
    immutable: bool = False


@dataclass(frozen=True)
class Tried:
    """A `call` whose first `fails` attempts raise, with `-fails` as the failure's name, and that is tried again."""

    of: Call
    fails: int
    retries: int


@dataclass(frozen=True)
class Gathered:
    """`group(members, on_error=...)`, and then `gist`, which says "failed" where it gets a `Failure`."""

    members: tuple[Any, ...]
    on_error: str = "collect"
    fail_fast: bool = False


@dataclass(frozen=True)
class Shared:
    """A delayed call, the same wherever its number is the same."""

    number: int


@dataclass(frozen=True)
class Many:
    """`call.map(rows)`, `call.starmap(rows)` or, with a size, `call.chunks(rows, size)`."""

    how: str
    rows: tuple[Any, ...]
    size: int = 1


@dataclass(frozen=True)
class Steps:
    """A chain."""

    steps: tuple[Any, ...]


@dataclass(frozen=True)
class Side:
    """A group."""

    members: tuple[Any, ...]


@dataclass(frozen=True)
class Each:
    """One member for every item of the list before it."""

    of: Any


@dataclass(frozen=True)
class Becomes:
    """A task that returns `replace(canvas)`; the canvas gets the list of the task's arguments."""

    args: tuple[Any, ...]
    by: Any


@dataclass(frozen=True)
class Scope:
    """A canvas with callbacks for its success and its failure."""

    of: Any
    link: tuple[Any, ...] = ()
    link_error: tuple[Any, ...] = ()


Fault = tuple[int, int]
"""The how-manieth failure, and the negative number that it is."""


@dataclass(frozen=True)
class Ended:
    """What something gives: a value, or the failures because of which it gives none.

    `own`: of a group, the failures of its members, without those of what it only waits for.
    """

    value: Any = None
    faults: frozenset[Fault] = frozenset()
    own: frozenset[Fault] | None = None


def faults_of(ends: Iterable[Ended]) -> frozenset[Fault]:
    """Return the failures of all of them."""
    return frozenset().union(*(end.faults for end in ends))


def within(of: Any) -> Any:
    """Return what stands in scopes."""
    while isinstance(of, Scope):
        of = of.of
    return of


def flat(of: Any) -> list[Any]:
    """Return the members of a group and of the groups in it; of anything else, that."""
    inner = within(of)
    return [one for member in inner.members for one in flat(member)] if isinstance(inner, Side) else [of]


def _hangs(of: Any) -> bool:
    """Whether callbacks hang on a group that is empty."""
    links = False
    while isinstance(of, Scope):
        of, links = of.of, links or bool(of.link)
    return links and not flat(of)


def shared_in(of: Any) -> list[Shared]:
    """Return the delayed calls in a description."""
    if isinstance(of, Shared):
        return [of]
    if isinstance(of, str | int):
        return []
    parts = of.values() if isinstance(of, dict) else vars(of).values() if type(of) in RULES else of
    return [one for part in parts for one in shared_in(part)]


class Interpreter:
    """Evaluates descriptions.  `ran` counts the calls that were made, `failed` lists those that failed."""

    def __init__(self, shared: Sequence[Call] = ()) -> None:
        self.shared, self.known = shared, dict[int, tuple[Ended, set[Fault]]]()
        self.ran: Counter[str] = Counter()
        self.failed: list[Fault] = []
        self.scopes: list[set[Fault]] = []  # of those around what is evaluated, what has failed in each
        self.around: list[set[Fault]] = []  # of those around the task that became what is evaluated

    def end(self, of: Any, prefix: tuple[Ended, ...] = (), kwargs: Mapping[str, Any] | None = None) -> Ended:
        """Evaluate a description behind the values before it."""
        end: Ended = RULES[type(of)](self, of, prefix, kwargs or {})
        return end

    def attempt(self, task: str, args: Sequence[Any], kwargs: Mapping[str, Any], tried: Tried | None = None) -> Ended:
        named = tuple(sorted(kwargs.items()))
        self.ran[repr((task, tuple(args), named))] += 1 + (min(tried.fails, tried.retries) if tried else 0)
        bad = [] if tried is None or tried.fails <= tried.retries else [-tried.fails]
        bad = bad or [value for value in (*args, *kwargs.values()) if isinstance(value, int) and value < 0]
        if bad and task != "pack":
            self.failed.append((len(self.failed), bad[0]))
            for scope in self.scopes:
                scope.add(self.failed[-1])
            return Ended(None, frozenset(self.failed[-1:]))
        return Ended(("call", tuple(args), named) if task == "call" else list(args))

    def tried(self, of: Tried, prefix: tuple[Ended, ...], kwargs: Mapping[str, Any]) -> Ended:
        return self.call(of.of, prefix, kwargs, of)

    def gathered(self, of: Gathered, prefix: tuple[Ended, ...], kwargs: Mapping[str, Any]) -> Ended:
        outside = self.scopes
        if of.on_error != "raise":
            self.scopes = []  # what fails in here is no failure of those around it
        ends = [self.end(member, prefix, kwargs) for member in of.members]
        self.scopes = outside
        if of.on_error == "raise":
            return Ended([end.value for end in ends], faults_of(ends or prefix))
        if faults_of(prefix):  # it does without members, and not without what comes before it
            return Ended(None, faults_of(prefix))
        kept = [end for end in ends if not end.faults or of.on_error == "collect"]
        return Ended(["failed" if end.faults else end.value for end in kept])

    def apart(self, of: Any, prefix: tuple[Ended, ...] = (), own: Sequence[set[Fault]] = ()) -> Ended:
        """Evaluate what belongs to none of the scopes around it, only to its `own`: shared calls, callbacks."""
        before, self.scopes, self.around = (self.scopes, self.around), list(own), []
        end = self.end(of, prefix)
        self.scopes, self.around = before
        return end

    def above(self, of: Any) -> Ended:
        """Evaluate a canvas among the arguments of a call: it is above the scopes that the call stands in."""
        before, self.scopes = self.scopes, list(self.around)
        end = self.end(of)
        self.scopes = before
        return end

    def became(self, of: Any, prefix: tuple[Ended, ...], kwargs: Mapping[str, Any]) -> Ended:
        """Evaluate what a task has become, which is all of that task's scopes."""
        before, self.around = self.around, list(self.scopes)
        end = self.end(of, prefix, kwargs)
        self.around = before
        return end

    def argument(self, value: Any) -> Ended:
        if type(value) in RULES:
            return self.promise(value) if isinstance(value, Shared) else self.above(value)
        if isinstance(value, dict):
            ends = {name: self.argument(one) for name, one in value.items()}
            return Ended({name: end.value for name, end in ends.items()}, faults_of(ends.values()))
        if isinstance(value, list):
            return self.listed([self.argument(one) for one in value])
        return Ended(value)

    def listed(self, ends: Sequence[Ended]) -> Ended:
        return Ended([end.value for end in ends], faults_of(ends))

    def call(self, of: Call, prefix: tuple[Ended, ...], kwargs: Mapping[str, Any], tried: Tried | None = None) -> Ended:
        args = [self.argument(value) for value in of.args]
        given = {} if of.immutable else kwargs
        named = {name: self.argument(value) for name, value in {**dict(of.kwargs), **given}.items()}
        faults = faults_of([*prefix, *args, *named.values()])
        if faults:
            return Ended(None, faults)
        before = [] if of.immutable else [end.value for end in prefix]
        values = [*before, *(end.value for end in args)]
        return self.attempt(of.task, values, {name: end.value for name, end in named.items()}, tried)

    def promise(self, of: Shared) -> Ended:
        if of.number not in self.known:
            own: set[Fault] = set()
            self.known[of.number] = self.apart(self.shared[of.number], own=[own]), own
        return self.known[of.number][0]

    def part(self, of: Shared, prefix: tuple[Ended, ...], kwargs: Mapping[str, Any]) -> Ended:
        """A delayed call that is a step or member; it takes nothing of what comes before."""
        end = self.promise(of)
        for scope in self.scopes:
            scope |= self.known[of.number][1]
        return end

    def many(self, of: Many, prefix: tuple[Ended, ...], kwargs: Mapping[str, Any]) -> Ended:
        size = of.size if of.how == "chunks" else max(1, len(of.rows))
        chunks = [self.chunk(of, of.rows[at : at + size], prefix) for at in range(0, len(of.rows), size)]
        if of.how == "chunks":
            return self.listed(chunks) if chunks else Ended([], faults_of(prefix))
        return chunks[0] if chunks else Ended([], faults_of(prefix))

    def chunk(self, of: Many, rows: Sequence[Any], prefix: tuple[Ended, ...]) -> Ended:
        """One task after another, until one fails."""
        made: list[Any] = []
        if faults_of(prefix):
            return Ended(None, faults_of(prefix))
        for row in rows:
            end = self.attempt("call", (row,) if of.how == "map" else row, {})
            if end.faults:
                return end
            made.append(end.value)
        return Ended(made)

    def steps(self, of: Steps, prefix: tuple[Ended, ...], kwargs: Mapping[str, Any]) -> Ended:
        for step in of.steps:
            prefix, kwargs = (self.end(step, prefix, kwargs),), {}
        return prefix[0]

    def side(self, of: Side, prefix: tuple[Ended, ...], kwargs: Mapping[str, Any]) -> Ended:
        own: frozenset[Fault] = frozenset()
        values: list[Any] = []
        for member in of.members:
            end, is_part = self.end(member, prefix, kwargs), isinstance(within(member), Side)
            values.extend((end.value or ()) if is_part else [end.value])
            # Of a part the outer group waits for the members only; for what its callbacks hang on if there is none.
            own |= end.own if is_part and end.own is not None and not _hangs(member) else end.faults
        waits = all(isinstance(member, Shared) for member in flat(of))  # none of them takes what comes before
        return Ended(values, own | faults_of(prefix if waits else ()), own)

    def each(self, of: Each, prefix: tuple[Ended, ...], kwargs: Mapping[str, Any]) -> Ended:
        (items,) = prefix
        faults = faults_of([items, *(self.promise(one) for one in shared_in(of.of))])  # those go in as they are
        if faults:
            return Ended(None, faults)
        return self.listed([self.became(of.of, (Ended(one),), kwargs) for one in items.value])

    def becomes(self, of: Becomes, prefix: tuple[Ended, ...], kwargs: Mapping[str, Any]) -> Ended:
        packed = self.call(Call("become", of.args), prefix, kwargs)
        return packed if packed.faults else self.became(of.by, (packed,), {})

    def scope(self, of: Scope, prefix: tuple[Ended, ...], kwargs: Mapping[str, Any]) -> Ended:
        own: set[Fault] = set()
        self.scopes.append(own)
        end = self.end(of.of, prefix, kwargs)
        self.scopes.pop()
        if not end.faults:
            for callback in of.link:
                self.apart(callback, (end,))
        elif own:  # and not something above it
            for callback in of.link_error:
                self.apart(callback, (Ended("failure"),))
        return end


RULES: Mapping[type, Any] = {
    Call: Interpreter.call,
    Tried: Interpreter.tried,
    Gathered: Interpreter.gathered,
    Shared: Interpreter.part,
    Many: Interpreter.many,
    Steps: Interpreter.steps,
    Side: Interpreter.side,
    Each: Interpreter.each,
    Becomes: Interpreter.becomes,
    Scope: Interpreter.scope,
}
