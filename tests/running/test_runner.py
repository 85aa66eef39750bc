"""The runner: a lease back to back, and what it says of it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

import pytest

import lazygraph
from lazygraph import delayed
from lazygraph.planning.plan import Plan, plan_of
from lazygraph.running.context import inside_task, lent_slot
from lazygraph.running.program import Program
from lazygraph.running.runner import Report, run_lease


@delayed
def double(x: int) -> int:
    return 2 * x


@delayed
def inverse(x: int) -> float:
    return 1 / x


@delayed
def add(x: int, y: int = 0, *, z: int = 0) -> int:
    return x + y + z


def ran(plan: Plan, tasks: Sequence[int] | None = None, lender: Any = True) -> tuple[list[Any], Report]:
    """Run tasks of a plan (default: all); return the values, and everything reported as one report."""
    values: list[Any] = [None] * len(plan.shape)
    whole = Report()

    def report(part: Report) -> None:
        whole.done += part.done
        whole.broken += part.broken
        whole.skipped += part.skipped
        whole.seconds += part.seconds

    program = Program(plan.shape, plan.tables)
    run_lease(program, deque(range(len(plan.shape)) if tasks is None else tasks), values, report, lender)
    return values, whole


def test_in_the_order_given() -> None:
    x = double(3)
    values, report = ran(plan_of([add(x, double(x), z=1)], optimize_graph=False))
    assert (values[-1], report.done, report.broken, report.skipped) == (19, [0, 1, 2], [], [])
    assert report.seconds > 0


def test_containers_and_keywords_are_filled() -> None:
    x = double(1)

    @delayed
    def seen(*args: Any, **kwargs: Any) -> Any:
        return args, kwargs

    values, _ = ran(plan_of([seen([x, {"k": (x, 5)}], y={x})]))
    assert values[-1] == (([2, {"k": (2, 5)}],), {"y": {2}})


def test_what_stands_behind_a_failure_is_skipped() -> None:
    bad = inverse(0)
    plan = plan_of([double(double(bad)), double(4)], optimize_graph=False)
    values, report = ran(plan)
    assert [broken.task for broken in report.broken] == [0]
    assert (report.skipped, report.done, values[3]) == ([1, 2], [3], 8)


def test_a_failure_says_where() -> None:
    _, report = ran(plan_of([inverse(0)]))
    (broken,) = report.broken
    assert isinstance(broken.exception, ZeroDivisionError)
    assert broken.node == "inverse"
    assert broken.origin.startswith(__file__)
    assert "return 1 / x" in broken.text
    assert "lazygraph" not in broken.text.replace(__file__, "")


def test_the_member_of_a_fused_task_that_raised_is_named() -> None:
    plan = plan_of([double(inverse(double(0)))])
    assert len(plan) == 1
    _, report = ran(plan)
    (broken,) = report.broken
    assert (broken.node, type(broken.exception)) == ("inverse", ZeroDivisionError)
    assert broken.exception.__cause__ is None
    assert "FusedStep" not in broken.text


def test_chained_causes_stay() -> None:
    @delayed
    def wrapped() -> None:
        try:
            {}["k"]
        except KeyError as error:
            raise ValueError("no k") from error

    _, report = ran(plan_of([double(wrapped())]))
    assert isinstance(report.broken[0].exception.__cause__, KeyError)
    assert "direct cause" in report.broken[0].text


@pytest.mark.parametrize("fused", [True, False])
def test_ctrl_c_in_the_main_thread_belongs_to_the_program(fused: bool) -> None:
    @delayed
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ran(plan_of([double(interrupted())], optimize_graph=fused))
    assert inside_task.get() is None


def test_in_another_thread_only_the_task_itself_can_have_raised_it() -> None:
    @delayed
    def interrupted() -> None:
        raise KeyboardInterrupt

    reports: list[Report] = []
    thread = threading.Thread(target=lambda: reports.append(ran(plan_of([interrupted()]))[1]))
    thread.start()
    thread.join()
    assert isinstance(reports[0].broken[0].exception, KeyboardInterrupt)


@pytest.mark.parametrize("error", [SystemExit(3), GeneratorExit(), StopIteration()])
def test_whatever_a_task_raises_is_its_failure(error: BaseException) -> None:
    @delayed
    def leave() -> None:
        raise error

    assert ran(plan_of([leave()]))[1].broken[0].exception is error


def test_others_may_take_from_the_right() -> None:
    plan = plan_of([double(at) for at in range(4)], optimize_graph=False)
    tasks = deque(range(4))
    values: list[Any] = [None] * 4
    first = delayed(lambda: [tasks.pop(), tasks.pop()])()
    whole = plan_of([first, *[double(at) for at in range(3)]], optimize_graph=False)
    reports: list[Report] = []
    run_lease(Program(whole.shape, whole.tables), tasks, values, reports.append)
    assert [task for report in reports for task in report.done] == [0, 1]
    assert values == [[3, 2], 0, None, None]
    assert len(plan) == 4


class Lender:
    """Counts."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def lend(self) -> None:
        self.said.append("lend")

    def take_back(self) -> None:
        self.said.append("take back")


def test_a_task_knows_that_it_is_one_and_lends_its_slot() -> None:
    lender = Lender()

    @delayed
    def waits() -> bool:
        with lent_slot():
            return inside_task.get() is lender

    assert ran(plan_of([waits()]), lender=lender)[0] == [True]
    assert lender.said == ["lend", "take back"]
    with lent_slot():
        assert inside_task.get() is None
    assert lender.said == ["lend", "take back"]


def test_nested_compute_runs_inline() -> None:
    @delayed
    def outer() -> Any:
        return (threading.get_ident(), delayed(threading.get_ident)().compute(), double(4).compute())

    here, inner, eight = lazygraph.compute(outer(), executor="sync")[0]
    assert (here == inner, eight) == (True, 8)
