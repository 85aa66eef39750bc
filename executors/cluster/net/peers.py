"""Links to workers, for whoever fetches values: other workers and clients.

Covers: opening them when first needed, questions and answers, workers that are gone.
Does not cover: which values to ask for (the minds).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster.net.hello import connect

if TYPE_CHECKING:
    from collections.abc import Callable

    from lazygraph.executors.cluster.net.link import Link


class PeerLinks:
    """Links to workers, opened when first needed, and the questions under way on each."""

    def __init__(
        self, token: str, role: str, answered: Callable[[int, m.Values | None, bytes | memoryview], None]
    ) -> None:
        self._token, self._role, self._answered = token, role, answered
        self._links: dict[str, Link] = {}
        self._opening: dict[str, list[m.Get]] = {}
        self._asked: dict[str, dict[int, None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def ask(self, address: str, question: m.Get) -> None:
        """Send a question to a worker; its answer, or None, comes to `answered`."""
        self._asked.setdefault(address, {})[question.question] = None
        link = self._links.get(address)
        if link is not None:
            link.send(question)
        elif address in self._opening:
            self._opening[address].append(question)
        else:
            self._opening[address] = [question]
            task = asyncio.get_running_loop().create_task(self._open(address))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _open(self, address: str) -> None:
        try:
            link = await connect(
                address,
                self._role,
                self._token,
                on_message=lambda _, message, body: self._message(address, message, body),
                on_lost=lambda _, error: self._lost(address),
                timeout=10.0,
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
        for question in self._opening.pop(address, ()):
            link.send(question)

    def _message(self, address: str, message: m.Message, body: bytes | memoryview) -> None:
        if isinstance(message, m.Values) and self._asked.get(address, {}).pop(message.question, 0) is None:
            self._answered(message.question, message, body)

    def _lost(self, address: str) -> None:
        self._links.pop(address, None)
        for question in self._asked.pop(address, ()):
            self._answered(question, None, b"")

    def close(self) -> None:
        """End every link."""
        for link in list(self._links.values()):
            link.close()
