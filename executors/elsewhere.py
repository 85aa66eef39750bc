"""Engines of other people's that keep values where they were made: what Dask, Ray and Celery have in common.

A lease is one call of the engine.  It leaves the values that others may want where the engine keeps such things, and
says by what name; the calls of leases that read them get those names as arguments.  Small plain values come back at
once.  An adapter says how a call is made (`Site`).

Covers: leases as calls, what they leave, fetching it when it is wanted.
Does not cover: an engine's own calls (executors.on_dask, on_ray, on_celery), parcels (executors.remote).
"""

from __future__ import annotations

import concurrent.futures
import sys
import threading
import weakref
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from lazygraph.errors import LazyGraphError, LostData, Unserializable, WorkerDied
from lazygraph.executors.base import OF_EVERY_MIND, Engine
from lazygraph.executors.cluster.net import codec
from lazygraph.executors.driver import Driver
from lazygraph.executors.remote import (
    Unsendable,
    opened,
    packed_lease,
    packed_plan,
    program_of,
    reads_of,
    refused,
    run,
    unknown,
)
from lazygraph.executors.reporting import Reporter
from lazygraph.running.course import settle
from lazygraph.running.events import Returned
from lazygraph.running.program import Program
from lazygraph.running.runner import Report, broken_of
from lazygraph.values.outcome import Failure, Outcome, Value
from lazygraph.values.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lazygraph.executors.base import Work
    from lazygraph.executors.clock import Clock
    from lazygraph.planning.plan import Plan
    from lazygraph.running.block import Block
    from lazygraph.running.course import Course, Ending
    from lazygraph.running.policy import Policy
    from lazygraph.running.run import Run


class Kept(NamedTuple):
    """A value that is where it was made: what a lease has left (the engine's name for all of that), and its number."""

    left: Any
    entry: int


class Call(NamedTuple):
    """A lease as an engine is asked to run it: `run_there(plan, lease, *inputs)`.

    `plan` is what `Site.place` gave; `inputs` are what earlier calls have left, as `Site.call` named it.  `policy` is
    what was said of its one task besides its call; `name` is for people.
    """

    name: str
    plan: Any
    lease: bytes
    inputs: tuple[Any, ...]
    policy: Policy | None


class RunnerGone(Exception):
    """What ran a lease has died, and maybe of it.  A report's exception; never seen by users.

    `times` is how often an engine that tries again by itself has seen it: then it is not tried again as it is.
    """

    def __init__(self, why: str, times: int = 1) -> None:
        super().__init__(why)
        self.times = times


class Hands:
    """Threads that make calls for others, and may wait.

    They are daemons, and there from the start: while the interpreter ends no pool takes a call and no thread begins.
    """

    def __init__(self, name: str, count: int = 4) -> None:
        self._calls: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._count = count
        for at in range(count):
            threading.Thread(target=_serve, args=(self._calls,), name=f"{name}-{at}", daemon=True).start()

    def call(self, function: Callable[..., object], *args: Any) -> None:
        """Have a function called soon."""
        self._calls.put(partial(function, *args))

    def close(self) -> None:
        """End the threads after what they have to do."""
        for _ in range(self._count):
            self._calls.put(None)


def _serve(calls: SimpleQueue[Callable[[], object] | None]) -> None:
    while (call := calls.get()) is not None:
        try:
            call()
        except Exception:  # an error of ours: the thread must live on
            threading.excepthook(threading.ExceptHookArgs([*sys.exc_info(), threading.current_thread()]))
        del call  # an idle thread keeps no values alive


class Site(Protocol):
    """How an engine is asked.  Its methods are called in any thread; none may wait for a task."""

    most: int
    """How many tasks a lease may have."""

    @property
    def slots(self) -> int:
        """How many leases it is given at once."""
        ...

    def place(self, plan: bytes) -> Any:
        """Bring a packed plan there; return what stands for it in calls: it is dropped with the last reference."""
        ...

    def call(self, call: Call) -> tuple[Any, concurrent.futures.Future[bytes]]:
        """Run a lease; return what stands for all that it will have left, and the future of its report."""
        ...

    def fetch(self, kept: Kept, timeout: float | None) -> tuple[bool, bytes]:
        """Return `packed(...)` of a value that was left.  Raises when it cannot be had."""
        ...

    def cancel(self, report: concurrent.futures.Future[bytes]) -> object:
        """A lease of one task is not wanted any more: if it has not begun it need not."""
        ...

    def withdraw(self, report: concurrent.futures.Future[bytes]) -> bool:
        """Take back a lease of one task that has certainly not begun; return whether that was so."""
        ...

    def close(self) -> None:
        """Give back what was made for us; what was given to us stays its owner's."""


# -- over there ------------------------------------------------------------------------------------


def run_there(
    plan: bytes, lease: bytes, *inputs: Mapping[int, Any], into: dict[int, Any] | None = None
) -> tuple[bytes, dict[int, Any]]:
    """Run a lease in this process; return its report, and what it leaves by number (in `into`, if given)."""
    left: dict[int, Any] = {} if into is None else into
    return run(program_of(plan), lease, inputs=inputs, leave=left.__setitem__), left


def packed(left: Mapping[int, Any], entry: int) -> tuple[bool, bytes]:
    """Return whether a value can travel from here, and its pickle, or else the reason as a text."""
    try:
        return True, codec.dumps(left[entry])
    except Exception as error:
        return False, f"{type(left[entry]).__name__}\n{codec.reason_of(error)}".encode()


# -- here ------------------------------------------------------------------------------------------


def _tell(work: Work, report: Report) -> None:
    work.report(report)
    work.finished()


class ElsewhereEngine(Engine):
    """Runs each lease as one call of an engine."""

    def __init__(self, site: Site, name: str) -> None:
        self.site, self.name = site, name
        self._reporter = Reporter(f"lazygraph-{name}-reports")
        self._calls: dict[int, concurrent.futures.Future[bytes]] = {}  # of leases of one task, by id

    @property
    def slots(self) -> int:  # type: ignore[override]
        """How many leases at once: an engine may grow and shrink."""
        return self.site.slots

    def start(self, work: Work) -> None:
        """Hand a lease over; what cannot be handed over has failed, and says why."""
        tasks, wanted = work.send(partial(self._unwanted, id(work)))
        program = work.program
        inputs: dict[int, tuple[int, Any]] = {}  # id of what was left -> its place among the inputs, itself
        places = []
        for entry in sorted(reads_of(program.shape, tasks).difference(tasks)):
            value = work.values[entry]
            if type(value) is Kept:
                at, _ = inputs.setdefault(id(value.left), (len(inputs), value.left))
                places.append((entry, at, value.entry))
        name, _ = program.place_of(tasks[0], None)
        try:
            lease = packed_lease(program, tasks, work.values, wanted, work.attempt, places=places)
            beside = tuple(left for _, left in inputs.values())
            left, future = self.site.call(Call(name, program.packed, lease, beside, work.policy))
        except Unsendable as unsendable:
            self._reporter.soon(partial(_tell, work, refused(program, tasks, unsendable)))
        except Exception as error:
            self._reporter.soon(partial(self._fail, work, tasks, error))
        else:
            if len(tasks) == 1:
                self._calls[id(work)] = future
            # Told in a thread of ours: what hears of it hands out more, and the engine's own threads may not wait.
            future.add_done_callback(lambda done: self._reporter.soon(partial(self._back, work, tasks, left, done)))

    def _unwanted(self, lease: int) -> None:
        """Some tasks of a lease are not wanted any more.  Others of it may have run, and are not run twice."""
        future = self._calls.get(lease)
        if future is not None:
            self.site.cancel(future)

    def withdraw(self, work: Work) -> bool:
        """Take a lease back whose one task has certainly not begun: nothing more is heard of it."""
        future = self._calls.get(id(work))
        if future is None or not self.site.withdraw(future):
            return False
        del self._calls[id(work)]
        return True

    def _back(self, work: Work, tasks: Sequence[int], left: Any, future: concurrent.futures.Future[bytes]) -> None:
        if self._calls.pop(id(work), None) is None and len(tasks) == 1:
            return  # it was withdrawn
        if future.cancelled():
            work.tasks.extend(tasks)  # none of them has begun
            work.finished()
            return
        try:
            report, values, stays = opened(future.result(), work.program)
        except RunnerGone as gone:
            if len(tasks) == 1 and gone.times > 1:
                name, _ = work.program.place_of(tasks[0], None)
                self._fail(work, tasks, WorkerDied(name, gone.times, f"{self.name}: {gone}"))
                return
            work.lost(tasks, tasks[0])  # one of them may have done it: from now on they are run one by one
            work.finished()
            return
        except BaseException as error:  # in a thread of the engine, which must live on
            self._fail(work, tasks, error)
            return
        if work.began is not None:  # over there nobody could say so
            for task in set(tasks).difference(report.skipped):
                work.began(task)
        for entry, value in values.items():
            work.values[entry] = value
        for entry in stays:
            work.values[entry] = Kept(left, entry)
        work.report(report)
        work.finished()

    def _fail(self, work: Work, tasks: Sequence[int], error: BaseException) -> None:
        if isinstance(error, LazyGraphError):  # it says what has happened
            work.report(Report(broken=[broken_of(work.program, task, error) for task in tasks]))
        else:
            work.report(unknown(work.program, tasks, error, self.name))
        work.finished()

    def close(self) -> None:
        """Give back what was made for us."""
        self.site.close()
        self._reporter.close()


class ElsewhereDriver(Driver):
    """A driver of an engine that keeps values: futures end without them, and fetch them when they are wanted."""

    capabilities = OF_EVERY_MIND

    def __init__(self, site: Site, name: str, clock: Clock | None = None) -> None:
        self._site = site
        self._callbacks = Hands(f"lazygraph-{name}-callback")
        self._bringing: list[Ending] = []
        self._withdrawn: dict[tuple[int, int], int] = {}  # entries that will not come back by themselves -> attempts
        self._elsewhere = ElsewhereEngine(site, name)
        super().__init__(self._elsewhere, name, clock)
        weakref.finalize(self, self._callbacks.close).atexit = False

    def _program(self, plan: Plan) -> Program:
        program = Program(plan.shape, plan.tables)
        program.packed = self._site.place(packed_plan(plan.shape, plan.tables))
        return program

    def _size_of_lease(self, course: Course) -> tuple[int, int]:
        """Tasks that only some workers may take are called one by one: a call has one place.

        So are those of a run that somebody has died of: then it is known of which.
        """
        restricted = any(policy is not None and policy.where for policy in course.block.policies)
        limit, most = super()._size_of_lease(course)
        highest = 1 if restricted or course.block.deaths else self._site.most
        return min(limit, highest), min(most, highest)

    @property
    def _slots(self) -> int:
        """Tasks that only some workers may take wait there for those, and keep no others from going."""
        placed = [work for work in self._busy if work.policy is not None and work.policy.where is not None]
        return super()._slots + len(placed)

    def cancel(self, run: Run, output: int, force: bool) -> bool:
        """Cancel as everywhere; first take back also what waits over there for its place."""
        if output >= 0 and run.block is not None:
            self._withdraw(run.block, run.entry_of(output))
        return super().cancel(run, output, force)

    def _withdraw(self, block: Block, entry: int) -> None:
        """Asking for it back may take a while, so the lock is not held."""
        with self._lock:
            works = [work for work in self._works_of(block) if work.order == (entry,) and not work.tasks]
        for work in works:
            if self._elsewhere.withdraw(work):
                with self._lock:
                    self._busy.remove(work)
                    if work.began is not None:
                        self._frontier.has_left(block.base, (entry,), work.attempt, self._clock.now(), ran=False)
                    self._withdrawn[block.base, entry] = work.attempt

    def _call_back(self, block: Block, entry: int) -> list[Ending]:
        """Take back also what has been taken back over there."""
        attempt = self._withdrawn.pop((block.base, entry), None)
        if attempt is not None:
            return self._handle(Returned(block, [entry], attempt))
        endings = super()._call_back(block, entry)
        if not endings:
            self._callbacks.call(self._give_up, block, entry)
        return endings

    def _give_up(self, block: Block, entry: int) -> None:
        """Nobody wants an entry any more.  Asked for in a thread that may wait: the collector has no time."""
        self._withdraw(block, entry)
        with self._lock:
            attempt = self._withdrawn.pop((block.base, entry), None)
            endings = self._handle(Returned(block, [entry], attempt)) if attempt is not None else []
        self._settle(endings)
        self._pump()

    def _known(self, value: Any) -> Outcome | None:
        return None if type(value) is Kept else Value(value)

    def _settle(self, endings: Sequence[Ending]) -> None:
        """Settle futures; one that somebody is called with gets its value first, in a thread that may wait."""
        at_once = []
        for ending in endings:
            if ending.outcome is None and ending.run.wants_values_now(ending.entry):
                self._bringing.append(ending)
                self._callbacks.call(self._settle_with_value, ending)
            else:
                at_once.append(ending)
        settle(at_once)

    def _settle_with_value(self, ending: Ending) -> None:
        try:
            outcome = self._fetch(ending.run, ending.entry, None)
        finally:
            self._bringing.remove(ending)
            self._idle.wake()
        status = Status.LOST if isinstance(outcome, Failure) else ending.status
        settle([ending._replace(status=status, outcome=outcome)])

    def _all_done(self) -> bool:
        """What somebody is to be called with must come before the engine ends."""
        return not self._bringing and super()._all_done()

    def fetch(self, run: Run, output: int, timeout: float | None) -> Outcome:
        """Bring a value here from where it is."""
        return self._fetch(run, run.entry_of(output), timeout)

    def _fetch(self, run: Run, entry: int, timeout: float | None) -> Outcome:
        shape, kept = run.plan.shape, None
        name, origin = shape.name_of(entry), shape.origin_of(entry)
        with self._lock:
            owner, at = run.block.owner(entry)
            course = self._courses.get(owner.base)
            kept = course.values[at] if course is not None else None
        error: LazyGraphError
        if type(kept) is not Kept:
            error = LostData(f"the value of {name!r}", "nobody has held it any more")
            return Failure(name, run.key_of_entry(entry), 1, error, origin=origin)
        try:
            fine, blob = self._site.fetch(kept, timeout)
        except (TimeoutError, concurrent.futures.TimeoutError):
            raise TimeoutError(f"the value of {name!r} has not come within {timeout} s") from None
        except Exception as reason:
            error = LostData(f"the value of {name!r}", f"{self.name}: {type(reason).__name__}: {reason}")
            error.__cause__ = reason
            return Failure(name, run.key_of_entry(entry), 1, error, origin=origin)
        try:
            if fine:
                return Value(codec.loads(blob))
            kind, _, why = blob.decode().partition("\n")
        except Exception as reason:
            kind, why = "value", codec.reason_of(reason)
        error = Unserializable(f"the result of {name!r}, a {kind},", f"built at {origin}", why)
        return Failure(name, run.key_of_entry(entry), 1, error, origin=origin)

    def close(self, wait: bool = True) -> None:
        """Finish what was submitted (`wait=False`: start nothing more), then let go of the engine."""
        super().close(wait)
        self._callbacks.close()
