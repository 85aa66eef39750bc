"""A Frontier that may only move its tasks as the table of moves says."""

from __future__ import annotations

from typing import Any

from lazygraph.running.block import Block
from lazygraph.running.frontier import Frontier
from lazygraph.values.graph import MEMBER, ORDER, Shape
from lazygraph.values.status import MOVES, TERMINAL, UNHAPPY, State
from tests.running.shapes import rows_of

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


def root_of(block: Block) -> Block:
    """Return the run that a block belongs to."""
    return block.within or block


def does_without(block: Block, at: int, read: int) -> bool:
    """Say whether an input is one that a task does without, because it has ended without a value."""
    return block.shape.kinds[at] == MEMBER and State(block.state[read]) in UNHAPPY


class CheckedFrontier(Frontier):
    """A Frontier whose blocks have checked states."""

    def _new_block(self, shape: Shape, fail_fast: bool, task_of: Block | None = None) -> Block:
        block = super()._new_block(shape, fail_fast, task_of)
        block.state = CheckedStates(block.state)
        return block


def has_failed(block: Block, entry: int) -> bool:
    """Whether a task has failed, or a member of it that has been fused into it."""
    own = block.causes.get(entry) == (block.base, entry)
    state = State(block.state[entry])
    return state in (State.FAILED, State.EXPIRED) or (state is State.UPSTREAM_FAILED and own)


def check_scopes(block: Block, state: list[State], caught: set[tuple[Block, int]]) -> None:
    """Failures have come where a node has failed, and nowhere else; who waits for one sleeps until then."""
    rows = {catch: row for catch, row in block.shape.catches.items() if (block, catch) not in caught}
    for catch, row in rows.items():
        assert state[catch] in (State.WAITING, State.CANCELLED)
        if state[catch] is State.WAITING:
            assert all(reader in block.dormant or state[reader] in TERMINAL for reader in block.consumers_of(catch))
            failed = [at for at in range(len(state)) if has_failed(block, at) and row in rows_of(block.shape, at)]
            assert not failed, f"{failed} of {block} have failed, and nobody was told"
        else:
            assert not block.claims[catch], f"nobody will hear of failure {catch} of {block}"
    for catch in block.shape.catches:
        if (block, catch) in caught:
            assert not block.dormant.intersection(block.consumers_of(catch))
    assert all(state[task] is State.WAITING for task in block.dormant)


def check_replaced(block: Block, state: list[State]) -> None:
    """A task that was replaced waits as long as what stands for it, or is taking its value over."""
    for task, (owner, entry) in block.replaced.items():
        assert (block, task) in owner.watchers[entry]
        if state[task] is State.WAITING:
            assert State(owner.state[entry]) not in TERMINAL, f"task {task} of {block} should have been told"
        else:
            assert state[task] in (State.LEASED, State.RUNNING)


def check_handler(block: Block, handler: int, cancelled: set[Block], blocks: list[Block]) -> None:
    """One whose failure has come has run, unless it could not or somebody has cancelled something."""
    state = State(block.state[handler])
    assert state in TERMINAL
    if state is State.CANCELLED and root_of(block) not in cancelled:
        inputs = [State(block.state[read]) for read in block.inputs_of(handler)]
        base, _ = block.causes[handler]
        if root_of(next(one for one in blocks if one.base == base)) is not root_of(block):
            return  # what it has become reads from there
        dropped = handler not in block.callbacks and not block.claims[handler]
        assert dropped or any(one in UNHAPPY for one in inputs), f"handler {handler} of {block} never ran"
