"""Sentences about whether workers live, and about those that leave.

Covers: signs of life, workers that are silent or full, draining, clients that may be missed for a while.
Does not cover: what is made of it (losing, draining).
"""

from __future__ import annotations

from lazygraph.executors.cluster.wire import Message


class Alive(Message, tag=80, frozen=True):
    """Worker to scheduler: I am here, and have so many bytes of memory, of at most `limit` (0: of any number).

    `managed` are those of values there, `spilled` those of values on disk.
    """

    memory: int = 0
    managed: int = 0
    spilled: int = 0
    limit: int = 0


class Full(Message, tag=98, frozen=True):
    """Worker to scheduler: my memory is full; give me nothing, and take what has not begun (or: it is so no more)."""

    yes: bool


class Beat(Message, tag=81, frozen=True):
    """Scheduler to worker: say `Alive` every so many seconds."""

    seconds: float


class Away(Message, tag=82, frozen=True):
    """Scheduler to workers and clients: who was to answer at this address will not; ask no more, and wait no longer."""

    address: str


class Drain(Message, tag=83, frozen=True):
    """Client to scheduler: have workers (by name or address) finish or hand over what they have, and leave.

    Answered by `Answer`: at once with no when one of them is not there, with yes when all have left.
    """

    question: int
    workers: list[str]


class Leaving(Message, tag=84, frozen=True):
    """Worker to scheduler: I want to leave; take what I have, and say `Leave`."""


class Leave(Message, tag=85, frozen=True):
    """Scheduler to worker: nobody needs you any more."""


class Carry(Message, tag=86, frozen=True):
    """Scheduler to worker: fetch these values from the worker at `address`, and keep them.  Answered by `Carried`."""

    address: str
    block: int
    entries: bytes


class Carried(Message, tag=87, frozen=True):
    """Worker to scheduler: these values, which another worker had, are here now."""

    block: int
    entries: bytes


class Linger(Message, tag=88, frozen=True):
    """Client to scheduler: should my connection end, let so many seconds pass before what I want is dropped.

    With 0 seconds: I leave.
    """

    seconds: float
