"""What the scheduler's journal records: a note for everything that a mind made anew has to be told again.

A note is an event of the Frontier, or what the scheduler has to know besides; told again in order, at the times at
which they happened, they bring a new mind to where the old one was.  That plain tasks were handed out is not noted:
whoever has them says so when he is back.

Covers: the notes, and what is to be done with them.
Does not cover: who makes them (journalling), who reads them (recovering), the file (net.journal).
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from lazygraph.executors.cluster.messages import ShapeOnWire, TablesOnWire


class Entry(msgspec.Struct, array_like=True, frozen=True, gc=False, tag_field="kind"):
    """The base of all notes."""


class Peer(Entry, tag=1, frozen=True):
    """A worker has joined, or takes other queues than before; or a client, which has neither name nor address."""

    peer: int
    ident: str
    name: str = ""
    address: str = ""
    threads: int = 0
    queues: list[str] = msgspec.field(default_factory=list)
    resources: dict[str, float] = msgspec.field(default_factory=dict)


class Admitted(Entry, tag=2, frozen=True):
    """A run, or what stands for a task (`within`: block, task, attempt) in one.  Body: its tables.

    `bindings` are (block, entry), (-1, -1) for nothing, none at all for held values, whose `sizes` are known.
    """

    base: int
    client: int
    run: int
    label: str
    run_id: str
    shape: ShapeOnWire
    outputs: bytes
    tables: TablesOnWire
    bindings: list[tuple[int, int]]
    fail_fast: bool
    skips: bool
    inside: int
    observed: bool
    findable: bool  # by its label and its name
    keys: list[str] | None = None
    attached: int = -1
    within: tuple[int, int, int] | None = None
    sizes: bytes = b""


class Made(Entry, tag=3, frozen=True):
    """Tasks have ended well on a worker; sizes in 64 bits each."""

    base: int
    attempt: int
    tasks: bytes
    sizes: bytes
    worker: int


class Raised(Entry, tag=4, frozen=True):
    """An attempt has failed (see running.events.Failed), for this reason, if any is known.  Body: the exception."""

    base: int
    task: int
    attempt: int
    above: bool
    retry: bool
    asked: bool
    countdown: float | None
    max_retries: int | None
    stopped: bool
    facts: tuple[str, str, int, str, str, str, str, int] | None


class Lost(Entry, tag=5, frozen=True):
    """A worker is gone that had these tasks, and surely or probably ran some of them; `line` says what is known."""

    base: int
    tasks: bytes
    suspects: bytes
    worker: str
    line: str = ""


class Happened(Entry, tag=6, frozen=True):
    """Another event about entries of a block: `what` is its name."""

    what: str
    base: int
    entries: bytes
    attempt: int = 0


class Kept(Entry, tag=7, frozen=True):
    """Entries belong to the scheduler from now on."""

    base: int
    entries: bytes
    seconds: float


class Leased(Entry, tag=8, frozen=True):
    """A task that is no plain one is handed to a worker."""

    base: int
    task: int
    attempt: int
    worker: int


class Granted(Entry, tag=9, frozen=True):
    """An attempt has been given permits of these limits: (key, windows, most at once)."""

    base: int
    task: int
    attempt: int
    limits: list[tuple[tuple[str, ...], list[tuple[int, float]], int | None]]
    about: int


class Began(Entry, tag=10, frozen=True):
    """An attempt that has permits is known to have begun."""

    base: int
    task: int
    attempt: int


class Left(Entry, tag=11, frozen=True):
    """An attempt that had permits is over, or has not `ran`."""

    base: int
    task: int
    attempt: int
    ran: bool


Any_ = Peer | Admitted | Made | Raised | Lost | Happened | Kept | Leased | Granted | Began | Left

encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Any_).decode


class Note(NamedTuple):
    """An action: write this down.  `about` is what it can be erased by: a block's number, or one below 0."""

    about: int
    entry: Any_
    body: bytes | memoryview
    now: float


class Erase(NamedTuple):
    """An action: nothing about this matters any more, from `when` on (None: from now on)."""

    about: int
    when: float | None = None


class Record(NamedTuple):
    """A note as it is read again; `at` in the new mind's time."""

    about: int
    entry: Any_
    body: bytes
    at: float
