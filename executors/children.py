"""A child process that runs leases for this one, and both ends of the conversation with it.

A child is `python -m lazygraph.cli child` (never multiprocessing: no `if __name__ == "__main__"` is needed).  Plans and
leases reach it as parcels (executors.remote) over its standard input, whose end ends it; it says when a task begins and
how far it is, where somebody asked, and then what came of the lease.  It notes in a shared file which task it is at,
so that when it dies the right one is blamed.

Covers: starting a child, talking to it, ending it; what a child does (`serve`, called by cli.child).
Does not cover: which lease goes to which child (executors.processes, executors.isolated).
"""

from __future__ import annotations

import contextlib
import mmap
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
from typing import TYPE_CHECKING, Any, BinaryIO

from lazygraph.executors.cluster.local import module_path
from lazygraph.executors.remote import PLAN_NAME, opened_plan, run

if TYPE_CHECKING:
    from collections.abc import Callable

    from lazygraph.executors.remote import Buffer
    from lazygraph.running.program import Program

    Began = Callable[[int], None]
    Told = Callable[[int, float, float | None], None]

_HEAD = struct.Struct("<cQ")
_PLAN, _LEASE, _BEGAN, _TOLD, _RESULT = b"P", b"L", b"B", b"T", b"R"
_TASK = struct.Struct("<q")
_PROGRESS = struct.Struct("<qdd")
"""A task, how much it has done, and of how much (NaN: it did not say)."""
_NOTE = struct.Struct("<ii")
"""What parent and child share: the task it is at, and whether what is left of its lease is still wanted."""
_STOP = 4  # where that stands
NOTHING = -1
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

    @staticmethod
    def _started(note: Any) -> subprocess.Popen[bytes]:
        note.write(_NOTE.pack(NOTHING, False))
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

    def ask(
        self,
        plan: bytes,
        lease: bytes,
        began: Began | None = None,
        told: Told | None = None,
        limit: float | None = None,
    ) -> bytearray | None:
        """Have a lease run; return what came of it, or None when the child has died.

        `began` and `told` are called in this thread when the child says so (see `packed_lease`).  Raises `Overdue` when
        `limit` seconds after a task of it began nothing has come of it.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        deadline: float | None = None
        try:
            self._send(stdin, plan, lease)
            while True:
                if not self._something_to_read(stdout.fileno(), deadline):
                    return None
                frame = read_frame(stdout)  # type: ignore[arg-type]
                if frame is None:
                    return None
                kind, data = frame
                if kind == _RESULT:
                    return data
                if kind == _TOLD:
                    task, done, total = _PROGRESS.unpack(data)
                    if told is not None:
                        told(task, done, None if total != total else total)
                    continue
                if limit is not None:
                    deadline = time.monotonic() + limit
                if began is not None:
                    began(*_TASK.unpack(data))
        except BrokenPipeError:
            return None

    def _send(self, stdin: Any, plan: bytes, lease: bytes) -> None:
        name = plan[:PLAN_NAME]
        if name not in self._plans:
            _write_all(stdin, _PLAN, plan)
            self._plans.append(name)
        _write_all(stdin, _LEASE, name, lease)

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
        """Return the task that it was at when it last noted one (NOTHING: it had not begun)."""
        number: int = _NOTE.unpack(os.pread(self._note.fileno(), _NOTE.size, 0))[0]
        return number

    def stop(self) -> None:
        """Have it begin nothing more of the lease it is at."""
        os.pwrite(self._note.fileno(), struct.pack("<i", True), _STOP)

    def rest(self) -> None:
        """Note that the lease it was at is over: it is at nothing, and may begin what comes."""
        os.pwrite(self._note.fileno(), _NOTE.pack(NOTHING, False), 0)

    def kill(self) -> None:
        """Kill it and what its task has started, at once; `end` is still to be called.  From any thread."""
        with self._reaping:
            if self._process.returncode is None:
                with contextlib.suppress(ProcessLookupError, PermissionError):  # it has ended by itself
                    os.killpg(self._process.pid, signal.SIGKILL)

    def leave(self) -> None:
        """End its input: it ends, soon."""
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with contextlib.suppress(OSError):  # it had ended with something unread
                stream.close()

    def end(self) -> None:
        """End it, and wait until it has; safe to call twice."""
        if not self.used:  # nothing of anybody's is in it, and it may still be starting
            self.kill()
        self.leave()
        with self._reaping:
            try:
                self._process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            if self._exit is not None:
                os.close(self._exit)
                self._exit = None
        self._note.close()


def _write_all(stream: Any, kind: bytes, *parts: bytes) -> None:
    for part in (_HEAD.pack(kind, sum(map(len, parts))), *parts):
        left = memoryview(part)
        while left:
            left = left[stream.write(left) :]


def _exit_of(pid: int) -> int | None:
    """Open what can be waited for to know that a process has ended; None where the system has no such thing.

    The end of its output does not always tell: a process that a task has started may hold that open.
    """
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None


# -- over there ------------------------------------------------------------------------------------


class _Saying:
    """What a child says of the lease it is at; nothing any more once that is over."""

    def __init__(self, replies: BinaryIO) -> None:
        self._replies, self._writing, self._open = replies, threading.Lock(), False

    def began(self, task: int) -> None:
        self._say(_BEGAN, _TASK.pack(task))

    def told(self, task: int, done: float, total: float | None) -> None:
        self._say(_TOLD, _PROGRESS.pack(task, done, float("nan") if total is None else total))

    def _say(self, kind: bytes, data: bytes) -> None:
        with self._writing:  # a task may have threads, and they may outlive it
            if self._open:
                write_frame(self._replies, kind, data)

    def of(self, program: Program, lease: Buffer, begins: Callable[[int], bool]) -> None:
        """Run a lease and say what came of it."""
        self._open = True
        result = run(program, lease, begins, self.began, self.told)
        with self._writing:
            self._open = False
            write_frame(self._replies, _RESULT, result)


def serve(requests: BinaryIO, replies: BinaryIO, note: int) -> None:
    """Run leases from one stream, answer on the other, until the first ends: the life of a child."""
    saying = _Saying(replies)
    plans: dict[bytes, Program] = {}
    with mmap.mmap(note, _NOTE.size) as shared:

        def begins(task: int) -> bool:
            struct.pack_into("<i", shared, 0, task)
            return not shared[_STOP]

        while (request := read_frame(requests)) is not None:
            kind, data = request
            if kind == _PLAN:
                if len(plans) == PLANS:
                    del plans[next(iter(plans))]
                plans[bytes(data[:PLAN_NAME])] = opened_plan(data)
                continue
            saying.of(plans[bytes(data[:PLAN_NAME])], data[PLAN_NAME:], begins)


def serve_apart(requests: int, replies: int, note: int, end: Callable[[], Any]) -> None:
    """Serve in this thread, while another sees to it that the end of the requests ends a task in the middle too."""
    inner_read, inner_write = os.pipe()

    def pump() -> None:
        while data := os.read(requests, 1 << 16):
            left = memoryview(data)
            while left:
                left = left[os.write(inner_write, left) :]
        end()

    threading.Thread(target=pump, name="lazygraph-lifeline", daemon=True).start()
    with os.fdopen(inner_read, "rb") as asked, os.fdopen(replies, "wb") as said:
        serve(asked, said, note)
