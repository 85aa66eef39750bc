"""lazygraph: describe work lazily, get one explicit graph, run it unchanged on threads or on a cluster.

Names load on first use (PEP 562), so that importing this costs next to nothing and brings in no optional library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lazygraph.version import __version__

if TYPE_CHECKING:
    from lazygraph.door import compute as compute
    from lazygraph.door import explain as explain
    from lazygraph.door import persist as persist
    from lazygraph.door import start as start
    from lazygraph.door import use as use
    from lazygraph.door import visualize as visualize
    from lazygraph.errors import LazyGraphError as LazyGraphError
    from lazygraph.executors.cluster.local import LocalCluster as LocalCluster
    from lazygraph.executors.cluster.net.client import Client as Client
    from lazygraph.language.canvas import Signature as Signature
    from lazygraph.language.canvas import chain as chain
    from lazygraph.language.canvas import chord as chord
    from lazygraph.language.canvas import each as each
    from lazygraph.language.canvas import group as group
    from lazygraph.language.canvas import replace as replace
    from lazygraph.language.delayed import delayed as delayed
    from lazygraph.language.promise import Delayed as Delayed
    from lazygraph.running.futures import Future as Future
    from lazygraph.running.run import GroupResult as GroupResult
    from lazygraph.running.run import Run as Run
    from lazygraph.running.run import as_completed as as_completed
    from lazygraph.running.run import wait as wait
    from lazygraph.values.graph import Graph as Graph
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
    "GroupResult": "lazygraph.running.run",
    "LazyGraphError": "lazygraph.errors",
    "Limit": "lazygraph.values.options",
    "LocalCluster": "lazygraph.executors.cluster.local",
    "Rate": "lazygraph.values.options",
    "RetryPolicy": "lazygraph.values.options",
    "Run": "lazygraph.running.run",
    "Signature": "lazygraph.language.canvas",
    "Status": "lazygraph.values.status",
    "as_completed": "lazygraph.running.run",
    "chain": "lazygraph.language.canvas",
    "chord": "lazygraph.language.canvas",
    "compute": "lazygraph.door",
    "delayed": "lazygraph.language.delayed",
    "each": "lazygraph.language.canvas",
    "explain": "lazygraph.door",
    "group": "lazygraph.language.canvas",
    "options": "lazygraph.values.options",
    "persist": "lazygraph.door",
    "replace": "lazygraph.language.canvas",
    "start": "lazygraph.door",
    "use": "lazygraph.door",
    "visualize": "lazygraph.door",
    "wait": "lazygraph.running.run",
}
__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"lazygraph has no {name!r}")
    import importlib

    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
