"""What runs on when something has failed: `on_error=` and `fail_fast=` of groups and of `compute`."""

from __future__ import annotations

import asyncio
import pickle
import threading
from concurrent.futures import CancelledError
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from lazygraph import Failure, Status, chain, chord, clone, compute, delayed, from_json, group, optimize, start, use
from lazygraph.errors import InvalidOption, NotImplementedYet, WrongCanvas
from lazygraph.executors import LocalCluster, ProcessExecutor, SyncExecutor, ThreadExecutor
from tests.executors.driven import WAIT

if TYPE_CHECKING:
    from collections.abc import Iterator


@delayed
def inverse(number: float) -> float:
    return 1 / number


@delayed
def listed(values: list[Any]) -> list[Any]:
    return [type(value.exception).__name__ if isinstance(value, Failure) else value for value in values]


@pytest.fixture(scope="module", params=["sync", "threads", "processes", "cluster"])
def executor(request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param == "cluster":
        from lazygraph import Client

        with LocalCluster(2) as cluster, Client(cluster, set_as_default=False) as client:
            yield client.executor
        return
    made = {"sync": SyncExecutor, "threads": lambda: ThreadExecutor(2), "processes": lambda: ProcessExecutor(2)}
    with made[request.param]() as executor:
        yield executor


@pytest.fixture(autouse=True)
def inside(executor: Any) -> Iterator[None]:
    with use(executor):
        yield


class TestGroups:
    def test_collect_puts_the_failure_in_the_place(self) -> None:
        canvas = group((inverse.s(n) for n in (1, 0, 2)), on_error="collect")
        first, second, third = canvas.compute()
        assert (first, third) == (1.0, 0.5)
        assert isinstance(second, Failure)
        assert (second.node, second.attempt, type(second.exception)) == ("inverse", 1, ZeroDivisionError)
        assert "1 / number" in second.traceback

    def test_a_body_sees_it(self) -> None:
        assert (group((inverse.s(n) for n in (1, 0, 2)), on_error="collect") | listed.s()).compute() == [
            1.0,
            "ZeroDivisionError",
            0.5,
        ]

    def test_skip_leaves_it_out(self) -> None:
        canvas = group((inverse.s(n) for n in (1, 0, 2)), on_error="skip")
        assert canvas.compute() == [1.0, 0.5]
        assert (canvas | delayed(sum).s()).compute() == 1.5

    @pytest.mark.parametrize("on_error", ["collect", "skip"])
    def test_nothing_has_failed(self, on_error: str) -> None:
        assert (group((inverse.s(n) for n in (1, 2)), on_error=on_error) | listed.s()).compute() == [1.0, 0.5]
        assert (group([], on_error=on_error) | listed.s()).compute() == []

    def test_everything_has_failed(self) -> None:
        assert (group((inverse.s(0) for _ in range(3)), on_error="skip") | listed.s()).compute() == []
        assert (group((inverse.s(0) for _ in range(2)), on_error="collect") | listed.s()).compute() == [
            "ZeroDivisionError",
            "ZeroDivisionError",
        ]

    def test_members_that_are_chains_and_groups_in_groups(self) -> None:
        canvas = group(
            chain(inverse.s(0), inverse.s()), group(inverse.s(4), inverse.s(0)), inverse.s(2), on_error="skip"
        )
        assert canvas.compute() == [0.25, 0.5]

    def test_a_chord(self) -> None:
        assert chord([inverse.s(1), inverse.s(0)], listed.s(), on_error="collect").compute() == [
            1.0,
            "ZeroDivisionError",
        ]

    def test_started_its_result_is_the_same(self) -> None:
        canvas = group((inverse.s(n) for n in (1, 0, 2)), on_error="skip")
        result = canvas.delay()
        assert result.get(WAIT) == [1.0, 0.5]
        assert [future.exception(WAIT) is None for future in result] == [True, False, True]
        assert (canvas | delayed(sum).s()).delay().get(WAIT) == 1.5

    def test_a_value_that_is_a_failure_is_a_value(self) -> None:
        given = Failure("n", "k", 1, ValueError())
        canvas = group(delayed(lambda: given).s(), inverse.s(0), on_error="skip")
        (kept,) = canvas.compute()
        assert kept.key == "k"

    def test_a_handler_is_told_and_the_body_runs_on(self) -> None:
        canvas = group((inverse.s(n) for n in (1, 0)), on_error="skip").link_error(delayed(str).s()) | listed.s()
        assert canvas.compute() == [1.0]

    def test_only_its_own_handler_is_told(self, tmp_path: Path) -> None:
        def told(name: str) -> Any:
            return delayed(lambda _: (tmp_path / name).write_text("told")).s()

        members = group((inverse.s(n) for n in (1, 0)), on_error="skip").link_error(told("inner"))
        canvas = (members | listed.s()).link_error(told("outer"))
        assert canvas.compute(executor="sync") == [1.0]  # which returns when callbacks have ended too
        assert [path.name for path in tmp_path.iterdir()] == ["inner"]

    @pytest.mark.parametrize("on_error", ["collect", "skip"])
    def test_around_it_nothing_has_failed(self, on_error: str) -> None:
        tolerant = group(inverse.s(0), on_error=on_error) | delayed(len).s()
        canvas = group(chain(tolerant), inverse.s(2) | inverse.s() | inverse.s(), fail_fast=True)
        written = canvas.to_delayed()
        for same in (canvas, written, *optimize(written), clone(written)):
            assert same.compute() == [int(on_error == "collect"), 0.5]

    def test_all_that_is_made_of_it_fails_as_one(self) -> None:
        waits = chain(*[inverse.s(1)] + [inverse.s()] * 50)
        written = group(inverse.s(0), waits, fail_fast=True, on_error="collect").to_delayed()
        for same in (written, *optimize(written), clone(written)):
            [names] = compute(listed(same), executor="sync")
            assert names == ["ZeroDivisionError", "ZeroDivisionError"]

    @pytest.mark.parametrize("on_error", ["collect", "skip"])
    def test_what_comes_before_it_is_no_member(self, on_error: str) -> None:
        canvas = inverse.s(0) | group(inverse.s(), inverse.si(2), on_error=on_error)
        for whole in (canvas, canvas | delayed(len).s()):
            with pytest.raises(ZeroDivisionError):
                whole.compute()
            with pytest.raises(ZeroDivisionError):
                whole.delay().get(WAIT)

    def test_what_is_hung_on_a_failure_does_not_run(self) -> None:
        ran: list[str] = []
        callback = group(delayed(lambda _: ran.append("ran")).s(), on_error="skip") | delayed(ran.extend).s()
        with pytest.raises(ZeroDivisionError):
            inverse.s(0).link(callback).compute(executor="sync")
        assert not ran

    def test_awaited_its_result_is_the_same(self) -> None:
        async def awaited() -> list[Any]:
            return await group((inverse.s(n) for n in (1, 0)), on_error="skip").delay()

        assert asyncio.run(awaited()) == [1.0]

    def test_what_else_reads_a_failed_member_ends_with_it(self) -> None:
        bad = inverse(0)
        tolerant = group(bad, inverse.s(1), on_error="skip").to_delayed()
        run = start(listed(tolerant), inverse(bad), fail_fast=False, optimize_graph=False)
        assert run.futures[0].result(WAIT) == [1.0]
        assert run.futures[1].exception(WAIT) is not None
        assert run.futures[1].status is Status.UPSTREAM_FAILED

    def test_many_members(self) -> None:
        canvas = group((inverse.s(n % 3) for n in range(600)), on_error="skip") | delayed(len).s()
        assert canvas.compute() == 400

    def test_the_first_failure_ends_the_others(self) -> None:
        waits = chain(*[inverse.s(1)] + [inverse.s()] * 50)
        canvas = group(inverse.s(0), waits, fail_fast=True)
        result = canvas.delay()
        with pytest.raises(ZeroDivisionError):
            result.get(WAIT)
        error = result[1].exception(WAIT) if not result[1].cancelled() else CancelledError()
        assert error is None or isinstance(error, CancelledError)

    def test_outside_of_it_work_goes_on(self) -> None:
        canvas = group(group(inverse.s(0), inverse.s(1), fail_fast=True), inverse.s(2), on_error="skip")
        assert canvas.compute() in ([0.5], [1.0, 0.5])


class TestCompute:
    def test_collect(self) -> None:
        good, bad = compute(inverse(1), inverse(0), on_error="collect")
        assert good == 1.0
        assert isinstance(bad, Failure)

    def test_skip_leaves_out_what_held_it(self) -> None:
        asked = [inverse(1), inverse(0)], {"a": inverse(0), "b": inverse(2)}, inverse(0), (inverse(0), 7)
        assert compute(*asked, on_error="skip") == ([1.0], {"b": 0.5}, (7,))

    def test_what_must_have_all_its_members_has_none(self) -> None:
        assert compute(Pair(inverse(1), inverse(0)), Record(inverse(0), 2), on_error="skip") == (
            Pair(1.0, None),
            Record(None, 2),
        )

    def test_what_reads_a_failed_node_is_skipped(self) -> None:
        bad = inverse(0)
        middle = inverse(bad)
        run = start(middle, inverse(middle), bad, on_error="skip", optimize_graph=False)
        assert run.result(WAIT) == ()
        assert [future.status for future in run.futures] == [Status.SKIPPED, Status.UPSTREAM_FAILED, Status.FAILED]
        assert run.futures[0].cause == run.futures[2].key

    def test_all_is_well(self) -> None:
        assert compute([inverse(1)], inverse(2), on_error="skip") == ([1.0], 0.5)
        assert compute([inverse(1)], inverse(2), on_error="collect") == ([1.0], 0.5)

    def test_a_wrong_word(self) -> None:
        with pytest.raises(InvalidOption, match="did you mean 'collect'"):
            compute(inverse(1), on_error="colect")
        with pytest.raises(InvalidOption, match=r"group\(on_error='ignore'\)"):
            group(inverse.s(1), on_error="ignore")


class Pair(NamedTuple):
    first: Any
    second: Any


@dataclass
class Record:
    first: Any
    second: Any


class TestWhatItIs:
    def test_it_stays_with_the_group(self) -> None:
        canvas = group(inverse.s(1), inverse.s(0), on_error="skip", fail_fast=True)
        assert repr(canvas) == "group(inverse.s(1), inverse.s(0), on_error='skip', fail_fast=True)"
        assert repr(pickle.loads(pickle.dumps(canvas))) == repr(canvas)
        named = group(delayed(abs).s(-1), on_error="collect")
        assert repr(from_json(named.to_json())) == repr(named)

    def test_a_handler_is_still_hung_on_with_its_method(self) -> None:
        canvas = group(inverse.s(0), on_error="skip").on_error(delayed(lambda _: None).s())
        assert canvas.compute() == []

    def test_a_group_within_a_group_says_nothing_else(self) -> None:
        with pytest.raises(WrongCanvas, match="say it on the outer group"):
            group(group(inverse.s(0), on_error="skip"), inverse.s(1)).compute()

    def test_its_result_is_no_argument(self) -> None:
        result = group(inverse.s(1), on_error="skip").delay()
        with pytest.raises(NotImplementedYet, match="behind the group"):
            listed(result).compute()


def test_what_was_cancelled_and_goes_on_for_another_run_is_in_its_place() -> None:
    gate = threading.Event()
    with ThreadExecutor(2) as executor:
        gone = delayed(lambda _: 1)(delayed(lambda: gate.wait(WAIT))())
        total = listed(group(gone, delayed(lambda: 2)(), on_error="collect"))
        run = start(gone, total, executor=executor)
        other = start(delayed(lambda value: value + 1)(run.futures[0]), executor=executor)
        assert run.futures[0].cancel()
        gate.set()
        assert other.result(WAIT) == (2,)
        assert run.futures[1].result(WAIT) == [1, 2]
        with pytest.raises(CancelledError):
            run.futures[0].result(WAIT)
