"""The alarm of a driver: calls it when something is due.

Covers: one thread, started when there is first something to wait for.
Does not cover: what is due (running.timing).
"""

from __future__ import annotations

import threading
import time
from _thread import allocate_lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import weakref
    from collections.abc import Callable

_NEVER = float("inf")


class Alarm:
    """Calls `ring` at the earliest moment it was set to.  Does not keep alive whom it calls."""

    def __init__(self, ring: weakref.WeakMethod[Callable[[], None]]) -> None:
        self._ring = ring
        self._due = _NEVER
        self._latch = allocate_lock()  # free when the thread should look again
        self._latch.acquire()
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None

    def ring_in(self, seconds: float) -> None:
        """Ring after so many seconds, unless it rings before."""
        when = time.monotonic() + seconds
        with self._guard:
            if when >= self._due:
                return
            self._due = when
            if self._thread is None:
                self._thread = threading.Thread(target=self._wait, name="lazygraph-alarm", daemon=True)
                self._thread.start()
            elif self._latch.locked():
                self._latch.release()

    def _wait(self) -> None:
        while True:
            with self._guard:
                due = self._due
            left = due - time.monotonic()
            if left > 0:
                self._latch.acquire(timeout=min(left, threading.TIMEOUT_MAX) if due < _NEVER else 60.0)
                if due == self._due == _NEVER and self._ring() is None:
                    return
                continue
            with self._guard:
                self._due = _NEVER
            ring = self._ring()
            if ring is None:
                return  # nobody holds the driver any more
            ring()
            del ring
