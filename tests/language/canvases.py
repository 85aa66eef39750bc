"""Random descriptions of canvases, and many ways to spell each.

A description is written down with the classes of `interpreter`.  `Speller` writes it as lazygraph would have it, and
picks among the spellings that mean the same: with FORM they must have the same normal form, with SHAPE the same graph,
with VALUE only the same value.
"""

from __future__ import annotations

import enum
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import hypothesis.strategies as st
from hypothesis import settings

import lazygraph
from lazygraph import chain, chord, delayed, group
from lazygraph.language.canvas import Group
from lazygraph.testing.conformance import tasks
from tests.language.interpreter import Becomes, Call, Each, Many, Scope, Shared, Side, Steps


def often(usual: int, **more: Any) -> Any:
    """Run a property this often in the gate, and as many times more as the loaded profile asks for."""
    chosen = settings.default
    assert chosen is not None
    return settings(max_examples=usual * max(1, chosen.max_examples // 60), **more)


# -- descriptions ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Described:
    """A canvas and the delayed calls that are shared in it."""

    canvas: Any
    shared: tuple[Call, ...] = ()


@dataclass(frozen=True)
class Language:
    """What may occur in a description."""

    failing: bool = False
    callbacks: bool = False
    each: bool = False
    replace: bool = False
    leaves: int = 8

    def described(self) -> st.SearchStrategy[Described]:
        """Canvases that need nothing before them."""
        return st.builds(Described, self._closed(2), st.tuples(self._plain_call(), self._plain_call()))

    def open(self) -> st.SearchStrategy[Described]:
        """Canvases that can stand behind others: they do not start with a delayed call."""
        return st.builds(Described, self._open(2), st.tuples(self._plain_call(), self._plain_call()))

    def _numbers(self) -> st.SearchStrategy[int]:
        # Mostly harmless: a canvas in which everything fails shows little.
        return st.integers(-2, 40).map(lambda n: n if n < 0 else n % 10) if self.failing else st.integers(0, 9)

    def _plain_call(self) -> st.SearchStrategy[Call]:
        return self._calls(self._numbers())

    def _calls(self, arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Call]:
        args = st.lists(arguments, max_size=2).map(tuple)
        kwargs = st.dictionaries(st.sampled_from("km"), arguments, max_size=1).map(lambda said: tuple(said.items()))
        return st.builds(Call, st.sampled_from(["call", "call", "pack"]), args, kwargs, st.booleans())

    def _open(self, shared: int) -> st.SearchStrategy[Any]:
        number = self._numbers()
        leaf = st.one_of(number, st.builds(Shared, st.integers(0, shared - 1)))
        simple = st.one_of(self._calls(leaf), _many(number))
        return st.recursive(simple, lambda inner: st.one_of(*self._composed(leaf, inner)), max_leaves=self.leaves)

    def _composed(
        self, leaf: st.SearchStrategy[Any], inner: st.SearchStrategy[Any]
    ) -> Iterator[st.SearchStrategy[Any]]:
        side = st.builds(Side, st.lists(inner, max_size=4).map(tuple))
        yield st.builds(Steps, st.lists(inner, min_size=1, max_size=4).map(tuple))
        yield side
        yield st.builds(lambda header, body: Steps((header, body)), side, inner)
        arguments = st.one_of(leaf, inner, st.lists(st.one_of(leaf, inner), max_size=2))
        yield self._calls(st.one_of(arguments, st.dictionaries(st.just("in"), st.one_of(leaf, inner), max_size=1)))
        few = st.lists(inner, max_size=2).map(tuple)
        if self.callbacks:
            yield st.builds(Scope, inner, few, few if self.failing else st.just(()))
        if self.each:
            packed = st.builds(Call, st.just("pack"), st.lists(leaf, max_size=3).map(tuple))
            yield st.builds(lambda before, of: Steps((before, Each(unshared(of)))), st.one_of(packed, side), inner)
        if self.replace:
            yield st.builds(Becomes, st.lists(leaf, max_size=2).map(tuple), inner.map(unshared))

    def _closed(self, shared: int) -> st.SearchStrategy[Any]:
        promise = st.builds(Shared, st.integers(0, shared - 1))
        inner = self._open(shared)
        return st.one_of(
            inner,
            st.builds(lambda first, rest: Steps((first, *rest)), promise, st.lists(inner, max_size=3)),
            st.builds(Side, st.lists(st.one_of(promise, inner), max_size=4).map(tuple)),
            st.builds(
                lambda header, body: Steps((Side(tuple(header)), body)),
                st.lists(st.one_of(promise, inner), max_size=3),
                inner,
            ),
        )


def unshared(of: Any) -> Any:
    """Return the same with numbers in the place of delayed calls: what a task returns shares nothing with its graph."""
    if isinstance(of, Shared):
        return of.number
    if isinstance(of, list | tuple):
        return type(of)(map(unshared, of))
    if isinstance(of, dict):
        return {name: unshared(one) for name, one in of.items()}
    if not is_dataclass(of) or isinstance(of, type):
        return of
    return replace(of, **{field.name: unshared(getattr(of, field.name)) for field in fields(of)})


def _many(number: st.SearchStrategy[int]) -> st.SearchStrategy[Many]:
    rows = st.lists(st.lists(number, min_size=1, max_size=2).map(tuple), max_size=3).map(tuple)
    return st.one_of(
        st.builds(Many, st.just("map"), st.lists(number, max_size=3).map(tuple)),
        st.builds(Many, st.just("starmap"), rows),
        st.builds(Many, st.just("chunks"), rows, st.integers(1, 2)),
    )


# -- tasks that can be counted -----------------------------------------------------------------------


class Tasks:
    """The tasks of descriptions, in this process: they count their calls."""

    def __init__(self) -> None:
        self._ran: Counter[str] = Counter()
        self._more = threading.Condition()
        for name in ("call", "pack", "become"):
            setattr(self, name, delayed(self._counted(name)))

    def _counted(self, name: str) -> Callable[..., Any]:
        function: Any = getattr(tasks, name).__wrapped__

        def counted(*args: Any, **kwargs: Any) -> Any:
            said = {key: value for key, value in kwargs.items() if key != "by"}
            shown = tuple("failure" if isinstance(value, lazygraph.Failure) else value for value in args)
            with self._more:
                self._ran[repr((name, shown, tuple(sorted(said.items()))))] += 1
                self._more.notify_all()
            return function(*args, **kwargs)

        counted.__name__ = name
        return counted

    def ran(self) -> Counter[str]:
        """Return how often each call was made."""
        with self._more:
            return Counter(self._ran)

    def wait(self, wanted: int) -> Counter[str]:
        """Wait until so many calls were made (callbacks are waited for by nobody else); return how often each was."""
        with self._more:
            self._more.wait_for(lambda: self._ran.total() >= wanted, timeout=5)
            return Counter(self._ran)


# -- spellings ---------------------------------------------------------------------------------------


class Same(enum.IntEnum):
    """What two spellings have in common."""

    FORM = 0
    SHAPE = 1
    VALUE = 2


Way = tuple[Same, Callable[[], Any]]


class Speller:
    """Writes descriptions as canvases.  Without `chance` in the plainest way."""

    def __init__(
        self, said: Described, chance: random.Random | None = None, same: Same = Same.VALUE, using: Any = tasks
    ) -> None:
        self.said, self.chance, self.same, self.using = said, chance, same, using
        self.promises: dict[int, Any] = {}
        self._repeated = 0  # inside how many `each`: canvases there are filled again for every item, nodes are not

    def canvas(self) -> Any:
        """Return the whole; every call makes it anew, with the same shared delayed calls."""
        return self.spell(self.said.canvas)

    def spell(self, of: Any) -> Any:
        """Return the canvas of a description."""
        return WRITERS[type(of)](self, of)

    def pick(self, *ways: Way) -> Any:
        """Return what one of the ways gives that keep what is to be kept."""
        if self.chance is None:
            return ways[0][1]()
        return self.chance.choice([way for same, way in ways if same <= self.same])()

    def argument(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self.argument(one) for name, one in value.items()}
        if isinstance(value, list):
            return [self.argument(one) for one in value]
        if type(value) not in WRITERS or isinstance(value, Shared):
            return self.spell(value) if isinstance(value, Shared) else value
        canvas = self.spell(value)
        if self._repeated:
            return canvas
        return self.pick(
            (Same.FORM, lambda: canvas), (Same.SHAPE, canvas.to_nodes), (Same.VALUE, canvas.to_delayed)
        )

    def call(self, of: Call) -> Any:
        task = getattr(self.using, of.task)
        make = task.si if of.immutable else task.s
        args = tuple(self.argument(value) for value in of.args)
        kwargs = {name: self.argument(value) for name, value in of.kwargs}
        ways: list[Way] = [(Same.FORM, lambda: make(*args, **kwargs)), (Same.FORM, lambda: make(*args, **kwargs).set())]
        if not of.immutable:
            ways.append((Same.FORM, lambda: make(*args[1:]).clone(args[:1], kwargs)))
        ways.append((Same.SHAPE, lambda: chain(make(*args, **kwargs))))
        ways.append((Same.SHAPE, lambda: make(*args, **kwargs).set(pure=False)))
        return self.pick(*ways)

    def promise(self, of: Shared) -> Any:
        if of.number not in self.promises:
            call = self.said.shared[of.number]
            kwargs = {name: self.argument(value) for name, value in call.kwargs}
            task = getattr(self.using, call.task)
            self.promises[of.number] = task(*(self.argument(value) for value in call.args), **kwargs)
        return self.promises[of.number]

    def many(self, of: Many) -> Any:
        call = self.using.call
        if of.how == "map":
            return self.pick(
                (Same.FORM, lambda: call.map(of.rows)),
                (Same.FORM, lambda: call.map(row for row in of.rows)),
                (Same.VALUE, lambda: call.starmap([(row,) for row in of.rows])),
                (Same.VALUE, lambda: chain(group(call.si(row) for row in of.rows))),
            )
        if of.how == "starmap":
            return self.pick(
                (Same.FORM, lambda: call.starmap(of.rows)),
                (Same.FORM, lambda: call.starmap(row for row in of.rows)),
                (Same.VALUE, lambda: chain(group(call.si(*row) for row in of.rows))),
            )
        rows = [of.rows[at : at + of.size] for at in range(0, len(of.rows), of.size)]
        return self.pick(
            (Same.FORM, lambda: call.chunks(of.rows, of.size)),
            (Same.FORM, lambda: call.chunks((row for row in of.rows), of.size)),
            (Same.FORM, lambda: chain(group(call.starmap(some) for some in rows))),
            (Same.VALUE, lambda: chain(group(chain(group(call.si(*row) for row in some)) for some in rows))),
        )

    def steps(self, of: Steps) -> Any:
        return self.chained([self.spell(step) for step in self._joined(of.steps)])

    def _joined(self, steps: Sequence[Any]) -> list[Any]:
        """Write some neighbours as one chain within the chain, which means the same."""
        if self.chance is None or len(steps) < 3 or self.chance.random() < 0.5:
            return list(steps)
        first = self.chance.randrange(len(steps) - 1)
        return [*steps[:first], Steps(tuple(steps[first : first + 2])), *steps[first + 2 :]]

    def chained(self, steps: list[Any]) -> Any:
        ways: list[Way] = [
            (Same.FORM, lambda: chain(*steps)),
            (Same.FORM, lambda: chain(steps) if len(steps) > 1 else chain(*steps)),
            (Same.FORM, lambda: chain(step for step in steps)),
            (Same.FORM, lambda: _folded([*_unless_promise(steps), *steps, chain()])),
            (Same.FORM, lambda: chain(chain(), *steps) if _unless_promise(steps) else chain(*steps)),
            (Same.FORM, lambda: chain(*steps).set()),
            (Same.SHAPE, lambda: chain(*steps).set(pure=False)),
        ]
        if len(steps) > 1:
            ways.append((Same.FORM, lambda: _folded(steps)))
            ways.append((Same.FORM, lambda: steps[0] | chain(*steps[1:])))
            if _is_group(steps[-2]):
                ways.append((Same.FORM, lambda: chain(*steps[:-2], chord(steps[-2], steps[-1]))))
                ways.append((Same.FORM, lambda: chain(*steps[:-2], chord(iter(steps[-2].members), steps[-1]))))
            if _is_group(steps[-2]) and len(steps[-2]) == 1 and not _is_group(steps[-2].members[0]):
                ways.append((Same.FORM, lambda: chain(*steps[:-2], chord(steps[-2].members[0], steps[-1]))))
        return self.pick(*ways)

    def side(self, of: Side) -> Any:
        members = [self.spell(member) for member in self._grouped(of.members)]
        if self.same is Same.VALUE and self.chance and of.members and self.chance.random() < 0.1:
            return group(group(*members).set(pure=False), group([]))
        return self.pick(
            (Same.FORM, lambda: group(members)),
            (Same.FORM, lambda: group(member for member in members)),
            (Same.FORM, lambda: group(*members) if members else group()),
            (Same.FORM, lambda: group(group(members), group())),
            (Same.FORM, lambda: group(members).set()),
            (Same.SHAPE, lambda: group(members).set(pure=False)),
        )

    def _grouped(self, members: Sequence[Any]) -> list[Any]:
        if self.chance is None or len(members) < 2 or self.chance.random() < 0.5:
            return list(members)
        first, last = sorted(self.chance.sample(range(len(members) + 1), 2))
        return [*members[:first], Side(tuple(members[first:last])), *members[last:]]

    def each(self, of: Each) -> Any:
        self._repeated += 1
        canvas = self.spell(of.of)
        self._repeated -= 1
        return self.pick((Same.FORM, lambda: lazygraph.each(canvas)), (Same.FORM, lambda: lazygraph.each(canvas).set()))

    def becomes(self, of: Becomes) -> Any:
        args = [self.argument(value) for value in of.args]
        by = self.spell(of.by)
        return self.pick(
            (Same.FORM, lambda: self.using.become.s(*args, by=lazygraph.quote(by))),
            (Same.VALUE, lambda: chain(self.using.become.s(*args, by=lazygraph.quote(tasks.give.s())), by)),
        )

    def scope(self, of: Scope) -> Any:
        canvas = self.spell(of.of)
        link, link_error = [self.spell(one) for one in of.link], [self.spell(one) for one in of.link_error]
        if link:
            canvas = self.pick(
                (Same.FORM, lambda: canvas.link(*link)),
                (Same.FORM, lambda: canvas.link(link[0]).link(*link[1:])),
            )
        return canvas.link_error(*link_error) if link_error else canvas


WRITERS: Mapping[type, Any] = {
    Call: Speller.call,
    Shared: Speller.promise,
    Many: Speller.many,
    Steps: Speller.steps,
    Side: Speller.side,
    Each: Speller.each,
    Becomes: Speller.becomes,
    Scope: Speller.scope,
}


def _folded(steps: Sequence[Any]) -> Any:
    whole = steps[0]
    for step in steps[1:]:
        whole = whole | step
    return whole


def _unless_promise(steps: Sequence[Any]) -> list[Any]:
    """An empty chain to begin with, unless a delayed call begins: that can stand behind nothing."""
    return [] if isinstance(steps[0], lazygraph.Delayed) else [chain()]


def _is_group(canvas: Any) -> bool:
    return isinstance(canvas, Group) and not (canvas._said or canvas._links)
