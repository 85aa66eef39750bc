"""lazygraph: describe work lazily, get one explicit graph, run it unchanged on threads or on a cluster.

Names load on first use (PEP 562), so that importing this costs next to nothing and brings in no optional library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lazygraph.version import __version__

if TYPE_CHECKING:
    from lazygraph.door import compute, explain, persist, start, use, visualize
    from lazygraph.executors.cluster.local import LocalCluster
    from lazygraph.executors.cluster.net.client import Client
    from lazygraph.language.canvas import Signature, chain, chord, each, group, replace
    from lazygraph.language.delayed import delayed
    from lazygraph.language.promise import Delayed
    from lazygraph.running.futures import Future
    from lazygraph.running.run import GroupResult, Run, as_completed, wait
    from lazygraph.values.graph import Graph
    from lazygraph.values.options import Limit, Rate, RetryPolicy, options
    from lazygraph.values.outcome import Failure
    from lazygraph.values.status import Status

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
