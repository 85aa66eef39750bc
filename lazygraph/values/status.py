"""The states of a node, and which may follow which.

Covers: the public words, the finer internal numbers, the one table of moves.
Does not cover: who moves a node (running.frontier).
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Status(StrEnum):
    """What `future.status` says."""

    WAITING = "waiting"  # for its inputs
    SCHEDULED = "scheduled"  # for a time: countdown, eta, rate
    QUEUED = "queued"  # for a slot on a worker
    RUNNING = "running"
    RETRYING = "retrying"  # for the delay before the next attempt
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    UPSTREAM_FAILED = "upstream_failed"
    LOST = "lost"
    SKIPPED = "skipped"

    @property
    def celery(self) -> str:
        """The word Celery has for it."""
        return _CELERY.get(self, "PENDING")


_CELERY = {
    Status.RUNNING: "STARTED",
    Status.RETRYING: "RETRY",
    Status.SUCCEEDED: "SUCCESS",
    Status.FAILED: "FAILURE",
    Status.UPSTREAM_FAILED: "FAILURE",
    Status.LOST: "FAILURE",
    Status.CANCELLED: "REVOKED",
    Status.EXPIRED: "REVOKED",
    Status.SKIPPED: "IGNORED",
}


class State(IntEnum):
    """What the Frontier stores, one byte a node: Status, with two distinctions only the mind needs."""

    WAITING = 0
    SCHEDULED = 1
    QUEUED = 2
    LEASED = 3  # handed to a runner, not known to have started: can be taken back
    RUNNING = 4
    RETRYING = 5
    SUCCEEDED = 6
    RELEASED = 7  # succeeded, and its value has been freed because nobody claims it
    FAILED = 8
    CANCELLED = 9
    EXPIRED = 10
    UPSTREAM_FAILED = 11
    LOST = 12
    SKIPPED = 13

    @property
    def status(self) -> Status:
        """The public word."""
        return _PUBLIC[self]


_PUBLIC = {state: Status[state.name] for state in State if state not in (State.LEASED, State.RELEASED)} | {
    State.LEASED: Status.QUEUED,
    State.RELEASED: Status.SUCCEEDED,
}

_ENDINGS = frozenset({State.CANCELLED, State.EXPIRED, State.UPSTREAM_FAILED, State.SKIPPED})

MOVES: Mapping[State, frozenset[State]] = {
    State.WAITING: frozenset({State.SCHEDULED, State.QUEUED, State.LEASED, State.SUCCEEDED, State.FAILED}) | _ENDINGS,
    State.SCHEDULED: frozenset({State.QUEUED, State.WAITING}) | _ENDINGS,
    State.QUEUED: frozenset({State.LEASED, State.WAITING, State.SCHEDULED}) | _ENDINGS,
    State.LEASED: frozenset(
        {State.RUNNING, State.SUCCEEDED, State.FAILED, State.RETRYING, State.QUEUED, State.WAITING, State.LOST}
    )
    | _ENDINGS,
    State.RUNNING: frozenset(
        {State.SUCCEEDED, State.FAILED, State.RETRYING, State.QUEUED, State.WAITING, State.CANCELLED, State.LOST}
    )
    | {State.UPSTREAM_FAILED, State.SKIPPED},
    State.RETRYING: frozenset({State.QUEUED, State.WAITING}) | _ENDINGS,
    State.SUCCEEDED: frozenset({State.RELEASED, State.WAITING, State.LOST}),
    State.RELEASED: frozenset({State.WAITING, State.SUCCEEDED, State.LOST}),
    State.FAILED: frozenset(),
    State.CANCELLED: frozenset(),
    State.EXPIRED: frozenset(),
    State.UPSTREAM_FAILED: frozenset(),
    State.LOST: frozenset(),
    State.SKIPPED: frozenset(),
}
"""Every move there is.  WAITING -> SUCCEEDED is an external whose value arrives; WAITING -> LEASED is a task sent ahead
with its inputs, or one whose replacement has ended well; WAITING -> FAILED is one whose replacement has failed;
SUCCEEDED and RELEASED -> WAITING is a lost value computed again."""

UNHAPPY = frozenset(
    {State.FAILED, State.CANCELLED, State.EXPIRED, State.UPSTREAM_FAILED, State.LOST, State.SKIPPED},
)
TERMINAL = UNHAPPY | {State.SUCCEEDED, State.RELEASED}


def can_move(target: State) -> bytes:
    """Return a table: entry s is 1 when a node in state s may move to `target` (the hot path reads bytes)."""
    return bytes(int(target in MOVES[state]) for state in State)


def in_states(states: frozenset[State]) -> bytes:
    """Return a table: entry s is 1 when s is one of `states`."""
    return bytes(int(state in states) for state in State)
