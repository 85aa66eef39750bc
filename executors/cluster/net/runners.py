"""The runner threads of a worker: they take leases from a queue and say what came of them.

Covers: threads, hooks around tasks, isolated tasks, making a running attempt leave.
Does not cover: what is told to the scheduler and when (net.worker_server), running a lease (running.runner), children
(executors.warm).
"""

from __future__ import annotations

import itertools
import threading
from functools import partial
from queue import SimpleQueue
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

from lazygraph.errors import TaskCancelled, WorkerDied
from lazygraph.executors.cluster.net.nesting import of_this_worker
from lazygraph.running.frontier import MAX_DEATHS
from lazygraph.running.hooks import Hooked
from lazygraph.running.hosting import Host
from lazygraph.running.observing import observed
from lazygraph.running.runner import Report, broken_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lazygraph.executors.cluster.net.nesting import Nesting
    from lazygraph.executors.cluster.offers import Offer
    from lazygraph.executors.cluster.worker_machine import WorkLease
    from lazygraph.running.hooks import Hooks
    from lazygraph.running.program import Program


class Isolating(Protocol):
    """What runs isolated tasks (executors.isolated, which this floor does not import)."""

    def run(self, lease: Any) -> None:
        """Run the one task of a lease in a child process, and report."""

    def stop(self, lease: Any, task: int, timeout: float) -> bool:
        """Kill a task that runs in a child; return whether it has left within `timeout` seconds."""
        ...


class Teller(Protocol):
    """Who hears of what runner threads do; called in their threads."""

    def report(self, lease: WorkLease, report: Report) -> None:
        """What a lease has done since it was last heard of."""

    def began(self, lease: WorkLease, task: int) -> None:
        """A task begins."""

    def told(self, lease: WorkLease, task: int, done: float, total: float | None) -> None:
        """A task says how far it is."""

    def parked(self, lease: WorkLease) -> None:
        """What is left of a lease is only awaited, and holds no thread."""

    def over(self, lease: WorkLease) -> None:
        """Nothing more of a lease will be reported."""

    def escaped(self, lease: WorkLease, error: BaseException) -> None:
        """A lease could not be run to its end, and nobody runs it any more."""


class Running:
    """A lease in the hands of a thread, as running.hosting wants to know it, and executors.warm an isolated one."""

    # Nothing here leads back to itself: the collector comes rarely, and values are to go when nobody wants them.

    def __init__(self, lease: WorkLease, runners: Runners, teller: Teller) -> None:
        self._teller, self._runners = teller, runners
        self.lease, self.tasks, self.values = lease, lease.tasks, lease.values
        self.program: Program = lease.program if lease.watch is None else observed(lease.program, lease.watch)
        self.attempt, self.timeout, self.isolated = lease.attempt, lease.timeout, lease.isolated
        self.hooked: Any = None  # an isolated one with hooks around it
        self.stopped = False
        self._deaths = 0
        self._begun: list[int] = []
        self._told: list[Sequence[int]] = []  # which have been reported as done
        self._early: set[int] = set()  # of those, the ones that a runner has still to report, as far as it knows
        self._reporting = threading.Lock()

    @property
    def began(self) -> Callable[[int], None] | None:
        """To be called when a task begins; the scheduler is told, if it wants to know at once."""
        if self.lease.tell:
            return self._begins
        return None if self.isolated else self._begun.append

    def _begins(self, task: int) -> None:
        self._begun.append(task)
        self._teller.began(self.lease, task)

    @property
    def told(self) -> Callable[[int, float, float | None], None]:
        """To be called when a task says how far it is."""
        return partial(self._teller.told, self.lease)

    @property
    def lender(self) -> Any:
        """What a task of it that waits gives its slot to; True: it keeps it."""
        nesting = self._runners.nesting
        return nesting.of(self.give_back) if nesting is not None else True

    def give_back(self) -> None:
        """A task of it is about to wait, for what stands before or behind it, perhaps.

        What has been done is told now, and what has not begun is for others.
        """
        with self._reporting:
            told = {task for tasks in self._told for task in tasks}
            done = [task for task in self._begun[:-1] if task not in told and task in self.values]
            self._early.update(done)
            self._told.append(done)
        rest = []
        while self.tasks:
            try:
                rest.append(self.tasks.pop())
            except IndexError:  # somebody else took it
                break
        if rest or done:
            self._teller.report(self.lease, Report(done=done, skipped=rest[::-1]))

    def report(self, report: Report) -> None:
        """Tell what has been done."""
        with self._reporting:
            if self._early:
                report.done = [task for task in report.done if task not in self._early]
                report.broken = [broken for broken in report.broken if broken.task not in self._early]
            self._told.append(report.done)
        self._teller.report(self.lease, report)

    def finished(self) -> None:
        """Tell that nothing more of it is to come."""
        self._runners.forget(self.lease)
        self._teller.over(self.lease)

    def lost(self, tasks: Sequence[int], suspect: int | None) -> None:
        """The child of an isolated task has died by itself: try another, as often as workers may die of a task."""
        (task,) = tasks
        self._deaths += suspect is not None
        policy = self.lease.policy
        once = policy is not None and policy.at_most_once and suspect is not None
        if once or self._deaths > MAX_DEATHS:
            node, _ = self.program.place_of(task, None)
            error = WorkerDied(node, self._deaths, f"a child of {self._runners.offer.name}")
            self.report(Report(broken=[broken_of(self.program, task, error)]))
            return
        self.tasks.append(task)
        if self.stopped:  # first the task, then the look; whoever stops it does it the other way round
            self.withdraw(task)

    def withdraw(self, task: int) -> bool:
        """End a task as cancelled if it has not begun; return whether that is so."""
        try:
            self.tasks.remove(task)
        except ValueError:
            return False
        self.report(Report(broken=[broken_of(self.program, task, TaskCancelled())]))
        return True


class _HookedIsolated:
    """An isolated lease whose one task has hooks around it, here: its child has none."""

    def __init__(self, running: Running, hooked: Any) -> None:
        self._running, self._hooked = running, hooked
        self._record, self._since = hooked.begin(running.lease.order[0]), perf_counter()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._running, name)

    def lost(self, tasks: Sequence[int], suspect: int | None) -> None:
        record = self._record
        self._hooked.end(record, self._since, WorkerDied(record.name, 1, f"a child of {record.worker}"))
        self._running.lost(tasks, suspect)

    def report(self, report: Report) -> None:
        for broken in report.broken:
            self._hooked.end(self._record, self._since, broken.exception)
        for task in report.done:
            self._hooked.end(self._record, self._since, None, self._running.values[task])
        for _, plan in report.replaced:
            self._hooked.end(self._record, self._since, None, plan)
        self._running.report(report)


class Runners:
    """As many threads as the worker offers; each runs one lease after another."""

    def __init__(self, offer: Offer, hooks: Hooks, isolating: Isolating) -> None:
        self.offer = offer
        self._hooks, self._isolating = hooks, isolating
        self.nesting: Nesting | None = None
        self._queue: SimpleQueue[WorkLease | None] = SimpleQueue()
        self._names = itertools.count()
        self._host = Host(lambda more: None)
        self._running: dict[WorkLease, Running] = {}

    def start(self, teller: Teller) -> None:
        """Start the threads; they end with the process."""
        self._teller = teller
        self.more(self.offer.threads)

    def more(self, threads: int) -> None:
        """Have so many more threads; fewer, if negative, as soon as some have nothing to do."""
        for _ in range(threads):
            name = f"lazygraph-task-{next(self._names)}"
            threading.Thread(target=self._serve, args=(self._teller,), name=name, daemon=True).start()
        for _ in range(-threads):
            self._queue.put(None)

    def take(self, lease: WorkLease) -> None:
        """Run a lease when a thread is free, after those that came before it."""
        self._queue.put(lease)

    def tell_early(self) -> None:
        """Have that told which has ended in leases whose running tasks take long."""
        self._host.tell_early()

    def forget(self, lease: WorkLease) -> None:
        """A lease is over."""
        del self._running[lease]

    def stop(self, lease: WorkLease, task: int, timeout: float) -> bool:
        """Make a task of a lease leave that has begun; return whether it has within `timeout` seconds."""
        running = self._running.get(lease)
        if running is None:
            return True
        if not running.isolated:
            return self._host.stop(running, task, timeout)
        running.stopped = True
        return running.withdraw(task) or self._isolating.stop(running.hooked or running, task, timeout)

    def _serve(self, teller: Teller) -> None:
        of_this_worker.set(self.nesting)
        while (lease := self._queue.get()) is not None:
            running = self._running[lease] = Running(lease, self, teller)
            try:
                over = self._run(running)
            except BaseException as error:  # not a task's: those are reported.  This thread has others to run
                teller.escaped(lease, error)
                over = True
            if over:
                running.finished()
            else:
                teller.parked(lease)
            del lease, running  # an idle thread keeps no values alive

    def _run(self, running: Running) -> bool:
        """Run a lease; return False when something of it is still awaited, without this thread."""
        program: Any = running.program
        if self._hooks.around_tasks:
            program = Hooked(program, self._hooks, running.attempt, self.offer.name)
        if not running.isolated:
            return self._host.run(running, program)
        while running.tasks:  # again, when its child has died
            if self._hooks.around_tasks:
                running.hooked = _HookedIsolated(running, program)
            self._isolating.run(running.hooked or running)
        running.hooked = None
        return True
