"""The scheduler's mind: messages in, messages out.  No socket, no clock, no pickle.

`receive` absorbs one message; `decide`, called once for everything that came together, hands out leases.

Covers: runs, values and where they are, what clients ask.
Does not cover: what may run (running.frontier), who gets it (handing), who is there (losing, draining), bytes
(net.scheduler_server).
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Any

from lazygraph.errors import InvalidOption, ReplacedTooDeep
from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster.answering import ENDED, SAD, given_up
from lazygraph.executors.cluster.draining import Draining
from lazygraph.executors.cluster.placement import fits
from lazygraph.executors.cluster.records import (
    NOTHING,
    NOWHERE,
    Asked,
    FailureRecord,
    RunRecord,
    Send,
    WorkerRecord,
    check_held,
    held_shape,
    pack_shape,
    refusal,
    unpack_shape,
)
from lazygraph.running import events
from lazygraph.running.frontier import MAX_REPLACEMENTS
from lazygraph.values.status import State, in_states

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lazygraph.running.block import Block

_HANDED_OUT = in_states(frozenset({State.LEASED, State.RUNNING}))
_SUCCEEDED, _RUNNING = int(State.SUCCEEDED), int(State.RUNNING)


class SchedulerMachine(Draining):
    """One mind for all clients and workers of a cluster; peers are numbers that the hand gives out."""

    def __init__(self, worker_ttl: float | None = None) -> None:
        super().__init__(worker_ttl)
        self._unstored: list[tuple[RunRecord, list[int], memoryview]] = []
        self._asked = 0

    # -- the doors ---------------------------------------------------------------------------------

    def receive(self, peer: int, message: m.Message, body: bytes | memoryview, now: float) -> list[Send]:
        """Absorb one message; return what to send at once, in order."""
        if peer in self._heard:
            self._hears(peer, now)
        _HANDLERS[type(message)](self, peer, message, body, now)
        return self._take()

    def decide(self, now: float) -> list[Send]:
        """Hand out what may run to workers that have room; return what to send, in order."""
        due = self.frontier.next_time()
        if due is not None and due <= now:
            self._perform(self.frontier.tick(now))
        self._lapse(now)
        self._look(now)
        if self._leaving:
            self._drain_on()
        # Frees go first: what is handed out after them may be one of these values, to be made again.
        for worker in self._freeing.values():
            for base, entries in worker.freed.items():
                if base in self.records:
                    self._send(worker.id, m.Free(base, m.ints(entries)))
            worker.freed = {}
        self._freeing.clear()
        if self._unstored and self.workers:
            self._store_held()
        self._assign()
        return self._take()

    def next_time(self) -> float | None:
        """Return when `decide` is to be called although nobody has said anything; None when nothing waits for time."""
        times = (self.frontier.next_time(), self._next_lapse(), self._look_at)
        return min([time for time in times if time is not None], default=None)

    def client_joined(self, peer: int) -> None:
        """A client has been greeted."""
        self.clients[peer] = {}

    def lost(self, peer: int, now: float, how: str = "") -> list[Send]:
        """A peer's connection has ended, and `how` it did, as far as that is known; return what to send."""
        if peer in self.clients:
            self._client_lost(peer, now)
        elif peer in self.workers:
            self._worker_lost(peer, now, how)
        return self._take()

    # -- clients -----------------------------------------------------------------------------------

    def _submit(self, peer: int, message: m.Submit, body: bytes | memoryview, now: float) -> None:
        runs = self.clients[peer]
        if message.run in runs:
            return  # its client was on the way back here, and had it in two places: among what waits, and as unknown
        flat = m.from_ints(message.bindings)
        if any(run >= 0 and run not in runs for run in flat[::2]):
            why = "a run that it reads from was refused, or is over"
            self._send(peer, refusal(message.run, message.shape.outputs, message.name, why))
            return
        pairs = zip(flat[::2], flat[1::2], strict=True)
        bindings = [(runs[run].block, entry) if run >= 0 else None for run, entry in pairs]
        shape = unpack_shape(message.shape)
        try:
            inside = max(0, message.inside)
            block, actions = self.frontier.admit(shape, bindings, message.fail_fast, now, message.skips, inside)
        except InvalidOption as error:
            refused = refusal(message.run, message.shape.outputs, message.name, str(error))
            self._send(peer, refused)
            return
        record = RunRecord(block, peer, message.run, message.shape, message.tables, body)
        record.run_id, record.label = message.name, message.label or record.label
        record.observed = message.observed
        record.aliases = [(owner.base, entry) for owner, entry in map(block.owner, range(len(bindings)))]
        self._known(record)
        self._enter(record, actions)

    def _hold(self, peer: int, message: m.Hold, body: bytes | memoryview, now: float) -> None:
        check_held(message, len(body))
        shape = held_shape(message.names)
        block, actions = self.frontier.admit(shape, (), fail_fast=False, now=now)
        record = RunRecord(block, peer, message.run, pack_shape(shape), m.TablesOnWire([], 0), b"")
        record.label = message.label or record.label
        self._known(record)
        for entry, length in enumerate(message.lengths):
            record.sizes[entry] = length
        gone = self._own(record, message.at)
        sent = [0 if address else n for (address, _), n in zip(message.at, message.lengths, strict=False)]
        if not message.at or len(sent) > sum(bool(address) for address, _ in message.at):
            self._unstored.append((record, sent or message.lengths, memoryview(body)))
        if self.workers:
            self._store_held()
        self._enter(record, actions)
        if gone:
            self._lose(record, gone, now)
        if message.broadcast:
            self._broadcast(record)

    def _store_held(self) -> None:
        """Spread scattered values that are still claimed over the workers, in runs of equal count."""
        for record, lengths, body in self._unstored:
            starts, state = list(accumulate(lengths, initial=0)), record.block.state
            kept = [e for e in range(len(lengths)) if state[e] == _SUCCEEDED and record.home[e] == NOWHERE]
            there = [w for w in self.workers.values() if w.id not in self._closed] or self.workers.values()
            workers = sorted(there, key=lambda w: w.outstanding)
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

    def _own(self, record: RunRecord, at: Sequence[tuple[str, str]]) -> list[int]:
        """Tell workers what values are that a client has put there; return those whose workers are gone meanwhile."""
        workers = {w.address: w for w in self.workers.values()} if at else {}
        owned: dict[int, list[int]] = {}
        gone = []
        for entry, (address, _) in enumerate(at):
            worker = workers.get(address)
            if worker is not None:
                owned.setdefault(worker.id, []).append(entry)
                record.home[entry] = record.stored[entry] = worker.id
                record.touched[worker.id] = None
                record.moved += record.sizes[entry]
            elif address:
                gone.append(entry)
        for peer, entries in owned.items():
            self._send(peer, m.Own(record.block.base, m.ints(entries), [at[entry][1] for entry in entries]))
        return gone

    def _drop(self, peer: int, message: m.Drop, body: bytes | memoryview, now: float) -> None:
        for run, entries in ((message.run, message.entries), *message.more):
            record = self.clients[peer].get(run)
            if record is not None:
                self._handle(events.Dropped(record.block, m.from_ints(entries)), now)

    def _cancel(self, peer: int, message: m.Cancel, body: bytes | memoryview, now: float) -> None:
        record = self.clients[peer].get(message.run)
        cancelled = False
        if record is not None and message.entry < 0:
            if message.force:
                self._stop_all((record.attached or record).block)
            if record.attached is not None:
                self._handle(events.CancelRun(record.attached.block), now)
            self._handle(events.CancelRun(record.block), now)
            cancelled = True
        elif record is not None:
            if self._stop(peer, message, record, now):
                return
            owner, origin = record.block.owner(message.entry)
            if record.keys is None or not _HANDED_OUT[owner.state[origin]]:
                self._handle(events.CancelTask(record.block, message.entry), now)
                cancelled = given_up(record.block, message.entry)
            if record.keys is not None and cancelled:
                self._keep_no_longer(owner, origin, now)
        self._send(peer, m.Answer(message.question, cancelled))

    def _stop(self, client: int, message: m.Cancel, record: RunRecord, now: float) -> bool:
        """Ask whoever was handed a task to have it not begin, or leave; return whether one was.  The answer follows."""
        here, at = record.block, message.entry
        block, entry = here.owner(at) if record.keys is not None else (here, at)
        home = self.records[block.base]
        others = home.client != client and home.client in self.clients
        if not _HANDED_OUT[block.state[entry]] or others or {*block.watchers.get(entry, ())} - {(here, at)}:
            return False  # it does not run, or another run or client wants it too
        if not message.force and block.state[entry] == _RUNNING:
            return False  # it has been told that it has begun
        if home.home[entry] not in self.workers:
            return False
        if block is here:  # it may be on its way back, and is not to begin again
            self._handle(events.CancelTask(block, entry), now)
        return self._have_stopped(home, entry, client, message.question, message.force)

    def _stop_all(self, run: Block) -> None:
        """Make everything of a run leave that runs; nobody waits for that."""
        for block in (run, *run.stands.values()):
            for entry in range(block.shape.externals, len(block)):
                if _HANDED_OUT[block.state[entry]] and not block.watchers.get(entry):
                    self._have_stopped(self.records[block.base], entry, NOWHERE, 0)

    def _have_stopped(self, record: RunRecord, entry: int, client: int, question: int, force: bool = True) -> bool:
        worker, block = record.home[entry], record.block
        if worker not in self.workers:
            return False
        self._asked += 1
        self._stopping[self._asked] = Asked(client, question, worker, block, entry)
        self._send(worker, m.Stop(self._asked, block.base, entry, block.attempt(entry), force))
        return True

    def _stopped(self, peer: int, message: m.Stopped, body: bytes | memoryview, now: float) -> None:
        asked = self._stopping.pop(message.question, None)
        if asked is not None and asked.client in self.clients:  # it may have come back before it was to leave
            self._send(asked.client, m.Answer(asked.question, message.yes or given_up(asked.block, asked.entry)))

    def _set_queues(self, peer: int, message: m.SetQueues, body: bytes | memoryview, now: float) -> None:
        meant = [w for w in self.workers.values() if not message.workers or {w.name, w.address} & {*message.workers}]
        for worker in meant:
            worker.queues.update(dict.fromkeys(message.add))
            for queue in message.remove:
                worker.queues.pop(queue, None)
            if "default" not in worker.queues:
                self.frontier.close_lane(worker.id)
            self._reported[worker.id] = None
        self._send(peer, m.Answer(message.question, bool(meant)))

    def _parked(self, peer: int, message: m.Parked, body: bytes | memoryview, now: float) -> None:
        self._loaded(self.workers[peer], -message.tasks)

    # -- workers -----------------------------------------------------------------------------------

    def _join(self, peer: int, message: m.Join, body: bytes | memoryview, now: float) -> None:
        offer = message.threads, message.queues, message.resources
        worker = WorkerRecord(peer, message.name, message.address, *offer)
        worker.pid = message.pid
        self._add_worker(worker)
        self._watch_life(worker, now)

    def _done(self, peer: int, message: m.Done, body: bytes | memoryview, now: float) -> None:
        worker = self.workers[peer]
        tasks = m.from_ints(message.tasks)
        elsewhere = worker.late and worker.threads > 1  # one thread is at something long, this was another
        worker.reluctant = worker.late = False
        self._late.pop(peer, None)
        self._loaded(worker, -len(tasks))
        if elsewhere:
            self._ask_all_back(worker)
        self._left(worker, message.block, tasks, message.attempt, now, ran=True)
        record = self.records.get(message.block)
        if record is None:
            return
        home, block = record.home, record.block
        sizes = m.from_longs(message.sizes)
        fresh, known, kept = [], record.sizes, 0
        for task, size in zip(tasks, sizes, strict=True):
            if home[task] == peer:
                fresh.append(task)
                known[task] = size
                kept += size
        record.root.kept += kept
        mean = message.seconds / max(len(tasks), 1)
        if message.seconds:  # taking over what stood for a task is no work
            record.seconds = mean if record.seconds is None else 0.5 * record.seconds + 0.5 * mean
            self._seconds = record.seconds
            if record.paces and tasks:
                self._took(worker, record, tasks, mean)
        progress = self.frontier.succeeded(block, fresh, message.attempt, now)
        self._were_made(record, peer, message, fresh, progress.late)
        if record is record.root:  # what a task has become is no further progress
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

    def _were_made(self, record: RunRecord, peer: int, message: m.Done, fresh: list[int], late: list[int]) -> None:
        """Of the tasks of a report these, less the late ones, have ended well; whoever keeps a journal notes it."""

    def _broke(self, peer: int, message: m.Broke, body: bytes | memoryview, now: float) -> None:
        worker = self.workers[peer]
        self._loaded(worker, -1)
        self._left(worker, message.block, (message.task,), message.attempt, now, ran=True)
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
        if message.stopped or (message.retry and message.task in record.block.withdrawn):
            del record.failures[message.task]
        failed = events.Failed(
            record.block,
            message.task,
            message.attempt,
            above=message.step is not None,
            retry=message.retry,
            asked=message.asked,
            countdown=message.countdown,
            max_retries=message.max_retries,
            stopped=message.stopped,
        )
        self._handle(failed, now)

    def _replaced(self, peer: int, message: m.Replaced, body: bytes | memoryview, now: float) -> None:
        """Take in what a task is to become."""
        worker = self.workers[peer]
        self._loaded(worker, -1)
        self._left(worker, message.block, (message.task,), message.attempt, now, ran=True)
        record = self.records.get(message.block)
        if record is None or record.home[message.task] != peer or not _current(record.block, message):
            return
        block, task = record.block, message.task
        shape = unpack_shape(message.shape)
        try:
            if block.depth >= MAX_REPLACEMENTS:
                raise ReplacedTooDeep(block.shape.name_of(task), MAX_REPLACEMENTS)
            new, actions = self.frontier.replaced(block, task, message.attempt, shape, [None] * shape.externals, now)
        except (ReplacedTooDeep, InvalidOption) as error:
            kind = "refused" if isinstance(error, InvalidOption) else "too deep"
            name, origin = block.shape.name_of(task), block.shape.origin_of(task)
            key, why = record.key_of(name, task), str(error) if kind == "refused" else ""
            record.failures[task] = FailureRecord(name, key, message.attempt, kind, why, worker.name, origin)
            self._handle(events.Failed(block, task, message.attempt), now)
            return
        assert new is not None  # it is current
        record.home[task] = NOWHERE
        stands = RunRecord(new, record.client, record.run, message.shape, message.tables, body)
        stands.root, stands.label = record.root, f"{record.label}.{task}"
        stands.aliases = [(new.base, external) for external in range(shape.externals)]
        self._know(stands)
        self._perform(actions)

    def _returned(self, peer: int, message: m.Returned, body: bytes | memoryview, now: float) -> None:
        worker, for_idle = self.workers[peer], False
        tasks = m.from_ints(message.tasks)
        if message.asked:
            for_idle, worker.recalled = not worker.pressed, False
            if worker.pressed:  # whatever has not begun is coming back
                worker.pressed, worker.least = False, NOTHING
            # What it was given since may have crossed its answer: of that it has said nothing.
            worker.reluctant = not worker.given and not self._for_idle(message.block, tasks)
        self._loaded(worker, -len(tasks))
        for address, base, entries in message.missing:
            self._missing(peer, address, base, m.from_ints(entries), now)
        self._left(worker, message.block, tasks, message.attempt, now, ran=False)
        record = self.records.get(message.block)
        if record is not None:
            attempt_of = record.block.attempt  # it may have been given up, and given another one since
            fresh = [t for t in tasks if record.home[t] == peer and attempt_of(t) == message.attempt]
            for task in fresh:
                if not ENDED[record.block.state[task]]:
                    record.home[task] = NOWHERE
            self._given_back = for_idle
            self._handle(events.Returned(record.block, fresh, message.attempt), now)
            self._given_back = False

    def _for_idle(self, base: int, tasks: Sequence[int]) -> bool:
        """Whether one of these tasks is not restricted, or not to other workers than those that have nothing to do."""
        record = self.records.get(base)
        if record is None or not record.block.special:
            return bool(tasks)
        policies = map(record.block.policy, tasks)
        wheres = {policy.where if policy is not None else None for policy in policies}
        idle = [self.workers[peer] for peer in self._free_threads] if wheres - {None} else []
        return any(where is None or any(fits(worker, where) for worker in idle) for where in wheres)

    def _began(self, peer: int, message: m.Began, body: bytes | memoryview, now: float) -> None:
        self.workers[peer].late = True
        self._late[peer] = None
        record = self.records.get(message.block)
        if record is not None and record.paces:
            self._takes_long(self.workers[peer], record, message.task)
        if record is not None and record.home[message.task] == peer:
            self._handle(events.Started(record.block, message.task, message.attempt), now)
        else:
            self.frontier.has_begun(message.block, message.task, message.attempt, now)


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
    m.SetQueues: SchedulerMachine._set_queues,
    m.Stopped: SchedulerMachine._stopped,
    m.Told: SchedulerMachine._told,
    m.Watched: SchedulerMachine._watched,
    m.Parked: SchedulerMachine._parked,
    m.Keep: SchedulerMachine._keep,
    m.Forgo: SchedulerMachine._forgo,
    m.AskAccepted: SchedulerMachine._ask_accepted,
    m.Open: SchedulerMachine._open,
    m.Again: SchedulerMachine._again,
    m.Alive: SchedulerMachine._alive,
    m.Full: SchedulerMachine._is_full,
    m.Drain: SchedulerMachine._drain,
    m.Leaving: SchedulerMachine._wants_to_leave,
    m.Carried: SchedulerMachine._carried,
}
FROM_CLIENTS = (
    m.Submit, m.Hold, m.Drop, m.Cancel, m.Want, m.AskStats, m.AskState, m.SetQueues,
    m.Keep, m.Forgo, m.AskAccepted, m.Open, m.Again, m.Drain,
)  # fmt: skip
FROM_WORKERS = (
    m.Join, m.Done, m.Broke, m.Returned, m.Began, m.Replaced, m.Stopped, m.Told, m.Parked, m.Watched,
    m.Alive, m.Leaving, m.Carried, m.Full,
)  # fmt: skip
