"""Where a task should run, and how much a worker should be given.  Pure functions.

Least bytes first (Estee and RSDS: transfer cost decides, load only when somebody is idle): a ready task goes to the
lane of the worker that has most of its inputs' bytes; idle workers take from other lanes, or ask for tasks back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeAlias

from lazygraph.executors.cluster.records import parts
from lazygraph.running.arena import ANYWHERE
from lazygraph.running.policy import Where

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lazygraph.executors.cluster.records import WorkerRecord

SAMPLE = 32
"""Of a task with many inputs this many are looked at."""

UNMEASURED = 8
"""Tasks a thread is given while nothing is known of how long they take."""

AHEAD_SECONDS = 0.01
"""Work a thread is given in advance: enough to hide a round trip many times over."""

MOST_AHEAD = 256

WORTH_HANDING = 1e-4
"""Seconds of work below which a lease costs more than what another worker could take over: it is not made smaller."""

UNKNOWN = 1.0
"""Seconds that a task may take of which nothing is known."""

LONG = 0.02
"""Seconds that a task has taken at least, of which a worker says that it runs."""


Placement: TypeAlias = Callable[[Iterable[tuple[int, int]]], int]
"""From (worker, bytes) of each of a task's inputs to the worker that it is for; ANYWHERE: whoever has room."""


def anywhere(holders: Iterable[tuple[int, int]]) -> int:
    """Return ANYWHERE: the simplest placement, and what others are compared with."""
    return ANYWHERE


def best_lane(holders: Iterable[tuple[int, int]]) -> int:
    """Return the worker with the most bytes of (worker, bytes) pairs, the first such; ANYWHERE when there is none."""
    total: dict[int, int] = {}
    for worker, size in holders:
        total[worker] = total.get(worker, 0) + size + 1
    best, most = ANYWHERE, 0
    for worker, size in total.items():
        if worker >= 0 and size > most:
            best, most = worker, size
    return best


def fits(worker: WorkerRecord, where: Where) -> bool:
    """Whether a worker may take tasks that are restricted so, and has what they need free now."""
    if where.queue not in worker.queues:
        return False
    if where.workers and worker.name not in where.workers and worker.address not in where.workers:
        return False
    return all(worker.spare.get(name, 0) >= parts(amount) for name, amount in where.resources)


def has_for(worker: WorkerRecord, idle: WorkerRecord) -> bool:
    """Whether some of what a worker has been given is what an idle one may take."""
    anybodys = worker.outstanding > sum(worker.restricted.values())
    return (anybodys and "default" in idle.queues) or any(fits(idle, where) for where in worker.restricted)


EVERYWHERE = Where("default", (), ())
"""What is said of a task that any worker of the default queue may take."""


def nobody_for(where: Where, workers: Sequence[WorkerRecord]) -> str:
    """Say why no worker can ever take a task as long as nothing changes; an empty text when one can."""
    if not workers:
        return "there is no worker"
    taking = [w for w in workers if where.queue in w.queues]
    if not taking:
        return f"no worker takes queue {where.queue!r}"
    named = [w for w in taking if not where.workers or {w.name, w.address} & {*where.workers}]
    if not named:
        return f"no worker of queue {where.queue!r} is called {' or '.join(map(repr, where.workers))}"
    enough = [w for w in named if all(w.resources.get(name, 0.0) >= amount for name, amount in where.resources)]
    if not enough:
        wanted = ", ".join(f"{name}={amount:g}" for name, amount in where.resources)
        return f"no worker that may take it has {wanted}"
    if not any(fits(w, where) for w in enough):
        return f"waits until {', '.join(name for name, _ in where.resources)} is free"
    return ""


def target(threads: int, seconds: float | None) -> int:
    """Return how many tasks a worker should have: `threads` running, and AHEAD_SECONDS of work each besides."""
    if seconds is None:
        return threads * UNMEASURED
    return threads * (1 + max(1, min(MOST_AHEAD, int(AHEAD_SECONDS / max(seconds, 1e-7)))))


def room(worker: WorkerRecord, seconds: float | None) -> int:
    """Return how many more tasks a worker should be given now: none until half of what it had is done."""
    wanted = target(worker.threads, seconds)
    return wanted - worker.outstanding if worker.outstanding * 2 <= wanted else 0


def least_to_hand(seconds: float | None) -> int:
    """Return how many tasks of a function a lease should hold at least; 1 while nothing is known of it."""
    return 1 if seconds is None else min(MOST_AHEAD, int(WORTH_HANDING / max(seconds, 1e-7))) or 1


def to_give_back(worker: WorkerRecord) -> int:
    """Return how many unstarted tasks to ask back from a worker when another is idle: half of what waits there."""
    return (worker.outstanding - worker.threads + 1) // 2
