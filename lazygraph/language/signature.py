"""Signatures: a call with a hole.

Covers: what a signature is, how it is filled, shown and pickled.
Does not cover: composing (language.canvas), making signatures of functions (language.delayed).
"""

from __future__ import annotations

import sys
from reprlib import Repr
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from lazygraph.language.calls import Contract, name_of, site_of
from lazygraph.language.canvas import DEEPEST_SHOWN, Canvas, Gives, Takes
from lazygraph.language.filling import NOTHING, NOWHERE, Filled, as_node, linked, nodes_in, scoped
from lazygraph.language.promise import ATOMS, Delayed, build, is_lazy
from lazygraph.language.travel import Travelling, packed, unpacked
from lazygraph.values.options import TaskOptions, over
from lazygraph.values.template import put_together, take_apart

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Unpack

    from lazygraph.language.filling import Before, Filling, Waited, Within
    from lazygraph.values.keywords import OfCalls
    from lazygraph.values.node import Site
    from lazygraph.values.verbs import Future  # noqa: F401  # in the text of a base


MANY = {"map_items": "map", "starmap_items": "starmap"}
"""Tasks that make many calls of a function, their first argument, and how they are written."""


class _Shown(Repr):
    """Texts of arguments: short, and no deeper than the canvas they are in."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.depth, self.maxstring, self.maxother = depth, 60, 60

    def repr_instance(self, x: Any, level: int) -> str:
        return x.shown(self.depth + 1) if isinstance(x, Canvas) else super().repr_instance(x, level)


_NONE: Mapping[str, Any] = MappingProxyType({})


class Signature(Canvas[Takes, Gives, Gives, "Future[Gives]"]):
    """A call with a hole: what comes before it is put in front of its arguments (`.s`) or only waited for (`.si`)."""

    __slots__ = ("args", "contract", "function", "immutable", "kwargs", "options", "site")

    function: Callable[..., Any]
    contract: Contract
    options: TaskOptions
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    immutable: bool
    site: Site | str

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
        fix = object.__setattr__
        fix(self, "function", function)
        fix(self, "contract", contract)
        fix(self, "options", options)
        fix(self, "args", args)
        fix(self, "kwargs", MappingProxyType(dict(kwargs)) if kwargs else _NONE)
        fix(self, "immutable", immutable)
        fix(self, "site", site)
        self._said, self._links, self._handlers = (), (), ()

    def shown(self, depth: int) -> str:
        """Return `f.s(1, k=2)`."""
        verb, args = f"{self.contract.name}.{'si' if self.immutable else 's'}", self.args
        if self.contract.name in MANY:  # one task for many calls: shown as it was written
            verb, args = f"{name_of(args[0])}.{MANY[self.contract.name]}", args[1:]
        if depth > DEEPEST_SHOWN:
            return f"{verb}(…)"
        text = _Shown(depth).repr
        texts = [*map(text, args), *(f"{name}={text(value)}" for name, value in self.kwargs.items())]
        return f"{verb}({', '.join(texts)})"

    def _refuse_labels(self, options: Mapping[str, Any]) -> None:
        return  # one signature may have a name

    def clone(
        self, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Unpack[OfCalls]
    ) -> Signature[Any, Gives]:
        """Return a copy with `args` put in front, `kwargs` merged (new wins) and options set."""
        copy = self._copy()
        if not self.immutable:
            object.__setattr__(copy, "args", (*args, *self.args))
            object.__setattr__(copy, "kwargs", MappingProxyType({**self.kwargs, **(kwargs or {})}))
            copy.contract.check_part(copy.args, copy.kwargs, site_of(sys._getframe(1)))
        return copy.set(**options) if options else copy

    def _node(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], after: Waited, within: Within) -> Delayed:
        """Return the node of this call with these arguments.  Raises `WrongCall` when a hole is left."""
        contract = self.contract
        if kwargs or not contract.least <= len(args) <= contract.most:
            contract.check(args, kwargs, self.site)
        # Signature.set > nearest canvas > apply_async > options() and the decorator: those are in `options` already.
        holds = within.of_call(self._said)
        options = over(self.options, holds) if holds else self.options
        return build(self.function, args, kwargs, options, self.site, after, within.scope)

    def _call(self, before: Before) -> tuple[tuple[Any, ...], Mapping[str, Any], Waited]:
        """Return the arguments, and what to wait for, behind what comes before."""
        values, after, kwargs, _ = before
        if self.immutable:
            return self.args, self.kwargs, (*after, *nodes_in(values)) if values else after
        return (*values, *self.args), {**self.kwargs, **kwargs} if kwargs else self.kwargs, after

    @property
    def simple(self) -> bool:
        """Whether filling this needs no other filling: no callbacks, and no canvas among the arguments."""
        return not self._links and not self._handlers and not self.kwargs and ATOMS.issuperset(map(type, self.args))

    def filled(self, before: Before, within: Within) -> Filled:
        """Put what comes before in front and make the node."""
        node = self._node(*self._call(before), within)
        if within.noted is not None:
            within.noted.append((node, before.step))
        return Filled(node)

    def filling(self, before: Before, within: Within) -> Filling:
        """Put what comes before in front and make the node; canvases among the arguments are filled first."""
        if self._handlers:
            within = yield scoped(self._handlers, within)
        args, kwargs, after = self._call(before)
        leaves, ops = take_apart([*args, *kwargs.values()], is_lazy)
        if any(isinstance(leaf, Canvas) for leaf in leaves):
            for at, leaf in enumerate(leaves):
                if isinstance(leaf, Canvas):
                    inner = yield leaf.filling(NOTHING, NOWHERE)
                    leaves[at] = as_node(inner) if inner.after else inner.value
            whole = put_together(ops, leaves)
            args, kwargs = tuple(whole[: len(args)]), dict(zip(kwargs, whole[len(args) :], strict=True))
        node = self._node(args, kwargs, after, within)
        if within.noted is not None:
            within.noted.append((node, before.step))
        done: Filled = yield linked(Filled(node), self._links, a_list=False)
        return done

    def state(self) -> tuple[Callable[..., Any], Sequence[Any], Any]:
        """Return the maker, the callbacks and what is lazy among the arguments, and the rest."""
        leaves, ops = take_apart([*self.args, *self.kwargs.values()], is_lazy)
        places = [at for at, leaf in enumerate(leaves) if is_lazy(leaf)]
        inner = [leaves[at] for at in places]
        leaves = [None if is_lazy(leaf) else packed(leaf) for leaf in leaves]
        call = (len(self.args), tuple(self.kwargs), self.immutable, str(self.site), len(self._links))
        rest = (Travelling(self.function), self.options, leaves, ops, places, call, self._said)
        return _signature_again, (*inner, *self._links, *self._handlers), rest


def _signature_again(parts: list[Any], rest: Any) -> Signature:
    function, options, leaves, ops, places, (count, names, immutable, site, links), holds = rest
    filled = [unpacked(leaf) for leaf in leaves]
    for at, part in zip(places, parts, strict=False):
        filled[at] = part
    whole = put_together(ops, filled)
    function = unpacked(function)
    kwargs = dict(zip(names, whole[count:], strict=True))
    contract = Contract(function, bound=int(options.bind))
    again = Signature(function, contract, options, tuple(whole[:count]), kwargs, immutable, site)
    callbacks = parts[len(places) :]
    again._said, again._links, again._handlers = holds, tuple(callbacks[:links]), tuple(callbacks[links:])
    return again
