"""Graphs on a Dask cluster: leases are its tasks, what they leave are its futures.

Covers: calls as tasks of a `distributed.Client`, its priorities, resources and workers, a cluster that is started.
Does not cover: what they are calls of (executors.elsewhere), what becomes of them (executors.dask_calls), what runs
over there (executors.dask_tasks), Dask's graphs on our executors (interop.dask).
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from lazygraph.errors import CannotConnect, InvalidOption, MissingExtra
from lazygraph.executors.base import CAPABILITIES
from lazygraph.executors.dask_calls import Calls
from lazygraph.executors.dask_tasks import packed, same
from lazygraph.executors.elsewhere import ElsewhereDriver
from lazygraph.executors.hands import Counted, Hands

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Callable

    from lazygraph.executors.elsewhere import Call, Kept

LARGE = 20_000
"""A packed plan of more bytes goes there once, and not with every call."""

HUGE = 8_000_000
"""One of more bytes is not kept by Dask's scheduler."""


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
    """Calls as tasks of a `distributed.Client`."""

    most = 256
    sends_ahead = True

    def __init__(self, client: Any, cluster: Any = None, close: bool = False) -> None:
        """Make one; `close` says whether the client is ours, `cluster` is one that is."""
        self._client, self._cluster, self._close = client, cluster, close or cluster is not None
        self._calls = Calls(client, _library().KilledWorker)
        self._hands = Hands("lazygraph-dask", 1)
        self._threads = Counted(lambda: sum(client.nthreads().values()), self._hands)

    @property
    def slots(self) -> int:
        """As many leases as its workers have threads, and as many again to wait there for their turn."""
        return 2 * max(1, self._threads.number)

    def place(self, plan: bytes) -> Any:
        """A large plan becomes a future.

        It is that of a task, so that Dask has it again when the worker dies that it was on; not so what is very large,
        because Dask's scheduler would keep it, and warns of that.
        """
        self._calls.look()
        self._threads.soon()
        if len(plan) < LARGE:
            return plan
        if len(plan) > HUGE:
            return self._client.scatter(plan, hash=False)
        return self._calls.before_all("plan", same, plan)

    def call(self, call: Call) -> tuple[Any, concurrent.futures.Future[bytes]]:
        """Submit a lease."""
        self._threads.soon()
        policy, said = call.policy, dict[str, Any](priority=0)
        if policy is not None:
            said["priority"] = policy.priority
        if policy is not None and policy.where is not None:
            said["workers"] = [*policy.where.workers] or None
            said["resources"] = dict(policy.where.resources) or None
        return self._calls.add(call, **said)

    def lacks(self) -> str:
        """Ask whether there are workers."""
        with suppress(Exception):  # whoever calls Dask is told what is the matter
            if self._calls.lost() is None and not self._client.asynchronous and self._threads.again() == 0:
                return "Dask's scheduler has no worker"
        return ""

    def listen(self, hear: Callable[[bytes], object]) -> None:
        """It comes among Dask's events."""
        self._calls.listen(hear)

    def fetch(self, kept: Kept, timeout: float | None) -> tuple[bool, bytes]:
        """Have it pickled where it is."""
        answer: tuple[bool, bytes] = self._calls.before_all("fetch", packed, kept.left, kept.entry).result(timeout)
        return answer

    def cancel(self, report: concurrent.futures.Future[bytes]) -> None:
        """What has begun goes on, and is not listened to."""
        self._calls.cancel(report)

    def withdraw(self, report: concurrent.futures.Future[bytes]) -> bool:
        """Dask forgets a call that no worker has been given."""
        return self._calls.withdraw(report)

    def close(self) -> None:
        """End the client, and the cluster, that were made for us."""
        self._hands.close()
        self._calls.close()
        if self._close:
            self._client.close()
        if self._cluster is not None:
            self._cluster.close()
