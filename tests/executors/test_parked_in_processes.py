"""What is awaited in child processes while others run there: who leaves, who is lost, who is blamed, what is kept."""

from __future__ import annotations

import asyncio
import gc
import os
import select
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lazygraph
from lazygraph import Status, delayed
from lazygraph.errors import WorkerDied
from lazygraph.executors import ProcessExecutor, held, warm
from lazygraph.executors.children import Child

WAIT = 60


@pytest.fixture
def one() -> Iterator[ProcessExecutor]:
    with ProcessExecutor(1) as executor:
        yield executor


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held, "GRACE", 0.05)


@delayed
def echo(value: Any) -> Any:
    return value


@delayed
def zeros(count: int) -> bytes:
    return bytes(count)


@delayed
async def waits(begun: str, end: str) -> int:
    """Say where it is awaited; end when it is told."""
    await asyncio.to_thread(Path(begun).write_text, f"{os.getpid()}", encoding="utf-8")
    await asyncio.to_thread(Path(end).read_text, encoding="utf-8")
    return os.getpid()


@delayed
async def never_rests(end: str) -> str:
    told = asyncio.create_task(asyncio.to_thread(Path(end).read_text, encoding="utf-8"))
    for _ in iter(told.done, True):
        await asyncio.sleep(0)
    return await told


@delayed
def spins(begun: str) -> None:
    Path(begun).write_text("begun", encoding="utf-8")
    while True:
        pass


@delayed
def stuck(begun: str, never: str) -> None:
    Path(begun).write_text("begun", encoding="utf-8")
    Path(never).read_text(encoding="utf-8")


@delayed
async def dies_between_its_steps() -> None:
    asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGKILL)
    await asyncio.Event().wait()


@delayed(isolated=True)
def isolated_pid() -> int:
    return os.getpid()


class Large:
    """Can be counted where it lies."""


@delayed
def large() -> Large:
    return Large()


@delayed
def first_look(value: object) -> str:
    return type(value).__name__


@delayed
def how_many_large() -> int:
    gc.disable()  # what only the collector would find is still there
    return sum(type(one).__name__ == "Large" for one in gc.get_objects())


class Pipes:
    """Named pipes: `begun` is read by the test, `end` written."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._count = folder, 0

    def one(self) -> str:
        self._count += 1
        path = self._folder / f"pipe-{self._count}"
        os.mkfifo(path)
        return str(path)


@pytest.fixture
def pipes(tmp_path: Path) -> Pipes:
    return Pipes(tmp_path)


def read(pipe: str) -> str:
    return Path(pipe).read_text(encoding="utf-8")


def tell(pipe: str) -> None:
    Path(pipe).write_text("go", encoding="utf-8")


# -- who is blamed -----------------------------------------------------------------------------------


def test_one_whose_process_dies_between_its_steps_has_failed_in_the_end(one: ProcessExecutor) -> None:
    [future] = lazygraph.start(dies_between_its_steps(), executor=one).futures
    with pytest.raises(WorkerDied, match=r"'dies_between_its_steps' was running on 4 workers"):
        future.result(WAIT)
    assert echo(1).compute(executor=one) == 1


@pytest.mark.usefixtures("impatient")
def test_nobody_is_blamed_for_a_process_that_we_have_killed(one: ProcessExecutor, pipes: Pipes) -> None:
    end = pipes.one()
    [awaited] = lazygraph.start(never_rests(end), executor=one).futures
    for _ in range(5):
        begun, never = pipes.one(), pipes.one()
        [future] = lazygraph.start(stuck(begun, never), executor=one).futures
        assert read(begun) == "begun"
        assert future.cancel(force=True)
        assert future.status is Status.CANCELLED
    tell(end)
    assert awaited.result(WAIT) == "go"


# -- who leaves --------------------------------------------------------------------------------------


def test_one_that_is_made_to_leave_does_not_take_along_what_is_awaited(one: ProcessExecutor, pipes: Pipes) -> None:
    begun, end = pipes.one(), pipes.one()
    [awaited] = lazygraph.start(waits(begun, end), executor=one).futures
    pid = read(begun)
    begun = pipes.one()
    [future] = lazygraph.start(spins(begun), executor=one).futures
    assert read(begun) == "begun"
    assert future.cancel(force=True)
    assert future.status is Status.CANCELLED
    tell(end)
    assert awaited.result(WAIT) == int(pid)


def test_one_that_is_made_to_leave_does_not_take_along_what_is_awaited_beside_it(
    one: ProcessExecutor, pipes: Pipes
) -> None:
    [begun, end, spinning] = [pipes.one() for _ in range(3)]
    run = lazygraph.start(waits(begun, end), spins(spinning), executor=one, fail_fast=False)
    pid = read(begun)
    assert read(spinning) == "begun"
    assert run.futures[1].cancel(force=True)
    tell(end)
    assert run.futures[0].result(WAIT) == int(pid)


def test_one_that_is_killed_just_when_it_begins_to_be_awaited_has_left(
    monkeypatch: pytest.MonkeyPatch, pipes: Pipes
) -> None:
    said, killed = threading.Event(), threading.Event()

    class Slow(Child):
        """It has said that the lease is parked, and nobody here knows yet."""

        def ask(self, *args: Any, **kwargs: Any) -> Any:
            answer = super().ask(*args, **kwargs)
            said.set()
            assert killed.wait(WAIT)
            return answer

        def at(self) -> int:
            return super().at() if killed.is_set() else 0  # it was when somebody looked

        def kill(self) -> None:
            super().kill()
            killed.set()

    monkeypatch.setattr(warm, "Child", Slow)
    with ProcessExecutor(1) as executor:
        [future] = lazygraph.start(waits(pipes.one(), pipes.one()), executor=executor).futures
        assert said.wait(WAIT)
        assert future.cancel(force=True)
        assert future.status is Status.CANCELLED


def test_a_process_that_does_not_read_holds_up_nobody_else(pipes: Pipes) -> None:
    with ProcessExecutor(2) as executor:
        [data] = lazygraph.start(zeros(10_000_000), executor=executor).futures
        assert len(data.result(WAIT)) == 10_000_000
        begun, end = pipes.one(), pipes.one()
        [awaited] = lazygraph.start(waits(begun, end), executor=executor).futures
        pid = int(read(begun))
        os.kill(pid, signal.SIGSTOP)
        try:
            sizes = [lazygraph.start(delayed(len)(data), executor=executor).futures[0] for _ in range(2)]
            leaving = threading.Thread(target=awaited.cancel, kwargs={"force": True})
            leaving.start()
            next(iter(lazygraph.as_completed(sizes, timeout=WAIT)))  # where the other process is
            assert lazygraph.start(echo(1), executor=executor).futures[0].result(WAIT) == 1
        finally:
            os.kill(pid, signal.SIGCONT)
        assert [size.result(WAIT) for size in sizes] == [10_000_000] * 2
        leaving.join(WAIT)
        assert not leaving.is_alive()


# -- what is kept ------------------------------------------------------------------------------------


def test_processes_do_not_become_more_because_something_is_awaited(one: ProcessExecutor, pipes: Pipes) -> None:
    ends = []
    pids = set()
    for _ in range(4):
        begun, end = pipes.one(), pipes.one()
        ends.append((lazygraph.start(waits(begun, end), executor=one), end))
        read(begun)
        pids.add(isolated_pid().compute(executor=one))  # not where something is awaited
    assert len(pids) == 1
    for run, end in ends:
        tell(end)
        run.result(WAIT)


def test_a_process_that_nobody_needs_any_more_ends(
    one: ProcessExecutor, pipes: Pipes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm, "IDLE", 0.0)
    begun, end = pipes.one(), pipes.one()
    run = lazygraph.start(waits(begun, end), executor=one)
    pids = [int(read(begun)), isolated_pid().compute(executor=one)]
    handles = [os.pidfd_open(pid) for pid in pids]
    try:
        assert len({*pids}) == 2
        tell(end)
        run.result(WAIT)
        assert delayed(os.getpid)().compute(executor=one) in pids
        assert len(select.select(handles, [], [], WAIT)[0]) == 1
        assert delayed(os.getpid)().compute(executor=one) in pids
    finally:
        for handle in handles:
            os.close(handle)


def test_values_that_nothing_will_read_any_more_are_not_kept_for_what_is_awaited(
    one: ProcessExecutor, pipes: Pipes
) -> None:
    begun, end = pipes.one(), pipes.one()
    looks = [first_look(large()) for _ in range(3)]
    run = lazygraph.start(waits(begun, end), *looks, executor=one, optimize_graph=False)
    read(begun)
    assert [future.result(WAIT) for future in run.futures[1:]] == ["Large"] * 3
    assert how_many_large().compute(executor=one) == 0
    tell(end)
    run.result(WAIT)


def test_each_that_has_ended_is_told_while_the_next_takes_long(one: ProcessExecutor, pipes: Pipes) -> None:
    ends = [pipes.one() for _ in range(3)]
    parts = [part for end in ends for part in (echo(end), delayed(read)(end))]
    run = lazygraph.start(*parts, executor=one)
    for at, end in enumerate(ends):
        assert run.futures[2 * at].result(WAIT) == end
        tell(end)
    assert run.result(WAIT) == tuple(value for end in ends for value in (end, "go"))
