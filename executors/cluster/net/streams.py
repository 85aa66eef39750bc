"""`client.map` over what has no end: an iterator gives an iterator of futures, a queue a queue of futures.

Covers: holding the source back, ends of queues.
Does not cover: one call (net.client).
"""

from __future__ import annotations

import queue
import threading
import weakref
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from lazygraph.running.completing import wait
from lazygraph.running.waiting import LOOK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lazygraph.running.futures import Future

AHEAD = 4
"""So many calls for each thread of the cluster are under way at a time: the rest is left in its source."""

NO_SENTINEL: Any = object()
"""Stands for the end of a queue that has none."""


class Stream:
    """Futures of calls, in the order of the source, which is read as calls end: at most `ahead` are under way."""

    def __init__(self, submit: Callable[..., Future[Any]], items: Iterator[tuple[Any, ...]], ahead: int) -> None:
        self._submit, self._items, self._ahead = submit, items, ahead
        self._made: deque[Future[Any]] = deque()  # and not handed out yet
        self._under_way: list[weakref.ref[Future[Any]]] = []
        self._dry = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Future[Any]:
        while True:
            under_way = self._fill()
            if self._made:
                return self._made.popleft()
            if self._dry:
                raise StopIteration
            wait(under_way, return_when="FIRST_COMPLETED")

    def _fill(self) -> list[Future[Any]]:
        """Take from the source what may be under way; return what is."""
        alive = [future for ref in self._under_way if (future := ref()) is not None and not future.done()]
        while not self._dry and len(alive) < self._ahead:
            try:
                items = next(self._items)
            except StopIteration:
                self._dry = True
                break
            alive.append(self._submit(*items))
            self._made.append(alive[-1])
        self._under_way = list(map(weakref.ref, alive))
        return alive


class QueueStream:
    """A thread that takes items from queues, one from each, and puts the futures of calls into another queue."""

    def __init__(
        self,
        submit: Callable[..., Future[Any]],
        sources: Sequence[queue.Queue[Any]],
        sentinel: Any,
        closed: Callable[[], bool],
        failed: Callable[[Exception], Future[Any]],
    ) -> None:
        """Make one; `failed` makes the future of a call that could not be submitted."""
        self._failed = failed
        self.futures: queue.Queue[Any] = queue.Queue(sources[0].maxsize)
        self._submit, self._sources, self._sentinel, self._closed = submit, sources, sentinel, closed
        threading.Thread(target=self._serve, name="lazygraph-map", daemon=True).start()

    def _serve(self) -> None:
        try:
            with suppress(_Over):
                while True:
                    self._put(self._call([self._take(source) for source in self._sources]))
        finally:
            self._end()

    def _call(self, items: Sequence[Any]) -> Future[Any]:
        """Submit a call; one that cannot be has failed, and those after it go on."""
        try:
            return self._submit(*items)
        except Exception as error:
            if self._closed():
                raise _Over from None
            return self._failed(error)

    def _take(self, source: queue.Queue[Any]) -> Any:
        """Wait for an item; raises `_Over` when none will come."""
        while True:
            try:
                item = source.get(timeout=LOOK)
            except queue.Empty:
                if self._closed():
                    raise _Over from None
                continue
            except _SHUT_DOWN:
                raise _Over from None
            if item is self._sentinel:
                raise _Over
            return item

    def _put(self, item: Any) -> None:
        while True:
            try:
                return self.futures.put(item, timeout=LOOK)
            except queue.Full:
                if self._closed():
                    raise _Over from None

    def _end(self) -> None:
        """Let whoever reads know: by the sentinel, and by shutting the queue down where queues can be (Python 3.13)."""
        if self._sentinel is not NO_SENTINEL:
            with suppress(_Over):
                self._put(self._sentinel)
        shutdown = getattr(self.futures, "shutdown", None)
        if shutdown is not None:
            shutdown()


class _Over(Exception):
    """No more items."""


_SHUT_DOWN: Any = getattr(queue, "ShutDown", ())
