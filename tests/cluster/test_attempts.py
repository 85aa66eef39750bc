"""Attempts on workers: what a task knows of its own, making one leave, in children of the worker, awaited."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import lazygraph
from lazygraph import Client, LocalCluster, RetryPolicy, delayed
from lazygraph.errors import TaskTimeout, WorkerDied

WAIT = 60


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """One worker of one thread: what is behind a task waits for it."""
    with LocalCluster(n_workers=1) as cluster:
        yield cluster


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[Client]:
    with Client(cluster) as client:
        client.wait_for_workers(1)
        yield client


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """What a task writes to, to say that it runs; reading it waits for that."""
    found = tmp_path / "gate"
    os.mkfifo(found)
    return found


@delayed
def process() -> int:
    return os.getpid()


def says(gate: Path, text: str = "here") -> None:
    gate.write_text(text)


def loops(gate: Path) -> None:
    says(gate)
    while True:
        pass


def come_to(folder: Path, number: int) -> Callable[[int], bool]:
    """Say that a task has come; return what says whether so many have."""
    (folder / str(number)).touch()
    return lambda many: len(list(folder.iterdir())) >= many


class TestWhatATaskKnows:
    def test_of_its_attempt(self, client: Client) -> None:
        @delayed(bind=True)
        def asks(self: Any, x: int) -> Any:
            return (*self.request, x)

        future = client.compute(asks(7))
        assert future.result(WAIT) == (future.key, 1, future.run_id, "worker-1", 7)

    def test_it_can_ask_for_another(self, client: Client) -> None:
        @delayed(bind=True)
        def asks(self: Any) -> int:
            if self.request.retries < 2:
                self.retry(countdown=0)
            return int(self.request.attempt)

        assert client.compute(asks()).result(WAIT) == 3

    def test_what_its_policy_is_about(self, client: Client, tmp_path: Path) -> None:
        class Temporary(Exception):
            """Of the user's own, in `__main__` or in a function."""

        notes = tmp_path / "notes"

        def fails(error: type[Exception]) -> None:
            with notes.open("a") as file:
                file.write(error.__name__ + "\n")
            raise error("as planned")

        policy = RetryPolicy(max_retries=2, on=(Temporary,))
        for error in (Temporary, ValueError):
            with pytest.raises(Exception, match="as planned"):
                client.compute(delayed(fails, retries=policy)(error)).result(WAIT)
        assert notes.read_text().split() == ["Temporary"] * 3 + ["ValueError"]


class TestMakingOneLeave:
    def test_a_loop(self, client: Client, gate: Path) -> None:
        future = client.submit(loops, gate)
        gate.read_text()
        assert future.cancel(force=True)
        assert future.cancelled()
        assert client.submit(abs, -1).result(WAIT) == 1  # the slot is free

    def test_one_that_has_not_started(self, client: Client, gate: Path) -> None:
        first = client.submit(loops, gate)
        gate.read_text()
        behind = client.submit(abs, -1)
        assert behind.cancel(force=True)
        assert behind.cancelled() and not first.done()
        assert first.cancel(force=True)

    def test_what_reads_it_is_not_run(self, client: Client, gate: Path) -> None:
        first = delayed(loops)(gate)
        future, reader, other = client.compute([first, delayed(str)(first), delayed(abs)(-1)])
        gate.read_text()
        assert future.cancel(force=True)
        assert other.result(WAIT) == 1
        lazygraph.wait([reader], WAIT)
        assert reader.cancelled() and reader.cause == future.key

    def test_one_that_is_over(self, client: Client) -> None:
        future = client.submit(abs, -1)
        assert future.result(WAIT) == 1
        assert not future.cancel(force=True)

    def test_one_that_python_cannot_reach(self, client: Client, gate: Path, tmp_path: Path) -> None:
        other = tmp_path / "other"
        os.mkfifo(other)
        future = client.submit(os.system, f"echo here > {gate}; cat {other}")  # one call, for Python
        gate.read_text()
        assert not future.cancel(force=True)
        assert not future.done()
        other.write_text("go on")
        lazygraph.wait([future], WAIT)
        assert future.cancelled()


class TestIsolated:
    def test_in_a_child_that_stays_warm(self, client: Client, cluster: LocalCluster) -> None:
        isolated = process.options(isolated=True)
        first, second = client.gather([client.compute(isolated()), client.compute(isolated())])
        assert first == second
        assert first not in (os.getpid(), *cluster.workers.values())
        assert client.compute(process()).result(WAIT) in cluster.workers.values()

    def test_a_timeout_kills(self, client: Client, ended: Callable[[int], bool], tmp_path: Path) -> None:
        pid = tmp_path / "pid"

        @delayed(timeout=0.5)
        def sleeps() -> None:
            pid.write_text(str(os.getpid()))
            time.sleep(1000)  # sleeping is the task

        future = client.compute(sleeps())
        with pytest.raises(TaskTimeout, match=r"'sleeps' ran longer than its timeout of 0.5 s"):
            future.result(WAIT)
        assert ended(int(pid.read_text()))
        assert client.compute(process.options(isolated=True)()).result(WAIT) != int(pid.read_text())

    def test_cancelling_kills(self, client: Client, ended: Callable[[int], bool], gate: Path) -> None:
        @delayed(isolated=True)
        def sleeps(gate: Path) -> None:
            gate.write_text(str(os.getpid()))
            time.sleep(1000)  # sleeping is the task

        future = client.compute(sleeps(gate))
        pid = int(gate.read_text())
        assert future.cancel(force=True)
        assert future.cancelled()
        assert ended(pid)

    @pytest.mark.parametrize(("at_most_once", "attempts"), [(False, 4), (True, 1)])
    def test_one_that_dies(self, client: Client, tmp_path: Path, at_most_once: bool, attempts: int) -> None:
        notes = tmp_path / "notes"

        @delayed(isolated=True, at_most_once=at_most_once)
        def dies() -> None:
            with notes.open("a") as file:
                file.write("x")
            os.kill(os.getpid(), signal.SIGKILL)

        with pytest.raises(WorkerDied, match="'dies' was running"):
            client.compute(dies()).result(WAIT)
        assert notes.read_text() == "x" * attempts

    def test_what_it_reads_and_returns(self, client: Client) -> None:
        double = delayed(lambda x: 2 * x)
        isolated = double.options(isolated=True)
        assert client.compute(double(isolated(double(1)))).result(WAIT) == 8

    def test_what_it_knows_of_its_attempt(self, client: Client) -> None:
        @delayed(bind=True, isolated=True)
        def asks(self: Any) -> Any:
            if self.request.attempt == 1:
                self.retry(countdown=0)
            return tuple(self.request)

        future = client.compute(asks())
        assert future.result(WAIT) == (future.key, 2, future.run_id, "worker-1")


class TestAwaited:
    def test_several_at_a_time_in_one_thread(self, client: Client, tmp_path: Path) -> None:
        async def meets(number: int) -> int:
            there = come_to(tmp_path, number)
            while not there(5):  # noqa: ASYNC110 (what the others set is in no event of this one's)
                await asyncio.sleep(0)
            return number

        assert client.gather(client.map(meets, range(5))) == list(range(5))

    def test_what_reads_it(self, client: Client) -> None:
        async def doubled(x: int) -> int:
            await asyncio.sleep(0)
            return 2 * x

        one = delayed(doubled)(1)
        assert client.compute(delayed(sum)([one, delayed(doubled)(one), delayed(abs)(-1)])).result(WAIT) == 7

    def test_it_can_be_made_to_leave(self, client: Client, gate: Path) -> None:
        async def waits(gate: Path) -> None:
            says(gate)
            await asyncio.Event().wait()

        future = client.submit(waits, gate)
        gate.read_text()
        assert future.cancel(force=True)
        assert future.cancelled()

    def test_many_at_a_time_in_one_thread(self, client: Client, tmp_path: Path) -> None:
        async def meets(number: int) -> int:
            there = come_to(tmp_path, number)
            while not there(100):  # noqa: ASYNC110 (what the others set is in no event of this one's)
                await asyncio.sleep(0)
            return number

        assert client.gather(client.map(meets, range(100))) == list(range(100))

    def test_the_slot_is_free_meanwhile(self, client: Client, gate: Path) -> None:
        async def waits(gate: Path) -> None:
            says(gate)
            await asyncio.Event().wait()

        future = client.submit(waits, gate)
        gate.read_text()
        assert client.submit(abs, -1).result(WAIT) == 1
        assert future.cancel(force=True)

    def test_failures(self, client: Client) -> None:
        async def fails() -> None:
            await asyncio.sleep(0)
            raise ValueError("as planned")

        with pytest.raises(ValueError, match="as planned"):
            client.submit(fails).result(WAIT)


HOOKS = """
import os

def before_task(record):
    with open(os.environ["NOTES"], "a") as notes:
        notes.write(f"before {record.name} {record.attempt}\\n")

def after_task(record):
    with open(os.environ["NOTES"], "a") as notes:
        notes.write(f"after {record.name} {record.attempt} {type(record.exception).__name__}\\n")
"""


def test_hooks_are_around_isolated_and_retried_attempts_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "users_hooks.py").write_text(HOOKS)
    monkeypatch.syspath_prepend(tmp_path)
    notes = tmp_path / "notes"
    monkeypatch.setenv("NOTES", str(notes))

    @delayed(isolated=True)
    def plain() -> None:
        return

    @delayed(isolated=True, at_most_once=True)
    def dies() -> None:
        os._exit(1)

    @delayed(bind=True)
    def tries(self: Any) -> None:
        if self.request.attempt == 1:
            self.retry(exc=KeyError("again"), countdown=0)

    @delayed
    async def awaits() -> None:
        await asyncio.sleep(0)

    with LocalCluster(1, preload="users_hooks") as cluster, Client(cluster) as client:
        client.compute(plain()).result(WAIT)
        client.compute(tries()).result(WAIT)
        client.compute(awaits()).result(WAIT)
        with pytest.raises(WorkerDied):
            client.compute(dies()).result(WAIT)
    assert notes.read_text().splitlines() == [
        "before plain 1",
        "after plain 1 NoneType",
        "before tries 1",
        "after tries 1 KeyError",
        "before tries 2",
        "after tries 2 NoneType",
        "before awaits 1",
        "after awaits 1 NoneType",
        "before dies 1",
        "after dies 1 WorkerDied",
    ]
