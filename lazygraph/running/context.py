"""What code can know about the task it runs in, and how a task waits without keeping its slot."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from lazygraph.errors import WouldDeadlock

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAX_NESTING = 100
"""How many tasks of one executor may wait for other work at once."""

inside_task: ContextVar[Any] = ContextVar("lazygraph_inside_task", default=None)
"""What lends this task's slot while it waits (or True, where nothing does); None outside of tasks.

`compute` in a task runs inline, so that no slot waits for a slot.
"""

on_loop: ContextVar[bool] = ContextVar("lazygraph_on_loop", default=False)
"""Whether this runs on an executor's event loop, which other tasks of it need."""

awaited_here: ContextVar[Any] = ContextVar("lazygraph_awaited_here", default=None)
"""The coroutine of an `async def` task that this belongs to (running.awaiting), None elsewhere."""


patience: ContextVar[float | None] = ContextVar("lazygraph_patience", default=None)
"""So many seconds whoever submits will wait; None: for ever.  For executors that return when a run has ended."""

holding: ContextVar[Any] = ContextVar("lazygraph_holding", default=None)
"""The executor whose time stands until this code lets it pass (testing.sim)."""


class FixedSlots:
    """Stands for an executor whose slots cannot be lent: a task of it that waited for another might wait for ever."""

    def __init__(self, executor: Any) -> None:
        self.executor = executor


@contextmanager
def lent_slot(owners: Iterable[Any] = (), timeout: float | None = None) -> Iterator[None]:
    """Let somebody else use the slot of the task that runs here, while it waits for work of `owners`.

    `timeout` None: it would wait for ever.  Raises `WouldDeadlock` where the slot cannot be lent and one of them is the
    task's own executor, in `async def` tasks, which wait for it with `await` only, and where nothing runs until whoever
    waits lets time pass.
    """
    held = holding.get()
    if held is not None and timeout is None:
        owners = list(owners)
        if any(owner is held for owner in owners):
            raise WouldDeadlock(held.name, held=True)
    lender = inside_task.get()
    if on_loop.get():
        if any(owner is lender for owner in owners):
            raise WouldDeadlock(lender.name, on_loop=True)
        yield
        return
    if isinstance(lender, FixedSlots):
        if any(owner is lender.executor for owner in owners):
            raise WouldDeadlock(lender.executor.name)
        yield
        return
    if not hasattr(lender, "lend"):
        yield
        return
    lender.lend()
    try:
        yield
    finally:
        lender.take_back()


@contextmanager
def uncounted(owners: Iterable[Any]) -> Iterator[None]:
    """Do not count an `async def` task among those that are awaited while it awaits work of its own executor.

    So many are awaited at a time, and that work may be one of those which then could not begin.
    """
    awaited, lender = awaited_here.get(), inside_task.get()
    if awaited is None or not any(owner is lender for owner in owners) or not awaited.rests():
        yield
        return
    try:
        yield
    finally:
        awaited.goes_on()
