"""The worker's hand: frames and threads around one WorkerMachine.

Tasks run in threads of their own, one lease after another; the loop is woken once for a batch of reports.

Covers: the link to the scheduler, links to other workers, answering peers, runner threads.
Does not cover: decisions (cluster.worker_machine), running a lease (running.runner).
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections import deque
from queue import SimpleQueue
from typing import TYPE_CHECKING

from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster.net import codec
from lazygraph.executors.cluster.net.failures import failure_of
from lazygraph.executors.cluster.net.hello import connect, serve
from lazygraph.executors.cluster.net.peers import PeerLinks
from lazygraph.executors.cluster.net.scheduler_server import tune_collector
from lazygraph.executors.cluster.records import unpack_shape
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
from lazygraph.running.program import Program
from lazygraph.running.runner import Report, run_lease

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lazygraph.executors.cluster.net.link import Link

TICK = 0.02
"""Seconds after which a task that is still running is reported as started."""

SWITCH_INTERVAL = 0.0005
"""Beside a busy Python task the loop waits this long for the interpreter, not the 5 ms it would by default."""


class WorkerServer:
    """One worker: joins a scheduler, runs what it is given, until the scheduler is gone or `close`."""

    def __init__(self, scheduler: str, token: str, name: str, threads: int, host: str) -> None:
        self._scheduler, self._token, self.name, self._host = scheduler, token, name, host
        self.threads = threads
        self.mind = WorkerMachine()
        self._queue: SimpleQueue[WorkLease | None] = SimpleQueue()
        self._reports: deque[tuple[WorkLease, Report]] = deque()
        self._woken = False
        self._peers = PeerLinks(token, "peer", self._fetched)
        self._ticking: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Listen for peers, join the scheduler, start the threads."""
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[Exception | None] = self._loop.create_future()
        self._server = await serve(
            self._host,
            0,
            self._token,
            roles=("peer", "client"),
            on_link=lambda link, role: None,
            on_message=self._asked,
            on_lost=lambda link, error: None,
        )
        self._link = await connect(
            self._scheduler, "worker", self._token, on_message=self._message, on_lost=self._lost, timeout=30.0
        )
        self._link.send(m.Join(self.name, self._server.address, self.threads, os.getpid()))
        sys.setswitchinterval(SWITCH_INTERVAL)
        tune_collector()
        for index in range(self.threads):
            threading.Thread(target=self._serve_leases, name=f"lazygraph-task-{index}", daemon=True).start()

    def close(self) -> None:
        """Leave the scheduler and stop listening; threads end with the process."""
        self._peers.close()
        self._server.close()
        self._link.close()

    # -- the scheduler -----------------------------------------------------------------------------

    def _message(self, link: Link, message: m.Message, body: bytes | memoryview) -> None:
        if isinstance(message, m.Load):
            shape = unpack_shape(message.shape)
            tables = codec.unpack_tables(shape.names, message.tables, body)
            self.mind.load(message.block, Program(shape, tables), message.aliases)
        elif isinstance(message, m.Store):
            self._store(message, body)
        elif isinstance(message, m.Caught):
            self.mind.store(message.block, (message.entry,), (failure_of(message, body),))
        else:
            self._act(self.mind.receive(message))

    def _store(self, message: m.Store, body: bytes | memoryview) -> None:
        opened = m.Values(0, message.lengths, [])
        values, _ = codec.unpack_values(opened, body, MISSING)
        self.mind.store(message.block, m.from_ints(message.entries), values)

    def _lost(self, link: Link, error: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(error)

    def _act(self, actions: Sequence[Action]) -> None:
        for action in actions:
            if isinstance(action, Say):
                self._link.send(action.message)
            elif isinstance(action, Start):
                self._queue.put(action.lease)
                if self._ticking is None:
                    self._ticking = self._loop.call_later(TICK, self._tick)
            elif isinstance(action, Fetch):
                self._peers.ask(action.address, m.Get(action.question, action.block, action.entries))
            elif isinstance(action, Fail):
                for message, body in codec.failed_input(action.lease, action.tasks, action.why):
                    self._link.send(message, body)
            elif isinstance(action, Tell):
                for message, body in codec.results(action.lease, Report(done=action.tasks)):
                    self._link.send(message, *((body,) if body else ()))

    def _tick(self) -> None:
        self._act(self.mind.tick())
        self._ticking = self._loop.call_later(TICK, self._tick) if self.mind.leases else None

    # -- peers -------------------------------------------------------------------------------------

    def _asked(self, link: Link, message: m.Message, body: bytes | memoryview) -> None:
        if not isinstance(message, m.Get):
            link.close()
            return
        values = self.mind.lookup(message.block, m.from_ints(message.entries))
        lengths, problems, blobs = codec.pack_values(values, MISSING)
        link.send(m.Values(message.question, lengths, problems), *blobs)

    def _fetched(self, question: int, message: m.Values | None, body: bytes | memoryview) -> None:
        if message is None:
            self._act(self.mind.fetched(question, None, {}))
            return
        try:
            values, problems = codec.unpack_values(message, body, MISSING)
        except Exception as error:  # a value that cannot be opened here fails the tasks that read it, not the worker
            why = f"it cannot be opened on {self.name}: {codec.reason_of(error)}"
            values, problems = [MISSING] * len(message.lengths), dict.fromkeys(range(len(message.lengths)), why)
        self._act(self.mind.fetched(question, values, problems))

    # -- threads -----------------------------------------------------------------------------------

    def _serve_leases(self) -> None:
        """Run leases, one after another; the body of every runner thread."""
        while (lease := self._queue.get()) is not None:

            def report(report: Report, lease: WorkLease = lease) -> None:
                self._reports.append((lease, report))
                if not self._woken:
                    self._woken = True
                    self._loop.call_soon_threadsafe(self._reported)

            run_lease(lease.program, lease.tasks, lease.values, report)
            del lease, report  # an idle thread keeps no values alive

    def _reported(self) -> None:
        self._woken = False
        while self._reports:
            lease, report = self._reports.popleft()
            for message, body in codec.results(lease, report):
                self._link.queue(message, *((body,) if body else ()))
            self.mind.answered(lease, report)
        self._link.flush_now()
