"""The contract of executors (what users hold) and engines (what authors write).

Covers: `Executor`, `Engine`, capabilities, the check that refuses a plan before anything runs.
Does not cover: running a plan in this process (executors.driver) or on a cluster (executors.cluster).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Protocol, Self

from lazygraph.errors import UnsupportedByExecutor
from lazygraph.executors.current import enter, leave

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Sequence

    from lazygraph.planning.plan import Plan
    from lazygraph.running.futures import Future
    from lazygraph.running.program import Program
    from lazygraph.running.run import Run
    from lazygraph.running.runner import Report
    from lazygraph.values.node import External


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

    @abstractmethod
    def submit(self, plan: Plan) -> Run:
        """Begin to run a plan; return at once."""

    @abstractmethod
    def close(self) -> None:
        """Give back whatever is held.  Safe to call twice."""

    @abstractmethod
    def owns(self, external: External) -> bool:
        """Whether this executor holds a value, so that it can be an input where it is."""

    @abstractmethod
    def drop(self, run: Any, output: int) -> None:
        """Nobody holds a future any more.  Called by the collector: must not block."""

    def drop_all(self, run: Any) -> None:
        """Nobody holds any future of a run any more."""
        for output in range(len(run.plan.shape.outputs)):
            self.drop(run, output)

    def check(self, plan: Plan) -> None:
        """Raise `UnsupportedByExecutor` if the plan needs what this executor cannot do."""
        for need in plan.needs():
            if need.option not in self.capabilities:
                raise UnsupportedByExecutor(self.name, f"{need.option}=", need.node, need.origin)

    def __enter__(self) -> Self:
        enter(self)
        return self

    def __exit__(self, *exc_info: object) -> None:
        leave(self)
        self.close()


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
    def lender(self) -> Any:
        """Whom a task that waits gives its slot to (for `run_lease`)."""
        ...

    def send(self, stop: Callable[[], object] | None = None) -> tuple[list[int], list[int]]:
        """Take all tasks out, for a place from where none can be taken back; with them those whose values to bring.

        `stop` is called when some of them are not wanted any more: begin none, report what is left as skipped.
        """
        ...

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

    @abstractmethod
    def start(self, work: Work) -> None:
        """Run a lease, now or soon."""

    @abstractmethod
    def close(self) -> None:
        """End what runs the leases."""
