"""Any `concurrent.futures.Executor` as an executor of graphs: a pool of threads, of processes, or of whatever it has.

In a pool of this process's threads values stay where they are.  Anywhere else a lease travels as one parcel
(executors.remote): the pool's workers need lazygraph, and what they compute comes back here.

Covers: leases as calls of the pool.
Does not cover: processes of our own (executors.processes).
"""

from __future__ import annotations

import concurrent.futures
import os
from typing import TYPE_CHECKING

from lazygraph.errors import InvalidOption, WorkerDied
from lazygraph.executors.base import Engine
from lazygraph.executors.driver import Driver
from lazygraph.executors.remote import Unsendable, opened, packed_plan, parcel, reads_of, run
from lazygraph.running.context import FixedSlots
from lazygraph.running.program import Program
from lazygraph.running.runner import Broken, Report, run_lease

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lazygraph.executors.base import Work
    from lazygraph.planning.plan import Plan


class PoolEngine(Engine):
    """Runs each lease as one call of a pool, `slots` of them at once."""

    def __init__(self, pool: concurrent.futures.Executor, slots: int, here: bool) -> None:
        self.pool, self.slots, self.here = pool, slots, here

    def start(self, work: Work) -> None:
        """Hand the lease to the pool; what cannot be handed over has failed, and says why."""
        try:
            if self.here:
                future = self.pool.submit(
                    run_lease, work.program, work.tasks, work.values, work.report, FixedSlots(work.lender)
                )
                future.add_done_callback(lambda _: work.finished())
                return
            self._send(work)
        except RuntimeError as error:  # the pool is shut down, or broken
            failed(work, list(work.tasks), error)

    def _send(self, work: Work) -> None:
        tasks, wanted = work.send()
        try:
            assert work.program.packed is not None
            there = parcel(work.program.packed, work.program.shape, tasks, work.values, wanted)
            future = self.pool.submit(run, there)
        except Unsendable as unsendable:
            refused(work, tasks, unsendable)
            return
        except RuntimeError as error:
            failed(work, tasks, error)
            return
        future.add_done_callback(lambda done: _back(work, tasks, done))

    def close(self) -> None:
        """The pool is its owner's to shut down."""


def _back(work: Work, tasks: Sequence[int], future: concurrent.futures.Future[bytes]) -> None:
    try:
        report, values = opened(future.result(), work.program)
    except BaseException as error:  # in a thread of the pool, which must live on
        failed(work, tasks, error)
        return
    for entry, value in values.items():
        work.values[entry] = value
    work.report(report)
    work.finished()


def failed(work: Work, tasks: Sequence[int], error: BaseException) -> None:
    """Report tasks as failed because nobody can say what became of them."""
    broken = []
    for task in tasks:
        node, origin = work.program.place_of(task, None)
        own = WorkerDied(node, 1, f"the pool: {type(error).__name__}: {error}")
        own.__cause__ = error
        broken.append(Broken(task, own, str(own), node, origin))
    work.tasks.clear()
    work.report(Report(broken=broken))
    work.finished()


def refused(work: Work, tasks: Sequence[int], unsendable: Unsendable) -> None:
    """Report the tasks that read what cannot be sent as failed, and give the others back."""
    report = Report()
    for task in tasks:
        if unsendable.entry in reads_of(work.program.shape, [task]):
            node, origin = work.program.place_of(task, None)
            report.broken.append(Broken(task, unsendable.error, str(unsendable.error), node, origin))
        else:
            report.skipped.append(task)
    work.report(report)
    work.finished()


class RemoteDriver(Driver):
    """A driver whose leases leave this process: a plan that cannot is refused before anything runs."""

    def _program(self, plan: Plan) -> Program:
        program = Program(plan.shape, plan.tables)
        program.packed = packed_plan(plan.shape, plan.tables)
        return program


class PoolExecutor(RemoteDriver):
    """Runs plans on any `concurrent.futures.Executor`, which stays its owner's: `close` does not shut it down.

    `slots`: how many leases it is given at once (default: as many workers as it says it has, else processors).
    """

    def __init__(self, pool: concurrent.futures.Executor, slots: int | None = None) -> None:
        if not (hasattr(pool, "submit") and hasattr(pool, "shutdown")):
            raise InvalidOption(f"PoolExecutor({pool!r}): a concurrent.futures.Executor is wanted")
        count = slots if slots is not None else getattr(pool, "_max_workers", None) or os.cpu_count() or 1
        if count < 1:
            raise InvalidOption(f"PoolExecutor(slots={slots!r}): at least one is needed")
        self._here = isinstance(pool, concurrent.futures.ThreadPoolExecutor)
        super().__init__(PoolEngine(pool, count, self._here), "pool")

    def _program(self, plan: Plan) -> Program:
        return Driver._program(self, plan) if self._here else super()._program(plan)
