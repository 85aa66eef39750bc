"""Large values that are scattered go to workers without a detour; one for all goes from one to the other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from lazygraph import Client, LocalCluster
from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster.net import putting
from lazygraph.executors.cluster.net.segments import this_host

LENGTH = 2_000_000


def total(array: Any) -> int:
    return int(array.sum())


def maps_of(*_: Any) -> int:
    """Return how many segments this process has mapped, as the kernel counts them."""
    with open("/proc/self/maps", encoding="utf-8") as file:
        return sum("memfd:lazygraph" in line for line in file)


@pytest.fixture(scope="module", params=["shared", "sent"])
def scattering(request: pytest.FixtureRequest) -> Iterator[Client]:
    """A client of two workers, with and without shared memory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAZYGRAPH_SHARED_MEMORY", str(int(request.param == "shared")))
        with LocalCluster(2) as cluster, Client(cluster) as client:
            client.wait_for_workers(2)
            yield client


@pytest.fixture
def told(scattering: Client, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes of values were sent to the scheduler."""
    bodies: list[int] = []
    send = scattering.executor._connection.send

    def counted(message: m.Message, *body: Any) -> None:
        bodies.append(sum(map(len, body)) if isinstance(message, m.Hold) else 0)
        send(message, *body)

    monkeypatch.setattr(scattering.executor._connection, "send", counted)
    return bodies


def arrays(count: int) -> list[Any]:
    return [np.full(LENGTH, at, np.uint8) for at in range(count)]


def test_large_values_do_not_pass_the_scheduler(scattering: Client, told: list[int]) -> None:
    futures = scattering.scatter([*arrays(4), "small"])

    assert 0 < sum(told) < 1000
    held = scattering.who_has(futures)
    assert len({address for addresses in held.values() for address in addresses}) == 2
    assert scattering.gather(scattering.map(total, futures[:4])) == [at * LENGTH for at in range(4)]
    assert futures[4].result() == "small"


def test_what_was_scattered_is_as_it_was_then(scattering: Client) -> None:
    array = np.ones(LENGTH, np.uint8)
    future = scattering.scatter(array)
    array[:] = 7

    assert scattering.submit(total, future).result() == LENGTH


def test_every_worker_fetches_what_is_for_all(scattering: Client) -> None:
    future, small = scattering.scatter([np.ones(LENGTH, np.uint8), 5], broadcast=True)

    workers = scattering.executor.state().workers
    assert all(set(addresses) == set(workers) for addresses in scattering.who_has([future, small]).values())
    sums = [scattering.submit(total, future, workers=[address], pure=False) for address in workers]
    assert scattering.gather(sums) == [LENGTH, LENGTH]


def test_on_one_host_a_worker_maps_what_was_scattered(scattering: Client) -> None:
    if not this_host() or os.environ["LAZYGRAPH_SHARED_MEMORY"] == "0":
        pytest.skip("no memory is shared here")
    future = scattering.scatter(np.ones(LENGTH, np.uint8))
    [[address]] = scattering.who_has([future]).values()

    assert scattering.submit(maps_of, future, workers=[address]).result() >= 1


def test_where_a_segment_cannot_be_had_it_is_sent(scattering: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    put, places = type(scattering.executor._connection).put, []

    def elsewhere(self: Any, worker: str, name: str, place: m.Place | None, body: Any) -> Any:
        places.append(place)
        if place is not None:
            place = m.Place(place.pid, place.descriptor, place.device, place.inode, place.length, bytes(16))
        return put(self, worker, name, place, body)

    monkeypatch.setattr(type(scattering.executor._connection), "put", elsewhere)
    future = scattering.scatter(np.ones(LENGTH, np.uint8))

    assert places[-1] is None
    assert scattering.submit(total, future).result() == LENGTH


def test_where_workers_cannot_be_reached_the_scheduler_hands_it_on(
    scattering: Client, told: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    peers = scattering.executor._connection._peers
    monkeypatch.setattr(peers, "put", lambda address, question, body: peers._answered(question, None))
    future = scattering.scatter(np.ones(LENGTH, np.uint8))

    assert sum(told) > LENGTH
    assert scattering.submit(total, future).result() == LENGTH


def test_small_values_ask_nobody(scattering: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(putting, "Segments", None)

    assert scattering.gather(scattering.scatter({"one": 1, "two": "x" * 1000})) == {"one": 1, "two": "x" * 1000}


def test_small_values_beside_large_ones_are_what_they_were(scattering: Client) -> None:
    values = [bytes(2_000_000), 1, "two", [3]]
    assert scattering.gather(scattering.scatter(values)) == values
