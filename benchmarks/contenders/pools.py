"""What the standard library's pools reach with the same works, driven from outside: a limit for every executor.

A pool knows no graph, so the tree goes level by level and the chain one call at a time, each waiting for the last.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor

from benchmarks.contenders import harness, shapes
from benchmarks.contenders.functions import add, tsum
from benchmarks.contenders.harness import Function, Samples


def round_trip(pool: Executor, size: int) -> Samples:
    """Submit one, wait for it."""
    return harness.one_by_one(lambda x, y: pool.submit(add, x, y).result(), size)


def adds(pool: Executor, size: int) -> Samples:
    """Submit in a loop, then take every result."""
    return harness.in_two_parts(
        lambda: [pool.submit(add, i, i) for i in range(size)],
        lambda futures: [future.result() for future in futures],
        [2 * i for i in range(size)],
    )


def mapped(pool: Executor, size: int) -> Samples:
    """Map over a range (``chunksize=1``)."""
    return harness.whole(lambda: list(pool.map(add, range(size), range(size))), [2 * i for i in range(size)])


def merge(pool: Executor, size: int) -> Samples:
    """Run the adds in the pool and the sum too, once the results are back."""

    def run() -> int:
        futures = [pool.submit(add, i, i) for i in range(size)]
        return pool.submit(tsum, [future.result() for future in futures]).result()

    return harness.whole(run, shapes.sum_of_independent(size))


def tree(pool: Executor, size: int) -> Samples:
    """Map each level over the pool (``chunksize=1``), then the next."""

    def run() -> int:
        numbers = range(shapes.leaves(size))
        level = list(pool.map(add, numbers, numbers))
        while len(level) > 1:
            level = list(pool.map(add, level[::2], level[1::2]))
        return level[0]

    return harness.whole(run, shapes.sum_of_independent(shapes.leaves(size)))


def chain(pool: Executor, size: int) -> Samples:
    """Submit the next call when the last one's result is back."""
    return harness.unfused_too(
        harness.whole(lambda: shapes.chain(lambda x, y: pool.submit(add, x, y).result(), size), size)
    )


WORKS: Mapping[str, Function[Executor]] = {
    "rtt": round_trip, "adds": adds, "map": mapped, "chord": merge, "merge": merge, "tree": tree, "chain": chain,
}  # fmt: skip
