"""A scheduler's mind made anew of what the old one noted, and meeting those who knew that one.

`restore` tells a new mind everything again, at the times at which it happened.  Then it waits: workers that were there
have data and go on with what they were given, and nothing is handed out before all of them are back, or `PATIENCE`
seconds are over.  One that is back has the number that it had, says what it has and what it was given, and that is as
if it had never been away: results are taken, values are known to be there, what nobody wants any more it forgets.  One
that does not come back is lost as any other.  Clients have their numbers back too, are told the ends of their runs, and
send again what was not noted.

Covers: returning peers, the time of waiting.
Does not cover: what is noted (journalling), what notes mean (retelling), the file (net.journal),
connecting again (net).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster import notes as n
from lazygraph.executors.cluster.answering import ENDED, SAD
from lazygraph.executors.cluster.losing import WORKER_TTL, told_of
from lazygraph.executors.cluster.placement import EVERYWHERE
from lazygraph.executors.cluster.records import NOWHERE, RunRecord, WorkerRecord
from lazygraph.executors.cluster.retelling import Retelling
from lazygraph.running import events
from lazygraph.running.endings import HANDED_OUT, UNSTARTED
from lazygraph.values.status import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from lazygraph.running.block import Block

PATIENCE = 20.0
"""Seconds that a scheduler waits for those it knew; they try for longer (net.scheduler_server.RETURNS)."""

_SUCCEEDED = int(State.SUCCEEDED)


class Recovering(Retelling):
    """A mind that keeps a journal, and can go on from one."""

    def __init__(self, epoch: int = 1, worker_ttl: float = WORKER_TTL) -> None:
        super().__init__(epoch, worker_ttl)
        self.next_peer = 1  # numbers from here on were never given to a peer
        self._missed: dict[int, None] = {}  # workers that were there and are not back
        self._missed_clients: dict[int, None] = {}
        self._speaking: dict[int, None] = {}  # of those, workers that are back and have not said what they have
        self.waits_until: float | None = None  # when those are lost that are not back

    def restore(self, records: Iterable[n.Record], now: float) -> None:
        """Be what the mind was that noted these, and wait for those whom it knew."""
        super().restore(records, now)
        self.next_peer = max([*self.workers, *self.clients, 0]) + 1
        self._missed, self._missed_clients = dict.fromkeys(self.workers), dict.fromkeys(self.clients)
        self.waits_until = now + PATIENCE

    # -- who comes back ----------------------------------------------------------------------------

    def returning(self, message: m.Message) -> int | None:
        """Return the number that a peer had who says this first; None for one who is new."""
        ident = message.ident if isinstance(message, m.Join | m.Present) else ""
        missed = self._missed if isinstance(message, m.Join) else self._missed_clients
        return next((peer for peer in missed if ident and self._idents.get(peer) == ident), None)

    def number_of(self, message: m.Message) -> int:
        """Return the number of who says this first, if he is known; else NOWHERE."""
        ident = message.ident if isinstance(message, m.Join | m.Present) else ""
        return next((peer for peer, one in self._idents.items() if one == ident), NOWHERE) if ident else NOWHERE

    def receive(self, peer: int, message: m.Message, body: bytes | memoryview, now: float) -> list[Any]:
        """Absorb one message; return what to send and to note, in order."""
        here = _HANDLERS.get(type(message))
        if isinstance(message, m.Join) and peer in self._missed:
            here = Recovering._is_back
        if here is None:
            return super().receive(peer, message, body, now)
        self._now = max(self._now, now)
        here(self, peer, message, now)
        return self._taken()

    def lost(self, peer: int, now: float, how: str = "") -> list[Any]:
        """A peer's connection has ended; return what to send and to note."""
        for waited in (self._missed, self._missed_clients, self._speaking):
            waited.pop(peer, None)
        return super().lost(peer, now, how)

    def next_time(self) -> float | None:
        """Return when `decide` is to be called although nobody has said anything."""
        if self.waits_until is None:
            return super().next_time()
        due = super().next_time()
        return self.waits_until if due is None else min(due, self.waits_until)

    def decide(self, now: float) -> list[Any]:
        """Hand out what may run, unless workers are missed; return what to send and to note, in order."""
        self._now = max(self._now, now)
        if self.waits_until is not None and (self.waits_until <= now or not (self._missed or self._missed_clients)):
            self.waits_until = None
            for peer in [peer for peer in self._missed if peer not in self._speaking]:
                self._is_gone(peer, now)
            for peer in list(self._missed_clients):
                self._is_gone(peer, now)
        if not self._handing_out and not self._missed:
            self._go_on(now)
        return super().decide(now)

    def _assign(self) -> None:
        if self._handing_out:
            super()._assign()

    def _store_held(self) -> None:
        if self._handing_out:
            super()._store_held()

    def _is_gone(self, peer: int, now: float) -> None:
        """One who was there has not come back."""
        self._missed.pop(peer, None)
        self._missed_clients.pop(peer, None)
        if peer in self.workers:
            self._worker_lost(peer, now, "it did not come back when the scheduler did")
        else:
            self._client_lost(peer, now)
        self._idents.pop(peer, None)
        self._erase(-peer)

    def _go_on(self, now: float) -> None:
        """All workers that will come back are back: what nobody has is lost, and what nobody runs is handed out."""
        self._handing_out = True
        for attempt in self.frontier.permitted():
            if not any(attempt in worker.held for worker in self.workers.values()):
                self.frontier.has_left(attempt[0], (attempt[1],), attempt[2], now)  # it may have begun until now
        lost: list[tuple[Block, list[int]]] = []
        for record in list(self.records.values()):
            block, state = record.block, record.block.state
            unheld = {entry for held, *_ in self._unstored if held is record for entry in range(len(block))}
            made = block.shape.externals if block.bindings else 0
            gone = [
                entry
                for entry in range(made, len(block))
                if state[entry] == _SUCCEEDED and entry not in block.failures and not record.holders(entry)
            ]
            gone = [entry for entry in gone if entry not in unheld]
            if gone:
                lost.append((block, gone))
        if lost:
            self._handle(events.ValuesLost(lost), now)
        for record in list(self.records.values()):
            block = record.block
            taking = [task for task in block.replaced if HANDED_OUT[block.state[task]] and record.home[task] == NOWHERE]
            for task in taking:
                self._handle(events.Returned(block, [task], block.attempt(task)), now)
            for entry in list(record.wants):
                self._answer_wants(record, entry)
        if self._unstored and self.workers:
            self._store_held()

    # -- workers -----------------------------------------------------------------------------------

    def _is_back(self, peer: int, message: Any, now: float) -> None:
        """A worker that was there has connected again: what it has it says next."""
        self._speaking[peer] = None
        worker = self.workers[peer]
        worker.address, worker.pid = message.address, message.pid
        self._watch_life(worker, now)

    def _back(self, peer: int, message: m.Back, now: float) -> None:
        """A worker says what it has, and what it was given."""
        worker = self.workers[peer]
        self._speaking.pop(peer, None)
        known = self._missed.pop(peer, 0) is None
        before = dict(worker.held) if known else {}
        handed: set[tuple[int, int]] = set()
        for base, attempt, packed in message.handed:
            tasks = list(m.from_ints(packed))
            handed.update((base, task) for task in tasks)
            self._has(worker, base, attempt, tasks)
        for base, packed, sizes in message.values:
            entries = m.from_ints(packed)
            pairs = zip(entries, m.from_longs(sizes), strict=True)
            self._keeps(worker, base, [pair for pair in pairs if (base, pair[0]) not in handed], known, now)
        if known:
            said = {(base, entry) for base, packed, _ in message.values for entry in m.from_ints(packed)}
            self._forget_what_is_gone(worker, said | handed, now)
            self._reconcile(worker, handed, before, now)

    def _forget_what_is_gone(self, worker: WorkerRecord, there: set[tuple[int, int]], now: float) -> None:
        """What was noted to be at a worker, and is not: it was freed there, of which the journal has heard nothing."""
        for record in list(self.records.values()):
            base, state = record.block.base, record.block.state
            mine = (entry for entry, home in enumerate(record.home) if home == worker.id and state[entry] == _SUCCEEDED)
            gone = [entry for entry in mine if (base, entry) not in there]
            for entry in gone:
                self._forget_copy(record, entry, worker.id)
            if self._handing_out:  # else they are looked for when all are back
                self._lose(record, [entry for entry in gone if not record.holders(entry)], now)

    def _has(self, worker: WorkerRecord, base: int, attempt: int, tasks: list[int]) -> None:
        """A worker was given tasks: it has them still, whoever gave them."""
        self._loaded(worker, len(tasks))
        for task in tasks:  # what it may begin yet counts from then, whoever waits for it
            if self.frontier.has_permit((base, task, attempt)) and (base, task, attempt) not in worker.held:
                worker.hold((base, task, attempt), EVERYWHERE)
        record = self.records.get(base)
        if record is None:
            self._send(worker.id, m.Forget(base))
            return
        record.touched[worker.id] = None
        for task in tasks:
            block, policy = record.block, record.block.policy(task) if record.block.special else None
            given = record.home[task] == worker.id and HANDED_OUT[block.state[task]] and block.attempt(task) == attempt
            if given or self.frontier.handed_out(block, task, attempt):
                record.home[task] = worker.id
                if policy is not None and (policy.where is not None or policy.limits):
                    self._restricting = True
                    if (base, task, attempt) not in worker.held:
                        worker.hold((base, task, attempt), policy.where or EVERYWHERE)

    def _keeps(self, worker: WorkerRecord, base: int, pairs: list[tuple[int, int]], known: bool, now: float) -> None:
        """A worker has values of a block; `known`: what it was given it was given by the mind before this one."""
        record = self.records.get(base)
        if record is None:
            self._send(worker.id, m.Forget(base))
            return
        record.touched[worker.id] = None
        block, done = record.block, dict[int, list[tuple[int, int]]]()
        for entry, size in pairs:
            if entry < block.shape.externals and block.bindings:
                continue  # another block's, by its own name; it goes with this one
            state, home = block.state[entry], record.home[entry]
            if state == _SUCCEEDED:
                if home == NOWHERE or home == worker.id:
                    record.home[entry] = worker.id
                    record.sizes[entry] = size
                elif worker.id not in record.replicas.get(entry, ()):
                    record.replicas.setdefault(entry, []).append(worker.id)
                self._answer_wants(record, entry)
                for watcher, external in block.watchers.get(entry, ()):
                    self._answer_wants(self.records[watcher.base], external)
            elif HANDED_OUT[state] and home == worker.id and not known:
                pass  # it is to be made there again
            elif (HANDED_OUT[state] and home == worker.id) or (
                UNSTARTED[state] and self.frontier.handed_out(block, entry, block.attempt(entry))
            ):
                record.home[entry] = worker.id
                done.setdefault(block.attempt(entry), []).append((entry, size))
            else:
                self._freed_at(worker.id, base).append(entry)
        for attempt, made in done.items():
            self._loaded(worker, len(made))
            tasks = [entry for entry, _ in made]
            message = m.Done(base, attempt, m.ints(tasks), m.longs(size for _, size in made), 0.0, b"")
            self._done(worker.id, message, b"", now)

    def _reconcile(
        self, worker: WorkerRecord, handed: set[tuple[int, int]], before: Mapping[Any, Any], now: float
    ) -> None:
        """What a worker was given, as was noted, and does not know of, has been lost on the way or with its report."""
        for record in list(self.records.values()):
            block, base = record.block, record.block.base
            if not block.special:
                continue
            state = block.state
            mine = [task for task, home in enumerate(record.home) if home == worker.id and HANDED_OUT[state[task]]]
            lost = [task for task in mine if (base, task) not in handed]
            for task in lost:
                record.home[task] = NOWHERE
            if lost:
                self._last_lost = worker.name
                line = told_of(worker, now, "the scheduler ended meanwhile, and it came back without this")
                for task in lost:
                    record.deaths.setdefault(task, []).append(line)
                self._handle(events.RunnerLost([(block, lost)]), now)  # nobody has died of it
        for attempt in before:
            if attempt[:2] not in handed and attempt in worker.held:
                worker.give_up(worker.held.pop(attempt))
                self.frontier.has_left(attempt[0], (attempt[1],), attempt[2], now)

    # -- clients -----------------------------------------------------------------------------------

    def _present(self, peer: int, message: m.Present, now: float) -> None:
        """A client says who it is, and which runs it has."""
        self._missed_clients.pop(peer, None)
        if peer not in self._idents:
            self._idents[peer] = message.ident
            self._note(-peer, n.Peer(peer, message.ident))
        runs, held = self.clients[peer], dict.fromkeys(message.runs)
        for number in [number for number in runs if number not in held]:
            self._let_go_of(runs[number], now)
        self._send(peer, m.Known([number for number in held if number not in runs]))
        for number in held:
            if number in runs:
                self._tell_ends(runs[number])

    def _let_go_of(self, record: RunRecord, now: float) -> None:
        """Its client has nothing of a run any more."""
        block = record.block
        if not record.lasting and not block.watchers:
            self._handle(events.CancelRun(block), now)
        held = [(entry, count) for claims in (block.futures, block.given_up) for entry, count in claims.items()]
        mine = [entry for entry, count in held for _ in range(count - (entry in record.lasting))]
        self._handle(events.Dropped(block, mine), now)

    def _tell_ends(self, record: RunRecord) -> None:
        """Tell a client again how what it asked for has ended."""
        block = record.block
        well: list[int] = []
        for entry in dict.fromkeys(block.shape.outputs):
            state = block.state[entry]
            if entry in block.given_up:
                self._settled(record, State.CANCELLED, block.causes.get(entry, (block.base, entry)), [entry])
            elif SAD[state]:
                self._settled(record, State(state), block.causes.get(entry, (block.base, entry)), [entry])
            elif ENDED[state]:
                well.append(entry)
        for entry in well:  # each may be somewhere else
            self._tell_succeeded(record, [entry], b"", b"")


_HANDLERS: Mapping[type, Callable[[Recovering, int, Any, float], None]] = {
    m.Back: Recovering._back,
    m.Present: Recovering._present,
}
