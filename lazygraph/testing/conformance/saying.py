"""What is known of a task while it runs: that it does, who runs it, how far it is."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import lazygraph.door as door
from lazygraph.language.delayed import delayed
from lazygraph.testing.conformance import tasks
from lazygraph.values.status import Status

if TYPE_CHECKING:
    from lazygraph.running.run import Run

WAIT = 30


@delayed(bind=True)
def half_way(self: Any, pipe: str) -> str:
    """Say how far it is, wait for a word, say that it is done."""
    self.progress(1, 2)
    word = Path(pipe).read_text(encoding="utf-8")
    self.progress(2, 2)
    return word


@delayed(bind=True)
def counted(self: Any, count: int) -> int:
    """Count, and say so each time."""
    for number in range(count):
        self.progress(number + 1)
    return count


@delayed(bind=True)
def say_nonsense(self: Any) -> None:
    """Say something that is no number."""
    self.progress("half")


@delayed(bind=True)
def fail_by_name(self: Any) -> None:
    """Raise who it is that runs this."""
    raise tasks.Lasting(1, self.request.worker)


class Noticed(dict[str, Any]):
    """What tasks of a run have said; one can wait for it."""

    def __init__(self, run: Run) -> None:
        super().__init__(run.told)
        self._more = threading.Condition()
        run.told = self

    def __setitem__(self, key: str, said: Any) -> None:
        with self._more:
            super().__setitem__(key, said)
            self._more.notify_all()

    def wait(self, count: int) -> None:
        """Return when so many tasks have said something."""
        with self._more:
            assert self._more.wait_for(lambda: len(self) >= count, WAIT), f"only {dict(self)} was said"


class SayingCases:
    """Part of `suite.AsynchronousSuite`."""

    says = False
    """Whether it is known how far a task is while it runs."""
    at_once = 0
    """How many leases run at once, if that is known."""

    def test_it_is_known_how_far_a_task_is(self, tmp_path: Path) -> None:
        self._only_where_it_is_said()
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        run = door.start(half_way(str(pipe)))
        told, future = Noticed(run), run.futures[0]
        told.wait(1)
        assert run.told == {future.key: (1, 2)}
        assert future.status is Status.RUNNING
        pipe.write_text("go", encoding="utf-8")
        assert future.result(WAIT) == "go"
        assert run.told == {future.key: (2, 2)}

    def test_what_has_not_begun_does_not_run(self, tmp_path: Path) -> None:
        self._only_where_it_is_said()
        if not self.at_once:
            pytest.skip("it is not known how many run at once")
        pipes = [tmp_path / str(n) for n in range(2 * self.at_once)]
        for pipe in pipes:
            os.mkfifo(pipe)
        run = door.start(*(half_way(str(pipe)) for pipe in pipes))
        Noticed(run).wait(self.at_once)
        states = [future.status for future in run.futures]
        assert sorted(states) == [Status.QUEUED] * self.at_once + [Status.RUNNING] * self.at_once
        for pipe in pipes:
            threading.Thread(target=pipe.write_text, args=["go"], daemon=True).start()
        assert run.result(WAIT) == ("go",) * len(pipes)

    def test_a_rate_counts_starts_of_what_goes_on(self, tmp_path: Path) -> None:
        self._only_where_it_is_said()
        pipes = [tmp_path / "one", tmp_path / "other"]
        for pipe in pipes:
            os.mkfifo(pipe)
        limited = half_way.options(rate_limit="1/s")
        run = door.start([limited(str(pipe)) for pipe in pipes])
        Noticed(run).wait(2)
        for pipe in pipes:
            pipe.write_text("go", encoding="utf-8")
        assert run.result(WAIT) == (["go", "go"],)

    def test_what_was_said_last_is_known_in_the_end(self) -> None:
        self._only_where_it_is_said()
        run = door.start(counted(5), counted(0), counted(3))
        assert run.result(WAIT) == (5, 0, 3)
        five, _, three = run.futures
        assert run.told == {five.key: (5, None), three.key: (3, None)}

    def test_progress_that_is_no_number_is_the_tasks_own_error(self) -> None:
        self._only_where_it_is_said()
        with pytest.raises(ValueError, match="half"):
            say_nonsense().compute()

    def _only_where_it_is_said(self) -> None:
        if not self.says:
            pytest.skip("nothing is heard of a task before its end")

    def test_a_failure_names_who_ran_it(self) -> None:
        failure: Any = door.compute(fail_by_name(), on_error="collect")[0]
        assert failure.worker == failure.exception.detail != ""
