"""Limits that nobody names any more are forgotten, and no others: what counts goes on counting."""

from __future__ import annotations

import pytest

from lazygraph.running.block import Block
from lazygraph.running.events import Dropped, Started
from lazygraph.running.frontier import Frontier
from lazygraph.running.lease import Lease
from lazygraph.running.timing import FEW_LIMITS
from lazygraph.values.options import TaskOptions
from tests.running.shapes import shape_of
from tests.running.telling import admitted


@pytest.fixture
def frontier() -> Frontier:
    return Frontier()


def started(frontier: Frontier, row: TaskOptions, now: float) -> Block:
    """A task of a plan of its own that has begun."""
    block = admitted(frontier, shape_of([[]], outputs=[0], said={0: row}))
    assert frontier.lease(1) == Lease(block, [0])
    assert frontier.handle(Started(block, 0, 1), now) == []
    return block


def done(frontier: Frontier, row: TaskOptions, now: float) -> None:
    """A task that has begun and ended, and that nobody claims any more."""
    block = started(frontier, row, now)
    frontier.succeeded(block, [0], 1, now)
    frontier.handle(Dropped(block, [0]), now)


def many(frontier: Frontier, now: float, count: int = 2 * FEW_LIMITS) -> None:
    """So many limits of one task each, for an instant."""
    for at in range(count):
        done(frontier, TaskOptions(concurrency=1, limited_as=f"f{at} at {now}"), now)


def limits(frontier: Frontier) -> set[str]:
    return {key[1] for key in frontier._limits}


def test_those_that_nobody_uses_are_few(frontier: Frontier) -> None:
    many(frontier, 0.0, 10 * FEW_LIMITS)
    assert len(frontier._limits) <= FEW_LIMITS
    assert len(frontier._lines) <= FEW_LIMITS


def test_a_window_is_remembered_until_it_is_over(frontier: Frontier) -> None:
    row = TaskOptions(rate_limit="1/m", limited_as="slow")
    done(frontier, row, 0.0)
    many(frontier, 30.0)
    assert "slow" in limits(frontier)
    block = admitted(frontier, shape_of([[]], outputs=[0], said={0: row}))
    frontier.tick(30.0)
    assert frontier.lease(1) is None
    frontier.tick(60.0)
    assert frontier.lease(1) == Lease(block, [0])
    frontier.handle(Started(block, 0, 1), 60.0)
    frontier.succeeded(block, [0], 1, 60.0)
    frontier.handle(Dropped(block, [0]), 60.0)
    many(frontier, 120.0)
    assert "slow" not in limits(frontier)


def test_who_runs_and_who_waits_keep_their_limit(frontier: Frontier) -> None:
    row = TaskOptions(concurrency=1, limited_as="one")
    first = started(frontier, row, 0.0)
    second = admitted(frontier, shape_of([[]], outputs=[0], said={0: row}))
    assert frontier.lease(1) is None
    many(frontier, 0.0)
    frontier.succeeded(first, [0])
    assert frontier.lease(1) == Lease(second, [0])
