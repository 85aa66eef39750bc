"""The event loop of an executor: what its `async def` tasks return is awaited there, many at a time.

One loop in a thread of its own, which starts with the first such task.  Nobody's slot is taken while they wait.

Covers: starting, counting, cancelling coroutines, ending the loop.
Does not cover: what becomes of their results (running.hosting).
"""

from __future__ import annotations

import threading
from collections import deque
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any

from lazygraph.running.context import awaited_here, on_loop
from lazygraph.running.mutation import give_up

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine

MOST = 1000
"""How many coroutines of one executor are awaited at a time; others begin when one of them has ended.

One that awaits work of its own executor does not count meanwhile.
"""


class Awaited:
    """One coroutine on its way: `done(value, error)` is called on the loop when it has ended.

    Whoever is told of it calls `over` when that is known where it matters.
    """

    __slots__ = ("_ended", "_loop", "_over", "_resting", "_task", "context", "coroutine", "done", "stopped")

    def __init__(self, coroutine: Coroutine[Any, Any, Any], done: Callable[[Any, BaseException | None], None]) -> None:
        self.coroutine, self.done = coroutine, done
        self.context: Context = copy_context()
        self.context.run(on_loop.set, True)
        self.context.run(awaited_here.set, self)
        self._ended = False
        self._resting = 0  # how many parts of it await work of its own executor
        self.stopped = False  # somebody wants it to leave
        self._over = threading.Event()
        self._loop: _Loop | None = None
        self._task: asyncio.Task[Any] | None = None

    def stop(self, timeout: float) -> bool:
        """Cancel it; return whether it is `over` within `timeout` seconds (at once on its loop, where nobody waits)."""
        self.stopped = True
        loop = self._loop
        if loop is not None:
            loop.call(self._cancel)
        return self._over.wait(0.0 if loop is not None and loop.is_here() else timeout)

    def over(self) -> None:
        """Let those go on who have stopped it."""
        self._over.set()

    # -- on the loop -------------------------------------------------------------------------------

    def rests(self) -> bool:
        """A part of it awaits work of its own executor; return False for one that does so on another loop."""
        loop = self._loop
        if loop is None or self._ended or not loop.is_here():
            return False
        self._resting += 1
        if self._resting == 1:
            loop.rests(1)
        return True

    def goes_on(self) -> None:
        """Such a part goes on."""
        self._resting -= 1
        if not self._resting and not self._ended and self._loop is not None:
            self._loop.rests(-1)

    def begin(self, loop: _Loop) -> None:
        """Begin to await it."""
        self._loop = loop
        if self.stopped:  # a loop that was not there yet could not be told
            self.refuse(loop.cancelled())
            return
        self._task = loop.create(self._awaited(), self.context)
        self._task.add_done_callback(self._has_ended)

    async def _awaited(self) -> tuple[Any, BaseException | None]:
        try:
            return await self.coroutine, None
        except BaseException as error:  # a KeyboardInterrupt of the task's own would end the loop
            return None, error

    def _has_ended(self, task: asyncio.Task[tuple[Any, BaseException | None]]) -> None:
        try:
            value, error = task.result()
        except BaseException as cancelled:  # before its first step
            give_up(self.coroutine)
            value, error = None, cancelled
        self.end(value, error)

    def refuse(self, why: BaseException) -> None:
        """Never begin to await it."""
        give_up(self.coroutine)
        self.end(None, why)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def end(self, value: Any, error: BaseException | None) -> None:
        """Note that it has ended."""
        loop, rested = self._loop, self._resting > 0
        self._ended = True
        self.done(value, error)
        if loop is not None:
            loop.ended(rested)


class _Loop:
    """An event loop in a daemon thread: after Ctrl-C the interpreter does not wait for it."""

    def __init__(self) -> None:
        import asyncio  # only those pay for it who write async tasks

        self._asyncio = asyncio
        # In a context of its own: what a loop calls for as long as it lives must not keep that of the first task.
        self._loop = Context().run(asyncio.new_event_loop)
        self._waiting: deque[Awaited] = deque()
        self._running = self._resting = 0
        self._closing = self._stopped = False
        self._adding = threading.Lock()
        self._thread = threading.Thread(target=self._serve, name="lazygraph-awaits", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        loop = self._loop
        self._asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            self._asyncio.set_event_loop(None)
            loop.close()

    def is_here(self) -> bool:
        """Whether this is the loop's own thread."""
        return self._thread is threading.current_thread()

    def cancelled(self) -> BaseException:
        """Return what a coroutine raises that is cancelled before it begins."""
        return self._asyncio.CancelledError()

    def call(self, function: Callable[..., object], *args: Any) -> None:
        """Have something called on the loop; by one that has ended, nothing."""
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            return

    def add(self, awaited: Awaited) -> None:
        """Have a coroutine awaited; once the loop has been told to end, it is cancelled."""
        with self._adding:
            if not self._stopped:
                self._loop.call_soon_threadsafe(self._enter, awaited)
                return
        awaited.refuse(self.cancelled())

    # -- on the loop -------------------------------------------------------------------------------

    def create(self, coroutine: Coroutine[Any, Any, Any], context: Context) -> asyncio.Task[Any]:
        """Return the running task of a coroutine."""
        return self._loop.create_task(coroutine, context=context)

    def _enter(self, awaited: Awaited) -> None:
        """Begin to await a coroutine, now or when there is room for it."""
        awaited.stopped = awaited.stopped or self._closing
        if self._running - self._resting < MOST:
            self._running += 1
            awaited.begin(self)
        else:
            self._waiting.append(awaited)

    def rests(self, more: int) -> None:
        """One does not count for a while, so that another may begin, or counts again."""
        self._resting += more
        if more > 0:
            self._next()

    def _next(self) -> None:
        if self._waiting:
            self._loop.call_soon(self._enter, self._waiting.popleft())

    def ended(self, rested: bool) -> None:
        """One has ended: another may begin."""
        self._running -= 1
        self._resting -= rested
        if self._waiting:
            self._next()
        elif self._closing and not self._running:
            self._finish()

    def finish(self) -> None:
        """Cancel what is still awaited, and end the loop after it."""
        if self._closing:  # the second time that would hit what ends the loop
            return
        self._closing = True
        for task in self._asyncio.all_tasks(self._loop):
            task.cancel()
        if not self._running:
            self._finish()

    def _finish(self) -> None:
        # What tasks have started beside themselves is cancelled, and given one more turn to end.
        for task in self._asyncio.all_tasks(self._loop):
            task.cancel()
        with self._adding:
            self._stopped = True
        self._loop.call_soon(self._loop.stop)


class Awaiting:
    """The coroutines of one executor."""

    def __init__(self) -> None:
        self._loop: _Loop | None = None
        self._closed = False
        self._making = threading.Lock()

    def start(self, coroutine: Coroutine[Any, Any, Any], done: Callable[[Any, BaseException | None], None]) -> Awaited:
        """Have a coroutine awaited in the context of the caller; `done(value, error)` is called on the loop."""
        awaited = Awaited(coroutine, done)
        with self._making:
            if self._loop is None:
                self._loop = _Loop()
                if self._closed:
                    self._loop.call(self._loop.finish)
            loop = self._loop
        loop.add(awaited)
        return awaited

    def close(self) -> None:
        """Cancel what is still awaited and end the loop; waits for nothing.  Safe to call twice."""
        with self._making:
            self._closed, loop = True, self._loop
        if loop is not None:
            loop.call(loop.finish)
