"""`compute(timeout=)` where the caller's own thread does the work: it is ended between two tasks."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from lazygraph import RetryPolicy, chain, compute, delayed, group, replace, use
from lazygraph.executors import SyncExecutor
from lazygraph.testing.rigs import simulated
from tests.executors.driven import WAIT

SOON = 0.01
HOUR = 3600.0


@pytest.fixture(autouse=True)
def ran() -> list[str]:
    """What has run."""
    del RAN[:]
    return RAN


RAN: list[str] = []


@delayed
def step(name: str, *after: object) -> str:
    RAN.append(name)
    return name


ALONE = step.options(at_most_once=True)  # shares no lease: what it comes to is told at once


@delayed
def fail(*after: object) -> None:
    RAN.append("fail")
    raise OSError("away")


@pytest.fixture(params=["sync", "sim"])
def on(request: pytest.FixtureRequest):
    with simulated(seed=1) if request.param == "sim" else use("sync"):
        yield request.param


@pytest.mark.parametrize(
    "late",
    [
        lambda: step.options(countdown=HOUR)("late"),
        lambda: chain(step.s("early"), step.s().set(countdown=HOUR)),
        lambda: fail.options(retries=RetryPolicy(max_retries=3, delay=HOUR, max_delay=HOUR))(),
        lambda: delayed(lambda: replace(step.s("early") | step.s().set(countdown=HOUR)))(),
    ],
    ids=["countdown", "in a chain", "retry", "replacement"],
)
def test_what_is_not_due_in_time_is_not_waited_for(on: str, late):
    with pytest.raises(TimeoutError, match=f"has not ended within {SOON} s"):
        compute(late(), timeout=SOON)
    assert "late" not in RAN
    assert compute(step("next")) == ("next",)  # and nothing is left of it
    assert RAN.count("fail") <= 1


def test_nothing_is_begun_when_the_time_is_over(ran: list[str]):
    with pytest.raises(TimeoutError):
        ALONE("second", ALONE("first")).compute(executor="sync", timeout=0)
    assert ran == ["first"]


def test_what_is_there_when_the_time_is_over_is_returned(ran: list[str]):
    assert step("only").compute(executor="sync", timeout=0) == "only"


def test_what_ends_in_time_is_as_without(on: str):
    assert group(step.s("a"), step.s("b")).compute(timeout=HOUR) == ["a", "b"]


def test_the_time_is_the_callers_and_not_that_of_what_tasks_compute(on: str):
    @delayed
    def outer() -> str:
        return step.options(countdown=SOON)("inner").compute()

    assert outer().compute(timeout=HOUR) == "inner"
    with pytest.raises(TimeoutError, match="within 0 s"):
        compute(outer(), step.options(countdown=HOUR)("a"), timeout=0)
    assert step("b").compute() == "b"


def test_one_executor_goes_on_for_others(ran: list[str]):
    with SyncExecutor() as executor:
        with pytest.raises(TimeoutError):
            step.options(countdown=HOUR)("late").compute(executor=executor, timeout=SOON)
        assert step.options(countdown=SOON)("soon").compute(executor=executor) == "soon"
    assert ran == ["soon"]


def test_virtual_time_is_waited_for():
    with simulated(seed=1) as rig:
        assert step.options(countdown=HOUR)("a").compute(timeout=HOUR) == "a"
        with pytest.raises(TimeoutError):
            step.options(countdown=HOUR)("b").compute(timeout=HOUR - 1)
        assert rig.now == 2 * HOUR - 1


def test_what_is_awaited_is_cancelled_when_the_time_is_over():
    left = threading.Event()

    @delayed
    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            left.set()

    with SyncExecutor() as executor:
        with pytest.raises(TimeoutError, match=f"within {SOON} s"):
            compute(waits(), executor=executor, timeout=SOON)
        assert left.wait(WAIT)
        assert step("next").compute(executor=executor) == "next"


def test_nor_is_waited_longer_for_a_turn():
    begun, go_on = threading.Event(), threading.Event()

    @delayed
    def stands() -> bool:
        begun.set()
        return go_on.wait(WAIT)

    with SyncExecutor() as executor, ThreadPoolExecutor(1) as another:
        other = another.submit(stands().compute, executor=executor)
        assert begun.wait(WAIT)
        with pytest.raises(TimeoutError, match="another thread's work"):
            step("mine").compute(executor=executor, timeout=SOON)
        go_on.set()
        assert other.result(WAIT)
        assert step("mine").compute(executor=executor, timeout=HOUR) == "mine"
