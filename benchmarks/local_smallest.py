"""The smallest task that is worth a thread: METG(50 %), for `benchmarks.local`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from threading import Thread
from time import perf_counter
from typing import Any

from benchmarks.contenders.harness import checked

MICRO = 1e6
THREADS = 2
GOES = 5
ROWS = 64
SECONDS = 0.03
"""What a go should take, where the number of tasks allows it."""

Many = Callable[[Callable[[], float], int], Callable[[], Any]]
"""Makes ready so many tasks that make a call; what it returns runs them and returns their values."""


TWO_CORES = 1.5
"""What two bare threads must make of the largest task, over one, for a figure to mean anything."""


def smallest_task(ready: Callable[[], Any], length: int) -> dict[str, float]:
    """Halve the task until two threads are no longer worth it: half as quick as two would be at best, twice one.

    `length` is where to begin, `speedup` what two bare threads make of that.  The figure is in microseconds, on a line
    between the last two sizes.  There is none when the machine did not give two cores, so that nobody could be quick.
    """
    with bare_threads() as bare:
        _, speedup = _speedup(bare, length)
    if speedup < TWO_CORES:
        return {"speedup": speedup}
    worth: tuple[float, float] | None = None  # the last size that was: seconds of a task, efficiency
    with ready() as many:
        while True:
            duration, found = _speedup(many, length)
            efficiency = found / THREADS
            if efficiency < 0.5:
                break
            worth, length = (duration, efficiency), length // 2
            if not length:
                return {"speedup": speedup, "figure": duration * MICRO}
    if worth is None:
        return {"speedup": speedup}
    share = (worth[1] - 0.5) / (worth[1] - efficiency)
    return {"speedup": speedup, "figure": (worth[0] + (duration - worth[0]) * share) * MICRO}


def _speedup(many: Many, length: int) -> tuple[float, float]:
    """Return the seconds of a bare call, and how much quicker than one after the other threads make many of them."""
    for library in ("OPENBLAS", "MKL", "OMP"):
        os.environ[f"{library}_NUM_THREADS"] = "1"  # the threads that are measured are those of the contender
    numpy: Any = import_module("numpy")
    left, right = numpy.ones((ROWS, length)), numpy.ones((length, ROWS))

    def call() -> float:
        return float(numpy.dot(left, right)[0, 0])  # lets go of the interpreter while it multiplies

    began = perf_counter()
    for _ in range(10):
        call()
    count = int(min(2000, max(20, SECONDS * 10 / (perf_counter() - began))))
    work = many(call, count)
    # The least of some goes: this asks what the threads can do, not what else the machine had to do.
    alone, together = float("inf"), float("inf")
    for _ in range(GOES):
        began = perf_counter()
        values = [call() for _ in range(count)]
        between = perf_counter()
        also = work()
        together = min(together, perf_counter() - between)
        alone = min(alone, between - began)
        checked((values, [*also]), ([length] * count, [length] * count))
    return alone / count, alone / together


@contextmanager
def bare_threads() -> Iterator[Many]:
    """Give each of two threads half of the calls; nobody hands anything out."""

    def ready(call: Callable[[], float], count: int) -> Callable[[], Any]:
        def share(number: int, made: list[float]) -> None:
            made += [call() for _ in range(number, count, THREADS)]

        def work() -> list[float]:
            made: list[list[float]] = [[] for _ in range(THREADS)]
            threads = [Thread(target=share, args=each) for each in enumerate(made)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            return [value for each in made for value in each]

        return work

    yield ready


@contextmanager
def our_threads() -> Iterator[Many]:
    """Run a plan on two threads."""
    from lazygraph import compute, delayed
    from lazygraph.executors import ThreadExecutor
    from lazygraph.planning.plan import plan_of

    with ThreadExecutor(THREADS) as executor:

        def ready(call: Callable[[], float], count: int) -> Callable[[], Any]:
            lazy = delayed(call)
            plan = plan_of([lazy() for _ in range(count)])
            return lambda: compute(plan, executor=executor)

        yield ready


@contextmanager
def dask_threads() -> Iterator[Many]:
    """Run a ready dict on two threads."""
    get = import_module("dask.threaded").get

    def ready(call: Callable[[], float], count: int) -> Callable[[], Any]:
        tasks = {f"n{number}": (call,) for number in range(count)}
        return lambda: get(tasks, [*tasks], num_workers=THREADS)

    yield ready
