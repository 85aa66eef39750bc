"""The scheduler's mind: messages in, messages out.  No socket, no clock, no pickle.

`receive` absorbs one message; `decide`, called once for everything that came together, hands out leases.

Covers: runs, values and where they are, lost workers, what clients ask.
Does not cover: what may run (running.frontier), who gets it (handing), bytes (net.scheduler_server).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster.answering import ENDED, SAD, Answering, given_up
from lazygraph.executors.cluster.records import (
    NOWHERE,
    FailureRecord,
    RunRecord,
    Send,
    WorkerRecord,
    held_shape,
    pack_shape,
    plain_stats,
    unpack_shape,
)
from lazygraph.running import events
from lazygraph.running.frontier import MAX_REPLACEMENTS
from lazygraph.values.graph import offsets_of
from lazygraph.values.status import State, in_states

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from lazygraph.running.block import Block

_HANDED_OUT = in_states(frozenset({State.LEASED, State.RUNNING}))
_SUCCEEDED, _RUNNING = int(State.SUCCEEDED), int(State.RUNNING)


class SchedulerMachine(Answering):
    """One mind for all clients and workers of a cluster; peers are numbers that the hand gives out."""

    def __init__(self) -> None:
        super().__init__()
        self._unstored: list[tuple[RunRecord, list[int], memoryview]] = []

    # -- the doors ---------------------------------------------------------------------------------

    def receive(self, peer: int, message: m.Message, body: bytes | memoryview, now: float) -> list[Send]:
        """Absorb one message; return what to send at once, in order."""
        _HANDLERS[type(message)](self, peer, message, body, now)
        return self._take()

    def decide(self, now: float) -> list[Send]:
        """Hand out what may run to workers that have room; return what to send, in order."""
        # Frees go first: what is handed out after them may be one of these values, to be made again.
        for worker in self.workers.values():
            if worker.freed:
                for base, entries in worker.freed.items():
                    if base in self.records:
                        self._send(worker.id, m.Free(base, m.ints(entries)))
                worker.freed = {}
        if self._unstored and self.workers:
            self._store_held()
        self._assign()
        return self._take()

    def client_joined(self, peer: int) -> None:
        """A client has been greeted."""
        self.clients[peer] = {}

    def lost(self, peer: int, now: float) -> list[Send]:
        """A peer's connection has ended; return what to send."""
        if peer in self.clients:
            self._client_lost(peer, now)
        elif peer in self.workers:
            self._worker_lost(peer, now)
        return self._take()

    # -- clients -----------------------------------------------------------------------------------

    def _submit(self, peer: int, message: m.Submit, body: bytes | memoryview, now: float) -> None:
        runs = self.clients[peer]
        flat = m.from_ints(message.bindings)
        pairs = zip(flat[::2], flat[1::2], strict=True)
        bindings = [(runs[run].block, entry) if run >= 0 else None for run, entry in pairs]
        block, actions = self.frontier.admit(unpack_shape(message.shape), bindings, message.fail_fast)
        record = RunRecord(block, peer, message.run, message.shape, message.tables, body)
        record.aliases = [(owner.base, entry) for owner, entry in map(block.owner, range(len(bindings)))]
        self._enter(record, actions)

    def _hold(self, peer: int, message: m.Hold, body: bytes | memoryview, now: float) -> None:
        shape = held_shape(message.names)
        block, actions = self.frontier.admit(shape, (), fail_fast=False)
        record = RunRecord(block, peer, message.run, pack_shape(shape), m.TablesOnWire([], 0), b"")
        for entry, length in enumerate(message.lengths):
            record.sizes[entry] = length
        self._unstored.append((record, message.lengths, memoryview(body)))
        if self.workers:
            self._store_held()
        self._enter(record, actions)

    def _enter(self, record: RunRecord, actions: Sequence[events.Action]) -> None:
        self.records[record.block.base] = record
        self.clients[record.client][record.run] = record
        self._perform(actions)

    def _store_held(self) -> None:
        """Spread scattered values that are still claimed over the workers, in runs of equal count."""
        for record, lengths, body in self._unstored:
            starts, state = offsets_of(lengths), record.block.state
            kept = [entry for entry in range(len(lengths)) if state[entry] == _SUCCEEDED]
            workers = sorted(self.workers.values(), key=lambda w: w.outstanding)
            share = -(-len(kept) // len(workers))
            for index, worker in enumerate(workers):
                entries = kept[index * share : (index + 1) * share]
                if not entries:
                    break
                part = [lengths[entry] for entry in entries]
                pieces = [body[starts[entry] : starts[entry + 1]] for entry in entries]
                self._send(worker.id, m.Store(record.block.base, m.ints(entries), part), *pieces)
                record.moved += sum(part)
                record.touched[worker.id] = None
                for entry in entries:
                    record.home[entry] = record.stored[entry] = worker.id
            for entry in kept:
                self._answer_wants(record, entry)
                for watcher, external in record.block.watchers.get(entry, ()):
                    self._answer_wants(self.records[watcher.base], external)
        self._unstored.clear()

    def _drop(self, peer: int, message: m.Drop, body: bytes | memoryview, now: float) -> None:
        record = self.clients[peer].get(message.run)
        if record is not None:
            self._handle(events.Dropped(record.block, m.from_ints(message.entries)), now)

    def _cancel(self, peer: int, message: m.Cancel, body: bytes | memoryview, now: float) -> None:
        record = self.clients[peer].get(message.run)
        cancelled = False
        if record is not None and message.entry < 0:
            self._handle(events.CancelRun(record.block), now)
            cancelled = True
        elif record is not None:
            self._handle(events.CancelTask(record.block, message.entry), now)
            cancelled = given_up(record.block, message.entry)
        self._send(peer, m.Answer(message.question, cancelled))

    def _want(self, peer: int, message: m.Want, body: bytes | memoryview, now: float) -> None:
        record = self.clients[peer].get(message.run)
        if record is None:
            self._send(peer, m.Located(message.question, "", 0, 0, "its run is over and was forgotten"))
            return
        record.wants.setdefault(message.entry, []).append(message.question)
        self._handle(events.Wanted(record.block, message.entry), now)
        self._answer_wants(record, message.entry)

    def _ask_stats(self, peer: int, message: m.AskStats, body: bytes | memoryview, now: float) -> None:
        record = self.clients[peer].get(message.run)
        if record is not None:
            self._send(peer, m.Stats(message.run, record.stats))

    def _ask_state(self, peer: int, message: m.AskState, body: bytes | memoryview, now: float) -> None:
        holders = []
        for run, entry in message.runs:
            record = self.clients[peer].get(run)
            found: list[str] = []
            if record is not None:
                owner, origin = record.block.owner(entry)
                home = self.records.get(owner.base)
                if home is not None and owner.state[origin] == _SUCCEEDED:
                    found = [self.workers[w].address for w in home.holders(origin) if w in self.workers]
            holders.append(found)
        self._send(peer, m.StateOf(message.question, plain_stats(list(self.workers.values())), holders))

    def _client_lost(self, peer: int, now: float) -> None:
        """What a client was waiting for is cancelled, what it held is freed."""
        for record in self.clients.pop(peer).values():
            block = record.block
            self._handle(events.CancelRun(block), now)
            claims = [e for held in (block.futures, block.given_up) for e, count in held.items() for _ in range(count)]
            self._handle(events.Dropped(block, claims), now)

    # -- workers -----------------------------------------------------------------------------------

    def _join(self, peer: int, message: m.Join, body: bytes | memoryview, now: float) -> None:
        self._add_worker(WorkerRecord(peer, message.name, message.address, message.threads))

    def _done(self, peer: int, message: m.Done, body: bytes | memoryview, now: float) -> None:
        worker = self.workers[peer]
        tasks = m.from_ints(message.tasks)
        self._loaded(worker, -len(tasks))
        worker.reluctant = False
        record = self.records.get(message.block)
        if record is None:
            return
        home, block = record.home, record.block
        sizes = m.from_longs(message.sizes)
        fresh = []
        for task, size in zip(tasks, sizes, strict=True):
            if home[task] == peer:
                fresh.append(task)
                record.sizes[task] = size
                record.root.kept += size
        mean = message.seconds / max(len(tasks), 1)
        if message.seconds:  # taking over what stood for a task is no work
            record.seconds = mean if record.seconds is None else 0.5 * record.seconds + 0.5 * mean
            self._seconds = record.seconds
        progress = self.frontier.succeeded(block, fresh, message.attempt)
        record.root.done += len(fresh)
        if block.causes:  # some may have been cancelled while they ran
            self._free(record, [task for task in fresh if SAD[block.state[task]]])
        if progress.outputs:
            self._tell_succeeded(record, progress.outputs, message.inlined, body)
        if progress.freed:
            self._free(record, progress.freed)
        if progress.actions:
            self._perform(progress.actions)
        if record.wants:
            for entry in progress.outputs:
                self._answer_wants(record, entry)

    def _broke(self, peer: int, message: m.Broke, body: bytes | memoryview, now: float) -> None:
        worker = self.workers[peer]
        self._loaded(worker, -1)
        record = self.records.get(message.block)
        if record is None or record.home[message.task] != peer or not _current(record.block, message):
            return
        record.failures[message.task] = FailureRecord(
            message.node,
            record.key_of(message.node, message.task, message.step),
            message.attempt,
            "raised",
            message.text,
            worker.name,
            message.origin,
            body=body,
        )
        self._handle(events.Failed(record.block, message.task, message.attempt, message.step is not None), now)

    def _replaced(self, peer: int, message: m.Replaced, body: bytes | memoryview, now: float) -> None:
        """Take in what a task is to become."""
        worker = self.workers[peer]
        self._loaded(worker, -1)
        record = self.records.get(message.block)
        if record is None or record.home[message.task] != peer or not _current(record.block, message):
            return
        block, task = record.block, message.task
        if block.depth >= MAX_REPLACEMENTS:
            name, origin = block.shape.name_of(task), block.shape.origin_of(task)
            key = record.key_of(name, task)
            record.failures[task] = FailureRecord(name, key, message.attempt, "too deep", "", worker.name, origin)
            self._handle(events.Failed(block, task, message.attempt), now)
            return
        record.home[task] = NOWHERE
        shape = unpack_shape(message.shape)
        new, actions = self.frontier.replaced(block, task, message.attempt, shape, [None] * shape.externals)
        assert new is not None  # it is current
        stands = RunRecord(new, record.client, record.run, message.shape, message.tables, body)
        stands.root, stands.label = record.root, f"{record.label}.{task}"
        stands.aliases = [(new.base, external) for external in range(shape.externals)]
        self.records[new.base] = stands
        self._perform(actions)

    def _returned(self, peer: int, message: m.Returned, body: bytes | memoryview, now: float) -> None:
        worker = self.workers[peer]
        tasks = m.from_ints(message.tasks)
        self._loaded(worker, -len(tasks))
        if message.asked:
            worker.recalled = False
            worker.reluctant = not tasks
        for address, base, entries in message.missing:
            self._missing(peer, address, base, m.from_ints(entries), now)
        record = self.records.get(message.block)
        if record is not None:
            fresh = [task for task in tasks if record.home[task] == peer]
            for task in fresh:
                if not ENDED[record.block.state[task]]:
                    record.home[task] = NOWHERE
            self._given_back = message.asked
            self._handle(events.Returned(record.block, fresh, message.attempt), now)
            self._given_back = False

    def _missing(self, asker: int, address: str, base: int, entries: Iterable[int], now: float) -> None:
        """A worker did not get values from where we said: it has no copy, and he who was said to have it has none."""
        record = self.records.get(base)
        if record is None:
            return
        sayer = next((w.id for w in self.workers.values() if w.address == address), NOWHERE)
        for entry in entries:
            self._forget_copy(record, entry, asker)
            if record.stored.get(entry, NOWHERE) != sayer:  # or it is still on its way there, in a `Store`
                self._forget_copy(record, entry, sayer)
        self._lose(record, [entry for entry in entries if not record.holders(entry)], now)

    def _forget_copy(self, record: RunRecord, entry: int, worker: int) -> None:
        if worker == NOWHERE:
            return
        replicas = record.replicas.get(entry, [])
        if worker in replicas:
            replicas.remove(worker)
        if record.home[entry] == worker and not _HANDED_OUT[record.block.state[entry]]:
            record.home[entry] = replicas.pop(0) if replicas else NOWHERE
        if not replicas:
            record.replicas.pop(entry, None)

    def _lose(self, record: RunRecord, entries: list[int], now: float) -> None:
        lost = [entry for entry in entries if record.block.state[entry] == _SUCCEEDED]
        if lost:
            self._handle(events.ValuesLost([(record.block, lost)]), now)

    def _began(self, peer: int, message: m.Began, body: bytes | memoryview, now: float) -> None:
        record = self.records.get(message.block)
        if record is not None and record.home[message.task] == peer:
            self._handle(events.Started(record.block, message.task, message.attempt), now)

    def _worker_lost(self, peer: int, now: float) -> None:
        """Values only it had are lost; what it was doing is to be done again."""
        worker = self._remove_worker(peer)
        leased: list[tuple[Block, list[int]]] = []
        lost: list[tuple[Block, list[int]]] = []
        for record in self.records.values():
            state, block = record.block.state, record.block
            record.loaded.pop(peer, None)
            record.touched.pop(peer, None)
            mine = [entry for entry, home in enumerate(record.home) if home == peer]
            handed = [entry for entry in mine if _HANDED_OUT[state[entry]]]
            for entry in handed:
                record.home[entry] = NOWHERE
            for entry in (*mine, *[e for e, copies in record.replicas.items() if peer in copies]):
                self._forget_copy(record, entry, peer)
            gone = [entry for entry in mine if state[entry] == _SUCCEEDED and not record.holders(entry)]
            if handed:
                leased.append((block, handed))
            if gone:
                lost.append((block, gone))
        running = [(b, t) for b, tasks in leased for t in tasks if b.state[t] == _RUNNING]
        first = [(b, t) for b, tasks in leased for t in tasks][: worker.threads]
        if lost:
            self._handle(events.ValuesLost(lost), now)
        self._last_lost = worker.name
        self._handle(events.RunnerLost(leased, running or first), now)


def _current(block: Block, message: m.Broke | m.Replaced) -> bool:
    """Whether a task is still being waited for, and this attempt of it."""
    return bool(_HANDED_OUT[block.state[message.task]]) and block.attempt(message.task) == message.attempt


_HANDLERS: Mapping[type, Callable[[SchedulerMachine, int, Any, bytes | memoryview, float], None]] = {
    m.Submit: SchedulerMachine._submit,
    m.Hold: SchedulerMachine._hold,
    m.Drop: SchedulerMachine._drop,
    m.Cancel: SchedulerMachine._cancel,
    m.Want: SchedulerMachine._want,
    m.AskStats: SchedulerMachine._ask_stats,
    m.AskState: SchedulerMachine._ask_state,
    m.Join: SchedulerMachine._join,
    m.Done: SchedulerMachine._done,
    m.Broke: SchedulerMachine._broke,
    m.Returned: SchedulerMachine._returned,
    m.Began: SchedulerMachine._began,
    m.Replaced: SchedulerMachine._replaced,
}
FROM_CLIENTS = (m.Submit, m.Hold, m.Drop, m.Cancel, m.Want, m.AskStats, m.AskState)
FROM_WORKERS = (m.Join, m.Done, m.Broke, m.Returned, m.Began, m.Replaced)
