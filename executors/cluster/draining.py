"""Workers that leave: what they have not begun is handed over, what they run they finish, their values move to others.

Covers: who leaves, which values go where, when a worker may end.
Does not cover: workers that die or are silent (losing).
"""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING

from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster.losing import Losing
from lazygraph.values.status import State

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lazygraph.executors.cluster.records import RunRecord, WorkerRecord

_SUCCEEDED = int(State.SUCCEEDED)


class Draining(Losing):
    """The part of the scheduler's mind that lets workers go."""

    def __init__(self, worker_ttl: float | None = None) -> None:
        super().__init__(worker_ttl)
        self._carried_by: dict[tuple[int, int], int] = {}  # (block, entry) -> who is fetching it from one that leaves
        self._stays: set[tuple[int, int]] = set()  # (block, entry) of values that cannot be sent
        self._dismissed: dict[int, None] = {}  # workers that have been told to end
        self._drains: list[tuple[int, int, set[int]]] = []  # client, its question, who has not left yet

    def _drain(self, peer: int, message: m.Drain, body: bytes | memoryview, now: float) -> None:
        """Have workers leave; answered when they have."""
        named = {name: w for w in self.workers.values() for name in (w.name, w.address)}
        if not all(name in named for name in message.workers):
            self._send(peer, m.Answer(message.question, False))
            return
        leaving = {named[name].id: named[name] for name in message.workers}
        for worker in leaving.values():
            self._let_go(worker)
        self._drains.append((peer, message.question, set(leaving)))

    def _wants_to_leave(self, peer: int, message: m.Leaving, body: bytes | memoryview, now: float) -> None:
        self._let_go(self.workers[peer])

    def _let_go(self, worker: WorkerRecord) -> None:
        self._leaving[worker.id] = None
        self._close(worker)

    def _worker_lost(self, peer: int, now: float, how: str) -> None:
        super()._worker_lost(peer, now, how)
        self._dismissed.pop(peer, None)
        self._carried_by = {key: by for key, by in self._carried_by.items() if by != peer}
        for client, question, left in self._drains:
            left.discard(peer)
            if not left and client in self.clients:
                self._send(client, m.Answer(question, True))
        self._drains = [drain for drain in self._drains if drain[2]]

    def _carried(self, peer: int, message: m.Carried, body: bytes | memoryview, now: float) -> None:
        record = self.records.get(message.block)
        if record is None:
            return
        for entry in m.from_ints(message.entries):
            self._carried_by.pop((message.block, entry), None)
            home = record.home[entry]
            if record.block.state[entry] != _SUCCEEDED:  # nobody wants it any more, or it is made again
                self._freed_at(peer, message.block).append(entry)
            elif home != peer:  # of two that have it, the one that stays is its home
                copies = [copy for copy in record.replicas.pop(entry, ()) if copy != peer]
                copies += [home] if home in self.workers else []
                record.home[entry] = peer
                record.made_again((entry,))  # or as good as that: it has it
                record.replicas.update({entry: copies} if copies else {})

    def _missing(self, asker: int, address: str, base: int, entries: Iterable[int], now: float) -> None:
        for entry in entries:
            if self._carried_by.get((base, entry)) == asker:
                del self._carried_by[base, entry]
                if not address:
                    self._stays.add((base, entry))
        super()._missing(asker, address, base, entries, now)

    def _drain_on(self) -> None:
        """See who of those that leave has nothing to do any more: its values go to others, and then it may end."""
        if self._carried_by:
            self._carried_by = {key: by for key, by in self._carried_by.items() if self._still_coming(key, by)}
        for peer in self._leaving:
            worker = self.workers[peer]
            if worker.outstanding or peer in self._dismissed or peer in self._silent or self._carried_by:
                continue
            if not self._carry_off(worker):
                self._dismissed[peer] = None
                self._send(peer, m.Leave())

    def _still_coming(self, key: tuple[int, int], by: int) -> bool:
        """Whether a value is still on its way to a worker, and wanted."""
        record = self.records.get(key[0])
        return record is not None and by in self.workers and by in record.replicas.get(key[1], ())

    def _carry_off(self, worker: WorkerRecord) -> bool:
        """Have other workers fetch what only this one has; return whether there is anything to wait for."""
        going = {*self._silent, *self._leaving}  # who is full has disks
        others = sorted((w for w in self.workers.values() if w.id not in going), key=lambda w: w.outstanding)
        if not others:
            return False  # nobody could take it: what has a recipe is made again
        turn = cycle(others)
        for record in self.records.values():
            alone = self._only_there(record, worker.id)
            share = -(-len(alone) // len(others))
            for at in range(0, len(alone), share or 1):
                self._have_carried(record, alone[at : at + share], worker, next(turn))
        self._stays = {key for key in self._stays if key[0] in self.records}
        return bool(self._carried_by)

    def _only_there(self, record: RunRecord, peer: int) -> list[int]:
        """Return the entries whose value is there, and at no worker that stays for sure: some may be on their way."""
        base, state, closed = record.block.base, record.block.state, {*self._silent, *self._leaving}
        mine = [entry for entry, home in enumerate(record.home) if home == peer]
        fetched, home = record.fetched or (), record.home
        mine += [e for e, copies in record.replicas.items() if peer in copies and (home[e] in closed or e in fetched)]
        return [e for e in dict.fromkeys(mine) if state[e] == _SUCCEEDED and (base, e) not in self._stays]

    def _have_carried(self, record: RunRecord, entries: list[int], worker: WorkerRecord, to: WorkerRecord) -> None:
        base = record.block.base
        for entry in entries:
            copies = record.replicas.setdefault(entry, [])
            if to.id not in copies:
                copies.append(to.id)
            self._carried_by[base, entry] = to.id
            record.moved += record.sizes[entry]
        record.touched[to.id] = None
        self._send(to.id, m.Carry(worker.address, base, m.ints(entries)))
