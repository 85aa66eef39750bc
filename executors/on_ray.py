"""Graphs on Ray: leases are its tasks, what they leave are its objects.

Covers: calls as Ray tasks, its resources and its own second attempts, values that stay in its object store.
Does not cover: what they are calls of (executors.elsewhere).
"""

from __future__ import annotations

import atexit
import concurrent.futures
import copyreg
import os
import pickle
import signal
import threading
import time
import weakref
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from lazygraph.errors import Closed, InvalidOption, LostData, MissingExtra
from lazygraph.executors.base import interrupted
from lazygraph.executors.cluster.net import codec
from lazygraph.executors.datagrams import Ear, saying_to
from lazygraph.executors.elsewhere import ElsewhereDriver, GivenUp, Hands, RunnerGone
from lazygraph.executors.remote import program_of, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from lazygraph.executors.elsewhere import Call, Kept
    from lazygraph.planning.plan import Plan

LARGE = 20_000
"""A packed plan of more bytes goes there once, and not with every call."""

NAMES = {"cpu": "num_cpus", "gpu": "num_gpus", "memory": "memory"}
"""What Ray has words of its own for; all other resources are its custom ones."""

COUNTED_FOR = 1.0
"""Seconds for which it is taken as known how many CPUs there are."""

AT_ONCE = 0.1
"""Seconds within which Ray drops a call that it has not begun."""

LOOK = 0.5
"""Seconds between looks whether Ray was shut down."""

NEEDED = "Ray's workers need lazygraph, as it is here"
"""What to do where something is not found there that is not the user's."""

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
    sends_ahead = False
    """Ray (2.60) ends this process when a task that waits for its arguments is cancelled and they come after all: its
    reference counter's "Check failed: submitted_task_ref_count > 0"."""

    def __init__(self, ray: Any, ours: bool) -> None:
        """Make one; `ours` says whether Ray was initialised for us."""
        self._ray, self._ours, self._closed = ray, ours, False
        self._task = ray.remote(num_returns=2)(_run)
        self._hands = Hands("lazygraph-ray")
        self._count()
        self._withdrawing = threading.Lock()
        self._calls: dict[concurrent.futures.Future[bytes], Any] = {}
        self._session, self._wanted, self._over = _session_of(ray), threading.Event(), threading.Event()
        self._watcher: threading.Thread | None = None
        self._asking: set[concurrent.futures.Future[bytes]] = set()
        self._ear: Ear | None = None
        kinds = ray.exceptions
        self._deaths = (
            kinds.WorkerCrashedError,
            kinds.NodeDiedError,
            kinds.OutOfMemoryError,
            kinds.LocalRayletDiedError,
        )
        _teach_references(ray)

    def _count(self) -> None:
        self._cpus = max(1, int(self._ray.cluster_resources().get("CPU", 1)))
        self._counted = time.monotonic()

    def _count_again(self) -> None:
        with suppress(Exception):  # Ray has ended meanwhile: whoever calls it is told
            self._look()
            self._count()

    @property
    def slots(self) -> int:
        """As many leases as there are CPUs, as many again to wait for their turn, and those that wait for other things.

        What nobody can give just now, or ever, must not keep the rest from running.
        """
        return 2 * self._cpus + len(self._asking)

    def place(self, plan: bytes) -> Any:
        """A large plan becomes an object.  Runs have somebody look how many CPUs there are, which may come and go."""
        self._look()
        if time.monotonic() - self._counted > COUNTED_FOR:
            self._hands.call(self._count_again)
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
        future: concurrent.futures.Future[bytes] = concurrent.futures.Future()
        self._calls[future] = report
        self._have_watched()
        if resources:
            self._asking.add(future)
            future.add_done_callback(self._asking.discard)
        # Ray calls in a thread of its own, which must not wait for anything.
        report.future().add_done_callback(
            lambda done: self._hands.call(self._come, call.name, left, times, done, future)
        )
        return left, future

    def _have_watched(self) -> None:
        with self._withdrawing:
            if self._watcher is None:
                self._watcher = threading.Thread(target=self._watch, name="lazygraph-ray-watches", daemon=True)
                self._watcher.start()
        self._wanted.set()

    def _watch(self) -> None:
        """See whether Ray is still the same, as long as there are calls: of one that was shut down nothing comes."""
        while self._wanted.wait() and not self._over.is_set():
            self._wanted.clear()
            while self._calls and not self._over.wait(LOOK):
                if _session_of(self._ray) == self._session:
                    continue
                with self._withdrawing:
                    calls = list(self._calls)
                    self._calls.clear()
                for call in calls:
                    self._hands.call(call.set_exception, Closed("Ray (by ray.shutdown())"))

    def _come(self, name: str, left: Any, times: int, done: Any, future: concurrent.futures.Future[bytes]) -> None:
        """Take in what has come back."""
        with self._withdrawing:
            if self._calls.pop(future, None) is None:
                return
        error, kinds = done.exception(), self._ray.exceptions
        if error is None:
            future.set_result(done.result())
            return
        if isinstance(error, kinds.TaskCancelledError):
            future.cancel()
            return
        with suppress(Exception):
            self._look()
            self._ray.get(left, timeout=0)  # or Ray would print that nobody has looked at it
        why = f"{type(error).__name__}: {getattr(error, 'cause', None) or error}"
        if isinstance(error, kinds.ObjectLostError):
            error = LostData(f"an input of {name!r}, or of what was sent with it,", why)
        elif isinstance(error, self._deaths):
            error = RunnerGone(why, times)
        else:
            error = GivenUp(why, NEEDED if "lazygraph" in why else "")
        future.set_exception(error)

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
        head, *buffers = self._ray.get(kept.left, timeout=timeout)[kept.entry]
        return True, bytes(head) if not buffers else codec.dumps(pickle.loads(head, buffers=map(bytearray, buffers)))

    def cancel(self, report: concurrent.futures.Future[bytes]) -> None:
        """Ray drops a call that has not begun; one that has begun does not notice."""
        reference = self._calls.get(report)
        if reference is not None and not self._closed:
            self._ray.cancel(reference, recursive=False)

    def withdraw(self, report: concurrent.futures.Future[bytes]) -> bool:
        """See whether Ray drops a call at once; only one that may wait for long is worth asking for."""
        with self._withdrawing:
            reference = self._calls.get(report)
            if reference is None or report not in self._asking:
                return False
            self.cancel(report)
            if not self._ray.wait([reference], timeout=AT_ONCE)[0]:
                return False
            try:
                self._ray.get(reference)
            except self._ray.exceptions.TaskCancelledError:
                del self._calls[report]
                self._asking.discard(report)
                return True
            except Exception:  # it has ended otherwise
                return False
            return False

    def _look(self) -> None:
        """Ray would begin anew by itself if it were called after its end."""
        if self._closed or not self._ray.is_initialized():
            raise Closed("executor 'ray'" if self._closed else "Ray (by ray.shutdown())")

    def close(self) -> None:
        """End the Ray that was initialised for us."""
        if self._closed:
            return
        self._closed = self._ours
        self._over.set()
        self._wanted.set()
        self._hands.close()
        if self._ear is not None:
            self._ear.close()
            self._ear = None
        if self._ours:
            self._ray.shutdown()


def _session_of(ray: Any) -> str:
    """Return what this process is called by the Ray that it has initialised, "" by none; another one has another."""
    with suppress(Exception):  # it ends just now
        if ray.is_initialized():
            return str(ray.get_runtime_context().get_worker_id())
    return ""


def _teach_references(ray: Any) -> None:
    """See that references to objects, which users may give and return, open as such wherever they travel.

    What they refer to is held until the process that has sent one ends.
    """
    copyreg.pickle(ray.ObjectRef, lambda reference: (ray.cloudpickle.loads, (ray.cloudpickle.dumps(reference),)))


# -- over there ------------------------------------------------------------------------------------


def _run(plan: bytes, lease: bytes, ear: bytes | None, *inputs: Mapping[int, Sequence[Any]]) -> tuple[bytes, Any]:
    """Run a lease; return its report, and what it leaves: for each value its pickle, and buffers that are not copied.

    Not the values: one that cannot be pickled must fail its own task only, and Ray's pickle of an object whose class is
    of `__main__` would open as an object of another class.
    """
    import ray

    _teach_references(ray)
    left: dict[int, Sequence[Any]] = {}

    def leave(entry: int, value: Any) -> None:
        buffers: list[pickle.PickleBuffer] = []
        head = codec.dumps(value, buffers.append)
        left[entry] = [pickle.PickleBuffer(head), *buffers]

    # Ray would interrupt what it is asked to cancel.  (Not SIG_IGN: programs that tasks start would inherit it.)
    before = signal.signal(signal.SIGINT, lambda *_: None)
    say = saying_to(ear) if ear is not None else None
    try:
        program = program_of(plan, _name_of(os.getpid()))
        return run(program, lease, inputs=[_Opening(one) for one in inputs], leave=leave, say=say), left
    finally:
        signal.signal(signal.SIGINT, before)


@lru_cache(maxsize=1)
def _name_of(pid: int) -> str:
    """Return what a worker of Ray's is called: as in its own logs, by address and process."""
    import ray

    library: Any = ray
    return f"ray@{library.util.get_node_ip_address()}/{pid}"


class _Opening(dict[int, Any]):
    """What a lease has left: each value is opened when it is read."""

    def __init__(self, left: Mapping[int, Sequence[Any]]) -> None:
        self._left = left

    def __missing__(self, entry: int) -> Any:
        head, *buffers = self._left[entry]
        value = self[entry] = pickle.loads(head, buffers=buffers)
        return value
