"""Tasks that start other work and wait for it: on threads and on a cluster their slot is lent meanwhile."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from lazygraph import Client, compute, delayed, start, use
from lazygraph.errors import NestingTooDeep
from lazygraph.executors import LocalCluster, ThreadExecutor

if TYPE_CHECKING:
    from collections.abc import Iterator

WAIT = 60


@delayed
def fibonacci(n: int) -> int:
    if n < 2:
        return n
    return sum(compute(fibonacci(n - 1), fibonacci(n - 2)))


@delayed
def depth(left: int) -> int:
    return 1 + depth(left - 1).compute() if left else 0


@delayed(bind=True)
def where(self: Any, at: int) -> str:
    until = time.perf_counter() + 0.005
    while time.perf_counter() < until:
        os.getpid()
    name: str = self.request.worker
    return name


@delayed
def everywhere(count: int) -> set[str]:
    return set(compute(*[where(at) for at in range(count)]))


@delayed
def waits_for_a_future(n: int) -> int:
    value: int = start(fibonacci(n)).futures[0].result(WAIT)
    return value


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with LocalCluster(2) as cluster, Client(cluster, set_as_default=False) as client:
        client.wait_for_workers(2)
        yield client


@pytest.fixture(scope="module", params=["one thread", "two threads", "cluster"])
def executor(request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param == "cluster":
        yield request.getfixturevalue("client").executor
        return
    with ThreadExecutor(1 if request.param == "one thread" else 2) as executor:
        yield executor


def test_no_slot_waits_for_a_slot(executor: Any) -> None:
    assert fibonacci(6).compute(executor=executor, timeout=WAIT) == 8


def test_waiting_for_a_future(executor: Any) -> None:
    assert waits_for_a_future(5).compute(executor=executor, timeout=WAIT) == 5


def test_one_in_the_other(executor: Any) -> None:
    assert depth(20).compute(executor=executor, timeout=WAIT) == 20


def test_too_deep_says_what_to_do() -> None:
    with ThreadExecutor(1) as executor, pytest.raises(NestingTooDeep, match="replace"):
        depth(150).compute(executor=executor, timeout=WAIT)


def test_many_that_wait_at_once(executor: Any) -> None:
    assert compute(*[fibonacci(4) for _ in range(12)], executor=executor, timeout=WAIT) == (3,) * 12


def test_many_more_than_may_wait_at_once(client: Client) -> None:
    assert compute(*[depth(1) for _ in range(250)], executor=client.executor, timeout=WAIT) == (1,) * 250


def test_what_a_task_starts_runs_on_the_cluster_it_runs_on(client: Client) -> None:
    found = everywhere(40).compute(executor=client.executor, timeout=WAIT)
    assert found == {"worker-1", "worker-2"}


def test_what_it_names_itself_holds() -> None:
    @delayed
    def here() -> int:
        with use("sync"):
            return int(compute(delayed(abs)(-3), executor="sync")[0])

    with ThreadExecutor(1) as executor:
        assert here().compute(executor=executor, timeout=WAIT) == 3


def test_a_failure_inside_is_the_tasks_own(executor: Any) -> None:
    @delayed
    def outer() -> Any:
        return delayed(divmod)(1, 0).compute()

    with pytest.raises(ZeroDivisionError):
        outer().compute(executor=executor, timeout=WAIT)
