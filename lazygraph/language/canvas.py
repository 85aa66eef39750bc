"""How work composes: chain, group, chord.

A canvas is a tree of signatures (calls with a hole) and promises, a value: composing never changes an operand, and
every lowering makes fresh nodes.  `filling` fills the holes; what comes out are promises like any other, so there is
no second workflow engine.

Covers: the common part of all canvases, chains and groups, their normal form, filling them.
Does not cover: one call (language.signature), fan-outs known at run time (language.dynamic), driving fillings
(language.filling), running (door), graphs (planning.lower).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic

from lazygraph.errors import EmptyCanvas, InvalidOption, WrongCanvas
from lazygraph.language.filling import (
    NOTHING,
    Before,
    Filled,
    Within,
    as_node,
    behind,
    ends_with,
    given_in,
    linked,
    nodes_in,
    owned,
    run,
    scoped,
)
from lazygraph.language.members import check_on_error
from lazygraph.language.promise import Delayed
from lazygraph.language.travel import frozen
from lazygraph.values.lazy import Lazy
from lazygraph.values.node import External, Recipe
from lazygraph.values.options import Said, said
from lazygraph.values.verbs import CanvasVerbs, here_and_now, start_detached

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Self, Unpack

    # With defaults, so that a bare `Canvas` says nothing.
    from typing_extensions import TypeVar

    from lazygraph.language.filling import Filling, Waited
    from lazygraph.values.keywords import HowToPersist, HowToRun, OfCalls
    from lazygraph.values.outcome import Failure
    from lazygraph.values.verbs import GroupResult  # noqa: F401  # in the text of a base

    Takes = TypeVar("Takes", contravariant=True, default=Any)
    Gives = TypeVar("Gives", covariant=True, default=Any)
    Member = TypeVar("Member", covariant=True, default=Any)
    Handle = TypeVar("Handle", covariant=True, default=Any)
else:
    from typing import TypeVar

    Takes = TypeVar("Takes", contravariant=True)
    Gives = TypeVar("Gives", covariant=True)
    Member = TypeVar("Member", covariant=True)
    Handle = TypeVar("Handle", covariant=True)

A = TypeVar("A")
B = TypeVar("B")
M = TypeVar("M")
R = TypeVar("R")
W = TypeVar("W")

DEEPEST_SHOWN = 3
_LONGEST_SHOWN = 6


class Canvas(Recipe, CanvasVerbs, Lazy[Gives], Generic[Takes, Gives, Member, Handle]):
    """The common part of everything that composes with `|`.

    For type checkers: it takes a `Takes` from what comes before it (object: anything, it only waits; Never: nothing can
    come before it) and gives a `Gives`, which in a group around it counts as `Member`; starting it gives a `Handle`.
    """

    __slots__ = ("_handlers", "_links", "_said")

    _said: Said
    _links: tuple[Canvas, ...]
    _handlers: tuple[Canvas, ...]

    def filling(self, before: Before, within: Within) -> Filling:
        """Lower this canvas behind `before`, inside of `within`; see filling.run."""
        raise NotImplementedError

    def state(self) -> tuple[Callable[..., Any], Sequence[Any], Any]:
        """Return what makes this again, its parts, and the rest (see travel.frozen)."""
        raise NotImplementedError

    def shown(self, depth: int) -> str:
        """Return the text of this canvas inside `depth` others."""
        raise NotImplementedError

    @property
    def simple(self) -> bool:
        """Whether `filled` will do: filling this asks for no other filling."""
        return False

    def filled(self, before: Before, within: Within) -> Filled:
        """Lower a simple canvas at once."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return self.shown(0)

    def __reduce__(self) -> tuple[Any, ...]:
        return frozen(self)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    # -- composing ---------------------------------------------------------------------------------

    def __or__(self: Canvas[A, B, Any, Any], other: Canvas[B, R, M, W]) -> Chain[A, R, W]:
        return Chain((self, as_step(other)))

    def __ror__(self, other: Delayed[Takes]) -> Chain[object, Gives, Handle]:
        if not isinstance(other, Delayed):
            return NotImplemented
        return Chain((as_part("chain", other), self))

    def set(self, **options: Unpack[OfCalls]) -> Self:
        """Return the same canvas with options; on a chain or group they hold for all nodes that set no own."""
        self._refuse_labels(options)
        copy = self._copy()
        copy._said = said(f"{_word(self)}.set()", options, self._said)
        return copy

    def _refuse_labels(self, options: Mapping[str, Any]) -> None:
        for name in ("key", "name", "nout"):
            if options.get(name) is not None:
                raise InvalidOption(f"{name}= on a {_word(self)} would name many nodes alike; set it on one signature")

    def _copy(self) -> Self:
        made = object.__new__(type(self))
        for cls in type(self).__mro__:
            for name in getattr(cls, "__slots__", ()):
                object.__setattr__(made, name, getattr(self, name))
        return made

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_"):
            raise AttributeError(f"{self!r} is a value and cannot be changed; .clone() and .set() return another one")
        object.__setattr__(self, name, value)

    def link(self, *others: Canvas[Gives]) -> Self:
        """Return the same canvas with callbacks: each runs once with its value after it has succeeded.

        >>> from lazygraph import delayed
        >>> heard = []
        >>> delayed(abs).s(-1).link(delayed(heard.append).s()).compute(executor="sync"), heard
        (1, [1])
        """
        copy = self._copy()
        copy._links = (*self._links, *map(_callback, others))
        return copy

    def link_error(self, *others: Canvas[Failure]) -> Self:
        """Return the same canvas with handlers: each runs once with a `Failure` when a node of this has failed.

        >>> from lazygraph import delayed, use
        >>> heard = []
        >>> note = delayed(lambda failure: heard.append((failure.node, failure.attempt)))
        >>> with use("sync"):
        ...     delayed(divmod).s(1, 0).link_error(note.s()).delay().successful(), heard
        (False, [('divmod', 1)])
        """
        copy = self._copy()
        copy._handlers = (*self._handlers, *map(_callback, others))
        return copy

    on_error = link_error
    """`link_error`, as Celery calls it where it returns the signature."""

    # -- lowering ----------------------------------------------------------------------------------

    def to_nodes(self, *args: Any) -> Any:
        """Return fresh promises for this canvas: one, or nested lists of them where it ends in a group."""
        filled = run(self.filling(Before(args), Within()))
        return as_node(filled) if filled.after or filled.on_error != "raise" else filled.value

    def to_delayed(self, *args: Any, **kwargs: Any) -> Delayed[Gives]:
        """Return one fresh promise for this canvas: of a list where it ends in a group."""
        return as_node(run(self.filling(Before(args, (), kwargs), Within())))

    # -- starting ----------------------------------------------------------------------------------

    def delay(self, /, *args: Any, **kwargs: Any) -> Handle:
        """Start this in the default executor; return its Future (of a canvas that ends in a group: GroupResult)."""
        return self.apply_async(args, kwargs)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Handle:
        """Start this, as `delay` does."""
        return self.apply_async(args, kwargs)

    def __invert__(self) -> Gives:
        """Start this and wait for its value, as in Celery."""
        handle: Any = self.delay()
        value: Gives = handle.get()
        return value

    def apply(self, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any) -> Handle:
        """Run this here and now; return its Future or GroupResult, which has ended.  Keywords as of `apply_async`."""
        with here_and_now():
            return self.apply_async(args, kwargs, **options)

    def apply_async(
        self,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        link: Canvas[Gives] | Iterable[Canvas[Gives]] | None = None,
        link_error: Canvas[Failure] | Iterable[Canvas[Failure]] | None = None,
        **options: Unpack[OfCalls],
    ) -> Handle:
        """Start this with options; return its Future or GroupResult.  Unknown options raise `UnknownOption`.

        `args` and `kwargs` go to what comes first: the first step of a chain, every member of a group.  `countdown` and
        `eta` hold back what comes first; `expires` is for all of it, and counts from now.
        """
        given = {name: value for name, value in options.items() if value is not None}
        self._refuse_labels(given)
        whole = self.link(*_callbacks(link)).link_error(*_callbacks(link_error))
        within = Within(noted=[]).saying(said("apply_async()", given))
        handle: Handle = start_detached(
            run(whole.filling(Before(tuple(args), (), dict(kwargs or {})), within)), within.noted
        )
        return handle

    if TYPE_CHECKING:

        def compute(self, **keywords: Unpack[HowToRun]) -> Gives: ...  # type: ignore[override]

        def persist(self, **keywords: Unpack[HowToPersist]) -> Delayed[Gives]: ...  # type: ignore[override]


def _callbacks(given: Any) -> tuple[Any, ...]:
    if isinstance(given, Canvas | Delayed) or (given and not isinstance(given, Iterable)):
        return (given,)
    return tuple(given or ())


def _callback(other: Any) -> Canvas:
    if isinstance(other, Canvas):
        return other
    raise WrongCanvas(f"a callback is a signature or a canvas, not {other!r}; for a function f write f.s()")


def _word(canvas: Canvas) -> str:
    return type(canvas).__name__.lower()


class Composed(Canvas[Takes, Gives, Member, Handle]):
    """Parts in declared order.  Parts of the same kind that say nothing of their own are opened: one normal form.

    Composing only notes its operands, so that a chain or group of n parts is built in O(n), whichever way.
    """

    __slots__ = ("_flat", "_parts")

    _kind: type[Composed]

    def __init__(self, parts: tuple[Any, ...]) -> None:
        self._parts = parts
        self._flat = False
        self._said, self._links, self._handlers = (), (), ()

    @property
    def parts(self) -> tuple[Any, ...]:
        """The parts, flat."""
        if not self._flat:
            flat: list[Any] = []
            stack = list(reversed(self._parts))
            while stack:
                part = stack.pop()
                if isinstance(part, self._kind) and not part.own:
                    stack.extend(reversed(part._parts))
                else:
                    flat.append(part)
            self._parts, self._flat = tuple(flat), True
        return self._parts

    def _texts(self, depth: int) -> list[str]:
        parts = self.parts
        first = parts if len(parts) <= _LONGEST_SHOWN else parts[: _LONGEST_SHOWN - 1]
        texts = [part.shown(depth + 1) if isinstance(part, Canvas) else repr(part) for part in first]
        return texts if len(first) == len(parts) else [*texts, f"… {len(parts)} in all"]

    def state(self) -> tuple[Callable[..., Any], Sequence[Any], Any]:
        """Return the maker, the parts and callbacks, and the rest."""
        parts, links = self.parts, self._links
        rest = (type(self), self._ways(), len(parts), len(links), self._said)
        return _composed_again, (*parts, *links, *self._handlers), rest

    def _ways(self) -> dict[str, Any]:
        """Return what else it was made with."""
        return {}

    @property
    def own(self) -> bool:
        """Whether this says something of its own stretch: options, callbacks, handlers."""
        return bool(self._said or self._links or self._handlers or self._ways())


def _composed_again(parts: list[Any], rest: tuple[type[Composed], dict[str, Any], int, int, Said]) -> Composed:
    cls, ways, count, links, holds = rest
    again = cls(tuple(parts[:count]), **ways)
    again._said, again._links, again._handlers = (
        holds,
        tuple(parts[count : count + links]),
        tuple(parts[count + links :]),
    )
    return again


class Chain(Composed[Takes, Gives, Gives, Handle]):
    """Steps, each fed by the one before.  `steps` is the normal form: flat, whatever way it was written."""

    __slots__ = ()

    @property
    def steps(self) -> tuple[Any, ...]:
        """The steps, flat."""
        return self.parts

    def shown(self, depth: int) -> str:
        """Return `a | b`."""
        if depth > DEEPEST_SHOWN:
            return "chain(…)"
        texts = self._texts(depth)
        return " | ".join(texts) if len(texts) > 1 else f"chain({', '.join(texts)})"

    def filling(self, before: Before, within: Within) -> Filling:
        """Fill each step with what the one before it became."""
        if self._handlers:
            within = yield scoped(self._handlers, within)
        within = within.saying(self._said)
        steps = self.steps
        if not steps and not before.values:
            raise EmptyCanvas
        if not steps and (len(before.values) > 1 or before.kwargs):
            raise WrongCanvas("chain() is the identity: it takes one value, and no keywords")
        filled = Filled(before.values[0] if before.values else None, before.after, given=True)
        for at, step in enumerate(steps):
            if isinstance(step, Delayed):
                if at or before != NOTHING:
                    raise WrongCanvas(f"{step!r} stands behind other steps of a chain, but a promise takes no values")
                filled = given_in(within.scope, step)
            elif step.simple:
                filled = step.filled(before, within)
            else:
                filled = yield step.filling(_one_list(before) if isinstance(step, Group) else before, within)
            before, within = behind(filled), within.later()
        a_list = _ends_in_group(self)
        if self._handlers:
            ends_with(filled, within)
            filled = owned(filled, within, a_list=a_list)
        done: Filled = yield linked(filled, self._links, a_list=a_list)
        return done


def _one_list(before: Before) -> Before:
    """Every member of a group gets the whole list before it: one node holds that, or n x m edges would."""
    if before.values and isinstance(before.values[0], list):
        return Before((as_node(Filled(before.values[0], before.after)),), (), before.kwargs, before.step)
    return before


def _ends_in_group(canvas: Any) -> bool:
    while isinstance(canvas, Chain):
        canvas = canvas.steps[-1] if canvas.steps else None
    return isinstance(canvas, Group)


# Its list is covariant, which other lists are not: every run makes a new one.
class Group(Composed[Takes, list[Member], Member, "GroupResult[Member]"]):  # pyright: ignore[reportInvalidTypeArguments]
    """Members side by side; the value is the list of theirs, in declared order, whatever its length.

    `on_error`: what the value has for a member that has none; `fail_fast`: the first that fails ends the others.
    """

    __slots__ = ("fail_fast", "on_missing")

    on_missing: str
    fail_fast: bool

    def __init__(self, parts: tuple[Any, ...], on_error: str = "raise", fail_fast: bool = False) -> None:
        super().__init__(parts)
        check_on_error("group", on_error)
        object.__setattr__(self, "on_missing", on_error)
        object.__setattr__(self, "fail_fast", fail_fast)

    @property
    def members(self) -> tuple[Any, ...]:
        """The members, flat."""
        return self.parts

    def __len__(self) -> int:
        return len(self.parts)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.parts)

    def _ways(self) -> dict[str, Any]:
        ways = {"on_error": self.on_missing, "fail_fast": self.fail_fast}
        return {name: way for name, way in ways.items() if way != _USUAL[name]}

    def shown(self, depth: int) -> str:
        """Return `group(a, b)`."""
        ways = [f"{name}={way!r}" for name, way in self._ways().items()]
        return f"group({', '.join([*self._texts(depth), *ways]) if depth <= DEEPEST_SHOWN else '…'})"

    def filling(self, before: Before, within: Within, flat: bool = False) -> Filling:
        """Fill every member with the same values.  Values of a group in it flatten; its options and callbacks stay.

        `flat`: it is such a group itself, so that failures of its members are the outer one's.
        """
        contained = self.on_missing != "raise" and not flat
        within = yield scoped(self._handlers, within, self.fail_fast, contained)
        within = within.saying(self._said)
        members = self.members
        values: list[Any] = []
        given = takes = False
        holders: Waited = ()
        for member in members:
            if isinstance(member, Delayed):
                filled = given_in(within.scope, member)
            elif member.simple:
                filled = member.filled(before, within)
            elif isinstance(member, Group):
                filled = yield member.filling(before, within, flat=True)
            else:
                filled = yield member.filling(before, within)
            given = filled.given if not values else given
            if isinstance(member, Group) and member.on_missing not in ("raise", self.on_missing):
                raise WrongCanvas(
                    f"on_error={member.on_missing!r} on a group within a group, whose members are the outer one's: "
                    "say it on the outer group"
                )
            takes = takes or (filled.takes if isinstance(member, Group) else not isinstance(member, Delayed))
            if isinstance(member, Group):
                values.extend(filled.value)
                holders = (*holders, *filled.holders) if filled.holders else holders
            else:
                values.append(as_node(filled))
                if within.noted is not None and values[-1] is not filled.value:
                    within.noted.append((values[-1], filled))
        # Where nobody takes what comes before, it is waited for; so it is by a group that can do without members.
        rest: Waited = (*before.after, *nodes_in(before.values)) if not takes or contained else ()
        whole = Filled(values, (*rest, *holders), given, before.step, self.on_missing, takes, holders)
        if self._handlers or self.fail_fast:
            ends_with(whole, within)
            whole = owned(whole, within, a_list=True)
        done: Filled = yield linked(whole, self._links, a_list=True)
        return done


_USUAL = {"on_error": "raise", "fail_fast": False}
Chain._kind, Group._kind = Chain, Group


class Header(Group[Takes, Member]):
    """`chord(header)`: waits for its body; calling it with the body starts the whole, as in Celery."""

    __slots__ = ()

    def __call__(  # pyright: ignore[reportIncompatibleMethodOverride]  # not started yet: the body is missing
        self: Canvas[Any, Any, A, Any], body: Canvas[list[A], Any, Any, W], **kwargs: Any
    ) -> W:
        """Start the chord of this header and `body`."""
        whole: Chain[Any, Any, W] = Chain((self, as_step(body)))
        return whole.delay(**kwargs)


def as_part(where: str, part: Any) -> Any:
    """Return `part` if it can be part of a canvas."""
    # A delayed function is a promise of the function, which nobody wants here: its call was forgotten.
    if isinstance(part, Canvas) or (isinstance(part, Delayed) and not isinstance(part, Recipe)):
        return part
    if isinstance(part, External):
        raise WrongCanvas(f"{part!r} has no place in a {where}; write delayed(future), which is a promise of its value")
    raise WrongCanvas(
        f"a {where} is made of signatures, canvases and delayed calls, not of {part!r}; for a function f write f.s(...)"
    )


def as_step(part: Any) -> Any:
    """Return `part` if it can stand behind other steps."""
    if isinstance(as_part("chain", part), Delayed):
        raise WrongCanvas(f"{part!r} cannot stand behind other steps of a chain: a promise takes no values")
    return part
