"""A worker's memory: how much it has, which values go to disk, and what is said of that to its mind.

As in Dask: values whose sizes are known are kept up to TARGET of the limit, those that were not used for longest go to
disk before a new one is told of; where the process itself has more than SPILL, more of them go; from PAUSE on its mind
hears that memory is full.  What the process has is its own pages and the segments that it shares (net.segments): pages
of mapped files are the kernel's to drop.

Covers: the limit, measuring, choosing and writing, the failure of a task whose value has room nowhere.
Does not cover: files (files.spill), what a full worker does (cluster.worker_machine).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from lazygraph.errors import NoRoom, SpilledValueLost
from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster.net import parcels
from lazygraph.executors.cluster.net.codec import size_of
from lazygraph.executors.cluster.net.parcels import Parcel
from lazygraph.executors.cluster.work import Spilled
from lazygraph.executors.cluster.worker_machine import MISSING
from lazygraph.executors.files.spill import SpillRoom
from lazygraph.running.background import in_thread
from lazygraph.running.runner import broken_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Future

    from lazygraph.executors.cluster.worker_machine import WorkerBlock, WorkerMachine, WorkLease
    from lazygraph.executors.files.spill import SpilledFile
    from lazygraph.running.runner import Report

_log = logging.getLogger(__name__)

TARGET, SPILL, PAUSE = 0.6, 0.7, 0.8
"""Parts of the limit: values that are kept in memory; the process, before more of them go; before nothing is taken."""

SMALLEST = 4096
"""Values of fewer bytes stay: a file takes as much room."""

LOOK = 0.2
"""Seconds between two looks at what memory the process has."""

TRY_AGAIN = 5.0
"""Seconds after which writing is tried again where it has failed."""

QUICK = 2e-5
"""Seconds in which no value is made that is looked at before it is told of: it is when it has been."""


def process_memory() -> int:
    """Return how many bytes of its own this process has; 0 where that cannot be known."""
    with contextlib.suppress(OSError, ValueError), open("/proc/self/status", encoding="ascii", errors="ignore") as file:
        for line in file:
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    return 0


def memory_here() -> int:
    """Return how many bytes of memory this process has; 0 where that cannot be known."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0


class OnDisk(Spilled):
    """A value that is on disk, as parcels are."""

    __slots__ = ("_file",)

    def __init__(self, file: SpilledFile) -> None:
        super().__init__(file.size)
        self._file = file

    def value(self) -> Any:
        """Open the value; its buffers are views of the mapped file."""
        return parcels.unpack(self._view())

    def parcel(self) -> Parcel:
        """Return it as it travels, without reading it."""
        view = self._view()
        return Parcel([view], len(view))

    def _view(self) -> memoryview:
        try:
            return self._file.view()
        except (OSError, KeyError) as error:
            raise SpilledValueLost(self.size, self._file.path, error) from error


class Memory:
    """What a worker knows of its values' sizes.  `limit` 0: nothing is ever spilled."""

    def __init__(self, mind: WorkerMachine, limit: int, room: SpillRoom | None = None) -> None:
        self._mind, self.limit = mind, limit
        self.room = room or SpillRoom()
        self.managed = 0  # bytes of known values in memory
        self.target, self.spill_at, self.pause_at = (int(part * limit) for part in (TARGET, SPILL, PAUSE))
        self._sizes: dict[tuple[int, int], int] = {}  # (block, entry) of values in memory, least recently used first
        self._of: dict[int, set[int]] = {}  # the same by block
        self._stuck: set[tuple[int, int]] = set()  # that cannot be pickled, or written just now
        self.closed = False
        self.problem: OSError | None = None  # why nothing could be written, when that was tried last
        self._lock = threading.RLock()  # held for moments only: the loop waits for it
        self._writing = threading.RLock()

    # -- what is there ---------------------------------------------------------------------------------

    def note(self, base: int, entry: int, size: int) -> None:
        """A value is here."""
        if size < SMALLEST or not self.limit:
            return
        with self._lock:
            self._forget(base, entry)
            self._sizes[base, entry] = size
            self._of.setdefault(base, set()).add(entry)
            self.managed += size

    def noted(self, base: int, entry: int) -> bool:
        """Whether a value is known."""
        return (base, entry) in self._sizes

    @property
    def knows_any(self) -> bool:
        """Whether there is a value that could be spilled."""
        return bool(self._sizes)

    def used(self, read: Iterable[tuple[int, int]]) -> None:
        """Values (block, entry) are about to be read: others go first."""
        with self._lock:
            for at in read:
                size = self._sizes.pop(at, None)
                if size is not None:
                    self._sizes[at] = size

    def freed(self, base: int, entries: Iterable[int] | None = None) -> None:
        """Values (default: all of a block) are gone."""
        known = self._of.get(base)
        if known:
            with self._lock:
                for entry in list(known if entries is None else known.intersection(entries)):
                    self._forget(base, entry)

    def note_done(self, lease: WorkLease, done: m.Done) -> None:
        """Values of a lease are here, as large as is told of them."""
        sizes = m.from_longs(done.sizes)
        if self.limit and max(sizes) >= SMALLEST:
            for task, size in zip(m.from_ints(done.tasks), sizes, strict=True):
                if task not in lease.block.values.spilled:
                    self.note(lease.base, task, size)

    def hear(self, message: m.Message) -> None:
        """The scheduler has said something: values may be gone."""
        if isinstance(message, m.Free):
            self.freed(message.block, m.from_ints(message.entries))
        elif isinstance(message, m.Forget):
            self.freed(message.block)

    def _forget(self, base: int, entry: int) -> None:
        size = self._sizes.pop((base, entry), None)
        if size is not None:
            self.managed -= size
            self._stuck.discard((base, entry))
            entries = self._of[base]
            entries.discard(entry)
            if not entries:
                del self._of[base]

    def on_disk(self) -> int:
        """Return how many bytes of values here are on disk (a value that runs share is counted once)."""
        blocks = list(self._mind.blocks.values())
        found = {id(one): one.size for block in blocks for one in list(block.values.spilled.values())}
        return sum(found.values())

    # -- making room -----------------------------------------------------------------------------------

    def settle(self, lease: WorkLease, report: Report) -> None:
        """See that there is room for what was made before it is told of; called in the thread that made it.

        A task whose value has room neither in memory nor on disk has failed.
        """
        if not self.limit or not report.done or report.seconds < QUICK * len(report.done):
            return
        for task in list(report.done):
            value = dict.get(lease.block.values, task, MISSING)
            if value is MISSING or type(value) in _SMALL:
                continue
            size = size_of(value)
            if size < SMALLEST:
                continue
            problem = self._place(lease, task, value, size)
            if problem is not None:
                report.done.remove(task)
                lease.block.values.pop(task, None)
                node, _ = lease.program.place_of(task, None)
                failed = NoRoom(node, size, self.room.folder, self.limit, problem)
                report.broken.append(broken_of(lease.program, task, failed))
                while lease.tasks:  # they may read it
                    with contextlib.suppress(IndexError):
                        report.skipped.append(lease.tasks.pop())

    def _place(self, lease: WorkLease, task: int, value: Any, size: int) -> OSError | None:
        with self._writing:
            problem = self.make_room(self.managed + size - self.target)
            if self.managed + size > self.target:  # larger than what may be had, or nothing else can go
                problem = self._spill(lease.base, task, lease.block, value) or problem
                if task in lease.block.values.spilled:
                    return None
            if problem is not None and self.managed + size > self.pause_at:
                return problem
            self.note(lease.base, task, size)
        return None

    def make_room(self, size: int) -> OSError | None:
        """Write values of at least `size` bytes to disk, those that were not used for longest first."""
        if size <= 0:
            return None
        with self._writing:
            with self._lock:
                oldest = list(self._sizes)
            for base, entry in oldest:
                if (base, entry) in self._stuck:
                    continue
                block, known = self._mind.blocks.get(base), self._sizes.get((base, entry), 0)
                value = MISSING if block is None else dict.get(block.values, entry, MISSING)
                if block is None or value is MISSING:
                    self.freed(base, (entry,))
                else:
                    self.problem = self._spill(base, entry, block, value)
                    if self.problem is not None:
                        return self.problem
                    if (base, entry) in self._stuck:
                        continue
                size -= known
                if size <= 0:
                    break
        return None

    def _spill(self, base: int, entry: int, block: WorkerBlock, value: Any) -> OSError | None:
        parcel = parcels.packed(value)
        if isinstance(parcel, str):  # it cannot be pickled: it stays
            self._stuck.add((base, entry))
            return None
        try:
            file = self.room.put(parcel.pieces, parcel.length)
        except OSError as error:
            return error
        kept = OnDisk(file)
        values = block.values
        values.spilled[entry] = kept
        if values.pop(entry, MISSING) is MISSING:  # freed meanwhile
            values.spilled.pop(entry, None)
        block.shared.pop(entry, None)
        for other in list(self._mind.blocks.values()):  # runs that read it have it under numbers of their own
            for external, owner in enumerate(other.aliases):
                if owner == (base, entry) and dict.get(other.values, external, MISSING) is value:
                    other.values.spilled[external] = kept
                    other.values.pop(external, None)
        self.freed(base, (entry,))
        return None

    def can_spill(self) -> bool:
        """Whether something in memory could still go to disk."""
        return self.problem is None and len(self._sizes) > len(self._stuck)

    def alive(self) -> m.Alive:
        """Return what the scheduler is told every so often."""
        return m.Alive(memory_here(), self.managed, self.on_disk(), self.limit)

    def close(self) -> None:
        """Remove what is on disk."""
        self.closed = True
        self.room.close()


_SMALL = frozenset({int, float, bool, type(None), complex})


class Sharing(Protocol):
    """Whoever holds segments (net.giving)."""

    @property
    def held(self) -> int:
        """How many bytes they take."""
        ...

    def trim(self) -> None:
        """Let go of what nobody needs."""


class Watching:
    """Looks every so often at what memory the process has, in the loop: writes values, and says whether it is full.

    `tell(full, can_spill)` hears of it, `say` has something called in the loop, from any thread.
    """

    def __init__(
        self,
        memory: Memory,
        sharing: Sharing,
        tell: Callable[[bool, bool], None],
        say: Callable[[Callable[[], None]], None],
    ) -> None:
        self._memory, self._sharing, self._tell, self._say = memory, sharing, tell, say
        self._loop = asyncio.get_running_loop()
        self._spilling = False  # whether values are being written now
        self._spill_from = 0.0  # when that is tried again

    def look(self) -> None:
        """Look now, and from now on."""
        memory = self._memory
        process = process_memory() + self._sharing.held
        over = max(memory.managed - memory.target, process - memory.spill_at)
        if process > memory.spill_at:
            self._sharing.trim()
        if over > 0 and not self._spilling and memory.knows_any and self._loop.time() >= self._spill_from:
            self._spilling = True
            writing = in_thread(partial(memory.make_room, over))
            writing.add_done_callback(lambda _: self._say(partial(self._spilled, writing)))
        full = max(process, memory.managed) > memory.pause_at
        if not self._memory.closed:
            self._tell(full, self._spilling or memory.can_spill())
            self._loop.call_later(LOOK, self.look)

    def _spilled(self, writing: Future[OSError | None]) -> None:
        self._spilling = False
        error = writing.exception() or writing.result()
        if error is not None:
            self._spill_from = self._loop.time() + TRY_AGAIN
            _log.warning("values cannot be written to %s, they stay in memory: %s", self._memory.room.folder, error)
