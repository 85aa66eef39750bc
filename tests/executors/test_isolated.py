"""`timeout=` and `isolated=True`: the attempt runs in a process of its own, and can be killed at once."""

from __future__ import annotations

import concurrent.futures
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lazygraph
from lazygraph import compute, delayed, start
from lazygraph.errors import TaskTimeout, Unserializable, UnsupportedByExecutor, WorkerDied
from lazygraph.executors import PoolExecutor, ProcessExecutor, SyncExecutor, ThreadExecutor
from lazygraph.executors.driver import Driver

WAIT = 60
LONG = 300
"""Seconds that a task stands which somebody is going to kill."""


@pytest.fixture(
    params=[SyncExecutor, lambda: ThreadExecutor(2), lambda: ProcessExecutor(2)], ids=["sync", "threads", "processes"]
)
def executor(request: pytest.FixtureRequest) -> Iterator[Driver]:
    """Every executor that has isolated tasks in this process's hands; the default in here."""
    with request.param() as executor:
        yield executor


class Meeting:
    """Where tasks of other processes say that they have begun, and stand until they are let go or killed."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(WAIT)
        self.port: int = self._listening.getsockname()[1]
        self._here: list[socket.socket] = []

    def somebody_comes(self) -> socket.socket:
        """Wait until a task stands here."""
        somebody, _ = self._listening.accept()
        somebody.settimeout(WAIT)
        self._here.append(somebody)
        return somebody

    def close(self) -> None:
        for one in (*self._here, self._listening):
            one.close()


@pytest.fixture
def meeting() -> Iterator[Meeting]:
    meeting = Meeting()
    yield meeting
    meeting.close()


def stand(port: int) -> int:
    """Say that this process is there, and wait until it is let go."""
    with socket.create_connection(("127.0.0.1", port)) as there:
        there.settimeout(LONG)
        there.recv(1)
    return os.getpid()


def ended(process: int) -> bool:
    """Wait until a process has ended."""
    try:
        handle = os.pidfd_open(process)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], WAIT)[0])
    finally:
        os.close(handle)


@delayed(isolated=True)
def pid(*ignored: object) -> int:
    return os.getpid()


@delayed
def same(value: Any) -> Any:
    return value


@delayed(isolated=True)
def same_apart(value: Any) -> Any:
    return value


@delayed(timeout=0.2)
def too_long() -> None:
    threading.Event().wait(LONG)


@delayed(isolated=True)
def stands(port: int) -> int:
    return stand(port)


# -- where they run --------------------------------------------------------------------------------


def test_it_runs_in_another_process(executor: Driver) -> None:
    assert pid().compute() != os.getpid()


def test_what_is_not_isolated_stays_here() -> None:
    with SyncExecutor():
        here, there = compute(delayed(os.getpid)(), pid())
    assert here == os.getpid() != there


def test_the_process_stays_warm() -> None:
    with SyncExecutor():
        assert len({*compute(*[pid(i) for i in range(20)])}) == 1


def test_two_run_at_the_same_time(meeting: Meeting) -> None:
    with ThreadExecutor(2):
        run = start(stands(meeting.port), stands(meeting.port))
        both = meeting.somebody_comes(), meeting.somebody_comes()
        for one in both:
            one.send(b".")
        first, second = run.result(WAIT)
        assert first != second


def test_values_go_there_and_come_back(executor: Driver) -> None:
    large = bytes(3_000_000)
    assert same(same_apart(same(same_apart([1, {"a": large}])))).compute() == [1, {"a": large}]


def test_a_future_of_the_executor_is_read_there(executor: Driver) -> None:
    held = same(20).persist()
    assert same_apart(held).compute() == 20


def test_tasks_of_many_plans(executor: Driver) -> None:
    assert [same_apart(i).compute() for i in range(20)] == [*range(20)]


# -- how they end ----------------------------------------------------------------------------------


def test_it_is_killed_when_its_time_is_over(executor: Driver) -> None:
    with pytest.raises(TaskTimeout, match=r"'too_long' ran longer than its timeout of 0.2 s and was killed") as caught:
        too_long().compute()
    assert isinstance(caught.value, TimeoutError)
    assert f"built at {__file__}" in str(caught.value)


def test_the_next_one_gets_a_fresh_process(executor: Driver) -> None:
    before = pid().compute()
    with pytest.raises(TaskTimeout):
        too_long().compute()
    assert pid().compute() not in (before, os.getpid())
    if executor.name == "sync":  # it has only this one
        assert ended(before)


def test_it_is_tried_again(executor: Driver, tmp_path: Path) -> None:
    @delayed(timeout=0.5, retries=2)
    def slow_at_first(folder: str) -> str:
        try:
            Path(folder, "tried").touch(exist_ok=False)
        except FileExistsError:
            return "in time"
        threading.Event().wait(LONG)
        return "never"

    assert slow_at_first(str(tmp_path)).compute() == "in time"


def test_it_is_not_tried_again_when_its_policy_says_so(executor: Driver, tmp_path: Path) -> None:
    policy = lazygraph.RetryPolicy(max_retries=3, on=(OSError,), not_on=(TimeoutError,))

    @delayed(timeout=0.2, retries=policy)
    def slow(folder: str) -> None:
        Path(folder, "tried").touch(exist_ok=False)
        threading.Event().wait(LONG)

    with pytest.raises(TaskTimeout):
        slow(str(tmp_path)).compute()


def test_what_it_had_started_goes_with_it(executor: Driver, meeting: Meeting) -> None:
    @delayed(timeout=1.0)
    def starts_another(port: int) -> None:
        program = f"import socket; socket.create_connection(('127.0.0.1', {port})).recv(1)"
        subprocess.run([sys.executable, "-c", program])

    run = start(starts_another(meeting.port))
    assert meeting.somebody_comes().recv(1) == b""  # it is gone
    with pytest.raises(TaskTimeout):
        run.result(WAIT)


def test_one_that_ends_in_time_is_left_alone(executor: Driver) -> None:
    assert same.options(timeout=WAIT)(1).compute() == 1


def test_an_exception_comes_back_as_it_is(executor: Driver) -> None:
    with pytest.raises(ZeroDivisionError):
        delayed(divmod, isolated=True)(1, 0).compute()


def test_one_that_ends_its_process_is_run_again(executor: Driver, tmp_path: Path) -> None:
    @delayed(isolated=True)
    def dies_at_first(folder: str) -> str:
        try:
            Path(folder, "tried").touch(exist_ok=False)
        except FileExistsError:
            return "alive"
        os._exit(3)

    assert dies_at_first(str(tmp_path)).compute() == "alive"


def test_one_that_kills_every_process_has_failed(executor: Driver) -> None:
    @delayed(isolated=True)
    def dies() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(WorkerDied, match="'dies' was running on 4 workers one after another"):
        dies().compute()
    assert pid().compute() != os.getpid()


def test_it_is_seen_to_die_although_another_holds_its_pipes(executor: Driver, meeting: Meeting) -> None:
    @delayed(isolated=True, at_most_once=True)
    def is_killed_by_its_child(port: int) -> None:
        if os.fork():
            threading.Event().wait(LONG)
        with socket.create_connection(("127.0.0.1", port)) as there:
            os.kill(os.getppid(), signal.SIGKILL)
            there.recv(1)
        os._exit(0)

    run = start(is_killed_by_its_child(meeting.port))
    with pytest.raises(WorkerDied):
        run.result(WAIT)
    assert meeting.somebody_comes().recv(1) == b""  # what it had started goes with it


def test_one_that_died_while_it_had_nothing_to_do_is_replaced(executor: Driver) -> None:
    before = pid().compute()
    os.kill(before, signal.SIGKILL)
    assert ended(before)
    assert pid.options(at_most_once=True)().compute() != before


# -- when somebody makes them end ------------------------------------------------------------------


@pytest.fixture(params=[ThreadExecutor, ProcessExecutor], ids=["threads", "processes"])
def one_slot(request: pytest.FixtureRequest) -> Iterator[Driver]:
    """An executor with one slot that is not this thread."""
    with request.param(1) as executor:
        yield executor


def test_it_is_killed_when_it_is_cancelled(one_slot: Driver, meeting: Meeting) -> None:
    run = start(stands(meeting.port), same(1), fail_fast=False)
    somebody = meeting.somebody_comes()
    assert run.futures[0].cancel(force=True)
    assert somebody.recv(1) == b""  # it is gone
    assert run.futures[0].cancelled()
    assert run.futures[1].result(WAIT) == 1
    assert pid().compute() != os.getpid()


def test_it_can_be_cancelled_at_any_moment(one_slot: Driver) -> None:
    for _ in range(30):
        run = start(pid(), same(1), fail_fast=False)
        if run.futures[0].cancel(force=True):
            assert run.futures[0].cancelled()
        else:
            assert run.futures[0].result(WAIT) != os.getpid()
        assert run.futures[1].result(WAIT) == 1


def test_it_goes_on_when_it_is_cancelled_without_force(one_slot: Driver, meeting: Meeting) -> None:
    run = start(stands(meeting.port))
    somebody = meeting.somebody_comes()
    assert not run.futures[0].cancel()
    somebody.send(b".")
    assert run.result(WAIT) != (os.getpid(),)


def test_a_whole_run_is_cancelled(one_slot: Driver, meeting: Meeting) -> None:
    run = start(stands(meeting.port), same(1))
    somebody = meeting.somebody_comes()
    run.cancel(force=True)
    assert somebody.recv(1) == b""
    assert pid().compute() != os.getpid()


def test_a_process_is_killed_for_one_that_is_not_isolated(meeting: Meeting) -> None:
    with ProcessExecutor(1):
        others = [same(i) for i in range(5)]
        run = start(delayed(stand)(meeting.port), *others, fail_fast=False)
        somebody = meeting.somebody_comes()
        assert run.futures[0].cancel(force=True)
        assert somebody.recv(1) == b""
        assert [future.result(WAIT) for future in run.futures[1:]] == [*range(5)]


# -- what they can do there ------------------------------------------------------------------------


def test_what_it_becomes_is_done_in_its_place(executor: Driver) -> None:
    @delayed(isolated=True)
    def becomes(value: int) -> Any:
        return lazygraph.replace(same(value) + pid())

    assert becomes(1).compute() > 1


def test_coroutines_are_awaited_there(executor: Driver) -> None:
    @delayed(timeout=WAIT)
    async def later(value: int) -> int:
        import asyncio

        await asyncio.sleep(0)
        return value if os.getpid() != here else -1

    here = os.getpid()
    assert later(5).compute() == 5


def test_it_knows_which_attempt_it_is(executor: Driver) -> None:
    @delayed(isolated=True, bind=True, retries=2)
    def tries(self: Any) -> tuple[int, int, str]:
        if self.request.attempt < 3:
            raise self.retry(countdown=0)
        return self.request.attempt, self.request.retries, self.request.key

    run = start(tries())
    assert run.result(WAIT)[0] == (3, 2, run.futures[0].key)


def test_it_says_how_far_it_is(executor: Driver) -> None:
    @delayed(isolated=True, bind=True)
    def works(self: Any) -> None:
        self.progress(3, 10)
        self.progress(4)

    run = start(works())
    run.result(WAIT)
    assert run.told == {run.futures[0].key: (4, None)}


def test_it_is_retried_for_exceptions_of_its_own(executor: Driver, tmp_path: Path) -> None:
    class Flaky(Exception):
        pass

    @delayed(isolated=True, retries=lazygraph.RetryPolicy(max_retries=1, on=(Flaky,)))
    def flaky(folder: str) -> str:
        try:
            Path(folder, "tried").touch(exist_ok=False)
        except FileExistsError:
            return "well"
        raise Flaky

    assert flaky(str(tmp_path)).compute() == "well"


def test_a_limit_is_told_of_its_start(executor: Driver) -> None:
    limited = same_apart.options(rate_limit="1000/s", concurrency=2)
    assert compute(*[limited(i) for i in range(5)]) == (0, 1, 2, 3, 4)


def test_compute_inside_it_runs_there(executor: Driver) -> None:
    @delayed(isolated=True)
    def inner() -> bool:
        return bool(delayed(os.getpid)().compute() == os.getpid())

    assert inner().compute() is True


# -- what cannot go there --------------------------------------------------------------------------


@pytest.mark.parametrize("option", [{"isolated": True}, {"timeout": 5}], ids=["isolated", "timeout"])
def test_what_cannot_be_sent_is_refused_before_anything_runs(option: dict[str, Any]) -> None:
    ran: list[int] = []
    with SyncExecutor():
        [name] = option
        lock = same.options(**option)(threading.Lock())
        with pytest.raises(
            Unserializable, match=rf"argument lock of 'same'.*\({name}= runs it in a process of its own"
        ):
            compute(delayed(ran.append)(1), lock)
    assert ran == []


def test_what_other_tasks_have_need_not_be_sent() -> None:
    lock = threading.Lock()
    with ThreadExecutor(1):
        assert compute(same(lock), same_apart(1)) == (lock, 1)


@pytest.mark.parametrize("make", [SyncExecutor, ThreadExecutor])
def test_an_input_that_cannot_be_sent_fails_who_reads_it(make: Any) -> None:
    run = start(same_apart(delayed(threading.Lock)()), same_apart(1), fail_fast=False, executor=make())
    with pytest.raises(Unserializable, match=r"the result of '(allocate_)?lock'"):
        run.futures[0].result(WAIT)
    assert run.futures[1].result(WAIT) == 1


@pytest.mark.parametrize("option", [{"isolated": True}, {"timeout": 5}], ids=["isolated", "timeout"])
def test_a_pool_of_somebody_else_refuses(option: dict[str, Any]) -> None:
    with concurrent.futures.ThreadPoolExecutor(1) as pool, PoolExecutor(pool):
        with pytest.raises(UnsupportedByExecutor, match=f"'pool' does not honour {next(iter(option))}="):
            same.options(**option)(1).compute()
