"""A Frontier that may only move its tasks as the table of moves says."""

from __future__ import annotations

from typing import Any

from lazygraph.running.block import Block
from lazygraph.running.frontier import Frontier
from lazygraph.values.graph import ORDER, Shape
from lazygraph.values.status import MOVES, State

_ALLOWED = {(int(before), int(after)) for before, targets in MOVES.items() for after in targets}


class CheckedStates(bytearray):
    """States that may only move as the table says, whoever moves them."""

    def __setitem__(self, at: Any, target: Any) -> None:
        if (self[at], target) not in _ALLOWED:
            raise AssertionError(f"entry {at}: {State(self[at]).name} -> {State(target).name} is not in the table")
        super().__setitem__(at, target)


def takes(block: Block, task: int, read: int) -> bool:
    """Say whether a task takes the value of what it reads."""
    return block.shape.kinds[block.bounds[task] + list(block.inputs_of(task)).index(read)] != ORDER


class CheckedFrontier(Frontier):
    """A Frontier whose blocks have checked states."""

    def _new_block(self, shape: Shape, fail_fast: bool, task_of: Block | None = None) -> Block:
        block = super()._new_block(shape, fail_fast, task_of)
        block.state = CheckedStates(block.state)
        return block
