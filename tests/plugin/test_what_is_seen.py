"""Whatever a test's executor runs is seen, and can be made to go wrong: nested, isolated, many calls in one task."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import lazygraph
from lazygraph import as_completed, chain, compute, delayed, each, group, replace
from lazygraph.errors import TaskCancelled, TaskTimeout, WorkerDied, WouldDeadlock
from lazygraph.executors import PoolExecutor, SyncExecutor, ThreadExecutor
from lazygraph.testing.conformance.canvases_failing import Ear
from lazygraph.testing.conformance.timed import pipe_beside, stand
from lazygraph.testing.faults import InjectedFault, WorkerKilled
from lazygraph.testing.rigs import Rig, seen, simulated
from tests.plugin.conftest import Ran


@delayed
def send_mail(to: str, subject: str = "") -> str:
    return f"to {to}"


@delayed(isolated=True)
def apart(x: int, *, k: int = 0) -> tuple[int, int]:
    return x + k, os.getpid()


@delayed(isolated=True)
def apart_fails(x: int) -> None:
    raise ZeroDivisionError(x)


@delayed(isolated=True)
def apart_dies() -> None:
    os._exit(1)


@delayed(isolated=True, bind=True)
def apart_bound(self: Any, x: int) -> tuple[int, int]:
    return x, self.request.attempt


@delayed
async def later(x: int) -> int:
    return x + 1


@delayed(bind=True)
def bound(self: Any, x: int) -> tuple[int, int]:
    return x, self.request.attempt


@delayed
def sends(*names: str, **where: Any) -> list[str]:
    return group(send_mail.s(name) for name in names).compute(**where)


HERE: dict[str, Callable[[], Any]] = {
    "sync": SyncExecutor,
    "threads": lambda: ThreadExecutor(2),
}


@pytest.fixture(params=[*HERE, "sim", "pool of threads"])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    if request.param == "sim":
        with simulated(seed=1, slots=2) as rig:
            yield rig
    elif request.param == "pool of threads":
        with ThreadPoolExecutor(2) as pool, PoolExecutor(pool) as executor, seen(executor) as rig:
            yield rig
    else:
        with HERE[request.param]() as executor, seen(executor) as rig:
            yield rig


@pytest.fixture(params=HERE)
def isolating(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """Executors that run isolated tasks in children."""
    with HERE[request.param]() as executor, seen(executor) as rig:
        yield rig


class TestNested:
    @pytest.mark.parametrize("where", [{}, {"executor": "sync"}, {"executor": "threads"}], ids=str)
    def test_what_a_task_computes_is_seen(self, rig: Rig, where: dict[str, str]) -> None:
        assert sends("ann", "bob", **where).compute() == ["to ann", "to bob"]
        assert rig.calls.names[0] == "sends"
        assert sorted(rig.calls.given("send_mail")) == [("ann",), ("bob",)]

    def test_what_is_computed_in_what_is_computed_is_seen(self, rig: Rig) -> None:
        @delayed
        def outer() -> list[str]:
            return sends("ann").compute()

        assert outer().compute() == ["to ann"]
        assert rig.calls.names == ["outer", "sends", "send_mail"]

    def test_what_a_task_starts_is_seen(self, rig: Rig) -> None:
        @delayed
        def outer() -> str:
            with lazygraph.use("sync"):
                return send_mail.delay("ann").get()

        assert outer().compute() == "to ann"
        assert rig.calls.names == ["outer", "send_mail"]

    def test_it_can_fail(self, rig: Rig) -> None:
        rig.fail("send_mail", exception=OSError("no post today"))
        with pytest.raises(OSError, match="no post today"):
            sends("ann").compute()
        assert [call.exception is not None for call in rig.calls] == [True, True]


class TestApart:
    def test_an_isolated_task_is_seen_with_what_it_was_given_and_came_to(self, isolating: Rig) -> None:
        (value, pid), (other, _) = compute(apart(1, k=2), apart(3))
        assert pid != os.getpid()
        assert sorted((call.name, call.args, call.kwargs, call.value[0]) for call in isolating.calls) == [
            ("apart", (1,), {"k": 2}, value),
            ("apart", (3,), {}, other),
        ]
        assert all(call.began <= call.ended for call in isolating.calls)

    def test_one_that_reads_others_and_is_read(self, isolating: Rig) -> None:
        assert (later.s(1) | apart.s() | delayed(len).s()).compute() == 2
        assert isolating.calls.names == ["later", "apart", "len"]
        assert isolating.calls.given("apart") == [(2,)]
        assert isolating.calls.ran_before("later", "apart", "len")

    def test_one_that_fails(self, isolating: Rig) -> None:
        with pytest.raises(ZeroDivisionError):
            apart_fails(1).compute()
        [call] = isolating.calls
        assert (type(call.exception), call.args) == (ZeroDivisionError, (1,))
        assert call.ended is not None

    def test_one_that_takes_too_long(self, isolating: Rig) -> None:
        @delayed(timeout=0.05)
        def turning() -> None:
            while True:
                pass

        with pytest.raises(TaskTimeout):
            turning().compute()
        assert [type(call.exception) for call in isolating.calls] == [TaskTimeout]

    def test_one_whose_child_dies(self, isolating: Rig) -> None:
        with pytest.raises(WorkerDied):
            apart_dies().compute()
        attempts = [call.attempt for call in isolating.calls]
        assert attempts == [*range(1, len(attempts) + 1)]
        assert {type(call.exception) for call in isolating.calls} == {WorkerKilled}

    def test_it_can_be_made_to_fail(self, isolating: Rig) -> None:
        isolating.fail("apart_bound")
        assert apart_bound.options(retries=1)("x").compute() == ("x", 2)
        assert [(call.args, call.attempt, type(call.exception)) for call in isolating.calls] == [
            (("x",), 1, InjectedFault),
            (("x",), 2, type(None)),
        ]

    def test_its_worker_can_be_killed(self, isolating: Rig) -> None:
        isolating.kill_worker("apart")
        value, _ = apart(1).compute()
        assert (value, isolating.calls.count("apart")) == (1, 2)

    def test_it_can_still_be_cancelled(self, tmp_path: Path) -> None:
        with ThreadExecutor(1) as executor, seen(executor) as rig:
            ear = Ear(tmp_path / "ear")
            future = stand.options(isolated=True).delay(pipe_beside(tmp_path / "ear"))
            assert len(ear.lines(1)) == 1
            assert future.cancel(force=True)
            ear.close()
        [call] = rig.calls
        assert type(call.exception) is TaskCancelled


class TestMany:
    def test_each_call_of_many_in_one_task_is_seen(self, rig: Rig) -> None:
        assert send_mail.map(["ann", "bob"]).compute() == ["to ann", "to bob"]
        assert send_mail.starmap([("cid", "hello")]).compute() == ["to cid"]
        assert send_mail.chunks([("dan",), ("eve",), ("fay",)], 2).compute() == [["to dan", "to eve"], ["to fay"]]
        assert rig.calls.count("send_mail") == 6
        assert set(rig.calls.names) == {"send_mail"}
        assert ("cid", "hello") in rig.calls.given("send_mail")

    def test_one_of_them_can_fail(self, rig: Rig) -> None:
        rig.fail("send_mail", attempt=1)
        assert send_mail.map(["ann", "bob"]).set(retries=1).compute() == ["to ann", "to bob"]
        assert [(call.args, call.attempt) for call in rig.calls] == [(("ann",), 1), (("ann",), 2), (("bob",), 2)]

    def test_of_bound_and_async_functions(self, rig: Rig) -> None:
        assert bound.map([1, 2]).compute() == [(1, 1), (2, 1)]
        assert rig.calls.given("bound") == [(1,), (2,)]
        assert later.map([1, 2]).compute() == [2, 3]
        assert [(call.args, call.value) for call in rig.calls.of("later")] == [((1,), 2), ((2,), 3)]

    def test_in_a_chain_and_in_what_replaces(self, rig: Rig) -> None:
        @delayed
        def more(values: list[str]) -> Any:
            return replace(send_mail.map(values))

        assert (delayed(list).s(["ann"]) | more.s()).compute() == ["to ann"]
        assert (delayed(list).s([["bob"]]) | each(more.s())).compute() == [["to bob"]]
        assert rig.calls.given("send_mail") == [("ann",), ("bob",)]


class TestTime:
    def test_each_member_of_a_chain_lasts(self) -> None:
        with simulated(seed=1) as rig:
            rig.lasts("send_mail", 5.0)
            rig.lasts("later", 7.0)
            chain(later.s(1), later.s(), send_mail.s()).compute()
            assert rig.now == 19.0
            assert [(call.began, call.ended) for call in rig.calls] == [(0.0, 7.0), (7.0, 14.0), (14.0, 19.0)]

    def test_each_of_many_calls_in_one_task_lasts(self) -> None:
        with simulated(seed=1) as rig:
            rig.lasts("send_mail", 5.0)
            send_mail.map(["ann", "bob", "cid"]).compute()
            assert rig.now == 15.0

    def test_what_a_task_computes_is_not_counted_twice(self) -> None:
        with simulated(seed=1) as rig:
            rig.lasts("send_mail", 5.0)
            rig.lasts("sends", 1.0)
            sends("ann").compute()
            assert rig.now == 6.0


class TestHeld:
    @pytest.mark.parametrize(
        "wait",
        [
            lambda future: future.get(),
            lambda future: future.exception(),
            lambda future: send_mail("bob").compute(),
            lambda future: next(iter(as_completed([future]))),
            lambda future: lazygraph.wait([future]),
            lambda future: group(send_mail.s("a"), send_mail.s("b")).delay().get(),
        ],
        ids=["get", "exception", "compute", "as_completed", "wait", "a group's get"],
    )
    def test_waiting_for_what_time_has_to_pass_for_is_an_error(self, wait: Callable[[Any], Any]) -> None:
        with simulated(seed=1) as rig:
            with rig.held():
                future = send_mail.delay("ann")
                with pytest.raises(WouldDeadlock, match=r"'sim' .* call advance\(seconds\) first"):
                    wait(future)
                rig.advance(0)
                assert future.get() == "to ann"
            assert future.get() == "to ann"

    def test_with_a_timeout_it_is_too_late(self) -> None:
        with simulated(seed=1) as rig, rig.held():
            future = send_mail.delay("ann")
            with pytest.raises(TimeoutError):
                future.get(timeout=0)

    def test_other_threads_may_wait_for_the_one_that_lets_time_pass(self) -> None:
        with simulated(seed=1) as rig, ThreadPoolExecutor(1) as pool, rig.held():
            future = send_mail.apply_async(("ann",), countdown=10)
            waiting = pool.submit(future.get)
            rig.advance(10)
            assert waiting.result(30) == "to ann"


class TestFaults:
    def test_every_attempt_that_was_to_fail_has_to(self, rig: Rig) -> None:
        rig.fail("send_mail", attempt=(1, 2))
        with pytest.raises(InjectedFault):
            send_mail("ann").compute()
        assert rig.missed == ["fail attempt 2 of 'send_mail'"]
        send_mail.options(retries=2)("ann").compute()
        assert rig.missed == []

    def test_a_suite_is_told(self, run: Callable[..., Ran]) -> None:
        text = """
import pytest
from lazygraph import delayed

@delayed
def load(x):
    return x

def test_it(lazygraph_sync):
    lazygraph_sync.fail("load", attempt=(1, 2, 3))
    with pytest.raises(RuntimeError):
        load.options(retries=1)(1).compute()
"""
        ran = run(text, "-q")
        assert ran.status == 1
        assert "fail attempt 3 of 'load'; ran: load" in ran.said
