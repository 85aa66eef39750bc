"""The scheduler's mind, keeping a journal: what happened is noted, in order, before what follows from it.

Two ways were weighed.  Noting every message, and letting a new mind hear them all again, is least code, but then every
lease is to be decided again as it was, and the journal ends only with the cluster.  Noting states needs a form for
everything that a Frontier knows.  What is noted here are the Frontier's own events: they are few, the Frontier is a
function of them and their times, and all that it knows (claims, retries, callbacks, replaced tasks) follows.  Told
again they need no leases: that a task was handed out matters only when it ended, and then its end says so.  Of tasks
that are no plain ones it is noted, because their starts count.

What is noted about a run is erased when its block is forgotten: a block outlives whatever reads it.  Of permits of
rates notes are kept until their windows are over, whatever became of the run.

Three things wait until what was noted is on the disk: that a run is accepted, a task that needs a permit, and one that
runs at most once.  All else is written behind, and may be lost with the process: then it is done again.

Covers: which notes are made, what is held back for them.
Does not cover: a mind made of notes, and meeting those who come back (recovering), the file (net.journal).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster import notes as n
from lazygraph.executors.cluster.losing import WORKER_TTL
from lazygraph.executors.cluster.records import Held, Send
from lazygraph.executors.cluster.scheduler_machine import SchedulerMachine
from lazygraph.running import events

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lazygraph.executors.cluster.records import RunRecord, WorkerRecord
    from lazygraph.running.block import Block
    from lazygraph.running.lease import Lease

Action = Send | Held | n.Note | n.Erase

EPOCH_SHIFT = 36
"""Each start of a scheduler on its journal gives numbers of its own from 1 << this on, so that none is given twice."""


class Journalling(SchedulerMachine):
    """A SchedulerMachine whose actions are, among messages, notes.  `epoch` counts the starts on one journal."""

    def __init__(self, epoch: int = 1, worker_ttl: float = WORKER_TTL) -> None:
        super().__init__(worker_ttl)
        self.frontier.begin_at(epoch << EPOCH_SHIFT)
        self.frontier.heard = []
        self._permits_given = epoch << EPOCH_SHIFT
        self._permits: dict[tuple[int, int, int], tuple[int, float]] = {}  # attempt -> what it is about, its window
        self._idents: dict[int, str] = {}
        self._now = 0.0
        self._muted = False  # what happens now is noted otherwise, or has been
        self._holding = False
        self._accepting = False
        self._fail_fast, self._inside = False, 0  # of what is about to be admitted
        self._within: tuple[int, int, int] | None = None

    # -- the doors ---------------------------------------------------------------------------------

    def receive(self, peer: int, message: m.Message, body: bytes | memoryview, now: float) -> list[Any]:
        """Absorb one message; return what to send and to note, in order."""
        self._now = max(self._now, now)
        noted = _BEFORE.get(type(message))
        if noted is not None:
            noted(self, peer, message)
        # Whether a run is accepted is said when that is on the disk.
        self._accepting = type(message) is m.AskAccepted
        super().receive(peer, message, body, now)
        self._accepting = False
        after = _AFTER.get(type(message))
        if after is not None:
            after(self, peer, message)
        return self._taken()

    def decide(self, now: float) -> list[Any]:
        """Hand out what may run; return what to send and to note, in order."""
        self._now = max(self._now, now)
        super().decide(now)
        return self._taken()

    def lost(self, peer: int, now: float, how: str = "") -> list[Any]:
        """A peer's connection has ended; return what to send and to note."""
        self._now = max(self._now, now)
        super().lost(peer, now, how)
        if self._idents.pop(peer, None) is not None:
            self._erase(-peer)
        return self._taken()

    def _take(self) -> list[Send]:
        return []  # what is said is taken with what is noted about the same event

    def _taken(self) -> list[Any]:
        heard = self.frontier.heard
        if heard:
            self.frontier.heard = []
            for attempt, ran in heard:
                self._permit_heard(attempt, ran)
        out, self._out = self._out, []
        return out

    def _send(self, peer: int, message: m.Message, *body: bytes | memoryview) -> None:
        held = self._holding or self._accepting
        self._out.append(Held(peer, message, body) if held else Send(peer, message, body))  # type: ignore[arg-type]

    # -- notes -------------------------------------------------------------------------------------

    def _note(self, about: int, entry: n.Any_, body: bytes | memoryview = b"") -> None:
        if not self._muted:
            self._out.append(n.Note(about, entry, body, self._now))  # type: ignore[arg-type]

    def _erase(self, about: int, when: float | None = None) -> None:
        if not self._muted:
            self._out.append(n.Erase(about, when))  # type: ignore[arg-type]

    def _about(self, base: int) -> int | None:
        """Return what a note about a block is to be erased with; None when nobody knows the block."""
        record = self.records.get(base)
        return None if record is None else record.root.block.base

    def _about_block(self, block: Block, entry: n.Any_, body: bytes | memoryview = b"") -> None:
        about = self._about(block.base)
        if about is not None:
            self._note(about, entry, body)

    def _know(self, record: RunRecord) -> None:
        super()._know(record)
        if self._muted:
            return
        block, shape = record.block, record.shape
        bindings = [(-1, -1) if bound is None else (bound[0].base, bound[1]) for bound in block.bindings]
        entry = n.Admitted(
            base=block.base,
            client=record.client,
            run=record.run,
            label=record.label,
            run_id=record.run_id,
            shape=shape,
            outputs=block.shape.outputs.tobytes(),
            tables=record.tables,
            bindings=bindings,
            fail_fast=self._fail_fast,
            skips=block.skips,
            inside=self._inside,
            observed=record.observed,
            findable=self._labels.get(record.label) is record,
            keys=record.keys,
            attached=record.attached.block.base if record.attached is not None else -1,
            within=self._within if record.root is not record else None,
            sizes=record.sizes.tobytes() if not block.bindings and block.shape.externals else b"",
        )
        self._note(record.root.block.base, entry, record.body)

    def _ended(self, block: Block) -> None:
        record = self.records.get(block.base)
        super()._ended(block)
        if record is not None and record.root is record:
            self._erase(block.base)

    def _handle(self, event: events.Event, now: float) -> None:
        noted = None if self._muted else _EVENTS.get(type(event))
        if noted is not None:
            noted(self, event)
        super()._handle(event, now)

    def _were_made(self, record: RunRecord, peer: int, message: m.Done, fresh: list[int], late: list[int]) -> None:
        tasks, sizes = message.tasks, message.sizes
        if late or len(fresh) * 4 != len(tasks):
            gone = set(late)
            kept = [task for task in fresh if task not in gone]
            tasks, sizes = m.ints(kept), m.longs(record.sizes[task] for task in kept)
        if tasks:
            base = record.block.base
            self._note(record.root.block.base, n.Made(base, message.attempt, tasks, sizes, peer))

    def _withdraw(self, record: RunRecord, entries: list[int], now: float) -> None:
        if not self._muted:
            self._about_block(record.block, n.Happened("Withdrawn", record.block.base, m.ints(entries)))
            self._muted = True
            try:
                super()._withdraw(record, entries, now)
            finally:
                self._muted = False
        else:
            super()._withdraw(record, entries, now)

    # -- leases ------------------------------------------------------------------------------------

    def _send_lease(self, worker: WorkerRecord, record: RunRecord, lease: Lease) -> None:
        block = record.block
        task = lease.tasks[0]
        policy = block.policy(task) if block.special else None
        if policy is not None and policy.alone:
            if policy.limits:
                self._grant(block.base, task, lease.attempt, policy.limits)
            self._about_block(block, n.Leased(block.base, task, lease.attempt, worker.id))
            self._holding = policy.at_most_once or any(of.windows for of in policy.limits)
        try:
            super()._send_lease(worker, record, lease)
        finally:
            self._holding = False

    def _grant(self, base: int, task: int, attempt: int, limits: Any) -> None:
        self._permits_given += 1
        longest = max((window.seconds for of in limits for window in of.windows), default=0.0)
        self._permits[base, task, attempt] = -self._permits_given, longest
        plain = [(of.key, [tuple(window) for window in of.windows], of.most) for of in limits]
        self._note(-self._permits_given, n.Granted(base, task, attempt, plain, self._permits_given))

    def _permit_heard(self, attempt: tuple[int, int, int], ran: bool | None) -> None:
        """An attempt that has permits has begun, or is over."""
        about, longest = self._permits.get(attempt, (0, 0.0))
        if not about:
            return
        if ran is None:
            self._note(about, n.Began(*attempt))
            return
        del self._permits[attempt]
        if ran and longest:
            self._note(about, n.Left(*attempt, ran))
            self._erase(about, self._now + longest)
        else:
            self._erase(about)

    # -- single events -----------------------------------------------------------------------------

    def _note_failed(self, event: events.Failed) -> None:
        record = self.records.get(event.block.base)
        if record is None:
            return
        failure = record.failures.get(event.task)
        entry = n.Raised(
            event.block.base,
            event.task,
            event.attempt,
            event.above,
            event.retry,
            event.asked,
            event.countdown,
            event.max_retries,
            event.stopped,
            failure.facts if failure is not None else None,
        )
        self._note(record.root.block.base, entry, failure.body if failure is not None else b"")

    def _note_returned(self, event: events.Returned) -> None:
        block = event.block
        named = [task for task in event.tasks if block.special and block.policy(task)]
        if named:
            self._about_block(block, n.Happened("Returned", block.base, m.ints(named), event.attempt))

    def _note_runner_lost(self, event: events.RunnerLost) -> None:
        for block, tasks in event.leased:
            suspects = [task for other, task in event.suspects if other is block]
            told = [task for task in tasks if task in suspects or (block.special and block.policy(task))]
            if told:
                record = self.records.get(block.base)
                lines = [record.deaths[task][-1] for task in told if record.deaths.get(task)] if record else []
                line = lines[0] if lines else ""
                entry = n.Lost(block.base, m.ints(told), m.ints(suspects), self._last_lost, line)
                self._about_block(block, entry)

    def _note_values_lost(self, event: events.ValuesLost) -> None:
        for block, entries in event.values:
            self._about_block(block, n.Happened("ValuesLost", block.base, m.ints(entries)))

    def _note_dropped(self, event: events.Dropped) -> None:
        self._about_block(event.block, n.Happened("Dropped", event.block.base, m.ints(event.tasks)))

    def _note_of_task(self, event: events.Wanted | events.CancelTask) -> None:
        base = event.block.base
        self._about_block(event.block, n.Happened(type(event).__name__, base, m.ints([event.task])))

    def _note_cancelled(self, event: events.CancelRun) -> None:
        self._about_block(event.block, n.Happened("CancelRun", event.block.base, b""))

    # -- single messages ---------------------------------------------------------------------------

    def _about_to_admit(self, peer: int, message: m.Submit) -> None:
        self._fail_fast, self._inside = message.fail_fast, max(0, message.inside)

    def _about_to_admit_otherwise(self, peer: int, message: object) -> None:
        self._fail_fast, self._inside = False, 0

    def _about_to_replace(self, peer: int, message: m.Replaced) -> None:
        self._fail_fast, self._inside = False, 0
        self._within = message.block, message.task, message.attempt

    def _about_to_keep(self, peer: int, message: m.Keep) -> None:
        record = self.clients[peer].get(message.run)
        if record is not None and all(0 <= entry < len(record.block) for entry in m.from_ints(message.entries)):
            self._about_block(record.block, n.Kept(record.block.base, message.entries, message.seconds))

    def _has_joined(self, peer: int, message: m.Join) -> None:
        self._idents[peer] = message.ident
        self._note_worker(peer)

    def _note_worker(self, peer: int) -> None:
        w = self.workers[peer]
        entry = n.Peer(peer, self._idents.get(peer, ""), w.name, w.address, w.threads, list(w.queues), w.resources)
        self._note(-peer, entry)

    def _has_set_queues(self, peer: int, message: m.SetQueues) -> None:
        for worker in self.workers.values():
            if not message.workers or {worker.name, worker.address} & {*message.workers}:
                self._note_worker(worker.id)


_EVENTS: Mapping[type, Callable[[Journalling, Any], None]] = {
    events.Failed: Journalling._note_failed,
    events.Returned: Journalling._note_returned,
    events.RunnerLost: Journalling._note_runner_lost,
    events.ValuesLost: Journalling._note_values_lost,
    events.Dropped: Journalling._note_dropped,
    events.Wanted: Journalling._note_of_task,
    events.CancelTask: Journalling._note_of_task,
    events.CancelRun: Journalling._note_cancelled,
}
_BEFORE: Mapping[type, Callable[[Journalling, int, Any], None]] = {
    m.Submit: Journalling._about_to_admit,
    m.Hold: Journalling._about_to_admit_otherwise,
    m.Replaced: Journalling._about_to_replace,
    m.Open: Journalling._about_to_admit_otherwise,
    m.Again: Journalling._about_to_admit_otherwise,
    m.Keep: Journalling._about_to_keep,
}
_AFTER: Mapping[type, Callable[[Journalling, int, Any], None]] = {
    m.Join: Journalling._has_joined,
    m.SetQueues: Journalling._has_set_queues,
}
