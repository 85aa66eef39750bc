"""Promises of values: every call, operator, attribute and item of a `Delayed` is another `Delayed`.

Covers: `Delayed`, `build` (one call and its arguments become one node).
Does not cover: what makes functions lazy (language.delayed), canvases (language.canvas), graphs (planning.lower).
"""

from __future__ import annotations

import operator
import sys
import types
from typing import TYPE_CHECKING, Any, TypeVar

from lazygraph.errors import NotConcrete, WrongNumberOfOutputs
from lazygraph.language.calls import name_of, site_of, taken
from lazygraph.language.collection import AsCollection
from lazygraph.language.travel import travelling
from lazygraph.values.lazy import Lazy, T_co
from lazygraph.values.node import External, Node, Quoted, Recipe, Site
from lazygraph.values.options import DEFAULT, TaskOptions, in_context
from lazygraph.values.template import PLAIN, Template, put_together, take_apart, template_of
from lazygraph.values.verbs import Verbs, adopted, frozen_graph, thawed_node

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Protocol, Self, Unpack

    from lazygraph.values.keywords import HowToPersist, HowToRun
    from lazygraph.values.node import NodeScope

    class _Combines(Protocol):
        """What has `|` has `&` too, except a mapping and a canvas: so checkers tell values from canvases."""

        def __and__(self, other: Any, /) -> Any: ...


T = TypeVar("T")


def ref(promise: Lazy[T]) -> T:
    """Return the promise, unchanged; type checkers take it for its value.

    For the places where a promise is accepted and they do not know it: `f(x=ref(d))`, `[1, ref(d)]`, `Point(ref(d))`.
    """
    return promise  # type: ignore[return-value]  # the one lie


def call_method(owner: Any, name: str, /, *args: Any, **kwargs: Any) -> Any:
    """Call a method of a value by name: the task behind `d.method(...)`."""
    return getattr(owner, name)(*args, **kwargs)


def apply(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call a value: the task behind `d(...)`."""
    return function(*args, **kwargs)


def take_output(value: Any, index: int, nout: int) -> Any:
    """Return one of the `nout` parts of a value, after seeing that it has that many."""
    try:
        length = len(value)
    except TypeError:
        raise WrongNumberOfOutputs(nout, f"no length ({type(value).__name__})") from None
    if length != nout:
        raise WrongNumberOfOutputs(nout, str(length))
    return value[index]


class Delayed(Node, Verbs, AsCollection, Lazy[T_co]):
    """A promise of a value: a node.  Everything done to it is another promise, until `.compute()`."""

    __slots__ = ("__weakref__",)

    def __init__(
        self,
        function: Callable[..., Any],
        leaves: tuple[Any, ...],
        template: Template | None = None,
        options: TaskOptions = DEFAULT,
        site: Site | str = "",
        after: tuple[Node | External, ...] = (),
        scope: NodeScope | None = None,
    ) -> None:
        self._function = function
        self._leaves = leaves
        self._template = template
        self._options = options
        self._site = site
        self._after = after
        self._links = ()
        self._scope = scope
        self._key = options.key

    # -- what is ours ------------------------------------------------------------------------------

    @property
    def key(self) -> str:
        """The node's name and a part that no other node has (of a pure call: its content), or the key it was given."""
        # Content keys are asked for rarely, and `import lazygraph` must not pay for them.
        from lazygraph.language.naming import named

        return self._key or named(self)

    @property
    def dask(self) -> Any:
        """The graph as dask writes graphs: a dict of tasks by key."""
        return self.__dask_graph__()

    def __repr__(self) -> str:
        return f"<Delayed {self._options.name or name_of(self._function)!r} built at {self._site}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return thawed_node, (travelling(frozen_graph(self)),)

    # A promise never changes, so it is its own copy, as a function is.  Two of them would run twice.

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    # -- what Python must not do with a promise ----------------------------------------------------

    __hash__ = object.__hash__

    def __bool__(self) -> bool:
        raise NotConcrete(f"the truth of {self!r} is not known before it has run; compute it first")

    def __len__(self) -> int:
        nout = self._options.nout
        if nout is None:
            raise NotConcrete(f"{self!r} has no length before it has run; say nout= if it stands for several outputs")
        return nout

    def __iter__(self) -> Iterator[Delayed]:
        nout = self._options.nout
        if nout is None:
            raise NotConcrete(f"{self!r} cannot be iterated before it has run; say nout= to unpack several outputs")
        site, options = site_of(sys._getframe(1)), in_context(DEFAULT)
        return iter([Delayed(take_output, (self, index, nout), None, options, site) for index in range(nout)])

    def __setitem__(self, key: Any, value: Any) -> None:
        raise NotConcrete(f"{self!r} cannot be changed: it has no value before it has run, and inputs are not changed")

    def __delitem__(self, key: Any) -> None:
        raise NotConcrete(f"{self!r} cannot be changed: it has no value before it has run, and inputs are not changed")

    # -- everything else is lazy -------------------------------------------------------------------

    def __getattr__(self, name: str) -> Delayed:
        if name.startswith("_"):
            raise AttributeError(f"promises have no private attributes, {name!r} was asked for")
        return DelayedAttribute(getattr, (self, name), None, in_context(DEFAULT), site_of(sys._getframe(1)))

    def __call__(self, /, *args: Any, **kwargs: Any) -> Delayed:
        options = in_context(DEFAULT)
        if kwargs:
            options, kwargs = taken(options, "a call", kwargs)
        return build(apply, (self, *args), kwargs, options, site_of(sys._getframe(1)))

    def __or__(self, other: _Combines | Mapping[Any, Any]) -> Delayed:
        # `node | canvas` is a chain that starts with that node (Canvas.__ror__); `node | value` is the lazy operator.
        if isinstance(other, Recipe):
            return NotImplemented
        return build(operator.or_, (self, other), {}, in_context(DEFAULT), site_of(sys._getframe(1)))

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    if TYPE_CHECKING:  # the verbs' types, and the operators that `_install` gives
        __next__: None  # or mypy would find them by `__getattr__`, and take a promise for an iterator
        __contains__: None

        def compute(self, **keywords: Unpack[HowToRun]) -> T_co: ...  # type: ignore[override]

        def persist(self, **keywords: Unpack[HowToPersist]) -> Delayed[T_co]: ...  # type: ignore[override]

        def _unary(self) -> Delayed: ...

        def _binary(self, other: Any, /) -> Delayed: ...

        __add__ = __sub__ = __mul__ = __matmul__ = __truediv__ = __floordiv__ = __mod__ = __divmod__ = _binary
        __radd__ = __rsub__ = __rmul__ = __rmatmul__ = __rtruediv__ = __rfloordiv__ = __rmod__ = __rdivmod__ = _binary
        __lshift__ = __rshift__ = __and__ = __xor__ = __rlshift__ = __rrshift__ = __rand__ = __rxor__ = _binary
        __lt__ = __le__ = __ge__ = __gt__ = __getitem__ = __rpow__ = _binary
        __neg__ = __pos__ = __abs__ = __invert__ = _unary

        def __eq__(self, other: object) -> Delayed: ...  # type: ignore[override]

        def __ne__(self, other: object) -> Delayed: ...  # type: ignore[override]

        def __pow__(self, other: Any, modulus: Any = None, /) -> Delayed: ...

        def __round__(self, ndigits: Any = None, /) -> Delayed: ...

        def __ror__(self, other: _Combines | Mapping[Any, Any]) -> Delayed: ...


class DelayedAttribute(Delayed):
    """`d.name`: a promise of the attribute; called, it is one node that calls the method."""

    __slots__ = ()

    def __call__(self, /, *args: Any, **kwargs: Any) -> Delayed:
        options = in_context(DEFAULT)
        if kwargs:
            options, kwargs = taken(options, str(self._leaves[1]), kwargs)
        return build(call_method, (*self._leaves, *args), kwargs, options, site_of(sys._getframe(1)))


def _operator(function: Callable[..., Any], row: TaskOptions = DEFAULT) -> Callable[..., Delayed]:
    def method(self: Delayed, *others: Any) -> Delayed:
        return build(function, (self, *others), {}, in_context(row), site_of(sys._getframe(1)))

    return method


def _reflected(function: Callable[..., Any], row: TaskOptions = DEFAULT) -> Callable[[Delayed, Any], Delayed]:
    def method(self: Delayed, other: Any) -> Delayed:
        return build(function, (other, self), {}, in_context(row), site_of(sys._getframe(1)))

    return method


_TWO_SIDED = "add sub mul matmul truediv floordiv mod lshift rshift and xor"
_ONE_SIDED = "lt le eq ne ge gt getitem neg pos abs invert"
_PAIR = TaskOptions(nout=2)


def _install() -> None:
    """Give Delayed its operators from the tables above."""
    for name in _TWO_SIDED.split():
        function = getattr(operator, f"{name}_" if name == "and" else name)
        setattr(Delayed, f"__{name}__", _operator(function))
        setattr(Delayed, f"__r{name}__", _reflected(function))
    for name in _ONE_SIDED.split():
        setattr(Delayed, f"__{name}__", _operator(getattr(operator, name)))
    for name, method in (
        ("__pow__", _operator(pow)),  # the built-in takes a modulus too
        ("__rpow__", _reflected(pow)),
        ("__divmod__", _operator(divmod, _PAIR)),
        ("__rdivmod__", _reflected(divmod, _PAIR)),
        ("__round__", _operator(round)),
        ("__ror__", _reflected(operator.or_)),
    ):
        setattr(Delayed, name, method)


_install()

ATOMS = PLAIN | {Delayed, DelayedAttribute}
"""Types of arguments that need no taking apart."""
_LAZY = (Node, Recipe, External, Quoted)
_FOREIGN = "__dask_graph__"
"""What other libraries' promises have, by dask's protocol."""


def is_lazy(value: Any) -> bool:
    """Whether a value in an argument is a promise, a recipe for promises, held by an executor, quoted, or foreign."""
    return isinstance(value, _LAZY) or hasattr(type(value), _FOREIGN)


def with_adopted(leaves: Sequence[Any]) -> Sequence[Any]:
    """Return the leaves, with promises of ours in the places of dask's collections (without importing any dask)."""
    places = [at for at, leaf in enumerate(leaves) if hasattr(type(leaf), _FOREIGN) and not isinstance(leaf, Node)]
    if not places:
        return leaves
    whole = list(leaves)
    for at, promise in zip(places, adopted([leaves[at] for at in places]), strict=True):
        whole[at] = promise
    return whole


def build(
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: TaskOptions,
    site: Site | str,
    after: tuple[Node | External, ...] = (),
    scope: NodeScope | None = None,
) -> Delayed:
    """Make the node of one call.  Arguments that are containers are searched for promises; O(size of the call)."""
    if not kwargs and ATOMS.issuperset(map(type, args)):
        return Delayed(function, tuple(args), None, options, site, after, scope)
    leaves: Sequence[Any]
    leaves, ops = take_apart([*args, *kwargs.values()], is_lazy, ATOMS)
    strange = [] if ATOMS.issuperset(map(type, leaves)) else [leaf for leaf in leaves if type(leaf) not in ATOMS]
    if any(isinstance(leaf, Recipe) for leaf in strange):
        lowered = put_together(ops, [leaf.to_nodes() if isinstance(leaf, Recipe) else leaf for leaf in leaves])
        leaves, ops = take_apart(lowered, is_lazy)
    if strange:
        leaves = with_adopted(leaves)
    template = template_of(tuple(ops), len(args), tuple(kwargs))
    return Delayed(function, tuple(leaves), template, options, site, after, scope)


def settled(values: Sequence[Any]) -> tuple[Any, ...]:
    """Return the values, with lists in the place of iterators that could be read only once."""
    if ATOMS.issuperset(map(type, values)):
        return tuple(values)
    leaves, ops = take_apart(values, is_lazy)
    return tuple(put_together(ops, leaves))
