"""A scheduler's mind made anew: it is told everything again that the old one noted, at the times at which it happened.

Covers: what each note means.
Does not cover: what is noted (journalling), meeting those whom the old mind knew (recovering).
"""

from __future__ import annotations

from array import array
from dataclasses import replace
from heapq import heappush
from typing import TYPE_CHECKING, Any

from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster import notes as n
from lazygraph.executors.cluster.journalling import Journalling
from lazygraph.executors.cluster.losing import WORKER_TTL
from lazygraph.executors.cluster.placement import EVERYWHERE
from lazygraph.executors.cluster.records import NOWHERE, FailureRecord, RunRecord, WorkerRecord, unpack_shape
from lazygraph.running import events
from lazygraph.running.policy import LimitOf, Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from lazygraph.running.block import Block


class Retelling(Journalling):
    """A mind that can be told what another has noted.  Until it hands out, nothing that follows is done."""

    def __init__(self, epoch: int = 1, worker_ttl: float = WORKER_TTL) -> None:
        super().__init__(epoch, worker_ttl)
        self._handing_out = True

    def restore(self, records: Iterable[n.Record], now: float) -> None:
        """Be what the mind was that noted these."""
        self._muted, self._handing_out = True, False
        following, told = self.frontier.begin_at(0), dict[int, None]()
        for at, record in enumerate(records):
            told[record.about] = None
            if not at:
                self.frontier.now = self._now = record.at
            self._now = max(self._now, record.at)
            _TOLD[type(record.entry)](self, record.entry, record.body, self._now, record.about)
            self._settle_times()
            self._out.clear()
            self.frontier.heard = []
        self.frontier.begin_at(following)
        for run in self.records.values():
            home = run.home
            for entry, peer in enumerate(home):
                if peer != NOWHERE and peer not in self.workers:
                    home[entry] = NOWHERE
            if run.client not in self.clients:
                run.client = NOWHERE
        self._now, self._muted = max(now, self._now), False
        for worker in self.workers.values():
            worker.freed = {}  # made again since, perhaps; what it has and is not to have it says when it is back
        self._freeing.clear()
        self._out.clear()
        for about in told:
            if about >= 0 and about not in self.records:  # it ended, and the notes of it were to be erased just then
                self._erase(about)

    def _settle_times(self) -> None:
        """Begin to count the time of what is kept; that it is over is noted."""
        settling, self.settling = self.settling, {}
        for base, record in settling.items():
            if record.lasting and not record.awaiting and record.until is None:
                record.until = self._now + record.seconds_kept
                heappush(self._lapses, (record.until, base))

    def _adopt(self, action: events.Adopted) -> None:
        if self._handing_out:
            super()._adopt(action)
        else:  # `_go_on` sees to it
            self.records[action.block.base].home[action.task] = NOWHERE

    def _told_peer(self, entry: n.Peer, body: bytes, now: float, about: int) -> None:
        self._idents[entry.peer] = entry.ident
        if not entry.threads:
            self.clients[entry.peer] = {}
        elif entry.peer in self.workers:
            self.workers[entry.peer].queues = dict.fromkeys(entry.queues)
        else:
            worker = WorkerRecord(entry.peer, entry.name, entry.address, entry.threads, entry.queues, entry.resources)
            self._add_worker(worker)

    def _told_admitted(self, entry: n.Admitted, body: bytes, now: float, about: int) -> None:
        shape = unpack_shape(entry.shape)
        shape = replace(shape, outputs=array("i", m.from_ints(entry.outputs)))
        blocks = self.frontier.blocks
        bindings = [(blocks[base], at) if base >= 0 else None for base, at in entry.bindings]
        self.frontier.begin_at(entry.base)
        if entry.within is not None:
            base, task, attempt = entry.within
            outer = blocks[base]
            self.frontier.handed_out(outer, task, attempt)
            new, actions = self.frontier.replaced(outer, task, attempt, shape, bindings, now)
            if new is None:
                return
            block = new
        else:
            block, actions = self.frontier.admit(shape, bindings, entry.fail_fast, now, entry.skips, entry.inside)
        record = RunRecord(block, entry.client, entry.run, entry.shape, entry.tables, body)
        record.run_id, record.label, record.observed, record.keys = (
            entry.run_id, entry.label, entry.observed, entry.keys,
        )  # fmt: skip
        record.aliases = [(owner.base, at) for owner, at in map(block.owner, range(len(bindings)))]
        record.attached = self.records.get(entry.attached)
        if entry.within is not None:
            outer_record = self.records[entry.within[0]]
            outer_record.home[entry.within[1]] = NOWHERE
            record.root = outer_record.root
        for at, size in enumerate(m.from_longs(entry.sizes)):
            record.sizes[at] = size
        if entry.findable:
            self._known(record)
        self._enter(record, actions)

    def _told_made(self, entry: n.Made, body: bytes, now: float, about: int) -> None:
        record = self.records.get(entry.base)
        if record is None:
            return
        tasks, block = m.from_ints(entry.tasks), record.block
        for task, size in zip(tasks, m.from_longs(entry.sizes), strict=True):
            self.frontier.handed_out(block, task, entry.attempt)
            record.home[task], record.sizes[task] = entry.worker, size
            record.root.kept += size
        progress = self.frontier.succeeded(block, tasks, entry.attempt, now)
        if record is record.root:
            record.root.done += len(tasks) - len(progress.late)
        if record.lasting:
            self._less_awaited(record, progress.outputs)
        if progress.freed:
            self._free(record, progress.freed)
        self._perform(progress.actions)

    def _told_raised(self, entry: n.Raised, body: bytes, now: float, about: int) -> None:
        record = self.records.get(entry.base)
        if record is None:
            return
        self.frontier.handed_out(record.block, entry.task, entry.attempt)
        if entry.facts is not None:
            record.failures[entry.task] = FailureRecord(*entry.facts, body=body)
        failed = events.Failed(
            record.block, entry.task, entry.attempt, entry.above, entry.retry, entry.asked, entry.countdown,
            entry.max_retries, entry.stopped,
        )  # fmt: skip
        self._handle(failed, now)

    def _told_lost(self, entry: n.Lost, body: bytes, now: float, about: int) -> None:
        record = self.records.get(entry.base)
        if record is None:
            return
        tasks, block = list(m.from_ints(entry.tasks)), record.block
        for task in tasks:
            self.frontier.handed_out(block, task, block.attempt(task))
            record.home[task] = NOWHERE
        self._last_lost = entry.worker
        for task in tasks:
            record.deaths.setdefault(task, []).append(entry.line)
        suspects = [(block, at) for at in m.from_ints(entry.suspects)]
        self._handle(events.RunnerLost([(block, tasks)], suspects, apart=True), now)

    def _told_happened(self, entry: n.Happened, body: bytes, now: float, about: int) -> None:
        record = self.records.get(entry.base)
        if record is None:
            return
        block, entries = record.block, list(m.from_ints(entry.entries))
        if entry.what == "Withdrawn":
            self._withdraw(record, entries, now)
        elif entry.what == "Returned":
            for task in entries:
                record.home[task] = NOWHERE
            self._handle(events.Returned(block, entries, entry.attempt), now)
        elif entry.what == "ValuesLost":
            for at in entries:
                record.home[at] = NOWHERE
            self._handle(events.ValuesLost([(block, entries)]), now)
        else:
            self._handle(_EVENTS_OF[entry.what](block, entries), now)

    def _told_kept(self, entry: n.Kept, body: bytes, now: float, about: int) -> None:
        record = self.records.get(entry.base)
        if record is not None:
            self._keep_entries(record, m.from_ints(entry.entries), entry.seconds)

    def _told_leased(self, entry: n.Leased, body: bytes, now: float, about: int) -> None:
        record, worker = self.records.get(entry.base), self.workers.get(entry.worker)
        if record is None or not self.frontier.handed_out(record.block, entry.task, entry.attempt):
            return
        record.home[entry.task] = entry.worker
        policy = record.block.policy(entry.task)
        if worker is not None and policy is not None and (policy.where is not None or policy.limits):
            worker.hold((entry.base, entry.task, entry.attempt), policy.where or EVERYWHERE)

    def _told_granted(self, entry: n.Granted, body: bytes, now: float, about: int) -> None:
        limits = [LimitOf(tuple(key), tuple(Window(*w) for w in windows), most) for key, windows, most in entry.limits]
        attempt = entry.base, entry.task, entry.attempt
        self.frontier._at(now)
        self.frontier.granted(attempt, limits)
        longest = max((window.seconds for of in limits for window in of.windows), default=0.0)
        self._permits[attempt] = about, longest

    def _told_began(self, entry: n.Began, body: bytes, now: float, about: int) -> None:
        self.frontier.has_begun(entry.base, entry.task, entry.attempt, now)

    def _told_left(self, entry: n.Left, body: bytes, now: float, about: int) -> None:
        self.frontier.has_left(entry.base, (entry.task,), entry.attempt, now, entry.ran)
        self._permits.pop((entry.base, entry.task, entry.attempt), None)


_EVENTS_OF: Mapping[str, Callable[[Block, list[int]], events.Event]] = {
    "Dropped": events.Dropped,
    "Wanted": lambda block, entries: events.Wanted(block, entries[0]),
    "CancelTask": lambda block, entries: events.CancelTask(block, entries[0]),
    "CancelRun": lambda block, entries: events.CancelRun(block),
}
_TOLD: Mapping[type, Callable[[Retelling, Any, bytes, float, int], None]] = {
    n.Peer: Retelling._told_peer,
    n.Admitted: Retelling._told_admitted,
    n.Made: Retelling._told_made,
    n.Raised: Retelling._told_raised,
    n.Lost: Retelling._told_lost,
    n.Happened: Retelling._told_happened,
    n.Kept: Retelling._told_kept,
    n.Leased: Retelling._told_leased,
    n.Granted: Retelling._told_granted,
    n.Began: Retelling._told_began,
    n.Left: Retelling._told_left,
}
