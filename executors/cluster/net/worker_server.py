"""The worker's hand: frames around one WorkerMachine, in an event loop.

Tasks run in threads of their own (net.runners); the loop is woken once for a batch of what they have to say.

Covers: the link to the scheduler, links to other workers, answering peers, telling what runs and what came of it.
Does not cover: decisions (cluster.worker_machine), running a lease (net.runners).
"""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from lazygraph.errors import TaskCancelled, Unserializable
from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster.net import codec, portions
from lazygraph.executors.cluster.net.failures import failure_of
from lazygraph.executors.cluster.net.giving import Giver
from lazygraph.executors.cluster.net.hello import connect, serve
from lazygraph.executors.cluster.net.memory import Memory, Watching
from lazygraph.executors.cluster.net.nesting import Nesting, of_this_worker
from lazygraph.executors.cluster.net.parcels import unpack, unpack_values
from lazygraph.executors.cluster.net.peers import PeerLinks
from lazygraph.executors.cluster.net.returning import Unsent, again, end
from lazygraph.executors.cluster.net.scheduler_server import tune_collector
from lazygraph.executors.cluster.tls import PLAIN, TLS, Guard
from lazygraph.executors.cluster.work import handed, taken_from, values_here
from lazygraph.executors.cluster.worker_machine import (
    MISSING,
    Action,
    Fail,
    Fetch,
    Say,
    Start,
    Tell,
    WorkerMachine,
    WorkLease,
)
from lazygraph.running.background import in_thread
from lazygraph.running.observing import Watch
from lazygraph.running.runner import Report, broken_of

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Callable, Sequence

    from lazygraph.executors.cluster.net.executor import ClusterExecutor
    from lazygraph.executors.cluster.net.link import Link
    from lazygraph.executors.cluster.net.peers import Brought
    from lazygraph.executors.cluster.net.runners import Runners
    from lazygraph.executors.cluster.net.segments import Mapped

TICK = 0.02
"""Seconds after which a task that is still running is reported as started, and what has ended before it as done."""

TELLING = 0.05
"""Seconds between two messages about how far a task says it is."""

MOST_PARKED = 1000
"""Tasks that are only awaited are not counted among those that a worker has to do, up to this many."""

PATIENCE = 5.0
"""Seconds that a running attempt has to leave when it is made to."""

SWITCH_INTERVAL = 0.0005
"""Beside a busy Python task the loop waits this long for the interpreter, not the 5 ms it would by default."""


def _own_client(scheduler: str, token: str, tls: TLS | None) -> ClusterExecutor:
    """Return a client for what tasks start; imported then, as most workers never have one."""
    from lazygraph.executors.cluster.net.executor import ClusterExecutor

    return ClusterExecutor(scheduler, token, tls=tls)


class WorkerServer:
    """One worker: joins a scheduler, runs what it is given, until the scheduler is gone or `close`."""

    def __init__(
        self, scheduler: str, token: str, host: str, runners: Runners, guard: Guard = PLAIN, memory_limit: int = 0
    ) -> None:
        self._guard = guard
        self._scheduler, self._token, self._host = scheduler, token, host
        self.runners, self.name = runners, runners.offer.name
        self.mind = WorkerMachine()
        self._said: deque[Callable[[], None]] = deque()  # by runner threads, in order
        self._woken = False
        self._peers = PeerLinks(token, "peer", self._fetched, own=False, tls=guard.tls)
        self._giver = Giver(self.mind)
        self._puts: dict[str, tuple[Link, Any, Mapped | None]] = {}  # what clients have given that is nobody's yet
        self.memory = Memory(self.mind, memory_limit)
        self._ticking: asyncio.TimerHandle | None = None
        self._nesting = Nesting(scheduler, partial(_own_client, scheduler, token, guard.tls), self._lent)
        self._stopping: dict[tuple[WorkLease, int], list[int]] = {}  # the questions whether a task has left
        self._progress: dict[tuple[WorkLease, int], tuple[float, float | None]] = {}  # not told yet
        self._telling = False
        self.leaves = False  # whether it has asked to leave
        self._ident, self._journal, self._closing = secrets.token_hex(12), "", False  # the journal is our scheduler's
        self._connected: Any = partial(connect, scheduler, "worker", token, on_lost=self._lost, tls=guard.tls)
        self._returning: asyncio.Task[None] | None = None
        self._parked: dict[WorkLease, int] = {}  # how many tasks of it the scheduler was told are only awaited

    async def start(self) -> None:
        """Listen for peers, join the scheduler, start the threads."""
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[Exception | None] = self._loop.create_future()
        of_this_worker.set(self._nesting)  # for whatever comes over the links that are made from here on
        self._server = await serve(
            self._host,
            0,
            self._token,
            roles=("peer", "client"),
            on_link=lambda link, role: link.hold_back(),
            on_message=self._asked,
            on_lost=self._asker_lost,
            tls=self._guard.tls,
            insecure=self._guard.insecure,
        )
        self._link: Link | Unsent = (link := await self._connected(on_message=self._message, timeout=30.0))
        self._journal = link.journal
        link.send(self._join())
        sys.setswitchinterval(SWITCH_INTERVAL)
        tune_collector()
        self.runners.nesting = self._nesting
        self.runners.start(self)
        if self.memory.limit:
            Watching(self.memory, self._giver, self._memory_is, self._say).look()

    def _join(self) -> m.Join:
        offer = self.runners.offer
        return m.Join(
            self.name,
            self._server.address,
            offer.threads,
            os.getpid(),
            queues=list(offer.queues),
            resources=dict(offer.resources),
            ident=self._ident,
        )

    def close(self) -> None:
        """Leave the scheduler and stop listening; threads end with the process."""
        self._closing = True
        self._nesting.close()
        self._peers.close()
        self._server.close()
        self._link.close()
        self._giver.close()
        self.memory.close()

    # -- the scheduler -----------------------------------------------------------------------------

    def _message(self, link: Link, message: m.Message, body: bytes | memoryview) -> None:
        if isinstance(message, m.Load):
            self._load(message, body)
        elif isinstance(message, m.Portion):
            self._take_portion(message, body)
        elif isinstance(message, m.Store):
            self._store(message, body)
        elif isinstance(message, m.Own):
            self._own(message)
        elif isinstance(message, m.Caught):
            self.mind.caught(message.block, message.entry, failure_of(message, body), message.member)
        elif isinstance(message, m.Stop):
            self._stop(message)
        elif isinstance(message, m.Away):
            self._peers.away(message.address)
        elif isinstance(message, m.Beat):
            self._beat(message.seconds)
        elif isinstance(message, m.Leave):
            self.leaves = True
            end(self.ended, None)
        else:
            actions = self.mind.receive(message)
            if self.memory.knows_any:
                self.memory.hear(message)
            if isinstance(message, m.Do):
                self._watch(message.block)
            self._act(actions)

    def _beat(self, seconds: float) -> None:
        """Say that this worker is there, now and every so many seconds."""
        if not self._link.closed:
            self._link.send(self.memory.alive())
            self._loop.call_later(seconds, self._beat, seconds)

    def leave(self) -> None:
        """Ask the scheduler to take what is here; `ended` when it has, and what runs has ended."""
        self.leaves = True
        self._link.send(m.Leaving())

    def _watch(self, base: int) -> None:
        """A lease has come: note when, if its run is observed."""
        lease = self.mind.leases[-1] if self.mind.leases else None
        if lease is not None and lease.base == base and lease.block.observed and lease.watch is None:
            lease.watch = Watch()

    def _load(self, message: m.Load, body: bytes | memoryview) -> None:
        if (known := self.mind.blocks.get(message.block)) is not None and known.program is not None:
            return
        program = portions.opened(message, body)
        program.label, program.run_id, program.worker = message.label, message.run_id, self.name
        self.mind.load(message.block, program, message.aliases)
        self.mind.blocks[message.block].observed = message.observed

    def _take_portion(self, message: m.Portion, body: bytes | memoryview) -> None:
        block = self.mind.blocks.get(message.block)
        if block is not None and block.program is not None:
            portions.put(block.program, message, body)

    def _store(self, message: m.Store, body: bytes | memoryview) -> None:
        opened = m.Values(0, message.lengths, [])
        values, _ = unpack_values(opened, body, MISSING)
        entries = m.from_ints(message.entries)
        self.mind.store(message.block, entries, values)
        for entry, length in zip(entries, message.lengths, strict=True):
            self.memory.note(message.block, entry, length)

    def _lost(self, link: Link, error: Exception | None) -> None:
        if link.journal and link is self._link and not self._closing:
            self._link = unsent = Unsent(handed(self.mind.leases))
            self._returning = self._loop.create_task(self._come_back(unsent, link.patience, error))
        else:
            end(self.ended, error)

    async def _come_back(self, unsent: Unsent, patience: float, why: Exception | None) -> None:
        """Find the scheduler again, tell it what is here, and what there has been to say since."""
        link = await again(partial(self._connected, on_message=self._message, timeout=5.0), patience, self._journal)
        if link is None:
            return end(self.ended, why)
        here, parked = values_here(self.mind.blocks, codec.size_of), sum(self._parked.values()) + self._nesting.lent
        unsent.say(link, self._join(), m.Back(here, unsent.handed), m.Parked(parked))
        self._link = link
        if self.leaves:
            self.leave()

    def _act(self, actions: Sequence[Action]) -> None:
        for action in actions:
            if isinstance(action, Say):
                self._link.send(action.message)
            elif isinstance(action, Start):
                if self.memory.knows_any:
                    self.memory.used(self.mind.reads(action.lease))
                if action.lease.watch is not None:
                    action.lease.watch.has_inputs()
                self.runners.take(action.lease)
                if self._ticking is None:
                    self._ticking = self._loop.call_later(TICK, self._tick)
            elif isinstance(action, Fetch):
                self._peers.ask(action.address, m.Get(action.question, action.block, action.entries, turn=action.turn))
            elif isinstance(action, Fail):
                for message, body in codec.failed_input(action.lease, action.tasks, action.why):
                    self._link.send(message, body)
            elif isinstance(action, Tell):
                self._tell(action.lease, Report(done=action.tasks))
                self._link.flush_now()

    def _tick(self) -> None:
        self.runners.tell_early()
        self._loop.call_soon(self._tell_running)  # after that, or what has ended would hide what runs

    def _tell_running(self) -> None:
        self._act(self.mind.tick())
        self._ticking = self._loop.call_later(TICK, self._tick) if self.mind.leases else None

    # -- peers -------------------------------------------------------------------------------------

    def _asked(self, link: Link, message: m.Message, body: bytes | memoryview) -> None:
        if isinstance(message, m.Put):
            self._put(link, message, body)
        elif isinstance(message, m.Get):
            self._giver.asked(link, message)
        else:
            link.close()

    def _put(self, link: Link, message: m.Put, body: bytes | memoryview) -> None:
        """A client gives a value: until the scheduler says whose it is, it is kept by its name."""
        try:
            segment = self._peers.map(message.place) if message.place is not None else None
            value = unpack(memoryview(body) if segment is None else segment.view)
        except Exception:  # it is sent, at last through the scheduler, which says what is wrong with it
            link.send(m.Values(message.question, [-1], []))
            return
        self._puts[message.name] = link, value, segment
        link.send(m.Values(message.question, [1], []))

    def _own(self, message: m.Own) -> None:
        absent = []
        for entry, name in zip(m.from_ints(message.entries), message.names, strict=True):
            put = self._puts.pop(name, None)
            if put is None:
                absent.append(entry)
                continue
            _, value, segment = put
            self.mind.store(message.block, (entry,), (value,))
            self.memory.note(message.block, entry, codec.size_of(value))
            if segment is not None:
                self._giver.placed(message.block, entry, value, segment)
        if absent:  # its client was gone before the scheduler said so
            self._link.send(m.Returned(-1, 0, b"", [("", message.block, m.ints(absent))]))

    def _asker_lost(self, link: Link, error: Exception | None) -> None:
        self._puts = {name: put for name, put in self._puts.items() if put[0] is not link}

    def _fetched(self, question: m.Get, brought: Brought | None) -> None:
        if brought is None:
            self._act(self.mind.fetched(question.question, None, {}))
            self._giver.settled(question)
            return
        try:
            values, problems = brought.opened(MISSING)
        except Exception as error:  # a value that cannot be opened here fails the tasks that read it, not the worker
            why = f"it cannot be opened on {self.name}: {codec.reason_of(error)}"
            count = len(brought.message.lengths)
            values, problems = [MISSING] * count, dict.fromkeys(range(count), why)
        actions = self.mind.fetched(question.question, values, problems)
        self._giver.came(question, values, brought)
        self._giver.settled(question)
        for entry, value, size in zip(m.from_ints(question.entries), values, brought.sizes, strict=True):
            if value is not MISSING:
                self.memory.note(question.block, entry, size)
        self._act(actions)

    # -- what runner threads say, in their threads (net.runners.Teller) -----------------------------

    def report(self, lease: WorkLease, report: Report) -> None:
        """What a lease has done since it was last heard of."""
        self.memory.settle(lease, report)
        self._say(partial(self._reported, lease, report))

    def began(self, lease: WorkLease, task: int) -> None:
        """A task begins, of which the scheduler wants to hear at once."""
        self._say(partial(self._link.queue, m.Began(lease.base, task, lease.attempt)))

    def told(self, lease: WorkLease, task: int, done: float, total: float | None) -> None:
        """A task says how far it is; of several such messages at once, the last is passed on."""
        self._progress[lease, task] = float(done), None if total is None else float(total)
        if not self._telling:
            self._telling = True
            self._loop.call_soon_threadsafe(self._loop.call_later, TELLING, self._tell_progress)

    def parked(self, lease: WorkLease) -> None:
        """What is left of a lease is only awaited: the scheduler may send more."""
        self._say(partial(self._park, lease))

    def _lent(self, more: int) -> None:
        """A task waits for other work (1), or has waited (-1): meanwhile there is a slot more."""
        self.runners.more(more)
        self._say(partial(self._link.queue, m.Parked(more)))
        if more > 0:
            self._say(self._give_back)

    def over(self, lease: WorkLease) -> None:
        """Nothing more of a lease will be reported: nobody waits for the end of a task of it any longer."""
        if self._stopping:
            self._say(partial(self._answer_stops, lease))

    def _say(self, job: Callable[[], None]) -> None:
        self._said.append(job)
        if not self._woken:
            self._woken = True
            self._loop.call_soon_threadsafe(self._listen)

    # -- and what becomes of it, in the loop -------------------------------------------------------

    def _listen(self) -> None:
        self._woken = False
        try:
            while self._said:
                job = self._said.popleft()
                try:
                    job()
                except Exception as error:  # of one task or lease: what others have said is still to be heard
                    self._loop.call_exception_handler({"message": "what a task has said is lost", "exception": error})
        finally:
            self._link.flush_now()

    def _park(self, lease: WorkLease) -> None:
        left = len(lease.order) - lease.answered
        if left and sum(self._parked.values()) < MOST_PARKED:
            self._parked[lease] = left
            self._link.queue(m.Parked(left))

    def _give_back(self) -> None:
        """A task waits: what it waits for is to come before what has not begun here."""
        self._act(self.mind.give_back())

    def _unpark(self, lease: WorkLease, report: Report) -> None:
        ended = len(report.done) + len(report.broken) + len(report.replaced) + len(report.skipped)
        left = self._parked.pop(lease)
        if left > ended:
            self._parked[lease] = left - ended
        self._link.queue(m.Parked(-min(left, ended)))

    def _reported(self, lease: WorkLease, report: Report) -> None:
        if self._progress:
            self._tell_progress()
        if lease in self._parked:
            self._unpark(lease, report)
        if lease.watch is not None:
            self._link.queue(m.Watched(lease.base, lease.attempt, lease.watch.new(self.name)))
        self._tell(lease, report)
        self.mind.answered(lease, report)
        if self._stopping:
            left = {broken.task for broken in report.broken if isinstance(broken.exception, TaskCancelled)}
            for task in (*report.done, *(broken.task for broken in report.broken), *(t for t, _ in report.replaced)):
                self._answer_stop(lease, task, task in left)

    def _tell(self, lease: WorkLease, report: Report) -> None:
        """Tell what came of tasks; those of which it cannot be told have failed."""
        try:
            for message, body in codec.results(lease, report):
                self._send(lease, message, body)
                if isinstance(message, m.Done):
                    self.memory.note_done(lease, message)
        except Exception as error:
            tasks = [*report.done, *(broken.task for broken in report.broken), *(task for task, _ in report.replaced)]
            said = codec.given_up(lease, tasks, error)
            if report.skipped:
                said.append((m.Returned(lease.base, lease.attempt, m.ints(report.skipped), []), b""))
            for message, body in said:
                self._link.queue(message, body)

    def _memory_is(self, full: bool, can_spill: bool) -> None:
        self._act(() if self._link.closed else self.mind.memory_is(full, can_spill))

    def _send(self, lease: WorkLease, message: m.Message, body: bytes) -> None:
        try:
            self._link.queue(message, *((body,) if body else ()))
        except Unserializable as error:  # too long to be a message, or of texts that are none
            if not isinstance(message, m.Broke | m.Replaced):
                raise
            for instead, why in codec.given_up(lease, [message.task], error):
                self._link.queue(instead, why)

    def escaped(self, lease: WorkLease, error: BaseException) -> None:
        """A runner's thread has lost a lease: something came out of it that is not a task's."""
        self._say(partial(self._escaped, lease, error))

    def _escaped(self, lease: WorkLease, error: BaseException) -> None:
        lost = self.mind.unanswered(lease)
        rest = list(lease.tasks)
        lease.tasks.clear()  # nobody runs it any more
        for message, body in codec.given_up(lease, lost, error):
            self._link.queue(message, body)
        if rest:
            self._link.queue(m.Returned(lease.base, lease.attempt, m.ints(rest), []))
        self.mind.answered(lease, Report(skipped=[*lost, *rest]))

    def _tell_progress(self) -> None:
        self._telling = False
        told, self._progress = self._progress, {}  # a runner may still be writing to it
        for (lease, task), (done, total) in list(told.items()):
            self._link.queue(m.Told(lease.base, task, lease.attempt, done, total))
        self._link.flush_now()

    # -- making a task leave -----------------------------------------------------------------------

    def _stop(self, message: m.Stop) -> None:
        """Have an attempt not begin, or leave.  Answered when its end has been told, or when it would not in time."""
        task = message.task
        latest = reversed(self.mind.leases)  # what was given back may have come again
        lease = next((x for x in latest if x.base == message.block and task in x.order), None)
        begun = lease is None or task not in lease.tasks
        if lease is None or lease.attempt != message.attempt or (begun and not message.force):
            self._link.send(m.Stopped(message.question, False))
            return
        questions = self._stopping.setdefault((lease, task), [])
        questions.append(message.question)
        behind = taken_from(lease, task)
        if behind:  # what stands behind it may need it
            broken = [broken_of(lease.program, task, TaskCancelled())] if behind[0] == task else []
            self._reported(lease, Report(broken=broken, skipped=behind[len(broken) :]))
            self._link.flush_now()
        if (lease, task) not in self._stopping:
            return
        if message.force:
            asked = in_thread(partial(self.runners.stop, lease, task, PATIENCE))
            asked.add_done_callback(partial(self._has_left, lease, task))
        else:  # the runner was faster
            questions.remove(message.question)
            self._link.send(m.Stopped(message.question, False))

    def _has_left(self, lease: WorkLease, task: int, asked: concurrent.futures.Future[bool]) -> None:
        if not asked.result():
            self._say(partial(self._answer_stop, lease, task, False))

    def _answer_stop(self, lease: WorkLease, task: int, left: bool) -> None:
        for question in self._stopping.pop((lease, task), ()):
            self._link.queue(m.Stopped(question, left))

    def _answer_stops(self, lease: WorkLease) -> None:
        for other, task in list(self._stopping):
            if other is lease:
                self._answer_stop(lease, task, False)
