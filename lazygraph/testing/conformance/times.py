"""What every executor must do about times: earliest and latest starts, timeouts, processes of their own."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from lazygraph.errors import TaskExpired, TaskTimeout
from lazygraph.language.composing import group
from lazygraph.testing.conformance import timed
from lazygraph.testing.conformance.needs import needs
from lazygraph.testing.conformance.tasks import add, divide, give, say_failure
from lazygraph.testing.conformance.timed import SLIGHTLY, moment, noted, pipe_beside, stand, wall, where
from lazygraph.values.status import Status

if TYPE_CHECKING:
    from pathlib import Path

    from lazygraph.testing.conformance.canvases_failing import Ear

WAIT = 30
MOMENT = 0.05
"""Seconds that something is to wait for; small, and only ever a lower bound."""
LONG = 3600.0
"""Seconds that nobody waits for."""


class TimeCases:
    """Part of `option_suite.OptionCases`."""

    @needs("countdown")
    def test_a_nodes_countdown_begins_when_its_inputs_are_there(self, tmp_path: Path) -> None:
        path = str(tmp_path / "notes")
        before = timed.last_a_moment(path, "before")
        assert timed.note.options(countdown=MOMENT)(path, "after", before).compute() == "after"
        first, second = noted(path)
        assert second.began - first.ended >= MOMENT - SLIGHTLY

    @needs("countdown")
    def test_the_countdown_of_a_call_holds_back_its_first_nodes_only(self, tmp_path: Path) -> None:
        path, began = str(tmp_path / "notes"), moment()
        canvas = timed.note.s(path, "first") | timed.note.si(path, "second")
        assert canvas.apply_async(countdown=MOMENT).get(WAIT) == "second"
        first, _ = noted(path)
        assert first.began - began >= MOMENT - SLIGHTLY

    @needs("eta")
    def test_nothing_starts_before_its_eta(self, tmp_path: Path) -> None:
        path, began = str(tmp_path / "notes"), moment()
        eta = wall() + timedelta(seconds=2 * MOMENT)
        assert timed.note.options(eta=eta)(path, "then").compute() == "then"
        [note] = noted(path)
        assert note.began - began >= MOMENT - SLIGHTLY
        assert timed.note.options(eta=eta)(path, "at once").compute() == "at once"

    @needs("expires")
    def test_what_starts_in_time_does_not_expire(self) -> None:
        assert add.options(expires=LONG)(1, 1).compute() == 2
        assert add.options(expires=wall() + timedelta(hours=1))(1, 1).compute() == 2

    @needs("expires", "countdown")
    def test_what_has_not_started_when_it_expires_never_does(self, tmp_path: Path) -> None:
        path = str(tmp_path / "notes")
        future = (timed.note.s(path, "late").set(countdown=LONG, expires=MOMENT) | give.s()).delay()
        error = future.exception(WAIT)
        assert isinstance(error, TaskExpired)
        assert isinstance(error, TimeoutError)
        assert [future.status, future.parent.status] == [Status.UPSTREAM_FAILED, Status.EXPIRED]
        assert future.cause == future.parent.key
        assert noted(path) == []

    @needs("expires", "countdown")
    def test_expiry_is_told_to_the_handler(self, ear: Ear) -> None:
        late = give.s(1).set(countdown=LONG, expires=MOMENT).link_error(say_failure.s(ear.path))
        assert isinstance(late.delay().exception(WAIT), TaskExpired)
        assert "TaskExpired" in ear.lines(1)[0]

    @needs("expires", "countdown")
    def test_siblings_of_what_expires_run_on(self) -> None:
        members = group(give.s(1).set(countdown=LONG, expires=MOMENT), add.s(1, 1)).delay()
        assert members[1].get(WAIT) == 2
        assert isinstance(members[0].exception(WAIT), TaskExpired)

    @needs("timeout")
    def test_what_takes_too_long_is_killed(self, tmp_path: Path) -> None:
        path = pipe_beside(tmp_path / "stands")
        future = stand.options(timeout=0.5).delay(path)
        error = future.exception(WAIT)
        assert isinstance(error, TaskTimeout)
        assert isinstance(error, TimeoutError)
        assert "stand" in str(error)
        assert future.status == Status.FAILED
        assert add(1, 1).compute() == 2

    @needs("timeout", "retries")
    def test_a_timeout_is_a_reason_to_try_again(self, tmp_path: Path) -> None:
        path = pipe_beside(tmp_path / "stands")
        with pytest.raises(TaskTimeout) as caught:
            stand.options(timeout=0.5, retries=1)(path).compute()
        assert "attempt 2" in "\n".join(caught.value.__notes__)

    @needs("timeout")
    def test_what_is_in_time_is_as_without_a_timeout(self) -> None:
        assert add(add.options(timeout=WAIT)(1, 2), 3).compute() == 6
        with pytest.raises(ZeroDivisionError):
            divide.options(timeout=WAIT)(1, 0).compute()

    @needs("isolated")
    def test_an_isolated_task_has_a_process_of_its_own(self) -> None:
        other = where.options(isolated=True)().compute()
        assert other != os.getpid()
        assert add.options(isolated=True)(add(1, 2), 3).compute() == 6
