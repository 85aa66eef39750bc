"""Waiting that Ctrl-C can end at any moment without harm.

A `threading.Condition` is Python code around a lock: an interruption between two of its statements leaves the lock
taken for ever, or has it released twice, which hides the KeyboardInterrupt behind a RuntimeError.  Here nothing is
taken while somebody waits.

A signal that comes when a thread is just about to wait for a lock does not wake it: CPython notes it, and looks again
when the lock is had.  So nobody waits for longer than `LOOK` at a stretch.
"""

from __future__ import annotations

import threading
import time
from _thread import allocate_lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


LOOK = 0.2
"""Seconds after which a thread that waits looks whether it was interrupted."""


class Waiters:
    """Threads that wait for something to become true; whoever makes it true wakes them afterwards."""

    __slots__ = ("_latches",)

    def __init__(self) -> None:
        self._latches: list[threading.Lock] = []

    def wait_for(self, over: Callable[[], bool], timeout: float | None = None) -> bool:
        """Return True once `over()`, False when it is not after `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not over():
            left = LOOK if deadline is None else min(deadline - time.monotonic(), LOOK)
            if left <= 0:
                return False
            latch = allocate_lock()
            latch.acquire()
            self._latches.append(latch)
            try:
                if not over():  # what became true before the latch was in the list has woken nobody
                    latch.acquire(timeout=left)
            finally:
                if latch in self._latches:
                    self._forget(latch)
        return True

    def wake(self) -> None:
        """Have everybody look again."""
        for _ in range(len(self._latches)):
            try:
                latch = self._latches.pop()
            except IndexError:  # it has stopped waiting meanwhile
                return
            latch.release()

    def _forget(self, latch: threading.Lock) -> None:
        try:
            self._latches.remove(latch)
        except ValueError:  # it was woken meanwhile
            return
