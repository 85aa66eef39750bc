"""The scheduler's hand: frames to the mind, the mind's answers to links.  It never decides and never unpickles.

Covers: accepting peers, numbering them, what each role may say, the tick in which leases are handed out.
Does not cover: decisions (cluster.scheduler_machine), the greeting (net.hello).
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import time
from typing import TYPE_CHECKING

from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster.losing import WORKER_TTL
from lazygraph.executors.cluster.net.hello import serve
from lazygraph.executors.cluster.net.link import encoded
from lazygraph.executors.cluster.net.writing import Writing
from lazygraph.executors.cluster.recovering import Recovering
from lazygraph.executors.cluster.scheduler_machine import FROM_CLIENTS, FROM_WORKERS, SchedulerMachine
from lazygraph.executors.cluster.tls import PLAIN, Guard

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lazygraph.executors.cluster.net.hello import Server
    from lazygraph.executors.cluster.net.link import Link
    from lazygraph.executors.cluster.net.writing import JournalOf
    from lazygraph.executors.cluster.records import Send

EXPLAINED = 1.0
"""Seconds that a worker's end waits for the word of whoever has started it."""

LONGEST = 3600.0
"""Seconds that a client may be missed at most."""

_UNHURRIED = frozenset({m.Free, m.Forget})
_SAYS = {"client": frozenset(FROM_CLIENTS), "worker": frozenset(FROM_WORKERS)}
_SAYS_BACK = {"client": _SAYS["client"] | {m.Present}, "worker": _SAYS["worker"] | {m.Back}}

_FIRST = frozenset({m.Join, m.Present})

RETURNS = 60.0
"""Seconds for which workers and clients of a scheduler that keeps a journal try to find it again."""


class SchedulerServer:
    """Serve one SchedulerMachine on a port until `close`; with a journal, one that goes on from that."""

    def __init__(
        self,
        host: str,
        port: int,
        token: str,
        worker_ttl: float = WORKER_TTL,
        supervised: bool = False,
        guard: Guard = PLAIN,
        journal: JournalOf | None = None,
    ) -> None:
        self._host, self._port, self._token = host, port, token
        self._guard = guard
        self.mind: SchedulerMachine = (
            SchedulerMachine(worker_ttl) if journal is None else Recovering(journal.epoch, worker_ttl)
        )
        self._supervised = supervised  # whether somebody tells how workers have ended (`ended`)
        self._unexplained: dict[str, tuple[int, asyncio.TimerHandle]] = {}  # workers that are gone, nobody knows why
        self._ends: dict[str, str] = {}  # how workers have ended whose connection has not
        self._writing = Writing(journal, self._write_out) if journal is not None else None
        self._says = _SAYS if journal is None else _SAYS_BACK
        self._closing = False
        self._links: dict[int, Link] = {}
        self._peers: dict[Link, tuple[int, str]] = {}
        self._numbers = itertools.count(1)
        self._lingering: dict[Link, float] = {}  # clients that may be missed for a while -> seconds
        self._waiting: dict[Link, None] = {}  # links with something queued
        self._server: Server | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._load: tuple[m.Load, bytes] | None = None  # what was loaded last, and its header

    async def start(self) -> str:
        """Listen; return the address."""
        self._loop = asyncio.get_running_loop()
        self.failed: asyncio.Future[Exception] = self._loop.create_future()
        """Set when the journal cannot be written: nothing is promised any more."""
        if self._writing is not None:
            self.mind.frontier.wall_ahead = time.time() - self._loop.time()
            self._numbers = itertools.count(self._writing.restore(self.mind, self._loop.time()))
            self._writing.start(self._loop, self.failed)
        self._server = await serve(
            self._host,
            self._port,
            self._token,
            roles=tuple(_SAYS),
            on_link=self._joined,
            on_message=self._message,
            on_lost=self._lost,
            on_batch_end=self._decide,
            tls=self._guard.tls,
            insecure=self._guard.insecure,
        )
        if self._writing is not None:
            self._server.journal, self._server.patience = self._writing.ident, RETURNS
            self._set_alarm()
        tune_collector()
        return self._server.address

    def close(self) -> None:
        """Stop listening and end every connection; the journal keeps what there was."""
        self._closing = True
        if self._writing is not None:
            self._writing.close()
        if self._server is not None:
            self._server.close()
        for link in list(self._links.values()):
            link.close()

    def _joined(self, link: Link, role: str) -> None:
        peer = next(self._numbers)
        self._links[peer] = link
        self._peers[link] = peer, role
        if role == "client":
            link.hold_back()
            self.mind.client_joined(peer)

    def _message(self, link: Link, message: m.Message, body: bytes | memoryview) -> None:
        peer, role = self._peers[link]
        if isinstance(message, m.Linger) and role == "client":
            self._lingering[link] = message.seconds
            return
        if type(message) not in self._says[role]:
            link.send(m.Refusal(f"a {role} may not say {type(message).__name__}"))
            link.close()
            return
        now = self._loop.time()
        if self._writing is not None and type(message) in _FIRST:
            peer = self._met(link, peer, role, message)
        self.mind.frontier.wall_ahead = time.time() - now
        self._route(self.mind.receive(peer, message, body, now))

    def _met(self, link: Link, peer: int, role: str, message: m.Message) -> int:
        """Give a peer that comes back the number that it had; return its number."""
        assert isinstance(self.mind, Recovering)
        former = self._links.get(self.mind.number_of(message))
        if former is not None and former is not link:  # nobody has noticed yet that this link is dead
            former.abort()
            self._lost(former, None)
        number = self.mind.returning(message)
        if number is None:
            return peer
        if role == "client":
            del self.mind.clients[peer]
        del self._links[peer]
        self._links[number], self._peers[link] = link, (number, role)
        return number

    def _lost(self, link: Link, error: Exception | None) -> None:
        known = self._peers.pop(link, None)
        if known is None or self._closing:
            return
        peer = known[0]
        del self._links[peer]
        how = f"its connection ended ({error})" if error is not None else ""
        seconds = self._lingering.pop(link, 0.0)
        if seconds > 0:  # it was killed, perhaps: somebody else may want what it wanted (Client.attach)
            self._loop.call_later(min(seconds, LONGEST), self._gone, peer, how)
            return
        worker = self.mind.workers.get(peer)
        if worker is None or not self._supervised or worker.name in self._ends:
            self._gone(peer, self._ends.pop(worker.name, how) if worker is not None else "")
        else:  # its process is about to end, or has: whoever started it will say how
            waiting = self._loop.call_later(EXPLAINED, self._gone, peer, how)
            self._unexplained[worker.name] = peer, waiting

    def _gone(self, peer: int, how: str) -> None:
        worker = self.mind.workers.get(peer)
        if worker is not None:
            self._unexplained.pop(worker.name, None)
        self._route(self.mind.lost(peer, self._loop.time(), how))
        self._decide()

    def ended(self, name: str, how: str) -> None:
        """Whoever has started a worker says how its process has ended."""
        if name in self._unexplained:
            peer, waiting = self._unexplained.pop(name)
            waiting.cancel()
            self._gone(peer, how)
        elif any(worker.name == name for worker in self.mind.workers.values()):
            self._ends[name] = how

    def _decide(self) -> None:
        """What came together has been absorbed: hand out leases, and write everything there is to say."""
        self._route(self.mind.decide(self._loop.time()))
        self._set_alarm()
        self._flush()

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for link in waiting:
            link.flush_now()

    def _write_out(self, sends: Sequence[Send]) -> None:
        """What these have waited for is on the disk."""
        self._send_all(sends)
        self._flush()

    def _set_alarm(self) -> None:
        """See that the mind is asked again when something is due."""
        due = self.mind.next_time()
        if self._alarm is not None:
            if self._alarm.when() == due:
                return
            self._alarm.cancel()
        self._alarm = self._loop.call_at(due, self._ring) if due is not None else None

    def _ring(self) -> None:
        self._alarm = None
        self._decide()

    def _route(self, sends: Sequence[Send]) -> None:
        self._send_all(sends if self._writing is None else self._writing.sendable(sends))

    def _send_all(self, sends: Sequence[Send]) -> None:
        links = self._links
        for peer, message, body in sends:
            link = links.get(peer)
            if link is not None:
                if type(message) in _UNHURRIED:
                    link.send_later(message, *body)
                    if type(message) is m.Forget and self._load is not None and self._load[0].block == message.block:
                        self._load = None
                elif type(message) is m.Load:
                    link.queue_encoded(self._header_of(message), *body)
                    self._waiting[link] = None
                else:
                    link.queue(message, *body)
                    self._waiting[link] = None

    def _header_of(self, load: m.Load) -> bytes:
        """Return a plan's header, encoded once for all the workers that it goes to now: it may be long."""
        if self._load is None or self._load[0] is not load:
            self._load = load, encoded(load)
        return self._load[1]


def tune_collector() -> None:
    """Plans are large and acyclic: look for cycles rarely (measured: building 1M nodes takes half the time)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
