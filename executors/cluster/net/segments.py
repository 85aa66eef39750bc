"""Segments: memory that processes of one host share, for values that are too large to be sent from one to another.

Whoever has such a value copies it into a segment once, when another process on this host asks for it; readers map that.
A segment has no name: it is a memfd, or an unlinked file where memory is short, and is opened through /proc/PID/fd.  So
whoever is killed, the kernel takes back what nobody holds, and nothing has to be swept.

A segment is filled again only when nobody else has it open or mapped.  The kernel knows that, also of processes that
were killed or forked: it grants a lease for writing (fcntl(2), F_SETLEASE) only then.  For whoever was told of a
segment and has not opened it yet, each filling has a stamp of its own, which is taken away before the kernel is asked.

Covers: whether two processes can share (`this_host`), filling, mapping, recycling.
Does not cover: what stands in a segment (net.parcels), who is told of one (net.giving, net.peers).
"""

from __future__ import annotations

import contextlib
import mmap
import os
import secrets
import signal
import stat
import sys
import tempfile
import time
from collections import deque
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING

from lazygraph.executors.cluster.messages import Place

if sys.platform != "win32":
    import fcntl
    import resource

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

VARIABLE = "LAZYGRAPH_SHARED_MEMORY"
"""Set to 0 in the environment of a process, it shares no memory: everything large is sent."""

SMALLEST = 1024**2
"""Bytes from which a value is worth a segment: below, sending it costs less than making and mapping one."""

MOST_KEPT = 0.1
"""The part of the memory that can be had which segments of one process may take that nobody needs at the moment."""

KEPT_FOR = 20.0
"""Seconds that such a segment is kept, to be filled again."""

_FRONT = 64
"""Bytes before the content, which is aligned by that; the stamp stands in them."""
_STAMP = 16
_PIECES = 512  # at most 1,024 can be written at once
_SLICE = 1024**2  # copied while the interpreter's lock is held: 0.1 ms
_F_SETSIG = 10  # Linux's number; Python names it from 3.13 on


class CannotShare(Exception):
    """A segment that one was told of cannot be had here."""


@lru_cache(maxsize=1)
def _host(pid: int) -> str:
    """Return what two processes have in common that can open each other's segments; "" when nobody can ours."""
    if not sys.platform.startswith("linux"):
        return ""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = file.read().strip()
        space = os.stat("/proc/self/ns/pid").st_ino
        os.stat(f"/proc/{pid}/fd")  # this process, under the number that it believes to have
    except OSError:
        return ""
    return f"{boot}.{space}.{os.geteuid()}"


def this_host() -> str:
    """Return a text that is the same in all processes which may try to share memory; "" when this one does not.

    It is a hint: hosts can be copies of each other.  The proof is the stamp that is read in the segment itself.
    """
    return "" if os.environ.get(VARIABLE) == "0" else _host(os.getpid())


def most_mapped() -> int:
    """Return how many segments may be mapped here at a time: each takes up to two descriptors, of which others live."""
    return 0 if sys.platform == "win32" else resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 8


def _available() -> int:
    """Return how many bytes of memory can be had, by what the kernel says of the machine and of its group."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with contextlib.suppress(OSError, ValueError, IndexError), open("/proc/meminfo", encoding="ascii") as file:
        free = next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable:"))
    with contextlib.suppress(OSError, ValueError):  # "max" is no number: there is no limit
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as file:
            limit = int(file.read())
        with open("/sys/fs/cgroup/memory.current", encoding="ascii") as file:
            free = min(free, limit - int(file.read()))
    return free


# -- the side that has values ----------------------------------------------------------------------


class _Segment:
    """One open file of memory, mapped here when it is filled for the second time."""

    def __init__(self, descriptor: int, capacity: int) -> None:
        self.descriptor, self.capacity = descriptor, capacity
        self._map: mmap.mmap | None = None
        self._filled = False
        self.idle_since = 0.0
        found = os.fstat(descriptor)
        self.device, self.inode = found.st_dev, found.st_ino

    def fill(self, pieces: Sequence[memoryview], stamp: bytes) -> None:
        """Copy the pieces into it one after another, and stamp it."""
        if self._filled and self._map is None:
            # Kept mapped, a segment is filled four times as fast as by `pwrite`, whose pages are looked up each time.
            self._map = mmap.mmap(self.descriptor, self.capacity, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE)
        if self._map is None:
            self._write(pieces)
            os.pwrite(self.descriptor, stamp, 0)
        else:
            self._copy(self._map, pieces)
            self._map[:_STAMP] = stamp
        self._filled = True

    def _write(self, pieces: Sequence[memoryview]) -> None:
        """Fill fresh pages: written, they cost half of what they do when they are touched through a map."""
        at, left = _FRONT, filter(len, pieces)
        while group := list(islice(left, _PIECES)):
            while group:
                written = os.pwritev(self.descriptor, group, at)
                at += written
                while group and written >= len(group[0]):
                    written -= len(group.pop(0))
                if written:
                    group[0] = group[0][written:]

    def _copy(self, target: mmap.mmap, pieces: Sequence[memoryview]) -> None:
        at = _FRONT
        with memoryview(target) as view:
            for piece in pieces:
                for start in range(0, len(piece), _SLICE):
                    part = piece[start : start + _SLICE]
                    view[at : at + len(part)] = part
                    at += len(part)

    def is_ours_alone(self) -> bool:
        """Whether nobody else has it open or mapped, or can come to have it."""
        if not _nobody_else(self.descriptor):
            return False
        os.pwrite(self.descriptor, bytes(_STAMP), 0)  # whoever opens it from now on sees that it is too late
        return _nobody_else(self.descriptor)

    def close(self) -> None:
        """Let go of it; it is gone when its readers let go of it too."""
        if self._map is not None:
            self._map.close()
        os.close(self.descriptor)


def _nobody_else(descriptor: int) -> bool:
    """Ask the kernel for a lease, which it grants to whoever is the only one that has a file open, and give it back."""
    try:
        # Whoever opens the file at this very moment makes the kernel send us a signal: one that means nothing.
        fcntl.fcntl(descriptor, _F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except OSError:
        return False
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return True


class Kept:
    """A value's bytes in a segment of ours, as long as this is held; `place` is what others are told."""

    def __init__(self, segment: _Segment, place: Place, back: Callable[[_Segment], None]) -> None:
        self.place = place
        self._segment, self._back = segment, back

    def __del__(self) -> None:
        self._back(self._segment)


class Segments:
    """The segments of one process.  Any thread may put something into one.

    `available` says how many bytes of memory can be had, `most_kept` how many may be held for nothing but to be filled
    again, and `folder` where files are made when memory is short (default: where temporary files are).
    """

    def __init__(
        self, available: Callable[[], int] = _available, most_kept: int | None = None, folder: str | None = None
    ) -> None:
        self._available, self._folder, self._most_kept = available, folder, most_kept
        self._idle: deque[_Segment] = deque()  # those that were used last, last
        self._needed: set[_Segment] = set()
        self._most = most_mapped() // 2
        self._closed = False

    def put(self, pieces: Sequence[memoryview], length: int) -> Kept | None:
        """Copy pieces of `length` bytes together into a segment; None when there is no room for them, or no segment."""
        try:
            segment = self._recycled(length) or self._made(length)
        except OSError:
            return None
        if segment is None:
            return None
        stamp = secrets.token_bytes(_STAMP)
        try:
            segment.fill(pieces, stamp)
        except OSError:  # no room after all
            segment.close()
            return None
        self._needed.add(segment)
        place = Place(os.getpid(), segment.descriptor, segment.device, segment.inode, length, stamp)
        return Kept(segment, place, self._give_back)

    def _recycled(self, length: int) -> _Segment | None:
        """Take an idle segment that nobody else holds and that is not much too large."""
        wanted = _FRONT + length
        for _ in range(len(self._idle)):
            try:
                segment = self._idle.popleft()
            except IndexError:  # another thread was faster
                return None
            if wanted <= segment.capacity <= 2 * wanted + mmap.PAGESIZE and segment.is_ours_alone():
                return segment
            self._idle.append(segment)
        return None

    def _made(self, length: int) -> _Segment | None:
        if len(self._needed) + len(self._idle) >= self._most:  # descriptors are for other things too
            return None
        capacity = -(-(_FRONT + length) // mmap.PAGESIZE) * mmap.PAGESIZE
        if hasattr(os, "memfd_create") and capacity < self._available():
            with contextlib.suppress(OSError):
                return _sized(_opened_again(os.memfd_create("lazygraph", os.MFD_CLOEXEC)), capacity)
        folder = self._folder or tempfile.gettempdir()
        room = os.statvfs(folder)
        if capacity > room.f_bavail * room.f_frsize // 2:
            return None
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            return _sized(os.dup(file.fileno()), capacity)

    def _give_back(self, segment: _Segment) -> None:
        """Nobody needs what stands in a segment any more; called from wherever that is noticed."""
        self._needed.discard(segment)
        if self._closed or not _kernel_knows():
            segment.close()
            return
        segment.idle_since = time.monotonic()
        self._idle.append(segment)
        most = int(MOST_KEPT * self._available()) if self._most_kept is None else self._most_kept
        while sum(one.capacity for one in list(self._idle)) > most:
            try:
                self._idle.popleft().close()
            except IndexError:
                return

    def trim(self, kept_for: float = KEPT_FOR) -> bool:
        """Let go of what has been idle for longer; return whether something is idle still."""
        latest = time.monotonic() - kept_for
        for _ in range(len(self._idle)):
            with contextlib.suppress(IndexError):
                segment = self._idle.popleft()
                if segment.idle_since > latest:
                    self._idle.append(segment)
                else:
                    segment.close()
        return bool(self._idle)

    @property
    def held(self) -> int:
        """How many bytes they take."""
        return sum(one.capacity for one in [*list(self._needed), *list(self._idle)])

    @property
    def in_use(self) -> bool:
        """Whether there is any."""
        return bool(self._needed or self._idle)

    def close(self) -> None:
        """Let go of what is idle, and of the rest as soon as it is."""
        self._closed = True
        with contextlib.suppress(IndexError):
            while True:
                self._idle.popleft().close()


def _opened_again(descriptor: int) -> int:
    """Open a memfd as a file is opened: the kernel counts who has a file open by that only."""
    try:
        return os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR | os.O_CLOEXEC)
    finally:
        os.close(descriptor)


def _sized(descriptor: int, capacity: int) -> _Segment:
    try:
        os.ftruncate(descriptor, capacity)
        return _Segment(descriptor, capacity)
    except BaseException:
        os.close(descriptor)
        raise


@lru_cache(maxsize=1)
def _kernel_knows() -> bool:
    """Whether the kernel tells rightly that somebody else has a segment open; else none is filled again."""
    try:
        own = _opened_again(os.memfd_create("lazygraph", os.MFD_CLOEXEC))
    except (OSError, AttributeError):
        return False
    try:
        other = os.open(f"/proc/self/fd/{own}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            shared = _nobody_else(own)
        finally:
            os.close(other)
        return not shared and _nobody_else(own)
    except OSError:
        return False
    finally:
        os.close(own)


# -- the side that reads them ----------------------------------------------------------------------


class Mapped:
    """Somebody's segment, mapped here: `view` is its content, `place` where others on this host find it, with us.

    The memory stays mapped as long as a view of it is held; the place is good as long as this is.
    """

    def __init__(self, place: Place, own: bool) -> None:
        """Map it, for reading; `own` makes pages that are written to copies of our own.  Raises `CannotShare`."""
        self._descriptor = -1
        try:
            self._descriptor = descriptor = _opened(place)
            access = mmap.ACCESS_COPY if own else mmap.ACCESS_READ
            mapped = mmap.mmap(descriptor, _FRONT + place.length, access=access)
        except (OSError, ValueError, OverflowError) as error:
            raise CannotShare(str(error)) from error
        if mapped[:_STAMP] != place.stamp:  # after it was opened: from then on it is not filled again
            raise CannotShare("it is of another host, or something else stands in it now")
        self.view = memoryview(mapped)[_FRONT:]
        self.place = Place(os.getpid(), descriptor, place.device, place.inode, place.length, place.stamp)

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)


def _opened(place: Place) -> int:
    """Open a segment.  A place has no path in it, and what is there must be what we make: a file without a name."""
    path = f"/proc/{place.pid:d}/fd/{place.descriptor:d}"
    if not stat.S_ISREG(os.stat(path).st_mode):  # others may wait when they are opened, or do something
        raise CannotShare("it is no file")
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    found = os.fstat(descriptor)
    same = (found.st_dev, found.st_ino) == (place.device, place.inode) and found.st_uid == os.geteuid()
    if not (same and stat.S_ISREG(found.st_mode) and found.st_nlink == 0 and found.st_size >= _FRONT + place.length):
        os.close(descriptor)
        raise CannotShare("something else is there")
    return descriptor
