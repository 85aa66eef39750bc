"""Threads that make calls for others, and numbers of an engine's that they count again.

Covers: calls that may wait, made for those who may not; how much of something there is that may come and go.
Does not cover: what is said to a driver (executors.reporting), what engines are called with (executors.elsewhere).
"""

from __future__ import annotations

import sys
import threading
import time
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

COUNTED_FOR = 1.0
"""Seconds for which a number is taken as known."""


class Hands:
    """Threads that make calls for others, and may wait.

    They are daemons, and there from the start: while the interpreter ends no pool takes a call and no thread begins.
    """

    def __init__(self, name: str, count: int = 4) -> None:
        self._calls: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._count = count
        for at in range(count):
            threading.Thread(target=_serve, args=(self._calls,), name=f"{name}-{at}", daemon=True).start()

    def call(self, function: Callable[..., object], *args: Any) -> None:
        """Have a function called soon."""
        self._calls.put(partial(function, *args))

    def close(self) -> None:
        """End the threads after what they have to do."""
        for _ in range(self._count):
            self._calls.put(None)


def _serve(calls: SimpleQueue[Callable[[], object] | None]) -> None:
    while (call := calls.get()) is not None:
        try:
            call()
        except Exception:  # an error of ours: the thread must live on
            threading.excepthook(threading.ExceptHookArgs([*sys.exc_info(), threading.current_thread()]))
        del call  # an idle thread keeps no values alive


class Counted:
    """How much there is of something that may come and go: counted at first, and by hands when somebody wants it."""

    def __init__(self, count: Callable[[], int], hands: Hands) -> None:
        self._count, self._hands = count, hands
        self.number = self.again()

    def again(self) -> int:
        """Count now.  Raises what counting does."""
        self.number, self._when = self._count(), time.monotonic()
        return self.number

    def soon(self) -> None:
        """Have it counted again soon, unless that was just now."""
        if time.monotonic() - self._when > COUNTED_FOR:
            self._when = time.monotonic()
            self._hands.call(self._try_again)

    def _try_again(self) -> None:
        with suppress(Exception):  # the engine has ended meanwhile: whoever calls it is told
            self.again()
