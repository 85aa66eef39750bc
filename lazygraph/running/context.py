"""What code can know about the task it runs in, and how a task waits without keeping its slot."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_NESTING = 100
"""How many tasks of one executor may wait for other work at once."""

inside_task: ContextVar[Any] = ContextVar("lazygraph_inside_task", default=None)
"""What lends this task's slot while it waits (or True, where nothing does); None outside of tasks.

`compute` in a task runs inline, so that no slot waits for a slot.
"""


@contextmanager
def lent_slot() -> Iterator[None]:
    """Let somebody else use the slot of the task that runs here, while it waits for other work."""
    lender = inside_task.get()
    if not hasattr(lender, "lend"):
        yield
        return
    lender.lend()
    try:
        yield
    finally:
        lender.take_back()
