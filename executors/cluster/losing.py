"""Workers that are lost, and workers that are silent.

A worker is dead when its connection ends.  One that says nothing is only suspect: it may be frozen, or at a call that
holds the interpreter.  It is given nothing more and asked for what it has not begun, and is as before when it speaks.
Only after `worker_ttl` it is given up: what it had is done again elsewhere, by other attempts, and what it says of the
old ones then changes nothing.  It is not ended for that.

Covers: whose values are lost, who is blamed for a worker's death, silence.
Does not cover: workers that want to leave (draining), leases (handing).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster.keeping import Keeping
from lazygraph.executors.cluster.records import NOWHERE, RunRecord, WorkerRecord
from lazygraph.running import events
from lazygraph.values.status import State, in_states

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lazygraph.executors.cluster.records import Asked
    from lazygraph.running.block import Block

_HANDED_OUT = in_states(frozenset({State.LEASED, State.RUNNING}))
_SUCCEEDED, _RUNNING = int(State.SUCCEEDED), int(State.RUNNING)

WORKER_TTL = 60.0
"""Seconds of silence after which what a worker was doing is done again elsewhere."""

SUSPECT_AFTER = 5.0
"""Seconds of silence after which a worker is given nothing more; a tenth of `worker_ttl`, if that is less."""

BEATS = 5
"""So many signs of life a worker is to give in the time after which it would be suspect."""

_MB = 1_000_000


class Losing(Keeping):
    """The part of the scheduler's mind that knows who is there.

    `worker_ttl` None: silence means nothing (whoever has no clock).
    """

    def __init__(self, worker_ttl: float | None = None) -> None:
        super().__init__()
        self.worker_ttl = worker_ttl
        self.suspect_after = min(SUSPECT_AFTER, (worker_ttl or 0.0) / 10)
        self._stopping: dict[int, Asked] = {}  # our question to a worker -> what it was asked for
        self._heard: dict[int, float] = {}  # workers that are watched -> when they said something last
        self._look_at: float | None = None  # when to look who is silent

    # -- workers that die --------------------------------------------------------------------------

    def _worker_lost(self, peer: int, now: float, how: str) -> None:
        """Values only it had are lost; what it was doing is to be done again."""
        worker = self._remove_worker(peer)
        self._heard.pop(peer, None)
        self._answer_stops(peer, left=True)
        self._do_again(worker, now, how)

    def _do_again(self, worker: WorkerRecord, now: float, how: str) -> None:
        """What a worker had is to be had, or done, elsewhere; `how` it came to its end is said of what it ran."""
        peer = worker.id
        leased: list[tuple[Block, list[int]]] = []
        lost: list[tuple[Block, list[int]]] = []
        for record in self.records.values():
            state, block = record.block.state, record.block
            record.loaded.pop(peer, None)
            record.touched.pop(peer, None)
            if record.portions is not None:
                record.portions.forget(peer)
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
        suspects = _suspects(leased, worker.threads)
        if lost:
            self._handle(events.ValuesLost(lost), now)
        self._last_lost = worker.name
        line = told_of(worker, now, how)
        once = [(b, t) for b, tasks in leased for t in tasks if (p := b.policy(t)) is not None and p.at_most_once]
        for block, task in dict.fromkeys((*suspects, *once)):
            if block.base in self.records:  # what it needs may be gone for good with the values
                self.records[block.base].deaths.setdefault(task, []).append(line)
        self._handle(events.RunnerLost(leased, suspects, apart=True), now)
        for base, task, attempt in worker.held:  # also what nobody waits for any more
            self.frontier.has_left(base, (task,), attempt, now)

    def _answer_stops(self, peer: int, left: bool) -> None:
        """Answer who asked a worker to have a task leave: with it the task has left, or it cannot be asked."""
        for question, asked in list(self._stopping.items()):
            if asked.worker == peer:
                del self._stopping[question]
                if asked.client in self.clients:
                    self._send(asked.client, m.Answer(asked.question, left))

    # -- values that are gone ----------------------------------------------------------------------

    def _missing(self, asker: int, address: str, base: int, entries: Iterable[int], now: float) -> None:
        """A worker did not get values from where we said: it has no copy, and he who was said to have made it has none.

        Who was to fetch it himself says so himself if he has not got it; he may just have begun to.
        """
        record = self.records.get(base)
        if record is None:
            return
        sayer = next((w.id for w in self.workers.values() if w.address == address), NOWHERE)
        for entry in entries:
            self._forget_copy(record, entry, asker)
            made = record.home[entry] == sayer and entry not in (record.fetched or ())
            if made and record.stored.get(entry, NOWHERE) != sayer:  # or it is still on its way there, in a `Store`
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
            record.has_moved(entry)
        if not replicas:
            record.replicas.pop(entry, None)

    def _lose(self, record: RunRecord, entries: list[int], now: float) -> None:
        lost = [entry for entry in entries if record.block.state[entry] == _SUCCEEDED]
        if lost:
            self._handle(events.ValuesLost([(record.block, lost)]), now)

    # -- workers that are given nothing ---------------------------------------------------------------

    def _close(self, worker: WorkerRecord) -> None:
        """Give a worker nothing from now on, and ask it for what it has not begun."""
        if worker.id not in self._closed:
            self._closed[worker.id] = None
            self._loaded(worker, 0)
            self.frontier.close_lane(worker.id)
            if worker.outstanding:
                worker.recalled, worker.given = True, False
                self._send(worker.id, m.TakeBack(-1, b"", worker.outstanding))

    def _open_again(self, worker: WorkerRecord) -> None:
        """Give a worker something again, unless there is another reason not to."""
        if not any(worker.id in kept_away for kept_away in (self._silent, self._leaving, self._full)):
            self._closed.pop(worker.id, None)
            self._loaded(worker, 0)

    # -- silence -----------------------------------------------------------------------------------

    def _watch_life(self, worker: WorkerRecord, now: float) -> None:
        """Have a new worker give signs of life."""
        if self.worker_ttl is not None:
            self._heard[worker.id] = now
            self._send(worker.id, m.Beat(self.suspect_after / BEATS))
            if self._look_at is None:
                self._look_at = now + self.suspect_after

    def _alive(self, peer: int, message: m.Alive, body: bytes | memoryview, now: float) -> None:
        worker = self.workers[peer]
        worker.memory, worker.heard = message.memory, now
        worker.managed, worker.spilled, worker.limit = message.managed, message.spilled, message.limit

    def _is_full(self, peer: int, message: m.Full, body: bytes | memoryview, now: float) -> None:
        """A worker's memory is full, or is so no more."""
        worker = self.workers[peer]
        if message.yes:
            self._full[peer] = None
            self._close(worker)
        elif self._full.pop(peer, NOWHERE) is None:
            self._open_again(worker)

    def _hears(self, peer: int, now: float) -> None:
        """A worker that is watched has said something."""
        self._heard[peer] = now
        if peer in self._silent:
            worker = self.workers[peer]
            del self._silent[peer]
            worker.given_up = False
            self._open_again(worker)

    def _look(self, now: float) -> None:
        """See who has been silent for too long."""
        if self._look_at is None or self._look_at > now or self.worker_ttl is None:
            return
        next_look = now + self.suspect_after
        for peer, heard in list(self._heard.items()):
            worker = self.workers[peer]
            if now - heard >= self.worker_ttl and not worker.given_up:
                self._give_up_on(worker, now)
            elif now - heard >= self.suspect_after and peer not in self._silent:
                self._silent[peer] = None
                self._close(worker)
            if not worker.given_up:  # of two moments the one that comes first
                due = heard + (self.worker_ttl if peer in self._silent else self.suspect_after)
                next_look = min(next_look, due)
        self._look_at = next_look if self._heard else None

    def _give_up_on(self, worker: WorkerRecord, now: float) -> None:
        """A worker was silent for too long: what it has is had, or done, elsewhere, and nobody waits for it."""
        self._silent[worker.id] = None
        worker.given_up = True
        self._close(worker)
        self._answer_stops(worker.id, left=False)
        for record in self.records.values():  # when it speaks again it knows of nothing
            if worker.id in record.touched:
                self._send(worker.id, m.Forget(record.block.base))
            record.told = {told for told in record.told if told[0] != worker.id}
        self._freeing.pop(worker.id, None)
        worker.freed = {}
        for peer in (*self.workers, *self.clients):
            if peer != worker.id:
                self._send(peer, m.Away(worker.address))
        self._do_again(worker, now, f"it said nothing for {now - self._heard[worker.id]:.3g} s")


def _suspects(leased: list[tuple[Block, list[int]]], threads: int) -> list[tuple[Block, int]]:
    """Return whom to blame for a worker's death: what it was running, as far as that is known.

    What shares no lease is handed out when a thread is free, and runs.  Of what shares one it is not known which task
    had begun; none is blamed, and next time they share none.
    """
    handed = [(block, task) for block, tasks in leased for task in tasks]
    running = [(b, t) for b, t in handed if b.state[t] == _RUNNING]
    alone = [(b, t) for b, t in handed if b.state[t] != _RUNNING and (t in b.apart or _alone(b, t))]
    if not running and not alone and len(handed) <= threads:
        return handed
    return [*running, *alone[: max(0, threads - len(running))]]


def _alone(block: Block, task: int) -> bool:
    policy = block.policy(task) if block.special else None
    return policy is not None and policy.alone


def told_of(worker: WorkerRecord, now: float, how: str) -> str:
    """Return what is known of a worker's end, in a line (and what it printed last, in lines below it)."""
    sentence, _, printed = how.partition("\n")
    memory = ""
    if worker.memory:
        memory = f"; {worker.memory / _MB:,.0f} MB of memory {max(0.0, now - worker.heard):.1f} s before"
    line = f"{worker.name} ({worker.address}, process {worker.pid}): {sentence or 'its connection ended'}{memory}"
    return "\n".join([line, *(f"    | {said}" for said in printed.splitlines())])
