"""The processes executor: child processes of our own, each with one slot, warm after its first use.

A child is `python -m lazygraph.cli child` (never multiprocessing: no `if __name__ == "__main__"` is needed).  Leases
reach it as parcels (executors.remote) over its standard input, whose end ends it; it notes in a shared file which task
it is at, so that when it dies the right one is blamed.

Covers: starting, feeding and ending children, what follows when one dies.
Does not cover: what a child does (`serve`, called by cli.child, and executors.remote).
"""

from __future__ import annotations

import mmap
import os
import struct
import subprocess
import sys
import tempfile
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, BinaryIO

from lazygraph.errors import InvalidOption
from lazygraph.executors.base import Engine
from lazygraph.executors.cluster.local import module_path
from lazygraph.executors.pool import RemoteDriver, refused
from lazygraph.executors.remote import Unsendable, opened, parcel, run
from lazygraph.running.context import inside_task

if TYPE_CHECKING:
    from collections.abc import Callable

    from lazygraph.executors.base import Work

_LENGTH = struct.Struct("<Q")
_NOTE = struct.Struct("<ii")
"""What parent and child share: the task it is at, and whether what is left of its lease is still wanted."""
_STOP = 4  # where that stands
NOTHING = -1


def write_frame(stream: BinaryIO, data: bytes) -> None:
    """Write one frame: its length, then itself."""
    stream.write(_LENGTH.pack(len(data)))
    stream.write(data)
    stream.flush()


def read_frame(stream: BinaryIO) -> bytes | None:
    """Read one frame; None when the other side has ended."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    data = stream.read(length)
    return data if len(data) == length else None


class Child:
    """One child process, as its parent has it."""

    def __init__(self) -> None:
        self._note = tempfile.TemporaryFile()
        self._note.write(_NOTE.pack(NOTHING, 0))
        self._note.flush()
        note = self._note.fileno()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "lazygraph.cli", "child", str(note)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(note,),
            process_group=0,  # Ctrl-C on a terminal is for this process, which then ends the others
            env={**os.environ, "PYTHONPATH": module_path()},
        )

    def ask(self, parcel_: bytes) -> bytes | None:
        """Have a lease run; return what came of it, or None when the child has died."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            write_frame(self._process.stdin, parcel_)  # type: ignore[arg-type]
            return read_frame(self._process.stdout)  # type: ignore[arg-type]
        except OSError:
            return None

    def at(self) -> int:
        """Return the task that it was at when it last noted one (NOTHING: it had not begun)."""
        number: int = _NOTE.unpack(os.pread(self._note.fileno(), _NOTE.size, 0))[0]
        return number

    def stop(self, stop: bool = True) -> None:
        """Have it begin nothing more of the lease it is at (or, `stop=False`, of no lease that is over)."""
        os.pwrite(self._note.fileno(), struct.pack("<i", stop), _STOP)

    def end(self) -> None:
        """End it, at once; safe to call twice."""
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            try:
                stream.close()
            except OSError:  # it had ended with something unread
                continue
        try:
            self._process.wait(2.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._note.close()


class ProcessEngine(Engine):
    """`slots` children, each fed by a thread of this process that starts it when it is first needed."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._queue: SimpleQueue[Work | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._unfinished = 0  # leases
        self._counting = threading.Lock()

    def start(self, work: Work) -> None:
        """Queue the lease; a thread that is free takes it."""
        with self._counting:
            self._unfinished += 1
            count = len(self._threads)
            if self._unfinished > count < self.slots:
                thread = threading.Thread(target=self._serve, name=f"lazygraph-feeds-{count}", daemon=True)
                self._threads.append(thread)
                thread.start()
        self._queue.put(work)

    def _serve(self) -> None:
        child: Child | None = None
        try:
            while (work := self._queue.get()) is not None:
                child = child or Child()
                if not self._run(child, work):
                    child.end()
                    child = None
                del work  # an idle thread keeps no values alive
        finally:
            if child is not None:
                child.end()

    def _run(self, child: Child, work: Work) -> bool:
        """Run a lease in a child; return whether that is still there."""
        tasks, wanted = work.send(child.stop)
        alive = True
        try:
            assert work.program.packed is not None
            back = child.ask(parcel(work.program.packed, work.program.shape, tasks, work.values, wanted))
        except Unsendable as unsendable:
            refused(work, tasks, unsendable)
        else:
            if back is None:
                alive, at = False, child.at()
                work.lost(tasks, at if at in tasks else tasks[0])
            else:
                report, values = opened(back, work.program)
                for entry, value in values.items():
                    work.values[entry] = value
                work.report(report)
            work.finished()
        child.stop(False)
        with self._counting:
            self._unfinished -= 1
        return alive

    def close(self) -> None:
        """End the children once they have nothing to do."""
        with self._counting:
            for _ in self._threads:
                self._queue.put(None)

    def join(self, timeout: float) -> None:
        """Wait until the children have ended, at most so many seconds for each."""
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(timeout)


class ProcessExecutor(RemoteDriver):
    """Runs plans on `n_processes` child processes (default: as many as there are processors); values come back here."""

    def __init__(self, n_processes: int | None = None) -> None:
        count = n_processes if n_processes is not None else (os.cpu_count() or 1)
        if count < 1:
            raise InvalidOption(f"ProcessExecutor(n_processes={n_processes!r}): at least one process is needed")
        self._children = ProcessEngine(count)
        super().__init__(self._children, "processes")

    def close(self, wait: bool = True) -> None:
        """Finish what was submitted (`wait=False`: start nothing more), then end the children."""
        super().close(wait)
        if wait and inside_task.get() is None:
            self._children.join(5.0)


def serve(requests: BinaryIO, replies: BinaryIO, note: int) -> None:
    """Run leases from one stream, answer on the other, until the first ends: the life of a child."""
    with mmap.mmap(note, _NOTE.size) as shared:

        def begins(task: int) -> bool:
            struct.pack_into("<i", shared, 0, task)
            return not shared[_STOP]

        while (request := read_frame(requests)) is not None:
            write_frame(replies, run(request, begins))
            struct.pack_into("<i", shared, 0, NOTHING)


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
