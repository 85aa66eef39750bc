"""Zero workers: they answer a lease at once and compute nothing, so that all the time there is goes into the scheduler.

One process, no socket and no thread: the real mind, and, if asked for, the real messages as bytes on the way in and
out.  A frame is one read: after each answer the mind decides, as it does for whatever a worker's socket brings.

Covers: the world of zero workers, what a run in it costs.
Does not cover: which plans there are (simulate_plans), real durations and transfers (simulate_bounds).
"""

from __future__ import annotations

import gc
import sys
import time
import tracemalloc
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, NamedTuple

from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster.net.portions import grain_of
from lazygraph.executors.cluster.records import Send, pack_shape
from lazygraph.executors.cluster.scheduler_machine import SchedulerMachine
from lazygraph.values.graph import Shape

CLIENT, FIRST = 1, 2
SIZE = 32
"""Bytes that a value is said to have."""

SECONDS = 1e-6
"""What a zero worker says that a task has taken: it is never slow enough for smaller leases."""


def tables_of(shape: Shape, grain: int = 0) -> tuple[m.TablesOnWire, bytes]:
    """Return what stands for the pickles of a plan's functions: their names."""
    blobs = [name.encode() for name in shape.names]
    return m.TablesOnWire([len(blob) for blob in blobs], 0, 0, grain), b"".join(blobs)


class Cost(NamedTuple):
    """What a run has cost: CPU seconds of the whole, and of admitting the plan alone; what was said.

    `plan`: of all bytes those that brought the plan to workers.
    """

    tasks: int
    seconds: float
    admitted: float
    messages: int
    size: int
    leases: int
    plan: int


@dataclass(slots=True)
class ZeroWorld:
    """A scheduler's mind, a client, and workers that answer each lease as soon as it comes.

    With `codec` every message goes through the bytes that it would be on the wire.  `grain`: so many rows of a plan
    make a portion (0: it goes to workers whole; None: as a client says of a plan without constants).
    """

    workers: int
    threads: int = 1
    codec: bool = False
    mind: SchedulerMachine = field(default_factory=SchedulerMachine)
    said: Counter[type] = field(default_factory=Counter)
    grain: int | None = None
    size: int = 0
    plan: int = 0
    ended: set[int] = field(default_factory=set)
    now: float = 0.0
    idle: float = 0.0
    _leases: deque[tuple[int, m.Do | m.TakeBack]] = field(default_factory=deque)
    _runs: int = 0

    def __post_init__(self) -> None:
        self.mind.client_joined(CLIENT)
        for peer in range(FIRST, FIRST + self.workers):
            self.hear(peer, m.Join(f"w{peer}", f"tcp://127.0.0.1:{peer}", self.threads, 0), b"")

    def run(self, shape: Shape) -> Cost:
        """Have a plan run, and let go of what it made; return what that has cost."""
        self._runs += 1
        grain = grain_of(shape, ()) if self.grain is None else self.grain
        tables, body = tables_of(shape, grain)
        submit: Any = m.Submit(self._runs, "", False, pack_shape(shape), tables, b"")
        submit = m.encode(submit) if self.codec else submit
        before, size, left = Counter(self.said), self.size, set(shape.outputs)
        self.plan = 0
        self.ended.clear()
        self.idle = 0.0
        began = time.process_time()
        self.hear(CLIENT, submit, body)
        admitted = time.process_time() - began
        self.work()
        if self.ended != left:
            raise AssertionError(f"{len(left - self.ended)} of {len(left)} outputs have not ended")
        drop: Any = m.Drop(self._runs, shape.outputs.tobytes())
        self.hear(CLIENT, m.encode(drop) if self.codec else drop, b"")
        seconds = time.process_time() - began - self.idle
        if self.mind.records or self.mind.frontier.blocks:
            raise AssertionError("the scheduler remembers a run that is over")
        said = self.said - before
        return Cost(len(shape), seconds, admitted, said.total(), self.size - size, said[m.Do], self.plan)

    def work(self) -> None:
        """Answer leases, the oldest first, until there are none."""
        leases = self._leases
        while leases:
            began = time.process_time()
            peer, lease = leases.popleft()
            done: Any = _answer(lease)
            done = m.encode(done) if self.codec else done
            self.idle += time.process_time() - began
            self.hear(peer, done, b"")

    def hear(self, peer: int, message: Any, body: bytes) -> None:
        """The mind hears one frame, and decides."""
        if isinstance(message, bytes):
            self.size += len(message)
            message = m.decode(message)
        self.said[type(message)] += 1
        self.now += 1e-6
        self._route(self.mind.receive(peer, message, body, self.now))
        self._route(self.mind.decide(self.now))

    def _route(self, sends: Sequence[Send]) -> None:
        for peer, message, _ in sends:
            kind = type(message)
            self.said[kind] += 1
            if self.codec:
                length = len(m.encode(message))
                self.size += length
                if kind is m.Load or kind is m.Portion:
                    self.plan += length
            if kind is m.Do:
                self._leases.append((peer, message))  # type: ignore[arg-type]
            elif kind is m.Succeeded:
                self.ended.update(m.from_ints(message.entries))  # type: ignore[attr-defined]
            elif kind is m.TakeBack:
                self._leases.append((peer, message))  # type: ignore[arg-type]


def _answer(lease: m.Do | m.TakeBack) -> m.Done | m.Returned:
    if isinstance(lease, m.TakeBack):
        return m.Returned(-1, 0, b"", [], asked=True)  # it has begun all it was given
    count = len(m.from_ints(lease.tasks))
    sizes = m.longs((SIZE,)) * count
    return m.Done(lease.block, lease.attempt, lease.tasks, sizes, count * SECONDS, lease.wanted)


# -- other measures than time ----------------------------------------------------------------------


def operations(
    shape: Shape, workers: int, mind: Callable[[], SchedulerMachine] = SchedulerMachine, known: bool = False
) -> int:
    """Return how many bytecode instructions the mind takes for a run: the same number each time, on any machine.

    `known`: it has had such a run before.  What happens inside one call of C is not counted (a copy of a dict is one
    instruction).
    """
    world, count = ZeroWorld(workers, mind=mind()), [0]
    if known:
        world.run(shape)
    with counting(count):
        world.run(shape)
    return count[0]


@contextmanager
def counting(count: list[int]) -> Iterator[None]:
    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if event == "call":
            if not _counted(frame):
                return None
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        elif event == "opcode":
            count[0] += 1
        return trace

    before, collects = sys.gettrace(), gc.isenabled()
    gc.disable()  # what others have left behind is not to be finalized, and counted, meanwhile
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)
        if collects:
            gc.enable()


def _counted(frame: FrameType) -> bool:
    return not frame.f_globals.get("__name__", "").startswith("benchmarks.")


def memory(shape: Shape, workers: int) -> float:
    """Return the most bytes that the mind holds for each task of a run, with the plan as it came."""
    world = ZeroWorld(workers)
    gc.collect()
    tracemalloc.start()
    try:
        world.run(shape)
        return tracemalloc.get_traced_memory()[1] / len(shape)
    finally:
        tracemalloc.stop()
