"""The processes executor: child processes of our own, each with one slot, warm after its first use.

Covers: which lease goes to which child, what follows when one dies.
Does not cover: the children and the conversation with them (executors.children).
"""

from __future__ import annotations

import os
import threading
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING

from lazygraph.errors import InvalidOption
from lazygraph.executors.base import Engine
from lazygraph.executors.pool import RemoteDriver
from lazygraph.executors.warm import Children
from lazygraph.running.context import inside_task
from lazygraph.running.hosting import show_escaped
from lazygraph.running.lease import fitting

if TYPE_CHECKING:
    from lazygraph.executors.base import Work
    from lazygraph.running.course import Course

MOST = 1024
"""So many short tasks may go to a child together: to hand a lease over costs what a hundred calls do, and what has not
begun there can be taken back."""


class ProcessEngine(Engine):
    """So many children at once, each fed by a thread of this process; they start when they are needed.

    `slots` are more while leases are only awaited in their children.
    """

    tells_early = True

    def __init__(self, slots: int) -> None:
        self.slots = self._most = slots
        self._queue: SimpleQueue[Work | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._unfinished = 0  # leases
        self._counting = threading.Lock()
        self._children = Children(slots=slots)

    def start(self, work: Work) -> None:
        """Queue the lease; a thread that is free takes it."""
        with self._counting:
            self._unfinished += 1
            count = len(self._threads)
            if self._unfinished > count < self._most:
                thread = threading.Thread(target=self._serve, name=f"lazygraph-feeds-{count}", daemon=True)
                self._threads.append(thread)
                thread.start()
        self._queue.put(work)

    def _serve(self) -> None:
        while (work := self._queue.get()) is not None:
            try:
                self._run(work)
            except BaseException:  # of ours: a task's own has been reported
                show_escaped()
            del work  # an idle thread keeps no values alive

    def _run(self, work: Work) -> None:
        over = True
        try:
            over = self._children.run(work, partial(self._parked, work))
        finally:
            with self._counting:
                self._unfinished -= 1
            if over:
                work.finished()

    def _parked(self, work: Work, is_now: bool) -> None:
        """A lease is only awaited from now on, and holds no slot; or it is over."""
        with self._counting:
            self.slots += 1 if is_now else -1
        if not is_now:
            work.finished()

    def stop(self, work: Work, task: int, timeout: float = 5.0) -> bool:
        """Make a task leave, if need be by killing the child that runs it (see `Children.stop`)."""
        return self._children.stop(work, task, timeout)

    def close(self) -> None:
        """End the children once they have nothing to do."""
        with self._counting:
            for _ in self._threads:
                self._queue.put(None)
        self._children.close()

    def join(self, timeout: float) -> None:
        """Wait until the children have ended, at most so many seconds for each."""
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(timeout)


class ProcessExecutor(RemoteDriver):
    """Runs plans on `n_processes` child processes (default: as many as there are processors); values come back here."""

    capabilities = RemoteDriver.capabilities | {"timeout", "isolated"}

    def __init__(self, n_processes: int | None = None) -> None:
        count = n_processes if n_processes is not None else (os.cpu_count() or 1)
        if count < 1:
            raise InvalidOption(f"ProcessExecutor(n_processes={n_processes!r}): at least one process is needed")
        self._children = ProcessEngine(count)
        super().__init__(self._children, "processes")

    def _size_of_lease(self, course: Course, ready: int) -> tuple[int, int]:
        return fitting(course.seconds_per_task, ready, self._engine.slots, highest=MOST)

    def close(self, wait: bool = True) -> None:
        """Finish what was submitted (`wait=False`: start nothing more), then end the children."""
        super().close(wait)
        if wait and inside_task.get() is None:
            self._children.join(5.0)
