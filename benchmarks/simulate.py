"""The command: ``python -m benchmarks.simulate --zero`` and ``python -m benchmarks.simulate --bounds --graphs FOLDER``.

The cluster's minds are pure, so a whole cluster fits into one process.  `--zero`: what the scheduler costs for each
task when its workers answer at once.  `--bounds`: how long jobs with durations and sizes take in virtual time, over a
time that nobody can beat.  Compare times only within one run; all else is the same each time, on any machine.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import exp, log
from pathlib import Path
from typing import NamedTuple

import click

from benchmarks.__main__ import chosen
from benchmarks.simulate_bounds import FREE, Job, Minds, Network, listed, lower_bound
from benchmarks.simulate_graphs import MIB, jobs
from benchmarks.simulate_plans import PLANS, made, shape_of
from benchmarks.simulate_zero import Cost, ZeroWorld, memory, operations
from lazygraph.executors.cluster.net.scheduler_server import tune_collector
from lazygraph.executors.cluster.placement import anywhere
from lazygraph.executors.cluster.scheduler_machine import SchedulerMachine
from lazygraph.running.block import Block
from lazygraph.values.graph import Shape

TASKS, WORKERS = (1_000, 10_000, 100_000), (1, 10, 100, 1_000)
FEW = (2, 8, 32)
RUNS = 3
COUNTED, MEASURED = 10_000, 100_000
"""Up to so many tasks instructions are counted, and memory is measured: that makes a run many times slower."""

LATENCY = 0.0005
"""Seconds that a message takes where transfers are not free."""


@click.command()
@click.option("--zero", is_flag=True, help="What the scheduler costs with workers that answer at once.")
@click.option("--bounds", is_flag=True, help="Makespans of jobs with durations, over their lower bounds.")
@click.option(
    "--graphs",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with the archives of the Estee set, for --bounds.",
)
@click.option(
    "--tasks",
    type=click.IntRange(min=1),
    multiple=True,
    help="How many; may be given more than once.  With --bounds: of jobs that are made here, besides --graphs.",
)
@click.option("--workers", type=click.IntRange(min=1), multiple=True, help="How many; may be given more than once.")
@click.option("--plans", callback=chosen(PLANS), metavar="NAMES", help="Only these, separated by commas.")
@click.option(
    "--speed",
    "speeds",
    type=click.FloatRange(min=0, min_open=True),
    multiple=True,
    default=(1024.0, 128.0),
    show_default=True,
    help="For --bounds, besides transfers that are free: MiB/s that a worker fetches with.",
)
@click.option("--runs", type=click.IntRange(min=1), default=RUNS, show_default=True, help="The least time is shown.")
def main(
    zero: bool,
    bounds: bool,
    graphs: Path | None,
    tasks: Sequence[int],
    workers: Sequence[int],
    plans: Sequence[str],
    speeds: Sequence[float],
    runs: int,
) -> None:
    """Run a simulated cluster of the real minds in one process."""
    if not zero and not bounds:
        raise click.UsageError("say --zero, --bounds or both")
    if bounds and graphs is None and not tasks:
        raise click.UsageError("--bounds needs --graphs FOLDER, or --tasks")
    if zero:
        tune_collector()
        _say(zero_lines(plans, tasks or TASKS, workers or WORKERS, runs))
    if bounds:
        given = [("made", made(name, count)) for name in plans for count in tasks]
        given += jobs(graphs) if graphs is not None else ()
        networks = [FREE, *(Network(LATENCY, speed * MIB) for speed in speeds)]
        broken = _say(bound_lines(given, workers or FEW, networks))
        sys.exit(1 if broken else 0)


def _say(lines: Iterable[str]) -> list[str]:
    """Print lines as they come; return those that tell of a broken bound."""
    broken = []
    for line in lines:
        print(line, flush=True)
        if line.startswith(BROKEN):
            broken.append(line)
    return broken


# -- zero workers ----------------------------------------------------------------------------------


def zero_lines(plans: Sequence[str], tasks: Sequence[int], workers: Sequence[int], runs: int) -> Iterator[str]:
    """Yield a line for each plan, number of tasks and number of workers."""
    yield "zero workers: CPU time of the scheduler's mind, us/task; other figures per task, too"
    yield (
        f"{'plan':12}{'tasks':>9}{'workers':>8}{'first':>8}{'mind':>8}{'+ codec':>8}{'of which admission':>19}"
        f"{'instructions':>13}{'leases':>8}{'messages':>9}{'bytes':>8}{'plan':>8}{'memory':>8}"
    )
    for name in plans:
        for count in tasks:
            shape = shape_of(name, count)
            for many in workers:
                yield _zero_line(name, shape, many, runs)


def _zero_line(name: str, shape: Shape, workers: int, runs: int) -> str:
    n = len(shape)
    first, bare = _least(shape, workers, runs, codec=False)
    _, coded = _least(shape, workers, runs, codec=True)
    counted = f"{operations(shape, workers, known=True) / n:.0f}" if n <= COUNTED else "-"
    held = f"{memory(shape, workers):.0f}" if n <= MEASURED else "-"
    return (
        f"{name:12}{n:9}{workers:8}{first.seconds / n * 1e6:8.2f}{bare.seconds / n * 1e6:8.2f}"
        f"{coded.seconds / n * 1e6:8.2f}{bare.admitted / n * 1e6:19.2f}"
        f"{counted:>13}{bare.leases / n:8.3f}{bare.messages / n:9.3f}"
        f"{coded.size / n:8.0f}{coded.plan / n:8.0f}{held:>8}"
    )


def _least(shape: Shape, workers: int, runs: int, codec: bool) -> tuple[Cost, Cost]:
    """Return the least of first runs, of functions that nobody has run before, and of second ones."""
    first, second = zip(*(_twice(ZeroWorld(workers, codec=codec), shape) for _ in range(runs)), strict=True)
    return min(first, key=lambda cost: cost.seconds), min(second, key=lambda cost: cost.seconds)


def _twice(world: ZeroWorld, shape: Shape) -> tuple[Cost, Cost]:
    return world.run(shape), world.run(shape)


# -- bounds ----------------------------------------------------------------------------------------


class Anywhere(SchedulerMachine):
    """A scheduler that places nothing: whoever has room takes what is next, wherever its inputs are."""

    def _nearest(self, block: Block, task: int) -> int:
        return anywhere(())


Policy = Callable[[Job, int, Network], float]


def _with(mind: type[SchedulerMachine]) -> Policy:
    return lambda job, workers, network: Minds(job, workers, network, mind()).run().makespan


POLICIES: Mapping[str, Policy] = {"list": listed, "anywhere": _with(Anywhere), "ours": _with(SchedulerMachine)}
"""The simplest scheduler without minds; our minds with the reference placement; our minds."""

BROKEN = "over Graham's bound: "


class Ratio(NamedTuple):
    """Makespans of one job on so many workers over its lower bound, by policy."""

    family: str
    job: str
    workers: int
    of: Mapping[str, float]

    @property
    def broken(self) -> bool:
        """Whether ours takes longer than Graham's bound allows; to be asked where transfers are free."""
        return self.of["ours"] > 2 - 1 / self.workers + 1e-9


def bound_lines(given: Sequence[tuple[str, Job]], workers: Sequence[int], networks: Sequence[Network]) -> Iterator[str]:
    """Yield a table for each network: a line for each family and number of workers; then whose bound is broken."""
    for network in networks:
        yield "makespan over max(longest path, work / workers); geometric mean and worst, " + _said(network)
        heads = "".join(f"{name:>12}{'worst':>8}" for name in POLICIES)
        yield f"{'family':12}{'graphs':>7}{'workers':>8}{heads}"
        found: list[Ratio] = []
        for many in workers:
            rows = [_ratio(family, job, many, network) for family, job in given]
            for family in dict.fromkeys(row.family for row in rows):
                yield _bound_line(family, many, [row for row in rows if row.family == family])
            found += rows
        if network == FREE:
            broken = [row for row in found if row.broken]
            yield f"Graham's bound, 2 - 1/workers: {len(found) - len(broken)} of {len(found)} are within"
            yield from (f"{BROKEN}{row.job} on {row.workers} workers, {row.of['ours']:.3f}" for row in broken)
        yield ""


def _ratio(family: str, job: Job, workers: int, network: Network) -> Ratio:
    least = lower_bound(job, workers)
    ratios = {name: makespan(job, workers, network) / least for name, makespan in POLICIES.items()}
    return Ratio(family, job.name, workers, ratios)


def _bound_line(family: str, workers: int, rows: Sequence[Ratio]) -> str:
    cells = ""
    for name in POLICIES:
        ratios = [row.of[name] for row in rows]
        cells += f"{exp(sum(map(log, ratios)) / len(ratios)):12.3f}{max(ratios):8.3f}"
    return f"{family:12}{len(rows):7}{workers:8}{cells}"


def _said(network: Network) -> str:
    if network.speed is None:
        return "transfers free"
    return f"{network.speed / MIB:g} MiB/s to each worker, {network.latency * 1000:g} ms a message"


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.simulate")
