"""How far a future is, and what it waits for: `.status`, `Run.explain()`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from lazygraph import Client, Limit, RetryPolicy, Status, delayed, start
from lazygraph.executors import LocalCluster, ThreadExecutor
from tests.executors.driven import WAIT, Gate

if TYPE_CHECKING:
    from collections.abc import Iterator


@delayed
def fails(heard: Gate) -> None:
    heard.entered.set()
    raise ValueError


@delayed
def same(value: int) -> int:
    return value


@pytest.fixture
def one() -> Iterator[ThreadExecutor]:
    with ThreadExecutor(1) as executor:
        yield executor


class TestHere:
    def test_each_state_on_the_way(self, one: ThreadExecutor) -> None:
        gate = Gate()
        stand = delayed(gate.stand)
        held = stand(1)
        # Two readers: one alone would be handed out together with what it reads.
        asked = [held, same(held), same.options(countdown=60)(2), same(held)]
        run = start(*asked, executor=one, optimize_graph=False)
        assert gate.entered.wait(WAIT)
        free = start(same(3), executor=one)
        running, waiting, scheduled, _ = run.futures
        assert [running.status, waiting.status, scheduled.status] == [
            Status.RUNNING,
            Status.WAITING,
            Status.SCHEDULED,
        ]
        assert free.futures[0].status is Status.QUEUED
        assert (running.running(), running.state, waiting.state) == (True, "STARTED", "PENDING")
        text = str(run.explain())
        assert "0 of 4 tasks done" in text
        assert f"{waiting.key}: waits for 1 of its 1 inputs" in text
        assert f"{scheduled.key}: begins in " in text
        assert str(free.explain()).endswith("waits for a free slot")
        gate.open.set()
        assert running.result(WAIT) == waiting.result(WAIT) == 1
        run.cancel()

    def test_between_two_attempts(self, one: ThreadExecutor) -> None:
        gate = Gate()
        run = start(fails.options(retries=RetryPolicy(delay=60))(gate), executor=one)
        assert gate.entered.wait(WAIT)
        assert same(1).compute(executor=one) == 1  # what runs next runs when that attempt has been reported
        assert run.futures[0].status is Status.RETRYING
        assert run.futures[0].state == "RETRY"
        assert "attempt 2 begins in" in str(run.explain())
        (failed,) = run.history[run.futures[0].key]
        assert (failed.attempt, type(failed.exception)) == (1, ValueError)
        run.cancel()

    def test_a_permit(self, one: ThreadExecutor) -> None:
        slow = same.options(limit=Limit("slow", rate="1/h"))
        assert slow(1).compute(executor=one) == 1
        run = start(slow(2), executor=one)
        assert str(run.explain()).endswith("waits for a permit: 1 in 3600 s")
        run.cancel()


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with LocalCluster(1, resources={"gpu": 1}) as cluster, Client(cluster, set_as_default=False) as client:
        yield client


class TestOnACluster:
    @pytest.mark.parametrize(
        ("asked", "why"),
        [
            ({"queue": "night"}, "no worker takes queue 'night'"),
            ({"workers": ["ann", "bob"]}, "no worker of queue 'default' is called 'ann' or 'bob'"),
            ({"resources": {"gpu": 2}}, "no worker that may take it has gpu=2"),
            ({"countdown": 60}, "begins in "),
        ],
    )
    def test_why_nobody_takes_it(self, client: Client, asked: dict[str, Any], why: str) -> None:
        run = start(same.options(**asked)(1), executor=client.executor)
        assert why in str(run.explain())
        run.cancel()
