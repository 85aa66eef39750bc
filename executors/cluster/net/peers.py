"""Links to workers, for whoever fetches values: other workers and clients.

Covers: opening them when first needed, questions and answers, mapping what is in shared memory, workers that are gone.
Does not cover: which values to ask for (the minds), answering (net.giving).
"""

from __future__ import annotations

import asyncio
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster.net import parcels
from lazygraph.executors.cluster.net.hello import connect
from lazygraph.executors.cluster.net.segments import CannotShare, Mapped, most_mapped, this_host

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lazygraph.executors.cluster.net.link import Link
    from lazygraph.executors.cluster.tls import TLS


_TRIES = 3
"""Segments that cannot be had, one after another, before a worker's are not tried again: one may just be gone."""


@dataclass(frozen=True, slots=True)
class Brought:
    """What a worker has answered: a message with its body, and the segments that it tells of."""

    message: m.Values
    body: bytes | memoryview
    mapped: Sequence[Mapped]
    own: bool

    @property
    def sizes(self) -> list[int]:
        """The bytes of each value; 0 of one that has not come."""
        places = iter(self.message.places)
        return [next(places).length if length == parcels.PLACED else max(length, 0) for length in self.message.lengths]

    def opened(self, missing: Any) -> tuple[list[Any], dict[int, str]]:
        """Open the values: one for each entry asked for (or `missing`), and problems by position."""
        return parcels.unpack_values(self.message, self.body, missing, self.mapped, self.own)


class PeerLinks:
    """Links to workers, opened when first needed, and the questions under way on each.

    `answered(question, brought)` gets what came, or None.  `own`: values that are brought may be changed here.
    """

    def __init__(
        self,
        token: str,
        role: str,
        answered: Callable[[Any, Brought | None], None],
        own: bool,
        tls: TLS | None = None,
    ) -> None:
        self._token, self._role, self._answered, self._own, self._tls = token, role, answered, own, tls
        self._links: dict[str, Link] = {}
        self._opening: dict[str, list[m.Get | m.Put]] = {}
        self._asked: dict[str, dict[int, m.Get | m.Put]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._mapped: weakref.WeakSet[Any] = weakref.WeakSet()
        self._bodies: dict[int, Sequence[memoryview]] = {}  # of what is put, until it is answered
        self._in_vain: dict[str, int] = {}  # how often a worker has told of a segment that could not be had

    def put(self, address: str, question: m.Put, body: Sequence[memoryview]) -> None:
        """Give a worker a value; its answer, or None, comes to `answered`."""
        self._bodies[question.question] = body
        self.ask(address, question)

    def map(self, place: m.Place) -> Mapped:
        """Map what somebody has put into a segment for us.  Raises `CannotShare`."""
        if not this_host() or len(self._mapped) >= most_mapped():
            raise CannotShare("no memory is shared here, or enough is mapped")
        mapped = Mapped(place, self._own)
        self._mapped.add(mapped.view.obj)
        return mapped

    def ask(self, address: str, question: m.Get | m.Put) -> None:
        """Send a question to a worker; its answer, or None, comes to `answered`."""
        self._asked.setdefault(address, {})[question.question] = question
        link = self._links.get(address)
        if link is not None:
            self._send(link, address, question)
        elif address in self._opening:
            self._opening[address].append(question)
        else:
            self._opening[address] = [question]
            task = asyncio.get_running_loop().create_task(self._open(address))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _send(self, link: Link, address: str, question: m.Get | m.Put) -> None:
        if isinstance(question, m.Put):
            link.send(question, *self._bodies.get(question.question, ()))
            return
        if self._in_vain.get(address, 0) < _TRIES and len(self._mapped) < most_mapped():
            question = m.Get(question.question, question.block, question.entries, this_host(), question.turn)
        link.send(question)

    async def _open(self, address: str) -> None:
        try:
            link = await connect(
                address,
                self._role,
                self._token,
                on_message=lambda link, message, body: self._message(link, address, message, body),
                on_lost=lambda _, error: self._lost(address),
                timeout=10.0,
                tls=self._tls,
            )
        except OSError:  # CannotConnect and Refused are ConnectionErrors: it is gone, and the scheduler is told so
            self._opening.pop(address, None)
            self._lost(address)
            return
        if link.closed:  # lost before this went on
            self._opening.pop(address, None)
            self._lost(address)
            return
        self._links[address] = link
        asked = self._asked.get(address, {})
        for question in self._opening.pop(address, ()):
            if question.question in asked:  # nobody waits for one that has been given up
                self._send(link, address, question)

    def _message(self, link: Link, address: str, message: m.Message, body: bytes | memoryview) -> None:
        question = self._asked.get(address, {}).get(message.question) if isinstance(message, m.Values) else None
        if question is None or not isinstance(message, m.Values):
            return
        try:
            mapped = [Mapped(place, self._own) for place in message.places]
        except CannotShare:
            self._in_vain[address] = self._in_vain.get(address, 0) + 1
            link.send(question)  # this time without a host: it is to be sent
            return
        if mapped:
            self._in_vain.pop(address, None)
        self._mapped.update(one.view.obj for one in mapped)
        del self._asked[address][message.question]
        self._bodies.pop(message.question, None)
        self._answered(question, Brought(message, body, mapped, self._own))

    def away(self, address: str) -> None:
        """Nobody answers there any more: who asks is told that at once."""
        link = self._links.get(address)
        if link is not None:
            link.abort()
        self._lost(address)

    def _lost(self, address: str) -> None:
        self._links.pop(address, None)
        self._in_vain.pop(address, None)
        for question in self._asked.pop(address, {}).values():
            self._bodies.pop(question.question, None)
            self._answered(question, None)

    def close(self) -> None:
        """End every link."""
        for link in list(self._links.values()):
            if self._tls is None:
                link.close()
            else:  # nothing is owed to them, and nobody would be there for their goodbye
                link.abort()
