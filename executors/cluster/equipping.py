"""What a worker needs for a lease: the plan, failures that stand for inputs, and whom to ask for the others.

Covers: plans and portions of them, where inputs are fetched from.
Does not cover: who gets which lease (handing), which portions there are (portioning).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster.records import RunRecord, Send, WorkerRecord
from lazygraph.values.graph import ORDER

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


BRANCHING = 256 * 1024
"""Bytes from which a value goes from worker to worker when many want it: less than that the first holder gives all."""

FANOUT = 2
"""To so many others a worker gives a large value, and to as many on its host: n have it after log2(n) times."""


class Equipping:
    """Who is there, what runs, and what has been sent of it.  Sends are gathered in order."""

    def __init__(self) -> None:
        self.workers: dict[int, WorkerRecord] = {}
        self.records: dict[int, RunRecord] = {}
        self._silent: dict[int, None] = {}  # workers that have said nothing for a while
        self._out: list[Send] = []
        self.branching, self.fanout = BRANCHING, FANOUT
        self._turns = 0  # how many leases were to ask somebody for inputs

    def _send(self, peer: int, message: m.Message, *body: bytes | memoryview) -> None:
        self._out.append(Send(peer, message, body))

    def _take(self) -> list[Send]:
        out, self._out = self._out, []
        return out

    def _load(self, worker: WorkerRecord, record: RunRecord, tasks: Sequence[int]) -> None:
        """See that a worker knows a plan; of one that comes in portions, what it takes to run these tasks."""
        if worker.id not in record.loaded:
            record.loaded[worker.id] = record.touched[worker.id] = None
            if record.load is None:
                root = record.root
                about = record.aliases, record.label, root.run_id, root.observed
                shape, tables, body = record.heading
                room = record.portions.room if record.portions is not None else None
                paged = bool(record.tables.pages)
                record.load, record.head = m.Load(record.block.base, shape, tables, *about, room, paged), body
            self._send(worker.id, record.load, record.head)
        if record.portions is not None:
            for portion, pieces in record.portions.lacking(worker.id, tasks, len(self.workers)):
                self._send(worker.id, portion, *pieces)

    def _tell_failure(self, worker: WorkerRecord, record: RunRecord, external: int) -> None:
        """See that a worker knows the failure that an external is."""
        if (worker.id, external) not in record.told:
            record.told.add((worker.id, external))
            failure = record.caught[external]
            member = external in record.missed
            self._send(worker.id, m.Caught(record.block.base, external, *failure.facts, member), failure.body)

    def _where(
        self, worker: WorkerRecord, record: RunRecord, tasks: list[int]
    ) -> tuple[list[tuple[str, int, bytes]], int]:
        """Return whom to ask for inputs the worker lacks, and when it was told so; note that it will have them."""
        block, me = record.block, worker.id
        bounds, inputs, kinds, home = block.bounds, block.inputs, block.shape.kinds, record.home
        k = block.shape.externals
        ask: dict[tuple[str, int], list[int]] = {}
        caught, workers = record.caught, self.workers
        for task in tasks:
            at, end = bounds[task], bounds[task + 1]
            while at < end:
                read = inputs[at]
                at += 1
                if read >= k and home[read] == me and not caught:
                    continue  # nearly always
                if kinds[at - 1] == ORDER:
                    continue
                if read in caught:
                    self._tell_failure(worker, record, read)
                    continue
                owner, entry = (block, read) if read >= k else block.owner(read)
                source = self.records[owner.base]
                copies = source.replicas.get(entry)
                if source.home[entry] == me or (copies is not None and me in copies):
                    continue
                if source.sizes[entry] >= self.branching:
                    holder = self._next_giver(source, entry, worker)
                else:
                    holder = workers.get(source.home[entry]) or _first(copies, workers)
                if self._silent and copies is not None and (holder is None or holder.id in self._silent):
                    holder = _first(copies, {w: workers[w] for w in workers if w not in self._silent}) or holder
                if holder is None:
                    continue  # on its way to a worker: it will be reported missing, and tried again
                asked = ask.get((holder.address, owner.base))
                if asked is None:
                    asked = ask[holder.address, owner.base] = []
                asked.append(entry)
                if copies is None:
                    source.replicas[entry] = [me]
                else:
                    copies.append(me)
                source.touched[me] = None
                record.moved += source.sizes[entry]
        if not ask:
            return [], 0
        self._turns += 1
        return [(address, base, m.ints(entries)) for (address, base), entries in ask.items()], self._turns

    def _broadcast(self, record: RunRecord) -> None:
        """Have every worker fetch the values of a run, one from the other."""
        base = record.block.base
        for worker in self.workers.values():
            ask: dict[str, list[int]] = {}
            for entry in range(len(record.block)):
                if record.home[entry] not in self.workers or worker.id in record.holders(entry):
                    continue
                holder = self._next_giver(record, entry, worker)
                if holder is not None:
                    ask.setdefault(holder.address, []).append(entry)
                    record.replicas.setdefault(entry, []).append(worker.id)
                    record.touched[worker.id] = None
                    record.moved += record.sizes[entry]
            self._turns += 1
            for address, entries in ask.items():
                self._send(worker.id, m.Bring(address, base, m.ints(entries), self._turns))

    def _next_giver(self, source: RunRecord, entry: int, worker: WorkerRecord) -> WorkerRecord | None:
        """Return whom a worker asks for a large value: one that has it or will have it, and gives it to few others.

        So it spreads as a tree between hosts, and as one on each host, which begins with the first there.
        """
        if source.trees is None:
            source.trees = {}
        trees = source.trees.setdefault(entry, {})
        host, elsewhere = worker.address.rpartition(":")[0], ""
        holder, place = self._giver_of(source, entry, trees.get(host)), host
        if holder is None:
            holder, place = self._giver_of(source, entry, trees.get(elsewhere)), elsewhere
        if holder is None:  # nobody has asked for it yet, or all who have are gone
            holder = self.workers.get(source.home[entry]) or _first(source.replicas.get(entry), self.workers)
            if holder is None:
                return None
            home = holder.address.rpartition(":")[0]
            for first in dict.fromkeys((elsewhere, home)):
                given = first == (home if home == host else elsewhere)
                trees[first] = deque([(holder.id, self.fanout - given)])
        for joined in dict.fromkeys((host, place)):
            trees.setdefault(joined, deque()).append((worker.id, self.fanout))
        return holder

    def _giver_of(self, source: RunRecord, entry: int, givers: deque[tuple[int, int]] | None) -> WorkerRecord | None:
        """Take the next giver: who is gone, silent or no holder any more, or has given it often enough, is none."""
        home, copies = source.home[entry], source.replicas.get(entry, ())
        while givers:
            giver, left = givers.popleft()
            holder = self.workers.get(giver)
            if holder is None or left <= 0 or giver in self._silent or not (giver == home or giver in copies):
                continue
            givers.appendleft((giver, left - 1))
            return holder
        return None


def _first(copies: Iterable[int] | None, workers: Mapping[int, WorkerRecord]) -> WorkerRecord | None:
    return next((workers[peer] for peer in copies or () if peer in workers), None)
