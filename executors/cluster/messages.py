"""Every sentence on the wire.

A frame is a message (a msgspec Struct, msgpack as an array) and a body (raw bytes that only the last reader opens).
What happens to every task travels in columns: `bytes` fields hold native integers, made by `ints` and `longs`; the
greeting refuses a peer of another byte order.  A task is (block, entry) between scheduler and workers and (run, entry)
between client and scheduler; block is the number the scheduler's arena gave the run.

Covers: the vocabulary.  Does not cover: framing (net.link), the greeting's order (net.hello), who answers what (minds).
"""

from __future__ import annotations

from typing import Any

import msgspec

from lazygraph.executors.cluster.bringing import Bring as Bring
from lazygraph.executors.cluster.bringing import Get as Get
from lazygraph.executors.cluster.bringing import Own as Own
from lazygraph.executors.cluster.bringing import Place as Place
from lazygraph.executors.cluster.bringing import Put as Put
from lazygraph.executors.cluster.bringing import Values as Values
from lazygraph.executors.cluster.claims import Again as Again
from lazygraph.executors.cluster.claims import AskAccepted as AskAccepted
from lazygraph.executors.cluster.claims import Forgo as Forgo
from lazygraph.executors.cluster.claims import Keep as Keep
from lazygraph.executors.cluster.claims import Open as Open
from lazygraph.executors.cluster.claims import Opened as Opened
from lazygraph.executors.cluster.greeting import Challenge as Challenge
from lazygraph.executors.cluster.greeting import Hello as Hello
from lazygraph.executors.cluster.greeting import Proof as Proof
from lazygraph.executors.cluster.greeting import Refusal as Refusal
from lazygraph.executors.cluster.greeting import Welcome as Welcome
from lazygraph.executors.cluster.lives import Alive as Alive
from lazygraph.executors.cluster.lives import Away as Away
from lazygraph.executors.cluster.lives import Beat as Beat
from lazygraph.executors.cluster.lives import Carried as Carried
from lazygraph.executors.cluster.lives import Carry as Carry
from lazygraph.executors.cluster.lives import Drain as Drain
from lazygraph.executors.cluster.lives import Full as Full
from lazygraph.executors.cluster.lives import Leave as Leave
from lazygraph.executors.cluster.lives import Leaving as Leaving
from lazygraph.executors.cluster.lives import Linger as Linger
from lazygraph.executors.cluster.portions import Portion as Portion
from lazygraph.executors.cluster.returning import Back as Back
from lazygraph.executors.cluster.returning import Known as Known
from lazygraph.executors.cluster.returning import Present as Present
from lazygraph.executors.cluster.sights import Sighted as Sighted
from lazygraph.executors.cluster.sights import Watched as Watched
from lazygraph.executors.cluster.wire import INLINE_LIMIT as INLINE_LIMIT
from lazygraph.executors.cluster.wire import LOST_FOR_GOOD as LOST_FOR_GOOD
from lazygraph.executors.cluster.wire import PROTOCOL as PROTOCOL
from lazygraph.executors.cluster.wire import Message as Message
from lazygraph.executors.cluster.wire import from_ints as from_ints
from lazygraph.executors.cluster.wire import from_longs as from_longs
from lazygraph.executors.cluster.wire import ints as ints
from lazygraph.executors.cluster.wire import longs as longs

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
    scopes: list[tuple[int, bool, int, list[int], bool, list[int]]]
    origins: list[str]


class TablesOnWire(Message, frozen=True):
    """Lengths of the body's parts: a pickle for each function, one of the constants and templates, one of `policies`.

    The last has, by option row, the classes of the exceptions that a RetryPolicy is about; 0: all have the usual ones.
    `grain`: the plan goes to workers in portions of so many rows (0: whole).  `pages`: then the constants stand behind
    all that, in pickles of so many each, with these lengths; none: where those of small plans do.
    """

    functions: list[int]
    constants: int
    policies: int = 0
    grain: int = 0
    pages: bytes = b""


class Submit(Message, tag=10, frozen=True):
    """Client to scheduler: a whole plan.  Body: the tables.

    `bindings`: (run, entry) for each external; (-1, -1) for one that is the failure of a scope.
    `label` is the part of its keys that no other run has, of any client (default: the run's number).
    `inside`: how many tasks wait, or may soon, where this was started by one of them (see `Frontier.admit`).
    `observed`: `Sighted` is to be said of it.
    """

    run: int
    name: str
    fail_fast: bool
    shape: ShapeOnWire
    tables: TablesOnWire
    bindings: bytes
    skips: bool = False
    label: str = ""
    inside: int = 0
    observed: bool = False


class Hold(Message, tag=11, frozen=True):
    """Client to scheduler: a run whose values exist already (scatter).  Body: `lengths` pickles, one an entry.

    `at`: those that a worker has got already, and by which names (see `Put`); "" is nobody.  `broadcast`: all workers
    that are there are to have all of them.
    """

    run: int
    lengths: list[int]
    names: list[str]
    label: str = ""
    at: list[tuple[str, str]] = msgspec.field(default_factory=list)
    broadcast: bool = False


class Drop(Message, tag=12, frozen=True):
    """Client to scheduler: futures that are gone (an entry stands once for each); `more` are those of further runs."""

    run: int
    entries: bytes
    more: list[tuple[int, bytes]] = msgspec.field(default_factory=list)


class Cancel(Message, tag=13, frozen=True):
    """Client to scheduler: cancel one entry, or with -1 the whole run; answered by `Answer`.

    `force`: an attempt that runs is to be made to leave.
    """

    question: int
    run: int
    entry: int
    force: bool = False


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
    every: bool = False  # also say which runs there are


class SetQueues(Message, tag=17, frozen=True):
    """Client to scheduler: have workers (by name or address; none: all) take queues, and take others no more.

    Answered by `Answer`: whether there is such a worker.
    """

    question: int
    workers: list[str]
    add: list[str]
    remove: list[str]


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
    kind: str  # "raised", "died", "lost", "cancelled", "expired", "refused" or "too deep"
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
    """Workers (address to name, threads, tasks outstanding), and for each entry asked about who holds its value.

    `states`: of each entry its state, and what it waits for.
    """

    question: int
    workers: dict[str, dict[str, Any]]
    holders: list[list[str]]
    states: list[tuple[int, str]] = msgspec.field(default_factory=list)
    runs: list[dict[str, Any]] = msgspec.field(default_factory=list)


class Retried(Message, tag=26, frozen=True):
    """An attempt has failed, and another is made after `delay` seconds; the rest and the body as in `Ended`."""

    run: int
    delay: float
    node: str
    key: str
    attempt: int
    kind: str
    text: str
    worker: str
    origin: str
    times: int = 0


class Progress(Message, tag=27, frozen=True):
    """How much of how much a task has done, as it says itself."""

    run: int
    key: str
    done: float
    total: float | None


# -- scheduler to worker ---------------------------------------------------------------------------


class Load(Message, tag=30, frozen=True):
    """A plan that tasks will come from.  `aliases`: the (block, entry) each external stands for.  Body: tables.

    `label` is the part of keys that no other run has; `run_id` is what the user calls the run.  `observed`: `Watched`
    is to be said of its leases.  `room`: rows come in `Portion`s, of so many entries, inputs and arguments in all;
    `paged`: so do constants.
    """

    block: int
    shape: ShapeOnWire
    tables: TablesOnWire
    aliases: list[tuple[int, int]]
    label: str = ""
    run_id: str = ""
    observed: bool = False
    room: tuple[int, int, int] | None = None
    paged: bool = False


class Do(Message, tag=31, frozen=True):
    """A lease.  `wanted` are the tasks whose small values are to ride back; `where` says whom to ask for inputs.

    `tell`: `Began` is to be said at the moment its task begins.  `turn`: how many leases were to ask somebody, in
    the order in which they were handed out: whom it asks may be waiting for the value itself, on an earlier turn.
    """

    block: int
    attempt: int
    tasks: bytes
    wanted: bytes
    where: list[tuple[str, int, bytes]]
    tell: bool = False
    turn: int = 0


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
    """The failure that external `entry` stands for; fields and body as in `Ended`.

    `member`: no external, but a task that has no value, for one that goes on without.
    """

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
    member: bool = False


class Adopt(Message, tag=37, frozen=True):
    """What stands for `task` has ended well: its value, (owner, entry), is the task's own.  Answered by `Done`."""

    block: int
    task: int
    attempt: int
    owner: int
    entry: int
    wanted: bool


class Stop(Message, tag=38, frozen=True):
    """Have an attempt not begin, or, with `force`, leave if it runs.  Answered by `Stopped`, also when it would not."""

    question: int
    block: int
    task: int
    attempt: int
    force: bool


# -- worker to scheduler ---------------------------------------------------------------------------


class Join(Message, tag=40, frozen=True):
    """A worker's first word after the greeting.  `ident` is who it is, also when it comes again."""

    name: str
    address: str
    threads: int
    pid: int
    queues: list[str] = msgspec.field(default_factory=lambda: ["default"])
    resources: dict[str, float] = msgspec.field(default_factory=dict)
    ident: str = ""


class Done(Message, tag=41, frozen=True):
    """Tasks that ended well, in `seconds` of work; `sizes` in bytes, 64 bits each; `inlined` as in `Succeeded`."""

    block: int
    attempt: int
    tasks: bytes
    sizes: bytes
    seconds: float
    inlined: bytes


class Broke(Message, tag=42, frozen=True):
    """A task that raised, or a member of it before the last (`step`).  Body: the pickled exception.

    `retry`, `asked`, `countdown`, `max_retries`: see running.events.Failed; `stopped`: it was made to leave.
    """

    block: int
    task: int
    attempt: int
    node: str
    text: str
    origin: str
    step: int | None = None
    retry: bool = False
    asked: bool = False
    countdown: float | None = None
    max_retries: int | None = None
    stopped: bool = False


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


class Stopped(Message, tag=46, frozen=True):
    """The answer to a `Stop`: whether the attempt has left."""

    question: int
    yes: bool


class Told(Message, tag=47, frozen=True):
    """How much of how much a task has done, as it says itself."""

    block: int
    task: int
    attempt: int
    done: float
    total: float | None


class Parked(Message, tag=48, frozen=True):
    """So many more tasks (fewer, if negative) are only awaited now, and hold no thread: more can be handed out."""

    tasks: int


ANY = (
    Hello | Challenge | Proof | Welcome | Refusal | Submit | Hold | Drop | Cancel | Want | AskStats | AskState
    | Succeeded | Ended | Stats | Answer | Located | StateOf | Load | Do | Free | Forget | TakeBack | Store
    | Caught | Adopt | Join | Done | Broke | Returned | Began | Replaced | Get | Values
    | SetQueues | Retried | Progress | Stop | Stopped | Told | Parked
    | Keep | Forgo | AskAccepted | Open | Opened | Again | Watched | Sighted | Back | Present | Known
    | Alive | Away | Beat | Carried | Carry | Drain | Full | Leave | Leaving | Linger | Portion
    | Put | Own | Bring
)  # fmt: skip
GREETING = Hello | Challenge | Proof | Welcome | Refusal

encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(ANY).decode
decode_greeting = msgspec.msgpack.Decoder(GREETING).decode
