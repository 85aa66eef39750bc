"""Signatures and how they compose: chain, group, chord.

A signature is a call with a hole.  A canvas is a tree of signatures, a value: composing never changes an operand, and
every lowering makes fresh nodes.  `to_nodes` fills the holes; what comes out are promises like any other, so there is
no second workflow engine.

Covers: the canvas classes, their normal form, filling them.
Does not cover: running (door), graphs (planning.lower).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from lazygraph.errors import EmptyCanvas, InvalidOption, NotImplementedYet
from lazygraph.language.promise import Delayed, build
from lazygraph.values.node import Node, Recipe, identity
from lazygraph.values.options import DEFAULT, TaskOptions, changed, over
from lazygraph.values.verbs import Verbs, start_detached

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from lazygraph.language.calls import Contract
    from lazygraph.values.node import Site

_GATHER = TaskOptions(name="gather")
_FIRST_ONLY = ("countdown", "eta", "expires")


class Filled(NamedTuple):
    """What a canvas became: a promise or nested lists of promises, and nodes to wait for that no value mentions."""

    value: Any
    after: tuple[Node, ...] = ()


class Canvas(Recipe, Verbs):
    """The common part of everything that composes with `|`."""

    __slots__ = ("_links", "_set")

    _set: TaskOptions
    _links: tuple[Any, ...]

    def _copy(self) -> Any:
        raise NotImplementedError

    def _fill(self, prefix: tuple[Any, ...], after: tuple[Node, ...], inherited: TaskOptions) -> Filled:
        raise NotImplementedError

    # -- composing ---------------------------------------------------------------------------------

    def __or__(self, other: Any) -> Chain:
        if not isinstance(other, Canvas):
            return NotImplemented
        return Chain((self, other))

    def __ror__(self, other: Any) -> Chain:
        if not isinstance(other, Delayed):
            return NotImplemented
        return Chain((other, self))

    def set(self, **options: Any) -> Any:
        """Return the same canvas with options; on a chain or group they hold for all nodes that set no own."""
        self._refuse_labels(options)
        copy = self._copy()
        copy._set = changed(self._set, type(self).__name__.lower(), options)
        return copy

    def _refuse_labels(self, options: Mapping[str, Any]) -> None:
        for name in ("key", "name", "nout"):
            if name in options:
                raise InvalidOption(f"{name}= on a {type(self).__name__.lower()} would name many nodes alike")

    def link(self, *others: Canvas) -> Any:
        """Return the same canvas with callbacks: each runs once with its value after it has succeeded."""
        copy = self._copy()
        copy._links = (*self._links, *others)
        return copy

    def link_error(self, *others: Canvas) -> Any:
        """Not built yet: callbacks for failures."""
        raise NotImplementedYet("link_error", "look at future.exception() instead")

    # -- lowering ----------------------------------------------------------------------------------

    def fill(self, prefix: tuple[Any, ...], after: tuple[Node, ...], inherited: TaskOptions) -> Filled:
        """Lower this canvas behind `prefix` (values put in front) and `after` (nodes to wait for)."""
        under = inherited if self._set is DEFAULT else over(inherited, self._set)
        filled = self._fill(prefix, after, under)
        if self._links:
            filled = self._with_links(filled, inherited)
        return filled

    def _with_links(self, filled: Filled, inherited: TaskOptions) -> Filled:
        # Callbacks hang on a node made here, never on one that the user made: lowering twice must not link twice.
        if isinstance(filled.value, list) and filled.value and not filled.after:
            first = build(identity, (filled.value[0],), {}, _GATHER, _site_of(filled.value))
            filled = Filled([first, *filled.value[1:]])
            whole = as_node(filled)
        else:
            first = whole = build(identity, (filled.value,), {}, _GATHER, _site_of(filled.value), filled.after)
            filled = Filled(whole)
        first._links = tuple(as_node(other.fill((whole,), (), inherited)) for other in self._links)
        return filled

    def to_nodes(self, *args: Any) -> Any:
        """Return fresh promises for this canvas: one, or nested lists of them where it ends in a group."""
        filled = self.fill(args, (), DEFAULT)
        return as_node(filled) if filled.after else filled.value

    def to_delayed(self, *args: Any) -> Delayed:
        """Return one fresh promise for this canvas: of a list where it ends in a group."""
        return as_node(self.fill(args, (), DEFAULT))

    # -- starting ----------------------------------------------------------------------------------

    def delay(self, *args: Any, **kwargs: Any) -> Any:
        """Start this in the default executor; return its Future (of a canvas that ends in a group: GroupResult)."""
        return self.apply_async(args, kwargs)

    __call__ = delay

    def apply_async(
        self,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        link: Canvas | Iterable[Canvas] = (),
        link_error: Canvas | Iterable[Canvas] = (),
        **options: Any,
    ) -> Any:
        """Start this with options; return its Future or GroupResult.  Unknown options raise `UnknownOption`."""
        for name in _FIRST_ONLY:
            if options.get(name) is not None:
                raise NotImplementedYet(f"{name}= of apply_async")
        if link_error not in ((), None):
            raise NotImplementedYet("link_error", "look at future.exception() instead")
        defaults = changed(DEFAULT, "apply_async()", {k: v for k, v in options.items() if v is not None})
        links = (link,) if isinstance(link, Canvas) else tuple(link or ())
        whole = self._with_kwargs(kwargs or {})
        return start_detached((whole.link(*links) if links else whole).fill(tuple(args), (), defaults))

    def _with_kwargs(self, kwargs: Mapping[str, Any]) -> Canvas:
        if kwargs:
            raise InvalidOption(f"a {type(self).__name__.lower()} takes no keywords; give them to its signatures")
        return self


def as_node(filled: Filled) -> Delayed:
    """Return one promise for what a canvas became: of a list where it ended in a group."""
    if isinstance(filled.value, Delayed) and not filled.after:
        return filled.value
    return build(identity, (filled.value,), {}, _GATHER, _site_of(filled.value), filled.after)


def _site_of(value: Any) -> Site | str:
    while isinstance(value, list):
        if not value:
            return "an empty group"
        value = value[0]
    return value._site if isinstance(value, Node) else "a canvas"


def nodes_in(value: Any) -> tuple[Node, ...]:
    """Return every promise in (nested lists of) promises, in order."""
    found: list[Node] = []
    stack = [value]
    while stack:
        top = stack.pop()
        if isinstance(top, list):
            stack.extend(reversed(top))
        elif isinstance(top, Node):
            found.append(top)
    return tuple(found)


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
        self._set, self._links = DEFAULT, ()

    def __repr__(self) -> str:
        said = [*map(repr, self.args), *(f"{name}={value!r}" for name, value in self.kwargs.items())]
        return f"{self.contract.name}.{'si' if self.immutable else 's'}({', '.join(said)})"

    def _copy(self) -> Signature:
        copy = Signature(self.function, self.contract, self.options, self.args, self.kwargs, self.immutable, self.site)
        copy._set, copy._links = self._set, self._links
        return copy

    def _refuse_labels(self, options: Mapping[str, Any]) -> None:
        return  # one signature may have a name

    def clone(self, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any) -> Signature:
        """Return a copy with `args` put in front, `kwargs` merged (new wins) and options set."""
        copy = self._copy()
        if not self.immutable:
            copy.args = (*args, *self.args)
            copy.kwargs = {**self.kwargs, **(kwargs or {})}
            copy.contract.check_part(copy.args, copy.kwargs, self.site)  # type: ignore[arg-type]
        changed_copy: Signature = copy.set(**options) if options else copy
        return changed_copy

    def _with_kwargs(self, kwargs: Mapping[str, Any]) -> Signature:
        return self.clone(kwargs=kwargs) if kwargs else self

    def _fill(self, prefix: tuple[Any, ...], after: tuple[Node, ...], inherited: TaskOptions) -> Filled:
        if self.immutable:
            args, after = self.args, (*after, *(node for value in prefix for node in nodes_in(value)))
        else:
            args = (*prefix, *self.args)
        # Signature.set > nearest canvas > apply_async > options() and the decorator: `inherited` has all but the last.
        options = self.options if inherited is DEFAULT else over(self.options, inherited)
        self.contract.check(args, self.kwargs, self.site)  # type: ignore[arg-type]
        return Filled(build(self.function, args, self.kwargs, options, self.site, after))


class Chain(Canvas):
    """Steps, each fed by the one before.  `steps` is the normal form: flat, whatever way it was written."""

    __slots__ = ("_parts", "_steps")

    def __init__(self, parts: tuple[Any, ...]) -> None:
        self._parts: tuple[Any, ...] = parts
        self._steps: tuple[Any, ...] | None = None
        self._set, self._links = DEFAULT, ()

    @property
    def steps(self) -> tuple[Any, ...]:
        """The steps, flat.  `|` only notes its operands, so that a chain of n steps is built in O(n)."""
        if self._steps is None:
            flat: list[Any] = []
            stack = list(reversed(self._parts))
            while stack:
                part = stack.pop()
                if isinstance(part, Chain) and part._set is DEFAULT and not part._links:
                    stack.extend(reversed(part._parts if part._steps is None else part._steps))
                else:
                    flat.append(part)
            self._parts = self._steps = tuple(flat)
        return self._steps

    def __repr__(self) -> str:
        return " | ".join(map(repr, self.steps)) or "chain()"

    def __reduce__(self) -> tuple[Any, ...]:
        return _chain_again, (self.steps, self._set, self._links)

    def _copy(self) -> Chain:
        copy = Chain(self.steps)
        copy._set, copy._links = self._set, self._links
        return copy

    def _fill(self, prefix: tuple[Any, ...], after: tuple[Node, ...], inherited: TaskOptions) -> Filled:
        steps = self.steps
        if not steps and not prefix:
            raise EmptyCanvas
        filled = Filled(prefix[0] if prefix else None, after)
        for step in steps:
            if isinstance(step, Delayed):
                filled = Filled(step)
                prefix, after = (step,), ()
                continue
            if isinstance(step, Group) and prefix and isinstance(prefix[0], list) and step.readers > 1:
                # Every member gets the whole list: one node holds it, or n x m edges would.
                prefix, after = (as_node(Filled(prefix[0], after)),), ()
            filled = step.fill(prefix, after, inherited)
            prefix, after = (filled.value,), filled.after
        return filled


def _chain_again(steps: tuple[Any, ...], options: TaskOptions, links: tuple[Any, ...]) -> Chain:
    again = Chain(steps)
    again._set, again._links = options, links
    return again


class Group(Canvas):
    """Members side by side; the value is the list of theirs, in declared order, whatever its length."""

    __slots__ = ("members",)

    def __init__(self, members: Iterable[Any]) -> None:
        flat: list[Any] = []
        for member in members:
            if not isinstance(member, Canvas | Delayed):
                raise InvalidOption(
                    f"a group is made of signatures, canvases and delayed calls, not of {member!r}; "
                    f"for a function f write f.s(...)"
                )
            if isinstance(member, Group) and member._set is DEFAULT and not member._links:
                flat.extend(member.members)
            else:
                flat.append(member)
        self.members: tuple[Any, ...] = tuple(flat)
        self._set, self._links = DEFAULT, ()

    @property
    def readers(self) -> int:
        """How many members read what comes before the group."""
        return len(self.members)

    def __len__(self) -> int:
        return len(self.members)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.members)

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self.members[:3]))
        return f"group({shown}{f', ... {len(self.members)} members' if len(self.members) > 3 else ''})"

    def _copy(self) -> Group:
        copy = Group(self.members)
        copy._set, copy._links = self._set, self._links
        return copy

    def _fill(self, prefix: tuple[Any, ...], after: tuple[Node, ...], inherited: TaskOptions) -> Filled:
        if not self.members:
            return Filled([], (*after, *(node for value in prefix for node in nodes_in(value))))
        values = []
        for member in self.members:
            if isinstance(member, Delayed):
                values.append(member)
                continue
            filled = member.fill(prefix, after, inherited)
            values.append(as_node(filled) if filled.after or not isinstance(filled.value, Delayed) else filled.value)
        return Filled(values)


class Header(Group):
    """`chord(header)`: waits for its body; calling it with the body starts the whole, as in Celery."""

    __slots__ = ()

    def __call__(self, body: Canvas, **kwargs: Any) -> Any:
        return chord(self, body).delay(**kwargs)


def _members(parts: tuple[Any, ...]) -> Iterable[Any]:
    if len(parts) == 1 and not isinstance(parts[0], Canvas | Delayed):
        members: Iterable[Any] = parts[0]
        return members
    return parts


def chain(*steps: Any) -> Chain:
    """Compose steps, each fed by the one before: `chain(a, b)` is `a | b`.  An iterable of steps is taken too."""
    parts = tuple(_members(steps))
    for part in parts:
        if not isinstance(part, Canvas | Delayed):
            raise InvalidOption(f"a chain is made of signatures and canvases, not of {part!r}; for f write f.s()")
    return Chain(parts)


def group(*members: Any) -> Group:
    """Compose members side by side; the value is the list of theirs.  An iterable of members is taken too."""
    return Group(_members(members))


def chord(header: Any, body: Canvas | None = None) -> Any:
    """Feed the list of what a header gives to a body: `group(header) | body`.

    Without a body it returns a header that, called with one, starts the chord.  A header that is one signature or
    chain is one member.
    """
    members: Any
    if isinstance(header, Group):
        members = header
    else:
        members = Header((header,)) if isinstance(header, Canvas | Delayed) else Header(header)
    if body is None:
        return members if isinstance(members, Header) else Header(members.members)
    return Chain((members, body))


def each(canvas: Canvas) -> Any:
    """Not built yet: fan out over a list known only at run time."""
    raise NotImplementedYet("each(canvas)", "fan out over a list that is known when the graph is written")


def replace(canvas: Any) -> Any:
    """Not built yet: a task that returns a graph."""
    raise NotImplementedYet("replace(canvas)", "return the value, and let the next node make what follows")
