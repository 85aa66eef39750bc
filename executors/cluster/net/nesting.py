"""What a worker's task has that waits for other work: its slot for somebody else, and an executor to give work to.

Covers: one more thread while a task waits, the worker's own connection to its cluster, futures opened on a worker.
Does not cover: threads (net.runners), who is told of it (net.worker_server).
"""

from __future__ import annotations

import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from lazygraph.errors import NestingTooDeep
from lazygraph.running.context import MAX_NESTING
from lazygraph.values.verbs import future_at

if TYPE_CHECKING:
    from collections.abc import Callable


of_this_worker: ContextVar[Nesting | None] = ContextVar("lazygraph_of_this_worker", default=None)
"""What the threads of a worker have: arguments and tasks that name its cluster by its address mean its connection."""


def future_of(address: str, key: str) -> Any:
    """Return the future of a key (what a cluster's futures pickle to)."""
    nesting = of_this_worker.get()
    if nesting is not None and nesting.address == address:
        return nesting.nested.claimed(key)
    return future_at(address, key)


class Nesting:
    """The slots of one worker's tasks that wait."""

    def __init__(self, address: str, connect: Callable[[], Any], more: Callable[[int], None]) -> None:
        """Make one; `connect` makes an executor of the cluster, `more` is told of so many slots more (or fewer)."""
        self.address = address
        self._connect, self._more = connect, more
        self._lent = 0
        self._lock = threading.Lock()
        self._executor: Any = None

    @property
    def nested(self) -> Any:
        """The cluster that the task runs on, as the executor of what the task starts."""
        with self._lock:
            if self._executor is None or getattr(self._executor, "closed", False):
                self._executor = self._connect()
            return self._executor

    def inside(self, executor: Any) -> int:
        """Return how many tasks wait here, or may soon, if `executor` is this cluster; else 0."""
        return self._lent + 1 if executor is self._executor else 0

    def of(self, waits: Callable[[], None]) -> Lender:
        """Return what the tasks of one lease have; `waits` is called when one of them is about to wait."""
        return Lender(self, waits)

    @property
    def lent(self) -> int:
        """How many tasks here wait for other work."""
        return self._lent

    def lend(self) -> None:
        """A task here is about to wait for other work: one more may run meanwhile."""
        with self._lock:
            if self._lent >= MAX_NESTING:
                raise NestingTooDeep(MAX_NESTING)
            self._lent += 1
        self._more(1)

    def take_back(self) -> None:
        """A task that has waited goes on."""
        with self._lock:
            self._lent -= 1
        self._more(-1)

    def close(self) -> None:
        """End the connection."""
        with self._lock:
            executor, self._executor = self._executor, None
        if executor is not None:
            executor.close()


class Lender:
    """What the tasks of one lease lend their slot to (see running.context)."""

    def __init__(self, nesting: Nesting, waits: Callable[[], None]) -> None:
        self._nesting, self._waits = nesting, waits

    @property
    def nested(self) -> Any:
        """The cluster that the task runs on, as the executor of what the task starts."""
        return self._nesting.nested

    def inside(self, executor: Any) -> int:
        """Return how many tasks wait here, or may soon, if it is this cluster that something is started on; else 0."""
        return self._nesting.inside(executor)

    def lend(self) -> None:
        """A task is about to wait for other work: one more may run meanwhile."""
        self._nesting.lend()
        self._waits()

    def take_back(self) -> None:
        """A task that has waited goes on."""
        self._nesting.take_back()
