"""What the scheduler's mind remembers of runs and workers, and shapes on their way over the wire.

Covers: records, `pack_shape`/`unpack_shape`.
Does not cover: what is done with them (scheduler_machine), pickles (net.codec).
"""

from __future__ import annotations

from array import array
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.msgpack import decode, encode

from lazygraph.executors.cluster.messages import Ended, Load, Message, ShapeOnWire, from_ints, ints
from lazygraph.executors.cluster.portioning import Portioning
from lazygraph.values.graph import Scope, Shape
from lazygraph.values.options import as_plain, from_plain
from lazygraph.values.status import State

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from lazygraph.executors.cluster.messages import Hold, TablesOnWire
    from lazygraph.executors.cluster.paces import Pace
    from lazygraph.running.block import Block
    from lazygraph.running.policy import Where

NOWHERE = -1

NOTHING = float("inf")
"""The priority of nothing: everything is less urgent."""

_PARTS = 1_000_000
"""Resources are counted in millionths: what is taken and given back in fractions is to come out even."""


def parts(amount: float) -> int:
    """Return how much of a resource an amount is, at least the smallest part if it is any."""
    return round(amount * _PARTS) or (1 if amount > 0 else 0)


class Send(NamedTuple):
    """An action: this message, with this body, to that peer."""

    peer: int
    message: Message
    body: tuple[bytes | memoryview, ...] = ()


class Held(NamedTuple):
    """A `Send` that waits, and with it all to that peer that follows, until what was noted before is on the disk."""

    peer: int
    message: Message
    body: tuple[bytes | memoryview, ...] = ()


class Asked(NamedTuple):
    """A worker was asked to have a task not begin, or leave; `question` is that of the client who waits for it."""

    client: int
    question: int
    worker: int
    block: Block
    entry: int


class FailureRecord(NamedTuple):
    """Why a task failed, as it travels: the exception stays pickled in `body`."""

    node: str
    key: str
    attempt: int
    kind: str
    text: str
    worker: str
    origin: str
    times: int = 0
    body: bytes | memoryview = b""

    @property
    def facts(self) -> tuple[str, str, int, str, str, str, str, int]:
        """Everything but the body, in order."""
        return self[:8]


class RunRecord:
    """One run, or what stands for a task in one (`root` is then the run): whose it is, its plan as it came.

    Per entry: where its value is and how large.  `label` is the part of keys that no other run has.  A run that stands
    for entries of another one (`Keeping._open`) has their `keys`.
    """

    __slots__ = (
        "_run",
        "aliases",
        "attached",
        "awaiting",
        "block",
        "body",
        "caught",
        "client",
        "deaths",
        "done",
        "failures",
        "fetched",
        "head",
        "home",
        "inner",
        "kept",
        "keys",
        "label",
        "lasting",
        "load",
        "loaded",
        "missed",
        "moved",
        "observed",
        "paces",
        "portions",
        "replicas",
        "run",
        "run_id",
        "seconds",
        "seconds_kept",
        "shape",
        "sizes",
        "stored",
        "tables",
        "told",
        "touched",
        "trees",
        "until",
        "wants",
    )

    def __init__(
        self, block: Block, client: int, run: int, shape: ShapeOnWire, tables: TablesOnWire, body: bytes | memoryview
    ) -> None:
        self.block, self.client, self.run = block, client, run
        self.shape, self.tables, self.body = shape, tables, body
        self.home = array("i", [NOWHERE]) * len(block)  # worker that has, or is to make, the value
        self.sizes = array("q", [0]) * len(block)
        self.replicas: dict[int, list[int]] = {}  # further workers that have fetched it, or are about to
        self.fetched: dict[int, None] | None = None  # values whose home has not made them, but fetches them
        self.trees: dict[int, dict[str, deque[tuple[int, int]]]] | None = None  # large value -> givers by host
        self.stored: dict[int, int] = {}  # scattered value -> worker it was sent to
        self.load: Load | None = None  # what brings a worker the plan, or its heading, the same for all
        self.head: bytes | memoryview = b""  # and the body of that
        self.portions = Portioning(block.base, block.shape, tables, body) if tables.grain else None
        self.loaded: dict[int, None] = {}  # workers that know the plan
        self.touched: dict[int, None] = {}  # workers that have anything of it: they are told when it ends
        self._run: RunRecord | None = None  # of what stands for a task
        self.label, self.run_id = str(run), ""
        self.failures: dict[int, FailureRecord] = {}
        self.deaths: dict[int, list[str]] = {}  # task -> what is known of the ends of workers that were running it
        self.inner: list[int] = []  # blocks of what has stood in this run, has failed and is over
        self.caught: dict[int, FailureRecord] = {}  # external (or task that has failed) -> the failure that it is
        self.missed: set[int] = set()  # of those, tasks that somebody reads although they have no value
        self.told: set[tuple[int, int]] = set()  # (worker, external): who has been told of a failure
        self.wants: dict[int, list[int]] = {}  # entry -> the client's questions
        self.aliases: list[tuple[int, int]] = []
        self.seconds: float | None = None
        self.paces: list[Pace] = []  # by row of its functions
        self.keys: list[str] | None = None
        self.attached: RunRecord | None = None  # the whole run that this one stands for
        self.lasting: set[int] = set()  # entries that the scheduler claims itself
        self.awaiting: set[int] = set()  # of those, the ones that have not ended
        self.seconds_kept = 0.0  # for so long they are kept after that
        self.until: float | None = None  # when they go
        self.observed = False  # its client is told when tasks began and ended
        self.done = self.kept = self.moved = 0

    @property
    def root(self) -> RunRecord:
        """The run that it is, or stands in.  Kept nowhere in a run: a cycle is in memory until somebody collects it."""
        return self._run or self

    @root.setter
    def root(self, run: RunRecord) -> None:
        self._run = run

    def key_of(self, name: str, entry: int, step: int | None = None) -> str:
        """Return the key of an entry, or of a member of it that is called `name`."""
        if self.keys is not None:
            return self.keys[entry]
        name = self.name_in_key(entry) if step is None else name
        return f"{name}-{self.label}-{entry}" + (f".{step}" if step is not None else "")

    def name_in_key(self, entry: int) -> str:
        """Return what the key of an entry begins with (as `Run.key_of_entry` and `Program.key_of` make it)."""
        shape = self.block.shape
        own = shape.options[shape.option[entry]]
        return own.key or own.name or last_name(shape.name_of(entry))

    @property
    def heading(self) -> tuple[ShapeOnWire, TablesOnWire, bytes | memoryview]:
        """What every worker gets of the plan that gets anything of it."""
        if self.portions is None:
            return self.shape, self.tables, self.body
        return self.portions.heading(self.shape, self.tables)

    @property
    def stats(self) -> tuple[int, int, int]:
        """Tasks done, bytes made and kept on workers, bytes moved."""
        return self.done, self.kept, self.moved

    def has_moved(self, entry: int) -> None:
        """The home of a value is not, from now on, who has made it."""
        if self.fetched is None:
            self.fetched = {}
        self.fetched[entry] = None

    def made_again(self, entries: Iterable[int]) -> None:
        """Values are made where their home is now."""
        if self.fetched:
            for entry in entries:
                self.fetched.pop(entry, None)

    def holders(self, entry: int) -> list[int]:
        """Return the workers that have a value, the one that made it first."""
        home = self.home[entry]
        rest = self.replicas.get(entry, ())
        return [*rest] if home == NOWHERE else [home, *rest]


class WorkerRecord:
    """One worker.  `outstanding` counts tasks handed to it and not answered for yet."""

    __slots__ = (
        "address",
        "freed",
        "given",
        "given_up",
        "heard",
        "held",
        "id",
        "late",
        "least",
        "limit",
        "managed",
        "memory",
        "name",
        "outstanding",
        "pid",
        "pressed",
        "queues",
        "recalled",
        "reluctant",
        "resources",
        "restricted",
        "spare",
        "spilled",
        "threads",
        "work",
    )

    def __init__(
        self,
        peer: int,
        name: str,
        address: str,
        threads: int,
        queues: Sequence[str] = ("default",),
        resources: Mapping[str, float] | None = None,
    ) -> None:
        self.id, self.name, self.address, self.threads = peer, name, address, threads
        self.queues = dict.fromkeys(queues)
        self.resources = dict(resources or {})
        self.spare = {name: parts(amount) for name, amount in self.resources.items()}  # what of them is free
        self.held: dict[tuple[int, int, int], Where] = {}  # (block, task, attempt) that is no plain task -> its needs
        self.restricted: dict[Where, int] = {}  # how many of those
        self.outstanding = 0
        self.work = 0.0  # about how many seconds that takes
        self.least: float = NOTHING  # the lowest priority of what it was given, as far as that has not been given back
        self.pressed = False  # has been asked for all that has not begun, for something more urgent
        self.recalled = False  # has been asked to give back, and has not answered
        self.given = False  # has been given something since it was asked
        self.late = False  # runs something that takes long, and has finished nothing since
        self.reluctant = False  # had nothing to give back, and has finished nothing since
        self.freed: dict[int, list[int]] = {}  # block -> entries to tell it to free
        self.pid = self.memory = self.managed = self.spilled = self.limit = 0  # bytes, as it has said itself
        self.heard = 0.0  # and when
        self.given_up = False  # was silent for so long that what it had is done elsewhere

    @property
    def left(self) -> dict[str, float]:
        """What of its resources is free."""
        return {name: left / _PARTS for name, left in self.spare.items()}

    def hold(self, attempt: tuple[int, int, int], where: Where) -> None:
        """Take what an attempt needs of this worker."""
        self.held[attempt] = where
        self.restricted[where] = self.restricted.get(where, 0) + 1
        for name, amount in where.resources:
            self.spare[name] -= parts(amount)

    def give_up(self, where: Where) -> None:
        """An attempt does not need any more what it had of this worker."""
        self.restricted[where] -= 1
        if not self.restricted[where]:
            del self.restricted[where]
        for name, amount in where.resources:
            self.spare[name] += parts(amount)


def refusal(run: int, outputs: bytes, name: str, why: str) -> Ended:
    """Return what a client is told of a run that cannot be."""
    once = ints(dict.fromkeys(from_ints(outputs)))
    return Ended(run, once, State.FAILED, name, name, 0, "refused", why, "", "")


def retried_shape(shape: Shape, entries: Iterable[int]) -> Shape:
    """Return a shape of which these entries are asked for, and then its other outputs."""
    first = array("i", entries)
    rest = dict.fromkeys(output for output in shape.outputs if output not in first)
    return replace(shape, outputs=first + array("i", rest))


def last_name(name: str) -> str:
    """Return the name of the last call of a fused task (see planning.fusing), and of any other its own."""
    last = name.rpartition(" → ")[2]
    if " → … → " in name:
        last = last.partition(" (")[0]
    one, _, times = last.rpartition(" ×")
    return one if times.isdecimal() else last


def pack_shape(shape: Shape) -> ShapeOnWire:
    """Return a shape as bytes and plain data; origins become texts."""
    return ShapeOnWire(
        shape.externals,
        shape.function.tobytes(),
        shape.template.tobytes(),
        shape.option.tobytes(),
        shape.scope.tobytes(),
        shape.origin.tobytes(),
        shape.input_offsets.tobytes(),
        shape.inputs.tobytes(),
        shape.kinds,
        shape.argument_offsets.tobytes(),
        shape.arguments.tobytes(),
        shape.outputs.tobytes(),
        shape.callbacks.tobytes(),
        list(shape.names),
        [dict(as_plain(row)) for row in shape.options],
        [(s.parent, s.fail_fast, s.catch, list(s.given), s.contained, list(s.ends)) for s in shape.scopes],
        [str(origin) for origin in shape.origins],
    )


SMALL = 64
"""Bytes of a column; shapes of no more (16 entries) are kept, because calls from one place look alike."""


def unpack_shape(wire: ShapeOnWire) -> Shape:
    """Return the shape again."""
    return _known(encode(wire)) if len(wire.functions) <= SMALL else _unpacked(wire)


@lru_cache(maxsize=256)
def _known(encoded: bytes) -> Shape:
    return _unpacked(decode(encoded, type=ShapeOnWire))


def _unpacked(wire: ShapeOnWire) -> Shape:
    return Shape(
        externals=wire.externals,
        function=from_ints(wire.functions),
        template=from_ints(wire.templates),
        option=from_ints(wire.options_of),
        scope=from_ints(wire.scopes_of),
        origin=from_ints(wire.origins_of),
        input_offsets=from_ints(wire.input_offsets),
        inputs=from_ints(wire.inputs),
        kinds=wire.kinds,
        argument_offsets=from_ints(wire.argument_offsets),
        arguments=from_ints(wire.arguments),
        outputs=from_ints(wire.outputs),
        callbacks=from_ints(wire.callbacks),
        names=tuple(wire.names),
        options=tuple(map(from_plain, wire.options)),
        scopes=tuple([Scope(*row[:3], tuple(row[3]), row[4], tuple(row[5])) for row in wire.scopes]),
        origins=tuple(wire.origins),
    )


def check_held(message: Hold, length: int) -> None:
    """Raise ValueError for a scatter that is not as long as it says: nothing of it may be kept then."""
    if len(message.lengths) != len(message.names) or len(message.at) not in (0, len(message.names)):
        raise ValueError("a Hold has as many lengths, names and places as it has values")
    elsewhere = [bool(address) for address, _ in message.at] or [False] * len(message.names)
    sent = sum(size for size, there in zip(message.lengths, elsewhere, strict=True) if not there)
    if any(not 0 <= size < 2**62 for size in message.lengths) or sent != length:
        raise ValueError(f"a Hold says that {sent:,} bytes of values come with it, and {length:,} did")


def held_shape(names: Sequence[str]) -> Shape:
    """Return the shape of values that exist already: externals, all of them outputs."""
    n = len(names)
    return Shape(
        externals=n,
        function=array("i", range(n)),
        template=array("i", [0]) * n,
        option=array("i", [0]) * n,
        scope=array("i", [0]) * n,
        origin=array("i", [-1]) * n,
        input_offsets=array("i", [0]) * (n + 1),
        inputs=array("i"),
        kinds=b"",
        argument_offsets=array("i", [0]) * (n + 1),
        arguments=array("i"),
        outputs=array("i", range(n)),
        callbacks=array("i"),
        names=tuple(names),
    )


def plain_stats(
    workers: Sequence[WorkerRecord],
    silent: Collection[int] = (),
    leaving: Collection[int] = (),
    full: Collection[int] = (),
) -> dict[str, dict[str, Any]]:
    """Return workers as plain data, by address; `state` is "" for one that is as it should be."""
    return {
        w.address: {
            "name": w.name,
            "threads": w.threads,
            "outstanding": w.outstanding,
            "id": w.id,
            "queues": list(w.queues),
            "resources": w.resources,
            "free": w.left,
            "pid": w.pid,
            "memory": w.memory,
            "managed": w.managed,
            "spilled": w.spilled,
            "memory_limit": w.limit,
            "state": _state(w.id, silent, leaving, full),
        }
        for w in workers
    }


def plain_run(record: RunRecord) -> dict[str, Any]:
    """Return a run as plain data: `kept` says that it is detached, and outlasts its client."""
    return {
        "run": record.run_id,
        "tasks": len(record.block) - record.block.shape.externals,
        "done": record.done,
        "open": record.block.open,
        "kept": bool(record.lasting),
    }


def _state(peer: int, silent: Collection[int], leaving: Collection[int], full: Collection[int]) -> str:
    return "silent" if peer in silent else "leaving" if peer in leaving else "full" if peer in full else ""
