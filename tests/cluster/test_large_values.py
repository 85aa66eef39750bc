"""Large values on a cluster: shared on one host, sent elsewhere, right either way, and nothing is left of them."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lazygraph import Client, LocalCluster, delayed, wait
from lazygraph.executors.cluster.net import peers
from lazygraph.executors.cluster.net.segments import CannotShare, this_host

LARGE = 5_000_000
HERE = [["sender"], ["reader"]]


needs_proc = pytest.mark.skipif(not this_host(), reason="memory is shared through /proc, which Linux has")


def ones(length: int, first: float = 1.0) -> Any:
    made = np.ones(length)
    made[0] = first
    return made


def total(array: Any) -> float:
    return float(array.sum())


def is_writeable(array: Any) -> bool:
    return bool(array.flags.writeable)


def process(*_: Any) -> int:
    return os.getpid()


def maps_of(*_: Any) -> list[str]:
    """Return the files without a name that this process has mapped, as the kernel lists them."""
    with open("/proc/self/maps", encoding="utf-8") as file:
        return [line.split()[4] for line in file if "memfd:lazygraph" in line]


def open_here() -> int:
    return len(os.listdir("/proc/self/fd"))


def left_behind() -> set[str]:
    folders = [Path("/dev/shm"), Path(tempfile.gettempdir())]
    return {str(one) for folder in folders if folder.is_dir() for one in folder.iterdir() if "lazygraph" in one.name}


@pytest.fixture(scope="module", params=["shared", "sent"])
def two(request: pytest.FixtureRequest) -> Iterator[LocalCluster]:
    """Two workers: one sends, the other reads; with shared memory and without."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "sent":
            patch.setenv("LAZYGRAPH_SHARED_MEMORY", "0")
        with LocalCluster(2, queues=HERE) as cluster:
            yield cluster


@pytest.fixture
def far(two: LocalCluster) -> Iterator[Client]:
    """A client of those."""
    with Client(two) as client:
        client.wait_for_workers(2)
        yield client


def made(client: Client, *args: Any, queue: str = "sender") -> Any:
    future = client.submit(ones, *args, queue=queue)
    wait([future])
    return future


# -- right, either way -----------------------------------------------------------------------------


def test_another_worker_reads_it(far: Client) -> None:
    assert far.submit(total, made(far, LARGE), queue="reader").result() == LARGE


def test_the_client_reads_it(far: Client) -> None:
    np.testing.assert_array_equal(made(far, LARGE).result(), np.ones(LARGE))


VALUES: dict[str, Any] = {
    "bytes": bytes(range(256)) * 20_000,
    "a bytearray": bytearray(range(256)) * 20_000,
    "a text": "abc" * 1_000_000,
    "a list of texts": [str(number) for number in range(300_000)],
    "every other number": np.arange(2_000_000)[::2],
    "in columns": np.asfortranarray(np.arange(2_000_000).reshape(1000, -1)),
    "many arrays": [np.full(number, number) for number in range(2_000)],
    "arrays of nothing": {"none": np.zeros(0), "some": np.zeros(1_000_000), "more of none": np.zeros((5, 0))},
    "just under": np.zeros(1024**2 - 1000, dtype=np.uint8),
    "just over": np.zeros(1024**2 + 1000, dtype=np.uint8),
}


def value_of(name: str) -> Any:
    return VALUES[name]


def same(name: str, value: Any) -> bool:
    return type(value) is type(VALUES[name]) and equal(value, VALUES[name])


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(one[0], np.ndarray):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


@pytest.mark.parametrize("name", VALUES)
def test_whatever_it_is(far: Client, name: str) -> None:
    future = far.submit(value_of, name, queue="sender")
    assert far.submit(same, name, future, queue="reader").result()
    assert same(name, future.result())


@pytest.mark.parametrize("name", VALUES)
def test_whatever_is_scattered(far: Client, name: str) -> None:
    [future] = far.scatter([VALUES[name]])
    assert far.submit(same, name, future, queue="reader").result()
    assert far.submit(same, name, future, queue="sender").result()
    assert same(name, future.result())


def test_what_was_scattered_is_as_it_was_then(far: Client) -> None:
    array = np.ones(LARGE)
    future = far.scatter(array)
    array[:] = 5
    assert far.submit(total, future, queue="reader").result() == LARGE


def test_several_at_once(far: Client) -> None:
    several = [made(far, LARGE + number, queue="sender") for number in range(4)]
    assert far.submit(lambda *arrays: [len(one) for one in arrays], *several, queue="reader").result() == [
        LARGE + number for number in range(4)
    ]


def test_a_worker_does_not_change_what_others_read(far: Client) -> None:
    future = made(far, LARGE)
    assert not far.submit(is_writeable, future, queue="reader").result()


def test_what_a_client_has_is_its_own(far: Client) -> None:
    future = made(far, LARGE)
    assert far.submit(total, future, queue="reader").result() == LARGE
    first = future.result()
    first += 1
    assert far.submit(total, future, queue="reader").result() == LARGE
    assert total(first) == 2 * LARGE


def test_a_value_made_again_is_not_taken_for_the_one_before(far: Client) -> None:
    for first in (5.0, 6.0, 7.0):
        future = made(far, LARGE, first)
        assert far.submit(total, future, queue="reader").result() == LARGE - 1 + first
        del future


def test_a_view_outlives_its_future_and_all_that_comes_after(far: Client) -> None:
    held = [made(far, LARGE, float(number)).result() for number in range(6)]
    assert [array[0] for array in held] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]


def test_where_memory_cannot_be_shared_after_all_it_is_sent(far: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def cannot(*_: Any) -> Any:
        raise CannotShare("another host that looks like this one")

    monkeypatch.setattr(peers, "Mapped", cannot)
    for _ in range(5):  # also when it is no longer tried
        future = made(far, LARGE)
        assert total(future.result()) == LARGE


@pytest.mark.parametrize("shared_memory", ["1", "0"])
def test_many_workers_read_one_value_at_the_same_time(shared_memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAZYGRAPH_SHARED_MEMORY", shared_memory)
    queues = [f"reader {number}" for number in range(6)]
    with LocalCluster(6, queues=[[queue] for queue in queues]) as cluster, Client(cluster) as client:
        client.wait_for_workers(6)
        root = delayed(ones).options(queue=queues[0])(LARGE)
        totals = [delayed(total).options(queue=queue)(root) for queue in queues]
        assert client.gather(client.compute(totals)) == [LARGE] * 6


# -- shared memory only ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shared() -> Iterator[LocalCluster]:
    """Two workers of four threads, which share memory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("LAZYGRAPH_SHARED_MEMORY", raising=False)
        with LocalCluster(2, 4, queues=HERE) as cluster:
            yield cluster


@pytest.fixture
def near(shared: LocalCluster) -> Iterator[Client]:
    """A client of those."""
    with Client(shared) as client:
        client.wait_for_workers(2)
        yield client


@needs_proc
def test_eight_tasks_that_read_it_share_one_mapping(near: Client) -> None:
    future = made(near, LARGE)
    seen = [near.submit(maps_of, future, queue="reader", pure=False) for _ in range(8)]
    inodes = {inode for one in seen for inode in one.result()}
    assert len(inodes) == 1


def test_a_reader_goes_on_when_the_owner_is_killed(
    ended: Callable[[int], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LAZYGRAPH_SHARED_MEMORY", raising=False)
    with LocalCluster(2, queues=HERE) as cluster, Client(cluster) as client:
        client.wait_for_workers(2)
        future = made(client, LARGE)
        array = future.result()
        held = client.submit(lambda read: read, future, queue="reader")
        wait([held])
        owner = client.submit(process, queue="sender").result()
        os.kill(owner, signal.SIGKILL)
        assert ended(owner)
        assert total(array) == LARGE
        assert client.submit(total, held, queue="reader").result() == LARGE
        assert total(held.result()) == LARGE


def test_nothing_is_left_whoever_was_killed(ended: Callable[[int], bool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAZYGRAPH_SHARED_MEMORY", raising=False)
    before = left_behind()
    with LocalCluster(2, queues=HERE) as cluster, Client(cluster) as client:
        client.wait_for_workers(2)
        for _ in range(2):
            future = made(client, LARGE)
            assert client.submit(total, future, queue="reader").result() == LARGE
            pids = list(cluster.workers.values())
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            assert all(map(ended, pids))
            assert client.submit(total, future, queue="reader").result() == LARGE  # made again, on others
    assert left_behind() == before


@needs_proc
def test_a_worker_does_not_collect_descriptors(near: Client) -> None:
    def round_() -> None:
        future = made(near, LARGE)
        assert near.submit(total, future, queue="reader").result() == LARGE
        assert total(future.result()) == LARGE

    round_()
    before = [near.submit(open_here, queue=queue, pure=False).result() for [queue] in HERE]
    for _ in range(10):
        round_()
    after = [near.submit(open_here, queue=queue, pure=False).result() for [queue] in HERE]
    assert max(new - old for old, new in zip(before, after, strict=True)) <= 4
