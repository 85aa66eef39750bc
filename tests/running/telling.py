"""What the tests of the Frontier by example say to it: small plans, and short words for long calls."""

from __future__ import annotations

from lazygraph.running.block import Block
from lazygraph.running.frontier import Frontier
from lazygraph.values.graph import Shape
from tests.running.shapes import shape_of

ONE = shape_of([[]], outputs=[0])
CHAIN = shape_of([[], [0], [1]], outputs=[2])
DIAMOND = shape_of([[], [0], [0], [1, 2]], outputs=[3])
PAIR = shape_of([[], []], outputs=[0, 1])
ON_TOP = shape_of([[], [0]], outputs=[1], externals=1)


def admitted(frontier: Frontier, shape: Shape, bindings: list[tuple[Block, int]] | None = None) -> Block:
    """Admit a plan that is not fail-fast and has nothing to say at once."""
    block, actions = frontier.admit(shape, bindings or [], False)
    assert actions == []
    return block


def leased(frontier: Frontier, limit: int = 1, most: int = 0) -> list[int]:
    """Lease, and return the tasks."""
    lease = frontier.lease(limit, most=most)
    return lease.tasks if lease else []


def states(block: Block) -> list[str]:
    """Return the states as words."""
    return [state.name for state in block.states()]


def replaced(frontier: Frontier, block: Block, task: int, shape: Shape, attempt: int = 1) -> Block:
    """Let a task become a plan that has nothing to say at once."""
    new, actions = frontier.replaced(block, task, attempt, shape)
    assert new is not None
    assert actions == []
    return new
