"""The contract of executors (what users hold) and engines (what authors write).

Covers: `Executor`, `Engine`, capabilities, the check that refuses a plan before anything runs.
Does not cover: running a plan in this process (executors.driver) or on a cluster (executors.cluster).
"""

from __future__ import annotations

import atexit
import os
import sys
import weakref
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Protocol, Self

from lazygraph.errors import UnsupportedByExecutor
from lazygraph.executors.current import enter, leave

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Mapping, Sequence

    from lazygraph.executors.standard import StandardExecutor
    from lazygraph.planning.plan import Need, Plan
    from lazygraph.running.futures import Future
    from lazygraph.running.policy import Policy
    from lazygraph.running.program import Program
    from lazygraph.running.run import Run
    from lazygraph.running.runner import Report
    from lazygraph.values.node import External
    from lazygraph.values.status import Status


OF_EVERY_MIND = frozenset(
    {
        "retries",
        "bind",
        "rate_limit",
        "limit",
        "concurrency",
        "queue",
        "priority",
        "countdown",
        "eta",
        "expires",
        "at_most_once",
        "cache",
    }
)
"""Options that the Frontier sees to, or the plan itself (`cache`), whatever runs the leases."""

IN_A_CHILD = frozenset({"timeout", "isolated"})
"""Options that need a process which can be killed."""

CAPABILITIES: Mapping[str, frozenset[str]] = {
    "sync": OF_EVERY_MIND | IN_A_CHILD,
    "threads": OF_EVERY_MIND | IN_A_CHILD,
    "processes": OF_EVERY_MIND | IN_A_CHILD,
    "pool": OF_EVERY_MIND,
    "cluster": OF_EVERY_MIND | IN_A_CHILD | {"resources", "workers"},
    "dask": (OF_EVERY_MIND | {"resources", "workers"}) - {"at_most_once"},
    "ray": OF_EVERY_MIND | {"resources"},
    "celery": OF_EVERY_MIND,
}
"""Which executor honours which options."""


class Executor(ABC):
    """Runs plans.  A context manager; inside it is the context's default executor."""

    name: str = "executor"
    capabilities: frozenset[str] = frozenset()
    """Names of the task options that are honoured; a plan that asks for others is refused."""

    @property
    def detached(self) -> set[Run | Future[Any]]:
        """Runs and futures that go on although nobody may hold them; each leaves when it has ended."""
        made: set[Run | Future[Any]] = vars(self).setdefault("_detached", set())
        return made

    shares_memory: bool = False
    """Whether tasks run in this process: what one of them changes, everybody sees."""

    tells_early: bool = False
    """Whether it is known that a task has ended while another one takes long that was handed out with it."""

    n_slots: int | None = None
    """How many tasks run at once, None when that is not known."""

    prefix: str = ""
    """What the labels of its runs begin with: the keys of a cluster's clients differ by it."""

    @abstractmethod
    def submit(self, plan: Plan) -> Run:
        """Begin to run a plan; return at once."""

    @abstractmethod
    def close(self) -> None:
        """Give back whatever is held.  Safe to call twice."""

    @abstractmethod
    def owns(self, external: External) -> bool:
        """Whether this executor holds a value, so that it can be an input where it is."""

    def status_of(self, run: Run, output: int) -> Status | None:
        """Return how far an output is that has not ended, None when that is not known here; never waits."""
        return None

    @abstractmethod
    def drop(self, run: Any, output: int) -> None:
        """Nobody holds a future any more.  Called by the collector: must not block."""

    def drop_all(self, run: Any) -> None:
        """Nobody holds any future of a run any more."""
        for output in range(len(run.plan.shape.outputs)):
            self.drop(run, output)

    def keep(self, run: Run) -> None:
        """A run is detached.  Where it runs in this process nothing else can have it: it is finished at exit."""
        if not run.done():
            self.close_at_exit()

    def close_at_exit(self) -> None:
        """See that the interpreter does not exit before this has been closed, if somebody still has it by then."""
        if "_finishing" not in vars(self):
            self._finishing = True
            atexit.register(_finish, weakref.ref(self), os.getpid())

    def get_executor(
        self, initializer: Callable[..., object] | None = None, initargs: tuple[Any, ...] = (), **options: Any
    ) -> StandardExecutor:
        """Return this as a `concurrent.futures.Executor`; `options` are those of every call.

        Every keyword of its `submit` reaches the function, and its calls go on when nobody holds their futures.
        `initializer(*initargs)` is called before the first call of each thread that shares this process's memory, else
        of each process; when it fails the calls raise `concurrent.futures.BrokenExecutor`.  Shutting it down does not
        close this.  Raises `UnknownOption`.
        """
        from lazygraph.executors.standard import StandardExecutor, starter  # only those pay for it who want one
        from lazygraph.language.calls import site_of

        start = starter(self, options, site_of(sys._getframe(1)))
        return StandardExecutor(
            start,
            f"get_executor() of {self.name!r}",
            self.detached,
            self,
            here=self.shares_memory,
            initializer=initializer,
            initargs=initargs,
        )

    def accepted(self, run: Run, timeout: float | None) -> None:
        """Return when whoever computes a run has it; raises TimeoutError."""
        return

    def forget(self, run: Run, output: int) -> None:
        """Drop a future, and give up its value whoever else keeps it."""
        self.drop(run, output)

    def reference(self, future: Future[Any]) -> tuple[Any, ...]:
        """Return what a future pickles to; a TypeError where no other process could have its value."""
        raise TypeError(f"{future!r} cannot be pickled; give it to a call as an argument instead")

    def check(self, plan: Plan) -> None:
        """Raise `UnsupportedByExecutor` if the plan needs what this executor cannot do."""
        for need in plan.needs():
            if need.option not in self.capabilities:
                raise unsupported(self.name, need)

    def __enter__(self) -> Self:
        enter(self)
        return self

    def __exit__(self, *exc_info: object) -> None:
        leave(self)
        self.close()


def interrupted() -> bool:
    """Whether the program ends by Ctrl-C: then nothing is waited for."""
    return getattr(sys, "last_type", None) is KeyboardInterrupt


def _finish(ref: weakref.ref[Executor], pid: int) -> None:
    executor = ref()  # whoever still has something to do is held by that
    if executor is not None and pid == os.getpid() and not interrupted():
        executor.close()


def unsupported(name: str, need: Need) -> UnsupportedByExecutor:
    """Return the error that refuses a plan, with the executors that would not."""
    others = [other for other, honoured in CAPABILITIES.items() if need.option in honoured]
    return UnsupportedByExecutor(name, f"{need.option}=", need.node, need.origin, others)


class Work(Protocol):
    """A lease on its way through an engine: run `program`'s tasks from the left of `tasks` until there are none.

    Values go into `values`, reports to `report`; `finished` is called once, after the last.
    """

    @property
    def program(self) -> Program: ...

    @property
    def tasks(self) -> deque[int]: ...

    @property
    def values(self) -> Any: ...

    @property
    def attempt(self) -> int:
        """Which attempt of its tasks this is, from 1."""
        ...

    @property
    def awaits(self) -> Mapping[int, Any] | None:
        """Inputs that are under way in the engine, and by what name `under_way` was told of each."""
        ...

    @property
    def outside(self) -> Sequence[int]:
        """After `send`: those of its tasks that are read by others of the run."""
        ...

    @property
    def given_up(self) -> bool:
        """Whether nobody waits for any task of it any more."""
        ...

    @property
    def policy(self) -> Policy | None:
        """What was said of its one task besides its call; tasks with such share no lease."""
        ...

    @property
    def isolated(self) -> bool:
        """Whether its one task must run in a child process of its own."""
        ...

    @property
    def timeout(self) -> float | None:
        """Seconds after which its one task is to be ended; only isolated ones have it."""
        ...

    @property
    def began(self) -> Callable[[int], None] | None:
        """To be called when a task begins, if anybody needs to know (for `run_lease`)."""
        ...

    @property
    def told(self) -> Callable[[int, float, float | None], None] | None:
        """To be called with a task and how much of how much it has done (for `run_lease`)."""
        ...

    @property
    def lender(self) -> Any:
        """Whom a task that waits gives its slot to (for `run_lease`)."""
        ...

    def send(
        self, stop: Callable[[], object] | None = None, back: Callable[[int | None], list[int]] | None = None
    ) -> tuple[list[int], list[int]]:
        """Take all tasks out, to be run in another place; with them those whose values to bring.

        `stop` is called when some of them are not wanted any more: begin none, report what is left as skipped.  `back`
        is called, where it is certain what has begun, with a task (None: any) to be taken back with what stands behind
        it: it returns what has not begun and never will, [] if the task has.  It must not wait, nor call the work.
        """
        ...

    def under_way(self, name: Any) -> None:
        """Tell by what name what reads from this lease can wait for it where it is, and so be handed out too."""

    def report(self, report: Report, /) -> None:
        """Tell what has been done since the last report."""

    def lost(self, tasks: Sequence[int], suspect: int | None) -> None:
        """Tell that the runner of these tasks died, probably while it ran `suspect`; `finished` is still called."""

    def finished(self) -> None:
        """Tell that nothing more of this lease will be run here."""

    def abandoned(self) -> None:
        """Tell, instead of `finished`, that the program was interrupted: nothing more of this run is wanted."""


class Engine(ABC):
    """Where a driver's leases run; `slots` of them at once."""

    slots: int = 1

    rows: int = 0
    """Plans of so many tasks begin with one runner, and go on so if their tasks are tiny (0: none; see `Handing`)."""

    tells_early: bool = False
    """Whether what has ended in a lease is known while another task of it takes long."""

    @abstractmethod
    def start(self, work: Work) -> None:
        """Run a lease, now or soon."""

    def tell_early(self) -> None:
        """Have that reported which has ended in leases whose running tasks take long, unless it is anyway."""
        return

    def stop(self, work: Work, task: int, timeout: float = 5.0) -> bool:
        """Make a task of this lease that runs leave; return whether it has left within `timeout` seconds."""
        return False

    @abstractmethod
    def close(self) -> None:
        """End what runs the leases."""
