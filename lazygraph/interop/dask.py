"""Dask on our executors: `dask.config.set(scheduler=get)`, `x.compute(scheduler=get)`, `from_dask(x)`.

    import dask.array as da
    from lazygraph.interop.dask import from_dask, get

    x = da.ones((1000, 1000), chunks=100).sum()
    x.compute(scheduler=get)                            # on lazygraph's default executor
    x.compute(scheduler=get, executor="processes")      # or on any other
    from_dask(x).explain()                              # what would run

On workers of several machines say `dask.config.set({"dataframe.shuffle.method": "tasks"})`: unless it is told, dask
shuffles tables through a store on the disk of one machine, for every scheduler but its own cluster.

Covers: running dask's graphs, its collections as promises of ours.
Does not cover: what becomes of a graph (planning.from_dask), promises of ours in dask's hands (planning.to_dask).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lazygraph.door import compute
from lazygraph.errors import MissingExtra, WrongCanvas
from lazygraph.executors.registry import resolve
from lazygraph.interop.dask_callbacks import told
from lazygraph.planning.from_dask import adopted, as_promise, promises_of, written

if TYPE_CHECKING:
    from collections.abc import Hashable

    from lazygraph.language.promise import Delayed


def get(dsk: Any, keys: Any, executor: Any = None, num_workers: int | None = None, **ignored: Any) -> Any:
    """Run what `keys` need of a graph of dask's; return the value of each key, lists of keys as tuples of values.

    `dsk` is what dask hands to a scheduler: an expression, a `HighLevelGraph` or a dict of tasks.  `executor=` is a
    name, address or instance (default: lazygraph's default executor here), `num_workers=` a number of threads, for this
    once.  What `dask.annotate` says of tasks (retries, priority, resources, workers, and all our options of one task)
    holds; an executor that cannot honour it refuses the graph before anything runs.  (Of bags dask itself forgets it
    unless `compute(optimize_graph=False)` is said; its tables take none.)  Dask's callbacks
    (`ProgressBar`, `Profiler` ...) are told of tasks on executors that share memory, elsewhere of the beginning and the
    end.  Other keywords are for other schedulers and are ignored.  Raises the task's own exception, with a note that
    names its key; `KeyError` for a key that is not there; `CyclicGraph`.
    """
    flat = list(dict.fromkeys(_flat(keys)))
    chosen = resolve(executor, num_workers)
    with told(written(dsk), chosen.shares_memory) as graph:
        promises = promises_of(graph, flat)
        found = compute(*[promises[key] for key in flat], executor=chosen, traverse=False)
    return _nested(keys, dict(zip(flat, found, strict=True)))


def _flat(keys: Any) -> list[Hashable]:
    return [key for one in keys for key in _flat(one)] if isinstance(keys, list) else [keys]


def _nested(keys: Any, values: dict[Hashable, Any]) -> Any:
    return tuple(_nested(one, values) for one in keys) if isinstance(keys, list) else values[keys]


def from_dask(collection: Any, *, cache: Any = False) -> Delayed:
    """Return a promise of the value of one of dask's collections: to explain, draw, check, cache, run anywhere.

    What dask optimizes is optimized; the promise's nodes are called as dask's keys are.  `cache=True`, or a store: its
    value is kept, and found again by whatever has the same tasks on the same data.  (`dask.annotate(cache=True)` says
    that of the tasks of a part.)  Of `dask.delayed` calls it is not known whether they give the same twice, so what is
    below them is known by its inputs' values.  Raises `TypeError` for what is no collection of dask's.
    """
    try:
        from dask.base import is_dask_collection
    except ImportError as error:
        raise MissingExtra("from_dask()", "dask") from error
    if not is_dask_collection(collection):
        raise WrongCanvas(f"from_dask() takes a dask array, bag, dataframe or delayed, not {collection!r}")
    return as_promise(adopted([collection], cache=cache)[0])
