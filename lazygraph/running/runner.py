"""The runner: one function that runs a lease back to back.

The same code in the sync executor, in a pool thread and in a cluster's worker.  It decides nothing: every ending but
success goes up to the Frontier.
"""

from __future__ import annotations

import sys
import traceback
from _thread import allocate_lock
from dataclasses import dataclass, field
from threading import current_thread, get_ident, main_thread
from time import perf_counter
from types import CoroutineType
from typing import TYPE_CHECKING, Any, TypeVar

from lazygraph.errors import TaskCancelled
from lazygraph.running.attempt import Retry
from lazygraph.running.context import inside_task
from lazygraph.running.program import FusedStepError
from lazygraph.running.slot import Slot
from lazygraph.running.unusual import UNUSUAL, Becomes, meant, settled

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Coroutine
    from types import TracebackType

    from lazygraph.planning.plan import Plan
    from lazygraph.running.attempt import Told
    from lazygraph.running.program import Program

    Later = Callable[[int, Coroutine[Any, Any, Any]], None]

T = TypeVar("T")

REPORT_EVERY = 0.002
"""Seconds of work after which finished tasks are reported although the lease goes on."""


@dataclass(slots=True)
class Broken:
    """A task that raised: what, and the name and file:line of the node (of the member, in a fused task).

    `step` is that member's place when it is not the last, whose end is the task's.  `retry`: the exception is one that
    its policy tries again, or (`asked`) the task has asked for that, perhaps saying in how many seconds and how often.
    `worker`: the name of what ran it.
    """

    task: int
    exception: BaseException
    text: str
    node: str
    origin: str
    step: int | None = None
    retry: bool = False
    asked: bool = False
    countdown: float | None = None
    max_retries: int | None = None
    worker: str = ""


@dataclass(slots=True)
class Report:
    """What a runner has done since it last reported: `seconds` of work on `done` and `broken`.

    `replaced` are tasks that have returned what is to be done in their place.  `skipped` are tasks that were sent ahead
    of an input which then did not come: they have not started.  `early`: a task of the lease may be running just now.
    """

    done: list[int] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)
    replaced: list[tuple[int, Plan]] = field(default_factory=list)
    skipped: list[int] = field(default_factory=list)
    seconds: float = 0.0
    early: bool = False


class _Telling:
    """What a runner has done and has not told; another thread may tell it while a task runs.

    The runner only appends, without a lock.  Whoever tells has the lock, takes what stands in front and holds the lock
    until it is told: so everything is told once, and nothing before what it has read.
    """

    __slots__ = ("_lock", "_program", "_report", "_taken", "broken", "done", "replaced", "since", "skipped")

    def __init__(self, program: Program, report: Callable[[Report], None]) -> None:
        self._program, self._report = program, report
        self._lock = allocate_lock()
        self._taken: Report | None = None  # what is being told
        self.done: list[int] = []
        self.broken: list[Broken] = []
        self.replaced: list[tuple[int, Plan]] = []
        self.skipped: list[int] = []
        self.since = perf_counter()

    def tell(self) -> None:
        """Tell what there is.  For the runner, between tasks."""
        with self._lock:
            self._tell(perf_counter(), False)

    def tell_early(self) -> None:
        """Tell what there is if it has waited for long.  For any other thread."""
        if perf_counter() - self.since <= REPORT_EVERY or not (self.done or self.replaced or self.skipped):
            return
        with self._lock:
            if not (self.done or self.replaced or self.skipped):
                return  # somebody else was faster
            try:
                self._tell(perf_counter(), True)
            except Exception as error:
                self._give_up(None, error)

    def give_up(self, task: int | None, error: Exception) -> None:
        """Tell that what has not been told has failed, and a task that was taken; what was taken in stays as it is."""
        with self._lock:
            self._give_up(task, error)

    def _tell(self, now: float, early: bool) -> None:
        # What has ended well is looked at last, and told first: nothing is told before what it has read.
        skipped, replaced, broken = _front(self.skipped), _front(self.replaced), _front(self.broken)
        self._taken = Report(_front(self.done), broken, replaced, skipped, now - self.since, early)
        self.since = now
        self._report(self._taken)
        self._taken = None

    def _give_up(self, task: int | None, error: Exception) -> None:
        taken, self._taken = self._taken or Report(), None
        done, broken = [*taken.done, *_front(self.done)], [*taken.broken, *_front(self.broken)]
        replaced, skipped = [*taken.replaced, *_front(self.replaced)], [*taken.skipped, *_front(self.skipped)]
        tasks = {*done, *(broken.task for broken in broken), *(task for task, _ in replaced)}
        if task is not None and task not in skipped:
            tasks.add(task)
        self._report(Report(broken=[broken_of(self._program, one, error) for one in sorted(tasks)], skipped=skipped))


def _front(rows: list[T]) -> list[T]:
    """Take out what is in a list; what is appended meanwhile stays."""
    front = rows[:]
    del rows[: len(front)]
    return front


def run_lease(
    program: Program,
    tasks: deque[int],
    values: Any,
    report: Callable[[Report], None],
    lender: Any = True,
    interruptible: bool = True,
    *,
    attempt: int = 1,
    began: Callable[[int], None] | None = None,
    told: Told | None = None,
    slot: Slot | None = None,
    later: Later | None = None,
) -> None:
    """Run tasks from the left of `tasks` until it is empty; others may take from its right meanwhile.

    Values go into `values[task]`.  Reports at the end, and about every 2 ms on the way; while a task takes long,
    another thread can have the rest told by `slot.tell_early`.  `lender` is what a task that waits gives its slot to
    (running.context).  In the main thread KeyboardInterrupt is not caught: there it is Ctrl-C, which belongs to the
    program.  In any other thread, and in a process that belongs to nobody's terminal (`interruptible=False`), only the
    task itself can have raised it.

    `attempt` is which one of its tasks this is.  `began` is called just before each task begins, `told` when a task
    says how far it is; by `slot` another thread can make the running task leave.  `later` takes what tasks return that
    is to be awaited, and reports it when it has ended; without it that is awaited here.
    """
    before = inside_task.get()
    inside_task.set(lender)
    slot = slot or Slot()
    slot.thread = get_ident()
    run, inputs_of = _calling(program, attempt, told), program.shape.inputs_of
    gone: set[int] = set()  # what failed, was replaced or is awaited, and what was skipped because of it
    telling = _Telling(program, report)
    done, broken = telling.done, telling.broken
    slot.tell_early = telling.tell_early
    failed: BaseException | None = None
    task: int | None = None
    value, odd = None, False
    usual: type = type(None)  # what the last value was of, which was none of the unusual: most are of one type
    since = perf_counter()
    try:
        while True:
            try:
                task = tasks.popleft()
            except IndexError:
                break
            if gone and not gone.isdisjoint(inputs_of(task)):
                gone.add(task)
                telling.skipped.append(task)
                continue
            if began is not None:
                began(task)
            try:
                try:
                    slot.task = task  # from here on another thread may raise TaskCancelled: see running.slot
                    if slot.hit is not None:
                        slot.enter()
                    value, odd = run(task, values), False
                    if type(value) is not usual:
                        odd = isinstance(value, UNUSUAL)
                        if odd:
                            value = settled(value, lender, later is not None)
                        else:
                            usual = type(value)
                    slot.task = None
                    if slot.hit is not None:
                        slot.leave()
                except BaseException as error:
                    slot.task, failed = None, error
                    if slot.hit is not None and slot.leave():
                        failed = _cancelled(error)
            except TaskCancelled as error:  # it came out only when the task's end was being noted; it comes out once
                slot.task, failed = None, error
                slot.leave()
            if failed is not None:
                what = broken_of(program, task, failed)
                what.worker = program.worker or current_thread().name
                failed = None  # what is raised must not lead to this frame and back
                ours = interruptible and current_thread() is main_thread()
                if ours and isinstance(what.exception, KeyboardInterrupt):
                    raise what.exception from None
                gone.add(task)
                broken.append(what)
                del what
                since = 0.0  # others may wait to hear of it
            elif odd and _goes_on(task, value, telling, later):
                gone.add(task)
            else:
                values[task] = value
                done.append(task)  # from here on others may tell of it
            if (now := perf_counter()) - since > REPORT_EVERY:
                telling.tell()
                slot.reported()
                since = now
        inside_task.set(before)
        telling.tell()
    except Exception as error:  # ours: what was told of a task could not be taken in
        telling.give_up(task, error)
    finally:
        inside_task.set(before)
        slot.close()


def _calling(program: Program, attempt: int, told: Told | None) -> Callable[[int, Any], Any]:
    """Return what calls a task; some take their attempt first."""
    call = program.caller()
    if not program.bound:
        return call

    def call_bound(task: int, values: Any) -> Any:
        return call(task, values, program.attempt_of(task, attempt, told))

    return call_bound


def _goes_on(task: int, value: Any, current: Report | _Telling, later: Later | None) -> bool:
    """Note what is to be done in a task's place, or to be awaited; False for what is its value."""
    if isinstance(value, Becomes):
        current.replaced.append((task, value.plan))
    elif later is not None and isinstance(value, CoroutineType):
        later(task, value)
    else:
        return False
    return True


def _cancelled(error: BaseException) -> BaseException:
    """Return what a task has failed with that was made to leave, whatever it has made of that."""
    if isinstance(error, TaskCancelled | KeyboardInterrupt):
        return error
    cancelled = TaskCancelled()
    cancelled.__context__ = error
    return cancelled


def ended_report(
    report: Report,
    program: Program,
    task: int,
    values: Any,
    value: Any,
    error: BaseException | None,
    lender: Any,
    stopped: bool = False,
) -> None:
    """Note in a report what became of a task that was awaited, as `run_lease` does of others."""
    if error is None:
        try:
            value = meant(value, lender)
        except BaseException as wrong:
            error = wrong
    if error is not None:
        broken = broken_of(program, task, _cancelled(error) if stopped else error)
        broken.worker = program.worker or current_thread().name
        report.broken.append(broken)
    elif not _goes_on(task, value, report, None):
        values[task] = value
        report.done.append(task)


def broken_of(program: Program, task: int, error: BaseException) -> Broken:
    """Return the record of what a task has raised, and whether that is a reason to try it again; never raises."""
    try:
        return _broken_of(program, task, error)
    except Exception as wrong:  # an exception, or a class in its policy, with ideas of its own
        own = error.__cause__ if type(error) is FusedStepError else error
        text = f"{type(own).__name__}, of which nothing more can be said: {type(wrong).__name__}\n"
        return Broken(task, own or error, text, *program.place_of(task, None))


def _broken_of(program: Program, task: int, error: BaseException) -> Broken:
    step, asked = None, None
    if isinstance(error, FusedStepError):
        step, cause = error.step, error.__cause__
        assert cause is not None
        error = cause
    if isinstance(error, Retry):
        asked, error = error, error.reason
    node, origin = program.place_of(task, step)
    _trace(error, asked)
    text = text_of(error)
    broken = Broken(task, error, text, node, origin, None if step is None or program.is_last(task, step) else step)
    broken.retry = asked is not None or program.tries_again(task, error)
    if asked is not None:
        broken.asked, broken.countdown, broken.max_retries = True, asked.countdown, asked.max_retries
    return broken


def _trace(error: BaseException, asked: Retry | None) -> None:
    """Have an exception's traceback begin in the user's code."""
    tb = error.__traceback__
    if tb is None and asked is not None:  # it was made for this, and never raised: it happened where it was asked for
        tb = asked.place()
    BaseException.with_traceback(error, _users_part(tb))  # there are classes that refuse the assignment


def text_of(error: BaseException) -> str:
    """Return an exception with its traceback as text.

    Without the marks below each line on CPythons that parse it for them and cannot do so in two threads at once
    (https://github.com/python/cpython/issues/106905): there one of the two is a SystemError.
    """
    shown = traceback.TracebackException.from_exception(error, compact=True)
    if not _PARSES_IN_THREADS:
        left: list[traceback.TracebackException | None] = [shown]
        for one in left:  # grows
            if one is not None:
                for frame in one.stack:
                    frame.end_colno = None
                left += (one.__cause__, one.__context__, *(getattr(one, "exceptions", None) or ()))
    return "".join(shown.format())


_PARSES_IN_THREADS = sys.version_info >= (3, 12, 2) or (3, 11, 8) <= sys.version_info < (3, 12)


def _users_part(tb: TracebackType | None) -> TracebackType | None:
    """Drop our own frames from the top of a traceback."""
    while tb is not None and tb.tb_frame.f_globals.get("__name__", "") in _OURS:
        tb = tb.tb_next
    return tb


_OURS = frozenset(
    {
        "lazygraph.running.runner",
        "lazygraph.running.program",
        "lazygraph.running.mutation",
        "lazygraph.running.unusual",
        "lazygraph.testing.watching",
        "lazygraph.running.hooks",
        "lazygraph.running.attempt",
        "lazygraph.running.awaiting",
        "lazygraph.executors.serving_child",
        "lazygraph.values.template",
        "lazygraph.planning.keeping",
        "lazygraph.planning.dask_content",
    }
)
