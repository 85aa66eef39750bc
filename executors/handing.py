"""What a driver hands out: leases for free slots, when something is due, slots of tasks that wait.

Covers: the next lease, taking unstarted tasks back for an idle slot, the alarm.
Does not cover: events (executors.driver), what is ready (running.frontier), how a lease runs (engines).
"""

from __future__ import annotations

import threading
import weakref
from abc import abstractmethod
from functools import partial
from typing import TYPE_CHECKING

from lazygraph.errors import NestingTooDeep
from lazygraph.executors.alarm import NEAR, Alarm
from lazygraph.executors.answering import Answering
from lazygraph.running.arena import ANYWHERE
from lazygraph.running.context import MAX_NESTING
from lazygraph.running.course import Work
from lazygraph.running.events import CancelRun, Returned, Started
from lazygraph.running.hosting import show_escaped
from lazygraph.running.lease import fitting
from lazygraph.running.waiting import Waiters

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lazygraph.executors.base import Engine
    from lazygraph.executors.clock import Clock
    from lazygraph.running.block import Block
    from lazygraph.running.course import Course, Ending, Made
    from lazygraph.running.lease import Lease
    from lazygraph.running.policy import Policy
    from lazygraph.running.timing import Attempt


EARLY, SELDOM = 0.01, 0.5
"""Seconds after which it is told what has ended in a lease, although another task of it takes long; and at most between
two looks, of which each that finds nothing is followed by one after twice the time."""

ALONE = 0.001
"""Seconds for which a run that may need no second runner has none."""


class Handing(Answering):
    """The part of a driver that starts leases in an engine while there are free slots and ready tasks."""

    def __init__(self, engine: Engine, clock: Clock | None = None) -> None:
        super().__init__(clock, 1 if engine.slots == 1 else engine.rows)
        self._engine = engine
        self._alarm = Alarm(weakref.WeakMethod(self.tick))
        weakref.finalize(self, self._alarm.end).atexit = False
        # Not reentrant: the collector may drop futures while this very thread holds it, and must see that.
        self._lock = threading.Lock()
        self._idle = Waiters()
        self._lent = 0
        self._look = 0.0  # when permits may be free again of what begins now
        self._soon = 0.0  # when to look whether one runner is still enough
        self._early = 0.0  # when to look for what has ended in leases that go on; 0.0: there are none
        self._pause = EARLY  # until the look after that
        self._limited: dict[int, Attempt] = {}  # threads that are at an attempt which has permits

    @abstractmethod
    def _drain(self) -> list[Ending | Made]:
        """Take notice of futures that were dropped meanwhile."""

    # -- when a lease is over ----------------------------------------------------------------------

    def finished(self, work: Work) -> None:
        """A lease has ended; what is left in it is free again."""
        with self._lock:
            if work in self._busy:
                self._busy.remove(work)
            if not self._busy:
                self._early = 0.0
            self._has_left(work)
            self._spare_no_longer(work)
            if not work.course.block.open:
                work.course.program = None  # its constants may be large, and a future may be held for long
            endings = []
            if work.tasks:
                endings = self._handle(Returned(work.course.block, list(work.tasks), work.attempt))
        self._idle.wake()
        self._settle(endings)
        self._pump()

    def _has_left(self, work: Work) -> None:
        """See that no permit stays with a lease that is over; what is left in it has not started."""
        if work.began is not None:
            ran = [task for task in work.order if task not in work.tasks]
            self._frontier.has_left(work.course.block.base, ran, work.attempt, self._clock.now())

    def abandoned(self, work: Work) -> None:
        """The program was interrupted while it ran this lease: nothing more of its run is started, here or anywhere."""
        with self._lock:
            if work in self._busy:
                self._busy.remove(work)
            self._has_left(work)
            endings = self._handle(CancelRun(work.course.block))
        self._idle.wake()
        self._settle(endings)

    # -- slots of tasks that wait ------------------------------------------------------------------

    @property
    def _slots(self) -> int:
        return self._engine.slots + self._lent

    def lend(self) -> None:
        """A task here is about to wait for other work: one more may run meanwhile, under its limits too."""
        with self._lock:
            if self._lent >= MAX_NESTING:
                raise NestingTooDeep(MAX_NESTING)
            self._lent += 1
            attempt = self._limited.get(threading.get_ident())
            if attempt is not None:
                self._frontier.waits(*attempt, self._clock.now())
        self._pump()

    def take_back(self) -> None:
        """A task that has waited goes on, as soon as its limits allow it."""
        with self._lock:
            self._lent -= 1
        attempt = self._limited.get(threading.get_ident())
        if attempt is not None:
            self._idle.wait_for(lambda: self._goes_on(attempt))

    def _goes_on(self, attempt: Attempt) -> bool:
        with self._lock:
            return self._frontier.goes_on(*attempt)

    # -- time --------------------------------------------------------------------------------------

    def next_time(self) -> float | None:
        """Return when `tick` is next worth calling, in seconds of the clock; None when nothing waits for time."""
        with self._lock:
            return self._frontier.next_time()

    def _look_soon(self) -> None:
        """Something may have ended soon in a lease that goes on."""
        when, self._pause = self._clock.now() + EARLY, EARLY
        if not self._early or when < self._early:
            self._early = when

    def tick(self) -> None:
        """Do what is due."""
        if self._early and self._early <= self._clock.now():
            try:
                self._engine.tell_early()
            except Exception:  # of ours: what is due must still be done
                show_escaped()
            with self._lock:
                together = any(len(work.order) > 1 for work in self._busy)
                self._early = self._clock.now() + self._pause if together else 0.0
                self._pause = min(2 * self._pause, SELDOM)
        with self._lock:
            endings = self._perform(self._frontier.tick(self._clock.now()))
        self._settle(endings)
        self._pump()

    # -- handing out -------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Start leases while there are free slots and ready tasks."""
        while True:
            with self._lock:
                endings = self._drain()
                work = self._next_work(endings)
                if work is None:
                    self._arm()
                else:
                    self._busy.append(work)
            self._settle(endings)
            if work is None:
                return
            try:
                self._engine.start(work)
            except BaseException:  # Ctrl-C, in a task or just here
                self.abandoned(work)
                raise

    def _arm(self) -> None:
        """See that `tick` is called in time."""
        now, when = self._clock.now(), self._frontier.next_time()
        if self._look > now:
            when = self._look if when is None else min(when, self._look)
        if self._soon > now:
            when = self._soon if when is None else min(when, self._soon)
        if self._early:
            when = self._early if when is None else min(when, self._early)
        if when is None:
            self._alarm.off()
        else:
            self._alarm.ring_in(when - now + NEAR)  # a start comes a little after its report, the next one must too

    def _next_work(self, endings: list[Ending | Made]) -> Work | None:
        """Return the next lease, or None; what has ended on the way is added to `endings`."""
        if len(self._busy) >= self._slots:
            if self._frontier.prioritized and self._frontier.next_block() is not None:
                endings += self._make_way(self._frontier.urgency(ANYWHERE))
            return self._next_following()
        block = self._frontier.next_block()
        if block is None and self._take_back(endings):
            block = self._frontier.next_block()
        if block is None or self._one_is_enough(block):
            return self._next_following()
        course = self._courses[block.base]
        limit, most = self._size_of_lease(course, self._frontier.ready())
        lease = self._frontier.lease(limit, most=most)
        return self._work_of(self._courses[lease.block.base], lease) if lease is not None else None

    def _one_is_enough(self, block: Block) -> bool:
        """Whether a run goes on with the one runner that it has: a second would cost more than it does.

        For its first `ALONE` seconds that is so: what its first tasks take says little, when nothing is warm.
        """
        row = block.row
        if row is None or row.leased == row.done or self._lent:
            return False
        course, now = self._courses[block.base], self._clock.now()
        course.alone_until = course.alone_until or now + ALONE
        if now < course.alone_until:
            self._soon = max(self._soon, course.alone_until)
            return True
        return course.tiny and all(now - work.since < EARLY for work in self._works_of(block))

    def _next_following(self) -> Work | None:
        """Return the next lease of what is not ready, for engines in which it can wait."""
        return None

    def _work_of(self, course: Course, lease: Lease) -> Work:
        block = course.block
        self._fill_externals(course, lease.tasks)
        work = Work(self, course, lease, self._clock.now())
        if len(lease.tasks) > 1 and self._engine.tells_early:
            self._look_soon()
        policy = block.policy(lease.tasks[0]) if block.special else None
        if policy is not None:
            work.policy, work.isolated, work.timeout = policy, policy.isolated, policy.timeout
            if policy.limits:
                work.began = partial(self._began, work)
                self._look_after(policy)
        if work.program.bound:
            work.told = partial(self._told, work)
        return work

    def _look_after(self, policy: Policy) -> None:
        """See that the alarm is set before a task begins that others wait for under a rate.

        To wake its thread only then would hold up the task between the report of its start and the start, and the next
        one would follow too closely.
        """
        windows = [window.seconds for limit in policy.limits for window in limit.windows]
        if windows:
            self._look = self._clock.now() + min(windows)
            self._arm()

    def _size_of_lease(self, course: Course, ready: int) -> tuple[int, int]:
        """Return how many of so many ready tasks to hand out together, and how many with those sent ahead."""
        return fitting(course.seconds_per_task, ready, self._engine.slots)

    def _told(self, work: Work, task: int, done: float, total: float | None) -> None:
        run = work.course.run
        if run is not None:
            run.told[work.program.key_of(task)] = done, total

    def _began(self, work: Work, task: int) -> None:
        with self._lock:
            self._limited[threading.get_ident()] = (work.course.block.base, task, work.attempt)
            endings = self._handle(Started(work.course.block, task, work.attempt))
            self._arm()  # from here on the next permit is a matter of time
        self._settle(endings)

    def _fill_externals(self, course: Course, tasks: Sequence[int]) -> None:
        k = course.block.shape.externals
        if not k:
            return
        for task in tasks:
            for read in course.block.inputs_of(task):
                if read < k:
                    owner, entry = course.block.owner(read)
                    course.values[read] = self._courses[owner.base].values[entry]

    def _make_way(self, urgency: int) -> list[Ending | Made]:
        """All slots are taken: take back what is less urgent than what waits, and has not started."""
        endings: list[Ending | Made] = []
        for work in self._busy:
            if taken := work.take_less_urgent(urgency):
                endings += self._handle(Returned(work.course.block, taken, work.attempt))
        return endings

    def _take_back(self, endings: list[Ending | Made]) -> bool:
        """A slot is idle: free the later half of the longest lease, if something in it could run elsewhere.

        The whole tail goes back, because what stands later in a lease may need what stands earlier.
        """
        longest = max(self._busy, key=lambda work: len(work.tasks), default=None)
        if longest is not None and self._one_is_enough(longest.course.block):
            return self._take_sent(endings)
        waiting = list(longest.tasks) if longest is not None else []
        late = longest is not None and self._clock.now() - longest.since > EARLY  # then also the last one
        later = waiting[(len(waiting) + (not late)) // 2 :]
        # Decided before anything is taken: to a lease that the runner has emptied meanwhile nothing can be given back.
        if longest is None or not any(longest.course.block.pending[task] == 0 for task in later):
            return self._take_sent(endings)
        taken = longest.take_from(later[0])
        endings += self._handle(Returned(longest.course.block, taken, longest.attempt))
        return bool(taken)

    def _take_sent(self, endings: list[Ending | Made]) -> bool:
        """Take back what waits somewhere else behind a task that takes long."""
        now = self._clock.now()
        for work in self._busy:
            if len(work.sent) > 1 and now - work.since > EARLY:
                work.since = now  # nobody asks for some time
                if taken := work.take_sent():
                    endings += self._handle(Returned(work.course.block, taken, work.attempt))
                    return True
        return False
