"""What the scheduler's hand does with notes: they go to the journal, and what is held back for them waits here.

Covers: order (what follows to a peer from whom something is held back waits too), notes read again at the start.
Does not cover: the file (net.journal), which messages are held back (cluster.journalling).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from lazygraph.executors.cluster.records import Held, Send

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from lazygraph.executors.cluster import notes as n


class JournalOf(Protocol):
    """A journal, as the hand needs it (net.journal.Journal)."""

    ident: str
    epoch: int
    written: Callable[[int], None]
    failed: Callable[[Exception], None]

    def read(self) -> list[n.Record]:
        """Return what was noted before, in order."""
        ...

    def start(self) -> None:
        """Begin to write."""

    def put(self, job: n.Note | n.Erase) -> None:
        """Have something noted or erased."""

    def ask(self) -> int | None:
        """Return the count that `written` must reach for all that was put; None if it has."""
        ...

    def close(self) -> None:
        """Write what was put, and end."""


class Writing:
    """A journal, and the messages that wait for it.  `go(sends)` is called when some need not wait any more."""

    def __init__(self, journal: JournalOf, go: Callable[[Sequence[Send]], None]) -> None:
        self._journal, self._go = journal, go
        self._behind: dict[int, deque[tuple[int, Send]]] = {}  # peer -> what waits, and for which count
        self.ident = journal.ident

    def restore(self, mind: Any, now: float) -> int:
        """Tell a new mind what was noted; return the first number that no peer has had."""
        mind.restore(self._journal.read(), now)
        first: int = mind.next_peer
        return first

    def start(self, loop: asyncio.AbstractEventLoop, failed: asyncio.Future[Exception]) -> None:
        """Begin to write; `failed` gets the error after which nothing is written any more."""

        def give_up(error: Exception) -> None:
            if not failed.done():
                failed.set_result(error)

        def written(count: int) -> None:
            loop.call_soon_threadsafe(self._written, count)

        def has_failed(error: Exception) -> None:
            loop.call_soon_threadsafe(give_up, error)

        self._journal.written, self._journal.failed = written, has_failed
        self._journal.start()

    def close(self) -> None:
        """Write what there is."""
        self._journal.written = lambda count: None  # the loop may be over
        self._journal.close()

    def sendable(self, actions: Sequence[Any]) -> list[Send]:
        """Put notes into the journal; return the messages that need not wait."""
        journal, behind = self._journal, self._behind
        free: list[Send] = []
        for action in actions:
            if type(action) not in (Send, Held):
                journal.put(action)
                continue
            count = journal.ask() if type(action) is Held else None
            action = Send(action.peer, action.message, action.body)
            if count is not None or action.peer in behind:
                behind.setdefault(action.peer, deque()).append((count or 0, action))
            else:
                free.append(action)
        return free

    def _written(self, count: int) -> None:
        free: list[Send] = []
        for peer, waiting in list(self._behind.items()):
            while waiting and waiting[0][0] <= count:
                free.append(waiting.popleft()[1])
            if not waiting:
                del self._behind[peer]
        if free:
            self._go(free)
