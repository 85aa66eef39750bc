"""The rows of `benchmarks.cluster`: what is measured, by whom and how much of it, which figures, what they should be.

Peers get fewer tasks than we do where they take long; a figure is for each task, so it can be compared all the same.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.contenders.registry import CONTENDERS
from benchmarks.works import MICROSECONDS, MILLISECONDS, percentile_99, tree_tasks

OURS = "lazygraph-cluster"
DASK, INF, RAY, CELERY, POOL, ECHO = "dask", "dask-inf", "ray", "celery", "process-pool", "echo"
TITLES: Mapping[str, str] = {
    DASK: "Dask",
    INF: "Dask, saturation inf",
    RAY: "Ray",
    CELERY: "Celery + redis",
    POOL: "ProcessPoolExecutor(2)",
    ECHO: "bare asyncio echo, two hops",
}


@dataclass(frozen=True)
class Part:
    """One contender at one row: how much it is given; `quick` is for showing that it works."""

    name: str
    size: int
    quick: int


@dataclass(frozen=True)
class Measure:
    """One figure: which samples of a process it is made of, and what it should be at most.

    `reach` is in the row's unit; with `of` it is a multiple of what that contender has for the part `base`.
    """

    part: str
    title: str
    unit: str
    scale: float = 1.0
    reach: float | None = None
    reduce: Callable[[Sequence[float]], float] = statistics.median
    of: str | None = None
    base: str = ""
    tasks: Callable[[int], int] = lambda size: 1


@dataclass(frozen=True)
class Row:
    """A work and the figures that come of it.  `module` does it: a contender's own, or `benchmarks.cluster_works`."""

    name: str
    work: str
    parts: tuple[Part, ...]
    measures: tuple[Measure, ...]
    own: bool = False

    def command(self, part: Part, size: int) -> list[str]:
        """Return the command that does it once, in a fresh process."""
        if self.own:
            return [sys.executable, "-m", "benchmarks.cluster_works", self.work, part.name, str(size)]
        return CONTENDERS[part.name].command(self.work, size)


def _parts(ours: int, quick: int, **peers: int) -> tuple[Part, ...]:
    """Return who takes part; a peer's name is written as a keyword, with its size."""
    names = {"dask": DASK, "inf": INF, "ray": RAY, "celery": CELERY, "pool": POOL, "echo": ECHO}
    return (Part(OURS, ours, quick), *[Part(names[peer], size, min(size, quick)) for peer, size in peers.items()])


def _each(part: str, title: str, reach: float | None, tasks: Callable[[int], int]) -> tuple[Measure, ...]:
    return (Measure(part, title, "us/task", MICROSECONDS, reach, tasks=tasks),)


def _same(size: int) -> int:
    return size


def _and_one(size: int) -> int:
    return size + 1


_ALL: tuple[Row, ...] = (
    Row(
        "round-trip", "rtt", _parts(1000, 10, echo=1000, dask=100, inf=100, ray=300, celery=200, pool=500),
        (
            Measure("total", "submit one add, get its result: median", "ms", MILLISECONDS, 2.0, of=ECHO, base="total"),
            Measure("total", "the same, 99th percentile (figure: of the echo's median)", "ms", MILLISECONDS, 5.0,
                    percentile_99, of=ECHO, base="total"),
        ),
    ),
    Row("adds", "adds", _parts(1000, 20, dask=300, inf=300, ray=1000, celery=300, pool=1000),
        _each("total", "{size} adds, submit loop and gather", 12.0, _same)),
    Row("map", "map", _parts(10_000, 50, dask=1000, inf=2000, ray=2000, celery=500, pool=10_000),
        _each("total", "{size} adds by map, gathered", 8.0, _same)),
    Row("chord", "chord", _parts(100, 10, dask=100, inf=100, ray=100, celery=100, pool=100),
        (Measure("total", "chord of {size}", "ms", MILLISECONDS, 3.5),)),
    Row("merge-10k", "merge", _parts(10_000, 50, dask=500, inf=1000, ray=2000, celery=500, pool=10_000),
        _each("total", "merge of {size}: build and run", 14.0, _and_one)),
    Row("merge-25k", "merge", _parts(25_000, 50, inf=1000, pool=25_000),
        _each("total", "merge of {size}: build and run", 14.0, _and_one)),
    Row("tree-13", "tree", _parts(13, 4, dask=9, inf=10, ray=11, celery=5, pool=13),
        _each("total", "tree of {size} levels: build and run", 12.0, tree_tasks)),
    Row("chain", "chain", _parts(10_000, 20, dask=300, inf=500, ray=1000, celery=100, pool=2000),
        _each("unfused", "chain of {size} that is not fused: build and run", 14.0, _same)),
    Row(
        "zero", "zero", (Part(OURS, 100_000, 1000),),
        (
            Measure("small", "scheduler alone, a tree of 1/100 of {size} tasks, 2 zero workers", "us/task", 1.0, 4.0),
            Measure("large", "the same, {size} tasks, 2 zero workers", "us/task", 1.0, 4.0),
            Measure("wide", "the same, {size} tasks, 1,000 zero workers", "us/task", 1.0, 4.0),
        ), own=True,
    ),
    Row(
        "held", "held", _parts(100_000, 200, inf=10_000),
        (
            Measure("scheduler", "a finished task held after `map`, {size} of them: scheduler", "kB/task", 1e-3, 0.3),
            Measure("client", "client (Dask: and scheduler)", "kB/task", 1e-3, 0.4),
            Measure("worker", "workers", "kB/task", 1e-3, 0.3),
            Measure("scheduler loop", "the same after a submit loop: scheduler", "kB/task", 1e-3, 0.3),
            Measure("client loop", "client (Dask: and scheduler)", "kB/task", 1e-3, 0.4),
            Measure("worker loop", "workers", "kB/task", 1e-3, 0.3),
        ), own=True,
    ),
    Row(
        "start", "start", _parts(3, 1, dask=2, ray=1),
        (
            Measure("all", "`LocalCluster(2)`: import, start, first result", "ms", 1.0, 350.0),
            Measure("import", "of which the import", "ms"),
            Measure("start", "of which the rest", "ms"),
        ), own=True,
    ),
    Row(
        "metg", "metg", (Part(OURS, 100_000, 20_000), Part(INF, 2_000_000, 20_000), Part(RAY, 1_000_000, 20_000)),
        (
            Measure("figure", "smallest task at which 2 workers are at half efficiency (METG 50 %)", "ms", 1.0, 0.05),
            Measure("speedup", "what two bare processes make of it, over one (below 1.5: no figure)", "times"),
        ), own=True,
    ),
    Row(
        "million", "million", (Part(OURS, 1_000_000, 200), Part(INF, 5_000, 100), Part(RAY, 20_000, 100)),
        (
            Measure("whole", "{size} tasks by one map, waited for and forgotten", "us/task", 1.0, 15.0),
            Measure("parts", "the same number in ten repetitions", "us/task", 1.0, 15.0),
            Measure("client", "growth from the 2nd to the 10th: client", "MB", 1.0, 5.0),
            Measure("scheduler", "scheduler", "MB", 1.0, 5.0),
            Measure("worker", "workers", "MB", 1.0, 5.0),
        ), own=True,
    ),
    Row("idle", "idle", _parts(10, 1, dask=5, ray=5),
        (Measure("all", "processor time of all idle processes", "% of one", 1.0, 0.1),), own=True),
    Row(
        "dropped", "dropped", (Part(OURS, 10_000, 50),),
        (
            Measure("map", "{size} futures of a map dropped at once", "messages", 1.0, 1.0),
            Measure("loop", "{size} futures of a submit loop dropped at once", "messages", 1.0, 1.0),
        ), own=True,
    ),
    Row(
        "cpu-rtt", "cpu-rtt", _parts(1000, 20, inf=100, ray=300),
        (
            Measure("client", "processor time of a round trip: client (Dask: and scheduler)", "us"),
            Measure("scheduler", "scheduler", "us"),
            Measure("worker", "workers", "us"),
        ), own=True,
    ),
    Row(
        "cpu-map", "cpu-map", _parts(10_000, 50, inf=2000, ray=2000),
        (
            Measure("client", "processor time of a task of a map: client (Dask: and scheduler)", "us/task"),
            Measure("scheduler", "scheduler", "us/task"),
            Measure("worker", "workers", "us/task"),
        ), own=True,
    ),
)  # fmt: skip

ROWS: Mapping[str, Row] = {row.name: row for row in _ALL}
