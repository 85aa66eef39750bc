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
from typing import TYPE_CHECKING, Any

from lazygraph.errors import EmptyCanvas, InvalidOption, NotImplementedYet, WrongCanvas
from lazygraph.language.filling import (
    NOTHING,
    Before,
    Filled,
    Within,
    as_node,
    behind,
    given_in,
    linked,
    nodes_in,
    owned,
    run,
    scoped,
)
from lazygraph.language.promise import Delayed
from lazygraph.language.travel import frozen
from lazygraph.values.node import Recipe
from lazygraph.values.options import Said, said, together
from lazygraph.values.verbs import Verbs, start_detached

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lazygraph.language.filling import Filling, Waited

_FIRST_ONLY = ("countdown", "eta", "expires")
DEEPEST_SHOWN = 3
_LONGEST_SHOWN = 6


class Canvas(Recipe, Verbs):
    """The common part of everything that composes with `|`."""

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

    def __copy__(self) -> Canvas:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Canvas:
        return self

    # -- composing ---------------------------------------------------------------------------------

    def __or__(self, other: Any) -> Chain:
        return Chain((self, _step(other)))

    def __ror__(self, other: Any) -> Chain:
        if not isinstance(other, Delayed):
            return NotImplemented
        return Chain((_part("chain", other), self))

    def set(self, **options: Any) -> Any:
        """Return the same canvas with options; on a chain or group they hold for all nodes that set no own."""
        self._refuse_labels(options)
        copy = self._copy()
        copy._said = said(f"{_word(self)}.set()", options, self._said)
        return copy

    def _refuse_labels(self, options: Mapping[str, Any]) -> None:
        for name in ("key", "name", "nout"):
            if options.get(name) is not None:
                raise InvalidOption(f"{name}= on a {_word(self)} would name many nodes alike; set it on one signature")

    def _copy(self) -> Any:
        made = object.__new__(type(self))
        for cls in type(self).__mro__:
            for name in getattr(cls, "__slots__", ()):
                setattr(made, name, getattr(self, name))
        return made

    def link(self, *others: Canvas) -> Any:
        """Return the same canvas with callbacks: each runs once with its value after it has succeeded."""
        copy = self._copy()
        copy._links = (*self._links, *map(_callback, others))
        return copy

    def link_error(self, *others: Canvas) -> Any:
        """Return the same canvas with handlers: each runs once with a `Failure` when a node of this has failed."""
        copy = self._copy()
        copy._handlers = (*self._handlers, *map(_callback, others))
        return copy

    # -- lowering ----------------------------------------------------------------------------------

    def to_nodes(self, *args: Any) -> Any:
        """Return fresh promises for this canvas: one, or nested lists of them where it ends in a group."""
        filled = run(self.filling(Before(args), Within()))
        return as_node(filled) if filled.after else filled.value

    def to_delayed(self, *args: Any, **kwargs: Any) -> Delayed:
        """Return one fresh promise for this canvas: of a list where it ends in a group."""
        return as_node(run(self.filling(Before(args, (), kwargs), Within())))

    # -- starting ----------------------------------------------------------------------------------

    def delay(self, /, *args: Any, **kwargs: Any) -> Any:
        """Start this in the default executor; return its Future (of a canvas that ends in a group: GroupResult)."""
        return self.apply_async(args, kwargs)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Start this, as `delay` does."""
        return self.apply_async(args, kwargs)

    def apply_async(
        self,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        link: Canvas | Iterable[Canvas] | None = None,
        link_error: Canvas | Iterable[Canvas] | None = None,
        **options: Any,
    ) -> Any:
        """Start this with options; return its Future or GroupResult.  Unknown options raise `UnknownOption`.

        `args` and `kwargs` go to what comes first: the first step of a chain, every member of a group.
        """
        given = {name: value for name, value in options.items() if value is not None}
        for name in _FIRST_ONLY:
            if name in given:
                raise NotImplementedYet(f"{name}= of apply_async")
        self._refuse_labels(given)
        defaults = said("apply_async()", given)
        whole = self.link(*_callbacks(link)).link_error(*_callbacks(link_error))
        within = Within(defaults, noted=[])
        return start_detached(run(whole.filling(Before(tuple(args), (), dict(kwargs or {})), within)), within.noted)


def _callbacks(given: Canvas | Iterable[Canvas] | None) -> tuple[Canvas, ...]:
    return (given,) if isinstance(given, Canvas) else tuple(given or ())


def _callback(other: Any) -> Canvas:
    if isinstance(other, Canvas):
        return other
    raise WrongCanvas(f"a callback is a signature or a canvas, not {other!r}; for a function f write f.s()")


def _word(canvas: Canvas) -> str:
    return type(canvas).__name__.lower()


class Composed(Canvas):
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
        rest = (type(self), len(parts), len(links), self._said)
        return _composed_again, (*parts, *links, *self._handlers), rest

    @property
    def own(self) -> bool:
        """Whether this says something of its own stretch: options, callbacks, handlers."""
        return bool(self._said or self._links or self._handlers)


def _composed_again(parts: list[Any], rest: tuple[type[Composed], int, int, Said]) -> Composed:
    cls, count, links, holds = rest
    again = cls(tuple(parts[:count]))
    again._said, again._links, again._handlers = (
        holds,
        tuple(parts[count : count + links]),
        tuple(parts[count + links :]),
    )
    return again


class Chain(Composed):
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
        within = within._replace(said=together(within.said, self._said))
        steps = self.steps
        if not steps and not before.values:
            raise EmptyCanvas
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
            before = behind(filled)
        a_list = _ends_in_group(self)
        if self._handlers:
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


class Group(Composed):
    """Members side by side; the value is the list of theirs, in declared order, whatever its length."""

    __slots__ = ()

    @property
    def members(self) -> tuple[Any, ...]:
        """The members, flat."""
        return self.parts

    def __len__(self) -> int:
        return len(self.parts)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.parts)

    def shown(self, depth: int) -> str:
        """Return `group(a, b)`."""
        return f"group({', '.join(self._texts(depth)) if depth <= DEEPEST_SHOWN else '…'})"

    def filling(self, before: Before, within: Within) -> Filling:
        """Fill every member with the same values.  Values of a group in it flatten; its options and callbacks stay."""
        if self._handlers:
            within = yield scoped(self._handlers, within)
        within = within._replace(said=together(within.said, self._said))
        members = self.members
        values: list[Any] = []
        given = False
        rest: Waited = () if members else (*before.after, *nodes_in(before.values))
        for member in members:
            if isinstance(member, Delayed):
                filled = given_in(within.scope, member)
            elif member.simple:
                filled = member.filled(before, within)
            else:
                filled = yield member.filling(before, within)
            given = filled.given if not values else given
            if isinstance(member, Group):
                values.extend(filled.value)
                rest = (*rest, *filled.after)
            else:
                values.append(as_node(filled))
                if within.noted is not None and values[-1] is not filled.value:
                    within.noted.append((values[-1], filled))
        whole = Filled(values, rest, given, before.step)
        if self._handlers:
            whole = owned(whole, within, a_list=True)
        done: Filled = yield linked(whole, self._links, a_list=True)
        return done


Chain._kind, Group._kind = Chain, Group


class Header(Group):
    """`chord(header)`: waits for its body; calling it with the body starts the whole, as in Celery."""

    __slots__ = ()

    def __call__(self, body: Any, **kwargs: Any) -> Any:
        """Start the chord of this header and `body`."""
        return chord(self, body).delay(**kwargs)


def _members(parts: tuple[Any, ...]) -> Iterable[Any]:
    if len(parts) != 1 or isinstance(parts[0], Canvas | Delayed):
        return parts
    if not isinstance(parts[0], Iterable) or isinstance(parts[0], str | bytes | Mapping):
        return parts  # `_part` says what is wrong with it
    return parts[0]


def _part(where: str, part: Any) -> Any:
    """Return `part` if it can be part of a canvas."""
    # A delayed function is a promise of the function, which nobody wants here: its call was forgotten.
    if isinstance(part, Canvas) or (isinstance(part, Delayed) and not isinstance(part, Recipe)):
        return part
    raise WrongCanvas(
        f"a {where} is made of signatures, canvases and delayed calls, not of {part!r}; for a function f write f.s(...)"
    )


def _step(part: Any) -> Any:
    """Return `part` if it can stand behind other steps."""
    if isinstance(_part("chain", part), Delayed):
        raise WrongCanvas(f"{part!r} cannot stand behind other steps of a chain: a promise takes no values")
    return part


def chain(*steps: Any) -> Chain:
    """Compose steps, each fed by the one before: `chain(a, b)` is `a | b`.  An iterable of steps is taken too."""
    return Chain(tuple((_step if at else _first_step)(step) for at, step in enumerate(_members(steps))))


def _first_step(part: Any) -> Any:
    return _part("chain", part)


def group(*members: Any) -> Group:
    """Compose members side by side; the value is the list of theirs.  An iterable of members is taken too."""
    return Group(tuple(_part("group", member) for member in _members(members)))


def chord(header: Any, body: Any = None) -> Any:
    """Feed the list of what a header gives to a body: `group(header) | body`.

    Without a body it returns a header that, called with one, starts the chord.  A header that is one signature or
    chain is one member.
    """
    if not isinstance(header, Group):
        members = _members((header,))
        header = Header(tuple(_part("group", member) for member in members))
    if body is not None:
        return Chain((header, _step(body)))
    return header if isinstance(header, Header) else Header((header,))
