"""The seed's Dask samples with only their import line changed."""

from __future__ import annotations

from collections.abc import Iterator
from operator import add
from typing import Any

import pytest

import lazygraph
from lazygraph import Client


@pytest.fixture(scope="module")
def c() -> Iterator[Client]:
    """`c = Client()`, with nothing running: it starts a cluster of its own."""
    c = Client()
    yield c
    c.close()


@pytest.fixture(params=["cluster", "threads"])
def where(request: pytest.FixtureRequest) -> Iterator[None]:
    """Where the delayed samples run: the open client is the default, as in the seed; or without any cluster."""
    if request.param == "cluster":
        request.getfixturevalue("c")
        yield
        return
    with lazygraph.use("threads"):
        yield


def test_hello_world(c: Client) -> None:
    assert c.submit(add, 1, 1).result() == 2


def test_a_thousand(c: Client) -> None:
    futures = [c.submit(add, i, i) for i in range(1000)]
    results = c.gather(futures)
    assert results == [2 * i for i in range(1000)]


def test_simple_dependencies_with_futures(c: Client) -> None:
    x = c.submit(add, 1, 2)
    y = c.submit(add, x, 3)
    assert y.result() == 6


@pytest.mark.usefixtures("where")
def test_simple_dependencies_with_delayed() -> None:
    @lazygraph.delayed
    def add(x: Any, y: Any) -> Any:
        return x + y

    x = add(1, 2)
    y = add(x, 3)
    assert y.compute() == 6


def test_complex_dependencies_with_futures(c: Client) -> None:
    futures = [c.submit(add, i, i) for i in range(100)]
    total = c.submit(sum, futures)
    assert total.result() == 9900


@pytest.mark.usefixtures("where")
def test_complex_dependencies_with_delayed() -> None:
    @lazygraph.delayed
    def add(x: Any, y: Any) -> Any:
        return x + y

    futures = [add(i, i) for i in range(100)]
    total = lazygraph.delayed(sum)(futures)
    # The seed writes `total.result()`, which on a Delayed is a lazy attribute, in dask as here.
    assert total.compute() == 9900


def test_the_client_that_is_open_is_the_default(c: Client) -> None:
    import os

    assert lazygraph.delayed(os.getpid)().compute() != os.getpid()


def test_the_cluster_of_its_own_ends_with_it() -> None:
    client = Client(set_as_default=False)
    address = client.address
    assert client.submit(add, 1, 2).result() == 3
    client.close()
    with pytest.raises(ConnectionError):
        Client(address, token="anything", timeout=5)
