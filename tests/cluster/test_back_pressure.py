"""Memory has a bound when one side is faster than the other; nothing is lost and nothing hangs."""

from __future__ import annotations

import os
import queue
import signal
import threading
from typing import Any

import pytest

from lazygraph import Client, LocalCluster
from lazygraph.executors.cluster.net import connection as connection_module

SIZE, COUNT, MOST = 50_000, 400, 4 * 1024**2


@pytest.fixture
def own() -> Any:
    """A cluster that a test may bring to a standstill."""
    with LocalCluster(1) as cluster, Client(cluster) as client:
        client.wait_for_workers(1)
        yield cluster, client


def test_a_client_is_slowed_down_to_a_scheduler_that_takes_nothing(own: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster, client = own
    monkeypatch.setattr(connection_module, "MOST_QUEUED", MOST)
    connection = client.executor._connection
    full, most = threading.Event(), 0
    drain = type(connection._link).drain

    async def noting(link: Any) -> None:
        nonlocal most
        most = max(most, link.queued)
        full.set()
        await drain(link)

    monkeypatch.setattr(type(connection._link), "drain", noting)
    futures: list[Any] = []

    def submit() -> None:
        for number in range(COUNT):
            futures.append(client.submit(len, str(number) * SIZE))
            client.flush()  # or calls would be gathered while the thread that sends them sleeps

    scheduler = cluster._scheduler.process.pid
    os.kill(scheduler, signal.SIGSTOP)
    try:
        submitting = threading.Thread(target=submit, daemon=True)
        submitting.start()
        assert full.wait(30)
        assert len(futures) < COUNT
    finally:
        os.kill(scheduler, signal.SIGCONT)
    submitting.join(30)
    assert client.gather(futures) == [SIZE * len(str(number)) for number in range(COUNT)]
    assert most < 3 * MOST


def test_who_waits_for_room_hears_that_the_cluster_is_gone(own: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster, client = own
    monkeypatch.setattr(connection_module, "MOST_QUEUED", MOST)
    connection = client.executor._connection
    full, failed = threading.Event(), queue.Queue[Exception]()
    drain = type(connection._link).drain

    async def noting(link: Any) -> None:
        full.set()
        await drain(link)

    monkeypatch.setattr(type(connection._link), "drain", noting)

    def submit() -> None:
        kept = []
        try:
            while True:
                kept.append(client.submit(len, bytes(SIZE)))
                client.flush()
        except ConnectionError as error:
            failed.put(error)

    scheduler = cluster._scheduler.process.pid
    os.kill(scheduler, signal.SIGSTOP)
    threading.Thread(target=submit, daemon=True).start()
    assert full.wait(30)
    os.kill(scheduler, signal.SIGKILL)
    assert failed.get(timeout=30)


def test_a_consumer_that_does_not_read_holds_the_source_back(own: Any) -> None:
    _, client = own
    source: queue.Queue[Any] = queue.Queue(3)
    futures = client.map(abs, source)
    taken = 0
    while True:  # until both queues and the one call between them are full
        try:
            source.put(taken, timeout=0.5)
        except queue.Full:
            break
        taken += 1
    assert taken <= 2 * 3 + 1
    assert [futures.get(timeout=30).result() for _ in range(taken)] == [*range(taken)]
