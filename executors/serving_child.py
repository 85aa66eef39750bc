"""What a child does: it runs the leases that come, one after the other, and says what came of them.

What its tasks return that is to be awaited is awaited on an event loop beside them, and holds up no lease.

Covers: the life of a child, what it notes and says.
Does not cover: the other end (executors.children), running a lease (running.hosting).
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
import weakref
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, BinaryIO

from lazygraph.executors.alarm import Alarm
from lazygraph.executors.children import (
    AFTER,
    AWAITED,
    BEGAN,
    LATER,
    LEASE,
    LEAVE,
    NOTE,
    NOTHING,
    PARKED,
    PART,
    PLAN,
    PLANS,
    PROGRESS,
    RESULT,
    STEPS,
    STOP,
    TASK,
    TOLD,
    read_frame,
    write_frame,
)
from lazygraph.executors.remote import PLAN_NAME, LeaseThere, opened_plan
from lazygraph.running.hosting import Host
from lazygraph.running.mutation import give_up

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

    from lazygraph.executors.remote import Buffer
    from lazygraph.running.program import Program
    from lazygraph.running.runner import Report

EARLY = 0.01
"""Seconds after which it is told what has ended in a lease, although another task of it takes long.

It is looked again until a task was running at two looks; the next that begins has it looked anew.
"""


class _Lease(LeaseThere):
    """A lease, as the child has it."""

    def __init__(self, number: int, server: _Server, program: Program, lease: Buffer) -> None:
        super().__init__(program, lease, self._begins_next, self._began, self._told)
        self.number, self._server = number, server
        self._begun = 0
        self._thread = threading.get_ident()
        self._parked = self._over = False
        self._lock = threading.Lock()

    def _begins_next(self, task: int) -> bool:
        self._begun += 1
        if not self._server.begins(task):
            return False
        if self._begun > 1:  # from here on there may be something to tell while a task runs
            self._server.look()
        if self._server.leaving:
            self._leave_again(task)
        return True

    def _leave_again(self, task: int = NOTHING) -> None:
        """Have tasks leave that were to, and had not begun then or were just about to be awaited; `task` is next."""
        leaving = [one for number, one in list(self._server.leaving) if number == self.number]
        for one in sorted(leaving, key=lambda one: one != task):
            self._server.host.stop(self, one, 0.0)

    def _began(self, task: int) -> None:
        self._server.say(BEGAN, TASK.pack(self.number, task))

    def _told(self, task: int, done: float, total: float | None) -> None:
        if not self._over:  # a task may have threads, and they may outlive it
            self._server.say(TOLD, PROGRESS.pack(self.number, task, done, float("nan") if total is None else total))

    def report(self, report: Report) -> None:
        """Take in what has been done; tell it, but for what comes last."""
        with self._lock:
            self.made.add(report)
            last = threading.get_ident() == self._thread and (not self.tasks or self.made.failed)
            if not last and not self._over and (back := self.made.so_far()) is not None:
                if self._parked:
                    self._server.say(LATER, AFTER.pack(self.number, False), back)
                else:
                    self._server.say(PART, back)

    def finished(self) -> None:
        """Tell what came last, when all that was awaited has ended."""
        with self._lock:
            self._over = True
            if self._parked:
                self._server.say(LATER, AFTER.pack(self.number, True), self.made.all(()))
                self._server.over(self)

    def run(self) -> None:
        """Run it, and say what came of it; or that it is parked."""
        over = self._server.host.run(self, awaits=self.parks)
        if self._server.leaving:
            self._leave_again()
        with self._lock:
            if over or self._over:
                self._over = True
                self._server.say(RESULT, self.made.all(self.tasks))
                self._server.over(self)
            else:
                self._parked = True
                self._server.say(PARKED, self.made.so_far(self.tasks) or b"")


class _Server:
    """The leases of a child, and what is said of them."""

    def __init__(self, replies: BinaryIO, note: mmap.mmap) -> None:
        self._replies, self._note = replies, note
        self._writing = threading.Lock()
        self.host = Host(lambda more: None, interruptible=False, noted=self._noted)
        self._alarm = Alarm(weakref.WeakMethod(self._tell_early))
        self._open: dict[int, _Lease] = {}
        self._count = 0
        self.leaving: set[tuple[int, int]] = set()  # of leases that are not over, or are yet to come
        self._running = False
        self._begun = self._seen = 0  # tasks; and before the last look
        self._looking = False

    def begins(self, task: int) -> bool:
        """Note that a task is next; return whether it is to begin."""
        struct.pack_into("<i", self._note, 0, task)
        self._begun += 1
        return not self._note[STOP]

    def say(self, kind: bytes, *parts: bytes) -> None:
        """Say something to the parent."""
        with self._writing:
            write_frame(self._replies, kind, b"".join(parts))

    def run(self, program: Program, lease: Buffer) -> None:
        """Run the next lease."""
        opened = _Lease(self._count + 1, self, program, lease)
        self._open[opened.number] = opened
        self._count = opened.number
        self._running = True
        opened.run()
        self._running = False

    def over(self, lease: _Lease) -> None:
        """Nothing more will be said of a lease."""
        self._open.pop(lease.number, None)
        lease.values.clear()  # it refers to itself, and the collector may not come for long
        for one in list(self.leaving):
            if one[0] == lease.number:
                self.leaving.discard(one)

    def look(self) -> None:
        """See that what has ended is told soon."""
        if not self._looking:
            self._looking = True
            self._alarm.ring_in(EARLY)

    def _tell_early(self) -> None:
        if self._running:
            try:
                self.host.tell_early()
            except OSError:  # nobody hears it any more
                return
        self._looking, seen, self._seen = False, self._seen, self._begun
        if self._running and self._seen != seen:  # asked after the flag: a task that begins now looks at that
            self.look()

    def leave(self, number: int, task: int) -> None:
        """Have a task leave: at once, or when it begins."""
        self.leaving.add((number, task))
        lease = self._open.get(number)
        if lease is not None:
            self.host.stop(lease, task, 0.0)
        elif number <= self._count:  # it is over
            self.leaving.discard((number, task))

    def _noted(self, lease: _Lease, task: int, coroutine: Coroutine[Any, Any, Any]) -> Any:
        if self._open.get(lease.number) is not lease:
            return coroutine
        if not lease.tasks:  # before the parent knows: it would have the child killed for something that can be asked
            struct.pack_into("<i", self._note, 0, AWAITED)
        return _Noted(coroutine, self._note, lease.number, task)


class _Noted:
    """Something to be awaited; while it runs it is noted who it is."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], note: mmap.mmap, lease: int, task: int) -> None:
        self._coroutine, self._note = coroutine, note
        self._who = struct.pack("<qq", lease, task)

    def close(self) -> None:
        """Never begin it."""
        give_up(self._coroutine)

    def __await__(self) -> Generator[Any, Any, Any]:
        value: Any = None
        error: BaseException | None = None
        note, end = self._note, STEPS + len(self._who)
        while True:
            note[STEPS:end] = self._who
            try:
                given = self._coroutine.send(value) if error is None else self._coroutine.throw(error)
            except StopIteration as stop:
                return stop.value
            finally:
                note[STEPS:end] = _NOBODY
            value = error = None
            try:
                value = yield given
            except GeneratorExit:
                self._coroutine.close()
                raise
            except BaseException as thrown:
                error = thrown


_NOBODY = struct.pack("<qq", NOTHING, NOTHING)


def serve(requests: int, replies: int, note: int, end: Callable[[], Any]) -> None:
    """Run leases from one stream, answer on the other: the life of a child.

    The end of the requests ends it, also in the middle of a task.
    """
    asked: SimpleQueue[tuple[bytes, bytearray]] = SimpleQueue()
    with mmap.mmap(note, NOTE.size) as shared, os.fdopen(replies, "wb") as said:
        server = _Server(said, shared)

        def listen() -> None:
            with os.fdopen(requests, "rb") as stream:
                while (request := read_frame(stream)) is not None:
                    if request[0] == LEAVE:
                        server.leave(*TASK.unpack(request[1]))
                    else:
                        asked.put(request)
            end()

        threading.Thread(target=listen, name="lazygraph-lifeline", daemon=True).start()
        plans: dict[bytes, Program] = {}
        while True:
            kind, data = asked.get()
            name = bytes(data[:PLAN_NAME])
            if kind == PLAN:
                if len(plans) == PLANS:
                    del plans[next(iter(plans))]
                plans[name] = opened_plan(data)
            elif kind == LEASE:
                server.run(plans[name], data[PLAN_NAME:])
            del data
