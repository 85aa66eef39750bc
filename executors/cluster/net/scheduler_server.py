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
from lazygraph.executors.cluster.scheduler_machine import FROM_CLIENTS, FROM_WORKERS, SchedulerMachine
from lazygraph.executors.cluster.tls import PLAIN, Guard

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lazygraph.executors.cluster.net.hello import Server
    from lazygraph.executors.cluster.net.link import Link
    from lazygraph.executors.cluster.records import Send

EXPLAINED = 1.0
"""Seconds that a worker's end waits for the word of whoever has started it."""

LONGEST = 3600.0
"""Seconds that a client may be missed at most."""

_UNHURRIED = frozenset({m.Free, m.Forget})
_SAYS = {"client": frozenset(FROM_CLIENTS), "worker": frozenset(FROM_WORKERS)}


class SchedulerServer:
    """Serve one SchedulerMachine on a port until `close`."""

    def __init__(
        self,
        host: str,
        port: int,
        token: str,
        worker_ttl: float = WORKER_TTL,
        supervised: bool = False,
        guard: Guard = PLAIN,
    ) -> None:
        self._host, self._port, self._token = host, port, token
        self._guard = guard
        self.mind = SchedulerMachine(worker_ttl)
        self._supervised = supervised  # whether somebody tells how workers have ended (`ended`)
        self._unexplained: dict[str, tuple[int, asyncio.TimerHandle]] = {}  # workers that are gone, nobody knows why
        self._ends: dict[str, str] = {}  # how workers have ended whose connection has not
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
        tune_collector()
        return self._server.address

    def close(self) -> None:
        """Stop listening and end every connection."""
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
        if type(message) not in _SAYS[role]:
            link.send(m.Refusal(f"a {role} may not say {type(message).__name__}"))
            link.close()
            return
        now = self._loop.time()
        self.mind.frontier.wall_ahead = time.time() - now
        self._route(self.mind.receive(peer, message, body, now))

    def _lost(self, link: Link, error: Exception | None) -> None:
        known = self._peers.pop(link, None)
        if known is None:
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
        waiting, self._waiting = self._waiting, {}
        for link in waiting:
            link.flush_now()

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
