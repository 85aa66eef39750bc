"""Any executor of ours as the standard library's `concurrent.futures.Executor`, for code that wants one.

Covers: submit, map, shutdown, initializers; calls as plans.
Does not cover: a client's calls, which are gathered (cluster.net.client).
"""

from __future__ import annotations

import concurrent.futures
import itertools
import threading
import time
import uuid
from collections import deque
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from lazygraph.errors import Closed, InvalidOption
from lazygraph.language.calls import name_of
from lazygraph.language.delayed import DelayedFunction
from lazygraph.language.promise import build, is_lazy
from lazygraph.running.context import lent_slot
from lazygraph.running.waiting import Waiters
from lazygraph.values.options import DEFAULT, changed, in_context
from lazygraph.values.outcome import Failure
from lazygraph.values.template import take_apart
from lazygraph.values.verbs import start_on

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from lazygraph.running.futures import Future
    from lazygraph.values.options import TaskOptions

    Call = tuple[tuple[Any, ...], Mapping[str, Any]]

T = TypeVar("T")


class Starter(Protocol):
    """What begins calls somewhere."""

    def __call__(self, function: Callable[..., Any], calls: Sequence[Call], label: str, /) -> list[Future[Any]]:
        """Begin calls of one function, which are shown as `label`; return their futures."""
        ...


class StandardExecutor(concurrent.futures.Executor):
    """What `get_executor()` gives.  Dropping a future cancels nothing; every keyword is the function's own.

    It behaves as the pools of `concurrent.futures` do, and its futures are ours: they can be awaited, and be arguments.
    """

    def __init__(
        self,
        start: Starter,
        name: str,
        held: set[Any],
        owner: Any = None,
        *,
        here: bool = False,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
    ) -> None:
        """Make one.

        `held` keeps the futures of what has not ended when nobody else does; `owner` is whose slots the calls take;
        `here`: they share this process's memory, and its threads.
        """
        if initializer is not None and not callable(initializer):
            raise TypeError(f"get_executor(initializer={initializer!r}): something that can be called is wanted")
        self._start, self._name, self._owner, self._here = start, name, owner, here
        self._first = Prepared(initializer, initargs, here) if initializer is not None else None
        self._lock = threading.Lock()
        self._pending = _Pending(held)
        self._over = False

    def __repr__(self) -> str:
        return f"<{self._name}{' (shut down)' if self._over else ''}>"

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Call `fn`; return its Future.  Raises `Closed`, a RuntimeError, after `shutdown`."""
        return self._begin(fn, ((args, kwargs),), name_of(fn))[0]

    def begin(self, fn: Callable[[], T], label: str) -> Future[T]:
        """Call `fn`, which is shown as `label`; return its Future."""
        return self._begin(fn, (((), {}),), label)[0]

    def _begin(self, fn: Callable[..., Any], calls: Sequence[Call], label: str) -> list[Future[Any]]:
        if self._first is not None:
            fn = self._first.before(fn)
        with self._lock:
            if self._over:
                raise Closed(self._name)
            if self._pending.broken is not None:
                raise concurrent.futures.BrokenExecutor(str(self._pending.broken))
            self._pending.starting += 1
        futures: list[Future[Any]] = []
        try:
            futures = self._start(fn, calls, label)  # not with the lock: on sync these are the calls themselves
        finally:
            self._pending.add(futures)
            with self._lock:
                self._pending.starting -= 1
            self._pending.wake()
        return futures

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """Yield `fn` of each tuple of items, in their order; all calls are begun at once.

        `timeout`: seconds from now after which waiting for the next value raises TimeoutError; what has not started is
        then cancelled, as when a call fails.  `chunksize`: so many calls are one task; threads of this process need
        none and take it for 1.  `buffersize`: at most so many are begun ahead of what has been yielded, and the
        iterables are read no further (Python 3.14 has it, too).
        """
        if chunksize < 1:
            raise InvalidOption(f"map(chunksize={chunksize!r}): at least one call is a chunk")
        if buffersize is not None and not isinstance(buffersize, int):
            raise TypeError(f"map(buffersize={buffersize!r}): a number of calls, or None for all")
        if buffersize is not None and buffersize < 1:
            raise InvalidOption(f"map(buffersize={buffersize!r}): at least one call is begun ahead")
        deadline = None if timeout is None else time.monotonic() + timeout
        items: Iterator[tuple[Any, ...]] = zip(*iterables, strict=False)
        if self._here or chunksize == 1:
            return self._results(fn, items, deadline, buffersize, name_of(fn))
        chunks = ((chunk,) for chunk in iter(lambda: tuple(itertools.islice(items, chunksize)), ()))
        lists = self._results(partial(_each, fn), chunks, deadline, buffersize, name_of(fn))
        return itertools.chain.from_iterable(lists)

    def _results(
        self,
        fn: Callable[..., Any],
        items: Iterator[tuple[Any, ...]],
        deadline: float | None,
        ahead: int | None,
        label: str,
    ) -> Iterator[Any]:
        begun: list[Call] = [(args, {}) for args in itertools.islice(items, ahead)]
        futures = deque(self._begin(fn, begun, label) if begun else ())

        def more() -> None:
            if (args := next(items, None)) is not None:
                futures.extend(self._begin(fn, ((args, {}),), label))

        # The calls are begun before the first value is asked for.
        return _values(futures, deadline, more)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; `wait` for those under way, `cancel_futures` that have not started.

        What it stands for (a client, an executor) stays open.
        """
        with self._lock:
            self._over = True
        if cancel_futures:
            for future in self._pending.all():
                future.cancel()
        if wait and not self._pending.none():
            with lent_slot([self._owner]):
                self._pending.wait()


class _Pending:
    """The calls that have not ended, or whose callbacks have not returned."""

    def __init__(self, held: set[Any]) -> None:
        self.broken: BaseException | None = None
        self.starting = 0
        """How many threads are beginning calls right now."""
        self._held = held
        self._futures: set[Future[Any]] = set()
        self._ended = Waiters()

    def all(self) -> list[Future[Any]]:
        """Return their futures."""
        return list(self._futures.copy())

    def add(self, futures: Sequence[Future[Any]]) -> None:
        """Hold these until they have ended.  Their values stay where they are: nobody here wants them."""
        for future in futures:
            self._futures.add(future)
            self._held.add(future)
            with future._condition:
                if not future.done():
                    future._waiters.append(self)  # type: ignore[arg-type]
                    continue
            self._gone(future)

    # What a concurrent.futures.Future tells those who wait for it; called under its lock.
    def add_result(self, future: Future[Any]) -> None:
        """A call has ended; it is gone when all have been called that want to be."""
        if future.wants_value:
            future._done_callbacks.append(self._gone)
        else:
            self._gone(future)

    add_exception = add_cancelled = add_result

    def _gone(self, future: Future[Any]) -> None:
        outcome = future._outcome
        if isinstance(outcome, Failure) and isinstance(outcome.exception, concurrent.futures.BrokenExecutor):
            self.broken = outcome.exception
        self._futures.discard(future)
        self._held.discard(future)
        self._ended.wake()

    def wake(self) -> None:
        """Have those who wait look again."""
        self._ended.wake()

    def none(self) -> bool:
        """Whether there are none, and nobody is beginning any."""
        return not (self._futures or self.starting)

    def wait(self) -> None:
        """Return when there are none."""
        self._ended.wait_for(self.none)


def _values(futures: deque[Future[Any]], deadline: float | None, more: Callable[[], None]) -> Iterator[Any]:
    try:
        while futures:
            more()
            value = _value_of(futures.popleft(), deadline)
            yield value
            del value  # it may be large, and the next one be long in coming
    finally:
        for future in futures:
            future.cancel()


def _value_of(future: Future[Any], deadline: float | None) -> Any:
    try:
        return future.result(None if deadline is None else deadline - time.monotonic())
    except TimeoutError:
        if not future.done():
            future.cancel()
        raise
    finally:
        del future  # a frame in a traceback must not keep it


def _each(fn: Callable[..., T], chunk: Iterable[tuple[Any, ...]]) -> list[T]:
    return [fn(*args) for args in chunk]


# -- calls as plans --------------------------------------------------------------------------------


def starter(executor: Any, options: Mapping[str, Any], site: Any) -> Starter:
    """Return what begins calls on an executor, each call with these options, all calls of one go in one plan.

    Where memory is shared arguments reach the function as they are.  Whoever uses threads this way may fill what they
    share.
    """
    here = executor.shares_memory
    given = changed(in_context(DEFAULT), "get_executor()", options) if options else None

    def start(function: Callable[..., Any], calls: Sequence[Call], label: str, /) -> list[Future[Any]]:
        row = given or in_context(DEFAULT)
        if isinstance(function, DelayedFunction):
            row, function = given or in_context(function._options_of_calls), function._leaves[0]
        row = shown_as(row, label) if executor.tells_early else each_alone(row, label)
        nodes = [
            build(partial(function, *args, **kwargs), (), {}, row, site)
            if here and not _any_lazy(args, kwargs)
            else build(function, args, kwargs, row, site)
            for args, kwargs in calls
        ]
        run = start_on(executor, nodes, {})
        executor.close_at_exit()
        futures: list[Future[Any]] = run.let_go()
        return futures

    return start


LONG = 1e9
"""Seconds, more than anybody waits."""


def shown_as(row: TaskOptions, label: str) -> TaskOptions:
    """Return the options of calls that are shown as `label`."""
    return changed(row, "get_executor()", {"name": label})


def each_alone(row: TaskOptions, label: str) -> TaskOptions:
    """Return the options of calls that are shown as `label`, none of which is handed out with another.

    Where what was handed out together is told together, whoever waits for the first of two calls would wait for both.
    A task that may expire, be it in thirty years, is handed out alone.
    """
    own = {"name": label} if row.expires is not None else {"name": label, "expires": LONG}
    return changed(row, "get_executor()", own)


def _any_lazy(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    return any(map(is_lazy, take_apart([*args, *kwargs.values()], is_lazy)[0]))


# -- initializers ----------------------------------------------------------------------------------


class Prepared:
    """Calls functions where an initializer has been called first: once in each thread here, else in each process."""

    def __init__(self, initializer: Callable[..., object], initargs: tuple[Any, ...], here: bool) -> None:
        self._initializer, self._initargs = initializer, initargs
        self._token = uuid.uuid4().hex
        self._here = threading.local() if here else None

    def __getstate__(self) -> tuple[Any, ...]:
        return self._initializer, self._initargs, self._token

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._initializer, self._initargs, self._token = state
        self._here = None

    def before(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function as it is to be called."""
        return partial(self._call, function)

    def _call(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        place = _here(self._token) if self._here is None else vars(self._here).setdefault("place", _Place())
        place.enter(self._initializer, self._initargs)
        return function(*args, **kwargs)


class _Place:
    """A thread or a process in which an initializer is called once; if it fails, nothing is called here."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entered = False
        self._error: BaseException | None = None

    def enter(self, initializer: Callable[..., object], initargs: tuple[Any, ...]) -> None:
        """Call it, unless it has been called."""
        with self._lock:
            if not self._entered:
                self._entered = True
                try:
                    initializer(*initargs)
                except BaseException as error:
                    self._error = error
        if self._error is not None:
            raise concurrent.futures.BrokenExecutor(
                f"the initializer {name_of(initializer)} has failed, this executor cannot be used any more: "
                f"{type(self._error).__name__}: {self._error}"
            ) from self._error


@cache
def _here(token: str) -> _Place:
    """Return this process's place for the calls of one executor elsewhere."""
    return _Place()
