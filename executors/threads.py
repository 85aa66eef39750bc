"""The threads executor: a pool of threads in this process, warm after its first use.

What threads share, and what guards it, with and without a GIL (PEP 703): the mind, courses and leases that go on, the
driver's `_lock`; what is left of a lease, its report's lock; which task a thread is at, its slot's; how many threads
and leases there are, the engine's `_counting`; whether a future has ended, its condition, and that of a run, its
`_settling`.  What is only handed over goes through a deque, a SimpleQueue or `dict.setdefault`, each step of which is
atomic in either build.
"""

from __future__ import annotations

import os
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING

from lazygraph.errors import InvalidOption
from lazygraph.executors.base import Engine
from lazygraph.executors.isolated import IsolatingDriver, Isolation
from lazygraph.running.aside import serve_aside
from lazygraph.running.hosting import Host, show_escaped

if TYPE_CHECKING:
    from lazygraph.executors.base import Work


class ThreadEngine(Engine):
    """`slots` threads that take leases from one queue, and one more for every task that waits for other work.

    They start when they are needed and are daemons: after Ctrl-C the interpreter does not wait for them.
    """

    tells_early, rows = True, 256

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._queue: SimpleQueue[Work | None] = SimpleQueue()
        self._threads = 0
        self._unfinished = 0  # leases
        self._counting = threading.Lock()
        self._isolation = Isolation()
        self._host = Host(self._parked)

    def _parked(self, more: int) -> None:
        with self._counting:
            self.slots += more  # what is only awaited holds none

    def start(self, work: Work) -> None:
        """Queue the lease; a thread that is free takes it."""
        with self._counting:
            self._unfinished += 1
            if self._unfinished > self._threads:
                serve_aside(self._serve, f"lazygraph-{self._threads}")
                self._threads += 1
        self._queue.put(work)

    def _serve(self) -> None:
        while (work := self._queue.get()) is not None:
            try:
                self._run(work)
            except BaseException:  # of ours: a task's own has been reported
                show_escaped()
            del work  # an idle thread keeps no values alive

    def _run(self, work: Work) -> None:
        end = work.abandoned
        try:
            if work.isolated:
                self._isolation.run(work)
                end = work.finished
            else:
                end = work.finished if self._host.run(work) else _later
        finally:
            with self._counting:
                self._unfinished -= 1
            end()

    def tell_early(self) -> None:
        """Have that reported which has ended while a task takes long."""
        self._host.tell_early()

    def stop(self, work: Work, task: int, timeout: float = 5.0) -> bool:
        """Kill an isolated task; raise `TaskCancelled` in any other."""
        return (self._isolation if work.isolated else self._host).stop(work, task, timeout)

    def close(self) -> None:
        """End the threads, and the children of isolated tasks, once they have nothing to do."""
        with self._counting:
            for _ in range(self._threads):
                self._queue.put(None)
        self._isolation.close()
        self._host.close()


def _later() -> None:
    """The host says when the lease is over."""


class ThreadExecutor(IsolatingDriver):
    """Runs plans on `n_threads` threads of this process (default: as many as there are processors)."""

    shares_memory = True

    def __init__(self, n_threads: int | None = None) -> None:
        count = n_threads if n_threads is not None else (os.cpu_count() or 1)
        if count < 1:
            raise InvalidOption(f"ThreadExecutor(n_threads={n_threads!r}): at least one thread is needed")
        super().__init__(ThreadEngine(count), "threads")

    @property
    def nested(self) -> ThreadExecutor:
        """What a task here starts runs here: while the task waits, its slot is lent to one more thread."""
        return self
