"""Signatures and how they compose: chain, group, chord.

A signature is a call with a hole.  A canvas is a tree of signatures, a value: composing never changes an operand, and
every lowering makes fresh nodes.  `filling` fills the holes; what comes out are promises like any other, so there is
no second workflow engine.

Covers: the canvas classes, their normal form, filling them.
Does not cover: driving fillings (language.filling), running (door), graphs (planning.lower).
"""

from __future__ import annotations

from reprlib import Repr
from typing import TYPE_CHECKING, Any

from lazygraph.errors import EmptyCanvas, InvalidOption, NotImplementedYet
from lazygraph.language.calls import Contract
from lazygraph.language.filling import Filled, as_node, linked, nodes_in, run
from lazygraph.language.promise import ATOMS, Delayed, build, is_lazy
from lazygraph.language.travel import Travelling, frozen
from lazygraph.values.node import Recipe
from lazygraph.values.options import Said, TaskOptions, over, said, together
from lazygraph.values.template import put_together, take_apart
from lazygraph.values.verbs import Verbs, start_detached

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from lazygraph.language.filling import Filling, Waited
    from lazygraph.values.node import Site

_FIRST_ONLY = ("countdown", "eta", "expires")
_DEEPEST_SHOWN = 3
_LONGEST_SHOWN = 6


class Canvas(Recipe, Verbs):
    """The common part of everything that composes with `|`."""

    __slots__ = ("_links", "_said")

    _said: Said
    _links: tuple[Canvas, ...]

    def filling(self, prefix: tuple[Any, ...], after: Waited, inherited: Said) -> Filling:
        """Lower this canvas behind `prefix` (values put in front) and `after` (what to wait for); see filling.run."""
        raise NotImplementedError

    def state(self) -> tuple[Callable[..., Any], Sequence[Any], Any]:
        """Return what makes this again, its parts, and the rest (see travel.frozen)."""
        raise NotImplementedError

    def shown(self, depth: int) -> str:
        """Return the text of this canvas inside `depth` others."""
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
        if not isinstance(other, Canvas | Delayed):
            return NotImplemented
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
        for other in others:
            if not isinstance(other, Canvas):
                raise InvalidOption(
                    f"a callback is a signature or a canvas, not {other!r}; for a function f write f.s()"
                )
        copy = self._copy()
        copy._links = (*self._links, *others)
        return copy

    def link_error(self, *others: Canvas) -> Any:
        """Not built yet: callbacks for failures."""
        raise NotImplementedYet("link_error", "look at future.exception() instead")

    # -- lowering ----------------------------------------------------------------------------------

    def to_nodes(self, *args: Any) -> Any:
        """Return fresh promises for this canvas: one, or nested lists of them where it ends in a group."""
        filled = run(self.filling(args, (), ()))
        return as_node(filled) if filled.after else filled.value

    def to_delayed(self, *args: Any) -> Delayed:
        """Return one fresh promise for this canvas: of a list where it ends in a group."""
        return as_node(run(self.filling(args, (), ())))

    # -- starting ----------------------------------------------------------------------------------

    def delay(self, *args: Any, **kwargs: Any) -> Any:
        """Start this in the default executor; return its Future (of a canvas that ends in a group: GroupResult)."""
        return self.apply_async(args, kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
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
        """Start this with options; return its Future or GroupResult.  Unknown options raise `UnknownOption`."""
        given = {name: value for name, value in options.items() if value is not None}
        for name in _FIRST_ONLY:
            if name in given:
                raise NotImplementedYet(f"{name}= of apply_async")
        if link_error:
            raise NotImplementedYet("link_error", "look at future.exception() instead")
        self._refuse_labels(given)
        defaults = said("apply_async()", given)
        links = (link,) if isinstance(link, Canvas) else tuple(link or ())
        whole = self._with_kwargs(kwargs or {}).link(*links)
        return start_detached(run(whole.filling(tuple(args), (), defaults)))

    def _with_kwargs(self, kwargs: Mapping[str, Any]) -> Canvas:
        if kwargs:
            raise InvalidOption(f"a {_word(self)} takes no keyword arguments; give them to its signatures")
        return self


def _word(canvas: Canvas) -> str:
    return type(canvas).__name__.lower()


class _Shown(Repr):
    """Texts of arguments: short, and no deeper than the canvas they are in."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.depth, self.maxstring, self.maxother = depth, 60, 60

    def repr_instance(self, x: Any, level: int) -> str:
        return x.shown(self.depth + 1) if isinstance(x, Canvas) else super().repr_instance(x, level)


class Signature(Canvas):
    """A call with a hole: what comes before it is put in front of its arguments (`.s`) or only waited for (`.si`)."""

    __slots__ = ("args", "contract", "function", "immutable", "kwargs", "options", "site")

    def __init__(
        self,
        function: Callable[..., Any],
        contract: Contract,
        options: TaskOptions,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        immutable: bool,
        site: Site | str,
    ) -> None:
        self.function, self.contract, self.options = function, contract, options
        self.args, self.kwargs, self.immutable, self.site = args, dict(kwargs), immutable, site
        self._said, self._links = (), ()

    def shown(self, depth: int) -> str:
        """Return `f.s(1, k=2)`."""
        verb = f"{self.contract.name}.{'si' if self.immutable else 's'}"
        if depth > _DEEPEST_SHOWN:
            return f"{verb}(…)"
        text = _Shown(depth).repr
        texts = [*map(text, self.args), *(f"{name}={text(value)}" for name, value in self.kwargs.items())]
        return f"{verb}({', '.join(texts)})"

    def _refuse_labels(self, options: Mapping[str, Any]) -> None:
        return  # one signature may have a name

    def clone(self, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any) -> Signature:
        """Return a copy with `args` put in front, `kwargs` merged (new wins) and options set."""
        copy: Signature = self._copy()
        if not self.immutable:
            copy.args = (*args, *self.args)
            copy.kwargs = {**self.kwargs, **(kwargs or {})}
            copy.contract.check_part(copy.args, copy.kwargs, self.site)
        return copy.set(**options) if options else copy

    def _with_kwargs(self, kwargs: Mapping[str, Any]) -> Signature:
        return self.clone(kwargs=kwargs) if kwargs else self

    def node(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], after: Waited, inherited: Said) -> Delayed:
        """Return the node of this call with these arguments.  Raises `WrongCall` when a hole is left."""
        contract = self.contract
        if kwargs or not contract.least <= len(args) <= contract.most:
            contract.check(args, kwargs, self.site)
        # Signature.set > nearest canvas > apply_async > options() and the decorator: those are in `options` already.
        holds = together(inherited, self._said)
        return build(
            self.function, args, kwargs, over(self.options, holds) if holds else self.options, self.site, after
        )

    def behind(self, prefix: tuple[Any, ...], after: Waited) -> tuple[tuple[Any, ...], Waited]:
        """Return the arguments, and what to wait for, behind these values."""
        if self.immutable:
            return self.args, (*after, *(node for value in prefix for node in nodes_in(value)))
        return (*prefix, *self.args), after

    @property
    def simple(self) -> bool:
        """Whether filling this needs no other filling: no callbacks, and no canvas among the arguments."""
        return not self._links and not self.kwargs and ATOMS.issuperset(map(type, self.args))

    def filling(self, prefix: tuple[Any, ...], after: Waited, inherited: Said) -> Filling:
        """Put the prefix in front and make the node; canvases among the arguments are filled first."""
        args, after = self.behind(prefix, after)
        leaves, ops = take_apart([*args, *self.kwargs.values()], is_lazy)
        if any(isinstance(leaf, Canvas) for leaf in leaves):
            for at, leaf in enumerate(leaves):
                if isinstance(leaf, Canvas):
                    filled = yield leaf.filling((), (), ())
                    leaves[at] = as_node(filled) if filled.after else filled.value
            whole = put_together(ops, leaves)
            args, kwargs = tuple(whole[: len(args)]), dict(zip(self.kwargs, whole[len(args) :], strict=True))
        else:
            kwargs = self.kwargs
        node = self.node(args, kwargs, after, inherited)
        return (yield linked(Filled(node), self._links, a_list=False))

    def state(self) -> tuple[Callable[..., Any], Sequence[Any], Any]:
        """Return the maker, the callbacks and the canvases among the arguments, and the rest."""
        leaves, ops = take_apart([*self.args, *self.kwargs.values()], lambda value: isinstance(value, Canvas))
        places = [at for at, leaf in enumerate(leaves) if isinstance(leaf, Canvas)]
        inner = [leaves[at] for at in places]
        for at in places:
            leaves[at] = None
        call = (len(self.args), tuple(self.kwargs), self.immutable, str(self.site))
        rest = (Travelling(self.function), self.options, leaves, ops, places, call, self._said)
        return _signature_again, (*inner, *self._links), rest


def _signature_again(parts: list[Any], rest: Any) -> Signature:
    function, options, leaves, ops, places, (count, names, immutable, site), holds = rest
    for at, part in zip(places, parts, strict=False):
        leaves[at] = part
    whole = put_together(ops, leaves)
    kwargs = dict(zip(names, whole[count:], strict=True))
    contract = Contract(function, bound=int(options.bind))
    again = Signature(function, contract, options, tuple(whole[:count]), kwargs, immutable, site)
    again._said, again._links = holds, tuple(parts[len(places) :])
    return again


class Composed(Canvas):
    """Parts in declared order.  Parts of the same kind that say nothing of their own are opened: one normal form.

    Composing only notes its operands, so that a chain or group of n parts is built in O(n), whichever way.
    """

    __slots__ = ("_flat", "_parts")

    _kind: type[Composed]

    def __init__(self, parts: tuple[Any, ...]) -> None:
        self._parts = parts
        self._flat = False
        self._said, self._links = (), ()

    @property
    def parts(self) -> tuple[Any, ...]:
        """The parts, flat."""
        if not self._flat:
            flat: list[Any] = []
            stack = list(reversed(self._parts))
            while stack:
                part = stack.pop()
                if isinstance(part, self._kind) and not part._said and not part._links:
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
        return _composed_again, (*self.parts, *self._links), (type(self), len(self.parts), self._said)


def _composed_again(parts: list[Any], rest: tuple[type[Composed], int, Said]) -> Composed:
    cls, count, holds = rest
    again = cls(tuple(parts[:count]))
    again._said, again._links = holds, tuple(parts[count:])
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
        if depth > _DEEPEST_SHOWN:
            return "chain(…)"
        texts = self._texts(depth)
        return " | ".join(texts) if len(texts) > 1 else f"chain({', '.join(texts)})"

    def filling(self, prefix: tuple[Any, ...], after: Waited, inherited: Said) -> Filling:
        """Fill each step with what the one before it became."""
        inherited = together(inherited, self._said)
        steps = self.steps
        if not steps and not prefix:
            raise EmptyCanvas
        filled = Filled(prefix[0] if prefix else None, after, given=True)
        for at, step in enumerate(steps):
            if isinstance(step, Signature) and step.simple:
                args, after = step.behind(prefix, after)
                filled = Filled(step.node(args, {}, after, inherited))
            elif isinstance(step, Delayed):
                if at or prefix:
                    raise InvalidOption(f"{step!r} stands behind other steps of a chain, but a promise takes no values")
                filled = Filled(step, given=True)
            else:
                if isinstance(step, Group) and prefix and isinstance(prefix[0], list) and len(step) > 1:
                    # Every member gets the whole list: one node holds it, or n x m edges would.
                    prefix, after = (as_node(Filled(prefix[0], after)),), ()
                filled = yield step.filling(prefix, after, inherited)
            prefix, after = (filled.value,), filled.after
        return (yield linked(filled, self._links, a_list=_ends_in_group(self)))


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
        return f"group({', '.join(self._texts(depth)) if depth <= _DEEPEST_SHOWN else '…'})"

    def filling(self, prefix: tuple[Any, ...], after: Waited, inherited: Said) -> Filling:
        """Fill every member with the same values.  Values of a group in it flatten; its options and callbacks stay."""
        inherited = together(inherited, self._said)
        members = self.members
        values: list[Any] = []
        given = False
        rest: Waited = ()
        if not members:
            rest = (*after, *(node for value in prefix for node in nodes_in(value)))
        for member in members:
            filled = Filled(member, given=True)
            if isinstance(member, Signature) and member.simple:
                args, waited = member.behind(prefix, after)
                filled = Filled(member.node(args, {}, waited, inherited))
            elif isinstance(member, Canvas):
                filled = yield member.filling(prefix, after, inherited)
            given = filled.given if not values else given
            if isinstance(member, Group):
                values.extend(filled.value)
                rest = (*rest, *filled.after)
            else:
                values.append(as_node(filled))
        return (yield linked(Filled(values, rest, given), self._links, a_list=True))


Chain._kind, Group._kind = Chain, Group


class Header(Group):
    """`chord(header)`: waits for its body; calling it with the body starts the whole, as in Celery."""

    __slots__ = ()

    def __call__(self, body: Any, **kwargs: Any) -> Any:
        """Start the chord of this header and `body`."""
        return chord(self, body).delay(**kwargs)


def _members(parts: tuple[Any, ...]) -> Iterable[Any]:
    if len(parts) == 1 and not isinstance(parts[0], Canvas | Delayed):
        members: Iterable[Any] = parts[0]
        return members
    return parts


def _part(where: str, part: Any) -> Any:
    """Return `part` if it can be part of a canvas."""
    # A delayed function is a promise of the function, which nobody wants here: its call was forgotten.
    if isinstance(part, Canvas) or (isinstance(part, Delayed) and not isinstance(part, Recipe)):
        return part
    raise InvalidOption(
        f"a {where} is made of signatures, canvases and delayed calls, not of {part!r}; for a function f write f.s(...)"
    )


def _step(part: Any) -> Any:
    """Return `part` if it can stand behind other steps."""
    if isinstance(_part("chain", part), Delayed):
        raise InvalidOption(f"{part!r} cannot stand behind other steps of a chain: a promise takes no values")
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


def each(canvas: Canvas) -> Any:
    """Not built yet: fan out over a list known only at run time."""
    raise NotImplementedYet("each(canvas)", "fan out over a list that is known when the graph is written")


def replace(canvas: Any) -> Any:
    """Not built yet: a task that returns a graph."""
    raise NotImplementedYet("replace(canvas)", "return the value, and let the next node make what follows")
