"""The runner: one function that runs a lease back to back.

The same code in the sync executor, in a pool thread and in a cluster's worker.  It decides nothing: every ending but
success goes up to the Frontier.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass, field
from threading import current_thread, main_thread
from time import perf_counter
from typing import TYPE_CHECKING, Any

from lazygraph.running.context import inside_task
from lazygraph.running.program import FusedStepError
from lazygraph.running.unusual import UNUSUAL, plan_for, settled
from lazygraph.values.node import Replacement

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable
    from types import TracebackType

    from lazygraph.planning.plan import Plan
    from lazygraph.running.program import Program

REPORT_EVERY = 0.002
"""Seconds of work after which finished tasks are reported although the lease goes on."""


@dataclass(slots=True)
class Broken:
    """A task that raised: what, and the name and file:line of the node (of the member, in a fused task).

    `step` is that member's place when it is not the last, whose end is the task's.
    """

    task: int
    exception: BaseException
    text: str
    node: str
    origin: str
    step: int | None = None


@dataclass(slots=True)
class Report:
    """What a runner has done since it last reported: `seconds` of work on `done` and `broken`.

    `replaced` are tasks that have returned what is to be done in their place.  `skipped` are tasks that were sent ahead
    of an input which then did not come: they have not started.
    """

    done: list[int] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)
    replaced: list[tuple[int, Plan]] = field(default_factory=list)
    skipped: list[int] = field(default_factory=list)
    seconds: float = 0.0


def run_lease(
    program: Program,
    tasks: deque[int],
    values: Any,
    report: Callable[[Report], None],
    lender: Any = True,
    interruptible: bool = True,
) -> None:
    """Run tasks from the left of `tasks` until it is empty; others may take from its right meanwhile.

    Values go into `values[task]`.  Reports at the end, and about every 2 ms on the way.  `lender` is what a task that
    waits gives its slot to (running.context).  In the main thread KeyboardInterrupt is not caught: there it is Ctrl-C,
    which belongs to the program.  In any other thread, and in a process that belongs to nobody's terminal
    (`interruptible=False`), only the task itself can have raised it.
    """
    token = inside_task.set(lender)
    run, inputs_of = program.run, program.shape.inputs_of
    gone: set[int] = set()  # what failed or was replaced in this lease, and what was skipped because of it
    current = Report()
    began = perf_counter()
    try:
        while True:
            try:
                task = tasks.popleft()
            except IndexError:
                break
            if gone and not gone.isdisjoint(inputs_of(task)):
                gone.add(task)
                current.skipped.append(task)
                continue
            try:
                value = run(task, values)
                if isinstance(value, UNUSUAL):
                    value = settled(value)
                    if isinstance(value, Replacement):
                        current.replaced.append((task, plan_for(value, lender)))
                        gone.add(task)
                        continue
                values[task] = value
            except BaseException as error:
                broken = _broken(program, task, error)
                ours = interruptible and current_thread() is main_thread()
                if ours and isinstance(broken.exception, KeyboardInterrupt):
                    raise broken.exception from None
                gone.add(task)
                current.broken.append(broken)
            else:
                current.done.append(task)
            now = perf_counter()
            if now - began > REPORT_EVERY or current.broken:
                current.seconds = now - began
                report(current)
                current = Report()
                began = now
    finally:
        inside_task.reset(token)
    current.seconds = perf_counter() - began
    report(current)


def _broken(program: Program, task: int, error: BaseException) -> Broken:
    step = None
    if isinstance(error, FusedStepError):
        step, cause = error.step, error.__cause__
        assert cause is not None
        error = cause
    node, origin = program.place_of(task, step)
    error.__traceback__ = _users_part(error.__traceback__)
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    return Broken(task, error, text, node, origin, None if step is None or program.is_last(task, step) else step)


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
        "lazygraph.values.template",
    }
)
