"""Order without data, and copies: `bind`, `wait_on`, `checkpoint`, `clone`.

All four take promises and canvases in any nesting of collections and give the same nesting back.  Promises are never
changed: what has to wait, or has to be computed once more, is a copy.

Covers: the four verbs, and copying the nodes above a promise with their callbacks and scopes.
Does not cover: merging and dropping nodes (planning.optimize).
"""

from __future__ import annotations

import sys
from collections import deque
from dataclasses import replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, TypeVar, overload
from uuid import uuid4

from lazygraph.errors import InvalidOption
from lazygraph.language.calls import site_of
from lazygraph.language.promise import Delayed, DelayedAttribute, is_lazy
from lazygraph.values.node import External, Node, NodeScope, Recipe, identity
from lazygraph.values.options import TaskOptions, in_context
from lazygraph.values.template import PLAIN, put_together, take_apart

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lazygraph.values.node import Site

T = TypeVar("T")
Promise = Node | External
Seed = str | bytes | int | float


def bind(
    children: T,
    parents: Any,
    *,
    omit: Any = None,
    seed: Seed | None = None,
    assume_layers: bool = True,
    split_every: Any = None,
) -> T:
    """Return `children` copied so that none of their work starts before all of `parents` has ended.

    The copies reach up to the nodes in `omit`, which stay as they are and do not wait.  With the same `seed`, the same
    copies made twice are one when they are computed together.  A canvas among the children becomes one promise.
    `assume_layers` and `split_every` tune dask's graphs; here they mean nothing, because waiting carries no data.
    """
    promises, again = _promises_in((children,))
    waited, _ = _promises_in((parents,))
    kept, _ = _promises_in((omit,))
    site = site_of(sys._getframe(1))
    blockers = (_checkpoint(waited, site),) if waited else ()
    copies = _Copies(kept, blockers, _suffix(seed, waited, kept), fixed=seed is not None)
    bound: T = again([copies.of(promise) for promise in promises])[0]
    return bound


@overload
def clone(one: T, /, *, omit: Any = None, seed: Seed | None = None, assume_layers: bool = True) -> T: ...
@overload
def clone(
    one: Any, two: Any, /, *more: Any, omit: Any = None, seed: Seed | None = None, assume_layers: bool = True
) -> tuple[Any, ...]: ...
def clone(*collections: Any, omit: Any = None, seed: Seed | None = None, assume_layers: bool = True) -> Any:
    """Return copies that are computed again, down from the nodes in `omit`, which stay as they are.

    Of several collections a tuple.  A pure node or one with a key is made again too: its copy shares with other copies
    of the same call, never with the original.  For `seed` see `bind`.
    """
    promises, again = _promises_in(collections)
    kept, _ = _promises_in((omit,))
    copies = _Copies(kept, (), _suffix(seed, (), kept), fixed=seed is not None)
    # A delayed function is nothing that is computed, so there is nothing to compute again.
    out = again([promise if isinstance(promise, Recipe) else copies.of(promise) for promise in promises])
    return out[0] if len(collections) == 1 else tuple(out)


@overload
def wait_on(one: T, /, *, split_every: Any = None) -> T: ...
@overload
def wait_on(one: Any, two: Any, /, *more: Any, split_every: Any = None) -> tuple[Any, ...]: ...
def wait_on(*collections: Any, split_every: Any = None) -> Any:
    """Return promises of the same values that are there only when all of them are: what reads one waits for all.

    Nothing is computed twice.  Of several collections a tuple.
    """
    promises, again = _promises_in(collections)
    site = site_of(sys._getframe(1))
    blockers = (_checkpoint(promises, site),) if len(promises) > 1 else ()
    row = in_context(TaskOptions(name="wait_on"))
    waiting = {
        promise: Delayed(identity, (promise,), None, replace(row, nout=_nout_of(promise)), site, blockers)
        for promise in promises
    }
    out = again([waiting[promise] for promise in promises])
    return out[0] if len(collections) == 1 else tuple(out)


def checkpoint(*collections: Any, split_every: Any = None) -> Delayed[None]:
    """Return a promise of None that is kept when everything lazy in `collections` has been computed."""
    return _checkpoint(_promises_in(collections)[0], site_of(sys._getframe(1)))


def passed() -> None:
    """Return None: the task behind `checkpoint`, which runs when everything it waits for has ended."""


# -- taking collections apart ----------------------------------------------------------------------


def _promises_in(values: Sequence[Any]) -> tuple[list[Any], Callable[[Sequence[Any]], list[Any]]]:
    """Return the lazy things in `values`, a canvas as one promise, and what puts others in their places."""
    leaves, ops = take_apart(values, is_lazy)
    places = [at for at, leaf in enumerate(leaves) if is_lazy(leaf)]
    promises = [_as_promise(leaves[at]) for at in places]

    def again(others: Sequence[Any]) -> list[Any]:
        whole = list(leaves)
        for at, other in zip(places, others, strict=True):
            whole[at] = other
        return put_together(ops, whole)

    return promises, again


def _as_promise(lazy: Any) -> Any:
    return lazy.to_delayed() if isinstance(lazy, Recipe) and not isinstance(lazy, Node) else lazy


def _nout_of(promise: Any) -> int | None:
    return promise._options.nout if isinstance(promise, Node) else None


def _checkpoint(promises: Sequence[Promise], site: Site) -> Delayed[None]:
    # Pure: two that wait for the same are one, so that the same copies behind them can be one.
    row = in_context(TaskOptions(name="checkpoint", pure=True))
    return Delayed(passed, (), None, row, site, tuple(promises))


def _suffix(seed: Seed | None, waited: Sequence[Any], kept: Sequence[Any]) -> str:
    """Return what the keys of copies end in: new every time, or with a seed the same for the same copying."""
    if seed is None:
        return _fresh()
    if not isinstance(seed, Seed):
        raise InvalidOption(f"seed={seed!r}: a text or a number is wanted")
    others = [[getattr(promise, "key", None) for promise in promises] for promises in (waited, kept)]
    return blake2b(repr((seed, others)).encode(), digest_size=8).hexdigest()


def _fresh() -> str:
    return uuid4().hex[:16]


# -- copying ---------------------------------------------------------------------------------------


class _Copies:
    """The copies that one call makes: each node reached is copied once, inputs first.

    Callbacks and scopes of a copied node are copied with it: they belong to its work, which is done once more.
    """

    def __init__(self, kept: Sequence[Promise], blockers: tuple[Promise, ...], suffix: str, *, fixed: bool) -> None:
        self._kept = frozenset(kept)
        self._made: dict[Any, Any] = {node: node for node in kept}
        self._scopes: dict[NodeScope, NodeScope] = {}
        self._blockers, self._suffix, self._fixed = blockers, suffix, fixed
        self._mark: Delayed | None = None
        # Copies in a scope of their own, and what reads them: never one with another copy, whatever the seed.
        self._loose: set[Any] = set()
        self._hanging: deque[tuple[Promise, Callable[[Any], None]]] = deque()

    def of(self, promise: Promise) -> Any:
        """Return the copy of a promise."""
        self._walk(promise)
        while self._hanging:
            node, hang = self._hanging.popleft()
            self._walk(node)
            hang(self._made[node])
        copy = self._made[promise]
        if copy is promise and self._blockers and promise not in self._kept:
            # What an executor holds is not made again, but whoever asks for it here waits.
            copy = self._made[promise] = Delayed(identity, (promise,), after=self._blockers)
        return copy

    def _walk(self, start: Promise) -> None:
        made = self._made
        stack: list[Any] = [start]
        while stack:
            node = stack[-1]
            if node in made:
                stack.pop()
                continue
            if isinstance(node, External):
                made[node] = node
                continue
            inputs = [*(leaf for leaf in node._leaves if _is_promise(leaf)), *node._after]
            missing = [one for one in inputs if one not in made]
            if missing:
                stack.extend(reversed(missing))
                continue
            made[node] = self._copy(node, inputs)

    def _copy(self, node: Node, inputs: Sequence[Promise]) -> Delayed:
        """Copy a node whose inputs have been copied."""
        made = self._made
        leaves = tuple([made[leaf] if _is_promise(leaf) else leaf for leaf in node._leaves])
        after = tuple([made[one] for one in node._after])
        if all(made[one] is one for one in inputs):
            after += self._blockers or self._marked(node._options)
        scope = self._scope(node._scope)
        loose = scope is not None or not self._loose.isdisjoint([made[one] for one in inputs])
        row = self._options(node, loose)
        copy = _class_of(node, after)(node._function, leaves, node._template, row, node._site, after, scope)
        if loose:
            self._loose.add(copy)
        for callback in node._links:
            self._hanging.append((callback, _linking(copy)))
        return copy

    def _marked(self, row: TaskOptions) -> tuple[Promise, ...]:
        # A pure call is one node with every other such call of the same inputs.  Waiting for a mark makes it another
        # call, and one with the calls that wait for the same mark: the key is the mark's own.
        if not row.is_pure:
            return ()
        if self._mark is None:
            self._mark = Delayed(passed, (), None, TaskOptions(name="clone", key=f"clone-{self._suffix}"))
        return (self._mark,)

    def _options(self, node: Any, loose: bool) -> TaskOptions:
        row: TaskOptions = node._options
        if row.key is not None:
            return replace(row, key=f"{row.key}-{_fresh() if loose else self._suffix}")
        if self._fixed and not (loose or row.is_pure):
            return replace(row, key=f"{node.key}-{self._suffix}")
        return row

    def _scope(self, scope: NodeScope | None) -> NodeScope | None:
        """Return the copy of a scope; those around it are copied too."""
        chain: list[NodeScope] = []
        while scope is not None and scope not in self._scopes:
            chain.append(scope)
            scope = scope.parent
        copy = None if scope is None else self._scopes[scope]
        for original in reversed(chain):
            copy = self._scopes[original] = NodeScope(copy, original.fail_fast, original.contained)
            self._made[original.caught] = copy.caught
            self._loose.add(copy.caught)
            for handler in original.handlers:
                self._hanging.append((handler, copy.handlers.append))
            self._hanging.extend((given, copy.given.append) for given in original.given)
            self._hanging.extend((end, copy.ends.append) for end in original.ends)
        return copy


def _is_promise(leaf: Any) -> bool:
    return type(leaf) not in PLAIN and isinstance(leaf, Node | External)


def _class_of(node: Node, after: tuple[Promise, ...]) -> type[Delayed]:
    # An attribute that is called becomes one call of a method, which would not know what the attribute waits for.
    return DelayedAttribute if isinstance(node, DelayedAttribute) and not after else Delayed


def _linking(owner: Node) -> Callable[[Any], None]:
    def link(callback: Any) -> None:
        owner._links += (callback,)

    return link
