"""Engines of other people's that keep values where they were made: what Dask, Ray and Celery have in common.

A lease is one call of the engine.  It leaves the values that others may want where the engine keeps such things, and
says by what name; the calls of leases that read them get those names as arguments.  Small plain values come back at
once.  An adapter says how a call is made (`Site`).

Covers: leases as calls, what they leave, fetching it when it is wanted.
Does not cover: an engine's own calls (executors.on_dask, on_ray, on_celery), parcels (executors.remote).
"""

from __future__ import annotations

import concurrent.futures
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from lazygraph.errors import EngineFailed, LazyGraphError, LostData, Unserializable, WorkerDied
from lazygraph.executors.away import Away, Waits
from lazygraph.executors.base import OF_EVERY_MIND, Engine
from lazygraph.executors.cluster.net import codec
from lazygraph.executors.following import Following
from lazygraph.executors.hands import Hands
from lazygraph.executors.leaving import IF_MADE, SMALL_ONES
from lazygraph.executors.remote import (
    Unsendable,
    opened,
    packed_lease,
    packed_plan,
    reads_of,
    refused,
    unknown,
)
from lazygraph.executors.reporting import Reporter
from lazygraph.executors.saying import Heard
from lazygraph.running.course import Ending, settle
from lazygraph.running.lease import fitting
from lazygraph.running.program import Program
from lazygraph.running.runner import Report, broken_of
from lazygraph.values.outcome import Failure, Outcome, Value
from lazygraph.values.status import State, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lazygraph.executors.base import Work
    from lazygraph.executors.clock import Clock
    from lazygraph.planning.plan import Plan
    from lazygraph.running.course import Course, Made
    from lazygraph.running.policy import Policy
    from lazygraph.running.run import Run


WORTH_A_CALL = 0.005
"""Seconds of work that are not split into several calls: each takes about as long for itself."""

DEARER = 2
"""How many times as much work as a lease of processes one may have at most that is a call."""


class Kept(NamedTuple):
    """A value that is where it was made: what a lease has left (the engine's name for all of that), and its number."""

    left: Any
    entry: int


class Call(NamedTuple):
    """A lease as an engine is asked to run it, by `executors.remote.run` in another process.

    `plan` is what `Site.place` gave; `inputs` are what earlier calls have left, as `Site.call` named it, or (where it
    `sends_ahead`) will have left.  `policy` is what was said of its one task besides its call; `name` is for people.
    """

    name: str
    plan: Any
    lease: bytes
    inputs: tuple[Any, ...]
    policy: Policy | None


class GivenUp(Exception):
    """An engine has not run a lease to its end, or cannot say: why, and what to do.  A report's exception.

    Users see an `EngineFailed` for each of its tasks.
    """

    def __init__(self, why: str, hint: str = "") -> None:
        super().__init__(why)
        self.why, self.hint = why, hint


class RunnerGone(Exception):
    """What ran a lease has died, and maybe of it.  A report's exception; never seen by users.

    `times` is how often an engine that tries again by itself has seen it: then it is not tried again as it is.  `alone`
    is what a task has failed with that was alone in its lease, when it would always end so.
    """

    def __init__(self, why: str, times: int = 1, alone: GivenUp | None = None) -> None:
        super().__init__(why)
        self.times, self.alone = times, alone


class Site(Protocol):
    """How an engine is asked.  Its methods are called in any thread; none may wait for a task."""

    most: int
    """How many tasks a lease may have."""

    sends_ahead: bool
    """Whether a call may read what others have not left yet: it waits for that, and ends without it as they do."""

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
        """Return whether a value that was left can travel, and its pickle; else its type and, in a new line, why not.

        Raises when it cannot be had.
        """
        ...

    def cancel(self, report: concurrent.futures.Future[bytes]) -> object:
        """A lease is not wanted any more: if it has not begun it need not."""
        ...

    def withdraw(self, report: concurrent.futures.Future[bytes]) -> bool:
        """Take back a lease that has certainly not begun; return whether that was so."""
        ...

    def lacks(self) -> str:
        """Say why nothing that it has been given can begin just now, as far as that is known; else "".  May ask."""
        ...

    def listen(self, hear: Callable[[bytes], object]) -> None:
        """From now on bring what leases say while they run to `hear`, in any thread."""
        ...

    def close(self) -> None:
        """Give back what was made for us; what was given to us stays its owner's."""


def _tell(work: Work, report: Report) -> None:
    work.report(report)
    work.finished()


def _given_up(program: Program, tasks: Sequence[int], error: GivenUp, engine: str) -> Report:
    report = Report()
    for task in tasks:
        own = EngineFailed(program.place_of(task, None)[0], engine, error.why, error.hint)
        own.__cause__ = error.__cause__
        report.broken.append(broken_of(program, task, own))
    return report


class ElsewhereEngine(Engine):
    """Runs each lease as one call of an engine."""

    def __init__(self, site: Site, name: str) -> None:
        self.site, self.name = site, name
        self._reporter = Reporter(f"lazygraph-{name}-reports")
        self.waits = Waits()
        self._away: dict[int, Away] = {}  # leases of one task, and those that went ahead, by id
        self.heard = Heard()
        site.listen(lambda said: self._reporter.soon(partial(self.heard.hear, said)))

    @property
    def slots(self) -> int:  # type: ignore[override]
        """How many leases at once: an engine may grow and shrink."""
        return self.site.slots

    def start(self, work: Work) -> None:
        """Hand a lease over; what cannot be handed over has failed, and says why."""
        tasks, wanted = work.send(partial(self._unwanted, id(work)))
        if not tasks:  # all of it was given up since it was handed out
            self._reporter.soon(work.finished)
            return
        program = work.program
        inputs: dict[int, tuple[int, Any]] = {}  # id of what was left -> its place among the inputs, itself
        places = []
        awaits: Mapping[int, Away] = work.awaits or {}
        for entry in sorted(reads_of(program.shape, tasks).difference(tasks, awaits)):
            value = work.values[entry]
            if type(value) is Kept:
                at, _ = inputs.setdefault(id(value.left), (len(inputs), value.left))
                places.append((entry, at, value.entry))
        for entry, other in awaits.items():
            at, _ = inputs.setdefault(id(other.left), (len(inputs), other.left))
            places.append((entry, at, IF_MADE))
        shares = self.site.sends_ahead and work.policy is None and len(work.outside) > 0
        if shares:
            wanted.append(SMALL_ONES)
        name, _ = program.place_of(tasks[0], None)
        try:
            number = self.heard.expect(work)
            lease = packed_lease(program, tasks, work.values, wanted, work.attempt, places=places, number=number)
            beside = tuple(left for _, left in inputs.values())
            left, future = self.site.call(Call(name, program.packed, lease, beside, work.policy))
        except Unsendable as unsendable:
            self.heard.over(work)
            self._reporter.soon(partial(_tell, work, refused(program, tasks, unsendable)))
        except Exception as error:
            self._reporter.soon(partial(self._not_begun if awaits else self._fail, work, tasks, error))
        else:
            lease_there = Away(work, tasks, left, future)
            if awaits:
                self.waits.follow(lease_there, awaits.values())
            if len(tasks) == 1 or awaits:
                self._away[id(work)] = lease_there
            if shares:
                work.under_way(lease_there)
            # Told in a thread of ours: what hears of it hands out more, and the engine's own threads may not wait.
            future.add_done_callback(lambda _: self._reporter.soon(partial(self._back, work, lease_there)))

    def _unwanted(self, lease: int) -> None:
        """Some tasks of a lease are not wanted any more.  Others of it may have run, and are not run twice."""
        away = self._away.get(lease)
        if away is None or away.report is None or away.work is None:
            return
        if len(away.tasks) == 1 or away.work.given_up:
            self.site.cancel(away.report)

    def withdraw(self, work: Work) -> bool:
        """Take a lease back that has certainly not begun, if it is one of those: nothing more is heard of it."""
        away = self._away.get(id(work))
        if away is None or away.report is None or not self.site.withdraw(away.report):
            return False
        del self._away[id(work)]
        self._end(away, False)
        self.heard.over(work)
        return True

    def _end(self, away: Away, well: bool) -> None:
        for then in self.waits.end(away, well):
            self._reporter.soon(then)

    def _not_begun(self, work: Work, tasks: Sequence[int], error: BaseException | None = None) -> None:
        self.heard.over(work)
        work.tasks.extend(tasks)
        work.finished()

    def _back(self, work: Work, away: Away) -> None:
        future, tasks = away.report, away.tasks
        if future is None:
            return  # it was withdrawn
        begun = self.heard.over(work)
        self._away.pop(id(work), None)
        if future.cancelled():
            self._end(away, False)
            self._not_begun(work, tasks)
            return
        try:
            report, values, stays = opened(future.result(), work.program, work.told)
        except BaseException as error:  # in a thread of the engine, which must live on
            if self.waits.after(away, partial(self._without_report, work, away, error)):
                self._without_report(work, away, error)
            return
        if work.began is not None:  # of what is short it is not said
            for task in set(tasks).difference(report.skipped, begun):
                work.began(task)
        for entry, value in values.items():
            work.values[entry] = value
        for entry in stays:
            work.values[entry] = Kept(away.left, entry)
        self._end(away, True)
        work.report(report)
        work.finished()

    def _without_report(self, work: Work, away: Away, error: BaseException) -> None:
        """A lease has ended otherwise; all that it waited for has ended, too, so that it is known of what."""
        tasks = away.tasks
        self._end(away, False)
        if away.lacks or (away.ahead and isinstance(error, LostData)):
            self._not_begun(work, tasks)
        elif isinstance(error, RunnerGone) and len(tasks) == 1 and (error.times > 1 or error.alone is not None):
            name, _ = work.program.place_of(tasks[0], None)
            self._fail(work, tasks, error.alone or WorkerDied(name, error.times, f"{self.name}: {error}"))
        elif isinstance(error, RunnerGone):
            work.lost(tasks, tasks[0])  # one of them may have done it: from now on they are run one by one
            work.finished()
        else:
            self._fail(work, tasks, error)

    def _fail(self, work: Work, tasks: Sequence[int], error: BaseException) -> None:
        self.heard.over(work)
        if isinstance(error, LazyGraphError):  # it says what has happened
            work.report(Report(broken=[broken_of(work.program, task, error) for task in tasks]))
        elif isinstance(error, GivenUp):
            work.report(_given_up(work.program, tasks, error, self.name))
        else:
            work.report(unknown(work.program, tasks, error, self.name))
        work.finished()

    def close(self) -> None:
        """Give back what was made for us."""
        self.site.close()
        self._reporter.close()


class ElsewhereDriver(Following):
    """A driver of an engine that keeps values: futures end without them, and fetch them when they are wanted."""

    capabilities = OF_EVERY_MIND

    def __init__(self, site: Site, name: str, clock: Clock | None = None) -> None:
        self._site = site
        self._callbacks = Hands(f"lazygraph-{name}-callback")
        self._bringing: list[Ending] = []
        self._elsewhere = ElsewhereEngine(site, name)
        super().__init__(self._elsewhere, name, clock, self._elsewhere.waits if site.sends_ahead else None)
        weakref.finalize(self, self._callbacks.close).atexit = False

    def _program(self, plan: Plan) -> Program:
        program = Program(plan.shape, plan.tables)
        program.packed = self._site.place(packed_plan(plan.shape, plan.tables))
        return program

    def _size_of_lease(self, course: Course, ready: int) -> tuple[int, int]:
        """A call costs more than a few short tasks: less than that is not shared out.

        Tasks that only some workers may take are called one by one: a call has one place.
        So are those of a run that somebody has died of: then it is known of which.
        """
        restricted = any(policy is not None and policy.where for policy in course.block.policies)
        seconds = course.seconds_per_task
        limit, most = fitting(None if seconds is None else seconds / DEARER, ready, self._site.slots)
        if seconds is not None:
            limit = max(limit, min(most, int(WORTH_A_CALL / max(seconds, 1e-7))))
        highest = 1 if restricted or course.block.deaths else self._site.most
        return min(limit, highest), min(most, highest)

    def _aside(self, function: Callable[..., object], *args: Any) -> None:
        self._callbacks.call(function, *args)

    def _fetched_back(self, work: Work) -> bool:
        return self._elsewhere.withdraw(work)

    def status_of(self, run: Run, output: int) -> Status | None:
        """Return how far an output is; what the engine has been given runs when it has been heard to."""
        status, block = super().status_of(run, output), run.block
        if status is not Status.RUNNING or State(block.state[run.entry_of(output)]) is not State.LEASED:
            return status
        return status if self._elsewhere.heard.runs(block, run.entry_of(output)) else Status.QUEUED

    def why(self, run: Run, outputs: Sequence[int]) -> list[str]:
        """Say of outputs what they wait for, also of those that the engine has been given."""
        reasons, block = super().why(run, outputs), run.block
        entries = [run.entry_of(output) for output in outputs]
        there = [at for at, entry in enumerate(entries) if block.state[entry] == State.LEASED]
        lacks = self._site.lacks() if there else ""
        for at in there:
            begun = self._elsewhere.heard.runs(block, entries[at])
            reasons[at] = f"runs on {self.name}" if begun else f"is with {self.name}" + (f": {lacks}" if lacks else "")
        return reasons

    def _succeeded(self, run: Run, outputs: Sequence[int], values: Sequence[Any]) -> list[Ending | Made]:
        return [Ending(run, entry, Status.SUCCEEDED, self._known(values[entry])) for entry in outputs]

    def _known(self, value: Any) -> Outcome | None:
        return None if type(value) is Kept else Value(value)

    def _settle(self, endings: Sequence[Ending | Made]) -> None:
        """Settle futures; one that somebody is called with gets its value first, in a thread that may wait."""
        at_once = []
        for ending in endings:
            if type(ending) is Ending and ending.outcome is None and ending.run.wants_values_now(ending.entry):
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
