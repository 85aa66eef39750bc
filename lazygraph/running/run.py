"""A run: one submitted plan, its futures, and what is known of its course.

Covers: settling futures by entry, waiting for the whole.
Does not cover: one future (running.futures), groups of them (running.group_result), who computes (executors).
"""

from __future__ import annotations

import concurrent.futures
import itertools
import os
import threading
import time
import weakref
from array import array
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lazygraph.errors import InvalidOption, UsedAfterFork
from lazygraph.running.completing import as_completed, left_until
from lazygraph.running.context import lent_slot
from lazygraph.running.futures import Future
from lazygraph.running.observing import Sights, moments
from lazygraph.running.places import Places
from lazygraph.running.raising import cancellation, raise_original
from lazygraph.running.waiting import Waiters
from lazygraph.values.graph import Fused, Tables
from lazygraph.values.node import identity
from lazygraph.values.outcome import Failure, Outcome, Value
from lazygraph.values.status import Status
from lazygraph.values.verbs import account_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable
    from pathlib import Path

    from lazygraph.planning.plan import Plan
    from lazygraph.running.observing import Moment
    from lazygraph.running.owning import Owner
    from lazygraph.values.verbs import Account

NO_PLACES = Places(array("i"))

_numbers = itertools.count(1)


def new_number() -> int:
    """Return a number for a run that is still to be made."""
    return next(_numbers)


class Run:
    """One submission of a plan.

    `futures` are there as long as the run is held; a run that `let_go` holds them weakly, so that dropping the last
    reference to a future withdraws its claim.  They are made when somebody asks for them: whoever wants the result of
    the whole never sees one, and what has ended is kept as it was told.
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
        self.seen = Sights(plan.shape, plan.tables) if plan.observed else None
        """What was seen of single tasks, of a run that is observed."""
        self.bytes_kept: int | None = None
        self.bytes_moved: int | None = None
        self._began, self._ended = time.monotonic(), 0.0
        self._settling = threading.Lock()
        self._waiters = Waiters()
        self._first_failure: Failure | None = None
        self._detached: list[Future[Any]] | None = None
        self._open: dict[int, None] = dict.fromkeys(plan.shape.outputs)  # entries asked for that have not ended
        self._left = len(self._open)  # the same, and those that are just being told of
        self._ends: dict[int, Outcome | None] = {}  # how the others have ended, until there are futures
        self._ends_ill: dict[int, Status] = {}  # of those that have not succeeded
        self._made: dict[int, Any] = {}  # the values of those whose value came with their end: they are not in `_ends`
        self._released = False
        self._futures: list[Future[Any]] | None = None
        self._weak: list[weakref.ref[Future[Any]]] | None = None
        self._places = NO_PLACES  # of each entry asked for, when there are futures
        if futures is not None:
            for place, future in enumerate(futures):
                future.run, future.output = self, place
            self._bear(futures)

    def __repr__(self) -> str:
        done, total = self.progress()
        return f"<Run {self.id}: {done} of {total} tasks done>"

    # -- for users ---------------------------------------------------------------------------------

    @property
    def futures(self) -> list[Future[Any]]:
        """The futures of what was asked for, in order; those that were let go are missing."""
        if self._weak is None:
            self._make_futures()
        if self._futures is not None:
            return list(self._futures)
        return [future for ref in self._weak or () if (future := ref()) is not None]

    def _make_futures(self) -> None:
        with self._settling:
            if self._weak is not None:
                return
            futures = [Future(self, place) for place in range(len(self.plan.shape.outputs))]
            self._bear(futures)
            for entry, outcome in self._ends.items():
                for place in self._places.of(entry):
                    futures[place].settle(self._ends_ill.get(entry, Status.SUCCEEDED), outcome)
            for entry, value in self._made.items():
                for place in self._places.of(entry):
                    futures[place].settle(Status.SUCCEEDED, Value(value))
            self._ends, self._made, self._futures = {}, {}, futures

    def _bear(self, futures: Sequence[Future[Any]]) -> None:
        self._places = Places(self.plan.shape.outputs)
        self._weak = [weakref.ref(future) for future in futures]

    def __del__(self) -> None:
        # One whose futures were never seen: nobody has let go of them.  The collector may call this anywhere.
        if self.__dict__.get("_weak", ()) is None and not self._released:
            self.owner.drop(self, -1)

    def done(self) -> bool:
        """Whether everything asked for has ended."""
        return self._left == 0

    @property
    def waits_for_nothing(self) -> bool:
        """Whether the end of everything asked for is known here (futures may still have to be told)."""
        return not self._open

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
            values = self._values()
            return self.repack(
                [future.result(left_until(deadline)) for future in self.futures] if values is None else values
            )
        if self.on_error != "raise":
            return self.repack([self._collected(future, deadline) for future in self.futures])
        try:
            if isinstance(failure.exception, concurrent.futures.CancelledError):
                raise cancellation(failure)
            raise_original(failure)
        finally:
            del failure, self  # a frame in a traceback must not keep a run, nor a cycle with its exception

    def _values(self) -> list[Any] | None:
        """Return the values of everything asked for; None when there are futures, or some are still to be fetched."""
        with self._settling:
            if self._weak is not None:
                return None
            ends, made, outputs = self._ends, self._made, self.plan.shape.outputs
            if not ends:
                return [made[entry] for entry in outputs]
            whole = [Value(made[entry]) if entry in made else ends[entry] for entry in outputs]
        values = [end.value for end in whole if type(end) is Value]
        return values if len(values) == len(whole) else None

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

    def waits(self) -> list[str]:
        """Say of each output that has not ended what it waits for, a line each."""
        first: dict[int, int] = {}
        for place, entry in enumerate(self.plan.shape.outputs):
            first.setdefault(entry, place)
        places = [first[entry] for entry in self.unsettled()]
        reasons = self.owner.why(self, places) if places else []
        return [f"{self.key_of(place)}: {why}" for place, why in zip(places, reasons, strict=True)]

    def explain(self) -> Account:
        """Return how it went, or how it goes and what it waits for: a text when printed, and figures.

        Of single tasks, who waited and what decided when it ended, it knows when it was started with `observe=True`.
        """
        return account_of(self)

    def events(self) -> list[Moment]:
        """Return what has happened to its tasks so far, in order.

        Raises `InvalidOption` when it was not started with `observe=True`: then nobody has seen that.
        """
        if self.seen is None:
            raise InvalidOption(f"{self!r} is not observed; start it with observe=True, or ask run.explain()")
        return moments(self.seen, self.label, self.key_of_entry)

    def report(self, path: str | Path) -> None:
        """Write what `explain` says to a file: .html (a page of its own), .json, .svg or .txt.

        Raises `InvalidOption` for another suffix, and for a picture of a run that is not observed.
        """
        account_of(self).write(path)

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
        self.settle_all([(self, entry, status, outcome)])

    def settle_all(self, ends: Iterable[tuple[Run, int, Status, Outcome | None]]) -> None:
        """Note the ends of several."""
        with self._settling:
            fresh = [end for end in ends if self._open.pop(end[1], self) is None]
            weak = self._weak
            if weak is None:
                for _, entry, status, outcome in fresh:
                    self._ends[entry] = outcome
                    if status is not Status.SUCCEEDED:
                        self._ends_ill[entry] = status
        if weak is not None:
            for _, entry, status, outcome in fresh:
                for place in self._places.of(entry):
                    self._settle_at(place, status, outcome)
        self._told_of(len(fresh), next((end for _, _, _, end in fresh if isinstance(end, Failure)), None))

    def settle_values(self, entries: Sequence[int], values: Sequence[Any]) -> None:
        """Note that several have succeeded, with these values: `settle_all`, with nothing made for each of many."""
        with self._settling:
            closed, still_open = self, self._open.pop
            fresh = [pair for pair in zip(entries, values, strict=True) if still_open(pair[0], closed) is None]
            weak = self._weak
            if weak is None:
                self._made.update(fresh)
        if weak is not None:
            for entry, value in fresh:
                for place in self._places.of(entry):
                    self._settle_at(place, Status.SUCCEEDED, Value(value))
        self._told_of(len(fresh), None)

    def _told_of(self, fresh: int, failure: Failure | None) -> None:
        """So many more have ended, one of them perhaps with a failure, and their futures know."""
        with self._settling:
            self._left -= fresh
            if self._first_failure is None:
                self._first_failure = failure
            if fresh and not self._left:
                self._ended = time.monotonic()
                self._open = {}  # an empty one: a dict keeps the room that it has had
                self._detached = None
                self.owner.detached.discard(self)
                self.plan = replace(self.plan, tables=_only_fused(self.plan.tables))
        self._waiters.wake()

    def _settle_at(self, place: int, status: Status, outcome: Outcome | None) -> None:
        future = self._weak[place]() if self._weak is not None else None
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
        return list(self._open)

    def wants_values_now(self, entry: int) -> bool:
        """Whether the value of an output must be here before it is settled: somebody is called with it."""
        if self._weak is None:
            return False
        return any(f is not None and f.wants_value for f in (self._weak[p]() for p in self._places.of(entry)))

    def let_go(self) -> list[Future[Any]]:
        """Hold the futures weakly from now on; return them, for the caller to hold."""
        futures = self.futures
        self._futures = None
        self.repack = tuple  # the one for the result holds what was asked for
        return futures

    def release(self) -> None:
        """Drop all futures at once.  For whoever knows that nobody else has seen them."""
        futures, self._futures, self._released = self._futures or [], None, True
        self.repack = tuple
        for future in futures:
            del future.run  # it has nothing to say any more when it goes
        self._ends, self._made = {}, {}
        self.owner.drop_all(self)

    def detach(self) -> list[Future[Any]]:
        """Let go of the futures, but only when all have ended: what was started so runs, whoever still looks."""
        futures = self.futures
        with self._settling:
            if self._left:
                self._detached = futures
                self.owner.detached.add(self)
        self.owner.keep(self)
        return self.let_go()

    def withdraw(self, place: int, cause: str, error: BaseException) -> None:
        """Give up one output and settle its future as cancelled; `cause` is the key of what it was for."""
        entry = self.entry_of(place)
        failure = Failure(self.plan.shape.name_of(entry), cause, 0, error)
        others = self._places.without(entry, place) if entry in self._open else []
        if others:  # calls that are one node: it is still wanted
            self._places.give_up(entry, place)
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
