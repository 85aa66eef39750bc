"""A large plan goes to workers in portions: what they were not handed they are not sent, what they were handed runs."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

from lazygraph.errors import Unserializable
from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster.net import portions
from lazygraph.executors.cluster.portioning import Portioning
from lazygraph.executors.cluster.records import Send, pack_shape
from lazygraph.language.delayed import delayed
from lazygraph.planning.plan import Plan, plan_of
from lazygraph.running.program import Program
from lazygraph.running.runner import Report, run_lease
from tests.executors.cluster.talking import CLIENT, FIRST, SECOND, Talk, shape_of, step

ONE_WORKER, MANY = 1, 1000


def plus(*inputs: Any, scale: int = 1) -> Any:
    return sum(inputs) * scale + 1


class Broken:
    """Cannot be opened where it is sent."""

    def __reduce__(self) -> Any:
        return _fail, ()


def _fail() -> Any:
    raise ValueError("not here")


class Home:
    """A plan on its way: what the scheduler sends one worker of it, and what that makes of it."""

    def __init__(self, plan: Plan, grain: int) -> None:
        self.plan = plan
        self.tables, blobs = portions.divided(plan.shape, plan.tables, grain)
        self.parts = Portioning(0, plan.shape, self.tables, b"".join(blobs))
        shape, tables, body = self.parts.heading(pack_shape(plan.shape), self.tables)
        self.program = portions.opened(
            m.Load(0, shape, tables, [], "", "", False, self.parts.room, bool(self.tables.pages)), body
        )
        self.bytes = len(body)

    def give(self, tasks: list[int], workers: int = MANY) -> list[m.Portion]:
        """Send what these tasks need; return what was sent."""
        sent = list(self.parts.lacking(FIRST, tasks, workers))
        for portion, pieces in sent:
            body = b"".join(pieces)
            self.bytes += len(body)
            portions.put(self.program, portion, body)
        return [portion for portion, _ in sent]


def ran(program: Program, tasks: list[int]) -> tuple[dict[int, Any], list[Report]]:
    values: dict[int, Any] = {}
    reports: list[Report] = []
    run_lease(program, deque(tasks), values, reports.append)
    return values, reports


def plan_with(count: int, optimized: bool = False) -> Plan:
    leaves = [delayed(plus)(at, scale=at % 3) for at in range(count)]
    pairs = [delayed(plus)(delayed(plus)(one), other) for one, other in zip(leaves, reversed(leaves), strict=True)]
    return plan_of([*pairs, delayed(plus)(*leaves)], optimize_graph=optimized)


@pytest.mark.parametrize("workers", [ONE_WORKER, MANY])
@pytest.mark.parametrize("optimized", [False, True])
@pytest.mark.parametrize("grain", [1, 7, 64])
def test_what_comes_in_portions_runs_as_what_comes_whole(grain: int, optimized: bool, workers: int) -> None:
    plan = plan_with(50, optimized)
    home, tasks = Home(plan, grain), list(range(len(plan.shape)))
    for at in range(0, len(tasks), 9):
        home.give(tasks[at : at + 9], workers)

    assert ran(home.program, tasks)[0] == ran(Program(plan.shape, plan.tables), tasks)[0]
    assert home.give(tasks, workers) == []


def test_a_worker_gets_the_rows_and_the_constants_of_its_tasks_once() -> None:
    plan = plan_of([delayed(plus)("x" * 1000 + str(at)) for at in range(100)], optimize_graph=False)
    home = Home(plan, 10)
    [first] = home.give([42, 43])

    assert (first.first, len(m.from_ints(first.functions))) == (40, 10)
    assert home.bytes < 15_000
    assert home.give([41, 49]) == []
    assert [portion.first for portion in home.give([0, 49, 50, 69, 99])] == [0, 50, 90]
    home.parts.forget(FIRST)
    assert [portion.first for portion in home.give([42])] == [40]


def test_of_two_workers_each_gets_the_neighbours_too() -> None:
    plan = plan_with(1000)

    assert len(Home(plan, 4).give([5], workers=2)) == 1
    assert len(m.from_ints(Home(plan, 4).give([5], workers=2)[0].functions)) == 4 * 32
    assert len(m.from_ints(Home(plan, 4).give([5])[0].functions)) == 4


def test_constants_that_cannot_be_opened_fail_those_that_read_them_and_no_others() -> None:
    plan = plan_of([delayed(plus)(Broken() if at == 42 else at) for at in range(100)], optimize_graph=False)
    home = Home(plan, 10)
    home.give(list(range(100)))
    values, reports = ran(home.program, list(range(100)))

    assert len(values) == 90
    broken = [one for report in reports for one in report.broken]
    assert [one.task for one in broken] == list(range(40, 50))
    assert all(isinstance(one.exception, Unserializable) and "not here" in str(one.exception) for one in broken)


def grain(constants: list[Any]) -> int:
    plan = plan_of([delayed(plus)(one) for one in constants], optimize_graph=False)
    return portions.grain_of(plan.shape, plan.tables.constants)


def test_small_plans_stay_whole_and_the_larger_their_constants_the_smaller_are_portions() -> None:
    assert grain([1]) == grain([b"x" * 10_000_000]) == grain(list(range(1000))) == 0
    assert grain(list(range(100_000))) == portions.MOST_ROWS
    assert grain([b"x" * 10_000 + str(at).encode() for at in range(100)]) == 4
    assert grain([b"x" * 1_000_000 + str(at).encode() for at in range(4)]) == 1


def test_a_plan_with_isolated_tasks_stays_whole() -> None:
    plan = plan_of([delayed(plus, isolated=True)(b"x" * 100_000 + str(at).encode()) for at in range(10)])

    assert portions.grain_of(plan.shape, plan.tables.constants) == 0


class Within:
    """Has something large that others have too."""

    def __init__(self, what: list[int]) -> None:
        self.what = what


def test_constants_that_share_much_go_together() -> None:
    common = list(range(10_000))
    plan = plan_of([delayed(plus)(Within(common)) for _ in range(100)], optimize_graph=False)
    tables, blobs = portions.divided(plan.shape, plan.tables, 10)

    assert not tables.pages
    assert sum(map(len, blobs)) < 50_000
    apart = plan_of([delayed(plus)(Within(list(range(at, at + 100)))) for at in range(100)], optimize_graph=False)
    assert len(m.from_longs(portions.divided(apart.shape, apart.tables, 10)[0].pages)) == 10


def test_the_scheduler_sends_the_heading_once_and_rows_before_the_lease_that_needs_them() -> None:
    talk, shape = Talk(FIRST, SECOND), shape_of(*[step() for _ in range(40)])
    submit = m.Submit(1, "", False, pack_shape(shape), m.TablesOnWire([], 6, 0, 4), b"")
    sent = talk.say(CLIENT, submit, b"tables")

    known: dict[int, set[int]] = {FIRST: set(), SECOND: set()}
    for peer, message, body in sent:
        if isinstance(message, m.Load):
            assert message.room == (40, 0, 0) and body == (b"tables",) and not message.shape.functions
        elif isinstance(message, m.Portion):
            rows = range(message.first, message.first + len(m.from_ints(message.functions)))
            assert known[peer].isdisjoint(rows)
            known[peer].update(rows)
        elif isinstance(message, m.Do):
            assert known[peer].issuperset(m.from_ints(message.tasks))
    assert [send.peer for send in sent if isinstance(send.message, m.Load)] == [FIRST, SECOND]
    again = talk.lose(FIRST) + talk.join(FIRST)
    assert Send in {type(one) for one in again}
    assert any(isinstance(one.message, m.Load) for one in again)
    assert any(isinstance(one.message, m.Portion) for one in again)
