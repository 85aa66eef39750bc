"""The jobs of benchmarks.simulate: the Estee graphs, with the durations and sizes that they come with.

They are written with `delayed`, lowered and ordered as a user's would be; nothing is fused, so that each task keeps its
duration.  A task takes one thread, whatever the graph says of cores.  Where a task has several outputs, its value is
taken to be as large as what one of its readers reads of it, on average.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from benchmarks.simulate_bounds import Job
from lazygraph import delayed
from lazygraph.planning.plan import plan_of

MIB = 1024 * 1024


def jobs(folder: Path) -> Iterator[tuple[str, Job]]:
    """Yield family and job of each row of each archive in a folder."""
    for archive in sorted(folder.glob("*.zip")):
        with ZipFile(archive) as opened:
            table = json.loads(opened.read(opened.namelist()[0]))
        for row, name in table["graph_name"].items():
            tasks = json.loads(table["graph"][row])
            yield archive.stem, job_of(f"{archive.stem}/{row} {name}", tasks)


def job_of(name: str, tasks: Sequence[dict[str, Any]]) -> Job:
    """Return one graph of the set as a job."""
    reads = [list(dict.fromkeys(task for task, _ in each["inputs"])) for each in tasks]
    return job(name, reads, [float(each["d"]) for each in tasks], _sizes(tasks))


def _sizes(tasks: Sequence[dict[str, Any]]) -> list[int]:
    read: dict[int, list[float]] = defaultdict(list)
    for each in tasks:
        by_task: dict[int, float] = defaultdict(float)
        for task, output in each["inputs"]:
            by_task[task] += tasks[task]["outputs"][output]["s"]
        for task, size in by_task.items():
            read[task].append(size)
    return [int(MIB * sum(read[at]) / len(read[at])) if at in read else 0 for at in range(len(tasks))]


def job(name: str, reads: Sequence[Sequence[int]], seconds: Sequence[float], sizes: Sequence[int]) -> Job:
    """Return a job of tasks of which each reads some others, in whatever order they stand."""
    join = delayed(lambda *args: args)
    promises: dict[int, Any] = {}
    for at in TopologicalSorter(dict(enumerate(reads))).static_order():
        promises[at] = join(at, *[promises[read] for read in reads[at]])
    known = {read for each in reads for read in each}
    plan = plan_of([promises[at] for at in range(len(reads)) if at not in known], optimize_graph=["order"])
    shape, constants = plan.shape, plan.tables.constants
    # The first argument of each call is the number of its task.
    numbers = [constants[~shape.arguments[shape.argument_offsets[at]]] for at in range(len(shape))]
    return Job(name, shape, [seconds[at] for at in numbers], [sizes[at] for at in numbers])
