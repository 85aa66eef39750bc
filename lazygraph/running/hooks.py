"""Functions of the user's that a worker calls: once before its first task, and around every task.

A decorator only marks a function; whoever imports its module for that (a worker, with `--preload` or `-A`) collects the
marked ones.  So nothing happens in a process that merely imports the module, and a worker without hooks pays nothing.

Covers: marking and collecting hooks, calling them around a task.
Does not cover: importing the modules (cli.serving), when a worker sets itself up (the same).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from time import perf_counter
from types import CoroutineType, FunctionType
from typing import TYPE_CHECKING, Any, TypeVar

from lazygraph.errors import InvalidOption
from lazygraph.running.attempt import Retry
from lazygraph.running.program import FusedStepError
from lazygraph.values.outcome import Failure, Outcome, Value

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from types import ModuleType

    from lazygraph.running.attempt import Attempt
    from lazygraph.running.program import Caller, Program

F = TypeVar("F", bound="Callable[..., Any]")

MARK = "__lazygraph_hooks__"
KINDS = ("worker_setup", "before_task", "after_task")
_ASYNC = 0x80 | 0x200
"""The flags of code that gives a coroutine, or an async generator (inspect.CO_COROUTINE and CO_ASYNC_GENERATOR)."""
_FAILURES = (Exception, SystemExit, KeyboardInterrupt)
"""What a hook may raise without changing anything: in a thread that runs tasks, only the hook itself can have.

Everything but the TaskCancelled with which somebody makes the attempt leave that it belongs to.
"""

_log = logging.getLogger(__name__)


def worker_setup(function: F) -> F:
    """Mark a function of no arguments, to be called once in every worker process that preloads its module.

    It is called before the worker takes its first task, and again in the process that replaces a dead worker.  What it
    raises ends the worker.
    """
    return _marked(function, "worker_setup")


def before_task(function: F) -> F:
    """Mark a function, to be called with a `TaskRecord` before every task in workers that preload its module.

    It runs in the task's thread.  What it raises is logged and changes nothing.
    """
    return _marked(function, "before_task")


def after_task(function: F) -> F:
    """Mark a function, to be called with a `TaskRecord` after every task in workers that preload its module.

    It runs in the task's thread (of an `async def` task on its event loop), before the result is reported.  What it
    raises is logged and changes nothing.
    """
    return _marked(function, "after_task")


def _marked(function: F, kind: str) -> F:
    _check(function, kind)
    vars(function)[MARK] = (*getattr(function, MARK, ()), kind)
    return function


def _check(function: Any, kind: str) -> None:
    if not isinstance(function, FunctionType):
        raise InvalidOption(f"{kind} wants a plain function, not {function!r}; write a `def` that calls it")
    if function.__code__.co_flags & _ASYNC:
        raise InvalidOption(f"{kind}: {function.__qualname__} is async, and nobody would await it; write a plain `def`")


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """What a hook is told of an attempt.

    `key` is that of the task's future, `attempt` counts from 1.  Before the task `outcome` is None; after it, it is a
    `Value` or a `Failure`, and `seconds` are those it took.  Of a task that asks to be tried again it is the failure,
    of one that is replaced what it returned.
    """

    key: str
    name: str
    attempt: int
    worker: str
    run_id: str = ""
    outcome: Outcome | None = None
    seconds: float = 0.0

    @property
    def exception(self) -> BaseException | None:
        """What the task raised; None when it raised nothing, or has not ended."""
        return self.outcome.exception if isinstance(self.outcome, Failure) else None


@dataclass(slots=True)
class Hooks:
    """The hooks of one worker, in the order in which they are called."""

    setups: list[Callable[[], Any]] = field(default_factory=list)
    before: list[Callable[[TaskRecord], Any]] = field(default_factory=list)
    after: list[Callable[[TaskRecord], Any]] = field(default_factory=list)

    def collect(self, module: ModuleType) -> None:
        """Add a module's hooks, in the order in which they stand there: marked functions, and those with the names.

        A function that several modules have is added once.
        """
        lists: dict[str, list[Any]] = dict(zip(KINDS, (self.setups, self.before, self.after), strict=True))
        for kind, function in _hooks_in(module):
            _check(function, kind)
            if function not in lists[kind]:
                lists[kind].append(function)

    @property
    def around_tasks(self) -> bool:
        """Whether anything is to be called for every task."""
        return bool(self.before or self.after)

    def ran(self, which: str, record: TaskRecord) -> None:
        """Call the hooks `before` or `after` a task; log what they raise."""
        for hook in self.before if which == "before" else self.after:
            try:
                hook(record)
            except _FAILURES:
                name = f"{hook.__module__}.{hook.__qualname__}"
                _log.exception("%s_task hook %s failed at %s; the task is not affected", which, name, record.key)


def _hooks_in(module: ModuleType) -> Iterator[tuple[str, Any]]:
    for name, value in list(vars(module).items()):
        if not isinstance(value, FunctionType):
            continue
        kinds: dict[str, None] = dict.fromkeys(getattr(value, MARK, ()))
        if name in KINDS and value.__module__ != __name__:  # not the decorator itself
            kinds[name] = None
        for kind in kinds:
            yield kind, value


class Hooked:
    """A Program whose tasks have hooks around them; in everything else the program itself."""

    __slots__ = ("_attempt", "_call", "_hooks", "_program", "_worker")

    def __init__(self, program: Program, hooks: Hooks, attempt: int, worker: str) -> None:
        self._program, self._hooks, self._attempt, self._worker = program, hooks, attempt, worker
        self._call = program.caller()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._program, name)

    def caller(self) -> Caller:
        """Return what calls tasks as `run` does."""
        return self.run

    def run(self, task: int, values: Any, attempt: Attempt | None = None) -> Any:
        """Call a task as `Program.run` does, and the hooks before and after it."""
        record = self.begin(task)
        began = perf_counter()
        try:
            value = self._call(task, values, attempt)
        except BaseException as error:
            self.end(record, began, error)
            raise
        if isinstance(value, CoroutineType):
            return self._awaited(value, record, began)
        self.end(record, began, None, value)
        return value

    async def _awaited(self, coroutine: Coroutine[Any, Any, Any], record: TaskRecord, began: float) -> Any:
        try:
            value = await coroutine
        except BaseException as error:
            self.end(record, began, error)
            raise
        self.end(record, began, None, value)
        return value

    def begin(self, task: int) -> TaskRecord:
        """Call the hooks before a task; return its record for `end`."""
        program = self._program
        name, _ = program.place_of(task, None)
        record = TaskRecord(program.key_of(task), name, self._attempt, self._worker, program.run_id)
        self._hooks.ran("before", record)
        return record

    def end(self, record: TaskRecord, began: float, error: BaseException | None, value: Any = None) -> None:
        """Call the hooks after a task that began at a moment of `perf_counter`."""
        seconds = perf_counter() - began
        outcome = Value(value) if error is None else _failure(record, _users(error))
        self._hooks.ran("after", replace(record, outcome=outcome, seconds=seconds))


def _failure(record: TaskRecord, error: BaseException) -> Failure:
    return Failure(record.name, record.key, record.attempt, error, worker=record.worker)


def _users(error: BaseException) -> BaseException:
    """Return what the task itself has raised."""
    if isinstance(error, FusedStepError) and error.__cause__ is not None:
        error = error.__cause__
    return error.reason if isinstance(error, Retry) else error
