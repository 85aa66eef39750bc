"""A child process that runs leases for this one, and both ends of the conversation with it.

A child is `python -m lazygraph.cli child` (never multiprocessing: no `if __name__ == "__main__"` is needed).  Plans and
leases reach it as parcels (executors.remote) over its standard input, whose end ends it; it says when a task begins and
how far it is, where somebody asked, and what came of the lease, on the way and at the end.  It notes in a shared file
which task it is at.  When it dies, and not by our hand, that one is blamed; of what it awaits, what was in a step just
then; and when nothing was, all that it awaited: it may have been any of them.

It runs one lease at a time.  One of which something is still awaited then is *parked*: the next can come, and what is
awaited is told when it has ended.  From then on a thread of the parent's hears what the child says.

Covers: starting a child, talking to it, ending it.
Does not cover: what a child does (executors.serving_child), which lease goes to which child (executors.processes,
executors.isolated).
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from lazygraph.executors.cluster.local import module_path
from lazygraph.executors.remote import PLAN_NAME
from lazygraph.running.aside import serve_aside
from lazygraph.running.hosting import show_escaped

if TYPE_CHECKING:
    from collections.abc import Callable

    Began = Callable[[int], None]
    Told = Callable[[int, float, float | None], None]
    Part = Callable[[bytearray], None]

_HEAD = struct.Struct("<cQ")
PLAN, LEASE, LEAVE = b"P", b"L", b"C"
"""What a child is told: a plan, a lease, and a task that is to leave, perhaps of a lease that is yet to come."""
BEGAN, TOLD, PART, PARKED, LATER, RESULT = b"B", b"T", b"S", b"K", b"A", b"R"
"""What it says: what came of a lease so far, that it is parked, what came of a parked one, what came of the rest."""
TASK = struct.Struct("<qq")
"""Which lease of the child's, from 1, and a task of it."""
PROGRESS = struct.Struct("<qqdd")
"""A task of a lease, how much it has done, and of how much (NaN: it did not say)."""
AFTER = struct.Struct("<q?")
"""Which lease that is parked, and whether it is over."""
NOTE = struct.Struct("<iiqq")
"""What parent and child share: the task it is at, whether what is left of its lease is not wanted any more, and of what
it awaits the lease and task that is in a step, between two times that it gives way to others."""
_AT = struct.Struct("<ii")
STOP, STEPS = 4, 8
"""Where the others stand."""
NOTHING, ANY, AWAITED = -1, -2, -3
"""In the place of a task: none, any of a lease, all that is left of one."""
PLANS = 8
"""A child keeps so many plans open, the last that came."""
PATIENCE = 2.0
"""Seconds that a child has to end by itself once its input has ended."""


class Overdue(Exception):
    """A task has run for longer than it may.  Never seen by users."""


def write_frame(stream: BinaryIO, kind: bytes, data: bytes) -> None:
    """Write one frame: its kind and length, then itself."""
    stream.write(_HEAD.pack(kind, len(data)))
    stream.write(data)
    stream.flush()


def read_frame(stream: BinaryIO) -> tuple[bytes, bytearray] | None:
    """Read one frame; None when the other side has ended."""
    head = _read(stream, _HEAD.size)
    if head is None:
        return None
    kind, length = _HEAD.unpack(head)
    data = _read(stream, length)
    return None if data is None else (kind, data)


def _read(stream: Any, length: int) -> bytearray | None:
    data = bytearray(length)
    left = memoryview(data)
    while left:
        count = stream.readinto(left)  # of a pipe that is read without a buffer: what is there
        if not count:
            return None
        left = left[count:]
    return data


class Hearing(Protocol):
    """Who hears of a lease that is parked."""

    def later(self, data: bytearray, over: bool) -> None:
        """What came of it, and whether it is over."""

    def told(self, task: int, done: float, total: float | None) -> None:
        """A task says how far it is."""

    def lost(self, suspect: int | None) -> None:
        """The child has died, perhaps by this task (`ANY`: by any of the lease's)."""


class Child:
    """One child process, as its parent has it."""

    def __init__(self) -> None:
        self._note = tempfile.TemporaryFile()
        try:
            self._process = self._started(self._note)
        except BaseException:
            self._note.close()
            raise
        self._exit = _exit_of(self._process.pid)
        self._plans: deque[bytes] = deque(maxlen=PLANS)  # the names of those it has open
        self._reaping = threading.Lock()  # or `kill` could hit a process that has got its number since
        self._writing = threading.Lock()
        self._leaves: deque[bytes] = deque()  # what is to be told of tasks that are to leave
        self._telling = False  # a thread tells it
        self._leaving = threading.Lock()
        self._ours = False  # its end is our doing
        self.since = 0.0  # when it was last given back
        self._number = 0  # of the last lease
        self._parked: dict[int, Hearing] = {}
        self._hears: threading.Thread | None = None  # what is said, once something was parked
        self._heard: SimpleQueue[tuple[bytes, bytearray] | None] = SimpleQueue()
        self._parking = threading.Semaphore(0)

    @staticmethod
    def _started(note: Any) -> subprocess.Popen[bytes]:
        note.write(NOTE.pack(NOTHING, False, NOTHING, NOTHING))
        note.flush()
        return subprocess.Popen(
            [sys.executable, "-m", "lazygraph.cli", "child", str(note.fileno())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,  # so that what can be read is in the pipe, where `poll` sees it
            pass_fds=(note.fileno(),),
            process_group=0,  # Ctrl-C on a terminal is for this process, which then ends the others
            env={**os.environ, "PYTHONPATH": module_path()},
        )

    @property
    def used(self) -> bool:
        """Whether it has been asked to run anything."""
        return bool(self._plans)

    @property
    def parked(self) -> int:
        """How many leases are parked there."""
        return len(self._parked)

    @property
    def number(self) -> int:
        """Which lease of its it was asked for last."""
        return self._number

    def ask(
        self,
        plan: bytes,
        lease: bytes,
        began: Began | None = None,
        told: Told | None = None,
        limit: float | None = None,
        part: Part | None = None,
    ) -> tuple[bool, bytearray] | None:
        """Have a lease run; return whether it is parked, and what came of it; None when the child has died.

        `began` and `told` are called in this thread when the child says so (see `packed_lease`), `part` with what came
        of it so far, which is not in what is returned.  Raises `Overdue` when `limit` seconds after a task of it began
        nothing has come of it.  After one that is parked, `park` must be called.
        """
        deadline: float | None = None
        try:
            self._send(plan, lease)
        except BrokenPipeError:
            return None
        while (frame := self._next(deadline)) is not None:
            kind, data = frame
            if kind in (RESULT, PARKED):
                return kind == PARKED, data
            if kind == PART:
                if part is not None:
                    part(data)
            elif kind == TOLD:
                number, *progress = PROGRESS.unpack(data)
                if told is not None and number == self._number:
                    told(*_progress(*progress))
            elif kind == BEGAN:
                if limit is not None:
                    deadline = time.monotonic() + limit
                if began is not None:
                    began(TASK.unpack(data)[1])
        return None

    def _send(self, plan: bytes, lease: bytes) -> None:
        name = plan[:PLAN_NAME]
        with self._writing:
            self._number += 1
            if name not in self._plans:
                self._write(PLAN, plan)
                self._plans.append(name)
            self._write(LEASE, name, lease)

    def _write(self, kind: bytes, *parts: bytes) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        for part in (_HEAD.pack(kind, sum(map(len, parts))), *parts):
            left = memoryview(part)
            while left:
                left = left[stdin.write(left) :]

    def leave_task(self, number: int, task: int) -> None:
        """Have a task leave; what came of it is told as always.  Waits for nothing: a child may be slow to read."""
        with self._leaving:
            self._leaves.append(TASK.pack(number, task))
            if not self._telling:
                serve_aside(self._tell_leaves, "lazygraph-leaves")
                self._telling = True

    def _tell_leaves(self) -> None:
        while True:
            with self._leaving:
                if not self._leaves:
                    self._telling = False
                    return
                leaves = self._leaves.popleft()
            with self._writing, contextlib.suppress(OSError, ValueError):  # it has ended
                self._write(LEAVE, leaves)

    # -- what it says ------------------------------------------------------------------------------

    def _next(self, deadline: float | None) -> tuple[bytes, bytearray] | None:
        """Return what is said next of what was asked for; None when it has died."""
        if self._hears is None:
            return self._read(deadline)
        try:
            return self._heard.get(timeout=None if deadline is None else max(0.0, deadline - time.monotonic()))
        except Empty:
            raise Overdue from None

    def _read(self, deadline: float | None) -> tuple[bytes, bytearray] | None:
        stdout = self._process.stdout
        assert stdout is not None
        if not self._something_to_read(stdout.fileno(), deadline):
            return None
        return read_frame(stdout)  # type: ignore[arg-type]

    def park(self, hearing: Hearing) -> None:
        """The last lease is parked, and what came of it so far has been taken in: from here on this hears of it."""
        self._parked[self._number] = hearing
        if self._hears is None:
            self._hears = threading.Thread(target=self._hear, name="lazygraph-hears", daemon=True)
            self._hears.start()
        else:
            self._parking.release()

    def _hear(self) -> None:
        while (frame := self._read(None)) is not None:
            try:
                self._take_in(*frame)
            except BaseException:
                show_escaped()
            del frame
        lease, task = self._suspect()  # before anybody who is told of its end can kill it
        self._heard.put(None)
        while self._parked:
            number, hearing = self._parked.popitem()
            try:
                hearing.lost(task if lease in (number, ANY) else None)
            except BaseException:
                show_escaped()

    def _suspect(self) -> tuple[int, int]:
        """Return which parked lease, and which task of it, has probably ended the child."""
        if self._ours:
            return NOTHING, NOTHING
        lease, task = TASK.unpack(os.pread(self._note.fileno(), TASK.size, STEPS))
        return (ANY, ANY) if lease == NOTHING and self.at() in (NOTHING, AWAITED) else (lease, task)

    def _take_in(self, kind: bytes, data: bytearray) -> None:
        if kind == LATER:
            number, over = AFTER.unpack_from(data)
            hearing = self._parked.pop(number) if over else self._parked[number]
            hearing.later(data[AFTER.size :], over)
            return
        if kind == TOLD:
            number, *progress = PROGRESS.unpack(data)
            if number in self._parked:
                self._parked[number].told(*_progress(*progress))
                return
        self._heard.put((kind, data))
        if kind == PARKED:  # what comes after it comes after it
            self._parking.acquire()

    def _something_to_read(self, replies: int, deadline: float | None) -> bool:
        """Wait until the child has said something (True), or has died in silence (False)."""
        poll = select.poll()
        poll.register(replies, select.POLLIN)
        if self._exit is not None:
            poll.register(self._exit, select.POLLIN)
        wait = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
        ready = dict(poll.poll(wait))
        if not ready:
            raise Overdue
        return replies in ready

    def at(self) -> int:
        """Return the task that it was at when it last noted one (NOTHING: it had not begun; AWAITED: it has ended)."""
        number: int = _AT.unpack(os.pread(self._note.fileno(), _AT.size, 0))[0]
        return number

    def stop(self) -> None:
        """Have it begin nothing more of the lease it is at."""
        os.pwrite(self._note.fileno(), struct.pack("<i", True), STOP)

    def rest(self) -> None:
        """Note that the lease it was at is over: it is at nothing, and may begin what comes."""
        os.pwrite(self._note.fileno(), _AT.pack(NOTHING, False), 0)
        self.since = time.monotonic()

    def kill(self) -> None:
        """Kill it and what its task has started, at once; `end` is still to be called.  From any thread."""
        with self._reaping:
            if self._process.returncode is None:
                self._ours = self._ours or not self._has_ended()
                with contextlib.suppress(ProcessLookupError, PermissionError):  # it has ended by itself
                    os.killpg(self._process.pid, signal.SIGKILL)

    def _has_ended(self) -> bool:
        """Whether it has ended by itself, where the system can tell."""
        if self._exit is None:
            return False
        poll = select.poll()
        poll.register(self._exit, select.POLLIN)
        return bool(poll.poll(0))

    def leave(self) -> None:
        """End its input: it ends, soon."""
        self._ours = self._ours or not self._has_ended()
        self._close(self._process.stdin)
        if self._hears is None:
            self._close(self._process.stdout)

    @staticmethod
    def _close(stream: Any) -> None:
        with contextlib.suppress(OSError):  # it had ended with something unread
            stream.close()

    def end(self) -> None:
        """End it, and wait until it has; safe to call twice."""
        if not self.used:  # nothing of anybody's is in it, and it may still be starting
            self.kill()
        self.leave()
        self._parking.release()  # what was killed when it was about to be parked never will be
        with self._reaping:
            try:
                self._process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._hears is not None:
            if self._hears is not threading.current_thread():
                self._hears.join(PATIENCE)
            self._close(self._process.stdout)
        with self._reaping:
            if self._exit is not None:
                os.close(self._exit)
                self._exit = None
        self._note.close()


def _progress(task: int, done: float, total: float) -> tuple[int, float, float | None]:
    return task, done, None if total != total else total


def _exit_of(pid: int) -> int | None:
    """Open what can be waited for to know that a process has ended; None where the system has no such thing.

    The end of its output does not always tell: a process that a task has started may hold that open.
    """
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None
