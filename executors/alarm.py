"""The alarm of a driver: calls it when something is due.

Covers: one thread, started when there is first something to wait for.
Does not cover: what is due (running.timing).
"""

from __future__ import annotations

import threading
import time
from _thread import allocate_lock
from typing import TYPE_CHECKING

from lazygraph.running.aside import serve_aside
from lazygraph.running.hosting import show_escaped

if TYPE_CHECKING:
    import weakref
    from collections.abc import Callable

_NEVER = float("inf")

NEAR = 0.001
"""Seconds for which the alarm is not set anew: waking its thread holds up whoever sets it."""


class Alarm:
    """Calls `ring` at the earliest moment it was set to.  Keeps alive whom it calls only while it is set.

    One that is off stays set for the moment it was set to, and does nothing then: to set it anew wakes nobody.
    """

    def __init__(self, ring: weakref.WeakMethod[Callable[[], None]]) -> None:
        self._ring = ring
        self._held: Callable[[], None] | None = None  # what is detached is done although nobody holds its executor
        self._due = _NEVER
        self._latch = allocate_lock()  # free when the thread should look again
        self._latch.acquire()
        self._guard = threading.Lock()
        self._serving = False
        self._over = False

    def ring_in(self, seconds: float) -> None:
        """Ring after so many seconds, unless it rings before."""
        when = time.monotonic() + seconds
        with self._guard:
            self._held = self._ring()
            if when > self._due - NEAR:
                return
            if not self._serving:  # first: when Ctrl-C comes here, the next one starts it
                serve_aside(self._wait, "lazygraph-alarm")
                self._serving = True
            self._due = when
            if self._latch.locked():
                self._latch.release()

    def off(self) -> None:
        """Nothing is due any more."""
        with self._guard:
            self._held = None

    def end(self) -> None:
        """End the thread; nothing is due any more.

        For finalizers: it waits for no lock, since the collector may call it in a thread that has the lock.
        """
        self._over = True
        if self._latch.locked():
            self._latch.release()

    def _wait(self) -> None:
        while not self._over:
            with self._guard:
                due = self._due
            left = due - time.monotonic()
            if left > 0:
                self._latch.acquire(timeout=min(left, threading.TIMEOUT_MAX) if due < _NEVER else 60.0)
                continue
            with self._guard:
                ring, due_now = self._held, self._due <= time.monotonic()
                if due_now:
                    self._due, self._held = _NEVER, None
            if ring is not None and due_now:
                try:
                    ring()
                except Exception:  # of ours: what is due later must still be done
                    show_escaped()
            del ring  # who is held by nobody else may go
