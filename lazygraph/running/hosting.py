"""Leases in threads of this process, as engines and workers run them: who can make a task leave, what is awaited.

Covers: a lease in the thread that calls, and after it what its tasks have left to be awaited; stopping either.
Does not cover: the handshake with a running task (running.slot), the event loop (running.awaiting).
"""

from __future__ import annotations

import sys
import threading
import time
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from lazygraph.running.awaiting import Awaiting
from lazygraph.running.runner import Report, ended_report, run_lease
from lazygraph.running.slot import Slot
from lazygraph.running.waiting import LOOK

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Coroutine

    from lazygraph.running.attempt import Told
    from lazygraph.running.awaiting import Awaited
    from lazygraph.running.program import Program

SECONDS = 5e-5
"""About what a slot spends on a task that is awaited elsewhere."""


def show_escaped() -> None:
    """Show the exception that is being handled as Python shows what ends a thread; this one is to go on."""
    kind, error, tb = sys.exc_info()
    if kind is not None:
        threading.excepthook(threading.ExceptHookArgs((kind, error, tb, threading.current_thread())))


class Lease(Protocol):
    """What has to be known of a lease; the driver's `Work` is one.

    `finished` is called only for a lease that went on after `run` had returned.
    """

    @property
    def program(self) -> Program: ...

    @property
    def tasks(self) -> deque[int]: ...

    @property
    def values(self) -> Any: ...

    @property
    def attempt(self) -> int: ...

    @property
    def began(self) -> Callable[[int], None] | None: ...

    @property
    def told(self) -> Told | None: ...

    @property
    def lender(self) -> Any: ...

    def report(self, report: Report, /) -> None: ...

    def finished(self) -> None: ...


class _Ended(NamedTuple):
    """A coroutine that has ended."""

    lease: Lease
    task: int
    value: Any
    error: BaseException | None


class _Open:
    """A lease of which something is awaited."""

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.awaited: dict[int, Awaited | None] = {}
        self.leaving: set[int] = set()  # are to leave as soon as they can be cancelled
        self.parked = False  # nothing of it runs in a thread any more


class Host:
    """Runs leases in the threads that call it.

    What coroutines come to is reported by a thread of the host's, so that whatever follows from it holds up neither the
    loop nor a slot; or (`reports=False`) by whoever calls `wait`.
    """

    def __init__(
        self,
        parked: Callable[[int], object],
        reports: bool = True,
        interruptible: bool = True,
        noted: Callable[[Any, int, Any], Any] | None = None,
    ) -> None:
        """Make one; `parked` is told by how many more (or fewer) leases are only awaited now, and hold no slot.

        It is called while a lock is held.  `interruptible` is as for `run_lease`.  `noted` is given what is to be
        awaited, of which lease and task, and returns what is awaited in its place.
        """
        self._parked, self._reports, self._interruptible, self._noted = parked, reports, interruptible, noted
        self._slots: dict[int, Slot] = {}  # by the identity of leases that run
        self._open: dict[int, _Open] = {}  # the same
        self._awaiting = Awaiting()
        self._ended: SimpleQueue[_Ended | None] = SimpleQueue()
        self._reporter: threading.Thread | None = None
        self._closed = False
        self._lock = threading.Lock()

    def run(self, lease: Lease, program: Program | None = None, awaits: bool = True) -> bool:
        """Run a lease in this thread; return False when it goes on without it, and calls `finished` when it is over.

        `awaits=False`: what is to be awaited is awaited in this thread.
        """
        slot = self._slots[id(lease)] = Slot()
        try:
            run_lease(
                program or lease.program,
                lease.tasks,
                lease.values,
                lease.report,
                lease.lender,
                self._interruptible,
                attempt=lease.attempt,
                began=lease.began,
                told=lease.told,
                slot=slot,
                later=partial(self._later, lease) if awaits else None,
            )
        finally:
            del self._slots[id(lease)]
        return id(lease) not in self._open or not self._park(self._open[id(lease)])

    def tell_early(self) -> None:
        """Have that told which has ended in leases whose running tasks take long."""
        for slot in list(self._slots.values()):
            slot.tell_early()

    def stop(self, lease: Any, task: int, timeout: float) -> bool:
        """Make a task of a lease leave; return whether it has within `timeout` seconds.

        In a thread `TaskCancelled` is raised at its next bytecode; what is awaited is cancelled as asyncio does it.
        """
        slot = self._slots.get(id(lease))
        left = slot is None or slot.stop(task, timeout)
        with self._lock:
            held = self._open.get(id(lease))
            awaited = held.awaited.get(task) if held is not None else None
            if held is not None and awaited is None and task in held.awaited:
                held.leaving.add(task)
        if threading.current_thread() is self._reporter:
            timeout = 0.0  # it would wait for itself
        return left if awaited is None else awaited.stop(timeout) and left

    @property
    def waits(self) -> bool:
        """Whether anything is awaited."""
        return bool(self._open)

    def wait(self, seconds: float) -> bool:
        """Wait until something that is awaited has ended, and report it; False when nothing has in so many seconds."""
        deadline = time.monotonic() + seconds
        while True:
            left = deadline - time.monotonic()
            try:
                self._report(self._ended.get(timeout=max(0.0, min(LOOK, left))))
                return True
            except Empty:
                if left <= 0:
                    return False

    def abandon(self) -> list[Any]:
        """Cancel all that is awaited; return the leases that wait for it, of which nothing more is reported."""
        with self._lock:
            held, self._open = list(self._open.values()), {}
            self._parked(-sum(one.parked for one in held))
        for one in held:
            for awaited in one.awaited.values():
                if awaited is not None:
                    awaited.stop(0.0)
        return [one.lease for one in held if one.parked]

    def close(self) -> None:
        """Cancel what is still awaited, and end the loop and the thread that reports; waits for nothing."""
        self._awaiting.close()
        with self._lock:
            self._closed = True
        self._ended.put(None)

    # -- what is awaited ---------------------------------------------------------------------------

    def _later(self, lease: Lease, task: int, coroutine: Coroutine[Any, Any, Any]) -> None:
        with self._lock:
            held = self._open.setdefault(id(lease), _Open(lease))
            held.awaited[task] = None
            if self._reports and self._reporter is None:
                self._reporter = threading.Thread(target=self._serve, name="lazygraph-awaited", daemon=True)
                self._reporter.start()

        if self._noted is not None:
            coroutine = self._noted(lease, task, coroutine)

        def done(value: Any, error: BaseException | None) -> None:
            self._ended.put(_Ended(lease, task, value, error))

        awaited = self._awaiting.start(coroutine, done)
        with self._lock:
            if task in held.awaited:  # it may be over already
                held.awaited[task] = awaited
            leaves = task in held.leaving
        if leaves:
            awaited.stop(0.0)

    def _park(self, held: _Open) -> bool:
        """Note that nothing of a lease runs in a thread any more; False when nothing of it is awaited either."""
        with self._lock:
            self._parked(1)
        held.lease.report(Report())  # somebody else can have the slot
        with self._lock:
            if held.awaited:
                held.parked = True
                return True
            self._over(held)
            return False

    def _over(self, held: _Open) -> None:
        self._parked(-1)
        self._open.pop(id(held.lease), None)

    def _serve(self) -> None:
        while not self._closed or self._open:
            ended = self._ended.get()
            try:
                if ended is not None:
                    self._report(ended)
            except BaseException:
                show_escaped()
            del ended  # an idle thread keeps no values alive

    def _report(self, ended: _Ended | None) -> None:
        """Report what has ended, all of a lease that is there together."""
        reports: dict[int, tuple[_Open, Report, list[int]]] = {}
        while ended is not None:
            self._note(ended, reports)
            try:
                ended = self._ended.get_nowait()
            except Empty:
                break
        for held, report, tasks in reports.values():
            held.lease.report(report)
            with self._lock:
                left = [held.awaited.pop(task, None) for task in tasks]
                over = held.parked and not held.awaited
                if over:
                    self._over(held)
            for awaited in left:
                if awaited is not None:
                    awaited.over()
            if over:
                held.lease.finished()

    def _note(self, ended: _Ended, reports: dict[int, tuple[_Open, Report, list[int]]]) -> None:
        lease, task, value, error = ended
        held = self._open.get(id(lease))
        if held is None:
            return  # abandoned
        _, report, tasks = reports.setdefault(id(lease), (held, Report(), []))
        awaited = held.awaited.get(task)
        stopped = awaited is not None and awaited.stopped
        ended_report(report, lease.program, task, lease.values, value, error, lease.lender, stopped)
        report.seconds += SECONDS
        tasks.append(task)
