"""The sim executor: one thread, a clock that jumps, an order made of a seed.

Every delay of the real executors (retries, countdown, eta, expires, rates, timeouts) passes at once: when nothing can
run, the clock goes to the next moment at which something is due.  A task takes no time unless a test says how much.  Of
the leases that are handed out, up to `slots` at once, the next to begin is drawn from the seed: the same seed gives the
same order, and every order it gives is one that real executors may have.

Covers: the clock, the engine, stepping through time.
Does not cover: what is due when (running.frontier), seeing calls (testing.watching).
"""

from __future__ import annotations

import random
import threading
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from lazygraph.errors import InvalidOption, NestingTooDeep, TaskCancelled, TaskTimeout
from lazygraph.executors.base import Engine
from lazygraph.executors.clock import Clock
from lazygraph.executors.driver import Driver
from lazygraph.running.context import MAX_NESTING, holding, patience
from lazygraph.running.runner import Report, broken_of, run_lease
from lazygraph.running.stack import with_room

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lazygraph.executors.base import Work
    from lazygraph.planning.plan import Plan
    from lazygraph.running.run import Run


class VirtualClock(Clock):
    """A clock that stands still until somebody moves it.  Its wall begins at the system's time."""

    def __init__(self) -> None:
        self._now, self._wall = 0.0, time.time()

    def now(self) -> float:
        """Return the seconds since it was made."""
        return self._now

    def wall(self) -> float:
        """Return the virtual seconds since 1970, UTC."""
        return self._wall + self._now

    def sleep_until(self, moment: float) -> None:
        """Be at a moment; never goes back."""
        self._now = max(self._now, moment)


class _Flight:
    """A lease whose tasks were called and whose time is not over."""

    __slots__ = ("end", "reports", "work")

    def __init__(self, work: Work, end: float, reports: list[Report]) -> None:
        self.work, self.end, self.reports = work, end, reports


class SimEngine(Engine):
    """Holds `slots` leases; runs them one at a time, in an order drawn from the seed."""

    simulates = True
    """Isolated tasks run here, as all others; their timeouts are of virtual time."""

    def __init__(self, slots: int, seed: int, clock: VirtualClock, seconds_of: Callable[[Work], float]) -> None:
        self.slots = slots
        self._random, self._clock, self._seconds_of = random.Random(seed), clock, seconds_of
        self._given: list[Work] = []
        self._flights: list[_Flight] = []

    def start(self, work: Work) -> None:
        """Hold the lease until it is drawn."""
        self._given.append(work)

    def next_time(self) -> float | None:
        """Return when the next task that was called has ended."""
        return min((flight.end for flight in self._flights), default=None)

    def step(self) -> bool:
        """End what is over, or else begin one lease; return whether there was anything to do."""
        for flight in self._flights:
            if flight.end <= self._clock.now():
                self._flights.remove(flight)
                self._land(flight)
                return True
        if not self._given:
            return False
        self._begin(self._given.pop(self._random.randrange(len(self._given))))
        return True

    def _begin(self, work: Work) -> None:
        reports: list[Report] = []
        try:
            run_lease(
                work.program,
                work.tasks,
                work.values,
                reports.append,
                work.lender,
                attempt=work.attempt,
                began=work.began,
                told=work.told,
            )
        except BaseException:  # Ctrl-C: what has been handed out will not be run
            work.abandoned()
            while self._given:
                self._given.pop().abandoned()
            raise
        seconds = self._seconds_of(work)
        if work.timeout is not None and seconds > work.timeout:
            limit = seconds = work.timeout
            reports = [_ended(work, reports, lambda node, origin: TaskTimeout(node, limit, origin))]
        flight = _Flight(work, self._clock.now() + seconds, reports)
        if seconds:
            self._flights.append(flight)
        else:
            self._land(flight)

    def _land(self, flight: _Flight) -> None:
        for report in flight.reports:
            # Leases grow with the speed of tasks, as measured: here it must be the same each time.
            report.seconds = float(len(report.done) + len(report.broken))
            flight.work.report(report)
        flight.work.finished()

    def stop(self, work: Work, task: int, timeout: float = 5.0) -> bool:
        """End a task before its time."""
        for flight in self._flights:
            if flight.work is work:
                self._flights.remove(flight)
                flight.reports = [_ended(work, flight.reports, lambda node, origin: TaskCancelled())]
                self._land(flight)
                return True
        return False

    def close(self) -> None:
        """Nothing is held."""


def _ended(work: Work, reports: list[Report], why: Callable[[str, str], BaseException]) -> Report:
    """Return the report of a task that was ended before its time: whatever it came to is not known."""
    [task] = [*(t for r in reports for t in r.done), *(b.task for r in reports for b in r.broken)]
    error = why(*work.program.place_of(task, None))
    broken = broken_of(work.program, task, error)
    return Report(broken=[broken])


class SimExecutor(Driver):
    """Runs plans in the calling thread on virtual time; `submit` returns when everything has ended, unless held."""

    capabilities = Driver.capabilities | {"timeout", "isolated"}

    def __init__(self, seed: int = 0, slots: int = 8, clock: VirtualClock | None = None) -> None:
        if slots < 1:
            raise InvalidOption(f"SimExecutor(slots={slots!r}): at least one is needed")
        self.clock, self.seed = clock or VirtualClock(), seed
        self._depth = 0
        self.seconds_of: Callable[[Work], float] = lambda work: 0.0
        """How long the calls of a lease have taken."""
        self._sim = SimEngine(slots, seed, self.clock, lambda work: self.seconds_of(work))
        self._turn = threading.RLock()
        self._held = False
        super().__init__(self._sim, "sim", self.clock)

    def submit(self, plan: Plan) -> Run:
        """Run a plan; return when everything has ended.  Raises `TimeoutError` when its caller waits no longer."""
        return with_room(partial(self._submit, plan), self._give_up) if self._depth else self._submit(plan)

    def _submit(self, plan: Plan) -> Run:
        seconds, token = patience.get(), patience.set(None)
        try:
            with self._turn:
                run = super().submit(plan)
                if not self._held:
                    self._run_for(run, seconds)
                return run
        finally:
            patience.reset(token)

    def _run_for(self, run: Run, seconds: float | None) -> None:
        if seconds is None:
            self.run()
            return
        until = self.clock.now() + seconds
        self._go(until, lambda: not run.block.open)
        if run.block.open:
            self.clock.sleep_until(until)
            self.cancel(run, -1, False)
            raise TimeoutError(f"{run!r} has not ended within {seconds} s")

    def run(self, until: float | None = None) -> None:
        """Run what there is; the clock jumps to what is due next, at most to the moment `until`."""
        with self._turn:
            if until is None:
                self._go(float("inf"), self._all_done)
            else:
                self._go(until, lambda: False)
                self.clock.sleep_until(until)

    def _go(self, until: float, over: Callable[[], bool]) -> None:
        while not over() and self.clock.now() <= until:
            if self._sim.step():
                continue
            moments = (self._sim.next_time(), self.next_time())
            due = min((moment for moment in moments if moment is not None), default=None)
            if due is None or due > until:
                break
            self.clock.sleep_until(due)
            self.tick()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Inside, `submit` returns at once and time stands until `run(until=...)`; at the end what is left runs.

        Whoever waits inside, without a timeout, for what has not ended gets `WouldDeadlock`.
        """
        before, self._held, token = self._held, True, holding.set(self)
        try:
            yield
        finally:
            self._held = before
            holding.reset(token)
        if not before:
            self.run()

    @property
    def nested(self) -> SimExecutor:
        """What a task's own graphs run on: another one of the same time, which does nothing else meanwhile."""
        if self._depth >= MAX_NESTING:
            raise NestingTooDeep(MAX_NESTING)
        inner = SimExecutor(self.seed, self._sim.slots, self.clock)
        inner._depth, inner.seconds_of = self._depth + 1, self.seconds_of
        around = getattr(self._engine, "around", None)
        if around is not None:  # whoever sees what runs here sees what runs there
            inner._engine = around(inner._engine)
        return inner

    def _give_up(self) -> None:
        """Start nothing more."""
        self.close(wait=False)

    def _arm(self) -> None:
        """`run` sees to what is due."""

    def lend(self) -> None:
        """There is no other thread that could use the slot; what a task here starts by itself runs inline."""

    def take_back(self) -> None:
        """Nothing was lent."""
