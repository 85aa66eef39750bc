"""What an observed run has seen of its tasks: when each was handed out, had its inputs, began and ended, and where.

Only runs that were started with `observe=True` pay for it: one or two microseconds a task.  Moments are those of
`perf_counter` where they were taken; `Sights.shifts` says how far another machine's clock is from this one's.

Covers: noting moments, in this process and in others, and bringing them to one clock; telling them in order.
Does not cover: what follows from them (showing.analysis).
"""

from __future__ import annotations

from threading import current_thread
from time import perf_counter
from types import CoroutineType
from typing import TYPE_CHECKING, Any, NamedTuple

from lazygraph.running.mutation import innermost
from lazygraph.running.spans import Row as Row
from lazygraph.running.spans import Seen as Seen
from lazygraph.running.spans import Span as Span
from lazygraph.values.graph import Fused
from lazygraph.values.node import Replacement

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from lazygraph.running.attempt import Attempt
    from lazygraph.running.program import Caller, Program
    from lazygraph.values.graph import Shape, Tables

WELL, FAILED, REPLACED = range(3)
"""How an attempt has ended: with a value, with an exception, with what is to be done in its place."""

AWAITED = "awaited"
"""Stands for the thread of what was awaited on an event loop: meanwhile it held no slot."""


CHILD = "child"
"""Stands for the thread of an isolated task on a worker."""


class Sight:
    """One lease of an observed run, as far as it is known here.

    `part` is the run of its tasks: "" for the run itself, else what stands for a task of it.  `handed` is when it was
    handed out (None: others do that); `arrived` and `ready` are by the worker's clock.
    """

    __slots__ = ("arrived", "attempt", "handed", "part", "ready", "rows", "sent", "worker")

    def __init__(self, part: str, attempt: int, handed: float | None) -> None:
        self.part, self.attempt, self.handed = part, attempt, handed
        self.worker = ""
        self.arrived: float | None = None
        self.ready: float | None = None
        self.sent: list[tuple[float, float]] = []  # when something was told of it, and when that came here
        self.rows: list[Row] = []

    def take(self, seen: Seen, now: float) -> None:
        """Take in what has come from where it runs."""
        self.worker, self.arrived, self.ready = seen.worker, seen.arrived, seen.ready
        self.sent.append((seen.sent, now))
        self.rows += seen.spans

    @property
    def spans(self) -> list[Span]:
        """The attempts that are known of; a runner may be adding to them."""
        return list(map(Span._make, list(self.rows)))


class Sights:
    """All that is seen of one run."""

    def __init__(self, shape: Shape, tables: Tables) -> None:
        self.began = perf_counter()
        self.leases: list[Sight] = []
        self.parts: dict[str, Mapping[int, str]] = {}
        """Names of tasks of what stands for tasks, by `Sight.part`."""
        self.functions = functions_of(tables)
        """What the functions of the run's own plan are known by, by row."""
        self.known: Any = None
        """What was known of functions before the run (showing.estimating)."""
        self.slots: int | None = None
        self.noted = False

    def handed(self, program: Program, shape: Shape, part: str, tasks: Sequence[int], attempt: int) -> Any:
        """Note that a lease is handed out now; return the program that is to run it."""
        sight = Sight(part, attempt, perf_counter())
        if part:
            self.name(part, {task: shape.name_of(task) for task in tasks})
        self.leases.append(sight)
        return observed(program, sight)

    def told(self, part: str, attempt: int, names: Mapping[int, str], seen: Seen) -> None:
        """Take in what a worker tells of a lease that somebody else has handed out."""
        sight = Sight(part, attempt, None)
        sight.take(seen, perf_counter())
        if part:  # before there is anything of it: others may be looking
            self.name(part, names)
        self.leases.append(sight)

    def name(self, part: str, names: Mapping[int, str]) -> None:
        """Keep the names of tasks that are not in the run's own plan."""
        self.parts[part] = {**self.parts.get(part, {}), **names}

    def shifts(self) -> dict[str, float]:
        """Return by worker what is to be added to its moments to have them by this process's clock.

        0.0 where both have one clock: then nothing comes before it was sent.  Else what fits the moments that are known
        of either; it is as wrong as the fastest message was slow.
        """
        lowest: dict[str, float] = {}
        highest: dict[str, float] = {}
        early: dict[str, float] = {}
        for sight in self.leases:
            for sent, came in sight.sent:
                highest[sight.worker] = min(highest.get(sight.worker, came - sent), came - sent)
            if sight.arrived is not None:
                known, least = (early, self.began) if sight.handed is None else (lowest, sight.handed)
                least -= sight.arrived
                known[sight.worker] = max(known.get(sight.worker, least), least)
        shifts = {}
        for worker, high in highest.items():
            low = lowest.get(worker, high)
            one_clock = max(early.get(worker, 0.0), lowest.get(worker, 0.0)) <= 0.0 <= high
            shifts[worker] = 0.0 if one_clock else (low + high) / 2
        return shifts


class Moment(NamedTuple):
    """Something that happened to a task: so many seconds after the run began, what, the task's key, which attempt.

    `what` is "handed out", "began", "ended", "failed" or "replaced"; then by which worker, in which thread.
    """

    seconds: float
    what: str
    key: str
    attempt: int
    worker: str = ""
    thread: str = ""


def moments(sights: Sights, label: str, key_of: Callable[[int], str]) -> list[Moment]:
    """Return what was seen to happen, in order; `label` and `key_of` make the keys of the run's tasks."""
    shifts, found = sights.shifts(), []
    for sight in list(sights.leases):
        names = sights.parts.get(sight.part, {})
        shift = shifts.get(sight.worker, 0.0) - sights.began
        handed = sight.handed - sights.began if sight.handed is not None else None
        for span in sight.spans:
            key = key_of(span.task) if not sight.part else f"{names.get(span.task)}-{label}{sight.part}-{span.task}"
            about = key, sight.attempt
            if handed is not None:
                found.append(Moment(handed, "handed out", *about))
            found.append(Moment(span.began + shift, "began", *about, sight.worker, span.thread))
            found.append(Moment(span.ended + shift, _ENDS[span.how], *about, sight.worker, span.thread))
    return sorted(found, key=lambda moment: moment.seconds)


_ENDS = {WELL: "ended", FAILED: "failed", REPLACED: "replaced"}


def functions_of(tables: Tables) -> list[str]:
    """Return what functions are known by from one run to the next, by row."""
    return [_called(tables, row) for row in range(len(tables.functions))]


def _called(tables: Tables, row: int) -> str:
    function: Any = tables.functions[row]
    if isinstance(function, Fused):
        return " → ".join(_called(tables, step.function) for step in function.steps)
    function = innermost(function)
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    return f"{getattr(function, '__module__', None) or type(function).__module__}.{name}"


# -- where tasks run -------------------------------------------------------------------------------


class Watch:
    """A lease that runs in this process for a run somewhere else: when it came, and what has not been told of it."""

    __slots__ = ("arrived", "ready", "rows")

    def __init__(self) -> None:
        self.arrived = self.ready = perf_counter()
        self.rows: list[Row] = []

    def has_inputs(self) -> None:
        """Note that all inputs are here."""
        self.ready = perf_counter()

    def take(self, seen: Seen, now: float) -> None:
        """Take in what has come from a child of this process, which has one task to run."""
        self.ready = max(self.ready, seen.ready)
        self.rows += [span._replace(thread=CHILD) for span in seen.spans]

    def new(self, worker: str) -> Seen:
        """Return what has not been told yet.  The runner may be appending meanwhile."""
        rows = self.rows[:]
        del self.rows[: len(rows)]
        return Seen(worker, self.arrived, self.ready, perf_counter(), list(map(Span._make, rows)))


def observed(program: Program, seen: Sight | Watch) -> Any:
    """Return a program whose calls are noted in `seen.rows`; in everything else it is the program."""
    return _Observed(program, seen)


def sight_of(program: Any) -> Any:
    """Return where the calls of a program are noted, if they are."""
    return program.seen if type(program) is _Observed else None


def unobserved(program: Any) -> Any:
    """Return a program as it was before its calls were noted."""
    return program._program if type(program) is _Observed else program


class _Observed:
    """A Program whose calls are noted; in everything else the program itself, as running.hooks has one."""

    __slots__ = ("_program", "seen")

    def __init__(self, program: Program, seen: Sight | Watch) -> None:
        self._program, self.seen = program, seen

    def __getattr__(self, name: str) -> Any:
        if name in _Observed.__slots__:  # not there yet, as in a copy that is being made
            raise AttributeError(name)
        return getattr(self._program, name)

    @property
    def packed(self) -> bytes | None:
        """The plan as it travels: all leases of it share one."""
        return self._program.packed

    @packed.setter
    def packed(self, packed: bytes) -> None:
        self._program.packed = packed

    def run(self, task: int, values: Any, attempt: Attempt | None = None) -> Any:
        """Call a task as `Program.run` does, and note when."""
        return self.caller()(task, values, attempt)

    def caller(self) -> Caller:
        """Return what calls tasks as `run` does, in this thread."""
        call, note, thread = self._program.caller(), self.seen.rows.append, current_thread().name

        def call_noted(task: int, values: Any, attempt: Attempt | None = None) -> Any:
            began = perf_counter()
            try:
                value = call(task, values, attempt)
            except BaseException:
                note((task, began, perf_counter(), FAILED, thread))
                raise
            if type(value) is CoroutineType:
                return _awaited(_Unawaited(value), note, task, began)
            note((task, began, perf_counter(), REPLACED if type(value) is Replacement else WELL, thread))
            return value

        return call_noted


class _Unawaited:
    """A coroutine that nobody awaits if what is to await it never begins: then it is closed, and nobody is warned."""

    __slots__ = ("coroutine",)

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self.coroutine = coroutine

    def __del__(self) -> None:
        self.coroutine.close()


async def _awaited(held: _Unawaited, note: Callable[[Row], object], task: int, began: float) -> Any:
    how = FAILED
    try:
        value = await held.coroutine
        how = REPLACED if type(value) is Replacement else WELL
        return value
    finally:
        note((task, began, perf_counter(), how, AWAITED))
