"""What is noted of tasks that are observed, and what is made of clocks that differ."""

from __future__ import annotations

import asyncio
import copy
import gc
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lazygraph import delayed
from lazygraph.planning.plan import plan_of
from lazygraph.running.observing import (
    AWAITED,
    CHILD,
    FAILED,
    REPLACED,
    WELL,
    Seen,
    Sights,
    Span,
    Watch,
    functions_of,
    moments,
    observed,
    sight_of,
)
from lazygraph.running.program import Program
from lazygraph.values.graph import Tables
from lazygraph.values.node import Replacement


@delayed
def inc(x: int) -> int:
    return x + 1


@delayed
def fail() -> None:
    raise ValueError("no")


@delayed
def replaced() -> Any:
    return Replacement(None)


@delayed
async def nap() -> str:
    await asyncio.sleep(0)
    return "slept"


@delayed
async def fails_later() -> None:
    await asyncio.sleep(0)
    raise ValueError("later")


def program_of(node: Any) -> tuple[Any, Watch]:
    plan = plan_of([node])
    watch = Watch()
    return observed(Program(plan.shape, plan.tables), watch), watch


def spans_of(watch: Watch) -> list[Span]:
    return watch.new("w").spans


class TestWhatIsNoted:
    def test_a_call(self) -> None:
        program, watch = program_of(inc(1))
        assert program.caller()(0, [None]) == 2
        [span] = spans_of(watch)
        assert (span.task, span.how, span.thread) == (0, WELL, "MainThread")
        assert watch.arrived <= span.began <= span.ended

    def test_one_after_another_in_order(self) -> None:
        program, watch = program_of(inc(1))
        call = program.caller()
        for _ in range(3):
            call(0, [None])
        assert all(one.ended <= other.began for one, other in pairwise(spans_of(watch)))

    def test_a_failure_comes_through_as_it_is(self) -> None:
        program, watch = program_of(fail())
        with pytest.raises(ValueError, match="no"):
            program.run(0, [None])
        assert [span.how for span in spans_of(watch)] == [FAILED]

    def test_what_is_replaced(self) -> None:
        program, watch = program_of(replaced())
        assert isinstance(program.run(0, [None]), Replacement)
        assert [span.how for span in spans_of(watch)] == [REPLACED]

    def test_what_is_awaited_is_noted_when_it_has_ended(self) -> None:
        program, watch = program_of(nap())
        coroutine = program.run(0, [None])
        assert spans_of(watch) == []
        assert asyncio.run(coroutine) == "slept"
        assert [(span.how, span.thread) for span in spans_of(watch)] == [(WELL, AWAITED)]

    def test_what_is_awaited_in_vain(self) -> None:
        program, watch = program_of(fails_later())
        with pytest.raises(ValueError, match="later"):
            asyncio.run(program.run(0, [None]))
        assert [(span.how, span.thread) for span in spans_of(watch)] == [(FAILED, AWAITED)]

    def test_what_is_never_awaited_is_no_reason_to_warn(self) -> None:
        program, watch = program_of(nap())
        program.run(0, [None]).close()  # what it was to await would warn, and a warning fails the test
        gc.collect()
        assert spans_of(watch) == []

    def test_what_has_been_told_is_not_told_again(self) -> None:
        program, watch = program_of(inc(1))
        program.run(0, [None])
        assert len(spans_of(watch)) == 1
        assert spans_of(watch) == []

    def test_everything_else_is_the_program_s(self) -> None:
        program, watch = program_of(inc(1))
        assert program.shape.name_of(0) == "inc"
        program.packed = b"plan"
        assert copy.copy(program).packed == b"plan"
        assert sight_of(program) is watch
        assert sight_of(Program(program.shape, program.tables)) is None

    def test_a_child_s_task_is_that_of_its_worker(self) -> None:
        watch = Watch()
        watch.take(Seen("process-1", 5.0, watch.ready + 1, 9.0, [Span(3, 7.0, 8.0, WELL, "MainThread")]), 9.0)
        told = watch.new("worker-1")
        assert told.spans == [Span(3, 7.0, 8.0, WELL, CHILD)]
        assert told.ready == watch.arrived + 1


def sights() -> Sights:
    plan = plan_of([inc(1)])
    return Sights(plan.shape, plan.tables)


class TestClocks:
    @given(st.floats(-1e6, 1e6).filter(lambda ahead: abs(ahead) > 10), st.floats(0, 1), st.floats(0, 1))
    def test_of_a_lease_that_was_handed_out_here_the_error_is_half_a_message(
        self, ahead: float, there: float, back: float
    ) -> None:
        plan = plan_of([inc(1)])
        seen = Sights(plan.shape, plan.tables)
        sight = sight_of(seen.handed(Program(plan.shape, plan.tables), plan.shape, "", [0], 1))
        arrived = sight.handed + there + ahead
        span = Span(0, arrived, arrived + 1, WELL, "t")
        sight.take(Seen("w", arrived, arrived, arrived + 1, [span]), sight.handed + there + 1 + back)
        assert seen.shifts()["w"] == pytest.approx(-ahead, abs=max(there, back) + 1e-6)

    @given(st.floats(0, 1), st.floats(0, 1))
    def test_one_clock_needs_no_shift(self, there: float, back: float) -> None:
        seen = sights()
        arrived = seen.began + there
        seen.told("", 1, {}, Seen("w", arrived, arrived, arrived + 1, [Span(0, arrived, arrived + 1, WELL, "t")]))
        seen.leases[0].sent = [(arrived + 1, arrived + 1 + back)]
        assert seen.shifts() == {"w": 0.0}

    def test_the_fastest_message_says_most(self) -> None:
        seen = sights()
        for late in (0.5, 0.001, 0.2):
            seen.told("", 1, {}, Seen("w", 100.0, 100.0, 200.0, []))
            seen.leases[-1].sent = [(200.0, seen.began + 7 + late)]
        assert seen.shifts()["w"] == pytest.approx(seen.began + 7.001 - 200)


def test_what_happened_is_told_in_order() -> None:
    seen = sights()
    zero = seen.began
    seen.told("", 1, {}, Seen("w", zero, zero, zero + 3, [Span(0, zero + 1, zero + 2, FAILED, "t")]))
    seen.told("", 2, {}, Seen("w", zero, zero, zero + 5, [Span(0, zero + 4, zero + 5, REPLACED, "t")]))
    seen.told(".0", 1, {3: "inner"}, Seen("w", zero, zero, zero + 7, [Span(3, zero + 6, zero + 7, WELL, "t")]))
    for sight, sent in zip(seen.leases, (3, 5, 7), strict=True):
        sight.sent = [(zero + sent, zero + sent)]
    told = moments(seen, "9", lambda entry: f"inc-9-{entry}")
    assert [(round(one.seconds, 6), one.what, one.key, one.attempt) for one in told] == [
        (1, "began", "inc-9-0", 1),
        (2, "failed", "inc-9-0", 1),
        (4, "began", "inc-9-0", 2),
        (5, "replaced", "inc-9-0", 2),
        (6, "began", "inner-9.0-3", 1),
        (7, "ended", "inner-9.0-3", 1),
    ]
    assert {one.worker for one in told} == {"w"}


def test_functions_have_names_that_last() -> None:
    fused = plan_of([inc(inc(1))]).tables
    assert functions_of(fused) == [f"{__name__}.inc", f"{__name__}.inc → {__name__}.inc"]
    assert functions_of(Tables((len, int), ())) == ["builtins.len", "builtins.int"]
