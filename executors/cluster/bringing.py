"""Sentences about values on their way: anybody may ask a worker for some.

Covers: the question, the answer, where in shared memory something stands.
Does not cover: how values are packed (net.parcels), segments (net.segments).
"""

from __future__ import annotations

import msgspec

from lazygraph.executors.cluster.wire import Message


class Get(Message, tag=50, frozen=True):
    """Give me these values; large ones in shared memory, if `host` is where you are too (net.segments).

    What you have asked for yourself on an earlier `turn`, and is on its way, is waited for.
    """

    question: int
    block: int
    entries: bytes
    host: str = ""
    turn: int = 0


class Place(Message, frozen=True):
    """Where a value stands in shared memory: a descriptor of a process, which file that must be, and its stamp."""

    pid: int
    descriptor: int
    device: int
    inode: int
    length: int
    stamp: bytes


class Values(Message, tag=51, frozen=True):
    """The answer: `lengths[i]` bytes of the body for each entry (net.parcels), or a number below 0 instead.

    -1: not here; -2: cannot be pickled (the next of `problems` says why); -3: in the next of `places`.
    """

    question: int
    lengths: list[int]
    problems: list[str]
    places: list[Place] = msgspec.field(default_factory=list)


class Put(Message, tag=52, frozen=True):
    """Client to worker: keep this value until the scheduler says what it is.  Body: its parcel, if it has no `place`.

    Answered by `Values`: 1 for its length, or -1 where that place cannot be had: it is to be sent.
    """

    question: int
    name: str
    place: Place | None = None


class Own(Message, tag=53, frozen=True):
    """Scheduler to worker: values that a client has put there are these of a block."""

    block: int
    entries: bytes
    names: list[str]


class Bring(Message, tag=54, frozen=True):
    """Scheduler to worker: fetch these values from the worker at `address`, for whatever will read them."""

    address: str
    block: int
    entries: bytes
    turn: int
