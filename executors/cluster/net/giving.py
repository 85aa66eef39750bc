"""Answering questions for values: small ones in the answer itself, large ones in shared memory where that can be had.

A value is copied into a segment once, when the first process of this host asks for it, in a thread of its own: the loop
goes on meanwhile.  Whoever has it mapped tells others of the same segment.

Of one value that many want, a worker that waits for it is asked already: it answers when it has got it.

Covers: what a worker answers to `Get`.
Does not cover: what it asks itself (net.peers), segments (net.segments).
"""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from lazygraph.errors import SpilledValueLost
from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster.net import parcels
from lazygraph.executors.cluster.net.memory import OnDisk
from lazygraph.executors.cluster.net.parcels import Parcel
from lazygraph.executors.cluster.net.segments import KEPT_FOR, SMALLEST, Segments, this_host
from lazygraph.executors.cluster.worker_machine import MISSING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lazygraph.executors.cluster.net.link import Link
    from lazygraph.executors.cluster.net.peers import Brought
    from lazygraph.executors.cluster.net.segments import Kept, Mapped
    from lazygraph.executors.cluster.worker_machine import WorkerMachine


@dataclass(eq=False, slots=True)
class Shared:
    """A value that stands in a segment, or is being copied into one: whoever waits for that is called."""

    value: Any  # the very one: another value of the same task is not in that segment
    held: Kept | Mapped | None = None
    parcel: Parcel | None = None  # while it is copied, and for good when there is no room for it
    waiting: list[Callable[[], None]] | None = field(default_factory=list)  # None: it is over


class Giver:
    """What one worker gives.  Everything is called in the loop."""

    def __init__(self, mind: WorkerMachine, segments: Segments | None = None) -> None:
        self._mind = mind
        self._segments = Segments() if segments is None else segments
        self._copying = ThreadPoolExecutor(1, "lazygraph-copying")  # memory is not faster for two
        self._later: dict[int, list[tuple[Link, m.Get]]] = {}  # our question -> what others ask that comes with it
        self._looking: asyncio.TimerHandle | None = None

    def asked(self, link: Link, question: m.Get) -> None:
        """Answer a question, as soon as what is on its way here has come, and what is large has been copied."""
        entries = m.from_ints(question.entries)
        ours = self._mind.coming(question.block, entries, question.turn)
        if ours is not None:
            self._later.setdefault(ours, []).append((link, question))
            return
        values = self._mind.lookup(question.block, entries)
        if (pickles := parcels.plain_pickles(values)) is not None:
            lengths = [len(pickled) for pickled in pickles]
            link.send(m.Values(question.question, lengths, [], []), b"".join(pickles))
            return
        shares = bool(question.host) and question.host == this_host()
        found = [
            None if value is MISSING else self._offered(question.block, entry, value, shares)
            for entry, value in zip(entries, values, strict=True)
        ]
        under_way = [one for one in found if isinstance(one, Shared) and one.waiting is not None]
        left = len(under_way)

        def one_more() -> None:
            nonlocal left
            left -= 1
            if left <= 0:
                self._answer(link, question.question, found)

        for one in under_way:
            assert one.waiting is not None
            one.waiting.append(one_more)
        if not under_way:
            self._answer(link, question.question, found)

    def came(self, question: m.Get, values: Sequence[Any], brought: Brought) -> None:
        """Values were brought here: those that stand in segments are there for others too."""
        block = self._mind.blocks.get(question.block)
        if block is None or not brought.mapped:
            return
        mapped = iter(brought.mapped)
        lengths = brought.message.lengths
        for entry, value, length in zip(m.from_ints(question.entries), values, lengths, strict=True):
            segment = next(mapped) if length == parcels.PLACED else None
            if segment is not None and value is not MISSING and block.values.get(entry, MISSING) is value:
                block.shared[entry] = Shared(value, segment, waiting=None)

    def placed(self, block: int, entry: int, value: Any, segment: Mapped) -> None:
        """A value that stands in somebody's segment is ours from now on: it is there for others too."""
        self._mind.blocks[block].shared[entry] = Shared(value, segment, waiting=None)

    def settled(self, question: m.Get) -> None:
        """A question of ours has been answered, or will not be: whoever has waited for that is answered too."""
        for link, other in self._later.pop(question.question, ()):
            self.asked(link, other)

    @property
    def held(self) -> int:
        """How many bytes of memory its segments take."""
        return self._segments.held

    def trim(self) -> None:
        """Let go of what is kept only to be filled again."""
        self._segments.trim(0.0)

    def close(self) -> None:
        """Let go of segments that nobody needs."""
        if self._looking is not None:
            self._looking.cancel()
        self._copying.shutdown(cancel_futures=True)  # what is being copied is finished: its memory is in use
        self._segments.close()

    def _look(self) -> None:
        """Have segments go that nobody has needed for a while; look again as long as there are any."""
        self._segments.trim()
        in_use = self._segments.in_use
        self._looking = asyncio.get_running_loop().call_later(KEPT_FOR, self._look) if in_use else None

    def _offered(self, block: int, entry: int, value: Any, shares: bool) -> Shared | Parcel | str:
        """Return what is given of a value: its segment, or its parcel, or why there is neither."""
        if isinstance(value, OnDisk):  # its bytes are sent from where they lie
            try:
                return value.parcel()
            except SpilledValueLost as error:
                return str(error)
        at: dict[int, Shared] = self._mind.blocks[block].shared
        known = at.get(entry)
        if shares and known is not None and known.value is value:
            return known
        parcel = parcels.packed(value)
        if not shares or isinstance(parcel, str) or parcel.length < SMALLEST:
            return parcel
        shared = at[entry] = Shared(value, parcel=parcel)
        loop = asyncio.get_running_loop()
        self._copying.submit(self._copy, parcel, shared, partial(_hurry, loop, self._copied, at, entry, shared))
        return shared

    def _copy(self, parcel: Parcel, shared: Shared, then: Callable[[], None]) -> None:
        """Copy a value (in a thread)."""
        try:
            shared.held = self._segments.put(parcel.pieces, parcel.length)
        finally:
            then()

    def _copied(self, at: dict[int, Shared], entry: int, shared: Shared) -> None:
        """A value has been copied, or there was no room: then it is sent, and the next that asks has it tried again."""
        if self._looking is None:
            self._look()
        if shared.held is not None:
            shared.parcel = None
        elif at.get(entry) is shared:
            del at[entry]
        waiting, shared.waiting = shared.waiting, None
        for tell in waiting or ():
            tell()

    def _answer(self, link: Link, question: int, found: list[Shared | Parcel | str | None]) -> None:
        here = [one.held.place if isinstance(one, Shared) and one.held is not None else None for one in found]
        sent = [one.parcel if isinstance(one, Shared) else one for one in found]
        sizes, pieces = parcels.together([one for one in sent if isinstance(one, Parcel)])
        left = iter(sizes)
        lengths = [
            parcels.PLACED
            if place is not None
            else next(left)
            if isinstance(one, Parcel)
            else parcels.CANNOT
            if isinstance(one, str)
            else parcels.MISSING
            for place, one in zip(here, sent, strict=True)
        ]
        problems = [one for one in sent if isinstance(one, str)]
        link.send(m.Values(question, lengths, problems, [place for place in here if place is not None]), *pieces)


def _hurry(loop: asyncio.AbstractEventLoop, job: Callable[..., None], *args: Any) -> None:
    """Call a job in the loop, from another thread."""
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
        loop.call_soon_threadsafe(job, *args)
