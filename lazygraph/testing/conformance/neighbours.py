"""What every executor must do with tasks that it hands out together: none waits for the end of another.

Covers: what is told of a task while another of its lease runs, what stands behind one that runs.
Does not cover: which tasks share a lease (running.frontier, running.lease).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

import lazygraph.door as door
from lazygraph.running.completing import as_completed
from lazygraph.testing.conformance.tasks import add, give, marked, marks, wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from lazygraph.running.run import Run


class NeighbourCases:
    """Part of `suite.AsynchronousSuite`.  With two slots each lease here has tasks of either kind."""

    tells_early = False
    """Whether it is known that a task has ended before the call is over that runs it with others."""

    @pytest.fixture
    def _two_pipes(self, tmp_path: Path) -> list[str]:
        if not self.tells_early:
            pytest.skip("a call of somebody else's: what has ended in it is known when it is over")
        pipes = [str(tmp_path / "one"), str(tmp_path / "two")]
        for pipe in pipes:
            os.mkfifo(pipe)
        return pipes

    def test_what_has_ended_is_known_while_its_neighbour_runs(self, _two_pipes: list[str]) -> None:
        one, two = _two_pipes
        run = door.start(give(1), wait_for(one), give(2), wait_for(two))
        assert [run.futures[at].result(30) for at in (0, 2)] == [1, 2]
        assert not run.futures[1].done()
        _let_go(_two_pipes)
        assert run.result(30) == (1, "go", 2, "go")

    def test_what_has_ended_can_be_used_while_its_neighbour_runs(self, _two_pipes: list[str]) -> None:
        one, two = _two_pipes
        run = door.start(give(1), wait_for(one), give(2), wait_for(two), fail_fast=False)
        ended = run.futures[0]
        first = next(iter(as_completed([ended], timeout=30)))
        assert first is ended
        later = add.delay(ended, 1)
        _let_go([one])
        assert later.result(30) == 2
        assert run.futures[1].result(30) == "go"
        _let_go([two])
        assert run.result(30) == (1, "go", 2, "go")

    def test_what_stands_behind_one_that_runs_goes_to_a_free_slot(self, _two_pipes: list[str]) -> None:
        one, _ = _two_pipes
        run = door.start(wait_for(one), *[give(number) for number in range(7)])
        assert [future.result(30) for future in run.futures[1:]] == list(range(7))
        assert not run.futures[0].done()
        _let_go([one])
        assert run.futures[0].result(30) == "go"

    def test_what_stands_behind_one_that_runs_can_be_cancelled(self, _two_pipes: list[str], tmp_path: Path) -> None:
        folder = tmp_path / "marks"
        folder.mkdir()
        one, two = _two_pipes
        run = door.start(
            give(1),
            wait_for(one),
            *[marked(str(folder), at) for at in range(3)],
            give(2),
            wait_for(two),
            *[marked(str(folder), at) for at in range(3, 6)],
            fail_fast=False,
        )
        assert [run.futures[at].result(30) for at in (0, 5)] == [1, 2]
        assert all(run.futures[at].cancel() for at in (2, 3, 4, 9, 8, 7))
        _let_go(_two_pipes)
        assert [run.futures[at].result(30) for at in (1, 6)] == ["go", "go"]
        assert marks(folder) == 0
        assert all(_ended(run))


def _let_go(pipes: list[str]) -> None:
    for pipe in pipes:
        with open(pipe, "w", encoding="utf-8") as writer:
            writer.write("go")


def _ended(run: Run) -> list[bool]:
    return [future.done() for future in run.futures]
