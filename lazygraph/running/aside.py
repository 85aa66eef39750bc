"""Threads that are started without waiting for them.

Covers: why `Thread.start` is not called by the thread of a user.
Does not cover: what such threads do, and how they end.
"""

from __future__ import annotations

import threading
from _thread import start_new_thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def serve_aside(serve: Callable[[], object], name: str) -> None:
    """Have a daemon thread call `serve`; return before it has begun.

    Ctrl-C while `Thread.start` waits may come out of it as something else, and half started: here no other thread than
    the new one waits.  Raises `RuntimeError` where the system gives no thread at all.
    """
    start_new_thread(_begin, (threading.Thread(target=serve, name=name, daemon=True), serve))


def _begin(thread: threading.Thread, serve: Callable[[], object]) -> None:
    try:
        thread.start()
    except RuntimeError:  # the system gives no second thread: this one does it
        serve()
