"""The executors that other libraries' work is run on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from typing import Any

import pytest

from lazygraph import Client, LocalCluster

Get = Callable[..., Any]


@pytest.fixture(scope="session")
def cluster_of_two() -> Iterator[Client]:
    """A client of a cluster of two workers, which is nobody's default executor."""
    with LocalCluster(n_workers=2) as cluster, closing(Client(cluster, set_as_default=False)) as client:
        client.wait_for_workers(2)
        yield client


@pytest.fixture(params=["sync", "threads", "cluster"])
def executor(request: pytest.FixtureRequest) -> Any:
    """One executor after another."""
    return request.getfixturevalue("cluster_of_two") if request.param == "cluster" else request.param


@pytest.fixture
def ours(executor: Any, inputs_may_be_read_up: None) -> Get:
    """What dask calls a scheduler, on that executor."""
    from lazygraph.interop.dask import get

    return partial(get, executor=executor)


@pytest.fixture
def under_dask(ours: Get) -> Iterator[Get]:
    """Dask's scheduler, under whatever name it is asked for, runs on that executor."""
    import dask
    from dask.base import named_schedulers

    before = dict(named_schedulers)
    named_schedulers.update(dict.fromkeys(before, ours))  # its tests say scheduler="sync"
    try:
        with dask.config.set(scheduler=ours):
            yield ours
    finally:
        named_schedulers.update(before)


@pytest.fixture
def inputs_may_be_read_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dask hands iterators from task to task, and a store on disk: to read them is to change them."""
    if os.environ.get("LAZYGRAPH_CHECK_MUTATION"):
        monkeypatch.setenv("LAZYGRAPH_CHECK_MUTATION", "0")


def pytest_configure(config: pytest.Config) -> None:
    """Know the marks that dask's tests bear."""
    for mark in ("slow", "gpu", "network", "flaky", "normal_and_array_expr", "skip_with_pyarrow_strings"):
        config.addinivalue_line("markers", f"{mark}: of dask's own tests")
