"""What every executor must say of a run that is observed: the same figures, whoever ran it.

Covers: `start(observe=True)`, `run.explain()`, `run.events()`, `run.report(path)`.
Does not cover: what the figures mean (showing.analysis).
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

import lazygraph.door as door
from lazygraph.errors import InvalidOption
from lazygraph.language.delayed import delayed
from lazygraph.running.observing import AWAITED
from lazygraph.testing.conformance.tasks import add, add_replaced, divide, give, total

if TYPE_CHECKING:
    from pathlib import Path

    from lazygraph.running.run import Run
    from lazygraph.showing.analysis import Course

SLIGHTLY = 1e-6


@delayed
async def nap(value: Any) -> Any:
    """Return the value, a turn of the event loop later."""
    await asyncio.sleep(0)
    return value


@delayed
def fails_at_first(folder: str, value: Any) -> Any:
    """Return the value, but not to the first who asks."""
    try:
        os.mkdir(os.path.join(folder, "asked"))
    except FileExistsError:
        return value
    raise LookupError("ask again")


def _tree() -> Any:
    return total([add(add(at, 1), at) for at in range(8)])


def _observed(*args: Any, **keywords: Any) -> tuple[Run, Course]:
    run = door.start(*args, observe=True, **keywords)
    run.result(60)
    course = run.explain().course
    assert course is not None
    return run, course


class ObservingCases:
    """Part of `suite.ConformanceSuite`."""

    def test_every_task_is_seen_once(self) -> None:
        run, course = _observed(_tree(), optimize_graph=False)
        assert (course.nodes, course.of, len(course.attempts)) == (17, 17, 17)
        assert {group.name: group.nodes for group in course.groups} == {"add": 16, "total": 1}
        assert run.explain().done == 17

    def test_the_times_add_up(self) -> None:
        _, course = _observed(_tree(), [give(at) for at in range(50)])
        for one in course.attempts:
            assert 0 <= one.due <= one.handed <= one.ready <= one.began <= one.ended <= course.elapsed + SLIGHTLY
        slots = course.slots
        assert slots.running + slots.moving <= slots.count * slots.elapsed + SLIGHTLY
        running = sum(group.running for group in course.groups)
        assert running == pytest.approx(sum(one.running for one in course.attempts))

    def test_nothing_begins_before_what_it_reads_has_ended(self) -> None:
        run, course = _observed(_tree(), optimize_graph=False)
        ended = {one.task: one.ended for one in course.attempts}
        shape = run.plan.shape
        for one in course.attempts:
            assert max((ended[read] for read in shape.inputs_of(one.task)), default=0.0) <= one.began + SLIGHTLY

    def test_the_critical_path_is_a_way_through_the_graph_and_the_slots(self) -> None:
        run, course = _observed(_tree(), optimize_graph=False)
        assert course.path[-1].attempt.name == "total"
        assert course.path[0].because == "start"
        for step, after in pairwise(course.path):
            if after.because == "input":
                assert step.attempt.task in run.plan.shape.inputs_of(after.attempt.task)
            else:
                assert (after.because, step.attempt.lane) == ("slot", after.attempt.lane)

    def test_attempts_that_have_failed_are_counted(self, tmp_path: Path) -> None:
        _, course = _observed(fails_at_first.options(retries=2)(str(tmp_path), 5))
        [group] = course.groups
        assert (group.nodes, group.attempts, group.failed) == (1, 2, 1)
        assert [(one.number, one.failed) for one in course.attempts] == [(1, True), (2, False)]

    def test_of_a_run_that_fails_is_said_how_far_it_came(self) -> None:
        run = door.start(add(divide(1, 0), 1), observe=True, optimize_graph=False)
        with pytest.raises(ZeroDivisionError):
            run.result(60)
        account = run.explain()
        assert account.course is not None
        assert [(one.name, one.failed) for one in account.course.attempts] == [("divide", True)]
        assert (account.done, account.tasks) == (0, 2)

    def test_what_stands_for_a_task_is_seen_too(self) -> None:
        _, course = _observed(add(add_replaced(1, 2), 3), optimize_graph=False)
        assert Counter(one.name for one in course.attempts) == {"add_replaced": 1, "add": 2}
        assert [step.attempt.name for step in course.path][-1] == "add"

    def test_what_is_awaited_is_seen_and_holds_no_slot(self) -> None:
        _, course = _observed([nap(at) for at in range(3)])
        assert [one.lane.thread for one in course.attempts] == [AWAITED] * 3
        assert (course.awaited > 0, course.slots.running) == (True, 0.0)

    def test_events_are_told_in_order_by_the_keys_of_futures(self) -> None:
        run, _ = _observed(add(give(1), 2), optimize_graph=False)
        events = run.events()
        assert [moment.seconds for moment in events] == sorted(moment.seconds for moment in events)
        mine = [moment.what for moment in events if moment.key == run.futures[0].key]
        assert mine[-2:] == ["began", "ended"]

    def test_what_was_measured_is_expected_the_next_time(self) -> None:
        node = total([give(at) for at in range(3)])
        door.explain(node, analyze=True)
        estimate = door.explain(node).estimate
        assert estimate is not None
        assert (estimate.missing, estimate.calls >= 4) == (0, True)
        assert 0 < estimate.longest <= estimate.elapsed <= estimate.work + SLIGHTLY

    def test_a_run_that_is_not_observed_says_so(self) -> None:
        run = door.start(add(1, 2))
        assert run.result(60) == (3,)
        account = run.explain()
        assert (account.course, account.done, account.tasks) == (None, 1, 1)
        assert "only the whole" in str(account)
        with pytest.raises(InvalidOption, match="is not observed"):
            run.events()

    def test_a_report_is_a_file(self, tmp_path: Path) -> None:
        run = door.start(_tree(), observe=True)
        run.result(60)
        for name in ("run.html", "run.json", "run.txt"):
            run.report(tmp_path / name)
        assert json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))["tasks"] == len(run.plan)
        assert (tmp_path / "run.html").read_text(encoding="utf-8").startswith("<!doctype html>")

    def test_observing_changes_no_value(self, tmp_path: Path) -> None:
        lazies = [_tree(), {"k": give([1, (2, 3)])}, add_replaced(1, 2), nap(1)]
        run = door.start(*lazies, observe=True)
        assert run.result(60) == door.compute(*lazies)
