"""The executors: what computes a plan.  Names load on first use: no engine's library is imported for another."""

from __future__ import annotations

from typing import Any

_HOMES = {
    "CeleryExecutor": "lazygraph.executors.on_celery",
    "DaskExecutor": "lazygraph.executors.on_dask",
    "Executor": "lazygraph.executors.base",
    "PoolExecutor": "lazygraph.executors.pool",
    "ProcessExecutor": "lazygraph.executors.processes",
    "RayExecutor": "lazygraph.executors.on_ray",
    "SyncExecutor": "lazygraph.executors.sync",
    "ThreadExecutor": "lazygraph.executors.threads",
    "ClusterExecutor": "lazygraph.executors.cluster.net.executor",
    "Client": "lazygraph.executors.cluster.net.client",
    "LocalCluster": "lazygraph.executors.cluster.local",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"lazygraph.executors has no {name!r} (it has {', '.join(__all__)})")
    import importlib

    return getattr(importlib.import_module(home), name)
