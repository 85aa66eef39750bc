"""Seeing every call that an executor of this process makes, and making some of them go wrong.

An engine around the executor's own: each lease gets a program whose functions tell what they are called with.  Users'
functions are not touched, so a test sees what ran, not what a patched name would have run.

Of an isolated task, which runs in a child, the executor is told when it begins and what it comes to; what it was given
is known here.

Covers: executors whose tasks run in this process, what tasks of theirs compute, their isolated tasks.
Does not cover: executors of other processes, what an isolated task computes: there is no shared memory to note it in.
"""

from __future__ import annotations

from collections.abc import Coroutine
from contextlib import contextmanager
from copy import copy
from typing import TYPE_CHECKING, Any

from lazygraph.errors import InvalidOption
from lazygraph.executors.base import Engine
from lazygraph.executors.driver import Driver
from lazygraph.language.calls import name_of
from lazygraph.language.delayed import map_items, starmap_items
from lazygraph.planning.keeping import Kept
from lazygraph.running.attempt import Attempt
from lazygraph.running.observing import unobserved
from lazygraph.running.program import Program
from lazygraph.running.runner import Report
from lazygraph.testing.faults import Faults, WorkerKilled
from lazygraph.testing.recorder import Call, Recorder
from lazygraph.values.graph import Fused, Tables
from lazygraph.values.node import identity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lazygraph.executors.base import Executor, Work
    from lazygraph.running.program import Caller
    from lazygraph.values.graph import Step
    from lazygraph.values.node import Replacement


class Lookout:
    """What one test sees of an executor, and does to it."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.recorder, self.faults, self.now = Recorder(), Faults(), now


class _Seen:
    """Stands for a task's function in one lease: notes the call, lets go wrong what is to go wrong, and calls it."""

    def __init__(self, function: Callable[..., Any], name: str, program: _SeenProgram, own: bool = False) -> None:
        """Make one; `own`: calls go by this name, whatever their task is called."""
        self.function, self.__name__, self._program, self._own = function, name, program, own

    def __lazygraph_key__(self) -> Any:
        return self.function

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        call = self._program.began(self.__name__, args, kwargs, self._own)
        try:
            self._program.lookout.faults.strike(call.name, call.attempt)
            value = self.function(*args, **kwargs)
        except BaseException as error:
            call.ended, call.exception = self._program.moment(call), error
            raise
        if isinstance(value, Coroutine):
            return self._awaited(value, call)
        call.ended, call.value = self._program.moment(call), value
        return value

    async def _awaited(self, value: Coroutine[Any, Any, Any], call: Call) -> Any:
        __tracebackhide__ = True
        try:
            call.value = await value
        except BaseException as error:
            call.exception = error
            raise
        finally:
            call.ended = self._program.moment(call)
        return call.value


class _SeenMany:
    """Stands, in one lease, for what makes many calls of a function (`.map`, `.starmap`): each of them is seen."""

    def __init__(self, many: Callable[..., Any], program: _SeenProgram) -> None:
        self._many, self._program = many, program
        self.function = _itself(many)  # by which a bound task knows that it is one

    def __call__(self, function: Callable[..., Any], items: Any) -> Any:
        __tracebackhide__ = True
        return self._many(_Seen(function, name_of(function), self._program, own=True), items)


class _SeenProgram(Program):
    """A program for one lease, whose functions are seen.  `spent`: the virtual seconds that its calls have taken."""

    __slots__ = ("_key_of", "_program", "_task", "attempt", "lookout", "spent")

    def __init__(self, program: Program, attempt: int, lookout: Lookout, key_of: Callable[[str, int], str]) -> None:
        program = unobserved(program)  # who watches every call needs no moments of them
        for cls in type(program).__mro__:
            for name in getattr(cls, "__slots__", ()):
                setattr(self, name, getattr(program, name))
        self._program, self.attempt, self.lookout, self._key_of, self._task = program, attempt, lookout, key_of, 0
        self.spent = 0.0
        tables, names = program.tables, program.shape.names
        functions = tuple(map(self._seen, tables.functions, names))
        self.tables = Tables(functions, tables.constants, tables.templates)

    def _seen(self, function: Any, name: str) -> Any:
        if isinstance(function, Fused):
            return function
        if isinstance(function, Kept):
            return function.around(self._seen(function.function, name))
        if _itself(function) is map_items or _itself(function) is starmap_items:
            return _SeenMany(function, self)
        return function if _ours(function) else _Seen(function, name, self)

    def _continued(
        self, steps: Sequence[Step], numbers: Sequence[int], made: list[Any], first: int, values: Any
    ) -> Replacement:
        # With the functions themselves: what they become part of is a plan of its own, whose calls are seen then.
        plain, tables = copy(self._program), self._program.tables
        plain.tables = Tables(tuple(map(_itself, tables.functions)), tables.constants, tables.templates)
        return plain._continued(steps, numbers, made, first, values)

    def caller(self) -> Caller:
        call = super().caller()

        def seen(task: int, values: Any, attempt: Attempt | None = None) -> Any:
            self._task = task
            return call(task, values, attempt)

        return seen

    def began(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], own: bool = False) -> Call:
        """Note a call that begins."""
        if args and isinstance(args[0], Attempt):  # `bind=True`: not what the test gave
            args = args[1:]
        if not own and not isinstance(self.tables.functions[self.shape.function[self._task]], Fused):
            name = self.shape.name_of(self._task)
        key = self._key_of(name, self._task)
        call = Call(name, args, kwargs, self.attempt, key, self.lookout.now() + self.spent)
        self.spent += self.lookout.faults.seconds_of(name)
        self.lookout.recorder.calls.append(call)
        return call

    def moment(self, call: Call) -> float:
        """Return when a call has ended that ends now."""
        return max(self.lookout.now(), call.began + self.lookout.faults.seconds_of(call.name))


def spent_on(work: Work) -> float:
    """Return the virtual seconds that the calls of a lease have taken."""
    return work.program.spent if isinstance(work.program, _SeenProgram) else 0.0


def _itself(function: Any) -> Any:
    """Return the function that is looked at for changes of its inputs, or the function."""
    return function.function if type(function).__module__ == "lazygraph.running.mutation" else function


def _ours(function: Any) -> bool:
    """Whether a function stands in the graph for something else than what the user called."""
    home = getattr(_itself(function), "__module__", None) or ""
    ours = home.startswith("lazygraph.") and not home.startswith("lazygraph.testing.")
    return ours or _itself(function) is identity


def _given_to(program: Program, task: int, values: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return what a task that is no fused one is called with."""
    asking, tables = copy(unobserved(program)), program.tables
    asking.tables = Tables((_given,) * len(tables.functions), tables.constants, tables.templates)
    given: tuple[tuple[Any, ...], dict[str, Any]] = asking.run(task, values)
    return given


def _given(*args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return args, kwargs


class _SeenWork:
    """A lease on its way through the engine behind."""

    def __init__(self, work: Work, given: dict[int, _SeenWork]) -> None:
        self._work, self._given = work, given
        given[id(work)] = self
        self._course: Any = work.course  # type: ignore[attr-defined]  # a driver's lease knows its run

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


class _SeenHere(_SeenWork):
    """A lease that runs in this process: an isolated task too, of which an attempt is to go wrong."""

    isolated = False

    def __init__(self, work: Work, lookout: Lookout, given: dict[int, _SeenWork]) -> None:
        super().__init__(work, given)
        self.program = _SeenProgram(work.program, work.attempt, lookout, self._course.key_of)


class _SeenApart(_SeenWork):
    """A lease whose one task runs in a child: seen when the child has begun it, and when it has ended."""

    def __init__(self, work: Work, lookout: Lookout, given: dict[int, _SeenWork]) -> None:
        super().__init__(work, given)
        self._lookout = lookout
        self._call: Call | None = None

    def began(self, task: int) -> None:
        """The child has begun the task."""
        work, name = self._work, self._work.program.shape.name_of(task)
        if self._call is None:
            args, kwargs = _given_to(work.program, task, work.values)
            key = self._course.key_of(name, task)
            self._call = Call(name, args, kwargs, work.attempt, key, self._lookout.now())
            self._lookout.recorder.calls.append(self._call)
        if work.began is not None:
            work.began(task)

    def report(self, report: Report) -> None:
        """Note what the task has come to, and pass it on."""
        for task in report.done:
            self._ended(self._work.values[task], None)
        for broken in report.broken:
            self._ended(None, broken.exception)
        for _, plan in report.replaced:
            self._ended(plan, None)
        self._work.report(report)

    def lost(self, tasks: Sequence[int], suspect: int | None) -> None:
        """The child has died."""
        self._ended(None, WorkerKilled())
        self._work.lost(tasks, suspect)

    def _ended(self, value: Any, exception: BaseException | None) -> None:
        if self._call is not None:
            self._call.ended, self._call.value, self._call.exception = self._lookout.now(), value, exception


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
        """Have the engine behind run the lease."""
        seen: Any = self._seen(work)  # what it does not have itself is the lease's
        self.engine.start(seen)

    def _seen(self, work: Work) -> _SeenWork:
        apart = work.isolated and not getattr(self.engine, "simulates", False)
        if apart and not self.lookout.faults.strikes(work.program.shape.name_of(work.tasks[0]), work.attempt):
            return _SeenApart(work, self.lookout, self._given)
        return _SeenHere(work, self.lookout, self._given)

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
