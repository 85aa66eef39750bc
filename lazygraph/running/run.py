"""A run: one submitted plan, its futures, and what is known of its course.

Covers: settling futures by entry, waiting for the whole, groups of futures.
Does not cover: one future (running.futures), who computes (executors).
"""

from __future__ import annotations

import concurrent.futures
import itertools
import os
import threading
import time
import weakref
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, overload

from lazygraph.errors import NotImplementedYet, UsedAfterFork
from lazygraph.running.background import in_thread
from lazygraph.running.completing import AsCompleted, as_completed, left_until
from lazygraph.running.context import lent_slot
from lazygraph.running.futures import Future, futures_in
from lazygraph.running.raising import cancellation, raise_original
from lazygraph.running.waiting import Waiters
from lazygraph.values.graph import Fused, Tables
from lazygraph.values.lazy import T_co
from lazygraph.values.node import Recipe, identity
from lazygraph.values.outcome import Failure, Outcome
from lazygraph.values.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from lazygraph.planning.plan import Plan
    from lazygraph.running.owning import Owner

_numbers = itertools.count(1)


def new_number() -> int:
    """Return a number for a run that is still to be made."""
    return next(_numbers)


class Run:
    """One submission of a plan.

    `futures` are there as long as the run is held; a run that `let_go` holds them weakly, so that dropping the last
    reference to a future withdraws its claim.
    """

    def __init__(
        self,
        plan: Plan,
        owner: Owner,
        futures: Sequence[Future[Any]] | None = None,
        number: int = 0,
        keys: Sequence[str] = (),
    ) -> None:
        """Make the run of a plan; `futures` that exist already become its own, and are held weakly from the start.

        `number` is one of `new_number`.  `keys` are those of its entries, when they belong to another run.
        """
        self.number = number or new_number()
        self.label = f"{owner.prefix}{self.number}"  # the part of keys that no other run has
        self.keys = tuple(keys)
        self.id = plan.name or f"run-{self.label}"
        # Without what it reads of others: a chain of futures must not keep its first ones alive.
        self.plan = replace(plan, externals=()) if plan.externals else plan
        self.owner = owner
        self.pid = os.getpid()
        self.repack: Callable[[list[Any]], Any] = tuple
        self.block: Any = None  # the mind's, set by an executor whose mind is in this process
        self.on_error = "raise"  # or "collect", or "skip": what `result` does about outputs without a value
        self.tasks_done = 0
        self.history: dict[str, list[Failure]] = {}
        """Failed attempts that were followed by another, by key, the first first."""
        self.told: dict[str, tuple[float, float | None]] = {}
        """What tasks said last of how much of how much they have done (`self.progress`), by key."""
        self.bytes_kept: int | None = None
        self.bytes_moved: int | None = None
        self._began, self._ended = time.monotonic(), 0.0
        self._settling = threading.Lock()
        self._waiters = Waiters()
        self._first_failure: Failure | None = None
        self._detached: list[Future[Any]] | None = None
        self._places: dict[int, list[int]] = {}
        for place, entry in enumerate(plan.shape.outputs):
            self._places.setdefault(entry, []).append(place)
        self._left = len(self._places)
        outputs = range(len(plan.shape.outputs))
        made = [Future(self, place) for place in outputs] if futures is None else futures
        for place, future in enumerate(made if futures is not None else ()):
            future.run, future.output = self, place
        self._futures: list[Future[Any]] | None = list(made) if futures is None else None
        self._weak = [weakref.ref(future) for future in made]

    def __repr__(self) -> str:
        done, total = self.progress()
        return f"<Run {self.id}: {done} of {total} tasks done>"

    # -- for users ---------------------------------------------------------------------------------

    @property
    def futures(self) -> list[Future[Any]]:
        """The futures of what was asked for, in order; those that were let go are missing."""
        if self._futures is not None:
            return list(self._futures)
        return [future for ref in self._weak if (future := ref()) is not None]

    def done(self) -> bool:
        """Whether everything asked for has ended."""
        return self._left == 0

    def result(self, timeout: float | None = None) -> Any:
        """Wait for everything asked for, in the shape it was asked for.

        Raises the original exception of the first output that fails (at once when the run is `fail_fast`), and
        TimeoutError after `timeout` seconds.
        """
        self._refuse_after_fork()
        deadline = None if timeout is None else time.monotonic() + timeout
        if not self._over():
            with lent_slot([self.owner], timeout):
                if not self._waiters.wait_for(self._over, timeout):
                    raise TimeoutError(f"{self!r} has not ended within {timeout} s")
        failure = self._first_failure
        if failure is None:
            return self.repack([future.result(left_until(deadline)) for future in self.futures])
        if self.on_error != "raise":
            return self.repack([self._collected(future, deadline) for future in self.futures])
        try:
            if isinstance(failure.exception, concurrent.futures.CancelledError):
                raise cancellation(failure)
            raise_original(failure)
        finally:
            del failure, self  # a frame in a traceback must not keep a run, nor a cycle with its exception

    def _refuse_after_fork(self) -> None:
        if self.pid != os.getpid():
            raise UsedAfterFork(f"{self!r}")

    def __await__(self) -> Generator[Any, None, Any]:
        return self._awaited().__await__()

    async def _awaited(self) -> Any:
        """Return what `result` does, without holding up the event loop for it."""
        ended = as_completed(self.futures)
        try:
            async for future in ended:
                if self.plan.fail_fast and not future.successful():
                    return future.result()
            return self.result()
        finally:
            ended.close()
            del ended, self  # a frame in a traceback must not keep a run

    def _collected(self, future: Future[Any], deadline: float | None) -> Any:
        failure = future.failure(left_until(deadline))
        if failure is None:
            return future.result(left_until(deadline))
        return failure if self.on_error == "collect" else SKIPPED

    def _over(self) -> bool:
        return self._left == 0 or (self.plan.fail_fast and self._first_failure is not None)

    def cancel(self, force: bool = False) -> None:
        """Start nothing more of this run; `force=True`: have what runs leave too, see `Future.cancel`."""
        self._refuse_after_fork()
        self.owner.cancel(self, -1, force)

    def progress(self) -> tuple[int, int]:
        """Return (tasks that have succeeded, all tasks) as far as is known here; never waits."""
        self.owner.look(self)
        return self.tasks_done, len(self.plan)

    def stats(self) -> dict[str, Any]:
        """Return elapsed seconds, tasks, and on a cluster bytes kept on workers and moved between them (else None)."""
        end = self._ended or time.monotonic()
        return {
            "elapsed": end - self._began,
            "tasks": len(self.plan),
            "bytes_kept": self.bytes_kept,
            "bytes_moved": self.bytes_moved,
        }

    def explain(self) -> str:
        """Say of each output that has not ended what it waits for, a line each."""
        places = [place for places in list(self._places.values()) for place in places[:1]]
        reasons = self.owner.why(self, places)
        lines = [f"{self.key_of(place)}: {why}" for place, why in zip(places, reasons, strict=True)]
        done, total = self.progress()
        return "\n".join([f"{self.id}: {done} of {total} tasks done", *lines])

    def events(self) -> Any:
        """Not built yet: what happened, in order."""
        raise NotImplementedYet("run.events()", "run.progress() and future.status say where it stands")

    def report(self, path: str) -> Any:
        """Not built yet: a report as a file."""
        raise NotImplementedYet("run.report(path)", "run.stats() has the figures")

    # -- for whoever computes it -------------------------------------------------------------------

    def key_of(self, place: int) -> str:
        """Return the key of one output."""
        return self.key_of_entry(self.plan.shape.outputs[place])

    def key_of_entry(self, entry: int) -> str:
        """Return the key of any node of the plan: its name (of fused ones the last's), its run, its place."""
        if self.keys:
            return self.keys[entry]
        shape = self.plan.shape
        own = shape.options[shape.option[entry]]
        function = self.plan.tables.functions[shape.function[entry]] if entry >= shape.externals else None
        last = shape.names[function.steps[-1].function] if isinstance(function, Fused) else shape.name_of(entry)
        return f"{own.key or own.name or last}-{self.label}-{entry}"

    def entry_of(self, place: int) -> int:
        """Return which entry of the plan an output is."""
        return self.plan.shape.outputs[place]

    def settle(self, entry: int, status: Status, outcome: Outcome | None) -> None:
        """Note the end of one entry that was asked for; `outcome` None means its value is fetched when wanted."""
        places = self._places.pop(entry, None)
        if places is None:
            return
        for place in places:
            self._settle_at(place, status, outcome)
        with self._settling:
            self._left -= 1
            if isinstance(outcome, Failure) and self._first_failure is None:
                self._first_failure = outcome
            if not self._left:
                self._ended = time.monotonic()
                self._detached = None
                self.owner.detached.discard(self)
                self.plan = replace(self.plan, tables=_only_fused(self.plan.tables))
        self._waiters.wake()

    def _settle_at(self, place: int, status: Status, outcome: Outcome | None) -> None:
        future = self._weak[place]()
        if future is not None:
            future.settle(status, outcome)

    def fail(self, place: int, error: BaseException) -> None:
        """An output never came to run: settle it with an error of ours."""
        entry = self.entry_of(place)
        shape = self.plan.shape
        failure = Failure(shape.name_of(entry), self.key_of(place), 0, error, origin=shape.origin_of(entry))
        self.settle(entry, Status.FAILED, failure)

    def unsettled(self) -> list[int]:
        """Return the entries asked for that have not ended."""
        return list(self._places)

    def wants_values_now(self, entry: int) -> bool:
        """Whether the value of an output must be here before it is settled: somebody is called with it."""
        return any(f is not None and f.wants_value for f in (self._weak[p]() for p in self._places.get(entry, ())))

    def let_go(self) -> list[Future[Any]]:
        """Hold the futures weakly from now on; return them, for the caller to hold."""
        futures = self.futures
        self._futures = None
        self.repack = tuple  # the one for the result holds what was asked for
        return futures

    def release(self) -> None:
        """Drop all futures at once.  For whoever knows that nobody else has seen them."""
        futures, self._futures = self._futures or [], None
        for future in futures:
            del future.run  # it has nothing to say any more when it goes
        self.owner.drop_all(self)

    def detach(self) -> list[Future[Any]]:
        """Let go of the futures, but only when all have ended: what was started so runs, whoever still looks."""
        with self._settling:
            if self._left:
                self._detached = self.futures
                self.owner.detached.add(self)
        self.owner.keep(self)
        return self.let_go()

    def withdraw(self, place: int, cause: str, error: BaseException) -> None:
        """Give up one output and settle its future as cancelled; `cause` is the key of what it was for."""
        entry = self.entry_of(place)
        failure = Failure(self.plan.shape.name_of(entry), cause, 0, error)
        others = [other for other in self._places.get(entry, ()) if other != place]
        if others:  # calls that are one node: it is still wanted
            self._places[entry] = others
            self._settle_at(place, Status.CANCELLED, failure)
        else:
            self.settle(entry, Status.CANCELLED, failure)
        self.owner.drop(self, place)

    def dropped(self, place: int) -> None:
        """A future is gone."""
        self.owner.drop(self, place)


def _only_fused(tables: Tables) -> Tables:
    """Return what still matters of a run that is over: its constants may be large, and its futures be held for long."""
    return Tables(tuple(f if isinstance(f, Fused) else identity for f in tables.functions), ())


SKIPPED: Any = object()
"""Stands in results for what `on_error="skip"` leaves out."""


class GroupResult(Sequence[Future[T_co]], Recipe):
    """What starting a group gives: its members' futures, in declared order."""

    def __init__(
        self,
        futures: Iterable[Any],
        parent: Any = None,
        after: Sequence[Future[Any]] = (),
        on_error: str = "raise",
    ) -> None:
        """Make it of members; `parent` is the canvas step before, `after` are futures to wait for without a value."""
        self._members = list(futures)
        self._on_error = on_error
        self._parent = parent
        self._after = tuple(after)

    def to_nodes(self, *args: Any) -> list[Any]:
        """As an argument it is the list of its members' values."""
        if self._on_error != "raise":
            raise NotImplementedYet(
                f"the result of a group(on_error={self._on_error!r}) as an argument",
                "put the call behind the group: `|`",
            )
        return [member.to_nodes() if isinstance(member, GroupResult) else member for member in self._members]

    def __len__(self) -> int:
        return len(self._members)

    @overload
    def __getitem__(self, index: int) -> Future[T_co]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Future[T_co]]: ...
    def __getitem__(self, index: Any) -> Any:
        return self._members[index]

    def __repr__(self) -> str:
        return f"<GroupResult of {len(self)}, {self.completed_count()} completed>"

    def get(self, timeout: float | None = None, propagate: bool = True) -> list[T_co]:
        """Wait for all values, at most `timeout` seconds in all; the first failing member's exception is raised.

        With `propagate=False` it stands in its member's place instead.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        for future in self._after:
            future.get(left_until(deadline), propagate)
        if self._on_error != "raise":
            return self._tolerant(deadline)
        return [member.get(left_until(deadline), propagate) for member in self._members]

    join = result = get

    def _tolerant(self, deadline: float | None) -> list[Any]:
        values: list[Any] = []
        for member in self.flat():
            failure = member.failure(left_until(deadline))
            if failure is None:
                values.append(member.result(left_until(deadline)))
            elif self._on_error == "collect":
                values.append(failure)
        return values

    @property
    def results(self) -> list[Future[T_co]]:
        """The members."""
        return list(self._members)

    children = results

    @property
    def parent(self) -> Any:
        """The canvas step before: its Future, or the GroupResult of a group; None where nothing came before."""
        for future in futures_in(self._parent):
            future._asked = True
        return self._parent

    def completed_count(self) -> int:
        """How many members have succeeded."""
        return sum(member.successful() for member in self._members)

    def ready(self) -> bool:
        """Whether every member has ended."""
        return all(member.ready() for member in (*self._members, *self._after))

    def waiting(self) -> bool:
        """Whether some member has not ended."""
        return not self.ready()

    def successful(self) -> bool:
        """Whether every member has succeeded."""
        return all(member.successful() for member in (*self._members, *self._after))

    def failed(self) -> bool:
        """Whether some member has failed."""
        return any(member.failed() for member in (*self._members, *self._after))

    def as_completed(self) -> AsCompleted:
        """Yield futures as they end, those of groups within the group among them; for `async for` too."""
        return as_completed(self.flat())

    def flat(self) -> list[Any]:
        """Return the members' futures, those of groups within the group among them."""
        found: list[Any] = []
        stack = list(reversed(self._members))
        while stack:
            member = stack.pop()
            if isinstance(member, GroupResult):
                stack.extend(reversed(member._members))
            else:
                found.append(member)
        return found

    def __await__(self) -> Generator[Any, None, list[T_co]]:
        return self._gather().__await__()

    async def _gather(self) -> list[T_co]:
        for future in self._after:
            await future
        if self._on_error == "raise":
            return [await member for member in self._members]
        for member in self.flat():
            try:
                await member
            except BaseException:
                if not member.done():  # it is this coroutine that is cancelled
                    raise
        return self._tolerant(None)

    def cancel(self, force: bool = False) -> bool:
        """Cancel every member; True when all answered True.  `force` as in `Future.cancel`, of all at the same time."""
        # First those that have not started, or they would start in the place of those that are made to leave.
        left = [member for member in self.flat() if not member.cancel()]
        if not force or len(left) < 2:
            return not left or (force and left[0].cancel(force=True))
        answers = [in_thread(partial(member.cancel, force=True)) for member in left]
        return all(answer.result() for answer in answers)

    def revoke(self, terminate: bool = False) -> None:
        """`cancel`, as Celery calls it; `terminate=True` is `force=True`."""
        self.cancel(force=terminate)

    def forget(self) -> None:
        """Give up the values of all members and of the canvas steps before them."""
        for member in self._members:
            member.forget()
