"""Dask's graphs as promises of ours, and dask's collections as inputs of our tasks.

A graph of dask's maps keys to tasks, in the form it has since 2024.12 (`Task`, `Alias`, `DataNode`, `List` ...) or in
the older one (tuples that begin with a function).  A task becomes one promise, called as its key is; data goes in as a
constant where it is read, and another name for a key is that key.  What `dask.annotate` says of tasks are options.

Covers: that direction, in linear time (about 20 us a task measured) and without recursion but for tasks in tasks.
Does not cover: the other direction (planning.to_dask), running (interop.dask).
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from lazygraph.errors import InvalidOption, LazyGraphError, MissingExtra
from lazygraph.language.promise import Delayed, is_lazy
from lazygraph.planning.dask_content import Nested, in_order_of_use, is_subgraph
from lazygraph.planning.faults import Told, in_order, missing_inputs, raise_first
from lazygraph.planning.to_dask import Called, Fetched
from lazygraph.values.node import Quoted, identity
from lazygraph.values.options import DEFAULT, NAMES, TaskOptions, changed
from lazygraph.values.template import Op, template_of

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence

    Annotations = Mapping[str, Mapping[Hashable, Any]]


class NoSuchKey(LazyGraphError, KeyError):
    """A key was asked for that a graph of dask's does not have."""

    def __init__(self, key: object, keys: int) -> None:
        super().__init__(f"the graph has {keys} keys, and {key!r} is none of them; ask for one of its own")

    __str__ = Exception.__str__


class Written(NamedTuple):
    """A graph as dask wrote it: tasks by key, and what annotations say, by name and key."""

    tasks: Mapping[Hashable, Any]
    annotations: Annotations


# -- what dask hands over --------------------------------------------------------------------------


def written(graph: Any) -> Written:
    """Return an expression, a layered graph or a dict of dask's as one dict of tasks, with their annotations."""
    try:
        from dask import config
        from dask._task_spec import Task, convert_legacy_graph
    except ImportError as error:
        raise MissingExtra("running a graph of dask's", "dask") from error
    layers = list(_layers_in(graph))
    said = _said_in_layers(layers)
    held = {key: Task(key, Held(future)) for key, future in _futures_in(layers)}
    # Dask's low-level fusing forgets annotations.
    with config.set({"optimization.fuse.active": False}) if said else nullcontext():
        if hasattr(graph, "__dask_annotations__"):
            for name, annotated in graph.__dask_annotations__().items():
                said.setdefault(name, {}).update(annotated)
        if hasattr(graph, "__dask_graph__"):
            graph = graph.__dask_graph__()
    tasks: dict[Hashable, Any] = {**held, **graph}
    tasks.update((key, Task(key, Held(task))) for key, task in graph.items() if _is_future(task))
    return Written(convert_legacy_graph(tasks), said)


class Held:
    """Called by us: what dask's own cluster holds.  It is fetched where this is called, and travels as its value."""

    __slots__ = ("future",)

    def __init__(self, future: Any) -> None:
        self.future = future

    def __call__(self) -> Any:
        """Wait for the value."""
        return self.future.result()

    def __reduce__(self) -> tuple[Any, ...]:
        return partial, (identity, self.future.result())


def _layers_in(graph: Any) -> Iterator[Any]:
    """Yield the layers of a layered graph, or of those in an expression as they were before dask optimized them."""
    from dask._expr import Expr, HLGExpr

    if not isinstance(graph, Expr):
        yield from getattr(graph, "layers", {}).values()
        return
    for expression in graph.walk():
        if isinstance(expression, HLGExpr):
            layered: Any = expression
            yield from getattr(layered.operand("dsk"), "layers", {}).values()


def _futures_in(layers: Iterable[Any]) -> Iterator[tuple[Hashable, Any]]:
    """Yield key and future of what was persisted on dask's own cluster: dask loses them when it optimizes."""
    from dask.highlevelgraph import MaterializedLayer

    for layer in layers:
        if isinstance(layer, MaterializedLayer):  # nothing else has values in it
            yield from ((key, task) for key, task in layer.items() if _is_future(task))


def _is_future(task: Any) -> bool:
    """Whether it is a future of dask's own cluster.  Under its own key it would read itself."""
    from dask._task_spec import TaskRef

    return isinstance(task, TaskRef) and hasattr(task, "result")


def _said_in_layers(layers: Iterable[Any]) -> dict[str, dict[Hashable, Any]]:
    said: dict[str, dict[Hashable, Any]] = {}
    for layer in layers:
        for name, value in (layer.annotations or {}).items():
            said.setdefault(name, {}).update((key, value(key) if callable(value) else value) for key in layer)
    return said


# -- promises of it --------------------------------------------------------------------------------


def promises_of(
    graph: Written,
    keys: Iterable[Hashable],
    named: Callable[[Hashable], str] = str,
    *,
    shared: bool = False,
    pure: bool = False,
) -> dict[Hashable, Any]:
    """Return for each of `keys` a promise of its value, a future that a task of ours had there, or quoted data.

    `named` says what the promise of a key is called.  `shared`: a key means the same work in all graphs, so what is
    made of it here and elsewhere is done once.  `pure`: equal tasks give equal values, as dask takes it of all but its
    delayed calls; it has to be said only where something is cached.
    Raises `NoSuchKey`, `CyclicGraph` naming a cycle, `InvalidOption` for a missing input or a wrong annotation.
    """
    wanted = list(keys)
    needed = _needed(graph.tasks, wanted)
    raise_first(missing_inputs(needed))
    order, cycles = in_order(needed)
    raise_first(cycles)
    pure = pure or (not shared and any((graph.annotations.get("cache") or {}).values()))
    making = _Making(graph, _Rows(graph.annotations, named, shared, pure))
    for key in order:
        making.promise(key)
    return {key: _lazy(making.made[key]) for key in wanted}


def _needed(tasks: Mapping[Hashable, Any], keys: list[Hashable]) -> dict[Hashable, Told]:
    needed: dict[Hashable, Told] = {}
    for key in keys:
        if key not in tasks:
            raise NoSuchKey(key, len(tasks))
    waiting = keys.copy()
    while waiting:
        key = waiting.pop()
        if key not in needed and key in tasks:
            reads = tasks[key].dependencies
            needed[key] = Told(reads)
            waiting.extend(reads)
    return needed


class _Making:
    """Promises by key while they are made, inputs first.  Data stands for itself, quoted where it looks lazy."""

    def __init__(self, graph: Written, rows: _Rows) -> None:
        from dask import _task_spec

        self.spec, self.tasks, self.rows = _task_spec, graph.tasks, rows
        self.containers = {
            _task_spec.List: "list",
            _task_spec.Tuple: "tuple",
            _task_spec.Set: "set",
            _task_spec.Dict: "dict",
        }
        self.made: dict[Hashable, Any] = {}

    def promise(self, key: Hashable) -> None:
        """Make what stands for a key; another name for a key is what that key has."""
        task, made = self.tasks[key], self.made
        kind = type(task)
        function = task.func if kind is self.spec.Task else None
        if kind is self.spec.Alias:
            made[key] = made[task.target]
        elif kind is self.spec.DataNode:
            made[key] = _as_leaf(task.value)
        elif isinstance(function, Called | Fetched) and function.lazy is not None:
            made[key] = function.lazy
        else:
            made[key] = self._call(key, task)

    def _call(self, key: Hashable, task: Any) -> Delayed:
        options, site = self.rows.of(key), f"dask's key {key!r}" if self.rows.told_by_site else _SITE
        whole = type(task) is not self.spec.Task or (options.is_pure and is_subgraph(task))
        taken = None if whole else self._taken_apart(task)
        if taken is None:
            reads = in_order_of_use(task) if options.is_pure else task.dependencies
            return Delayed(Nested(task, reads), tuple(self.made[read] for read in reads), None, options, site)
        leaves, ops = taken
        template = template_of(tuple(ops), len(task.args), tuple(task.kwargs))
        return Delayed(task.func, tuple(leaves), template, options, site)

    def _taken_apart(self, task: Any) -> tuple[list[Any], list[Op]] | None:
        """Return the leaves of a task's arguments and what puts them together, or None when there are tasks in them."""
        leaves: list[Any] = []
        ops: list[Op] = []
        spec, containers = self.spec, self.containers
        waiting = [*reversed(task.kwargs.values()), *reversed(task.args)]
        run = 0  # leaves since the last op
        while waiting:
            value = waiting.pop()
            kind = type(value)
            if kind is Op:
                ops.extend((Op("leaf", run), value) if run else (value,))
                run = 0
                continue
            if kind in containers:
                waiting.append(Op(containers[kind], len(value.args)))
                waiting.extend(reversed(value.args))
                continue
            if isinstance(value, spec.TaskRef):
                value = self.made[value.key]
            elif kind is spec.Alias:
                value = self.made[value.target]
            elif kind is spec.DataNode:
                value = _as_leaf(value.value)
            elif isinstance(value, spec.GraphNode):
                return None
            else:
                value = _as_leaf(value)
            leaves.append(value)
            run += 1
        if run:
            ops.append(Op("leaf", run))
        return leaves, ops


_SITE = "a graph of dask's"


def as_promise(lazy: Any) -> Delayed:
    """Return a promise of a value, a future or something quoted; of a promise, that."""
    return lazy if isinstance(lazy, Delayed) else Delayed(identity, (lazy,), None, DEFAULT, _SITE)


def _as_leaf(value: Any) -> Any:
    """Return a value of dask's so that it stays what it is."""
    return Quoted(value) if is_lazy(value) else value


def _lazy(made: Any) -> Any:
    return made if is_lazy(made) else Quoted(made)


# -- what annotations are here ---------------------------------------------------------------------

_NOT_FOR_MANY = frozenset({"key", "name", "nout", "bind", "pure"})
"""Options of ours that say what a task is, not how it is run."""


class _Rows:
    """The options of a graph's tasks: called as their keys are, with what annotations say."""

    def __init__(
        self, annotations: Annotations, named: Callable[[Hashable], str], shared: bool, pure: bool = False
    ) -> None:
        self._said = {name: said for name, said in annotations.items() if said and name in NAMES - _NOT_FOR_MANY}
        self._wishes = annotations.get("allow_other_workers") or {}
        self._named, self._shared, self._default = named, shared, replace(DEFAULT, pure=True) if pure else DEFAULT
        self._plain: dict[str | None, TaskOptions] = {}
        self.told_by_site = named is not str  # else the name says which key it is

    def of(self, key: Hashable) -> TaskOptions:
        """Return the options of the task of a key."""
        row = self._default
        said = {name: each[key] for name, each in self._said.items() if key in each}
        if self._wishes.get(key):
            said.pop("workers", None)  # a wish, and placing is free to have none
        if said:
            given = {name: _whole(name, value) for name, value in said.items()}
            row = changed(row, "dask.annotate()", given)
        name = self._named(key) or None
        if self._shared:
            return replace(row, name=name, key=str(key) or None)
        return replace(row, name=name) if said else self._called(name)

    def _called(self, name: str | None) -> TaskOptions:
        row = self._plain.get(name)
        if row is None:
            row = self._plain[name] = replace(self._default, name=name)
        return row


def _whole(name: str, value: Any) -> Any:
    """Return an annotation's value as ours is: dask takes any number where we count."""
    if name in ("retries", "priority") and isinstance(value, float):
        if not value.is_integer():
            raise InvalidOption(f"dask.annotate({name}={value!r}): a whole number is wanted here")
        return int(value)
    return list(value) if name == "workers" and isinstance(value, set | tuple) else value


# -- collections -----------------------------------------------------------------------------------


def adopted(collections: Sequence[Any], *, optimize_graph: bool = True, cache: Any = False) -> list[Any]:
    """Return for each of dask's collections a promise of its value; what several of them need is done once.

    Promises of `dask.delayed` that are adopted one after another share what has the same key, too.  `cache`: their
    values are kept, as that option of a task says.
    """
    from dask.base import is_dask_collection
    from dask.delayed import Delayed as Theirs

    made: list[Any] = [None] * len(collections)
    kinds: dict[str, list[int]] = {}
    for at, collection in enumerate(collections):
        if not is_dask_collection(collection):  # a data set that is in memory, say: a value as any other
            made[at] = Quoted(collection)
            continue
        kind = "delayed" if isinstance(collection, Theirs) else "expression" if _has_expression(collection) else ""
        kinds.setdefault(kind, []).append(at)
    # Kind by kind: dask warns of expressions and layered graphs that are optimized together.
    for kind, places in kinds.items():
        alike = [collections[at] for at in places]
        pure = cache is not False
        promises = _delayed(alike) if kind == "delayed" else _finalized(alike, optimize_graph, pure)
        for at, promise in zip(places, promises, strict=True):
            made[at] = promise if cache is False else _cached(promise, cache)
    return made


def _cached(promise: Any, cache: Any) -> Any:
    if isinstance(promise, Delayed):
        promise._options = changed(promise._options, "from_dask()", {"cache": cache})  # nobody else has it yet
    return promise


def _has_expression(collection: Any) -> bool:
    from dask._expr import Expr

    return isinstance(getattr(collection, "expr", None), Expr)


def _delayed(collections: Sequence[Any]) -> list[Any]:
    """As written, for `dask.delayed` keeps its keys only so."""
    from dask.base import collections_to_expr
    from dask.utils import key_split

    keys = [collection.key for collection in collections]
    graph = written(collections_to_expr(list(collections), optimize_graph=False))
    made = promises_of(graph, keys, key_split, shared=True)
    return [made[key] for key in keys]


def _finalized(collections: Sequence[Any], optimize_graph: bool, pure: bool) -> list[Any]:
    from dask import _expr, core
    from dask.base import collections_to_expr
    from dask.utils import key_split

    finalize: Any = _expr.FinalizeCompute
    flatten: Any = core.flatten
    expression = finalize(collections_to_expr(list(collections), optimize_graph)).optimize()
    keys = list(flatten(expression.__dask_keys__()))
    made = promises_of(written(expression), keys, key_split, pure=pure)
    return [made[key] for key in keys]
