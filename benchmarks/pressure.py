"""The command: ``python -m benchmarks.pressure [--graphs DIR] [--size 6 --size 12]``.

How many values our order of running holds at most, next to Dask's, by Dask's own yardstick (`dask.order.diagnostics`);
and what ordering costs.  Peaks are exact; compare times only as ratios, within one run.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from math import exp, log
from pathlib import Path
from typing import Any, NamedTuple

import click

from benchmarks.pressure_graphs import Reads, estee, made
from lazygraph import delayed
from lazygraph.planning.lower import lower
from lazygraph.planning.order import depth_first

RUNS = 3
SIZES = (6, 12)

Number = Mapping[Any, int]
"""Of each key, when it runs."""


class Row(NamedTuple):
    """One graph: its size, the peaks and the seconds of both orders (the least of some runs)."""

    name: str
    tasks: int
    edges: int
    theirs: int
    ours: int
    their_seconds: float
    our_seconds: float

    @property
    def ratio(self) -> float:
        """Our peak over theirs.  An order that holds nothing between tasks counts as if it held one value."""
        return max(self.ours, 1) / max(self.theirs, 1)


@click.command()
@click.option(
    "--graphs",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with the archives of the Estee set; without it only graphs that are built here.",
)
@click.option(
    "--size",
    "sizes",
    type=click.IntRange(min=3),
    multiple=True,
    default=SIZES,
    show_default=True,
    help="Of the graphs that are built here; their tasks grow with its square.  May be given more than once.",
)
def main(graphs: Path | None, sizes: tuple[int, ...]) -> None:
    """Compare the peaks of our order of running with those of Dask's, graph by graph."""
    families: list[tuple[str, Iterable[tuple[str, Reads]]]] = []
    if graphs is not None:
        families.append(("Estee", estee(graphs)))
    families += [(f"size {size}", made(size)) for size in sizes]
    rows: dict[str, list[Row]] = {}
    for family, each in families:
        rows[family] = []
        for name, reads in each:
            rows[family].append(measured(f"{family}: {name}", reads))
            if sys.stderr.isatty():
                print(rows[family][-1].name, file=sys.stderr)
    print("\n".join(report(rows)))


def measured(name: str, reads: Reads) -> Row:
    """Order a graph both ways and count what each order holds."""
    dsk = _as_tasks(reads)
    theirs, their_seconds = _timed(lambda: _dask_order()(dsk))
    ours, our_seconds = ordered(reads)
    edges = sum(map(len, reads.values()))
    return Row(name, len(reads), edges, held(dsk, theirs), held(dsk, ours), their_seconds, our_seconds)


def held(dsk: dict[Any, Any], number: Number) -> int:
    """Return the most values that Dask says are held when a task starts."""
    from dask.order import diagnostics

    return max(diagnostics(dsk, o=number)[1], default=0)


def ordered(reads: Reads) -> tuple[Number, float]:
    """Return our order of a graph, and the seconds of ordering alone.

    It is written with `delayed` and lowered, so what is ordered is what users have.
    """
    join = delayed(lambda *args: args)
    keys = list(reads)
    promises: dict[Any, Any] = {}
    for key in _inputs_first(reads):
        promises[key] = join(len(promises), *[promises[read] for read in reads[key]])
    order_made = list(promises)
    read = {read for each in reads.values() for read in each}
    graph = lower([promises[key] for key in keys if key not in read])
    shape, constants = graph.shape, graph.tables.constants
    order, seconds = _timed(lambda: depth_first(shape))
    entries = range(len(shape)) if order is None else order
    # The first argument of each call is the number of its key.
    numbers = [constants[~shape.arguments[shape.argument_offsets[at]]] for at in entries]
    return {order_made[number]: at for at, number in enumerate(numbers)}, seconds


def _inputs_first(reads: Reads) -> Iterator[Any]:
    done: set[Any] = set()
    stack = [*reversed(reads)]
    while stack:
        key = stack[-1]
        if key not in done:
            if missing := [read for read in reversed(reads[key]) if read not in done]:
                stack += missing
                continue
            done.add(key)
            yield key
        stack.pop()


def _as_tasks(reads: Reads) -> dict[Any, Any]:
    dask: Any = import_module("dask._task_spec")
    return {key: dask.Task(key, tuple, *map(dask.TaskRef, each)) for key, each in reads.items()}


def _dask_order() -> Callable[[Any], Number]:
    from dask.order import order

    return order


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return what `work` returns and its least CPU time."""
    least, result = float("inf"), None
    for _ in range(RUNS):
        began = time.process_time()
        result = work()
        least = min(least, time.process_time() - began)
    return result, least


# -- what is shown ---------------------------------------------------------------------------------


def report(families: Mapping[str, Sequence[Row]]) -> Iterator[str]:
    """Yield the lines: every graph, worst first; then each family and all of them."""
    every = [row for rows in families.values() for row in rows]
    wide = max(len(row.name) for row in every)
    yield f"{'':{wide}}   tasks   edges  held: Dask   ours  ratio  us/task: Dask   ours"
    for row in sorted(every, key=lambda row: (-row.ratio, row.name)):
        micros = 1e6 / row.tasks
        yield (
            f"{row.name:{wide}} {row.tasks:7} {row.edges:7} {row.theirs:11} {row.ours:6} {row.ratio:6.2f}"
            f" {row.their_seconds * micros:14.1f} {row.our_seconds * micros:6.1f}"
        )
    yield ""
    yield "           graphs  geometric mean  worst  worse than Dask  over 1.3   tasks  us/task: Dask   ours"
    for family, rows in [*families.items(), ("all", every)]:
        yield _summary(family, rows)


def _summary(family: str, rows: Sequence[Row]) -> str:
    ratios = [row.ratio for row in rows]
    mean = exp(sum(map(log, ratios)) / len(ratios))
    tasks = sum(row.tasks for row in rows)
    theirs, ours = (sum(column) * 1e6 / tasks for column in zip(*[row[-2:] for row in rows], strict=True))
    return (
        f"{family:10} {len(rows):6} {mean:15.3f} {max(ratios):6.2f} {sum(r > 1 for r in ratios):16}"
        f" {sum(r > 1.3 for r in ratios):9} {tasks:7} {theirs:14.1f} {ours:6.1f}"
    )


if __name__ == "__main__":
    main()
