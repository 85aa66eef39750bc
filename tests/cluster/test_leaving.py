"""Workers that leave: drained by a client, by a command, by a signal; replaced one after the other while tasks run."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import CancelledError
from operator import add
from pathlib import Path

import pytest

import lazygraph as lg
from lazygraph import Client, LocalCluster, delayed
from lazygraph.errors import InvalidOption
from tests.cluster.commands import Lazygraph, Scheduler


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    """A cluster for one test: its workers leave."""
    with LocalCluster(n_workers=2) as cluster:
        yield cluster


def appended(value: int, ran: Path) -> int:
    """Note that this runs, and take a moment."""
    with ran.open("a") as file:
        file.write(f"{value}\n")
    return sum(range(20_000)) * 0 + value


class TestAClient:
    def test_replaces_all_workers_one_by_one_and_no_task_fails_or_runs_twice(
        self, client: Client, cluster: LocalCluster, tmp_path: Path
    ) -> None:
        ran = tmp_path / "ran"
        before = dict(cluster.workers)
        kept = client.scatter([bytes(200_000)] * 4)
        call = delayed(appended)
        first = [call.options(retries=0)(n, ran) for n in range(400)]
        run = lg.start(delayed(sum)([delayed(add)(one, 1) for one in first]))
        for name in before:
            client.drain(name, timeout=60)
            client.wait_for_workers(2)
        assert run.result(60) == (sum(range(400)) + 400,)
        assert not {*cluster.workers.values()} & {*before.values()}
        assert sorted(map(int, ran.read_text().split())) == list(range(400))
        assert [len(future.result(30)) for future in kept] == [200_000] * 4  # nobody could have made these again

    def test_asks_for_one_that_is_not_there(self, client: Client) -> None:
        with pytest.raises(InvalidOption, match="no worker is called nobody; those that are there"):
            client.drain("nobody")


class TestSignals:
    def test_sigterm_has_a_worker_finish_and_hand_over(
        self, lazygraph: Lazygraph, scheduler: Scheduler, tmp_path: Path
    ) -> None:
        _, address, _ = scheduler
        bell, go = tmp_path / "bell", tmp_path / "go"
        os.mkfifo(bell)
        os.mkfifo(go)

        def waits() -> str:
            bell.write_text("here")
            return go.read_text()

        with Client(address) as client:
            leaving = lazygraph("worker", address, "--name", "first")
            assert "has joined" in leaving.line()
            large = client.submit(bytes, 300_000)
            assert len(large.result(30)) == 300_000
            future = client.submit(waits)
            behind = client.map(add, range(20), range(20))
            assert bell.read_text() == "here"
            leaving.process.send_signal(signal.SIGTERM)
            staying = lazygraph("worker", address, "--name", "second")
            assert "has joined" in staying.line()
            assert client.gather(behind) == [2 * n for n in range(20)]
            assert leaving.process.poll() is None  # it still runs something
            go.write_text("done")
            assert future.result(30) == "done"
            assert leaving.process.wait(30) == 0
            assert client.submit(len, large).result(30) == 300_000
            assert [worker["name"] for worker in client.scheduler_info()["workers"].values()] == ["second"]

    @pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
    def test_a_second_one_ends_it_at_once(
        self, lazygraph: Lazygraph, scheduler: Scheduler, tmp_path: Path, second: signal.Signals
    ) -> None:
        _, address, _ = scheduler
        bell = tmp_path / "bell"
        os.mkfifo(bell)

        def never_ends() -> None:
            bell.write_text("here")
            while True:
                signal.pause()

        with Client(address) as client:
            leaving = lazygraph("worker", address)
            assert "has joined" in leaving.line()
            future = client.submit(never_ends)
            assert bell.read_text() == "here"
            leaving.process.send_signal(signal.SIGTERM)
            state = ""
            while state != "leaving":
                [worker] = client.scheduler_info()["workers"].values()
                state = worker["state"]
            leaving.process.send_signal(second)
            assert leaving.process.wait(30) == 0
            future.cancel()


class TestTheCommand:
    def test_drains_a_worker(self, lazygraph: Lazygraph, scheduler: Scheduler) -> None:
        _, address, _ = scheduler
        worker = lazygraph("worker", address, "--name", "first")
        assert "has joined" in worker.line()
        command = lazygraph("drain", address, "first")
        assert command.process.wait(60) == 0
        assert worker.process.wait(30) == 0

    def test_says_who_is_there(self, lazygraph: Lazygraph, scheduler: Scheduler) -> None:
        _, address, _ = scheduler
        command = lazygraph("drain", address, "nobody")
        assert command.process.wait(60) == 1
        assert "no worker is called nobody" in command.process.stdout.read()

    def test_cancels_a_run_that_status_shows(self, lazygraph: Lazygraph, scheduler: Scheduler) -> None:
        _, address, _ = scheduler
        with Client(address):
            run = lg.start(delayed(add, workers=["nobody"])(1, 2), run_name="stuck")
            assert run.futures[0].accepted(30)
            assert "  run stuck: 0 of 1 tasks done\n" in lazygraph("status", address).rest()[1]
            assert lazygraph("cancel", address, "stuck").rest() == (0, "")
            with pytest.raises(CancelledError):
                run.futures[0].result(30)
        status, said = lazygraph("cancel", address, "stuck").rest()
        assert (status, "no run with the name 'stuck'" in said) == (1, True)
