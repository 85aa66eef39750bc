"""What a client asks of its cluster, and tells its workers: who is there, who has what, which queues they take.

Covers: who_has and has_what, workers, their queues, a function run on each of them.
Does not cover: calls and their futures (net.client).
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, NoReturn

from lazygraph.errors import InvalidOption
from lazygraph.language.delayed import delayed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lazygraph.executors.cluster.net.executor import ClusterExecutor
    from lazygraph.running.futures import Future

FIRST = 1_000_000
"""The priority of what is run on every worker: before whatever waits there."""


class Looking:
    """The part of a client that is about the cluster itself."""

    if TYPE_CHECKING:

        @property
        def executor(self) -> ClusterExecutor:
            """The cluster as an executor."""
            ...

        def flush(self) -> None:
            """Send the calls that have been gathered."""

        def _start(self, nodes: Sequence[Any], detach: bool = False) -> list[Future[Any]]: ...

    def who_has(self, futures: Sequence[Future[Any]]) -> dict[str, list[str]]:
        """Return, for each future's key, the addresses of the workers that have its value."""
        self.flush()
        return dict(zip([f.key for f in futures], self.executor.state(futures).holders, strict=True))

    def has_what(self, futures: Sequence[Future[Any]]) -> dict[str, list[str]]:
        """Return, for each worker's address, the keys of those of the futures whose values it has."""
        self.flush()
        answer = self.executor.state(futures)
        found: dict[str, list[str]] = {address: [] for address in answer.workers}
        for future, addresses in zip(futures, answer.holders, strict=True):
            for address in addresses:
                found.setdefault(address, []).append(future.key)
        return found

    def scheduler_info(self) -> dict[str, Any]:
        """Return the scheduler's address, its workers (by address: name, threads, tasks outstanding) and its runs."""
        state = self.executor.state(every=True)
        return {"address": self.executor.address, "workers": dict(state.workers), "runs": state.runs}

    def wait_for_workers(self, n: int, timeout: float = 30.0) -> None:
        """Return when at least `n` workers have joined; TimeoutError after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        pause = threading.Event()
        while len(found := self.executor.state().workers) < n:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(found)} of {n} workers have joined within {timeout} s")
            pause.wait(0.02)

    def add_queue(self, queue: str, workers: str | Sequence[str] | None = None) -> None:
        """Have workers (names or addresses; default: all there are) take tasks of one more queue."""
        self._set_queues([queue], [], workers)

    def remove_queue(self, queue: str, workers: str | Sequence[str] | None = None) -> None:
        """Have workers (names or addresses; default: all there are) take no more tasks of a queue."""
        self._set_queues([], [queue], workers)

    def _set_queues(self, add: list[str], remove: list[str], workers: str | Sequence[str] | None) -> None:
        meant = [workers] if isinstance(workers, str) else list(workers or ())
        if workers is not None and not meant:
            return
        if not self.executor.set_queues(meant, add, remove):
            self._no_such_worker(meant)

    def _no_such_worker(self, meant: list[str]) -> NoReturn:
        there = [worker["name"] for worker in self.executor.state().workers.values()]
        raise InvalidOption(f"no worker is called {' or '.join(meant) or 'anything'}; those that are there: {there}")

    def drain(self, workers: str | Sequence[str], timeout: float | None = None) -> None:
        """Have workers (names or addresses) leave, and return when they have.

        They get nothing more, hand over what has not begun, finish what runs, and give their values to others; no task
        fails for it.  A `LocalCluster` starts others in their place.  TimeoutError after `timeout` seconds: they leave
        none the less when they can.
        """
        meant = [workers] if isinstance(workers, str) else list(workers)
        if meant and not self.executor.drain(meant, timeout):
            self._no_such_worker(meant)

    def run(
        self, function: Callable[..., Any], *args: Any, workers: str | Sequence[str] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Call `function` once on every worker (or on these, by name or address); return what each gave, by address.

        A call takes a slot of its worker as any task does, and is the next thing there to get one.  The first exception
        is raised.
        """
        there = self.executor.state().workers
        meant = None if workers is None else {workers} if isinstance(workers, str) else set(workers)
        chosen = [at for at, worker in there.items() if meant is None or {at, worker["name"]} & meant]
        called = {at for at in chosen for at in (at, there[at]["name"])}
        if meant is not None and not meant <= called:
            raise InvalidOption(f"run(workers=): no worker is called {' or '.join(sorted(meant - called))}")
        call = delayed(function, pure=False)
        nodes = [
            call.options(workers=[at], queue=there[at]["queues"][0], priority=FIRST)(*args, **kwargs)
            for at in chosen
            if there[at]["queues"]
        ]
        futures = self._start(nodes)
        return dict(zip(chosen, [future.result() for future in futures], strict=True))
