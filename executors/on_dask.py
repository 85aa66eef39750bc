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
"""A packed plan of more bytes goes there once, and not with every call."""

HUGE = 8_000_000
"""One of more bytes is not kept by Dask's scheduler."""

FIRST = 1_000_000
"""The priority of what leases wait for."""

TOPICS = 16
"""Among so many topics of Dask's all clients say what they say: its scheduler keeps the last messages of each."""

NOT_BEGUN = ("released", "waiting", "no-worker", "queued")
"""What Dask's scheduler says of tasks that no worker has been given."""

AT_ONCE = 0.1
"""Seconds within which it has heard of a task."""

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


class DaskSite:
    """Calls on a `distributed.Client`."""

    most = 256
    sends_ahead = False
    """Not yet: of a run whose worker dies while others wait there for what it had, not all comes back every time."""
    _killed: type[Exception]

    def __init__(self, client: Any, cluster: Any = None, close: bool = False) -> None:
        """Make one; `close` says whether the client is ours, `cluster` is one that is."""
        self.client, self._cluster, self._close = client, cluster, close or cluster is not None
        self._name, self._numbers = f"lazygraph-{uuid.uuid4().hex[:12]}", itertools.count()
        self._reports: dict[concurrent.futures.Future[bytes], Any] = {}
        self._unwanted: set[concurrent.futures.Future[bytes]] = set()
        self._address = str(client.scheduler.address)
        self._killed = _library().KilledWorker
        self._hands = Hands("lazygraph-dask", 1)
        self._topic = f"lazygraph-{zlib.crc32(client.id.encode()) % TOPICS}", self._name
        self._count()

    def place(self, plan: bytes) -> Any:
        """A large plan becomes a future.  Runs have somebody look how many threads there are, which may come and go.

        It is that of a task, so that Dask has it again when the worker dies that it was on; not so what is very large,
        because Dask's scheduler would keep it, and warns of that.
        """
        self._look()
        if time.monotonic() - self._counted > COUNTED_FOR:
            self._hands.call(self._count_again)
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

    def _count_again(self) -> None:
        with suppress(Exception):  # Dask has ended meanwhile: whoever calls it is told
            self._count()

    def call(self, call: Call) -> tuple[Any, concurrent.futures.Future[bytes]]:
        """Submit a lease, and the task that brings its report; both have the priority of the lease's."""
        self._look()
        policy, key = call.policy, f"{call.name}-{self._name}-{next(self._numbers)}"
        said: dict[str, Any] = {"pure": False, "priority": policy.priority if policy is not None else 0}
        where: dict[str, Any] = {}
        if policy is not None and policy.where is not None:
            where["workers"] = [*policy.where.workers] or None
            where["resources"] = dict(policy.where.resources) or None
        left = self.client.submit(_run, call.plan, call.lease, self._topic, *call.inputs, key=key, **said, **where)
        report = self.client.submit(_report, left, key=f"report-{key}", **said)
        future: concurrent.futures.Future[bytes] = concurrent.futures.Future()
        self._reports[future] = [left, report]
        report.add_done_callback(lambda done: self._back(done, future))
        self._look()  # what Dask is given while it has no scheduler may never end; from here on it says so
        return left, future

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

    def _back(self, report: Any, future: concurrent.futures.Future[bytes]) -> None:
        if self._reports.pop(future, None) is None:
            return  # it was withdrawn
        asked = future in self._unwanted
        self._unwanted.discard(future)
        if asked and report.status == "cancelled":
            future.cancel()
            future.set_running_or_notify_cancel()
            return
        if report.status == "cancelled":  # nobody may ask a client for more that is being closed: it waits for ever
            future.set_exception(self._lost() or GivenUp("Dask has cancelled it"))
            return
        try:
            future.set_result(self._brought(report))
        except self._killed as error:  # Dask has tried it on several workers
            future.set_exception(RunnerGone(str(error), MAX_DEATHS + 1))
        except BaseException as error:
            gone = self._lost() or GivenUp(f"{type(error).__name__}: {error}")
            gone.__cause__ = error
            future.set_exception(gone)

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
        ears: dict[str, Callable[[bytes], object]] = vars(self.client).setdefault("_lazygraph_ears", {})
        ears[self._name] = hear
        self.client.subscribe_topic(self._topic[0], partial(_hear, ears))

    def fetch(self, kept: Kept, timeout: float | None) -> tuple[bool, bytes]:
        """Have it pickled where it is."""
        self._look()
        there = self.client.submit(_packed, kept.left, kept.entry, pure=False, key=f"fetch-{uuid.uuid4().hex}")
        self._look()
        answer: tuple[bool, bytes] = there.result(timeout)
        return answer

    def cancel(self, report: concurrent.futures.Future[bytes]) -> None:
        """Withdraw a call: what has begun goes on, and is not listened to."""
        tasks = self._reports.get(report)
        if tasks is not None:
            self._unwanted.add(report)
            # Asked for in Dask's own loop, so that nobody waits: the collector may have asked.
            self.client.loop.add_callback(self._cancel, tasks)

    async def _cancel(self, tasks: Any) -> None:
        with suppress(Exception):  # there is no client any more
            await self.client.cancel(tasks, asynchronous=True)

    def withdraw(self, report: concurrent.futures.Future[bytes]) -> bool:
        """What no worker has been given yet has not begun."""
        tasks = self._reports.get(report)
        if tasks is None or tasks[0].status != "pending" or self.client.asynchronous or self._lost() is not None:
            return False
        if self._state_of(tasks[0].key) not in NOT_BEGUN:
            return False
        if self._reports.pop(report, None) is None:
            return False  # it is back already
        self.client.cancel(tasks)
        return True

    def _state_of(self, key: Any) -> str | None:
        """Return what Dask's scheduler says of a task.  It takes in later what it is sent first: graphs are opened."""
        state, until = None, time.monotonic() + AT_ONCE
        while state is None and time.monotonic() < until:
            state = self.client.sync(self.client.scheduler.get_task_status, keys=[key])[key]
        return state

    def close(self) -> None:
        """End the client, and the cluster, that were made for us."""
        self._hands.close()
        vars(self.client).get("_lazygraph_ears", {}).pop(self._name, None)
        if self._close:
            self.client.close()
        if self._cluster is not None:
            self._cluster.close()


def _hear(ears: Mapping[str, Callable[[bytes], object]], event: tuple[float, tuple[str, bytes]]) -> None:
    name, said = event[1]
    if (hear := ears.get(name)) is not None:
        hear(said)


# -- over there ------------------------------------------------------------------------------------


def _run(
    plan: bytes, lease: bytes, ear: tuple[str, str], *inputs: tuple[bytes, dict[int, Any]]
) -> tuple[bytes, dict[int, Any]]:
    from distributed import get_worker

    worker, (topic, name) = get_worker(), ear

    def say(said: bytes) -> None:
        worker.log_event(topic, (name, said))

    # A name that is a number is one among the workers of a machine; the address is one among all.
    own = worker.name if isinstance(worker.name, str) else worker.address
    return run_there(plan, lease, *(left for _, left in inputs), worker=own, say=say)


def _same(plan: bytes) -> bytes:
    return plan


def _report(left: tuple[bytes, Any]) -> bytes:
    return left[0]


def _packed(left: tuple[bytes, dict[int, Any]], entry: int) -> tuple[bool, bytes]:
    return packed(left[1], entry)
