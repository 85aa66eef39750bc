"""What every executor must do about retries."""

from __future__ import annotations

from concurrent.futures import CancelledError
from typing import TYPE_CHECKING

import pytest

from lazygraph.language.composing import chord, group
from lazygraph.testing.conformance import timed
from lazygraph.testing.conformance.needs import needs
from lazygraph.testing.conformance.tasks import Lasting, add, divide, give, say, total
from lazygraph.testing.conformance.timed import SLIGHTLY, ask_again, fail_first, names, noted, tried_again_in
from lazygraph.values.options import RetryPolicy
from lazygraph.values.status import Status

if TYPE_CHECKING:
    from pathlib import Path

    from lazygraph.testing.conformance.canvases_failing import Ear

WAIT = 30


class RetryCases:
    """Part of `option_suite.OptionCases`."""

    @needs("retries")
    def test_a_task_is_tried_again_until_it_succeeds(self, tmp_path: Path) -> None:
        path = str(tmp_path / "notes")
        assert add(fail_first.options(retries=3)(path, 2, 40), 2).compute() == 42
        assert len(noted(path)) == 3

    @needs("retries")
    def test_when_retries_are_used_up_the_original_exception_is_raised(self, tmp_path: Path) -> None:
        path = str(tmp_path / "notes")
        with pytest.raises(Lasting) as caught:
            fail_first.options(retries=2)(path, 100).compute()
        assert caught.value.code == 3
        assert "attempt 3" in "\n".join(caught.value.__notes__)
        assert len(noted(path)) == 3

    @pytest.mark.parametrize(
        ("policy", "attempts"),
        [
            (RetryPolicy(2, on=(KeyError,)), 1),
            (RetryPolicy(2, on=(ValueError,)), 3),
            (RetryPolicy(2, not_on=(Lasting,)), 1),
            (RetryPolicy(2, on=(KeyError, Lasting), not_on=(KeyError,)), 3),
        ],
        ids=["on another", "on its base", "not on it", "on it, not on another"],
    )
    @needs("retries")
    def test_what_the_policy_does_not_match_fails_at_once(
        self, policy: RetryPolicy, attempts: int, tmp_path: Path
    ) -> None:
        path = str(tmp_path / "notes")
        with pytest.raises(Lasting):
            fail_first.options(retries=policy)(path, 100).compute()
        assert len(noted(path)) == attempts

    def test_nothing_is_tried_again_unless_somebody_says_so(self, tmp_path: Path) -> None:
        path = str(tmp_path / "notes")
        with pytest.raises(Lasting):
            fail_first(path, 1).compute()
        assert len(noted(path)) == 1

    @needs("retries")
    def test_a_retry_waits_for_its_delay(self, tmp_path: Path) -> None:
        path = str(tmp_path / "notes")
        policy = RetryPolicy(2, delay=0.05, backoff=2.0)
        assert fail_first.options(retries=policy)(path, 2, 1).compute() == 1
        first, second, third = noted(path)
        assert second.began - first.ended >= 0.05 - SLIGHTLY
        assert third.began - second.ended >= 0.1 - SLIGHTLY

    @needs("bind", "retries")
    def test_a_task_can_ask_for_another_attempt(self, tmp_path: Path) -> None:
        path = str(tmp_path / "notes")
        future = ask_again.options(retries=3).delay(path, 2, 0.02)
        attempt, key, run = future.get(timeout=WAIT)
        assert (attempt, key, run) == (3, future.key, future.run_id)
        assert names(path) == ["attempt-1", "attempt-2", "attempt-3"]
        first, second, third = noted(path)
        assert second.began - first.ended >= 0.02 - SLIGHTLY
        assert third.began - second.ended >= 0.02 - SLIGHTLY

    @needs("bind")
    def test_asking_too_often_raises_what_was_said(self, tmp_path: Path) -> None:
        with pytest.raises(Lasting) as caught:
            ask_again(str(tmp_path / "notes"), 100, 0.0).compute()
        assert caught.value.code == 4  # without a policy there are three retries

    @needs("retries")
    def test_a_member_that_is_tried_again_fires_the_body_once(self, tmp_path: Path, ear: Ear) -> None:
        members = [give.s(1), fail_first.s(str(tmp_path / "notes"), 2, 10).set(retries=2), give.s(100)]
        assert (chord(members, total.s()) | give.s()).link(say.s(ear.path)).delay().get(WAIT) == 111
        assert ear.lines(1) == ["111"]

    @needs("retries")
    def test_others_end_well_beside_one_that_is_tried_again(self, tmp_path: Path) -> None:
        path, others = str(tmp_path / "notes"), str(tmp_path / "others")
        waiting = fail_first.options(retries=tried_again_in(0.2))(path, 1)
        done = [timed.note(others, f"other-{n}", n) for n in range(3)]
        assert give([waiting, *done]).compute()[0] == "done"
        assert len(noted(path)) == 2
        assert noted(path)[1].began - noted(path)[0].ended >= 0.2 - SLIGHTLY
        assert len(noted(others)) == 3

    @needs("retries")
    def test_handlers_wait_for_the_last_attempt(self, tmp_path: Path, ear: Ear) -> None:
        failing = fail_first.s(str(tmp_path / "notes"), 100).set(retries=1).link_error(say.s(ear.path))
        with pytest.raises(Lasting):
            failing.delay().get(WAIT)
        [said] = ear.lines(1)
        assert "attempt=2" in said or "Lasting(2" in said

    @needs("retries")
    def test_what_is_below_waits_and_ends_with_the_last_attempt(self, tmp_path: Path) -> None:
        bad = divide.s(1, 0).set(retries=2)
        future = (bad | add.s(1)).delay()
        assert isinstance(future.exception(WAIT), ZeroDivisionError)
        assert [future.status, future.parent.status] == [Status.UPSTREAM_FAILED, Status.FAILED]
        assert future.cause == future.parent.key


class AsynchronousRetryCases:
    """What can be seen of retries where `submit` returns before the run has ended."""

    @needs("retries")
    def test_a_retry_that_waits_holds_no_slot_and_can_be_cancelled(self, tmp_path: Path, ear: Ear) -> None:
        policy = tried_again_in(3600.0)
        waiting = group(fail_first.s(str(tmp_path / f"notes-{n}"), 100).set(retries=policy) for n in range(8)).delay()
        assert total([add(n, 0) for n in range(100)]).compute() == sum(range(100))
        give.s("behind").link(say.s(ear.path)).delay()
        assert ear.lines(1) == ["'behind'"]
        assert not any(future.done() for future in waiting)
        for future in waiting:  # the first attempt of one may still be failing: then the next answer is another
            assert any(future.cancel() or add(0, 0).compute() for _ in range(1000))
            with pytest.raises(CancelledError):
                future.result(WAIT)
        assert {future.status for future in waiting} == {Status.CANCELLED}
