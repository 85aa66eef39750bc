"""Seeing every call that an executor of this process makes, and making some of them go wrong.

An engine around the executor's own: each lease gets a program whose functions tell what they are called with.  Users'
functions are not touched, so a test sees what ran, not what a patched name would have run.

Covers: executors whose tasks run in this process.
Does not cover: tasks in other processes, isolated ones among them: there is no shared memory to note them in.
"""

from __future__ import annotations

from collections.abc import Coroutine
from contextlib import contextmanager
from copy import copy
from typing import TYPE_CHECKING, Any

from lazygraph.errors import InvalidOption
from lazygraph.executors.base import Engine
from lazygraph.executors.driver import Driver
from lazygraph.running.attempt import Attempt
from lazygraph.running.program import Program
from lazygraph.running.runner import Report
from lazygraph.testing.faults import Faults, WorkerKilled
from lazygraph.testing.recorder import Call, Recorder
from lazygraph.values.graph import Fused, Tables
from lazygraph.values.node import identity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lazygraph.executors.base import Executor, Work
    from lazygraph.values.node import Replacement


class Lookout:
    """What one test sees of an executor, and does to it."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.recorder, self.faults, self.now = Recorder(), Faults(), now


class _Seen:
    """Stands for a task's function in one lease: notes the call, lets go wrong what is to go wrong, and calls it."""

    def __init__(self, function: Callable[..., Any], name: str, program: _SeenProgram) -> None:
        self.function, self.__name__, self._program = function, name, program

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        call = self._program.began(self.__name__, args, kwargs)
        lookout = self._program.lookout
        try:
            lookout.faults.strike(call.name, call.attempt)
            value = self.function(*args, **kwargs)
        except BaseException as error:
            call.ended, call.exception = lookout.now(), error
            raise
        if isinstance(value, Coroutine):
            return self._awaited(value, call)
        call.ended, call.value = lookout.now(), value
        return value

    async def _awaited(self, value: Coroutine[Any, Any, Any], call: Call) -> Any:
        __tracebackhide__ = True
        lookout = self._program.lookout
        try:
            call.value = await value
        except BaseException as error:
            call.exception = error
            raise
        finally:
            call.ended = lookout.now()
        return call.value


class _SeenProgram(Program):
    """A program for one lease, whose functions are seen."""

    __slots__ = ("_key_of", "_program", "_task", "attempt", "lookout")

    def __init__(self, program: Program, attempt: int, lookout: Lookout, key_of: Callable[[str, int], str]) -> None:
        for cls in type(program).__mro__:
            for name in getattr(cls, "__slots__", ()):
                setattr(self, name, getattr(program, name))
        self._program, self.attempt, self.lookout, self._key_of, self._task = program, attempt, lookout, key_of, 0
        tables, names = program.tables, program.shape.names
        functions = tuple(
            f if isinstance(f, Fused) or _ours(f) else _Seen(f, name, self)
            for f, name in zip(tables.functions, names, strict=True)
        )
        self.tables = Tables(functions, tables.constants, tables.templates)

    def _continued(self, value: Replacement, fused: Fused, first: int, numbers: Sequence[int]) -> Replacement:
        # With the functions themselves: what they become part of is a plan of its own, whose calls are seen then.
        plain, tables = copy(self._program), self._program.tables
        plain.tables = Tables(tuple(map(_itself, tables.functions)), tables.constants, tables.templates)
        return plain._continued(value, fused, first, numbers)

    def run(self, task: int, values: Any, attempt: Attempt | None = None) -> Any:
        self._task = task
        return super().run(task, values, attempt)

    def began(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        """Note a call that begins."""
        if args and isinstance(args[0], Attempt):  # `bind=True`: not what the test gave
            args = args[1:]
        if not isinstance(self.tables.functions[self.shape.function[self._task]], Fused):
            name = self.shape.name_of(self._task)
        call = Call(name, args, kwargs, self.attempt, self._key_of(name, self._task), self.lookout.now())
        self.lookout.recorder.calls.append(call)
        return call


def _itself(function: Any) -> Any:
    """Return the function that is looked at for changes of its inputs, or the function."""
    return function.function if type(function).__module__ == "lazygraph.running.mutation" else function


def _ours(function: Any) -> bool:
    """Whether a function stands in the graph for something else than what the user called."""
    home = getattr(_itself(function), "__module__", None) or ""
    ours = home.startswith("lazygraph.") and not home.startswith("lazygraph.testing.")
    return ours or _itself(function) is identity


class _SeenWork:
    """A lease on its way through the engine behind."""

    def __init__(self, work: Work, lookout: Lookout, given: dict[int, _SeenWork]) -> None:
        self._work, self._given = work, given
        given[id(work)] = self
        course: Any = work.course  # type: ignore[attr-defined]  # a driver's lease knows its run
        self.program = _SeenProgram(work.program, work.attempt, lookout, course.key_of)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._work, name)

    def report(self, report: Report) -> None:
        """Pass on what has been done; a worker that was to die has reported nothing of what it was doing."""
        killed = [broken for broken in report.broken if isinstance(broken.exception, WorkerKilled)]
        report.broken = [broken for broken in report.broken if broken not in killed]
        self._work.report(report)
        if killed:
            tasks = [broken.task for broken in killed]
            while self._work.tasks:
                tasks.append(self._work.tasks.popleft())
            self._work.lost(tasks, tasks[0])

    def finished(self) -> None:
        """The engine behind is done with it."""
        self._given.pop(id(self._work), None)
        self._work.finished()

    def abandoned(self) -> None:
        """The program was interrupted."""
        self._given.pop(id(self._work), None)
        self._work.abandoned()


class WatchedEngine(Engine):
    """The engine of an executor, seen by a lookout."""

    def __init__(self, engine: Engine, lookout: Lookout) -> None:
        self.engine, self.lookout = engine, lookout
        self._given: dict[int, _SeenWork] = {}  # leases that run, by the one that the driver has

    def around(self, engine: Engine) -> WatchedEngine:
        """Return another engine, seen by the same lookout."""
        return WatchedEngine(engine, self.lookout)

    @property
    def slots(self) -> int:  # type: ignore[override]
        """As many as the engine behind has."""
        return self.engine.slots

    def start(self, work: Work) -> None:
        """Have the engine behind run the lease.  What runs in a child process cannot be seen from here."""
        if work.isolated and not getattr(self.engine, "simulates", False):
            self.engine.start(work)
            return
        seen: Any = _SeenWork(work, self.lookout, self._given)  # what it does not have itself is the lease's
        self.engine.start(seen)

    def stop(self, work: Work, task: int, timeout: float = 5.0) -> bool:
        """Have the engine behind stop a task."""
        seen: Any = self._given.get(id(work), work)
        return self.engine.stop(seen, task, timeout)

    def close(self) -> None:
        """End the engine behind."""
        self.engine.close()


@contextmanager
def watch(executor: Executor, lookout: Lookout) -> Iterator[Lookout]:
    """See every call that an executor makes inside; yield the lookout, or the one that sees it already.

    Raises `InvalidOption` where its tasks run in other processes.
    """
    if not isinstance(executor, Driver) or not _here(executor):
        raise InvalidOption(
            f"executor {executor.name!r} runs its tasks in other processes, where no call can be recorded and no fault "
            f"be made; use lazygraph_sim or lazygraph_sync, or lazygraph_cluster for what a cluster can tell"
        )
    behind = executor._engine
    if isinstance(behind, WatchedEngine):
        yield behind.lookout
        return
    executor._engine = WatchedEngine(behind, lookout)
    try:
        yield lookout
    finally:
        executor._engine = behind


def _here(executor: Driver) -> bool:
    return executor.name in ("sync", "threads", "sim") or bool(getattr(executor, "_here", False))
