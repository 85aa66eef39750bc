"""Jobs that must not hold up an event loop: opening and closing what takes processes or a network.

Covers: a thread for one job, telling whether the caller is an `async def`.
Does not cover: tasks (executors), awaiting futures (running.completing).
"""

from __future__ import annotations

import concurrent.futures
import sys
import threading
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from lazygraph.running.completing import value_of

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_ASYNC = 0x80 | 0x200
"""The flags of code that is a coroutine, or an async generator (inspect.CO_COROUTINE and CO_ASYNC_GENERATOR)."""


def in_thread(job: Callable[[], T]) -> concurrent.futures.Future[T]:
    """Run a job in a thread of its own, for which the interpreter does not wait when it exits."""
    outcome: concurrent.futures.Future[T] = concurrent.futures.Future()

    def work() -> None:
        try:
            outcome.set_result(job())
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=work, name="lazygraph-background", daemon=True).start()
    return outcome


async def apart(job: Callable[[], T]) -> T:
    """Run a job in a thread of its own; return what it returns.  Cancelling this does not stop the job."""
    value: T = await value_of(in_thread(job))
    return value


class Opening(Generic[T]):
    """What a constructor opens: at once, or in the background when an `async def` calls the constructor.

    There `async with` waits for it without holding up the loop, and so does `ready`; whoever needs it sooner waits in
    `result`.  Both raise what went wrong.
    """

    def __init__(self, job: Callable[[], T], background: bool) -> None:
        if background:
            self._outcome = in_thread(job)
        else:
            self._outcome = concurrent.futures.Future()
            self._outcome.set_result(job())

    def result(self) -> T:
        """Wait until it is open; return it."""
        return self._outcome.result()

    async def ready(self) -> T:
        """Return it when it is open."""
        value: T = await value_of(self._outcome)
        return value


def called_by_coroutine(depth: int = 2) -> bool:
    """Whether an asyncio loop runs the frame so far above this one: a caller that should not be held up.

    A cell of a notebook is none, although a loop runs in its thread, unless it awaits something itself.
    """
    frame: Any = sys._getframe(depth)
    if not frame.f_code.co_flags & _ASYNC:
        return False
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:  # another library's loop: nobody could await here
        return False
    return True
