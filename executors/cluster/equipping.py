"""What a worker needs for a lease: the plan, failures that stand for inputs, and whom to ask for the others.

Covers: plans and portions of them, where inputs are fetched from.
Does not cover: who gets which lease (handing), which portions there are (portioning).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster.records import RunRecord, Send, WorkerRecord
from lazygraph.values.graph import ORDER

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


class Equipping:
    """Who is there, what runs, and what has been sent of it.  Sends are gathered in order."""

    def __init__(self) -> None:
        self.workers: dict[int, WorkerRecord] = {}
        self.records: dict[int, RunRecord] = {}
        self._silent: dict[int, None] = {}  # workers that have said nothing for a while
        self._out: list[Send] = []

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

    def _where(self, worker: WorkerRecord, record: RunRecord, tasks: list[int]) -> list[tuple[str, int, bytes]]:
        """Return whom to ask for inputs the worker lacks, and note that it will have them."""
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
        return [(address, base, m.ints(entries)) for (address, base), entries in ask.items()]


def _first(copies: Iterable[int] | None, workers: Mapping[int, WorkerRecord]) -> WorkerRecord | None:
    return next((workers[peer] for peer in copies or () if peer in workers), None)
