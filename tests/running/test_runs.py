"""Runs, groups of futures, futures in the order in which they end."""

from __future__ import annotations

import concurrent.futures
import json
from pathlib import Path

import pytest

from lazygraph.errors import InvalidOption
from lazygraph.planning.plan import Plan
from lazygraph.running.completing import as_completed
from lazygraph.running.group_result import GroupResult
from lazygraph.running.run import Run
from lazygraph.values.graph import Tables
from lazygraph.values.outcome import Value
from lazygraph.values.status import Status
from tests.running.owners import Owner, raised, run_of
from tests.running.shapes import shape_of


class TestAsCompleted:
    def test_in_the_order_in_which_they_end(self, run: Run) -> None:
        found = as_completed(run.futures)
        for at in (2, 0, 1):
            run.settle(at, Status.SUCCEEDED, Value(at))
        assert [future.result() for future in found] == [2, 0, 1]

    def test_more_can_be_added(self, run: Run) -> None:
        found = as_completed(run.futures[:1])
        run.settle(0, Status.SUCCEEDED, Value("a"))
        run.settle(1, Status.SUCCEEDED, Value("b"))
        seen = []
        for future in found:
            seen.append(future.result())
            found.add(run.futures[0])
            found.add(run.futures[1])
        assert seen == ["a", "b"]

    def test_with_results(self, run: Run) -> None:
        for at in range(3):
            run.settle(at, Status.SUCCEEDED, Value(at))
        assert list(as_completed(run.futures, with_results=True)) == list(zip(run.futures, range(3), strict=True))

    def test_a_timeout(self, run: Run) -> None:
        run.settle(1, Status.SUCCEEDED, Value(1))
        found = as_completed(run.futures, timeout=0)
        assert next(found) is run.futures[1]
        with pytest.raises(TimeoutError, match="2 of 3"):
            next(found)

    def test_other_people_s_futures(self, run: Run) -> None:
        other: concurrent.futures.Future[int] = concurrent.futures.Future()
        found = as_completed([other, run.futures[0]])
        other.set_result(1)
        assert next(found) is other
        run.settle(0, Status.SUCCEEDED, Value(1))
        assert next(found) is run.futures[0]

    def test_of_a_group(self, run: Run) -> None:
        group = GroupResult([run.futures[0], GroupResult(run.futures[1:])])
        for at in (1, 0, 2):
            run.settle(at, Status.SUCCEEDED, Value(at))
        assert [future.result() for future in group.as_completed()] == [0, 1, 2]
        assert group.get(timeout=1) == [0, [1, 2]]


class TestGroups:
    def test_counts_and_words(self, run: Run, owner: Owner) -> None:
        group = GroupResult(run.futures)
        assert (len(group), group[1], list(group)) == (3, run.futures[1], run.futures)
        assert (group.ready(), group.successful(), group.failed(), group.completed_count()) == (False, False, False, 0)
        run.settle(0, Status.SUCCEEDED, Value(1))
        run.settle(1, Status.FAILED, raised(ValueError("x")))
        assert (group.failed(), group.completed_count(), repr(group)) == (True, 1, "<GroupResult of 3, 1 completed>")
        run.settle(2, Status.SUCCEEDED, Value(3))
        assert (group.ready(), group.successful()) == (True, False)
        with pytest.raises(ValueError, match="x"):
            group.join()

    def test_one_timeout_for_all(self, run: Run) -> None:
        with pytest.raises(TimeoutError):
            GroupResult(run.futures).get(timeout=0)

    def test_cancel_asks_every_member(self, run: Run, owner: Owner) -> None:
        assert GroupResult(run.futures).cancel() is True
        assert owner.cancelled == [0, 1, 2]


class TestRuns:
    def test_the_shape_asked_for(self, run: Run) -> None:
        run.repack = lambda values: {"all": values}
        for at in range(3):
            run.settle(at, Status.SUCCEEDED, Value(at))
        assert run.result() == {"all": [0, 1, 2]}

    def test_an_output_asked_for_twice(self, owner: Owner) -> None:
        run = Run(Plan(shape_of([[]], outputs=[0, 0]), Tables((len,), ())), owner)
        run.settle(0, Status.SUCCEEDED, Value(1))
        assert run.result() == (1, 1)
        assert run.futures[0].key == run.futures[1].key

    @pytest.mark.parametrize("seen", ["before", "between", "after", "never"])
    def test_values_that_come_together_are_as_those_that_come_alone(self, run: Run, seen: str) -> None:
        assert seen != "before" or len(run.futures) == 3
        run.settle_values([2, 0], ["c", "a"])
        assert seen != "between" or run.futures[0].result(0) == "a"
        assert not run.done()
        run.settle_values([0, 2], ["late", "late"])  # told again: nothing changes
        assert not run.done()
        run.settle(1, Status.SUCCEEDED, Value("b"))
        assert seen != "after" or [future.result(0) for future in run.futures] == ["a", "b", "c"]
        assert run.done()
        assert run.result(0) == ("a", "b", "c")
        assert [future.status for future in run.futures] == [Status.SUCCEEDED] * 3

    def test_values_that_come_together_beside_a_failure(self, run: Run) -> None:
        run.on_error, failure = "collect", raised(ValueError("x"))
        run.settle(1, Status.FAILED, failure)
        run.settle_values([0, 2], [0, 2])
        assert run.result(0) == (0, failure, 2)

    def test_fail_fast_raises_at_once(self, owner: Owner) -> None:
        run = run_of(2, owner, fail_fast=True)
        run.settle(1, Status.FAILED, raised(ValueError("x")))
        with pytest.raises(ValueError, match="x"):
            run.result()

    def test_otherwise_everything_ends_first(self, run: Run) -> None:
        run.settle(1, Status.FAILED, raised(ValueError("x")))
        with pytest.raises(TimeoutError):
            run.result(timeout=0)
        for at in (0, 2):
            run.settle(at, Status.SUCCEEDED, Value(at))
        with pytest.raises(ValueError, match="x"):
            run.result()

    def test_a_cancelled_run(self, run: Run) -> None:
        for at in range(3):
            run.settle(at, Status.CANCELLED, raised(concurrent.futures.CancelledError("gone")))
        with pytest.raises(concurrent.futures.CancelledError, match="gone"):
            run.result()

    def test_cancel_is_the_owner_s(self, run: Run, owner: Owner) -> None:
        run.cancel()
        assert owner.cancelled == [-1]

    def test_progress_and_stats(self, run: Run) -> None:
        run.tasks_done = 2
        assert run.progress() == (2, 3)
        stats = run.stats()
        assert (stats["tasks"], stats["bytes_kept"], stats["bytes_moved"]) == (3, None, None)
        assert stats["elapsed"] >= 0
        assert repr(run) == f"<Run {run.id}: 2 of 3 tasks done>"

    def test_how_it_goes(self, run: Run, tmp_path: Path) -> None:
        account = run.explain()
        assert (account.name, account.done, account.tasks, account.ended) == (run.id, 0, 3, False)
        assert len(account.waiting) == 3
        for at in range(3):
            run.settle(at, Status.SUCCEEDED, Value(at))
        account = run.explain()
        assert (account.ended, account.waiting, account.course) == (True, (), None)
        run.report(tmp_path / "run.json")
        assert json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))["observed"] is False

    def test_what_nobody_has_seen_cannot_be_told(self, run: Run) -> None:
        with pytest.raises(InvalidOption, match="is not observed; start it with observe=True"):
            run.events()

    def test_keys_name_the_node_the_run_and_the_place(self, run: Run) -> None:
        assert [future.key for future in run.futures] == [f"task-{run.number}-{at}" for at in range(3)]

    def test_nothing_asked_for_is_done_at_once(self, owner: Owner) -> None:
        run = run_of(0, owner)
        assert (run.done(), run.result(0)) == (True, ())
