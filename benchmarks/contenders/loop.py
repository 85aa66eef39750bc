"""The floor under everything: the same calls in a plain loop, with no machinery at all."""

from __future__ import annotations

from contextlib import nullcontext

from benchmarks.contenders import harness, shapes
from benchmarks.contenders.functions import add, tsum
from benchmarks.contenders.harness import Samples


def round_trip(_: None, size: int) -> Samples:
    """Call the function."""
    return harness.one_by_one(add, size)


def adds(_: None, size: int) -> Samples:
    """Call the function many times and keep the results."""
    return harness.whole(lambda: shapes.independent(add, size), [2 * i for i in range(size)])


def mapped(_: None, size: int) -> Samples:
    """Map the function over a range."""
    return harness.whole(lambda: list(map(add, range(size), range(size))), [2 * i for i in range(size)])


def merge(_: None, size: int) -> Samples:
    """Sum the results of many calls; a chord is the same thing here."""
    return harness.whole(lambda: tsum(shapes.independent(add, size)), shapes.sum_of_independent(size))


def tree(_: None, size: int) -> Samples:
    """Join results pairwise."""
    return harness.whole(lambda: shapes.tree(add, size), shapes.sum_of_independent(shapes.leaves(size)))


def chain(_: None, size: int) -> Samples:
    """Call the function on its own last result."""
    return harness.unfused_too(harness.whole(lambda: shapes.chain(add, size), size))


WORKS = {
    "rtt": round_trip, "adds": adds, "map": mapped, "chord": merge, "merge": merge, "tree": tree, "chain": chain,
}  # fmt: skip

if __name__ == "__main__":
    harness.main(WORKS, nullcontext)
