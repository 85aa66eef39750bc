"""Processes of our own: what a task may do to its process, and what is left when all is over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import lazygraph
from lazygraph import compute, delayed
from lazygraph.errors import Closed, InvalidOption, Unserializable, WorkerDied, WouldDeadlock
from lazygraph.executors import PoolExecutor, ProcessExecutor
from lazygraph.executors.registry import resolve

WAIT = 60


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessExecutor]:
    with ProcessExecutor(2) as executor:
        yield executor


@pytest.fixture(autouse=True)
def in_processes(processes: ProcessExecutor) -> Iterator[None]:
    with lazygraph.use(processes):
        yield


@delayed
def pid(*ignored: object) -> int:
    return os.getpid()


@delayed
def die_the_first_time(folder: str, value: int) -> int:
    try:
        Path(folder, f"died-{value}").touch(exist_ok=False)
    except FileExistsError:
        return value
    os.kill(os.getpid(), signal.SIGKILL)
    return -1


@delayed
def die(value: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return value


@delayed
def same(value: object) -> object:
    return value


def test_tasks_run_elsewhere_and_stay_warm() -> None:
    first = {*compute(*[pid(i) for i in range(20)])}
    assert os.getpid() not in first
    assert len(first) <= 2
    assert {*compute(*[pid(i) for i in range(20)])} <= first | {*compute(pid(), pid())}


def test_a_process_that_dies_is_replaced_and_its_tasks_run_again(tmp_path: Path) -> None:
    tasks = [die_the_first_time(str(tmp_path), i) for i in range(4)]
    assert compute([*tasks, *map(same, range(30))])[0] == [*range(4), *range(30)]


def test_a_task_that_kills_every_process_has_failed_and_only_it() -> None:
    futures = [same.delay(1), die.delay(2), same.delay(3)]
    with pytest.raises(WorkerDied, match="'die' was running on 4 workers one after another"):
        futures[1].result(WAIT)
    assert [futures[0].result(WAIT), futures[2].result(WAIT)] == [1, 3]


def test_the_task_that_killed_is_blamed_not_its_neighbours() -> None:
    run = lazygraph.start([same(i) for i in range(5)], die(5), [same(i) for i in range(6, 11)], fail_fast=False)
    with pytest.raises(WorkerDied, match="'die'"):
        run.result(WAIT)
    assert sum(future.exception(WAIT) is not None for future in run.futures) == 1


def test_a_task_can_print_and_finds_an_empty_input() -> None:
    @delayed
    def talk() -> str:
        sys.stdout.write("said by a task\n")
        return sys.stdin.read()

    assert talk().compute() == ""


def test_a_plan_that_cannot_travel_is_refused_before_anything_runs() -> None:
    with pytest.raises(Unserializable, match=rf"argument lock of 'same'.*built at {__file__}"):
        same(threading.Lock()).compute()


def test_a_value_that_cannot_travel_fails_those_who_read_it() -> None:
    lock = delayed(threading.Lock)()
    with pytest.raises(TypeError, match="cannot pickle"):
        compute(same(lock), same(lock))


def test_compute_inside_a_task_runs_there() -> None:
    @delayed
    def inner() -> bool:
        return bool(delayed(os.getpid)().compute() == os.getpid())

    assert inner().compute() is True


def test_a_task_of_a_pool_that_waits_for_its_own_pool_is_told() -> None:
    import concurrent.futures

    with concurrent.futures.ThreadPoolExecutor(1) as pool, PoolExecutor(pool) as executor:

        @delayed
        def waits() -> object:
            return executor_future().result(WAIT)

        def executor_future() -> lazygraph.Future[int]:
            return lazygraph.start(same(1), executor=executor).futures[0]

        with pytest.raises(WouldDeadlock, match=r"return lazygraph\.replace"):
            waits().compute(executor=executor)


@delayed
def interrupts() -> None:
    raise KeyboardInterrupt("from a task")


def test_an_interrupt_that_a_task_raises_is_its_own() -> None:
    import concurrent.futures

    with pytest.raises(KeyboardInterrupt, match="from a task"):
        interrupts().compute()
    with concurrent.futures.ProcessPoolExecutor(1) as pool, PoolExecutor(pool) as executor:
        with pytest.raises(KeyboardInterrupt, match="from a task"):
            interrupts().compute(executor=executor)
        assert same(1).compute(executor=executor) == 1


def test_by_name() -> None:
    assert resolve("processes").name == resolve("multiprocessing").name == "processes"
    with pytest.raises(InvalidOption, match="at least one process"):
        ProcessExecutor(0)


def test_a_pool_of_somebody_else_is_not_shut_down() -> None:
    import concurrent.futures

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        assert delayed(sum)([1, 2]).compute(executor=pool) == 3
        assert pool.submit(sum, [1, 2]).result(WAIT) == 3


def test_a_pool_that_was_shut_down_fails_its_tasks() -> None:
    import concurrent.futures

    pool = concurrent.futures.ThreadPoolExecutor(1)
    pool.shutdown()
    with pytest.raises(Closed, match="cannot schedule new futures after shutdown"):
        same(1).compute(executor=pool)


def test_no_process_outlives_its_parent(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os, signal, sys, threading\n"
        "import lazygraph\n"
        "from lazygraph.executors import ProcessExecutor\n"
        "def stand(): print(os.getpid(), file=sys.stderr, flush=True); threading.Event().wait(300)\n"
        "run = lazygraph.start(lazygraph.delayed(stand)(), executor=ProcessExecutor(1))\n"
        "threading.Event().wait(300)\n"
    )
    with subprocess.Popen([sys.executable, str(script)], stderr=subprocess.PIPE, text=True) as parent:
        assert parent.stderr is not None
        assert int(parent.stderr.readline()) != parent.pid
        parent.kill()
        assert parent.stderr.read() == ""  # ends only when the child, which holds it too, has ended


class Shy:
    """Can be pickled, and opened only in the process that made it."""

    def __init__(self) -> None:
        self.home = os.getpid()

    def __reduce__(self) -> tuple[object, ...]:
        return _open_shy, (self.home,)


def _open_shy(home: int) -> Shy:
    if os.getpid() != home:
        raise ValueError("not here")
    return Shy()


def test_one_that_has_not_begun_is_cancelled_behind_one_that_runs(tmp_path: Path) -> None:
    @delayed
    def waits(fifo: str) -> str:
        return Path(fifo).read_text()

    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with ProcessExecutor(1) as executor:
        run = lazygraph.start(waits(str(fifo)), same(1), same(2), executor=executor, fail_fast=False)
        with fifo.open("w") as there:  # opens when the task reads
            assert run.futures[1].cancel(force=True)
            assert run.futures[1].cancelled()
            there.write("left alone")
        assert run.futures[0].result(WAIT) == "left alone"
        assert run.futures[2].result(WAIT) == 2


def test_a_process_that_cannot_be_started_fails_its_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    with ProcessExecutor(1) as executor:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "executable", "/nonexistent/python")
            with pytest.raises(FileNotFoundError, match="/nonexistent/python"):
                same(1).compute(executor=executor)
        assert same(1).compute(executor=executor) == 1


def test_what_cannot_be_opened_fails_its_task_and_no_process() -> None:
    before = {*compute(*[pid(i) for i in range(20)])}
    with pytest.raises(TypeError, match=r"an argument of this call.* cannot be sent.*not here"):
        same(Shy()).compute()  # there
    with pytest.raises(TypeError, match=r"cannot be sent.*not here"):
        delayed(Shy)().compute()  # and back
    assert {*compute(*[pid(i) for i in range(20)])} <= before | {*compute(pid(), pid())}


def test_a_replacement_that_cannot_travel_fails_its_task() -> None:
    @delayed
    def becomes() -> object:
        return lazygraph.replace(same.s(threading.Lock()))

    with pytest.raises(Unserializable, match=r"argument lock of 'same'"):
        becomes().compute()
