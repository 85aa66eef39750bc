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

NEAR = 0.001
"""Seconds for which the alarm is not set anew: waking its thread holds up whoever sets it."""


class Alarm:
    """Calls `ring` at the earliest moment it was set to.  Keeps alive whom it calls only while it is set."""

    def __init__(self, ring: weakref.WeakMethod[Callable[[], None]]) -> None:
        self._ring = ring
        self._held: Callable[[], None] | None = None  # what is detached is done although nobody holds its executor
        self._due = _NEVER
        self._latch = allocate_lock()  # free when the thread should look again
        self._latch.acquire()
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None

    def ring_in(self, seconds: float) -> None:
        """Ring after so many seconds, unless it rings before."""
        when = time.monotonic() + seconds
        with self._guard:
            if when > self._due - NEAR:
                return
            self._due, self._held = when, self._ring()
            if self._thread is None:
                self._thread = threading.Thread(target=self._wait, name="lazygraph-alarm", daemon=True)
                self._thread.start()
            elif self._latch.locked():
                self._latch.release()

    def off(self) -> None:
        """Nothing is due any more."""
        with self._guard:
            self._due, self._held = _NEVER, None

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
                ring, due_now = self._held, self._due <= time.monotonic()
                if due_now:
                    self._due, self._held = _NEVER, None
            if ring is not None and due_now:
                ring()
            del ring  # who is held by nobody else may go
