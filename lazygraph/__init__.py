"""lazygraph: describe work lazily, get one explicit graph, run it unchanged on threads or on a cluster.

Names load on first use (PEP 562), so that importing this costs next to nothing and brings in no optional library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lazygraph.version import __version__

if TYPE_CHECKING:
    from lazygraph.door import check as check
    from lazygraph.door import compute as compute
    from lazygraph.door import explain as explain
    from lazygraph.door import from_json as from_json
    from lazygraph.door import optimize as optimize
    from lazygraph.door import persist as persist
    from lazygraph.door import start as start
    from lazygraph.door import use as use
    from lazygraph.door import visualize as visualize
    from lazygraph.errors import LazyGraphError as LazyGraphError
    from lazygraph.executors.cluster.local import LocalCluster as LocalCluster
    from lazygraph.executors.cluster.net.client import Client as Client
    from lazygraph.executors.cluster.tls import TLS as TLS
    from lazygraph.executors.files.store import Store as Store
    from lazygraph.interop.dask_words import annotate as annotate
    from lazygraph.interop.dask_words import config as config
    from lazygraph.language.composing import chain as chain
    from lazygraph.language.composing import chord as chord
    from lazygraph.language.composing import group as group
    from lazygraph.language.delayed import delayed as delayed
    from lazygraph.language.dynamic import each as each
    from lazygraph.language.dynamic import quote as quote
    from lazygraph.language.dynamic import replace as replace
    from lazygraph.language.manipulation import bind as bind
    from lazygraph.language.manipulation import checkpoint as checkpoint
    from lazygraph.language.manipulation import clone as clone
    from lazygraph.language.manipulation import wait_on as wait_on
    from lazygraph.language.promise import Delayed as Delayed
    from lazygraph.language.promise import ref as ref
    from lazygraph.language.signature import Signature as Signature
    from lazygraph.running.completing import as_completed as as_completed
    from lazygraph.running.completing import wait as wait
    from lazygraph.running.futures import Future as Future
    from lazygraph.running.group_result import GroupResult as GroupResult
    from lazygraph.running.hooks import TaskRecord as TaskRecord
    from lazygraph.running.hooks import after_task as after_task
    from lazygraph.running.hooks import before_task as before_task
    from lazygraph.running.hooks import worker_setup as worker_setup
    from lazygraph.running.run import Run as Run
    from lazygraph.values.differences import diff_keys as diff_keys
    from lazygraph.values.differences import explain_key as explain_key
    from lazygraph.values.graph import Graph as Graph
    from lazygraph.values.keys import key_of as key_of
    from lazygraph.values.options import Limit as Limit
    from lazygraph.values.options import Rate as Rate
    from lazygraph.values.options import RetryPolicy as RetryPolicy
    from lazygraph.values.options import options as options
    from lazygraph.values.outcome import Failure as Failure
    from lazygraph.values.status import Status as Status

_HOMES = {
    "Client": "lazygraph.executors.cluster.net.client",
    "Delayed": "lazygraph.language.promise",
    "Failure": "lazygraph.values.outcome",
    "Future": "lazygraph.running.futures",
    "Graph": "lazygraph.values.graph",
    "GroupResult": "lazygraph.running.group_result",
    "LazyGraphError": "lazygraph.errors",
    "Limit": "lazygraph.values.options",
    "LocalCluster": "lazygraph.executors.cluster.local",
    "TLS": "lazygraph.executors.cluster.tls",
    "Rate": "lazygraph.values.options",
    "RetryPolicy": "lazygraph.values.options",
    "Run": "lazygraph.running.run",
    "Signature": "lazygraph.language.signature",
    "Status": "lazygraph.values.status",
    "Store": "lazygraph.executors.files.store",
    "TaskRecord": "lazygraph.running.hooks",
    "after_task": "lazygraph.running.hooks",
    "annotate": "lazygraph.interop.dask_words",
    "as_completed": "lazygraph.running.completing",
    "before_task": "lazygraph.running.hooks",
    "bind": "lazygraph.language.manipulation",
    "chain": "lazygraph.language.composing",
    "check": "lazygraph.door",
    "checkpoint": "lazygraph.language.manipulation",
    "chord": "lazygraph.language.composing",
    "clone": "lazygraph.language.manipulation",
    "compute": "lazygraph.door",
    "diff_keys": "lazygraph.values.differences",
    "config": "lazygraph.interop.dask_words",
    "delayed": "lazygraph.language.delayed",
    "each": "lazygraph.language.dynamic",
    "explain": "lazygraph.door",
    "explain_key": "lazygraph.values.differences",
    "from_json": "lazygraph.door",
    "group": "lazygraph.language.composing",
    "optimize": "lazygraph.door",
    "key_of": "lazygraph.values.keys",
    "options": "lazygraph.values.options",
    "persist": "lazygraph.door",
    "quote": "lazygraph.language.dynamic",
    "ref": "lazygraph.language.promise",
    "replace": "lazygraph.language.dynamic",
    "start": "lazygraph.door",
    "use": "lazygraph.door",
    "visualize": "lazygraph.door",
    "wait": "lazygraph.running.completing",
    "wait_on": "lazygraph.language.manipulation",
    "worker_setup": "lazygraph.running.hooks",
}
_INSTEAD = {
    "array": "it has no collections of its own; dask's stay with dask",
    "bag": "it has no collections of its own; dask's stay with dask",
    "base": "keys of content are lazygraph's own; see: lazygraph keys explain",
    "dataframe": "it has no collections of its own; dask's stay with dask",
    "get_annotations": "every node keeps its own options",
    "graph_manipulation": "bind, wait_on, checkpoint and clone are names of lazygraph itself",
    "is_dask_collection": "write isinstance(x, lazygraph.Delayed)",
}
"""Names that scripts written for dask may look for here."""
__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        from lazygraph.errors import suggest

        hint = f"; {_INSTEAD[name]}" if name in _INSTEAD else suggest(name, _HOMES)
        raise AttributeError(f"lazygraph has no {name!r}{hint}")
    import importlib

    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
