"""Every sentence on the wire.

A frame is a message (a msgspec Struct, msgpack as an array) and a body (raw bytes that only the last reader opens).
What happens to every task travels in columns: `bytes` fields hold native integers, made by `ints` and `longs`; the
greeting refuses a peer of another byte order.  A task is (block, entry) between scheduler and workers and (run, entry)
between client and scheduler; block is the number the scheduler's arena gave the run.

Covers: the vocabulary.  Does not cover: framing (net.link), the greeting's order (net.hello), who answers what (minds).
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

PROTOCOL = 2
INLINE_LIMIT = 64 * 1024
"""Values of at most this many bytes ride in the message that says they are done."""
LOST_FOR_GOOD = "its worker ended, and a scattered value cannot be made again"


def ints(values: Iterable[int]) -> bytes:
    """Return 32-bit integers as bytes."""
    return array("i", values).tobytes()


def from_ints(data: bytes) -> array[int]:
    """Return the integers in bytes."""
    values = array("i")
    values.frombytes(data)
    return values


def longs(values: Iterable[int]) -> bytes:
    """Return 64-bit integers as bytes."""
    return array("q", values).tobytes()


def from_longs(data: bytes) -> array[int]:
    """Return the integers in bytes."""
    values = array("q")
    values.frombytes(data)
    return values


class Message(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The base of all of them."""


# -- the greeting: nothing else is read before it has succeeded, and nothing in it is ever unpickled


class Hello(Message, tag=1, frozen=True):
    """The first frame of whoever connects."""

    protocol: int
    role: str  # "client", "worker" or "peer"
    lazygraph: str
    python: str
    byteorder: str
    nonce: bytes


class Challenge(Message, tag=2, frozen=True):
    """The answer: prove that you know the token."""

    protocol: int
    lazygraph: str
    python: str
    nonce: bytes


class Proof(Message, tag=3, frozen=True):
    """HMAC over both nonces and the role, with the token as key."""

    proof: bytes


class Welcome(Message, tag=4, frozen=True):
    """The other side's proof that it knows the token too."""

    proof: bytes


class Refusal(Message, tag=5, frozen=True):
    """Why not; the connection is closed after it."""

    sentence: str


# -- plans -----------------------------------------------------------------------------------------


class ShapeOnWire(Message, frozen=True):
    """values.graph.Shape; columns as bytes."""

    externals: int
    functions: bytes
    templates: bytes
    options_of: bytes
    scopes_of: bytes
    origins_of: bytes
    input_offsets: bytes
    inputs: bytes
    kinds: bytes
    argument_offsets: bytes
    arguments: bytes
    outputs: bytes
    callbacks: bytes
    names: list[str]
    options: list[dict[str, Any]]
    scopes: list[tuple[int, str, bool, int, list[int]]]
    origins: list[str]


class TablesOnWire(Message, frozen=True):
    """Lengths of the body's parts: a pickle for each function, then one of the constants and templates."""

    functions: list[int]
    constants: int


class Submit(Message, tag=10, frozen=True):
    """Client to scheduler: a whole plan.  Body: the tables.

    `bindings`: (run, entry) for each external; (-1, -1) for one that is the failure of a scope.
    """

    run: int
    name: str
    fail_fast: bool
    shape: ShapeOnWire
    tables: TablesOnWire
    bindings: bytes


class Hold(Message, tag=11, frozen=True):
    """Client to scheduler: a run whose values exist already (scatter).  Body: `lengths` pickles, one an entry."""

    run: int
    lengths: list[int]
    names: list[str]


class Drop(Message, tag=12, frozen=True):
    """Client to scheduler: futures that are gone (an entry stands once for each)."""

    run: int
    entries: bytes


class Cancel(Message, tag=13, frozen=True):
    """Client to scheduler: cancel one entry, or with -1 the whole run; answered by `Answer`."""

    question: int
    run: int
    entry: int


class Want(Message, tag=14, frozen=True):
    """Client to scheduler: where is this value?  Answered by `Located` as soon as it exists (again)."""

    question: int
    run: int
    entry: int


class AskStats(Message, tag=15, frozen=True):
    """Client to scheduler: how far is this run?  Answered by `Stats`."""

    run: int


class AskState(Message, tag=16, frozen=True):
    """Client to scheduler: who is there and who has what?  Answered by `StateOf`."""

    question: int
    runs: list[tuple[int, int]]


# -- scheduler to client ---------------------------------------------------------------------------


class Succeeded(Message, tag=20, frozen=True):
    """Outputs are done.  `inlined` are those whose values are in the body (one pickle of the list of them)."""

    run: int
    block: int
    entries: bytes
    inlined: bytes
    worker: str
    stats: tuple[int, int, int]


class Ended(Message, tag=21, frozen=True):
    """Outputs have ended badly: all in the same state, for the same cause.  Body: the pickled exception, or nothing."""

    run: int
    entries: bytes
    state: int
    node: str
    key: str
    attempt: int
    kind: str  # "raised", "died", "lost", "cancelled" or "too deep"
    text: str
    worker: str
    origin: str
    times: int = 0


class Stats(Message, tag=22, frozen=True):
    """Tasks done, bytes kept on workers, bytes moved between processes."""

    run: int
    stats: tuple[int, int, int]


class Answer(Message, tag=23, frozen=True):
    """The answer to a `Cancel`."""

    question: int
    yes: bool


class Located(Message, tag=24, frozen=True):
    """The answer to a `Want`: ask `worker` for (block, entry); an empty address says that it is gone, and `why`."""

    question: int
    worker: str
    block: int
    entry: int
    why: str = ""


class StateOf(Message, tag=25, frozen=True):
    """Workers (address to name, threads, tasks outstanding), and for each run asked about its entries' holders."""

    question: int
    workers: dict[str, dict[str, Any]]
    holders: list[list[str]]


# -- scheduler to worker ---------------------------------------------------------------------------


class Load(Message, tag=30, frozen=True):
    """A plan that tasks will come from.  `aliases`: the (block, entry) each external stands for.  Body: tables."""

    block: int
    shape: ShapeOnWire
    tables: TablesOnWire
    aliases: list[tuple[int, int]]


class Do(Message, tag=31, frozen=True):
    """A lease.  `wanted` are the tasks whose small values are to ride back; `where` says whom to ask for inputs."""

    block: int
    attempt: int
    tasks: bytes
    wanted: bytes
    where: list[tuple[str, int, bytes]]


class Free(Message, tag=32, frozen=True):
    """Values that nobody claims."""

    block: int
    entries: bytes


class Forget(Message, tag=33, frozen=True):
    """A block that has ended: its plan and whatever values are left of it."""

    block: int


class TakeBack(Message, tag=34, frozen=True):
    """Give back unstarted tasks: these of a block, or with block -1 up to `count` of any.  Answered by `Returned`."""

    block: int
    tasks: bytes
    count: int = 0


class Store(Message, tag=35, frozen=True):
    """Keep these values (scatter).  Body: one pickle an entry."""

    block: int
    entries: bytes
    lengths: list[int]


class Caught(Message, tag=36, frozen=True):
    """The failure that external `entry` stands for; fields and body as in `Ended`."""

    block: int
    entry: int
    node: str
    key: str
    attempt: int
    kind: str
    text: str
    worker: str
    origin: str
    times: int = 0


class Adopt(Message, tag=37, frozen=True):
    """What stands for `task` has ended well: its value, (owner, entry), is the task's own.  Answered by `Done`."""

    block: int
    task: int
    attempt: int
    owner: int
    entry: int
    wanted: bool


# -- worker to scheduler ---------------------------------------------------------------------------


class Join(Message, tag=40, frozen=True):
    """A worker's first word after the greeting."""

    name: str
    address: str
    threads: int
    pid: int


class Done(Message, tag=41, frozen=True):
    """Tasks that ended well, in `seconds` of work; `sizes` in bytes, 64 bits each; `inlined` as in `Succeeded`."""

    block: int
    attempt: int
    tasks: bytes
    sizes: bytes
    seconds: float
    inlined: bytes


class Broke(Message, tag=42, frozen=True):
    """A task that raised, or a member of it before the last (`step`).  Body: the pickled exception."""

    block: int
    task: int
    attempt: int
    node: str
    text: str
    origin: str
    step: int | None = None


class Returned(Message, tag=43, frozen=True):
    """Tasks given back, not started; `missing` are inputs that could not be had from where the scheduler said.

    `asked` says that it answers a `TakeBack` for any tasks.
    """

    block: int
    attempt: int
    tasks: bytes
    missing: list[tuple[str, int, bytes]]
    asked: bool = False


class Began(Message, tag=44, frozen=True):
    """A task has been running for a while: it can no longer be taken back."""

    block: int
    task: int
    attempt: int


class Replaced(Message, tag=45, frozen=True):
    """A task that has returned a plan to be run in its place, which reads nothing held elsewhere.  Body: the tables."""

    block: int
    task: int
    attempt: int
    shape: ShapeOnWire
    tables: TablesOnWire


# -- anybody to a worker ---------------------------------------------------------------------------


class Get(Message, tag=50, frozen=True):
    """Give me these values."""

    question: int
    block: int
    entries: bytes


class Values(Message, tag=51, frozen=True):
    """The answer: `lengths[i]` bytes of the body for each entry; -1: not here; -2: cannot be pickled (`problems`)."""

    question: int
    lengths: list[int]
    problems: list[str]


ANY = (
    Hello | Challenge | Proof | Welcome | Refusal | Submit | Hold | Drop | Cancel | Want | AskStats | AskState
    | Succeeded | Ended | Stats | Answer | Located | StateOf | Load | Do | Free | Forget | TakeBack | Store
    | Caught | Adopt | Join | Done | Broke | Returned | Began | Replaced | Get | Values
)  # fmt: skip
GREETING = Hello | Challenge | Proof | Welcome | Refusal

encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(ANY).decode
decode_greeting = msgspec.msgpack.Decoder(GREETING).decode
