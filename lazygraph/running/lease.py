"""A lease: tasks handed to a runner together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lazygraph.running.block import Block


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


def fitting(seconds_per_task: float | None, ready: int, runners: int) -> tuple[int, int]:
    """Return how many ready tasks a lease should hold, and how many with those sent ahead.

    Enough that handing over costs little (5 ms of work, at most 256 tasks), few enough that every runner has its part
    of what is ready and slow tasks are not stuck behind each other; 8 while nothing has been measured.
    """
    wanted = 8 if seconds_per_task is None else int(0.005 / max(seconds_per_task, 1e-7))
    most = max(1, min(wanted, MOST))
    fair = -(-ready // max(runners, 1))
    return max(1, min(most, fair)), most
