"""The scheduler's page, `/status.json` and `/health`, as a browser sees them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from operator import add
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from lazygraph import Client, LocalCluster, wait
from lazygraph.errors import ClusterFailed


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(n_workers=1, dashboard_address="127.0.0.1:0") as cluster:
        yield cluster


def page(cluster: LocalCluster, path: str) -> str:
    assert cluster.dashboard_link is not None
    with urlopen(cluster.dashboard_link + path, timeout=20) as reply:
        assert reply.status == 200
        text: str = reply.read().decode()
    return text


def test_health(cluster: LocalCluster) -> None:
    assert page(cluster, "health") == "ok"


def test_status_says_who_serves_and_what_runs(cluster: LocalCluster) -> None:
    with Client(cluster) as client:
        client.wait_for_workers(1)
        future = client.submit(bytes, 200_000)
        wait([future])
        said = json.loads(page(cluster, "status.json"))
        ((address, worker),) = said["workers"].items()
        assert address.startswith("tcp://127.0.0.1:")
        assert (worker["name"], worker["threads"]) == ("worker-1", 1)
        (run,) = said["runs"]
        assert (run["tasks"], run["done"], run["open"]) == (1, 1, 0)
        assert run["bytes_kept"] > 200_000
        assert client.submit(add, 1, 2).result() == 3


def test_the_page_names_the_workers(cluster: LocalCluster) -> None:
    with Client(cluster) as client:
        client.wait_for_workers(1)
        text = page(cluster, "")
    assert "<!doctype html>" in text
    assert "worker-1" in text


def test_other_paths_are_not_there(cluster: LocalCluster) -> None:
    with pytest.raises(HTTPError, match="404"):
        page(cluster, "secrets")


def test_an_address_that_is_none_ends_the_start(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ClusterFailed, match="before it served"):
        LocalCluster(n_workers=1, dashboard_address="nonsense")
    assert "is not of the form host:port" in capfd.readouterr().err


def test_without_an_address_there_is_no_page() -> None:
    with LocalCluster(n_workers=1) as cluster:
        assert cluster.dashboard_link is None
