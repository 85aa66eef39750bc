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

from lazygraph.errors import InvalidOption
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
from lazygraph.running.context import FixedSlots
from lazygraph.running.program import Program
from lazygraph.running.runner import run_lease

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
                self.pool.submit(_run_here, work).add_done_callback(lambda _: work.finished())
                return
        except RuntimeError as error:  # the pool is shut down
            tasks = list(work.tasks)
            work.tasks.clear()
            _fail(work, tasks, error)
            return
        self._send(work)

    def _send(self, work: Work) -> None:
        tasks, wanted = work.send()
        try:
            assert work.program.packed is not None
            lease = packed_lease(work.program, tasks, work.values, wanted, work.attempt)
            future = self.pool.submit(run_parcels, work.program.packed, lease)
        except Unsendable as unsendable:
            work.report(refused(work.program, tasks, unsendable))
            work.finished()
        except RuntimeError as error:  # the pool is shut down, or broken
            _fail(work, tasks, error)
        else:
            future.add_done_callback(lambda done: _back(work, tasks, done))

    def close(self) -> None:
        """The pool is its owner's to shut down."""


def _run_here(work: Work) -> None:
    run_lease(
        work.program,
        work.tasks,
        work.values,
        work.report,
        FixedSlots(work.lender),
        attempt=work.attempt,
        began=work.began,
        told=work.told,
    )


def _back(work: Work, tasks: Sequence[int], future: concurrent.futures.Future[bytes]) -> None:
    try:
        report, values = opened(future.result(), work.program)
    except BaseException as error:  # in a thread of the pool, which must live on
        _fail(work, tasks, error)
        return
    if work.began is not None:  # over there nobody could say so
        skipped = set(report.skipped)
        for task in tasks:
            if task not in skipped:
                work.began(task)
    for entry, value in values.items():
        work.values[entry] = value
    work.report(report)
    work.finished()


def _fail(work: Work, tasks: Sequence[int], error: BaseException) -> None:
    work.report(unknown(work.program, tasks, error, "the pool"))
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
