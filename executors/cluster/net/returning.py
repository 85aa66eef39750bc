"""Finding a scheduler again that was there before.

Covers: trying, with growing pauses, for a bounded time; what is to be said meanwhile.
Does not cover: what is said first then (net.worker_server, net.connection).
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from lazygraph.errors import CannotConnect
from lazygraph.executors.cluster import messages as m

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from lazygraph.executors.cluster.net.link import Link, Piece

FIRST, LONGEST = 0.05, 1.0
"""Seconds between two tries: the first pause, and the longest; up to half of one is left to chance."""


async def again(connected: Callable[[], Awaitable[Link]], patience: float, journal: str) -> Link | None:
    """Connect, trying for so many seconds; None when nobody was there, or one who does not keep that journal."""
    loop = asyncio.get_running_loop()
    until, pause = loop.time() + patience, FIRST
    while loop.time() < until:
        try:
            link = await connected()
        except CannotConnect:
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, LONGEST)
        except ConnectionError:  # refused: it is another cluster by now
            return None
        else:
            if link.journal == journal:
                return link
            link.close()
            return None
    return None


class Unsent:
    """Stands for a link while there is none: what would be said is said later.

    `handed` is what had been given and not answered for when the link ended.
    """

    closed = True

    def __init__(self, handed: list[tuple[int, int, bytes]]) -> None:
        self.handed = handed
        self.said: list[tuple[m.Message, tuple[Piece, ...]]] = []

    def queue(self, message: m.Message, *body: Piece) -> None:
        """Keep a message for later; how much is parked is said anew."""
        if not isinstance(message, m.Parked):
            self.said.append((message, body))

    send = queue

    def say(self, link: Link, *first: m.Message) -> None:
        """Say these, and then what there was to say."""
        for message, body in (*((one, ()) for one in first), *self.said):
            link.queue(message, *body)
        link.flush_now()

    def flush_now(self) -> None:
        """Write nothing."""

    def close(self) -> None:
        """Forget what there was to say."""
        self.said.clear()


def end(ended: asyncio.Future[Exception | None], why: Exception | None) -> None:
    """Say that it is over, once."""
    if not ended.done():
        ended.set_result(why)
