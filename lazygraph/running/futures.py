"""The future of one output of a run.

A `Future` is a `concurrent.futures.Future` whose condition is made on the first wait: the stock object costs 1.6 kB and
5 us, this one 0.2 kB and 1 us, and in a submit loop most futures are done before anybody waits.

Covers: one future.
Does not cover: runs (running.run), what settles futures (executors.driver, the cluster's client).
"""

from __future__ import annotations

import concurrent.futures
import threading
import time
from concurrent.futures._base import CANCELLED_AND_NOTIFIED, FINISHED, PENDING
from typing import TYPE_CHECKING, Any, Generic, NoReturn, Protocol, TypeVar

from lazygraph.values.node import External
from lazygraph.values.outcome import Failure, Outcome, Value, add_place
from lazygraph.values.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Generator


T = TypeVar("T")


class RunOf(Protocol):
    """What a future needs of its run."""

    @property
    def id(self) -> str:
        """The run's name."""
        ...

    def key_of(self, place: int) -> str:
        """Return the key of one output."""
        ...

    def dropped(self, place: int) -> None:
        """Note that a future is gone."""
        ...


class Owner(Protocol):
    """What a future needs of whoever computes it."""

    def fetch(self, run: Any, output: int, timeout: float | None) -> Outcome:
        """Bring the value of a settled output here; raises TimeoutError."""
        ...

    def cancel(self, run: Any, output: int, force: bool) -> bool:
        """Withdraw one claim; return whether nothing that has not started will be started for it."""
        ...

    def look(self, run: Any) -> None:
        """Somebody asks how far a run is: bring what is known up to date, without waiting."""
        ...

    def drop(self, run: Any, output: int) -> None:
        """Nobody holds the future any more.  Called by the collector: must not block or take a lock."""
        ...


# Installed as the condition of futures that are settled before anybody has waited for them.
_SETTLED = threading.Condition()


class Future(External, concurrent.futures.Future[T], Generic[T]):
    """The value of one output of a run, now or later; can be awaited, and be an argument of further calls."""

    _state = PENDING
    _result: Any = None
    _exception: BaseException | None = None
    _outcome: Outcome | None = None
    _status: Status = Status.WAITING

    run: Any  # a running.run.Run; while its call has not been sent, what stands for one

    def __init__(self, run: RunOf, output: int) -> None:  # the base's __init__ makes a lock; ours makes nothing
        self.run, self.output = run, output

    # The base class reads these three.  setdefault on __dict__ is atomic, so that a waiter and a setter that meet agree
    # on one condition.
    @property
    def _condition(self) -> threading.Condition:  # type: ignore[override]
        found: threading.Condition | None = self.__dict__.get("_made_condition")
        return found or self.__dict__.setdefault("_made_condition", threading.Condition())

    @property
    def _waiters(self) -> list[Any]:  # type: ignore[override]
        made: list[Any] = self.__dict__.setdefault("_made_waiters", [])
        return made

    @property
    def _done_callbacks(self) -> list[Any]:
        made: list[Any] = self.__dict__.setdefault("_made_callbacks", [])
        return made

    # -- what it is --------------------------------------------------------------------------------

    @property
    def key(self) -> str:
        """The name of this submission's node; no two submissions share one."""
        key: str = self.run.key_of(self.output)
        return key

    @property
    def run_id(self) -> str:
        """The run it belongs to."""
        found: str = self.run.id
        return found

    @property
    def status(self) -> Status:
        """One of the states of a node, as far as this process knows."""
        return self._status

    @property
    def state(self) -> str:
        """The status in Celery's words."""
        return self._status.celery

    def __repr__(self) -> str:
        return f"<Future {self.key} {self._status.value}>"

    # -- settling ----------------------------------------------------------------------------------

    def settle(self, status: Status, outcome: Outcome | None) -> None:
        """Note the end of the work, once.  `outcome` None: it is fetched at the first `result()`."""
        condition = self.__dict__.setdefault("_made_condition", _SETTLED)
        with condition:
            if self._state is not PENDING:
                return
            self._status, self._outcome = status, outcome
            if isinstance(outcome, Value):
                self._result = outcome.value
            elif outcome is not None:
                self._exception = outcome.exception
            cancelled = status is Status.CANCELLED
            self._state = CANCELLED_AND_NOTIFIED if cancelled else FINISHED
            for waiter in self.__dict__.get("_made_waiters", ()):
                (waiter.add_cancelled if cancelled else waiter.add_result)(self)
            if condition is not _SETTLED:
                condition.notify_all()
        if "_made_callbacks" in self.__dict__:
            self._invoke_callbacks()  # type: ignore[attr-defined]

    def set_result(self, result: Any) -> None:
        """Futures are settled by their run only."""
        raise TypeError("a lazygraph Future is settled by its run")

    def set_exception(self, exception: BaseException | None) -> None:
        """Futures are settled by their run only."""
        raise TypeError("a lazygraph Future is settled by its run")

    # -- waiting -----------------------------------------------------------------------------------

    def _wait(self, timeout: float | None) -> None:
        if self._state is not PENDING:
            return
        condition = self._condition
        deadline = None if timeout is None else time.monotonic() + timeout
        with condition:
            while self._state is PENDING:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise TimeoutError(f"{self!r} has not ended within {timeout} s")
                condition.wait(left)

    def _settled_outcome(self, timeout: float | None) -> Outcome:
        self._wait(timeout)
        if self._outcome is None:
            outcome: Outcome = self.run.owner.fetch(self.run, self.output, timeout)
            if isinstance(outcome, Failure):
                self._exception, self._status = outcome.exception, Status.LOST
            else:
                self._result = outcome.value
            self._outcome = outcome
        return self._outcome

    def result(self, timeout: float | None = None) -> T:
        """Wait for the value; raise what the task raised, CancelledError, or TimeoutError after `timeout` seconds."""
        outcome = self._settled_outcome(timeout)
        if self._state is CANCELLED_AND_NOTIFIED:
            raise concurrent.futures.CancelledError(
                str(outcome.exception) if isinstance(outcome, Failure) else self.key
            )
        if isinstance(outcome, Failure):
            raise_original(outcome)
        value: T = outcome.value
        return value

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the end; return what the task raised, or None."""
        outcome = self._settled_outcome(timeout)
        if self._state is CANCELLED_AND_NOTIFIED:
            raise concurrent.futures.CancelledError(self.key)
        return outcome.exception if isinstance(outcome, Failure) else None

    def failure(self, timeout: float | None = None) -> Failure | None:
        """Wait for the end; return the record of the failure, or None."""
        outcome = self._settled_outcome(timeout)
        return outcome if isinstance(outcome, Failure) else None

    def add_done_callback(self, fn: Callable[[Any], Any]) -> None:
        """Call `fn(self)` when the work has ended and its value is here; at once if it has and is."""
        with self._condition:
            if self._state is PENDING:
                self._done_callbacks.append(fn)
                return
        if self._outcome is None:
            self._settled_outcome(None)
        fn(self)

    @property
    def wants_value(self) -> bool:
        """Whether somebody is to be called when this is done: the value must be here first."""
        return bool(self.__dict__.get("_made_callbacks"))

    def __await__(self) -> Generator[Any, None, T]:
        import asyncio

        return asyncio.wrap_future(self).__await__()

    # -- ending it ---------------------------------------------------------------------------------

    def cancel(self, force: bool = False) -> bool:
        """Withdraw this future's claim; True when nothing that has not started will be started for it."""
        if self._state is not PENDING:
            return self._state is CANCELLED_AND_NOTIFIED
        cancelled: bool = self.run.owner.cancel(self.run, self.output, force)
        return cancelled

    def __del__(self) -> None:
        run = self.__dict__.get("run")
        if run is not None:
            run.dropped(self.output)

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError(f"{self!r} cannot be pickled; give it to a call as an argument instead")

    # -- Celery's words ----------------------------------------------------------------------------

    def get(self, timeout: float | None = None) -> T:
        """`result`, as Celery calls it."""
        return self.result(timeout)

    def ready(self) -> bool:
        """Whether the work has ended."""
        return self.done()

    def successful(self) -> bool:
        """Whether the work has ended well."""
        return self._status is Status.SUCCEEDED

    def failed(self) -> bool:
        """Whether the work has ended badly."""
        return self.done() and self._status is not Status.SUCCEEDED

    def revoke(self) -> None:
        """`cancel`, as Celery calls it."""
        self.cancel()


def raise_original(failure: Failure) -> NoReturn:
    """Raise the user's exception from its own traceback, with the note that says where it happened."""
    error = failure.exception
    add_place(error, failure.node, failure.key, failure.attempt, failure.worker, failure.origin)
    # A second raise starts from the original traceback again, or each would add the frames of the one before.
    original = (
        error.__dict__.setdefault("_lazygraph_traceback", error.__traceback__) if hasattr(error, "__dict__") else None
    )
    raise error.with_traceback(original)
