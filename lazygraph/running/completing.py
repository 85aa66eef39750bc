"""Waiting for several futures in the order in which they end: in a thread, or on an event loop.

Covers: `as_completed`, `wait`, awaiting futures without holding up the loop they are awaited on.
Does not cover: one future (running.futures).
"""

from __future__ import annotations

import concurrent.futures
import time
from collections import deque
from concurrent.futures._base import DoneAndNotDoneFutures
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Self

from lazygraph.running.context import lent_slot, uncounted

if TYPE_CHECKING:
    import asyncio  # only those pay for it who await
    from collections.abc import Iterable, Iterator

FETCHES = 8
"""Of futures that are awaited, the values of so many are brought here at a time."""


class AsCompleted:
    """An iterator over futures in the order in which they end; more can be added while it runs.

    Either for `for`, or for `async for`: there a future comes when its value is here too, so that `result()` does not
    wait.  Cancelling whoever awaits the next one cancels no work, and loses none: the iteration can go on.
    """

    def __init__(self, futures: Iterable[Any], timeout: float | None, with_results: bool) -> None:
        self._timeout = timeout
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._with_results = with_results
        self._ended: SimpleQueue[Any] = SimpleQueue()
        self._here: deque[Any] = deque()  # ended, and the value is here
        self._fetching: set[Any] = set()
        self._bells: list[asyncio.Future[None]] = []  # of those who await the next one
        self._known: set[Any] = set()
        self._left = 0
        for future in futures:
            self.add(future)

    def add(self, future: Any) -> None:
        """Wait for this one too; one that is known already comes once."""
        if future in self._known:
            return
        self._known.add(future)
        self._left += 1
        with future._condition:
            if not future.done():
                future._waiters.append(self)
                return
        self.add_result(future)

    # What a concurrent.futures.Future tells those who wait for it; called under its lock.
    def add_result(self, future: Any) -> None:
        """A future has ended."""
        self._ended.put(future)
        self._ring()

    add_exception = add_cancelled = add_result

    def close(self) -> None:
        """Wait for none of them any more."""
        for future in self._known:
            if not future.done():
                with future._condition, suppress(ValueError):
                    future._waiters.remove(self)

    # -- in a thread -------------------------------------------------------------------------------

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        if not self._left:
            raise StopIteration
        try:
            with lent_slot(owners_of(self._known), self._timeout):
                future = self._ended.get(timeout=left_until(self._deadline))
        except Empty:
            raise self._too_late() from None
        return self._give(future)

    def _too_late(self) -> TimeoutError:
        return TimeoutError(f"{self._left} of {len(self._known)} futures have not ended within {self._timeout} s")

    def _give(self, future: Any) -> Any:
        self._left -= 1
        return (future, future.result()) if self._with_results else future

    # -- on an event loop --------------------------------------------------------------------------

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        while self._left:
            self._bring()
            if self._here:
                future = self._here.popleft()
                if self._left == 1:
                    self._ring()  # whoever else awaits something: nothing comes any more
                return self._give(future)
            await self._rung()
        raise StopAsyncIteration

    def _bring(self) -> None:
        """Have the values of what has ended brought here, by threads of their own where they are elsewhere."""
        while len(self._fetching) < FETCHES:
            try:
                future = self._ended.get_nowait()
            except Empty:
                return
            self._fetching.add(future)
            future.add_done_callback(self._brought)  # it has ended: at once, if the value is here

    def _brought(self, future: Any) -> None:
        self._here.append(future)
        self._fetching.discard(future)
        self._ring()

    async def _rung(self) -> None:
        """Return when there may be something new; raise TimeoutError when there is nothing in time."""
        import asyncio

        bell = asyncio.get_running_loop().create_future()
        self._bells.append(bell)
        try:
            # What came before the bell hung there has not rung it.
            if self._here or not (self._ended.empty() or len(self._fetching) >= FETCHES):
                return
            with uncounted(owners_of(self._known)):
                async with asyncio.timeout(left_until(self._deadline)):
                    await bell
        except TimeoutError:
            raise self._too_late() from None
        finally:
            with suppress(ValueError):
                self._bells.remove(bell)

    def _ring(self) -> None:
        """Wake those who await the next one; called in any thread."""
        while self._bells:
            try:
                bell = self._bells.pop()
            except IndexError:  # its owner has stopped waiting meanwhile
                return
            with suppress(RuntimeError):  # its loop is closed
                bell.get_loop().call_soon_threadsafe(_wake, bell)


def _wake(bell: asyncio.Future[None]) -> None:
    if not bell.done():
        bell.set_result(None)


async def value_of(future: Any) -> Any:
    """Return a future's value, or raise as its `result` does, without holding up the loop for it."""
    waiting = AsCompleted((future,), None, with_results=False)
    try:
        async for ended in waiting:
            return ended.result()
    finally:
        waiting.close()
        del future, waiting  # a frame in a traceback must not keep the future, nor a cycle with its exception


def as_completed(futures: Iterable[Any], timeout: float | None = None, with_results: bool = False) -> AsCompleted:
    """Yield futures as they end (with their results as pairs when asked); TimeoutError after `timeout` seconds.

    For `for` and for `async for`.  What comes back has `.add(future)`.
    """
    return AsCompleted(futures, timeout, with_results)


def wait(futures: Iterable[Any], timeout: float | None = None, return_when: str = "ALL_COMPLETED") -> Any:
    """Wait for futures; return the two sets `done` and `not_done`."""
    futures = list(futures)
    with lent_slot(owners_of(futures), timeout):
        if return_when == concurrent.futures.ALL_COMPLETED and all(hasattr(one, "ends_within") for one in futures):
            return _wait_in_turn(futures, timeout)
        return concurrent.futures.wait(futures, timeout, return_when)


def _wait_in_turn(futures: list[Any], timeout: float | None) -> Any:
    """Wait for all, one after the other: with the library's way each gets a condition, which is 1.2 kB."""
    deadline = None if timeout is None else time.monotonic() + timeout
    for future in futures:
        if not future.ends_within(left_until(deadline)):
            break
    done = {future for future in futures if future.done()}
    return DoneAndNotDoneFutures(done, set(futures) - done)


def owners_of(futures: Iterable[Any]) -> Iterator[Any]:
    """Yield whose futures those are that have not ended."""
    waiting = (future.run for future in futures if not future.done() and hasattr(future, "run"))
    return (getattr(run, "owner", None) for run in waiting)


def left_until(deadline: float | None) -> float | None:
    """Return the seconds until a moment of `time.monotonic`, at least 0.0; None stays None."""
    return None if deadline is None else max(0.0, deadline - time.monotonic())
