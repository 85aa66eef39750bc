"""The driver over its engines: tasks that become graphs, handlers of failures, and what is left of both."""

from __future__ import annotations

import concurrent.futures
import gc
from typing import Any

import pytest

from lazygraph import chain, compute, delayed, group, replace, start, use
from lazygraph.executors.driver import Driver
from lazygraph.executors.threads import ThreadExecutor
from tests.executors.driven import WAIT, Gate, add, inverse, nothing_left


@delayed
def becomes(lazy: Any) -> Any:
    return replace(lazy())


class TestReplacing:
    def test_its_value_is_the_task_s_wherever_it_is_read(self, executor: Driver) -> None:
        inner = becomes(lambda: chain(add.s(1, 1), add.s(1)))
        assert compute(inner, add(inner, inner), executor=executor) == (3, 6)
        assert nothing_left(executor)

    def test_as_deep_as_it_goes(self, executor: Driver) -> None:
        @delayed
        def count_down(n: int) -> Any:
            return replace(count_down(n - 1)) if n else "down"

        assert compute(count_down(300), executor=executor) == ("down",)
        assert nothing_left(executor)

    def test_its_exception_is_the_task_s_and_known_later_too(self, executor: Driver) -> None:
        run = start(becomes(lambda: add(inverse(0), 1)), executor=executor)
        with pytest.raises(ZeroDivisionError):
            run.result(WAIT)
        with pytest.raises(ZeroDivisionError):
            compute(add(run.futures[0], 1), executor=executor)
        del run
        assert nothing_left(executor)

    def test_cancelling_the_run_cancels_all_that_stands_in_it(self, gate: Gate) -> None:
        ran: list[int] = []
        with ThreadExecutor(1) as executor:
            linked = chain(delayed(gate.stand).s(1), add.s(1)).link(delayed(ran.append).s())
            run = start(becomes(lambda: linked), executor=executor)
            assert gate.entered.wait(WAIT)
            run.cancel()
            gate.open.set()
            with pytest.raises(concurrent.futures.CancelledError):
                run.result(WAIT)
            del run
            assert nothing_left(executor)
        assert ran == []

    def test_failing_fast_starts_nothing_more_of_it(self) -> None:
        ran: list[int] = []
        members = group(inverse.s(0), *(delayed(ran.append).s(at) for at in range(3)))
        with ThreadExecutor(1) as executor:
            with pytest.raises(ZeroDivisionError):
                compute(becomes(lambda: members), executor=executor)
            assert nothing_left(executor)
        assert ran == []

    def test_a_callback_runs_although_nobody_waits_for_it(self, gate: Gate) -> None:
        ran: list[int] = []

        @delayed
        def stand() -> Any:
            gate.stand()
            return replace(add(1, 1))

        with ThreadExecutor(1) as executor, use(executor):
            stand.s().link(delayed(ran.append).s()).delay()
            assert gate.entered.wait(WAIT)
            gc.collect()
            gate.open.set()
            assert nothing_left(executor)
        assert ran == [2]

    def test_what_nobody_waits_for_goes_on_no_longer(self, gate: Gate) -> None:
        """A task that asks again and again, and whose future is dropped."""
        asked: list[int] = []

        @delayed
        def ask() -> Any:
            asked.append(1)
            if len(asked) == 3:
                gate.stand()
            return replace(ask())

        with ThreadExecutor(1) as executor:
            run = start(ask(), executor=executor)
            assert gate.entered.wait(WAIT)
            del run
            gc.collect()
            gate.open.set()
            assert nothing_left(executor)
        assert len(asked) == 3


class TestAnswering:
    def test_a_handler_runs_although_the_computation_has_raised(self, executor: Driver) -> None:
        heard: list[str] = []
        hear = delayed(lambda failure, *more: heard.append(failure.node))
        with pytest.raises(ZeroDivisionError):
            compute(chain(inverse.s(0), add.s(1)).link_error(hear.s()), add(1, 1), executor=executor)
        assert nothing_left(executor)
        assert heard == ["inverse"]

    def test_with_what_it_reads_of_the_graph(self, executor: Driver) -> None:
        heard: list[Any] = []
        value = add(add(1, 1), 1)
        hear = delayed(lambda failure, number: heard.append((failure.node, number)))
        with pytest.raises(ZeroDivisionError):
            compute(inverse.s(0).link_error(hear.s(value)), add(value, 1), executor=executor)
        assert nothing_left(executor)
        assert heard == [("inverse", 3)]

    def test_the_handler_of_a_handler(self, executor: Driver) -> None:
        heard: list[str] = []
        hear = delayed(lambda failure: heard.append(failure.node))
        broken = delayed(lambda failure: 1 / 0, name="broken")
        with pytest.raises(ZeroDivisionError):
            compute(inverse.s(0).link_error(broken.s().link_error(hear.s())), executor=executor)
        assert nothing_left(executor)
        assert heard == ["broken"]

    def test_one_that_becomes_a_graph(self, executor: Driver) -> None:
        heard: list[str] = []
        later = delayed(lambda failure: replace(delayed(heard.append)(failure.node)))
        with pytest.raises(ZeroDivisionError):
            compute(inverse.s(0).link_error(later.s()), executor=executor)
        assert nothing_left(executor)
        assert heard == ["inverse"]

    def test_the_failure_of_what_a_task_has_become(self, executor: Driver) -> None:
        heard: list[str] = []
        hear = delayed(lambda failure: heard.append(failure.node))
        inside = chain(inverse.s(0)).link_error(hear.s())
        with pytest.raises(ZeroDivisionError):
            compute(chain(becomes.si(lambda: inside), add.s(1)).link_error(hear.s()), executor=executor)
        assert nothing_left(executor)
        assert heard == ["inverse", "inverse"]

    def test_nobody_hears_of_what_did_not_happen(self, executor: Driver) -> None:
        heard: list[Any] = []
        run = start(chain(inverse.s(1), add.s(1)).link_error(delayed(heard.append).s()), executor=executor)
        assert run.result(WAIT) == (2,)
        run.cancel()
        del run
        assert nothing_left(executor)
        assert heard == []
