"""Graphs on a Dask cluster: leases are its tasks, what they leave are its futures.

Covers: calls on `distributed`, its priorities, resources and workers.
Does not cover: what they are calls of (executors.elsewhere), Dask's graphs on our executors (interop.dask).
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

from lazygraph.errors import CannotConnect, Closed, ConnectionLost, InvalidOption, MissingExtra
from lazygraph.executors.base import CAPABILITIES
from lazygraph.executors.elsewhere import ElsewhereDriver, GivenUp, Hands, RunnerGone, packed, run_there
from lazygraph.running.frontier import MAX_DEATHS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lazygraph.executors.elsewhere import Call, Kept

LARGE = 20_000
"""A packed plan of more bytes goes there once, and not with every call; a report of more is brought by a task."""

HUGE = 8_000_000
"""One of more bytes is not kept by Dask's scheduler."""

FIRST = 1_000_000
"""The priority of what leases wait for, and of what brings long reports and values."""

TOPICS = 16
"""Among so many topics of Dask's all clients say what they say: its scheduler keeps the last messages of each."""

NOT_BEGUN = ("released", "waiting", "no-worker", "queued")
"""What Dask's scheduler says of tasks that no worker has been given."""

SOON = 5.0
"""Seconds within which it has heard of a task, although the machine may be busy."""

LOOK = 5.0
"""Seconds between looks whether the client that brings something has been closed."""

COUNTED_FOR = 1.0
"""Seconds for which it is taken as known how many threads there are."""


class DaskExecutor(ElsewhereDriver):
    """Runs plans on a Dask cluster; values stay on its workers until they are wanted here.

    `client` is a `distributed.Client`, a cluster of Dask's, or an address; without one a local cluster of processes is
    started, and ended with the executor.  Priorities, `resources=` and `workers=` are Dask's own (a worker that is not
    there when a task is handed out stands for any on its host).  Dask runs what a lost worker has not finished again by
    itself, so `at_most_once` is refused.
    """

    capabilities = CAPABILITIES["dask"]

    def __init__(self, client: Any = None) -> None:
        distributed = _library()
        if client is None:
            cluster = _started()
            site = DaskSite(distributed.Client(cluster, set_as_default=False), cluster)
        elif isinstance(client, distributed.Client):
            site = DaskSite(client)
        elif isinstance(client, str) or hasattr(client, "scheduler_address"):
            site = DaskSite(_connected(distributed, client), close=True)
        else:
            raise InvalidOption(f"DaskExecutor({client!r}): a distributed.Client, a cluster of Dask's or an address")
        super().__init__(site, "dask")


def _library() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise MissingExtra("executor 'dask'", "dask") from error
    return distributed


def _started() -> Any:
    """Start a Dask cluster of processes on this machine; a script needs no `if __name__ == "__main__"` for these."""
    from distributed.deploy.subprocess import SubprocessCluster

    quiet = {"dashboard": False}
    return SubprocessCluster(
        host="127.0.0.1", dashboard_address="127.0.0.1:0", scheduler_kwargs=quiet, threads_per_worker=1
    )


def _connected(distributed: Any, address: Any) -> Any:
    try:
        return distributed.Client(address, set_as_default=False, timeout="10s")
    except OSError as error:
        raise CannotConnect(str(address), f"{type(error).__name__}: {error}", "Dask scheduler") from error


class Awaited(concurrent.futures.Future[bytes]):
    """The report of a call, by number."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number
        self.tasks: list[Any] = []  # the lease's own, and maybe one that brings its report
        self.told: bytes | None = None  # it, before Dask has said that the task has ended
        self.unwanted = False


class DaskSite:
    """Calls on a `distributed.Client`.

    A report comes among Dask's events, just before it is said that the task has ended: another task to bring it would
    wait until a thread is free.  It is not used before that is said, or Dask would take the thread for busy.
    """

    most = 256
    sends_ahead = True
    _killed: type[Exception]

    def __init__(self, client: Any, cluster: Any = None, close: bool = False) -> None:
        """Make one; `close` says whether the client is ours, `cluster` is one that is."""
        self.client, self._cluster, self._close = client, cluster, close or cluster is not None
        self._name, self._numbers = f"lazygraph-{uuid.uuid4().hex[:12]}", itertools.count(1)
        self._awaited: dict[int, Awaited] = {}
        self._address = str(client.scheduler.address)
        self._killed = _library().KilledWorker
        self._hands = Hands("lazygraph-dask", 1)
        self._topic = f"lazygraph-{zlib.crc32(client.id.encode()) % TOPICS}"
        self._count()

    def place(self, plan: bytes) -> Any:
        """A large plan becomes a future.

        It is that of a task, so that Dask has it again when the worker dies that it was on; not so what is very large,
        because Dask's scheduler would keep it, and warns of that.
        """
        self._look()
        self._count_again_soon()
        if len(plan) < LARGE:
            return plan
        if len(plan) > HUGE:
            return self.client.scatter(plan, hash=False)
        return self.client.submit(_same, plan, pure=False, priority=FIRST, key=f"plan-{uuid.uuid4().hex}")

    def _count(self) -> int:
        """As many leases as its workers have threads, and as many again to wait there for their turn."""
        threads: int = sum(self.client.nthreads().values())
        self.slots, self._counted = 2 * max(1, threads), time.monotonic()
        return threads

    def _count_again_soon(self) -> None:
        """Have somebody look how many threads there are, which may come and go."""
        if time.monotonic() - self._counted > COUNTED_FOR:
            self._counted = time.monotonic()
            self._hands.call(self._count_again)

    def _count_again(self) -> None:
        with suppress(Exception):  # Dask has ended meanwhile: whoever calls it is told
            self._count()

    def call(self, call: Call) -> tuple[Any, concurrent.futures.Future[bytes]]:
        """Submit a lease."""
        self._look()
        self._count_again_soon()
        policy, report = call.policy, Awaited(next(self._numbers))
        said: dict[str, Any] = {"priority": policy.priority if policy is not None else 0}
        if policy is not None and policy.where is not None:
            said["workers"] = [*policy.where.workers] or None
            said["resources"] = dict(policy.where.resources) or None
        ear = self._topic, self._name, report.number
        self._awaited[report.number] = report
        key = f"{call.name}-{self._name}-{report.number}"
        self._submit(report, key, _run, call.plan, call.lease, ear, *call.inputs, **said)
        return report.tasks[0], report

    def _submit(self, report: Awaited, key: str, function: Callable[..., object], *args: Any, **said: Any) -> None:
        """Submit a task that a report may come from."""
        task = self.client.submit(function, *args, key=key, pure=False, **said)
        report.tasks.append(task)
        task.add_done_callback(partial(self._back, report))
        self._look()  # what Dask is given while it has no scheduler may never end; from here on it says so

    def _look(self) -> None:
        if (lost := self._lost()) is not None:
            raise lost

    def _lost(self) -> Exception | None:
        """Return what has become of the client, if anything has."""
        if self.client.status == "running":
            return None
        if self.client.status == "connecting":
            return ConnectionLost(self._address, "Dask's client tries to reach its scheduler again")
        return Closed("Dask's client")

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
            error = self._lost() or GivenUp(f"{type(other).__name__}: {other}")
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
            self._submit(report, f"report-{task.key}", _report, task, priority=FIRST)
        return report.told

    def _brought(self, report: Any) -> bytes:
        """Return a report that is there.  Looks from time to time whether the client is closed: then it never comes."""
        while True:
            try:
                told: bytes = report.result(LOOK)
                return told
            except TimeoutError:
                if report.status != "finished" or self._lost() is not None:
                    raise

    def lacks(self) -> str:
        """Ask whether there are workers."""
        with suppress(Exception):  # whoever calls Dask is told what is the matter
            if self._lost() is None and not self.client.asynchronous and self._count() == 0:
                return "Dask's scheduler has no worker"
        return ""

    def listen(self, hear: Callable[[bytes], object]) -> None:
        """Hear of the topic what names us.  A client calls one function for each topic: executors share it."""
        self._said = hear
        ears: dict[str, Callable[[int, bytes], object]] = vars(self.client).setdefault("_lazygraph_ears", {})
        ears[self._name] = self._hear
        self.client.subscribe_topic(self._topic, partial(_hear, ears))

    def fetch(self, kept: Kept, timeout: float | None) -> tuple[bool, bytes]:
        """Have it pickled where it is."""
        self._look()
        key = f"fetch-{uuid.uuid4().hex}"
        there = self.client.submit(_packed, kept.left, kept.entry, pure=False, priority=FIRST, key=key)
        self._look()
        answer: tuple[bool, bytes] = there.result(timeout)
        return answer

    def cancel(self, report: concurrent.futures.Future[bytes]) -> None:
        """Withdraw a call: what has begun goes on, and is not listened to."""
        if isinstance(report, Awaited) and report.number in self._awaited:
            report.unwanted = True
            # Asked for in Dask's own loop, so that nobody waits: the collector may have asked.
            self.client.loop.add_callback(self._cancel, report.tasks)

    async def _cancel(self, tasks: Any) -> None:
        with suppress(Exception):  # there is no client any more
            await self.client.cancel(tasks, asynchronous=True)

    def withdraw(self, report: concurrent.futures.Future[bytes]) -> bool:
        """What no worker has been given yet has not begun."""
        if not isinstance(report, Awaited) or self.client.asynchronous or self._lost() is not None:
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
                taken = self.client.run_on_scheduler(_take_back, key, self.client.id)
        return taken is True

    def close(self) -> None:
        """End the client, and the cluster, that were made for us."""
        self._hands.close()
        vars(self.client).get("_lazygraph_ears", {}).pop(self._name, None)
        if self._close:
            self.client.close()
        if self._cluster is not None:
            self._cluster.close()


def _hear(ears: Mapping[str, Callable[[int, bytes], object]], event: tuple[float, tuple[str, int, bytes]]) -> None:
    name, number, said = event[1]
    if (hear := ears.get(name)) is not None:
        hear(number, said)


# -- over there ------------------------------------------------------------------------------------


def _take_back(key: Any, client: str, dask_scheduler: Any) -> bool | None:
    """Have Dask's scheduler forget a task that has not begun: asked from afar, it might begin meanwhile."""
    task = dask_scheduler.tasks.get(key)
    if task is None:
        return None
    if task.state not in NOT_BEGUN:
        return False
    dask_scheduler.stimulus_cancel([key], client, force=False, reason="taken back", msg="lazygraph has taken it back")
    return True


def _run(
    plan: bytes, lease: bytes, ear: tuple[str, str, int], *inputs: tuple[bytes, dict[int, Any]]
) -> tuple[bytes, dict[int, Any]]:
    from distributed import get_worker

    worker, (topic, name, number) = get_worker(), ear

    def say(said: bytes, number: int = 0) -> None:
        worker.log_event(topic, (name, number, said))

    # A name that is a number is one among the workers of a machine; the address is one among all.
    own = worker.name if isinstance(worker.name, str) else worker.address
    report, left = run_there(plan, lease, *(left for _, left in inputs), worker=own, say=say)
    if len(report) <= LARGE:  # Dask's scheduler keeps the last ones
        say(report, number)
    return report, left


def _same(plan: bytes) -> bytes:
    return plan


def _report(left: tuple[bytes, Any]) -> bytes:
    return left[0]


def _packed(left: tuple[bytes, dict[int, Any]], entry: int) -> tuple[bool, bytes]:
    return packed(left[1], entry)
