"""Limits of attempts that wait for other work: others have their place meanwhile, and no more ever run than may."""

from __future__ import annotations

import pytest

from lazygraph.running.block import Block
from lazygraph.running.events import Failed, Started
from lazygraph.running.frontier import Frontier
from lazygraph.running.lease import Lease
from lazygraph.values.options import Limit, TaskOptions
from tests.running.shapes import shape_of
from tests.running.telling import admitted

ONE = TaskOptions(limit=Limit("one", concurrency=1))


@pytest.fixture
def frontier() -> Frontier:
    return Frontier()


@pytest.fixture
def block(frontier: Frontier) -> Block:
    """Three tasks, one at a time, of which the first runs."""
    block = admitted(frontier, shape_of([[]] * 3, outputs=range(3), said=dict.fromkeys(range(3), ONE)))
    assert frontier.lease(8) == Lease(block, [0])
    frontier.handle(Started(block, 0, 1), 0.0)
    assert frontier.lease(8) is None
    return block


def test_while_one_waits_another_has_its_place(frontier: Frontier, block: Block) -> None:
    frontier.waits(block.base, 0, 1)
    assert frontier.lease(8) == Lease(block, [1])
    assert frontier.lease(8) is None


def test_it_goes_on_when_that_one_has_ended_and_before_anybody_new(frontier: Frontier, block: Block) -> None:
    frontier.waits(block.base, 0, 1)
    assert frontier.lease(8) == Lease(block, [1])
    assert not frontier.goes_on(block.base, 0, 1)
    frontier.succeeded(block, [1])
    assert frontier.lease(8) is None
    assert frontier.goes_on(block.base, 0, 1)
    assert frontier.lease(8) is None
    frontier.succeeded(block, [0])
    assert frontier.lease(8) == Lease(block, [2])


def test_one_that_waits_alone_goes_on_at_once(frontier: Frontier) -> None:
    alone = admitted(frontier, shape_of([[]], outputs=[0], said={0: ONE}))
    assert frontier.lease(8) == Lease(alone, [0])
    frontier.handle(Started(alone, 0, 1), 0.0)
    for _ in range(3):
        frontier.waits(alone.base, 0, 1)
        assert frontier.goes_on(alone.base, 0, 1)
    frontier.succeeded(alone, [0])
    assert all(limit.idle(0.0) for _, limit in frontier._limits.values())


@pytest.mark.parametrize("returning", [False, True])
def test_one_that_ends_while_it_waits_takes_no_place_along(frontier: Frontier, block: Block, returning: bool) -> None:
    frontier.waits(block.base, 0, 1)
    if returning:
        assert frontier.lease(8) == Lease(block, [1])
        assert not frontier.goes_on(block.base, 0, 1)
        frontier.succeeded(block, [1])
    frontier.handle(Failed(block, 0, 1), 0.0)
    assert frontier.goes_on(block.base, 0, 1)
    left = [1, 2][returning:]
    for task in left:
        assert frontier.lease(8) == Lease(block, [task])
        frontier.succeeded(block, [task])
    assert all(limit.idle(0.0) and limit.free(0.0) == 1 for _, limit in frontier._limits.values())
