"""Room on the stack for tasks that run tasks in one thread.

Python gives a thread 1000 frames.  A task that computes inside a task takes about a dozen of them, and what its own
functions take.  What belongs to a thread (a lock it holds, `threading.local`, a connection of sqlite3) does not go
along to another one: so it comes to that late.

Covers: going on in another thread before they are used up.
Does not cover: how deep tasks may be in tasks (running.context).
"""

from __future__ import annotations

import sys
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from lazygraph.running.aside import serve_aside
from lazygraph.running.waiting import Waiters

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_FRAMES, _ENOUGH = 1000, 400


def with_room(call: Callable[[], T], leave: Callable[[], object]) -> T:
    """Call something here, or, when this thread's stack has 600 frames, in a thread of its own, and wait for it.

    There the context is a copy of this one.  When this thread is interrupted meanwhile, `leave` is called: it has what
    runs there end.
    """
    return _in_thread(call, leave) if _is_deep() else call()


def _is_deep() -> bool:
    with suppress(ValueError):  # there are not so many
        sys._getframe(min(_FRAMES, sys.getrecursionlimit()) - _ENOUGH)
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

    try:
        serve_aside(partial(copy_context().run, work), "lazygraph-deeper")
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
