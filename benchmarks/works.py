"""What is measured: the works, their sizes, and what is read off their samples.

A work is a name that contenders implement. A contender answers with samples in seconds, several lists of them when the
work has parts ("build" and "total"); a measure says which part becomes which row of the table.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

MILLISECONDS = 1e3
MICROSECONDS = 1e6


def percentile_99(samples: Sequence[float]) -> float:
    """Return the smallest sample that at least 99 % of the samples do not exceed."""
    ordered = sorted(samples)
    return ordered[math.ceil(0.99 * len(ordered)) - 1]


@dataclass(frozen=True)
class Measure:
    """One row of the table: which samples of a work it reads and in what unit."""

    title: str
    part: str
    unit: str
    scale: float
    reduce: Callable[[Sequence[float]], float] = statistics.median


@dataclass(frozen=True)
class Work:
    """One thing every contender does in its own words.

    ``size`` and ``quick`` are what the contender is told to do (items, or levels of the tree); ``warm`` is the size of
    the discarded first go; ``repeats`` is how often one process does it after that. ``tasks`` gives the number of
    tasks a size stands for, which is what per-task figures are divided by.
    """

    name: str
    title: str
    size: int
    quick: int
    warm: int
    repeats: int
    measures: tuple[Measure, ...]
    tasks: Callable[[int], int] = lambda size: 1

    def figure(self, measure: Measure, samples: Mapping[str, Sequence[float]], size: int) -> float:
        """Reduce the samples of one process to one figure in the measure's unit."""
        return measure.reduce(samples[measure.part]) * measure.scale / self.tasks(size)


def _per_task(title: str) -> tuple[Measure, ...]:
    return (
        Measure(f"{title}: build and run", "total", "us/task", MICROSECONDS),
        Measure(f"{title}: of which build", "build", "us/task", MICROSECONDS),
    )


def _build(shape: str, title: str, size: int, tasks: Callable[[int], int], quick: int, warm: int) -> Work:
    measures = (Measure(f"graph build: {title}", "build", "us/node", MICROSECONDS),)
    return Work(f"build-{shape}", f"build only: {title}", size, quick, warm, 3, measures, tasks)


def _same(size: int) -> int:
    return size


def _and_one(size: int) -> int:
    return size + 1


def tree_tasks(levels: int) -> int:
    """Return how many tasks a pairwise tree of so many levels has."""
    return (1 << levels) - 1


_ALL: tuple[Work, ...] = (
    Work(
        "rtt", "submit one add, get its result, again and again", 200, 10, 20, 1,
        (
            Measure("round trip, median", "total", "ms", MILLISECONDS),
            Measure("round trip, p99", "total", "ms", MILLISECONDS, percentile_99),
        ),
    ),
    Work(
        "adds", "submit independent adds in a loop, gather all results", 1000, 50, 100, 3,
        (
            Measure("adds: submit loop and gather", "total", "ms", MILLISECONDS),
            Measure("adds: of which the submit loop", "build", "ms", MILLISECONDS),
        ),
    ),
    Work("map", "one map of independent adds, gather all results", 10_000, 50, 100, 1,
         (Measure("map: first call to all results", "total", "us/task", MICROSECONDS),), _same),
    Work(
        "chord", "adds, then one sum of their results", 100, 10, 10, 10,
        (Measure("chord", "total", "ms", MILLISECONDS),),
    ),
    Work("merge", "a graph of many adds and one sum", 10_000, 100, 100, 1, _per_task("merge"), _and_one),
    Work("tree", "a graph of adds joined pairwise", 13, 5, 5, 1, _per_task("tree"), tree_tasks),
    Work(
        "chain", "a graph of adds, each on the one before; as built, and with the optimizer off", 10_000, 50, 50, 1,
        (*_per_task("chain as built"), Measure("chain unfused: build and run", "unfused", "us/task", MICROSECONDS)),
        _same,
    ),
    _build("independent", "calls without inputs", 10_000, _same, 100, 100),
    _build("tree", "calls joined pairwise", 13, tree_tasks, 5, 5),
    _build("chain", "each call on the one before", 10_000, _same, 100, 100),
    _build("fan-in", "calls and one that takes them all", 10_000, _and_one, 100, 100),
)  # fmt: skip

WORKS: Mapping[str, Work] = {work.name: work for work in _ALL}
