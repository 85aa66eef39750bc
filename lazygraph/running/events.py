"""What the Frontier is told when something rare happens, and what it answers.

What happens to every task goes through `Frontier.lease` and `Frontier.succeeded` instead, in lists of numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lazygraph.running.block import Block
    from lazygraph.values.status import State


@dataclass(frozen=True, slots=True)
class Failed:
    """An attempt ended with an exception.

    `above`: it was raised in a node above this one that runs as one task with it.  `retry`: the exception is one of
    those that its policy tries again, or (`asked`) the task wants to be; it may then say after how many seconds, and
    how often at most.  `stopped`: it was made to leave, because nobody wants it any more.
    """

    block: Block
    task: int
    attempt: int
    above: bool = False
    retry: bool = False
    asked: bool = False
    countdown: float | None = None
    max_retries: int | None = None
    stopped: bool = False


@dataclass(frozen=True, slots=True)
class Started:
    """A leased task is known to be running: it cannot be taken back."""

    block: Block
    task: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Returned:
    """A runner gives tasks back that it has not started."""

    block: Block
    tasks: Sequence[int]
    attempt: int


@dataclass(frozen=True, slots=True)
class RunnerLost:
    """A runner is dead: what it was doing is to be done again, by another attempt.

    `leased` are its unreported tasks; `suspects` those of them that it was surely or probably running.  `apart`: from
    now on none of them shares a lease, so that the next such end is blamed on the right one.
    """

    leased: Sequence[tuple[Block, Sequence[int]]]
    suspects: Sequence[tuple[Block, int]] = ()
    apart: bool = False


@dataclass(frozen=True, slots=True)
class ValuesLost:
    """Values that nobody holds any more."""

    values: Sequence[tuple[Block, Sequence[int]]]


@dataclass(frozen=True, slots=True)
class Delivered:
    """Outputs whose values their owner now has: losing them later loses nothing."""

    block: Block
    tasks: Sequence[int]


@dataclass(frozen=True, slots=True)
class Wanted:
    """An owner asks again for a value that was delivered or freed: it is computed again if it is gone."""

    block: Block
    task: int


@dataclass(frozen=True, slots=True)
class Dropped:
    """Futures that nobody holds any more withdraw their claims."""

    block: Block
    tasks: Sequence[int]


@dataclass(frozen=True, slots=True)
class CancelTask:
    """Somebody wants one task, and what is below it, not to run."""

    block: Block
    task: int


@dataclass(frozen=True, slots=True)
class CancelRun:
    """Somebody wants nothing more of a run."""

    block: Block


Event = Failed | Started | Returned | RunnerLost | ValuesLost | Delivered | Wanted | Dropped | CancelTask | CancelRun


@dataclass(frozen=True, slots=True)
class Settled:
    """Claimed outputs have come to an end that is not success (or, of other blocks, to success)."""

    block: Block
    tasks: list[int]
    state: State


@dataclass(frozen=True, slots=True)
class Freed:
    """Values that nobody claims: forget them."""

    block: Block
    tasks: list[int]


@dataclass(frozen=True, slots=True)
class Recall:
    """Leased tasks that need not run: take them back if they have not started."""

    block: Block
    tasks: list[int]


@dataclass(frozen=True, slots=True)
class Poisoned:
    """A task was running on `times` runners when each of them died, and is not to run again; it has failed."""

    block: Block
    task: int
    times: int


@dataclass(frozen=True, slots=True)
class Retried:
    """An attempt has failed, and another will be made after `delay` seconds."""

    block: Block
    task: int
    attempt: int
    delay: float


@dataclass(frozen=True, slots=True)
class Ended:
    """A run has ended and nobody claims anything of it: forget it whole."""

    block: Block


@dataclass(frozen=True, slots=True)
class Caught:
    """A scope has failed: its external `entry` is the `Failure` that happened at `cause`.

    `member`: `entry` is a task that has ended without a value, and somebody goes on with a `Missed` in its place.
    """

    block: Block
    entry: int
    cause: tuple[int, int]
    member: bool = False


@dataclass(frozen=True, slots=True)
class Adopted:
    """What stands for a task has ended well: take the value of `entry` of `owner` for the task's own.

    The task counts as handed out until `succeeded` says that this has been done.
    """

    block: Block
    task: int
    attempt: int
    owner: Block
    entry: int


Action = Settled | Freed | Recall | Poisoned | Retried | Caught | Adopted | Ended


@dataclass(slots=True)
class Progress:
    """What a batch of successes led to, in the block they belong to; `actions` is for what touches others.

    `late` are those that nobody waits for any more: they ended otherwise, or belong to an attempt that is over.
    """

    outputs: list[int] = field(default_factory=list)
    freed: list[int] = field(default_factory=list)
    late: list[int] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)
