"""Room on the stack for tasks that run tasks in one thread.

Python gives a thread 1000 frames.  A task that computes inside a task takes about a dozen of them, and what its own
functions take.

Covers: going on in another thread before they are used up.
Does not cover: how deep tasks may be in tasks (running.context).
"""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from contextvars import copy_context
from typing import TYPE_CHECKING, TypeVar

from lazygraph.running.waiting import Waiters

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_FRAMES = 1000


def with_room(call: Callable[[], T], leave: Callable[[], object]) -> T:
    """Call something here, or where half of this thread's stack is used in a thread of its own, and wait for it.

    There the context is a copy of this one.  When this thread is interrupted meanwhile, `leave` is called: it has what
    runs there end.
    """
    return _in_thread(call, leave) if _is_deep() else call()


def _is_deep() -> bool:
    with suppress(ValueError):  # there are not so many
        sys._getframe(min(_FRAMES, sys.getrecursionlimit()) // 2)
        return True
    return False


def _in_thread(call: Callable[[], T], leave: Callable[[], object]) -> T:
    ended = Waiters()
    values: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            values.append(call())
        except BaseException as error:
            errors.append(error)
        ended.wake()

    def over() -> bool:
        return bool(values or errors)

    threading.Thread(target=copy_context().run, args=(work,), name="lazygraph-deeper", daemon=True).start()
    try:
        ended.wait_for(over)
    except KeyboardInterrupt:  # the program's: it waits for nothing
        leave()
        raise
    except BaseException:  # whoever made this task leave is told that it has left when all of it has
        leave()
        ended.wait_for(over)
        raise
    if errors:
        raise errors.pop()
    return values.pop()
