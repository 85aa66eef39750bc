"""What a test holds of the executor that it runs on: what has run there, and what is to go wrong.

Covers: executors of this process, the simulated one, a cluster of this machine.
Does not cover: fixtures (testing.plugin).
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lazygraph.errors import InvalidOption
from lazygraph.executors.current import enter, leave
from lazygraph.testing.recorder import FarRecorder, Recorder
from lazygraph.testing.reporting import KILLS, NOTES, VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lazygraph.executors.base import Executor
    from lazygraph.testing.faults import Faults
    from lazygraph.testing.sim import SimExecutor


class Rig:
    """An executor of this process as a test holds it: the default inside the test, and every call of it is seen."""

    def __init__(self, executor: Executor, faults: Faults, calls: Recorder) -> None:
        self.executor, self._faults, self.calls = executor, faults, calls

    def __repr__(self) -> str:
        return f"<{type(self).__name__} on {self.executor.name!r}: {len(self.calls)} calls>"

    def fail(
        self,
        name: str,
        attempt: int | tuple[int, ...] = 1,
        exception: BaseException | type[BaseException] | None = None,
    ) -> None:
        """Have an attempt (or several) of every call of `name` raise `exception` (default: `InjectedFault`).

        The test fails at its end when that has not happened.
        """
        self._faults.fail(name, attempt, exception)

    def kill_worker(self, name: str, attempt: int | tuple[int, ...] = 1) -> None:
        """Have the worker die that is about to make this attempt of every call of `name`.

        Here the executor is told so, and nobody dies: the task is run again as on a cluster, by another attempt.
        """
        self._faults.kill_worker(name, attempt)

    @property
    def missed(self) -> list[str]:
        """What was to go wrong and has not."""
        return [repr(fault) for fault in self._faults.missed]


class SimRig(Rig):
    """The simulated executor as a test holds it: besides, its time is the test's."""

    executor: SimExecutor

    @property
    def seed(self) -> int:
        """What the order is made of."""
        return self.executor.seed

    @property
    def now(self) -> float:
        """The virtual seconds since the test began."""
        return self.executor.clock.now()

    def lasts(self, name: str, seconds: float) -> None:
        """Have every call of `name` take so many virtual seconds from now on (default: none)."""
        self._faults.lasts(name, seconds)

    def held(self) -> AbstractContextManager[None]:
        """Inside, what is started waits for `advance`; at the end everything runs to its end."""
        return self.executor.held()

    def advance(self, seconds: float) -> None:
        """Let so many virtual seconds pass, and what is due in them run."""
        if seconds < 0:
            raise InvalidOption(f"advance({seconds!r}): time goes forwards only")
        self.executor.run(until=self.now + seconds)


@contextmanager
def seen(executor: Executor) -> Iterator[Rig]:
    """See what an executor of this process runs, and make it the default.  Raises `InvalidOption` for any other."""
    from lazygraph.testing.watching import Lookout, watch

    clock = getattr(executor, "_clock", None)
    with watch(executor, Lookout(clock.now if clock is not None else time.monotonic)) as lookout:
        enter(executor)
        try:
            yield Rig(executor, lookout.faults, lookout.recorder)
        finally:
            leave(executor)


@contextmanager
def simulated(seed: int, slots: int = 8) -> Iterator[SimRig]:
    """Open a simulated executor and make it the default."""
    from lazygraph.testing.sim import SimExecutor
    from lazygraph.testing.watching import Lookout, spent_on, watch

    executor = SimExecutor(seed, slots)
    lookout = Lookout(executor.clock.now)
    executor.seconds_of = spent_on
    with executor, watch(executor, lookout):
        yield SimRig(executor, lookout.faults, lookout.recorder)


class ClusterRig:
    """A cluster of this machine as a test holds it.  `client` is the test's own, and the default inside it."""

    def __init__(self, shared: SharedCluster, client: Any) -> None:
        self.cluster, self.client = shared.cluster, client
        self.calls: Recorder = FarRecorder(shared.folder / NOTES)
        self._kills = shared.folder / KILLS
        self._wanted: list[tuple[str, int]] = []

    def __repr__(self) -> str:
        return f"<ClusterRig on {self.cluster!r}>"

    def kill_worker(self, name: str, attempt: int | tuple[int, ...] = 1) -> None:
        """Have the worker's process die that is about to make this attempt of every call of `name`.

        The cluster starts another.  The test fails at its end when that has not happened.
        """
        self._wanted += [(name, one) for one in (attempt if isinstance(attempt, tuple) else (attempt,))]
        self._kills.write_text(json.dumps(self._wanted), encoding="utf-8")

    def fail(self, *args: Any, **kwargs: Any) -> None:
        """Refused: a worker is another process, which a test cannot reach into but to kill it."""
        raise InvalidOption(
            "on a cluster a test can kill workers, not make attempts fail; use lazygraph_sim or lazygraph_sync for that"
        )

    @property
    def missed(self) -> list[str]:
        """What was to go wrong and has not."""
        ran = {(call.name, call.attempt) for call in self.calls if call.ended is None} if self._wanted else set()
        return [f"kill the worker at attempt {n} of {name!r}" for name, n in self._wanted if (name, n) not in ran]

    def done(self) -> None:
        """Kill no more."""
        self._kills.unlink(missing_ok=True)


class SharedCluster:
    """A cluster for many tests: started when the first asks for it, with workers that tell what they run."""

    def __init__(self, n_workers: int = 2) -> None:
        self._n_workers = n_workers
        self._cluster: Any = None
        self._client: Any = None

    @property
    def cluster(self) -> Any:
        """The `LocalCluster`."""
        if self._cluster is None:
            from lazygraph.executors.cluster.local import LocalCluster

            self._temporary = tempfile.TemporaryDirectory(prefix="lazygraph-testing-")
            os.environ[VARIABLE] = self._temporary.name
            self._cluster = LocalCluster(self._n_workers, preload="lazygraph.testing.reporting")
        return self._cluster

    @property
    def folder(self) -> Path:
        """Where its workers leave their notes."""
        _ = self.cluster
        return Path(self._temporary.name)

    @property
    def executor(self) -> Any:
        """The executor of a client of it (what stands for an executor is asked for this)."""
        if self._client is None or self._client.executor.closed:
            self._client = self.client()
        return self._client.executor

    def client(self) -> Any:
        """Open a client of it that is nobody's default."""
        from lazygraph.executors.cluster.net.client import Client

        client = Client(self.cluster, set_as_default=False)
        client.wait_for_workers(self._n_workers)
        return client

    @contextmanager
    def rig(self) -> Iterator[ClusterRig]:
        """Open a client for one test and make it the default."""
        with self.client() as client:
            rig = ClusterRig(self, client)
            try:
                yield rig
            finally:
                rig.done()

    def close(self) -> None:
        """End what was started.  Safe to call twice."""
        if self._client is not None:
            self._client.close()
        if self._cluster is not None:
            self._cluster.close()
            with suppress(KeyError):
                del os.environ[VARIABLE]
            self._temporary.cleanup()
        self._client = self._cluster = None
