"""What every executor must do when something ends badly or is given up: `on_error=`, states, causes, cancelling."""

from __future__ import annotations

import os
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

import pytest

import lazygraph.door as door
from lazygraph.executors.registry import resolve
from lazygraph.language.composing import chord, group
from lazygraph.testing.conformance.canvases_failing import Ear
from lazygraph.testing.conformance.needs import needs
from lazygraph.testing.conformance.tasks import add, divide, give, length, total, wait_for
from lazygraph.testing.conformance.timed import pipe_beside, stand, turn
from lazygraph.values.outcome import Failure
from lazygraph.values.status import Status

if TYPE_CHECKING:
    from pathlib import Path

WAIT = 30
LONG = 3600.0


class EndingCases:
    """Part of `option_suite.OptionCases`."""

    def test_collected_failures_stand_in_their_places(self) -> None:
        one, (bad, [below]) = door.compute(add(1, 1), (divide(1, 0), [add(divide(1, 0), 1)]), on_error="collect")
        assert one == 2
        for failure in (bad, below):
            assert isinstance(failure, Failure)
            assert isinstance(failure.exception, ZeroDivisionError)
            assert failure.node == "divide"

    def test_skipped_failures_are_left_out(self) -> None:
        assert door.compute([add(1, 1), divide(1, 0)], {"k": [divide(1, 0)]}, on_error="skip") == ([2], {"k": []})

    @pytest.mark.parametrize("failing", [0, 1, 3])
    def test_a_group_gives_what_there_is_to_its_body(self, failing: int) -> None:
        members = [divide.si(1, 0)] * failing + [give.si(1), give.si(2)]
        assert chord(members, length.s(), on_error="skip").compute() == 2
        collected = group(members, on_error="collect").compute()
        assert [isinstance(one, Failure) for one in collected] == [True] * failing + [False] * 2
        assert chord(members, total.s(), on_error="skip").compute() == 3

    def test_what_fails_first_ends_a_run_that_is_fail_fast(self) -> None:
        with pytest.raises(ZeroDivisionError):
            door.compute(divide(1, 0), add(1, 1), fail_fast=True)

    def test_siblings_run_on_where_it_is_not(self) -> None:
        run = door.start(divide(1, 0), add(1, 1), fail_fast=False)
        bad, good = run.futures
        assert good.result(WAIT) == 2
        assert isinstance(bad.exception(WAIT), ZeroDivisionError)
        assert [bad.status, good.status] == [Status.FAILED, Status.SUCCEEDED]

    def test_every_observer_gets_the_original_exception(self) -> None:
        bad = divide(1, 0)
        run = door.start(bad, add(bad, 1), add(add(bad, 1), 1), fail_fast=False)
        errors = [future.exception(WAIT) for future in run.futures]
        assert {type(error) for error in errors} == {ZeroDivisionError}
        assert [future.cause for future in run.futures] == [None, run.futures[0].key, run.futures[0].key]


class AsynchronousEndingCases:
    """What can be given up where `submit` returns before the run has ended."""

    @property
    def stops(self) -> bool:
        """Whether an attempt that runs can be made to leave."""
        return "isolated" in resolve(None).capabilities

    @needs("countdown")
    def test_what_waits_for_its_time_can_be_cancelled_with_all_below(self) -> None:
        future = (give.s(1).set(countdown=LONG) | add.s(1)).delay()
        first = future.parent
        assert first.cancel() is True
        with pytest.raises(CancelledError):
            future.result(WAIT)
        assert [first.status, future.status] == [Status.CANCELLED] * 2
        assert [first.cause, future.cause] == [None, first.key]

    @needs("countdown")
    def test_a_group_and_a_run_can_be_cancelled_whole(self) -> None:
        members = group(give.s(n).set(countdown=LONG) for n in range(3)).delay()
        assert members.cancel() is True
        assert {member.status for member in members} == {Status.CANCELLED}
        run = door.start(*(give.options(countdown=LONG)(n) for n in range(3)))
        run.cancel()
        for future in run.futures:
            assert isinstance(_ending(future), CancelledError)

    def test_what_others_still_want_runs_on(self, tmp_path: Path) -> None:
        pipe = str(tmp_path / "pipe")
        os.mkfifo(pipe)
        shared = wait_for(pipe).persist()
        given_up, wanted = (door.start(add(shared, end)) for end in "?!")
        assert given_up.futures[0].cancel() is True
        with open(pipe, "w", encoding="utf-8") as writer:
            writer.write("go")
        assert wanted.futures[0].result(WAIT) == "go!"
        assert given_up.futures[0].cancelled()

    @needs("isolated")
    def test_an_isolated_attempt_that_runs_can_always_be_stopped(self, tmp_path: Path) -> None:
        ear = Ear(tmp_path / "ear")
        future = stand.options(isolated=True).delay(pipe_beside(tmp_path / "ear"))
        assert len(ear.lines(1)) == 1
        assert future.cancel(force=True) is True
        assert isinstance(_ending(future), CancelledError)
        assert add(1, 1).compute() == 2
        ear.close()

    def test_a_loop_of_python_that_runs_can_be_stopped_where_anything_can(self, tmp_path: Path) -> None:
        if not self.stops:
            pytest.skip("somebody else's pool: what runs there cannot be stopped")
        ear = Ear(tmp_path / "ear")
        future = turn.delay(str(tmp_path / "ear"))
        assert len(ear.lines(1)) == 1
        assert future.cancel(force=True) is True
        assert isinstance(_ending(future), CancelledError)
        assert add(1, 1).compute() == 2
        ear.close()


def _ending(future: Any) -> BaseException:
    with pytest.raises(BaseException) as caught:  # whichever it is, it is looked at
        future.result(WAIT)
    return caught.value
