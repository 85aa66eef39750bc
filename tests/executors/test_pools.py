"""Pools of other people's: they call back wherever they like, are shut down in the middle, and die."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from typing import Any

import pytest

from lazygraph import compute, delayed, start
from lazygraph.errors import Closed, EngineFailed, WorkerDied
from lazygraph.executors import PoolExecutor
from tests.executors.driven import Gate

WAIT = 30
MANY = 1500
"""More leases one after another than the interpreter allows nested calls."""


class AtOnce(Executor):
    """Runs what it is given before `submit` returns."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(function(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future


class Picky(Executor):
    """Takes nothing, for a reason of its own."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        raise ValueError("not today")


@delayed(at_most_once=True)  # such share no lease
def one_more(value: int) -> int:
    return value + 1


@delayed
def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@delayed
def same(value: int) -> int:
    return value


def test_a_pool_that_runs_things_at_once() -> None:
    assert compute([one_more(i) for i in range(MANY)], executor=AtOnce()) == ([*range(1, MANY + 1)],)


def test_a_chain_on_a_pool_that_runs_things_at_once() -> None:
    value = one_more(0)
    for _ in range(MANY - 1):
        value = one_more(value)
    assert value.compute(executor=AtOnce()) == MANY


@pytest.mark.parametrize("kind", [ThreadPoolExecutor, ProcessPoolExecutor])
def test_a_pool_that_was_shut_down_fails_every_task_and_says_so(kind: Callable[[int], Executor]) -> None:
    pool = kind(1)
    pool.shutdown()
    run = start(*[one_more(i) for i in range(MANY)], executor=pool, fail_fast=False)
    assert {type(future.exception(WAIT)) for future in run.futures} == {Closed}
    with pytest.raises(Closed, match=r"the pool .*shutdown.* is closed"):
        run.futures[0].result(WAIT)


def test_a_pool_that_takes_nothing_fails_the_task_with_its_reason() -> None:
    with pytest.raises(EngineFailed, match=r"the pool has not brought .*: ValueError: not today"):
        same(1).compute(executor=Picky())


def test_a_pool_of_threads_can_be_shut_down_with_work_in_it(gate: Gate) -> None:
    pool = ThreadPoolExecutor(1)
    stand = delayed(gate.stand)
    run = start(*[stand(i) for i in range(20)], executor=PoolExecutor(pool, slots=4), fail_fast=False)
    assert gate.entered.wait(WAIT)
    ending = threading.Thread(target=pool.shutdown, kwargs={"wait": False, "cancel_futures": True}, daemon=True)
    ending.start()
    ending.join(WAIT)
    assert not ending.is_alive()
    gate.open.set()
    assert isinstance(run.futures[-1].exception(WAIT), Closed)
    assert {type(future.exception(WAIT)) for future in run.futures} == {Closed, type(None)}


def test_a_worker_of_a_pool_that_dies_takes_its_pool_along_but_nobody_hangs() -> None:
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        run = start(die(), *map(same, range(40)), executor=pool, fail_fast=False)
        assert isinstance(run.futures[0].exception(WAIT), WorkerDied)
        assert {type(future.exception(WAIT)) for future in run.futures} <= {WorkerDied, type(None)}
