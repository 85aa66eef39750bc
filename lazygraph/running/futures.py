"""The future of one output of a run.

A `Future` is a `concurrent.futures.Future` whose condition is made on the first wait: the stock object costs 1.6 kB and
5 us, this one 0.1 kB and 1 us, and in a submit loop most futures are done before anybody waits.  What happens to every
future does without its `__dict__`: who looks at that has CPython make it.

Covers: one future.
Does not cover: runs (running.run), what settles futures (executors.driver, the cluster's client).
"""

from __future__ import annotations

import concurrent.futures
import os
import threading
import time
import traceback
import weakref
from concurrent.futures._base import CANCELLED_AND_NOTIFIED, FINISHED, LOGGER, PENDING
from typing import TYPE_CHECKING, Any

from lazygraph.errors import LostData, UsedAfterFork
from lazygraph.running.completing import value_of
from lazygraph.running.context import lent_slot
from lazygraph.running.doors import OPEN_DOOR, ForOthers
from lazygraph.running.raising import cancellation, raise_original
from lazygraph.running.waiting import Waiters
from lazygraph.values.lazy import Lazy, T_co
from lazygraph.values.node import External
from lazygraph.values.outcome import Failure, Outcome, Value
from lazygraph.values.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from lazygraph.running.owning import RunOf


_SHUT, _LOOKING, _OPEN = range(3)
"""How far whoever settles a future is: it has ended for nobody yet; he looks whether somebody waits; for everybody."""


_ONE_OF_THEM = threading.Lock()
"""Held for two statements in which nothing is made, and nothing else runs: threads agree on one object."""


def _at_once(job: Callable[[], None]) -> None:
    job()


# Covariant, which its base is not: nobody but its run puts a value in.
class Future(External, Lazy[T_co], concurrent.futures.Future[T_co]):  # type: ignore[type-var]  # pyright: ignore[reportInvalidTypeArguments]
    """The value of one output of a run, now or later; can be awaited, and be an argument of further calls."""

    # What a started canvas sets (running.steps).
    _steps: Any = None
    _before: Any = None
    _linked: tuple[Future[Any], ...] = ()
    _asked = False  # whether somebody has this step from its result

    _forgotten = False  # its value goes as soon as it is there
    _withdrawn = False  # its claim is given up

    run: Any  # a running.run.Run; while its call has not been sent, what stands for one

    def __init__(self, run: RunOf, output: int) -> None:  # the base's __init__ makes a lock; ours makes nothing
        self.run, self.output = run, output
        # What every future gets in its life, now: an attribute that comes later has CPython make a dict, of 0.3 kB.
        # And nothing here asks for `__dict__`: CPython 3.11 makes two, one of them of freed memory, when the collector
        # runs while it makes the first, and has finalizers run during which another thread asks for it too.
        self._status: Status = Status.WAITING
        self._outcome: Outcome | None = None
        self._door = _SHUT
        self._for_others: ForOthers | None = None
        self._waiting: Waiters | None = None

    # The base class reads these six.
    # Checkers are to take a future for one of the base class, which has them as plain attributes.
    if TYPE_CHECKING:
        _done_callbacks: list[Any]
        _state: str
        _result: Any
        _exception: BaseException | None
    else:

        @property
        def _state(self) -> str:
            """How it has ended, for whoever comes through its door: see `settle`."""
            if self._door != _OPEN:
                return PENDING
            return CANCELLED_AND_NOTIFIED if self._status is Status.CANCELLED else FINISHED

        @property
        def _result(self) -> Any:
            """The value, if it has one here."""
            return self._outcome.value if isinstance(self._outcome, Value) else None

        @property
        def _exception(self) -> BaseException | None:
            """What it has raised, if that is here."""
            return self._outcome.exception if isinstance(self._outcome, Failure) else None

        @property
        def _condition(self) -> threading.Condition:
            if self._for_others is None and self._door == _OPEN:
                return OPEN_DOOR
            made = self._opened().condition
            # First that, then the look: whoever settles it does it the other way round, and has seen ours if he looks
            # no more.  If he has not, the end shows in a moment; nobody may come in before that.
            while self._door == _LOOKING:
                time.sleep(0)
            return made

        @property
        def _waiters(self) -> list[Any]:
            return self._opened().waiters

        @property
        def _done_callbacks(self) -> list[Any]:
            return self._opened().callbacks

    def _opened(self) -> ForOthers:
        """Return what those are given who come through its condition."""
        if self._for_others is None:
            made = ForOthers(OPEN_DOOR if self._door == _OPEN else threading.Condition())
            with _ONE_OF_THEM:
                if self._for_others is None:
                    self._for_others = made
        return self._for_others

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
        if self._state is not PENDING:
            return self._status
        owner = getattr(self.run, "owner", None)  # while its call has not been sent it has none
        return owner.status_of(self.run, self.output) or self._status if owner is not None else self._status

    @property
    def cause(self) -> str | None:
        """The key of the node whose end has ended this one; None on that node itself, and on what succeeded."""
        outcome = self._outcome
        if not isinstance(outcome, Failure) or self._status is Status.FAILED or outcome.key == self.key:
            return None
        return outcome.key

    @property
    def id(self) -> str:
        """`key`, as Celery calls it."""
        return self.key

    @property
    def parent(self) -> Any:
        """The canvas step before: its Future, or the GroupResult of a group; None where nothing came before.

        Of a callback it is the future that it hangs on, as long as somebody holds that.
        """
        before = self._before() if isinstance(self._before, weakref.ref) else self._before
        for future in futures_in(before):
            future._asked = True  # it is in other hands now: cancelling this one leaves it alone
        return before

    @property
    def inputs(self) -> list[Future[Any]]:
        """The futures of the canvas step before: the parent, or the members of a group."""
        return list(futures_in(self.parent))

    @property
    def children(self) -> list[Future[Any]]:
        """The futures of the next canvas steps, as long as they run or are held, and of this one's callbacks."""
        following = self._steps.next_of(self) if self._steps is not None else []
        return [*following, *self._linked]

    @property
    def state(self) -> str:
        """The status in Celery's words."""
        return self.status.celery

    @property
    def traceback(self) -> str | None:
        """The text of the traceback when the work has ended badly, else None; never waits."""
        failure = self._outcome
        if not isinstance(failure, Failure):
            return None
        return failure.traceback or "".join(traceback.format_exception(failure.exception))

    def __repr__(self) -> str:
        return f"<Future {self.key} {self.status.value}>"

    # -- settling ----------------------------------------------------------------------------------

    def settle(self, status: Status, outcome: Outcome | None) -> None:
        """Note the end of the work, once (by the run, that sees to it).

        `outcome` None: it is fetched at the first `result()`.
        """
        if self._state is not PENDING:
            return
        self._status, self._outcome = status, outcome
        # Whoever has made a real condition looks at the state while he holds that: so nobody can both see the end and
        # be told of it.
        self._door = _LOOKING
        others = self._for_others
        if others is None:
            self._door = _OPEN
        else:
            self._door = _SHUT
            with others.condition:
                self._door = _OPEN
                self._tell_waiters(status, others.waiters)
                others.condition.notify_all()
        if self._waiting is not None:  # first the end, then the look: who waits does it the other way round
            self._waiting.wake()
        if others is not None and others.callbacks:
            # What settles futures must not wait for what users call: it may be the one that this is to wait for.
            getattr(self.run.owner, "call_apart", _at_once)(self._call_back)
        if self._forgotten:
            self._give_up_value()

    def _call_back(self) -> None:
        try:
            self._invoke_callbacks()  # type: ignore[attr-defined]
        finally:
            self._keep_no_longer()

    def _tell_waiters(self, status: Status, waiters: list[Any]) -> None:
        for waiter in waiters:
            if status is Status.SUCCEEDED:
                waiter.add_result(self)
            elif status is Status.CANCELLED:
                waiter.add_cancelled(self)
            else:
                waiter.add_exception(self)

    def set_result(self, result: Any) -> None:
        """Futures are settled by their run only."""
        raise TypeError("a lazygraph Future is settled by its run")

    def set_exception(self, exception: BaseException | None) -> None:
        """Futures are settled by their run only."""
        raise TypeError("a lazygraph Future is settled by its run")

    # -- waiting -----------------------------------------------------------------------------------

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self._state is CANCELLED_AND_NOTIFIED

    def running(self) -> bool:
        """Whether its attempt is known to run."""
        return self.status is Status.RUNNING

    def done(self) -> bool:
        """Whether the work has ended."""
        return self._state is not PENDING

    def _wait(self, timeout: float | None) -> None:
        if self._state is not PENDING:
            return
        with lent_slot([getattr(self.run, "owner", None)], timeout):
            if not self.ends_within(timeout):
                raise TimeoutError(f"{self!r} has not ended within {timeout} s")

    def ends_within(self, timeout: float | None) -> bool:
        """Wait for the end, at most so many seconds, and lend nobody's slot; return whether it has come."""
        if self._state is not PENDING:
            return True
        self._refuse_after_fork()
        if self._waiting is None:
            made = Waiters()
            with _ONE_OF_THEM:
                if self._waiting is None:
                    self._waiting = made
        return self._waiting.wait_for(self.done, timeout)

    def _refuse_after_fork(self) -> None:
        if getattr(self.run, "pid", None) not in (None, os.getpid()):
            raise UsedAfterFork(f"{self!r}")

    def _settled_outcome(self, timeout: float | None) -> Outcome:
        deadline = None if timeout is None else time.monotonic() + timeout
        self._wait(timeout)
        if self._outcome is None:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            outcome: Outcome = self.run.owner.fetch(self.run, self.output, left)
            if isinstance(outcome, Failure):
                self._status = Status.LOST
            self._outcome = outcome
        return self._outcome

    def result(self, timeout: float | None = None) -> T_co:
        """Wait for the value; raise what the task raised, CancelledError, or TimeoutError after `timeout` seconds."""
        outcome = self._settled_outcome(timeout)
        try:
            if self._state is CANCELLED_AND_NOTIFIED:
                raise cancellation(outcome)
            if isinstance(outcome, Failure):
                raise_original(outcome)
            value: T_co = outcome.value
            return value
        finally:
            del outcome, self  # a frame in a traceback must not keep the future, nor a cycle with its exception

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the end; return what the task raised, or None."""
        outcome = self._settled_outcome(timeout)
        if self._state is CANCELLED_AND_NOTIFIED:
            raise cancellation(outcome)
        return outcome.exception if isinstance(outcome, Failure) else None

    def failure(self, timeout: float | None = None) -> Failure | None:
        """Wait for the end; return the record of the failure, or None."""
        outcome = self._settled_outcome(timeout)
        return outcome if isinstance(outcome, Failure) else None

    def add_done_callback(self, fn: Callable[[Any], Any]) -> None:
        """Call `fn(self)` when the work has ended and its value is here; at once if it has and is."""
        if self._state is PENDING:
            self._keep()
            with self._condition:
                if self._state is PENDING:
                    self._done_callbacks.append(fn)
                    return
            self._keep_no_longer()
        if self._outcome is None:  # the caller may be an event loop, which must not wait for a transfer
            threading.Thread(target=self._fetch_and_call, args=(fn,), name="lazygraph-callback", daemon=True).start()
        else:
            self._call(fn)

    def _keep(self) -> None:
        """Live until the end: somebody wants to be called, and may hold nothing himself."""
        owner = self.run.owner
        if owner is not None:
            owner.detached.add(self)

    def _keep_no_longer(self) -> None:
        owner = self.run.owner
        if owner is not None:
            owner.detached.discard(self)

    def _fetch_and_call(self, fn: Callable[[Any], Any]) -> None:
        try:
            self._settled_outcome(None)
        except Exception as error:  # the connection is gone: `result()` says so too, and whoever waits must hear of it
            self._status = Status.LOST
            self._outcome = Failure(self.key, self.key, 1, error)
        self._call(fn)

    def _call(self, fn: Callable[[Any], Any]) -> None:
        try:
            fn(self)
        except Exception:
            LOGGER.exception("exception calling callback for %r", self)

    @property
    def wants_value(self) -> bool:
        """Whether somebody is to be called when this is done: the value must be here first."""
        return self._for_others is not None and bool(self._for_others.callbacks)

    def __await__(self) -> Generator[Any, None, T_co]:
        # Not `asyncio.wrap_future`: with that, whoever stops awaiting would cancel the work, and wait for the answer.
        return value_of(self).__await__()

    # -- ending it ---------------------------------------------------------------------------------

    def cancel(self, force: bool = False) -> bool:
        """Withdraw this future's claim; True when nothing that has not started will be started for it.

        `force=True`: an attempt that runs is made to leave.  An isolated one is killed; in another `TaskCancelled` is
        raised at its next bytecode, and the answer is False when it has not left after 5 seconds: what waits in C code
        goes on waiting, and keeps its slot until it leaves.
        """
        if self._state is not PENDING:
            return self._state is CANCELLED_AND_NOTIFIED
        self._refuse_after_fork()
        cancelled: bool = self.run.owner.cancel(self.run, self.output, force)
        if cancelled and self._steps is not None:
            self._steps.withdraw_before([self])
        return cancelled

    def withdraw(self, cause: str) -> None:
        """Give up this claim because what it was for was cancelled; never waits."""
        self._withdrawn = True
        error = concurrent.futures.CancelledError(f"{self.key} is not wanted any more: {cause} was cancelled")
        self.run.withdraw(self.output, cause, error)

    def __del__(self) -> None:
        try:
            run = self.run
        except AttributeError:  # it has been taken off it
            return
        if not self._withdrawn:
            run.dropped(self.output)

    def __reduce__(self) -> tuple[Any, ...]:
        owner = self.run.owner
        if owner is None:
            raise TypeError(f"{self!r} cannot be pickled: its client is closed")
        reference: tuple[Any, ...] = owner.reference(self)
        return reference

    def accepted(self, timeout: float | None = None) -> bool:
        """Wait until whoever computes it has it; True, or TimeoutError after `timeout` seconds.

        On a cluster that is the scheduler: from then on detached work goes on when this process ends, however it ends.
        Work that was refused raises why.  Elsewhere work is accepted at once.
        """
        owner = self.run.owner
        if owner is not None:
            owner.accepted(self.run, timeout)
        outcome = self._outcome
        if isinstance(outcome, Failure) and not outcome.attempt and self._status is Status.FAILED:
            raise_original(outcome)
        return True

    # -- Celery's words ----------------------------------------------------------------------------

    def get(self, timeout: float | None = None, propagate: bool = True) -> T_co:
        """`result`, as Celery calls it; with `propagate=False` an exception is returned instead of raised."""
        if propagate:
            return self.result(timeout)
        outcome = self._settled_outcome(timeout)
        found: T_co = outcome.exception if isinstance(outcome, Failure) else outcome.value  # type: ignore[assignment]
        return found

    def ready(self) -> bool:
        """Whether the work has ended."""
        return self.done()

    def successful(self) -> bool:
        """Whether the work has ended well."""
        return self._status is Status.SUCCEEDED

    def failed(self) -> bool:
        """Whether the work has ended badly."""
        return self.done() and self._status is not Status.SUCCEEDED

    def revoke(self, terminate: bool = False) -> None:
        """`cancel`, as Celery calls it; `terminate=True` is `force=True`."""
        self.cancel(force=terminate)

    def forget(self) -> None:
        """Give up the value, and those of the canvas steps before: the work goes on, but nobody can have them."""
        given_up = {id(self)}
        left: list[Future[Any]] = [self]
        while left:
            future = left.pop()
            future._forgotten = (
                True  # first this, then the look: whoever settles it meanwhile does it the other way round
            )
            if future.done():
                future._give_up_value()
            before = [one for one in futures_in(future._before) if id(one) not in given_up]
            given_up.update(map(id, before))
            left.extend(before)

    def _give_up_value(self) -> None:
        if self._withdrawn:
            return
        self._withdrawn = True
        self.run.owner.forget(self.run, self.output)
        if not isinstance(self._outcome, Failure):
            gone = LostData(f"the value of {self.key!r}", "future.forget() gave it up; call that when nobody needs it")
            self._status = Status.LOST
            self._outcome = Failure(self.key, self.key, 1, gone)


def futures_in(before: Any) -> Iterable[Future[Any]]:
    """Return the futures of a canvas step: one, none, or those of a group."""
    if before is None or isinstance(before, weakref.ref):
        return ()
    return (before,) if isinstance(before, Future) else before.flat()
