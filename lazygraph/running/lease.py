"""A lease: tasks handed to a runner together, how many, and which of them before their inputs are there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lazygraph.running.endings import ENDED
from lazygraph.values.graph import MEMBER
from lazygraph.values.status import State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lazygraph.running.block import Block

_WAITING, _QUEUED, _LEASED = int(State.WAITING), int(State.QUEUED), int(State.LEASED)


@dataclass(frozen=True, slots=True)
class Lease:
    """Tasks of one block and one attempt, in the order to run them.

    A task may stand in it although an input has no value yet, when that input stands before it: the runner makes it.
    Or when it is `awaits`: inputs that are under way elsewhere, and by what name to wait for each.
    """

    block: Block
    tasks: list[int]
    attempt: int = 1
    awaits: Mapping[int, Any] | None = None


MOST = 256


def fitting(
    seconds_per_task: float | None, ready: int, runners: int, least: int = 1, highest: int = MOST
) -> tuple[int, int]:
    """Return how many ready tasks a lease should hold, and how many with those sent ahead.

    Enough that handing over costs little (5 ms of work, at most `highest` tasks), few enough that every runner has its
    part of what is ready (or the `least` that is worth handing over) and slow tasks are not stuck behind each other; 8
    while nothing has been measured.
    """
    wanted = 8 if seconds_per_task is None else int(0.005 / max(seconds_per_task, 1e-7))
    most = max(1, min(wanted, highest))
    fair = -(-ready // max(runners, 1))
    return max(1, min(most, max(fair, least))), most


def follow(block: Block, tasks: list[int], ready: int, most: int, attempt: int, roots_only: bool) -> int:
    """Add to a lease what comes next by rank, as long as it can be run there; return how many of it were ready.

    That are up to `ready` tasks that are ready (or `roots_only`), and those that read nothing but what stands in the
    lease and has no other reader: following these takes no parallelism from anybody.  Up to `most` tasks in all.
    """
    state, pending, bounds, inputs, starts = block.state, block.pending, block.bounds, block.inputs, block.starts
    roots, attempts = block.roots, block.attempts
    policies, option = block.policies if block.special else None, block.shape.option
    tolerant, kinds = block.tolerant, block.shape.kinds
    first = at = tasks[-1]
    last, left = min(len(state) - 1, at + most - len(tasks)), ready
    while at < last:
        at += 1
        start, end = bounds[at], bounds[at + 1]
        queued = state[at] == _QUEUED
        if queued:
            if not left or (roots_only and start < end):
                break
        elif state[at] != _WAITING:
            if not ENDED[state[at]]:
                break
            continue  # it is made, or will not be
        else:
            missing = pending[at]
            while start < end:
                read = inputs[start]
                start += 1
                if read >= first and state[read] == _LEASED:
                    if starts[read + 1] - starts[read] != 1:
                        return ready - left
                    missing -= 1
            if missing:
                break
        if tolerant or policies is not None or attempts:
            if policies is not None and policies[option[at]] is not None:
                break
            if attempts.get(at, 1) != attempt or at in block.apart:
                break
            if tolerant and MEMBER in kinds[bounds[at] : end]:
                break  # it goes on when one of them is taken back, and would not find what stands in its place
        if queued:
            left -= 1
            if roots and roots[-1] == at:
                roots.pop()
        state[at] = _LEASED
        tasks.append(at)
    return ready - left
