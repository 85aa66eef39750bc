"""Calls that a Dask client has been given: what becomes of them, and taking back those that have not begun.

A report comes among Dask's events, just before it is said that the task has ended: another task to bring it would wait
until a thread is free.  It is not used before that is said, or Dask would take the thread for busy.

Covers: reports and what else calls end with, dropping calls, a client that is closed or has lost its scheduler.
Does not cover: how calls are made (executors.on_dask), what they do over there (executors.dask_tasks).
"""

from __future__ import annotations

import concurrent.futures
import itertools
import time
import uuid
import zlib
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from lazygraph.errors import Closed, ConnectionLost
from lazygraph.executors.dask_tasks import report_of, run_call, take_back
from lazygraph.executors.elsewhere import GivenUp, RunnerGone
from lazygraph.running.frontier import MAX_DEATHS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lazygraph.executors.elsewhere import Call

    Report = concurrent.futures.Future[bytes]

FIRST = 1_000_000
"""The priority of what leases wait for, and of what brings long reports and values."""

TOPICS = 16
"""Among so many topics of Dask's all clients say what they say: its scheduler keeps the last messages of each."""

SOON = 5.0
"""Seconds within which Dask's scheduler has heard of a task, although the machine may be busy."""

LOOK = 5.0
"""Seconds between looks whether the client that brings something has been closed."""


class Awaited(concurrent.futures.Future[bytes]):
    """The report of a call, by number."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number
        self.tasks: list[Any] = []  # the lease's own, and maybe one that brings its report
        self.told: bytes | None = None  # it, before Dask has said that the task has ended
        self.unwanted = False


class Calls:
    """The calls that a client has been given and that have not ended, by number."""

    def __init__(self, client: Any, killed: type[Exception]) -> None:
        """Make one; `killed` is what Dask calls a task that it has tried on several workers that died."""
        self._client, self._killed, self._address = client, killed, str(client.scheduler.address)
        self._name, self._numbers = f"lazygraph-{uuid.uuid4().hex[:12]}", itertools.count(1)
        self._topic = f"lazygraph-{zlib.crc32(client.id.encode()) % TOPICS}"
        self._awaited: dict[int, Awaited] = {}

    def add(self, call: Call, **said: Any) -> tuple[Any, Awaited]:
        """Submit a lease; return its task, and the future of its report.  `said` is what Dask is told besides."""
        self.look()
        report = Awaited(next(self._numbers))
        self._awaited[report.number] = report
        ear, key = (self._topic, self._name, report.number), f"{call.name}-{self._name}-{report.number}"
        self._submit(report, run_call, call.plan, call.lease, ear, *call.inputs, key=key, **said)
        return report.tasks[0], report

    def _submit(self, report: Awaited, function: Callable[..., object], *args: Any, **said: Any) -> None:
        """Submit a task that a report may come from."""
        task = self._client.submit(function, *args, pure=False, **said)
        report.tasks.append(task)
        task.add_done_callback(partial(self._back, report))
        self.look()  # what Dask is given while it has no scheduler may never end; from here on it says so

    def before_all(self, name: str, function: Callable[..., object], *args: Any) -> Any:
        """Submit a task that leases wait for, or somebody here; return it."""
        self.look()
        key = f"{name}-{uuid.uuid4().hex}"
        task = self._client.submit(function, *args, pure=False, priority=FIRST, key=key)
        self.look()
        return task

    def look(self) -> None:
        """Raise what has become of the client, if anything has."""
        if (lost := self.lost()) is not None:
            raise lost

    def lost(self) -> Exception | None:
        """Return what has become of the client, if anything has."""
        if self._client.status == "running":
            return None
        if self._client.status == "connecting":
            return ConnectionLost(self._address, "Dask's client tries to reach its scheduler again")
        return Closed("Dask's client")

    # -- what becomes of them ----------------------------------------------------------------------

    def listen(self, hear: Callable[[bytes], object]) -> None:
        """Hear of the topic what names us.  A client calls one function for each topic: executors share it."""
        self._said = hear
        ears: dict[str, Callable[[int, bytes], object]] = vars(self._client).setdefault("_lazygraph_ears", {})
        ears[self._name] = self._hear
        self._client.subscribe_topic(self._topic, partial(_hear, ears))

    def close(self) -> None:
        """Listen no longer."""
        vars(self._client).get("_lazygraph_ears", {}).pop(self._name, None)

    def _hear(self, number: int, said: bytes) -> None:
        """Take in what a call says: its report, or (number 0) something before that."""
        if not number:
            self._said(said)
        elif (report := self._awaited.get(number)) is not None:
            report.told = said

    def _back(self, report: Awaited, task: Any) -> None:
        """A task has ended that a report may come from."""
        if report.number not in self._awaited:
            return  # it was withdrawn
        told: bytes | None = None
        error: Exception | None = None
        try:
            told = self._told_by(report, task)
        except self._killed as killed:  # Dask has tried it on several workers
            error = RunnerGone(str(killed), MAX_DEATHS + 1)
        except BaseException as other:
            error = self.lost() or GivenUp(f"{type(other).__name__}: {other}")
            error.__cause__ = other
        if (told is None and error is None) or self._awaited.pop(report.number, None) is None:
            return  # another task brings it, or it was withdrawn meanwhile
        if told is not None:
            report.set_result(told)
        elif report.unwanted and task.status == "cancelled":
            report.cancel()
            report.set_running_or_notify_cancel()
        else:
            report.set_exception(error)

    def _told_by(self, report: Awaited, task: Any) -> bytes | None:
        """Return what has been told, or what a task has brought; None: one will, as it was too long to be told."""
        if task.status == "cancelled":  # nobody may ask a client for more that is being closed: it waits for ever
            raise concurrent.futures.CancelledError("Dask has cancelled it")
        if task.status != "finished" or len(report.tasks) > 1:
            return self._brought(task)
        if report.told is None:
            self._submit(report, report_of, task, key=f"report-{task.key}", priority=FIRST)
        return report.told

    def _brought(self, report: Any) -> bytes:
        """Return a report that is there.  Looks from time to time whether the client is closed: then it never comes."""
        while True:
            try:
                told: bytes = report.result(LOOK)
                return told
            except TimeoutError:
                if report.status != "finished" or self.lost() is not None:
                    raise

    # -- taking back -------------------------------------------------------------------------------

    def cancel(self, report: Report) -> None:
        """Withdraw a call: what has begun goes on, and is not listened to."""
        if isinstance(report, Awaited) and report.number in self._awaited:
            report.unwanted = True
            # Asked for in Dask's own loop, so that nobody waits: the collector may have asked.
            self._client.loop.add_callback(self._cancel, report.tasks)

    async def _cancel(self, tasks: Any) -> None:
        with suppress(Exception):  # there is no client any more
            await self._client.cancel(tasks, asynchronous=True)

    def withdraw(self, report: Report) -> bool:
        """What no worker has been given yet has not begun."""
        if not isinstance(report, Awaited) or self._client.asynchronous or self.lost() is not None:
            return False
        [task, *rest] = report.tasks
        if rest or task.status != "pending" or self._awaited.pop(report.number, None) is None:
            return False  # it is back, or nearly
        if self._taken_back(task.key):
            return True
        self._awaited[report.number] = report
        if task.status != "pending":  # it has ended meanwhile, and was not listened to
            self._back(report, task)
        return False

    def _taken_back(self, key: Any) -> bool:
        """Ask Dask's scheduler for a task.  It takes in later what it is sent first: graphs are opened."""
        taken, until = None, time.monotonic() + SOON
        with suppress(Exception):  # it has ended, or runs nothing for clients
            while taken is None and time.monotonic() < until:
                taken = self._client.run_on_scheduler(take_back, key, self._client.id)
        return taken is True


def _hear(ears: Mapping[str, Callable[[int, bytes], object]], event: tuple[float, tuple[str, int, bytes]]) -> None:
    name, number, said = event[1]
    if (hear := ears.get(name)) is not None:
        hear(number, said)
