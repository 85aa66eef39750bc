"""Executors by the names that tests and commands use.

Covers: what `--lazygraph-executor NAME` and `lazygraph doctor --conformance NAME` mean by NAME.
Does not cover: the names that `executor=` takes (executors.registry).
"""

from __future__ import annotations

import importlib
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lazygraph.errors import UnknownExecutor
from lazygraph.executors.base import Executor
from lazygraph.executors.registry import BUILT, resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


@contextmanager
def _cluster() -> Iterator[Executor]:
    from lazygraph.executors.cluster.local import LocalCluster
    from lazygraph.executors.cluster.net.client import Client

    with (
        LocalCluster(n_workers=2, queues=["default", "other"], resources={"gpu": 1}) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        client.wait_for_workers(2)
        yield client.executor


@contextmanager
def _thread_pool() -> Iterator[Executor]:
    from concurrent.futures import ThreadPoolExecutor

    from lazygraph.executors.pool import PoolExecutor

    with ThreadPoolExecutor(2) as pool, PoolExecutor(pool) as executor:
        yield executor


@contextmanager
def _process_pool() -> Iterator[Executor]:
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    from lazygraph.executors.pool import PoolExecutor

    with ProcessPoolExecutor(2, get_context("spawn")) as pool, PoolExecutor(pool) as executor:
        yield executor


def _new(name: str) -> Callable[[], Any]:
    """Return what opens an executor of our own, nobody else's to close."""

    @contextmanager
    def open_() -> Iterator[Executor]:
        module, _, cls = BUILT[name].partition(":")
        with getattr(importlib.import_module(module), cls)(*(() if name == "sync" else (2,))) as executor:
            yield executor

    return open_


OWN: Mapping[str, Callable[[], Any]] = {
    **{name: _new(name) for name in ("sync", "threads", "processes")},
    "pool of threads": _thread_pool,
    "pool of processes": _process_pool,
    "cluster": _cluster,
}
"""The executors that come with us, by their names in the conformance matrix; each call opens a new one."""


@contextmanager
def opened(name: Any) -> Iterator[Any]:
    """Open what is named: one of `OWN` (new, and closed at the end), MODULE:attr, or whatever `executor=` takes."""
    if name in OWN:
        with OWN[name]() as executor:
            yield executor
        return
    if not isinstance(name, str) or name.startswith(("tcp://", "tls://")):
        yield resolve(name)
        return
    found = _imported(name)
    if isinstance(found, Executor) or hasattr(found, "executor"):
        yield found
        return
    made = found()
    with made as entered:
        yield entered


def _imported(name: str) -> Any:
    module, colon, attribute = name.partition(":")
    if not colon:
        raise UnknownExecutor(name, [*OWN, "sim", "tcp://host:port", "MODULE:attr"])
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    found: Any = importlib.import_module(module)
    for part in attribute.split("."):
        found = getattr(found, part)
    return found
