"""What a started canvas gives: its result, the steps before it, what comes next, groups of futures.

What holds for a future as such is in test_futures; what a canvas computes is in tests/language.
"""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import CancelledError
from typing import Any

import pytest

import lazygraph
from lazygraph import Client, Failure, Future, GroupResult, LocalCluster, Status, chain, chord, delayed, each, group
from lazygraph.errors import LostData
from lazygraph.executors import ThreadExecutor

WAIT = 60


@delayed
def add(x: Any, y: Any = 0) -> Any:
    return x + y


@delayed
def total(xs: list[int]) -> int:
    return sum(xs)


@delayed
def fail(*args: Any) -> None:
    raise ValueError("as asked")


@delayed
def upto(n: int) -> list[int]:
    return list(range(n))


class Kept:
    """A value whose end can be seen."""


@delayed
def keep(*args: Any) -> Kept:
    return Kept()


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(n_workers=2) as cluster:
        yield cluster


@pytest.fixture(params=["sync", "threads", "cluster"])
def anywhere(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each kind of executor as the default."""
    if request.param != "cluster":
        with lazygraph.use(request.param):
            yield
        return
    with Client(request.getfixturevalue("cluster")):
        yield


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Two threads as the default executor; tasks made of this event wait until it is set."""
    gate = threading.Event()
    with ThreadExecutor(2):
        yield gate
        gate.set()


def waits(gate: threading.Event) -> Any:
    """A task that waits for the gate and gives what it was given."""

    def wait(x: Any) -> Any:
        assert gate.wait(WAIT)
        return x

    return delayed(wait)


@pytest.mark.usefixtures("anywhere")
class TestStepsBefore:
    def test_of_a_chain(self) -> None:
        result = (add.s(2, 2) | add.s(4) | add.s(8)).delay()
        assert result.get(WAIT) == 16
        assert result.parent.get(WAIT) == 8
        assert result.parent.parent.get(WAIT) == 4
        assert result.parent.parent.parent is None
        assert result.inputs == [result.parent]
        assert result.parent.parent.inputs == []

    def test_of_immutable_steps(self) -> None:
        result = (add.si(2, 2) | add.si(4, 4) | add.si(8, 8)).delay()
        assert [result.get(WAIT), result.parent.get(WAIT), result.parent.parent.get(WAIT)] == [16, 8, 4]

    def test_of_a_chord(self) -> None:
        result = (add.s(1, 1) | group(add.s(i) for i in range(3)) | total.s() | add.s(1)).delay()
        assert result.get(WAIT) == 10
        header = result.parent.parent
        assert isinstance(header, GroupResult)
        assert header.get(WAIT) == [2, 3, 4]
        assert header is result.parent.parent
        assert result.parent.inputs == list(header)
        assert header.parent.get(WAIT) == 2
        assert {member.parent for member in header} == {header.parent}
        assert header.parent.parent is None

    @pytest.mark.parametrize("size", [0, 1, 2])
    def test_of_groups_of_every_size(self, size: int) -> None:
        result = (add.s(1, 1) | group(add.s(1) | add.s(i) for i in range(size))).delay()
        assert isinstance(result, GroupResult)
        assert len(result) == size
        assert result.get(WAIT) == [3 + i for i in range(size)]
        assert result.parent.get(WAIT) == 2
        assert [member.parent.parent for member in result] == [result.parent] * size
        body = (add.s(1, 1) | group(add.s(i) for i in range(size)) | total.s()).delay()
        assert body.parent.get(WAIT) == [2 + i for i in range(size)]
        assert body.parent.parent.get(WAIT) == 2

    def test_of_a_group_behind_a_group(self) -> None:
        result = (group(add.s(1, i) for i in range(2)) | group(total.s(), total.s()) | total.s()).delay()
        assert result.get(WAIT) == 6
        assert result.parent.get(WAIT) == [3, 3]
        assert result.parent.parent.get(WAIT) == [1, 2]
        assert result.parent.parent.parent is None
        assert [member.parent for member in result.parent] == [result.parent.parent] * 2

    def test_of_a_member_that_ends_in_a_group(self) -> None:
        result = group(add.s(1, 1), add.s(1, 2) | group(add.s(1), add.s(2))).delay()
        assert result.get(WAIT) == [2, [4, 5]]
        assert result[1].parent.get(WAIT) == [4, 5]
        assert result[1].parent.parent.get(WAIT) == 3

    def test_of_a_promise_at_the_start(self) -> None:
        start = add(1, 2)
        result = (start | add.s(3)).delay()
        assert (result.get(WAIT), result.parent.get(WAIT), result.parent.parent) == (6, 3, None)
        promises = (start | group(add(3, 4), add(5, 6)) | total.s()).delay()
        assert (promises.get(WAIT), promises.parent.parent.get(WAIT)) == (18, 3)
        behind_nothing = (start | group([]) | total.s()).delay()
        assert (behind_nothing.get(WAIT), behind_nothing.parent.parent.get(WAIT)) == (0, 3)

    def test_of_a_fan_out(self) -> None:
        result = (upto.s(3) | each(add.s(10)) | total.s()).delay()
        assert result.get(WAIT) == 33
        assert result.parent.get(WAIT) == [10, 11, 12]
        assert result.parent.parent.get(WAIT) == [0, 1, 2]

    def test_of_one_call(self) -> None:
        result = add.delay(1, 1)
        assert (result.get(WAIT), result.parent, result.inputs, result.children) == (2, None, [], [])

    def test_of_what_was_not_started_as_a_canvas(self) -> None:
        (future,) = lazygraph.start(add.s(1, 1) | add.s(1)).futures
        assert (future.result(WAIT), future.parent, future.children) == (3, None, [])


@pytest.mark.usefixtures("anywhere")
class TestWhatComesNext:
    def test_in_a_chain(self) -> None:
        result = (add.s(1, 1) | add.s(1) | add.s(1)).delay()
        assert result.get(WAIT) == 4
        assert result.children == []
        assert result.parent.children == [result]
        assert result.parent.parent.children == [result.parent]

    def test_in_a_group_and_its_body(self) -> None:
        result = (add.s(1, 1) | group(add.s(1), add.s(2)) | total.s()).delay()
        header = result.parent
        assert header.parent.children == header.children == header.results == list(header)
        assert [member.children for member in header] == [[result], [result]]

    def test_callbacks(self) -> None:
        linked = add.s(1, 1).link(add.s(10), add.s(20) | add.s(30))
        result = (linked | add.s(5)).delay()
        first = result.parent
        following, *callbacks = first.children
        assert following is result
        assert [callback.get(WAIT) for callback in callbacks] == [12, 52]
        assert [callback.parent for callback in callbacks] == [first, first]

    def test_callbacks_of_the_last_step_are_kept_by_it(self) -> None:
        result = add.s(1, 1).apply_async(link=add.s(10))
        assert [child.get(WAIT) for child in result.children] == [12]

    def test_callbacks_of_a_group(self) -> None:
        result = group(add.s(1, 1), add.s(2, 2)).link(total.s()).delay()
        assert result.get(WAIT) == [2, 4]
        assert [child.get(WAIT) for child in result[0].children] == [6]

    def test_callbacks_that_fail_change_nothing(self) -> None:
        result = add.s(1, 1).link(fail.s()).delay()
        assert result.get(WAIT) == 2
        (callback,) = result.children
        with pytest.raises(ValueError, match="as asked"):
            callback.get(WAIT)
        assert (result.state, callback.state) == ("SUCCESS", "FAILURE")


class TestWhileItRuns:
    def test_all_are_there_at_once(self, gate: threading.Event) -> None:
        result = (waits(gate).s(1) | group(add.s(1), add.s(2)) | total.s().link(add.s(1))).delay()
        header = result.parent
        (callback,) = result.children
        assert not any(one.ready() for one in (result, callback, *header, header.parent))
        assert header.waiting() and not header.ready() and header.completed_count() == 0
        assert header.parent.children == list(header)
        gate.set()
        assert (result.get(WAIT), callback.get(WAIT)) == (5, 6)
        assert header.ready() and header.successful() and header.completed_count() == 2

    def test_nobody_has_to_hold_it(self, gate: threading.Event) -> None:
        ran = threading.Event()
        (waits(gate).s(1) | add.s(1) | delayed(lambda _: ran.set()).s()).delay()
        gc.collect()
        gate.set()
        assert ran.wait(WAIT)

    def test_a_time_that_is_up(self, gate: threading.Event) -> None:
        result = group(add.s(1, 1), waits(gate).s(2)).delay()
        for propagate in (True, False):
            with pytest.raises(TimeoutError):
                result.get(timeout=0.01, propagate=propagate)
            with pytest.raises(TimeoutError):
                result[1].get(timeout=0.01, propagate=propagate)

    def test_members_as_they_end(self, gate: threading.Event) -> None:
        result = group(waits(gate).s(1), add.s(2, 0)).delay()
        ends = result.as_completed()
        assert next(ends).get() == 2
        gate.set()
        assert [future.get() for future in ends] == [1]


class TestValuesOfSteps:
    @pytest.mark.parametrize("executor", ["sync", "threads"])
    def test_they_live_as_long_as_the_result_is_held(self, executor: str) -> None:
        with lazygraph.use(executor):
            result = (keep.s() | keep.s() | group(keep.s(), keep.s()) | keep.s()).delay()
            lazygraph.wait([result])
            values = [weakref.ref(f.get(WAIT)) for f in (result.parent[1], result.parent.parent.parent)]
            gc.collect()
            assert all(value() is not None for value in values)
            del result
            # No cycle keeps them: they go with the last reference.
            assert [value() for value in values] == [None, None]

    def test_compute_keeps_none(self) -> None:
        with lazygraph.use("sync"):
            assert (add.s(1, 1) | add.s(1) | add.s(1)).explain().nodes == 1  # fused: there is nothing in between
            (run := lazygraph.start(add.s(1, 1) | add.s(1) | add.s(1))).result(WAIT)
            assert len(run.futures) == 1

    @pytest.mark.usefixtures("anywhere")
    def test_forgotten_ones_are_lost(self) -> None:
        result = (add.s(1, 1) | group(add.s(1), add.s(2)) | total.s()).delay()
        assert result.get(WAIT) == 7
        result.forget()
        for future in (result, *result.parent, result.parent.parent):
            with pytest.raises(LostData, match=rf"the value of '{future.key}' is lost: future.forget\(\) gave it up"):
                future.get(WAIT)
            assert future.status is Status.LOST

    def test_forgetting_what_still_runs_lets_it_run(self, gate: threading.Event) -> None:
        ran = threading.Event()
        result = (waits(gate).s(1) | delayed(lambda x: ran.set()).s()).delay()
        result.forget()
        assert not result.ready()
        gate.set()
        assert ran.wait(WAIT)
        with pytest.raises(LostData):
            result.get(WAIT)

    def test_long_chains_are_walked_and_dropped(self) -> None:
        with lazygraph.use("sync"):
            result = chain(add.s(1), *(add.s(1) for _ in range(20_000))).delay()
            assert result.get(WAIT) == 20_001
            steps = 0
            step = result
            while step is not None:
                step, steps = step.parent, steps + 1
            assert steps == 20_001
            del step, result


@pytest.mark.usefixtures("anywhere")
class TestFailing:
    def test_the_exception_instead_of_a_raise(self) -> None:
        result = (add.s(1, 1) | fail.s() | add.s(1)).delay()
        error = result.get(WAIT, propagate=False)
        assert isinstance(error, ValueError) and str(error) == "as asked"
        assert result.parent.parent.get(WAIT) == 2
        assert (result.status, result.parent.status) == (Status.UPSTREAM_FAILED, Status.FAILED)
        assert (result.state, result.failed(), result.successful()) == ("FAILURE", True, False)
        assert result.cause == result.parent.key

    def test_exceptions_in_the_places_of_members(self) -> None:
        result = group(add.s(1, 1), fail.s(), add.s(2, 2)).delay()
        first, error, last = result.get(WAIT, propagate=False)
        assert (first, last, str(error)) == (2, 4, "as asked")
        assert result.failed() and result.ready() and not result.successful()
        assert result.completed_count() == 2
        with pytest.raises(ValueError, match="as asked"):
            result.join(WAIT)

    def test_a_group_of_none_fails_with_what_it_waits_for(self) -> None:
        result = (fail.s() | group([])).delay()
        with pytest.raises(ValueError, match="as asked"):
            result.get(WAIT)
        assert (len(result), result.failed(), result.successful(), result.ready()) == (0, True, False, True)

    def test_the_record_of_a_failure(self) -> None:
        future = fail.delay()
        failure = future.failure(WAIT)
        assert isinstance(failure, Failure)
        assert (failure.node, failure.key, failure.attempt) == ("fail", future.key, 1)
        assert isinstance(failure.exception, ValueError)
        assert __file__ in failure.origin
        assert future.traceback is not None and "ValueError: as asked" in future.traceback
        assert future.id == future.key

    def test_no_failure_no_traceback(self) -> None:
        future = add.delay(1, 1)
        assert (future.get(WAIT), future.failure(), future.traceback) == (2, None, None)


class TestCancelling:
    def test_a_result_takes_the_steps_before_it_along(self, gate: threading.Event) -> None:
        ran: list[str] = []
        step = delayed(lambda x: ran.append("no"))
        result = (waits(gate).s(1) | step.s() | step.s() | add.s(1)).delay()
        before = result._before  # not result.parent: asking for it would keep it
        assert result.cancel()
        assert (result.state, before.state, before.parent.state) == ("REVOKED",) * 3
        with pytest.raises(CancelledError, match=f"{before.key} is not wanted any more: {result.key} was cancelled"):
            before.get(WAIT)
        gate.set()
        assert add.delay(1, 1).get(WAIT) == 2
        assert ran == []

    def test_but_not_one_that_somebody_has_asked_for(self, gate: threading.Event) -> None:
        result = (waits(gate).s(1) | add.s(1) | add.s(2)).delay()
        wanted = result.parent
        assert result.cancel()
        gate.set()
        assert wanted.get(WAIT) == 2

    def test_nor_one_that_a_sibling_needs(self, gate: threading.Event) -> None:
        result = (waits(gate).s(1) | add.s(1) | group(add.s(1), add.s(2))).delay()
        assert result[0].cancel()
        gate.set()
        assert (result[1].get(WAIT), result.parent.get(WAIT)) == (4, 2)
        assert isinstance(result.get(WAIT, propagate=False)[0], CancelledError)

    def test_nor_one_that_is_the_same_node_as_another(self, gate: threading.Event) -> None:
        start, same = waits(gate)(1), add.options(pure=True)
        result = group(start | same.s(1) | add.s(1), start | same.s(1) | add.s(2)).delay()
        assert result[0].cancel()
        kept = result[1].parent
        assert not kept.ready()
        gate.set()
        assert (kept.get(WAIT), result[1].get(WAIT)) == (2, 4)

    def test_nor_one_whose_callback_is_to_come(self, gate: threading.Event) -> None:
        called: list[int] = []
        noticed = threading.Event()

        def notice(x: int) -> None:
            called.append(x)
            noticed.set()

        result = (waits(gate).s(1) | add.s(1).link(delayed(notice).s()) | add.s(2)).delay()
        assert result.cancel()
        gate.set()
        assert noticed.wait(WAIT)
        assert called == [2]

    def test_a_whole_group(self, gate: threading.Event) -> None:
        result = (waits(gate).s(1) | add.s(1) | group(add.s(1), add.s(2))).delay()
        before = result._parent  # as above
        result.revoke()
        assert [member.state for member in result] == ["REVOKED"] * 2
        assert before.state == "REVOKED"
        assert not result.successful()

    @pytest.mark.usefixtures("anywhere")
    def test_what_has_ended_stays(self) -> None:
        result = (add.s(1, 1) | add.s(1)).delay()
        assert result.get(WAIT) == 3
        assert not result.cancel()
        assert result.parent.get(WAIT) == 2


@pytest.mark.usefixtures("anywhere")
class TestGroups:
    def test_is_a_sequence_of_futures(self) -> None:
        result = group(add.s(i, i) for i in range(4)).delay()
        assert isinstance(result, GroupResult)
        assert len(result) == 4
        assert all(isinstance(member, Future) for member in result)
        assert result[1].get(WAIT) == 2
        assert [member.get(WAIT) for member in result[1:3]] == [2, 4]
        assert result.get(WAIT) == result.join(WAIT) == result.result(WAIT) == [0, 2, 4, 6]
        assert repr(result) == "<GroupResult of 4, 4 completed>"
        assert sorted(future.get() for future in result.as_completed()) == [0, 2, 4, 6]

    def test_can_be_awaited(self) -> None:
        async def main() -> Any:
            return await group(add.s(i, i) for i in range(3)).delay(), await (add.s(1, 1) | group([])).delay()

        assert asyncio.run(main()) == ([0, 2, 4], [])

    def test_within_groups(self) -> None:
        inner = group(add.s(1, 1), add.s(2, 2)).delay()
        outer = GroupResult([inner, add.delay(3, 3)])
        assert outer.get(WAIT) == [[2, 4], 6]
        assert outer.flat() == [*inner, outer[1]]
        assert outer.ready() and outer.successful() and not outer.failed()
        assert {future.get() for future in outer.as_completed()} == {2, 4, 6}

    def test_forgets_all(self) -> None:
        result = (add.s(1, 1) | group(add.s(1), add.s(2))).delay()
        assert result.get(WAIT) == [3, 4]
        result.forget()
        for future in (*result, result.parent):
            with pytest.raises(LostData):
                future.get(WAIT)

    def test_called_as_celery_does(self) -> None:
        assert chord(add.s(i, i) for i in range(3))(total.s()).get(WAIT) == 6
