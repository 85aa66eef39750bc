"""The real minds of scheduler and workers in virtual time: tasks have durations, values sizes, links a speed.

What a worker's hand does with threads and sockets is done here by an agenda of moments: one thread a worker runs leases
in order and reports as `running.runner` does, a worker fetches one answer at a time, messages take the latency.
Scheduling itself takes no time.

Covers: the world, how long a job takes in it, the bounds it is compared with.
Does not cover: where jobs come from (simulate_graphs), what the scheduler itself costs (simulate_zero).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from types import SimpleNamespace
from typing import Any, NamedTuple, Protocol

from benchmarks.simulate_zero import tables_of
from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster import worker_machine as w
from lazygraph.executors.cluster.net.worker_server import TICK
from lazygraph.executors.cluster.records import Send, pack_shape
from lazygraph.executors.cluster.scheduler_machine import SchedulerMachine
from lazygraph.running.runner import REPORT_EVERY, Report
from lazygraph.values.graph import Shape

CLIENT, FIRST = 1, 2


class Job(NamedTuple):
    """A plan and, for each of its entries, how long it takes (seconds) and how large its value is (bytes)."""

    name: str
    shape: Shape
    seconds: Sequence[float]
    sizes: Sequence[int]


class Network(NamedTuple):
    """How long a message takes (seconds), and how fast a worker fetches (bytes a second; None: at once)."""

    latency: float = 0.0
    speed: float | None = None

    def takes(self, size: int) -> float:
        """Return how long it takes to bring so many bytes."""
        return self.latency * 2 + (size / self.speed if self.speed else 0.0)


FREE = Network()


class Outcome(NamedTuple):
    """When everything had ended; of all workers together, how long tasks ran; bytes fetched; messages said."""

    makespan: float
    busy: float
    moved: int
    messages: int


def lower_bound(job: Job, workers: int) -> float:
    """Return a time that nobody can beat: the longest path, or all work evenly spread, transfers free."""
    shape, ends = job.shape, list[float]()
    for entry, seconds in enumerate(job.seconds):
        ends.append(seconds + max((ends[read] for read in shape.inputs_of(entry)), default=0.0))
    return max(max(ends), sum(job.seconds) / workers)


# -- the real minds --------------------------------------------------------------------------------


class _World(Protocol):
    """What a worker's hand needs of the world it is in."""

    job: Job
    network: Network
    now: float
    busy: float

    def at(self, moment: float, act: Callable[[], None]) -> None: ...
    def to_scheduler(self, peer: int, message: m.Message) -> None: ...
    def fetched(self, size: int) -> None: ...


class _Hand:
    """A worker: its mind, one thread, one link to fetch by."""

    def __init__(self, world: _World, peer: int) -> None:
        self.world, self.peer, self.mind = world, peer, w.WorkerMachine()
        self.queue: deque[w.WorkLease] = deque()
        self.lease: w.WorkLease | None = None
        self.done: list[int] = []  # not reported yet
        self.since = 0.0  # when it last reported
        self.running = False
        self.link_free = 0.0  # when its link has brought what was asked for

    def deliver(self, message: m.Message) -> None:
        """Take one message from the scheduler."""
        if isinstance(message, m.Load):
            program: Any = SimpleNamespace(shape=self.world.job.shape)  # one for all, or large jobs would not fit
            self.mind.load(message.block, program, message.aliases)
        else:
            self.act(self.mind.receive(message))

    def act(self, actions: Sequence[w.Action]) -> None:
        """Do what the mind says."""
        for action in actions:
            if isinstance(action, w.Say):
                self.world.to_scheduler(self.peer, action.message)
            elif isinstance(action, w.Start):
                self.queue.append(action.lease)
                self.go_on()
            elif isinstance(action, w.Fetch):
                self._fetch(action)
            else:
                raise AssertionError(f"a plain plan leads to no {action}")

    def _fetch(self, action: w.Fetch) -> None:
        entries = m.from_ints(action.entries)
        size = sum(self.world.job.sizes[entry] for entry in entries)
        self.world.fetched(size)
        self.link_free = max(self.world.now, self.link_free) + self.world.network.takes(size)
        values = [True] * len(entries)
        self.world.at(self.link_free, lambda: self.act(self.mind.fetched(action.question, values, {})))

    def go_on(self) -> None:
        """Begin the next task, if none runs."""
        while not self.running and (self.lease is not None or self.queue):
            if self.lease is None:
                self.lease, self.since = self.queue.popleft(), self.world.now
            if self.lease.tasks:
                self._begin(self.lease, self.lease.tasks.popleft())
            else:
                self._report(self.lease)
                self.lease = None

    def _begin(self, lease: w.WorkLease, task: int) -> None:
        self.running, world = True, self.world
        seconds = world.job.seconds[task]
        world.busy += seconds
        world.at(world.now + seconds, lambda: self._end(lease, task))
        for ticks in (1, 2):  # it may be told that it runs at the second tick that finds it running
            if seconds > ticks * TICK:
                world.at(world.now + ticks * TICK, lambda: self._tick(lease))

    def _tick(self, lease: w.WorkLease) -> None:
        if self.world.now - self.since > REPORT_EVERY:
            self._report(lease)
        self.act(self.mind.tick())

    def _end(self, lease: w.WorkLease, task: int) -> None:
        self.running = False
        lease.block.values[task] = True
        self.done.append(task)
        if self.world.now - self.since > REPORT_EVERY:
            self._report(lease)
        self.go_on()

    def _report(self, lease: w.WorkLease) -> None:
        done, self.done = self.done, []
        if not done:
            return
        seconds, self.since = self.world.now - self.since, self.world.now
        sizes = m.longs(self.world.job.sizes[task] for task in done)
        inlined = m.ints(task for task in done if task in lease.wanted)
        self.world.to_scheduler(self.peer, m.Done(lease.base, lease.attempt, m.ints(done), sizes, seconds, inlined))
        self.mind.answered(lease, Report(done=done))


@dataclass(slots=True)
class Minds:
    """One job on a scheduler's mind and so many workers' minds."""

    job: Job
    workers: int
    network: Network = FREE
    mind: SchedulerMachine = field(default_factory=SchedulerMachine)
    now: float = 0.0
    busy: float = 0.0
    moved: int = 0
    messages: int = 0
    _agenda: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _order: int = 0
    _hands: dict[int, _Hand] = field(default_factory=dict)
    _left: set[int] = field(default_factory=set)

    def run(self) -> Outcome:
        """Run the job; return how that went.  Raises `AssertionError` when it stands still before its end."""
        self.mind.client_joined(CLIENT)
        for peer in range(FIRST, FIRST + self.workers):
            self._hands[peer] = _Hand(self, peer)
            self._hear(peer, m.Join(f"w{peer}", f"tcp://127.0.0.1:{peer}", 1, 0))
        shape = self.job.shape
        self._left = set(shape.outputs)
        tables, body = tables_of(shape)
        self._hear(CLIENT, m.Submit(1, "", False, pack_shape(shape), tables, b""), body)
        while self._left:
            if not self._agenda:
                raise AssertionError(f"{self.job.name}: nothing can happen, {len(self._left)} outputs have not ended")
            self.now, _, act = heappop(self._agenda)
            act()
        return Outcome(self.now, self.busy, self.moved, self.messages)

    def at(self, moment: float, act: Callable[[], None]) -> None:
        """Have something happen at a moment, after what was said before to happen then."""
        self._order += 1
        heappush(self._agenda, (moment, self._order, act))

    def to_scheduler(self, peer: int, message: m.Message) -> None:
        """A worker says something."""
        self.at(self.now + self.network.latency, lambda: self._hear(peer, message))

    def fetched(self, size: int) -> None:
        """A worker fetches so many bytes."""
        self.moved += size

    def _hear(self, peer: int, message: m.Message, body: bytes = b"") -> None:
        self.messages += 1
        self._route(self.mind.receive(peer, message, body, self.now))
        self._route(self.mind.decide(self.now))

    def _route(self, sends: Sequence[Send]) -> None:
        for peer, message, _ in sends:
            self.messages += 1
            if isinstance(message, m.Succeeded):
                self._left.difference_update(m.from_ints(message.entries))
            elif peer in self._hands:
                self.at(self.now + self.network.latency, self._delivering(peer, message))

    def _delivering(self, peer: int, message: m.Message) -> Callable[[], None]:
        return lambda: self._hands[peer].deliver(message)


# -- the reference ---------------------------------------------------------------------------------


def listed(job: Job, workers: int, network: Network = FREE) -> float:
    """Return the makespan of the simplest scheduler there is: whoever is free takes the ready task of lowest rank.

    No mind, no messages, nothing ahead; a worker fetches what it lacks and then runs.  Graham's bound is about this.
    """
    shape, n = job.shape, len(job.shape)
    readers: list[list[int]] = [[] for _ in range(n)]
    missing = [0] * n
    for entry in range(n):
        for read in shape.inputs_of(entry):
            readers[read].append(entry)
            missing[entry] += 1
    held: list[set[int]] = [set() for _ in range(workers)]
    ready = [entry for entry in range(n) if not missing[entry]]  # in order: a heap
    free, ending, now = list(range(workers)), list[tuple[float, int, int]](), 0.0
    while ready or ending:
        while ready and free:
            entry, worker = heappop(ready), heappop(free)
            absent = [read for read in shape.inputs_of(entry) if read not in held[worker]]
            held[worker].update(absent, (entry,))
            fetching = sum(network.takes(job.sizes[read]) for read in absent)
            heappush(ending, (now + fetching + job.seconds[entry], entry, worker))
        now, entry, worker = heappop(ending)
        heappush(free, worker)
        for reader in readers[entry]:
            missing[reader] -= 1
            if not missing[reader]:
                heappush(ready, reader)
    return now
