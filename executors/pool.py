"""Any `concurrent.futures.Executor` as an executor of graphs: a pool of threads, of processes, or of whatever it has.

In a pool of this process's threads values stay where they are.  Anywhere else a lease travels as one parcel
(executors.remote): the pool's workers need lazygraph, and what they compute comes back here.

Covers: leases as calls of the pool.
Does not cover: processes of our own (executors.processes).
"""

from __future__ import annotations

import concurrent.futures
import os
from functools import partial
from typing import TYPE_CHECKING, Any

from lazygraph.errors import Closed, InvalidOption
from lazygraph.executors.base import Engine
from lazygraph.executors.driver import Driver
from lazygraph.executors.remote import (
    Unsendable,
    opened,
    packed_lease,
    packed_plan,
    refused,
    run_parcels,
    unknown,
)
from lazygraph.executors.reporting import Reporter
from lazygraph.running.context import FixedSlots
from lazygraph.running.program import Program
from lazygraph.running.runner import Report, broken_of, run_lease
from lazygraph.running.slot import Slot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lazygraph.executors.base import Work
    from lazygraph.planning.plan import Plan


class PoolEngine(Engine):
    """Runs each lease as one call of a pool, `slots` of them at once.

    What a pool calls back may be called anywhere, so what follows from it is done by a thread of this engine's.  From a
    pool of processes nothing comes back before the end of its call: what has ended in a lease is told with the rest.
    """

    def __init__(self, pool: concurrent.futures.Executor, slots: int, here: bool) -> None:
        self.pool, self.slots, self.here = pool, slots, here
        self.tells_early = here
        self._slots: dict[int, Slot] = {}  # of what runs here, by the identity of leases
        self._reporter = Reporter("lazygraph-pool")

    def start(self, work: Work) -> None:
        """Hand the lease to the pool; what cannot be handed over has failed, and says why."""
        tasks, wanted = ([], []) if self.here else work.send()
        try:
            future = self._submit(work, tasks, wanted)
        except Exception as error:
            self._reporter.soon(partial(_not_taken, work, tasks, error))
        else:
            future.add_done_callback(lambda done: self._reporter.soon(partial(_back, work, tasks, done)))

    def _submit(self, work: Work, tasks: Sequence[int], wanted: Sequence[int]) -> concurrent.futures.Future[Any]:
        if self.here:
            return self.pool.submit(self._run_here, work)
        assert work.program.packed is not None
        lease = packed_lease(work.program, tasks, work.values, wanted, work.attempt)
        return self.pool.submit(run_parcels, work.program.packed, lease)

    def _run_here(self, work: Work) -> None:
        slot = self._slots[id(work)] = Slot()
        try:
            run_lease(
                work.program,
                work.tasks,
                work.values,
                work.report,
                FixedSlots(work.lender),
                attempt=work.attempt,
                began=work.began,
                told=work.told,
                slot=slot,
            )
        finally:
            del self._slots[id(work)]

    def tell_early(self) -> None:
        """Have that reported which has ended while a task takes long, in threads of this process."""
        for slot in list(self._slots.values()):
            slot.tell_early()

    def close(self) -> None:
        """The pool is its owner's to shut down."""
        self._reporter.close()


def _not_taken(work: Work, tasks: list[int], error: Exception) -> None:
    """Report a lease that could not be handed over: of a pool of threads, all that is still in it."""
    while work.tasks:
        tasks.append(work.tasks.popleft())
    if isinstance(error, Unsendable):
        work.report(refused(work.program, tasks, error))
    elif isinstance(error, RuntimeError) and not isinstance(error, concurrent.futures.BrokenExecutor):
        work.report(_closed(work, tasks, error))
    else:
        work.report(unknown(work.program, tasks, error, "the pool"))
    work.finished()


def _closed(work: Work, tasks: Sequence[int], error: RuntimeError) -> Report:
    report = Report()
    for task in tasks:
        own = Closed(f"the pool ({error})")
        own.__cause__ = error
        report.broken.append(broken_of(work.program, task, own))
    return report


def _back(work: Work, tasks: Sequence[int], future: concurrent.futures.Future[Any]) -> None:
    """Take in how a lease has ended."""
    if future.cancelled():
        work.tasks.extend(tasks)  # none of them has begun; a pool that takes nothing any more says so next time
    elif tasks:
        _take_in(work, tasks, future)
    else:
        future.result()  # what ran here has reported by itself
    work.finished()


def _take_in(work: Work, tasks: Sequence[int], future: concurrent.futures.Future[bytes]) -> None:
    try:
        report, values, _ = opened(future.result(), work.program, work.told)
    except BaseException as error:  # whatever a pool, or a value that is opened, makes of it
        work.report(unknown(work.program, tasks, error, "the pool"))
        return
    if work.began is not None:  # over there nobody could say so
        for task in set(tasks).difference(report.skipped):
            work.began(task)
    for entry, value in values.items():
        work.values[entry] = value
    work.report(report)


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
        self._here = self.shares_memory = isinstance(pool, concurrent.futures.ThreadPoolExecutor)
        super().__init__(PoolEngine(pool, count, self._here), "pool")

    def _program(self, plan: Plan) -> Program:
        return Driver._program(self, plan) if self._here else super()._program(plan)
