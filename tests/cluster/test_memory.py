"""Workers that have less memory than values: what is not used goes to disk, and nothing is lost or left for that."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import lazygraph as lg
from lazygraph import Client, LocalCluster, delayed
from lazygraph.errors import InvalidOption
from lazygraph.executors.cluster.offers import bytes_of

MB = 1_000_000


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the workers of this module write."""
    folder = tmp_path_factory.mktemp("disk")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))
        yield folder


@pytest.fixture(scope="module")
def cluster(disk: Path) -> Iterator[LocalCluster]:
    """Of two workers of 150 MB."""
    with LocalCluster(n_workers=2, memory_limit="150MB") as cluster:
        yield cluster


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[Client]:
    """Of that."""
    with Client(cluster) as client:
        client.wait_for_workers(2)
        yield client


def array(number: int, size: int = 20 * MB) -> np.ndarray:
    return np.full(size, number % 256, np.uint8)


def total(array: np.ndarray) -> int:
    return int(array[0]) * len(array)


def files(disk: Path) -> list[Path]:
    return list(disk.glob("lazygraph-spill-*/values/*"))


class TestMoreThanMemory:
    def test_values_that_are_held_go_to_disk_and_come_back(self, client: Client, disk: Path) -> None:
        held = client.map(array, range(20))  # 400 MB on two workers that keep up to 90 each
        lg.wait(held)
        assert files(disk)
        while not all(worker["spilled"] for worker in client.scheduler_info()["workers"].values()):
            client.submit(int).result()
        assert oct(files(disk)[0].parent.parent.stat().st_mode)[-3:] == "700"
        sums = client.map(total, held)
        assert [future.result() for future in sums] == [n * 20 * MB for n in range(20)]
        assert [int(future.result()[7]) for future in held] == [*range(20)]  # as a client reads them

    def test_one_that_is_larger_than_memory(self, client: Client, disk: Path) -> None:
        large = client.submit(array, 7, 170 * MB)
        assert client.submit(total, large).result() == 7 * 170 * MB

    def test_values_that_are_no_arrays_and_what_two_runs_share(self, client: Client, disk: Path) -> None:
        held = client.map(lambda n: [n] * 2_000_000, range(16))  # 16 MB each
        assert [future.result() for future in client.map(lambda rows: (rows[0], len(rows)), held)] == [
            (n, 2_000_000) for n in range(16)
        ]
        assert [future.result() for future in client.map(lambda rows: rows[-1], held)] == [*range(16)]

    def test_scattered_values(self, client: Client, disk: Path) -> None:
        held = client.scatter([array(n) for n in range(14)])
        assert [future.result() for future in client.map(total, held)] == [n * 20 * MB for n in range(14)]


class TestNothingIsLeft:
    def test_files_go_with_their_values(self, client: Client, cluster: LocalCluster, disk: Path) -> None:
        held = client.map(array, range(16))
        lg.wait(held)
        assert files(disk)
        del held
        while files(disk):
            client.submit(int).result()
        before = [len(os.listdir(f"/proc/{pid}/fd")) for pid in cluster.workers.values()]
        held = client.map(array, range(16))
        lg.wait(held)
        del held
        while files(disk):
            client.submit(int).result()
        after = [len(os.listdir(f"/proc/{pid}/fd")) for pid in cluster.workers.values()]
        assert sum(after) <= sum(before) + 2

    def test_of_a_killed_worker(
        self, client: Client, cluster: LocalCluster, disk: Path, ended: Callable[[int], bool]
    ) -> None:
        held = client.map(array, range(16))
        lg.wait(held)
        before = {path.parent.parent for path in files(disk)}
        assert before
        for pid in list(cluster.workers.values()):
            os.kill(pid, signal.SIGKILL)
            assert ended(pid)
        assert [future.result() for future in client.map(total, held)] == [n * 20 * MB for n in range(16)]  # made again
        assert not any(folder.exists() for folder in before)


def tiny_files() -> None:
    """No file may be longer than 1 MB: as if the disk were full."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (MB, MB))


class TestAFullDisk:
    def test_fails_the_task_and_not_the_worker(self, disk: Path) -> None:
        with LocalCluster(n_workers=1, memory_limit="150MB", setup=tiny_files) as cluster, Client(cluster) as client:
            workers = dict(cluster.workers)
            with pytest.raises(MemoryError, match=r"the value of 'array', 170,000,1\d\d bytes, has no room") as caught:
                client.submit(array, 7, 170 * MB).result()
            assert str(disk) in str(caught.value) and "--memory-limit" in str(caught.value)
            with pytest.raises(MemoryError, match="the value of 'array'"):  # and what reads it
                delayed(total)(delayed(array)(7, 170 * MB)).compute(optimize_graph=False)
            assert client.submit(total, client.submit(array, 7, 2 * MB)).result() == 14 * MB
            assert cluster.workers == workers


def grow(size: int) -> None:
    """Keep memory that no value is."""
    import builtins

    builtins.kept = bytearray(b"1" * size)  # type: ignore[attr-defined]


class TestAFullWorker:
    def test_gives_what_it_has_not_begun_to_others_and_alone_goes_on_one_by_one(self, disk: Path) -> None:
        with LocalCluster(n_workers=2, memory_limit="150MB") as cluster, Client(cluster) as client:
            client.wait_for_workers(2)
            first, other = client.scheduler_info()["workers"]
            client.submit(grow, 150 * MB, workers=[first]).result()
            while client.scheduler_info()["workers"][first]["state"] != "full":
                client.submit(int, workers=[other]).result()
            assert [future.result() for future in client.map(lambda n: n, range(200))] == [*range(200)]
            alone = client.map(lambda n: n + 1, range(30), workers=[first])
            assert [future.result() for future in alone] == [*range(1, 31)]


class TestLimits:
    @pytest.mark.parametrize(
        ("text", "size"),
        [("2GB", 2_000_000_000), ("512MiB", 512 * 1024**2), ("1.5 g", 1_500_000_000), ("0", 0), (5e6, 5_000_000)],
    )
    def test_that_are_understood(self, text: str, size: int) -> None:
        assert bytes_of(text, "here") == size
        assert bytes_of("auto", "here") is None

    @pytest.mark.parametrize("text", ["2", "-1GB", "much", "2XB", True, None])
    def test_that_are_not(self, text: object) -> None:
        with pytest.raises(InvalidOption, match=r"here: .* is no amount of memory; it is written as 2GB"):
            bytes_of(text, "here")
