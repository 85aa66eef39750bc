"""What the tests on real processes share: one cluster a module, and a sure way to know that a process has ended."""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterator

import pytest

from lazygraph import Client, LocalCluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Two workers of one thread, on loopback."""
    with LocalCluster(n_workers=2) as cluster:
        yield cluster


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[Client]:
    """A client of that cluster, the default executor inside the test; both workers have joined."""
    with Client(cluster) as client:
        client.wait_for_workers(2)
        yield client


@pytest.fixture
def ended() -> Callable[[int], bool]:
    """Whether a process has ended, waiting up to 20 s for its end."""

    def ended(pid: int) -> bool:
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            return True
        try:
            return bool(select.select([handle], [], [], 20)[0])
        finally:
            os.close(handle)

    return ended
