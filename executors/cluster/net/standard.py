"""A cluster as the standard library's `concurrent.futures.Executor`, for code that wants one.

Covers: submit, map, shutdown.
Does not cover: the client it belongs to (net.client).
"""

from __future__ import annotations

import concurrent.futures
import threading
from typing import TYPE_CHECKING, Any

from lazygraph.errors import Closed

if TYPE_CHECKING:
    from collections.abc import Callable

    from lazygraph.running.futures import Future


class StandardExecutor(concurrent.futures.Executor):
    """What `client.get_executor()` gives.  Dropping a future cancels nothing; every keyword is the function's own."""

    def __init__(self, call: Callable[..., Future[Any]], name: str) -> None:
        self._call, self._name = call, name
        self._lock = threading.Lock()
        self._pending: list[Future[Any]] = []  # held until they have ended
        self._room = 64
        self._over = False

    def __repr__(self) -> str:
        return f"<{self._name}{' (shut down)' if self._over else ''}>"

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call `fn` on the cluster; return its Future."""
        with self._lock:
            if self._over:
                raise Closed(self._name)
            future = self._call(fn, args, kwargs)
            self._pending.append(future)
            if len(self._pending) > self._room:
                self._pending = [one for one in self._pending if not one.done()]
                self._room = 64 + 2 * len(self._pending)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; `wait` for those under way, `cancel_futures` that have not started."""
        with self._lock:
            self._over, pending = True, list(self._pending)
        if cancel_futures:
            for future in pending:
                future.cancel()
        if wait:
            concurrent.futures.wait(pending)
