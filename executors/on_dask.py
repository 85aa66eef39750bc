"""Graphs on a Dask cluster: leases are its tasks, what they leave are its futures.

Covers: calls on `distributed`, its priorities, resources and workers.
Does not cover: what they are calls of (executors.elsewhere), Dask's graphs on our executors (interop.dask).
"""

from __future__ import annotations

import concurrent.futures
import itertools
import time
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from lazygraph.errors import CannotConnect, InvalidOption, MissingExtra
from lazygraph.executors.base import CAPABILITIES
from lazygraph.executors.elsewhere import ElsewhereDriver, Hands, RunnerGone, packed, run_there
from lazygraph.running.frontier import MAX_DEATHS

if TYPE_CHECKING:
    from lazygraph.executors.elsewhere import Call, Kept

LARGE = 20_000
"""A packed plan of more bytes goes there once, and not with every call."""

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
    _killed: type[Exception]

    def __init__(self, client: Any, cluster: Any = None, close: bool = False) -> None:
        """Make one; `close` says whether the client is ours, `cluster` is one that is."""
        self.client, self._cluster, self._close = client, cluster, close or cluster is not None
        self._name, self._numbers = f"lazygraph-{uuid.uuid4().hex[:12]}", itertools.count()
        self._reports: dict[concurrent.futures.Future[bytes], Any] = {}
        self._killed = _library().KilledWorker
        self._hands = Hands("lazygraph-dask", 1)
        self._count()

    def place(self, plan: bytes) -> Any:
        """A large plan becomes a future.  Runs have somebody look how many threads there are, which may come and go."""
        if time.monotonic() - self._counted > COUNTED_FOR:
            self._hands.call(self._count_again)
        return plan if len(plan) < LARGE else self.client.scatter(plan, hash=False)

    def _count(self) -> None:
        """As many leases as its workers have threads, and as many again to wait there for their turn."""
        self.slots, self._counted = 2 * max(1, sum(self.client.nthreads().values())), time.monotonic()

    def _count_again(self) -> None:
        with suppress(Exception):  # Dask has ended meanwhile: whoever calls it is told
            self._count()

    def call(self, call: Call) -> tuple[Any, concurrent.futures.Future[bytes]]:
        """Submit a lease, and the task that brings its report; both have the priority of the lease's."""
        policy, key = call.policy, f"{call.name}-{self._name}-{next(self._numbers)}"
        said: dict[str, Any] = {"pure": False, "priority": policy.priority if policy is not None else 0}
        where: dict[str, Any] = {}
        if policy is not None and policy.where is not None:
            where["workers"] = [*policy.where.workers] or None
            where["resources"] = dict(policy.where.resources) or None
        left = self.client.submit(_run, call.plan, call.lease, *call.inputs, key=key, **said, **where)
        report = self.client.submit(_report, left, key=f"report-{key}", **said)
        future: concurrent.futures.Future[bytes] = concurrent.futures.Future()
        self._reports[future] = [left, report]
        report.add_done_callback(lambda done: self._back(done, future))
        return left, future

    def _back(self, report: Any, future: concurrent.futures.Future[bytes]) -> None:
        if self._reports.pop(future, None) is None:
            return  # it was withdrawn
        if report.status == "cancelled" or not future.set_running_or_notify_cancel():
            future.cancel()
            future.set_running_or_notify_cancel()
            return
        try:
            future.set_result(report.result())
        except self._killed as error:  # Dask has tried it on several workers
            future.set_exception(RunnerGone(str(error), MAX_DEATHS + 1))
        except BaseException as error:
            future.set_exception(error)

    def fetch(self, kept: Kept, timeout: float | None) -> tuple[bool, bytes]:
        """Have it pickled where it is."""
        there = self.client.submit(_packed, kept.left, kept.entry, pure=False, key=f"fetch-{uuid.uuid4().hex}")
        answer: tuple[bool, bytes] = there.result(timeout)
        return answer

    def cancel(self, report: concurrent.futures.Future[bytes]) -> None:
        """Withdraw a call: what has begun goes on, and is not listened to."""
        tasks = self._reports.get(report)
        if tasks is not None:  # asked for in Dask's own loop, so that nobody waits: the collector may have asked
            self.client.loop.add_callback(self.client.cancel, tasks, asynchronous=True)

    def withdraw(self, report: concurrent.futures.Future[bytes]) -> bool:
        """What no worker has been given yet has not begun."""
        tasks = self._reports.get(report)
        if tasks is None or tasks[0].status != "pending" or self.client.asynchronous:
            return False
        if any(str(tasks[0].key) in map(str, keys) for keys in self.client.processing().values()):
            return False
        if self._reports.pop(report, None) is None:
            return False  # it is back already
        self.client.cancel(tasks)
        return True

    def close(self) -> None:
        """End the client, and the cluster, that were made for us."""
        self._hands.close()
        if self._close:
            self.client.close()
        if self._cluster is not None:
            self._cluster.close()


def _run(plan: bytes, lease: bytes, *inputs: tuple[bytes, dict[int, Any]]) -> tuple[bytes, dict[int, Any]]:
    return run_there(plan, lease, *(left for _, left in inputs))


def _report(left: tuple[bytes, Any]) -> bytes:
    return left[0]


def _packed(left: tuple[bytes, dict[int, Any]], entry: int) -> tuple[bool, bytes]:
    return packed(left[1], entry)
