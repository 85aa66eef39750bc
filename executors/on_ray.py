"""Graphs on Ray: leases are its tasks, what they leave are its objects.

Covers: calls as Ray tasks, its resources and its own second attempts, values that stay in its object store.
Does not cover: what they are calls of (executors.elsewhere), what becomes of them (executors.ray_calls), what runs over
there (executors.ray_tasks).
"""

from __future__ import annotations

import atexit
import os
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from lazygraph.errors import Closed, InvalidOption, MissingExtra
from lazygraph.executors.base import interrupted
from lazygraph.executors.datagrams import Ear
from lazygraph.executors.elsewhere import ElsewhereDriver
from lazygraph.executors.hands import Counted, Hands
from lazygraph.executors.ray_calls import Calls
from lazygraph.executors.ray_tasks import packed, run_call, teach_references

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Callable, Iterable

    from lazygraph.executors.elsewhere import Call, Kept
    from lazygraph.planning.plan import Plan

LARGE = 20_000
"""A packed plan of more bytes goes there once, and not with every call."""

NAMES = {"cpu": "num_cpus", "gpu": "num_gpus", "memory": "memory"}
"""What Ray has words of its own for; all other resources are its custom ones."""

DEATHS = 4
"""A task that so many workers have died of is not tried again: as everywhere."""


class RayExecutor(ElsewhereDriver):
    """Runs plans as Ray tasks; values stay in its object store until they are wanted here.

    Uses the Ray that this process has initialised.  If it has not, `ray.init(address, **init)` is called, which without
    an address finds a running Ray or starts one on this machine; closing the executor undoes that.
    `resources=` are Ray's: "cpu" (one, unless a task says otherwise), "gpu", "memory" in bytes, and custom ones.  Ray
    runs what a lost worker has not finished again by itself, but nothing that is `at_most_once`.  How far tasks are is
    heard as far as datagrams of Ray's workers reach this process.
    """

    capabilities = ElsewhereDriver.capabilities | {"resources"}

    def __init__(self, address: str | None = None, **init: Any) -> None:
        try:
            import ray
        except ImportError as error:
            raise MissingExtra("executor 'ray'", "ray") from error
        ours = not ray.is_initialized()
        if ours:
            ray.init(address, **{"include_dashboard": False, **init})
        elif address is not None or init:
            asked = ", ".join([*filter(None, [address]), *init])
            raise InvalidOption(f"RayExecutor({asked}): this process has initialised Ray already; say it to ray.init")
        self._ray = RaySite(ray, ours)
        super().__init__(self._ray, "ray")
        # Ray wants to end at exit, too.  What asked last is called first.
        atexit.register(_finish, weakref.ref(self), os.getpid())

    def check(self, plan: Plan) -> None:
        """Refuse also amounts that Ray cannot give anybody."""
        super().check(plan)
        for options in plan.shape.options:
            if options.resources:
                self._ray.asking(options.resources)


def _finish(ref: weakref.ref[RayExecutor], pid: int) -> None:
    executor = ref()
    if executor is not None and pid == os.getpid():
        executor.close(wait=not interrupted())


class RaySite:
    """Calls as tasks of the Ray that this process has initialised."""

    most = 256
    sends_ahead = True

    def __init__(self, ray: Any, ours: bool) -> None:
        """Make one; `ours` says whether Ray was initialised for us."""
        self._ray, self._ours, self._closed = ray, ours, False
        self._task = ray.remote(num_returns=2)(run_call)
        self._hands = Hands("lazygraph-ray")
        self._calls = Calls(ray, self._hands)
        self._cpus = Counted(self._count, self._hands)
        self._ear: Ear | None = None
        teach_references(ray)

    def _count(self) -> int:
        self._look()
        return max(1, int(self._ray.cluster_resources().get("CPU", 1)))

    @property
    def slots(self) -> int:
        """As many leases as there are CPUs, as many again to wait for their turn, and those that wait for other things.

        What nobody can give just now, or ever, must not keep the rest from running.
        """
        return 2 * self._cpus.number + self._calls.asking

    def place(self, plan: bytes) -> Any:
        """A large plan becomes an object."""
        self._look()
        self._cpus.soon()
        return plan if len(plan) < LARGE else self._ray.put(plan)

    def asking(self, resources: Iterable[tuple[str, float]], **asked: Any) -> Any:
        """Return the task that asks for these.  Raises `InvalidOption` for what Ray cannot give."""
        for name, amount in resources:
            if name.lower() in NAMES:
                asked[NAMES[name.lower()]] = amount
            else:
                asked.setdefault("resources", {})[name] = amount
            if amount > 1 and amount % 1 and name.lower() != "cpu":
                raise InvalidOption(
                    f"resources={{{name!r}: {amount:g}}}: of what is more than one Ray gives whole pieces"
                )
        return self._task.options(**asked)

    def call(self, call: Call) -> tuple[Any, concurrent.futures.Future[bytes]]:
        """Start a task whose two objects are what is left there, and its report."""
        self._look()
        policy, times = call.policy, DEATHS
        if policy is not None and policy.at_most_once:
            times = 1
        resources = policy.where.resources if policy is not None and policy.where is not None else ()
        task = self.asking(resources, name=call.name, max_retries=times - 1)
        where = self._ear.where if self._ear is not None else None
        report, left = task.remote(call.plan, call.lease, where, *call.inputs)
        return left, self._calls.add(call.name, report, left, call.inputs, times, bool(resources))

    def lacks(self) -> str:
        """Ray says by itself, and to the terminal, what it cannot give."""
        return ""

    def listen(self, hear: Callable[[bytes], object]) -> None:
        """Hear datagrams: Ray's workers reach the process whose tasks they run, and an actor would be a process."""
        with suppress(OSError):  # this process is not where Ray says that it is
            self._ear = Ear(self._ray.util.get_node_ip_address(), hear, "lazygraph-ray-hears")

    def fetch(self, kept: Kept, timeout: float | None) -> tuple[bool, bytes]:
        """Get it from the object store: the whole of it is copied, so that it is nobody else's."""
        self._look()
        return True, packed(self._ray.get(kept.left, timeout=timeout)[kept.entry])

    def cancel(self, report: concurrent.futures.Future[bytes]) -> None:
        """Ray drops a call that has not begun; one that has begun does not notice."""
        self._calls.cancel(report)

    def withdraw(self, report: concurrent.futures.Future[bytes]) -> bool:
        """See whether Ray drops a call at once; only one that may wait for long is worth asking for."""
        return self._calls.withdraw(report)

    def _look(self) -> None:
        """Ray would begin anew by itself if it were called after its end."""
        if self._closed or not self._ray.is_initialized():
            raise Closed("executor 'ray'" if self._closed else "Ray (by ray.shutdown())")

    def close(self) -> None:
        """End the Ray that was initialised for us."""
        if self._closed:
            return
        self._closed = self._ours
        self._calls.close()
        self._hands.close()
        if self._ear is not None:
            self._ear.close()
            self._ear = None
        if self._ours:
            self._ray.shutdown()
