"""From a name, an address or an instance to an executor: the only place that imports executors by name."""

from __future__ import annotations

import atexit
import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

from lazygraph.errors import InvalidOption, UnknownExecutor
from lazygraph.executors.base import Executor
from lazygraph.executors.current import innermost, newest_client
from lazygraph.running.context import inside_task, on_loop

if TYPE_CHECKING:
    from collections.abc import Mapping

BUILT: Mapping[str, str] = {
    "celery": "lazygraph.executors.on_celery:CeleryExecutor",
    "dask": "lazygraph.executors.on_dask:DaskExecutor",
    "processes": "lazygraph.executors.processes:ProcessExecutor",
    "ray": "lazygraph.executors.on_ray:RayExecutor",
    "sync": "lazygraph.executors.sync:SyncExecutor",
    "threads": "lazygraph.executors.threads:ThreadExecutor",
}
_DASK_NAMES = {"synchronous": "sync", "single-threaded": "sync", "threading": "threads", "multiprocessing": "processes"}

_warm: dict[str, Any] = {}  # executors opened by name in this process: the other registry
_CHILDREN = "the children of sync executors"


def resolve(chosen: Any = None, threads: int | None = None, waits: bool = True) -> Executor:
    """Return the executor for `executor=`: a name, "tcp://host:port", an instance, or None for the default here.

    `threads` asks for a pool of so many, for this one use (dask's `num_workers=`).  Raises `InvalidOption` where the
    executor has slots of its own.  `waits=False`: the caller will not wait in this thread for what it starts.
    """
    if threads is not None:
        return _pool_of(threads, resolve(chosen))
    task = inside_task.get()
    if chosen is None:
        chosen = innermost()
    if chosen is None and task:
        # The run's own, where a slot can be lent; an event loop that waited would hold up all that is awaited on it.
        chosen = "sync" if waits and on_loop.get() else getattr(task, "nested", "sync")
    elif chosen is None:
        chosen = newest_client() or "threads"
    chosen = getattr(chosen, "executor", chosen)  # a Client
    if isinstance(chosen, Executor):
        # Inside a task a sync executor may be in the middle of a run already: a new one does the same.
        return _by_name("sync") if chosen.name == "sync" and inside_task.get() else chosen
    if isinstance(chosen, str):
        return _by_name(_DASK_NAMES.get(chosen, chosen))
    if hasattr(chosen, "submit") and hasattr(chosen, "shutdown"):
        return _load("lazygraph.executors.pool:PoolExecutor")(chosen)  # type: ignore[no-any-return]
    raise UnknownExecutor(chosen, [*BUILT, "tcp://host:port"])


def _pool_of(threads: int, chosen: Executor) -> Executor:
    if chosen.name == "sync":
        return chosen
    if chosen.name != "threads":
        raise InvalidOption(f"num_workers={threads}: executor {chosen.name!r} has as many slots as its workers have")
    return _load(BUILT["threads"])(threads)  # type: ignore[no-any-return]


def _by_name(name: str) -> Executor:
    if name not in BUILT and not name.startswith(("tcp://", "tls://")):
        raise UnknownExecutor(name, [*BUILT, "tcp://host:port"])
    if name == "sync" or (name in BUILT and inside_task.get()):
        # A new one each time: it belongs to the calling thread, and inside a task no slot may wait for a slot.
        return _load(BUILT["sync"])(_children()).within(inside_task.get())  # type: ignore[no-any-return]
    found = _warm.get(name)
    if found is None or getattr(found, "closed", False):
        if name.startswith(("tcp://", "tls://")):
            found = _load("lazygraph.executors.cluster.net.executor:ClusterExecutor")(name)
        else:
            found = _load(BUILT[name])()
        _warm[name] = found
    return found  # type: ignore[no-any-return]


def _children() -> Any:
    """Return what keeps a child warm for the isolated tasks of all sync executors: there are many of those."""
    if _CHILDREN not in _warm:
        _warm[_CHILDREN] = _load("lazygraph.executors.isolated:Isolation")(replace=False)
    return _warm[_CHILDREN]


def _load(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def _close_warm() -> None:
    """At interpreter exit finish what was submitted; after Ctrl-C wait for nothing."""
    interrupted = getattr(sys, "last_type", None) is KeyboardInterrupt
    for name, executor in _warm.items():
        if interrupted and name != _CHILDREN:
            executor.close(wait=False)
        else:
            executor.close()
    _warm.clear()


atexit.register(_close_warm)
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_warm.clear)
