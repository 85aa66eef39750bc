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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import hypothesis.strategies as st
from hypothesis import settings

import lazygraph
from lazygraph import Failure, Limit, chain, chord, delayed, group
from lazygraph.language.canvas import Group
from lazygraph.testing.conformance import tasks
from tests.language.interpreter import Becomes, Call, Each, Gathered, Many, Scope, Shared, Side, Steps, Tried, within


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
    """What may occur in a description, and about how many calls it is made of."""

    failing: bool = False
    callbacks: bool = False
    each: bool = False
    replace: bool = False
    options: bool = False
    fail_fast: bool = False
    size: int = 20

    def described(self) -> st.SearchStrategy[Described]:
        """Canvases that need nothing before them."""
        return _described(self, True)

    def open(self) -> st.SearchStrategy[Described]:
        """Canvases that can stand behind others: they do not start with a delayed call."""
        return _described(self, False)


@st.composite
def _described(draw: Any, language: Language, closed: bool) -> Described:
    maker = Maker(draw, language)
    size = draw(st.integers(3, language.size))
    canvas = maker.closed(size) if closed else maker.open(size)
    return Described(canvas, (unshared(maker.call(0)), unshared(maker.call(2))))


class Maker:
    """Draws descriptions of about a given size.  What is drawn as 0 is the simplest, so that failures shrink to it."""

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any], language: Language) -> None:
        self.draw, self.language = draw, language
        self._bare = False  # in callbacks that may not run: what stands in their arguments does not wait for that
        self._composed = [self.steps, self.steps, self.side, self.side, self.chord, self.call]
        for also, kind in (
            (language.callbacks, self.scope),
            (language.each, self.fan_out),
            (language.replace, self.becomes),
            (language.options, self.gathered),
            (language.options, self.tried),
        ):
            self._composed += [kind, kind] * also
        self._composed += [self.scope] * (8 if language.failing and language.callbacks else 0)

    def upto(self, most: int) -> int:
        drawn: int = self.draw(st.integers(0, most))
        return drawn

    def sizes(self, size: int, most: int = 4) -> list[int]:
        """Share a size out among none to `most`."""
        parts = self.upto(most)
        return [max(1, size // max(1, parts))] * parts

    def number(self) -> int:
        n = self.upto(32)
        return 20 - n if self.language.failing and n > 24 else n % 10

    def open(self, size: int) -> Any:
        if size <= 1:
            return self.call(size=0) if self.upto(5) else self.many()
        return self.draw(st.sampled_from(self._composed))(size - 1)

    def closed(self, size: int) -> Any:
        kind = self.upto(6)
        if kind > 4 and self.language.callbacks and size > 1:
            return self.scope(size - 1, closed=True)
        if kind == 1:
            return Steps((self.shared(), *map(self.open, self.sizes(size, 3))))
        if kind == 2:
            return self.side(size, closed=True)
        if kind == 3:
            return Steps((self.side(size // 2, closed=True), self.open(size // 2)))
        return self.open(size)

    def shared(self) -> Shared:
        return Shared(self.upto(1))

    def call(self, size: int) -> Call:
        """A call that may have canvases of this size among its arguments."""
        args = [self.argument(size // 2) for _ in range(self.upto(2))]
        kwargs = {name: self.argument(size // 2) for name in "km"[: max(0, self.upto(3) - 1)]}
        return Call(("call", "call", "pack")[self.upto(2)], tuple(args), tuple(kwargs.items()), self.upto(4) == 4)

    def tried(self, size: int) -> Tried:
        """A call that fails a few times; of plain numbers, so that it does so only for that reason."""
        fails = 1 + self.upto(1)
        retries = max(0, self.upto(3) - 1) if self.language.failing else fails + self.upto(1)
        args = tuple(self.upto(9) for _ in range(self.upto(2)))
        return Tried(Call("call", args, (), self.upto(4) == 4), fails, retries)

    def gathered(self, size: int) -> Gathered:
        """A group that goes on without some of its members, or (`fail_fast`) without all when one has failed."""
        members = [self.open(part) for part in self.sizes(size)]
        # The members of a group within the group are its own; those of one that is a step are a member's value.
        alone = tuple([Steps((one, Call("pack"))) if isinstance(within(one), Side) else one for one in members])
        if self.language.fail_fast and self.upto(2) == 2:
            return Gathered(alone, "raise", True)
        return Gathered(alone, ("collect", "skip")[self.upto(1)])

    def argument(self, size: int) -> Any:
        if self._bare:
            return self.number()
        kind = self.upto(5) if size else 0
        if kind == 1:
            return [self.argument(0), self.open(size)]
        if kind == 2:
            return {"in": self.open(size)}
        if kind > 2:
            return self.open(size)
        return self.shared() if self.upto(3) == 3 else self.number()

    def many(self) -> Many:
        kind = self.upto(2)
        if kind == 0:
            return Many("map", tuple(self.number() for _ in range(self.upto(3))))
        rows = tuple((self.number(),) * (1 + self.upto(1)) for _ in range(self.upto(3)))
        return Many("starmap", rows) if kind == 1 else Many("chunks", rows, 1 + self.upto(1))

    def steps(self, size: int) -> Steps:
        return Steps((self.open(size // 2), *map(self.open, self.sizes(size // 2, 3))))

    def _now_a_promise(self, closed: bool) -> bool:
        return not self._bare and self.upto(6) > (4 if closed else 5)

    def side(self, size: int, closed: bool = False) -> Side:
        return Side(
            tuple(self.shared() if self._now_a_promise(closed) else self.open(part) for part in self.sizes(size))
        )

    def chord(self, size: int) -> Steps:
        return Steps((self.side(size // 2), self.open(size // 2)))

    def scope(self, size: int, closed: bool = False) -> Scope:
        of, before = self.closed(size) if closed else self.open(size), self._bare
        self._bare = self._bare or self.language.failing
        links = [self.open(part) for part in self.sizes(size // 3, 2)]
        handlers = [self.open(part) for part in self.sizes(size // 3, 2)] if self.language.failing else []
        self._bare = before
        return Scope(of, tuple(links), tuple(handlers))

    def fan_out(self, size: int) -> Steps:
        items = Call("pack", tuple(self.argument(0) for _ in range(self.upto(3))))
        before = self.side(size // 2) if self.upto(2) == 2 else items
        return Steps((before, Each(self.open(size // 3))))

    def becomes(self, size: int) -> Becomes:
        return Becomes(tuple(self.argument(0) for _ in range(self.upto(2))), unshared(self.open(size // 2)))


def unshared(of: Any) -> Any:
    """Return the same with others in the place of delayed calls: what a task returns shares nothing with its graph."""
    if isinstance(of, Shared):
        return Call("pack", (of.number,), (), True)
    if isinstance(of, list | tuple):
        return type(of)(map(unshared, of))
    if isinstance(of, dict):
        return {name: unshared(one) for name, one in of.items()}
    if not is_dataclass(of) or isinstance(of, type):
        return of
    return replace(of, **{field.name: unshared(getattr(of, field.name)) for field in fields(of)})


# -- tasks that can be counted -----------------------------------------------------------------------


def shaky(self: Any, *args: Any, fails: int, **kwargs: Any) -> Any:
    """What `call` gives, after some attempts that raise."""
    if self.request.attempt <= fails:
        raise tasks.Lasting(-fails, "negative")
    return tasks.call.__wrapped__(*args, **kwargs)


def gist(members: list[Any]) -> list[Any]:
    """What has come of a group, without what no two runs have in common."""
    return ["failed" if isinstance(member, Failure) else member for member in members]


class Odd:
    """The tasks that options are said of, for workers in other processes."""

    shaky: Any = staticmethod(delayed(bind=True)(shaky))
    gist: Any = staticmethod(delayed(gist))


class Tasks:
    """The tasks of descriptions, in this process: they count their calls."""

    def __init__(self) -> None:
        self._ran: Counter[str] = Counter()
        self._more = threading.Condition()
        for name in ("call", "pack", "become"):
            setattr(self, name, delayed(self._counted(name)))
        self.shaky = delayed(bind=True)(self._count_attempts)
        self.gist = delayed(gist)

    def _count_attempts(self, attempt: Any, *args: Any, fails: int, **kwargs: Any) -> Any:
        with self._more:
            self._ran[repr(("call", tasks.calmed(args), tuple(sorted(kwargs.items()))))] += 1
            self._more.notify_all()
        return shaky(attempt, *args, fails=fails, **kwargs)

    def _counted(self, name: str) -> Callable[..., Any]:
        function: Any = getattr(tasks, name).__wrapped__

        def counted(*args: Any, **kwargs: Any) -> Any:
            said = {key: value for key, value in kwargs.items() if key != "by"}
            with self._more:
                self._ran[repr((name, tasks.calmed(args), tuple(sorted(said.items()))))] += 1
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
        return self.pick((Same.FORM, lambda: canvas), (Same.SHAPE, canvas.to_nodes), (Same.VALUE, canvas.to_delayed))

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

    def tried(self, of: Tried) -> Any:
        task = getattr(self.using, "shaky", Odd.shaky)
        make = task.si if of.of.immutable else task.s
        canvas = make(*of.of.args, fails=of.fails).set(retries=of.retries)
        return self.pick(
            (Same.FORM, lambda: canvas),
            (Same.SHAPE, lambda: canvas.set(retries=lazygraph.RetryPolicy(of.retries, on=(ValueError,), delay=0.001))),
            (Same.SHAPE, lambda: canvas.set(priority=3)),
            (Same.SHAPE, lambda: canvas.set(countdown=0.001)),
            (Same.SHAPE, lambda: canvas.set(limit=Limit("few", concurrency=1))),
            (Same.SHAPE, lambda: chain(canvas).set(concurrency=2)),
        )

    def gathered(self, of: Gathered) -> Any:
        members = [self.spell(member) for member in of.members]
        ways = {"on_error": of.on_error, "fail_fast": of.fail_fast}
        body = getattr(self.using, "gist", Odd.gist).s()
        return self.pick(
            (Same.FORM, lambda: chain(group(*members, **ways), body)),
            (Same.FORM, lambda: chord(members, body, **ways)),
            (Same.SHAPE, lambda: chain(group(*members, **ways).set(priority=1), body)),
        )

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
            # A group with options of its own is not flattened; if nothing in it takes what is before, it waits itself.
            (Same.SHAPE if _takes(of) else Same.VALUE, lambda: group(members).set(pure=False)),
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
    Tried: Speller.tried,
    Gathered: Speller.gathered,
    Shared: Speller.promise,
    Many: Speller.many,
    Steps: Speller.steps,
    Side: Speller.side,
    Each: Speller.each,
    Becomes: Speller.becomes,
    Scope: Speller.scope,
}


def _takes(of: Any) -> bool:
    """Whether something in a group takes what comes before it."""
    return any(map(_takes, of.members)) if isinstance(of, Side) else not isinstance(of, Shared)


def _folded(steps: Sequence[Any]) -> Any:
    whole = steps[0]
    for step in steps[1:]:
        whole = whole | step
    return whole


def _unless_promise(steps: Sequence[Any]) -> list[Any]:
    """An empty chain to begin with, unless a delayed call begins: that can stand behind nothing."""
    return [] if isinstance(steps[0], lazygraph.Delayed) else [chain()]


def _is_group(canvas: Any) -> bool:
    return isinstance(canvas, Group) and not (canvas._said or canvas._links or canvas._handlers)
