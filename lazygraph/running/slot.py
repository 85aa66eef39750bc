"""How another thread makes a running attempt leave, without ever hitting anything but that attempt.

CPython can raise an exception in another thread at its next bytecode.  That it comes out in the attempt that was meant,
and never in the runner or in a later task, is settled between the two threads by three fields and their order:

- the runner says which task it is at (`task`), and looks at `hit` after each time it has said so;
- who wants a task to leave says so in `hit` first, then looks at `task`, and raises only when that is still the one.

So a runner that has seen nothing will not be raised at, and one that has seen something waits until it knows, and takes
back what has not come out yet.  Without anybody who stops it, a task costs two stores and two looks; no lock.

Covers: that handshake.
Does not cover: which lease runs where (engines), what becomes of a task that was stopped (running.runner).
"""

from __future__ import annotations

import threading
from _thread import allocate_lock, get_ident
from typing import TYPE_CHECKING

from lazygraph.errors import TaskCancelled

if TYPE_CHECKING:
    from collections.abc import Callable


class Slot:
    """One lease in one thread, as seen by a thread that may want its running task to leave.

    `task` and `hit` are the runner's to read and write as the module says; everybody else calls `stop`, and
    `tell_early` (from any thread) to have that told which has ended here while another task takes long.
    """

    __slots__ = ("_closed", "_gone", "_leaving", "_lock", "_raised", "hit", "task", "tell_early", "thread")

    def __init__(self) -> None:
        self.task: int | None = None
        self.hit: int | None = None
        self.thread = get_ident()
        self.tell_early: Callable[[], object] = _nothing
        self._lock = allocate_lock()
        self._raised = False  # at the task that runs
        self._closed = False
        self._gone: threading.Event | None = None
        self._leaving: list[threading.Event] = []  # of tasks that have left, and of which nothing is known yet

    # -- any thread --------------------------------------------------------------------------------

    def stop(self, task: int, timeout: float) -> bool:
        """Raise `TaskCancelled` in a task that runs here; return whether it has left within `timeout` seconds.

        It has left when its end has been reported.  A task that does not run here, or not any more, has left too.  It
        is raised once: who swallows it goes on.
        """
        with self._lock:
            if self._closed or self._at_another(task) or self.hit not in (None, task):
                return True
            if self.hit is None:
                self._gone, self.hit = threading.Event(), task
                if self.task == task:
                    self._raised = True
                    _raise_in(self.thread)
                elif self._at_another(task):
                    self.hit = None
                    return True
            gone = self._gone
        assert gone is not None
        return gone.wait(timeout)

    def _at_another(self, task: int) -> bool:
        now = self.task
        return now is not None and now != task

    # -- the runner, when it has seen that `hit` is not None ---------------------------------------

    def enter(self) -> None:
        """Raise `TaskCancelled` if the task that is about to begin is not to begin."""
        with self._lock:
            if self.hit == self.task and not self._raised:
                self._raised = True
                raise TaskCancelled
            if self.hit != self.task:
                self._settle()

    def leave(self) -> bool:
        """Take back what has been raised and has not come out; return whether the task that has ended was meant.

        Until this has returned once, `TaskCancelled` may come out of it as well; then it is to be called again.
        """
        with self._lock:
            meant = self._raised
            if meant:
                _take_back(self.thread)
                if self._gone is not None:
                    self._leaving.append(self._gone)
                self._gone = None
            self._settle()
            return meant

    def reported(self) -> None:
        """Say that whatever has ended here is known."""
        while self._leaving:
            self._leaving.pop().set()

    def close(self) -> None:
        """Say that nothing runs here any more."""
        self.task = None
        try:
            self._close()
        except TaskCancelled:  # it came out just here
            self._close()

    def _close(self) -> None:
        with self._lock:
            self._closed = True
            if self._raised:
                _take_back(self.thread)
            self._settle()
        self.reported()

    def _settle(self) -> None:
        if self._gone is not None:
            self._gone.set()
        self._raised = False
        self.hit = self._gone = None


def _nothing() -> None:
    """Nothing has ended here yet."""


def _raise_in(thread: int) -> None:
    import ctypes  # only those pay for it who stop something

    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(TaskCancelled))


def _take_back(thread: int) -> None:
    """See that nothing comes out in this thread any more.

    What was raised is replaced, if it has not come out, and comes out here.  CPython can forget it instead, but before
    3.13 goes on to look for it at every turn of a loop, for good, and under a tracer never gets past a function's first
    opcode.
    """
    try:
        while True:  # another thread that is hit at the same moment may have it overlooked
            _raise_in(thread)
    except TaskCancelled:
        return
