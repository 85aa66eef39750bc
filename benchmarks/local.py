"""The command: ``python -m benchmarks.local [--runs 5] [--quick] [--works a,b] [--write benchmarks/RESULTS.md]``.

What a task costs in one process, from a decorated call to the last value, next to its peers and to the figures that we
want to reach: one Markdown table.  What is measured is in `benchmarks.local_works`.
"""

from __future__ import annotations

import json
import shlex
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import click

from benchmarks import machine
from benchmarks.__main__ import RUNS, TIME_LIMIT, chosen
from benchmarks.machine import Facts
from benchmarks.processes import ContenderFailed, run

OURS = "lazygraph"
NOTES = "<!-- notes -->"
"""What follows this line in a report is kept when the report is written again."""
NO_NOTES = "\n## Where the rest goes\n\nNothing is written yet.\n"


@dataclass(frozen=True)
class Contender:
    """Who does a work, how it is called in the table, how much it gets: nodes, or what the work counts."""

    name: str
    title: str
    size: int
    quick: int
    modules: tuple[str, ...] = ()

    def missing(self) -> str | None:
        """Return the first module that is not installed."""
        return next((name for name in self.modules if find_spec(name) is None), None)


@dataclass(frozen=True)
class Measure:
    """One figure of a work.  `reach` is the most that it should be, None when nothing was said about it."""

    part: str
    title: str
    unit: str
    reach: float | None = None


@dataclass(frozen=True)
class Work:
    """What is measured: by whom, ours first, and which figures come of it.

    `{size}` in a title is our size, `{nodes}` what a binary tree of so many leaves has.
    """

    name: str
    contenders: tuple[Contender, ...]
    measures: tuple[Measure, ...]


@dataclass
class Record:
    """What has come of one contender at one work so far: figures of each process, or why there are none."""

    work: Work
    contender: Contender
    size: int
    figures: list[Mapping[str, float]] = field(default_factory=list)
    reason: str | None = None


def _ours(size: int, quick: int = 100, *modules: str) -> Contender:
    return Contender(OURS, OURS, size, quick, modules)


def _dask(title: str, size: int, quick: int = 100, *modules: str) -> Contender:
    return Contender("dask", title, size, quick, ("dask", *modules))


def _one(title: str, unit: str, reach: float) -> tuple[Measure, ...]:
    return (Measure("figure", title, unit, reach),)


US = "us/node"
_DELAYED, _PASSES = "dask.delayed", "dask cull, fuse, order"
_SYNC, _THREADED = "dask.local.get_sync", "dask.threaded.get"
_CHAIN = "build a chain of {size} (dask's time per node grows with the length)"

_ALL = (
    Work("build-independent", (_ours(10_000), _dask(_DELAYED, 10_000)),
         _one("build {size} independent nodes", US, 1.0)),
    Work("build-chain-10k", (_ours(10_000), _dask(_DELAYED, 2_000)), _one(_CHAIN, US, 2.0)),
    Work("build-chain-100k", (_ours(100_000, 200), _dask(_DELAYED, 2_000)), _one(_CHAIN, US, 2.0)),
    Work("build-chain-1m", (_ours(1_000_000, 300), _dask(_DELAYED, 2_000)), _one(_CHAIN, US, 2.0)),
    Work("fan-in", (_ours(10_000), _dask(_DELAYED, 2_000)),
         _one("one call that takes a list of {size} nodes; the call alone", "us/child", 0.2)),
    Work("plan-tree", (_ours(100_000, 1_000), _dask(_PASSES, 20_000, 1_000)),
         _one("lower, optimize, order and seal a binary tree of {size} (dask: of a ready dict)", US, 4.0)),
    Work("plan-chains", (_ours(100_000, 1_000), _dask(_PASSES, 20_000, 1_000)),
         _one("the same for chains of 100, {size} nodes in all", US, 4.0)),
    Work("noops-threads",
         (_ours(10_000), _dask("dask.compute, threads", 2_000),
          Contender("thread-pool", "ThreadPoolExecutor(2)", 10_000, 100)),
         _one("{size} independent no-ops on 2 threads, from the first call to the last value", "us/task", 5.0)),
    Work("tree-sync", (_ours(8_192, 64), _dask(_SYNC, 8_192, 64)),
         _one("run a binary tree of {size} leaves that is planned, sync", US, 1.2)),
    Work("tree-threads", (_ours(8_192, 64), _dask(_THREADED, 8_192, 64)),
         _one("run the same on 2 threads", US, 2.0)),
    Work("chain-sync", (_ours(100_000), _dask(_SYNC + ", fused", 10_000)),
         (Measure("over", "run a chain of {size} that is planned, sync: over the bare calls", US, 0.2),
          Measure("whole", "all of it", US),
          Measure("bare", "the bare calls in a loop", US))),
    Work("noops-processes",
         (_ours(10_000), Contender("process-pool", "ProcessPoolExecutor(2).map, chunksize 1", 10_000, 100),
          Contender("process-pool-100", "the same, chunksize 100", 10_000, 200)),
         _one("{size} no-ops on 2 processes, from the first call to the last value", "us/task", 4.0)),
    Work("memory", (_ours(100_000, 1_000), _dask(_DELAYED, 10_000, 1_000)),
         (Measure("nodes", "memory of {size} nodes of one argument", "B/node", 200),
          Measure("plan", "memory of their plan alone", "B/node", 60))),
    Work("million", (_ours(2**19, 1_024),),
         (Measure("all", "a binary tree of {size} leaves, {nodes} nodes: build, plan and run, sync", "s", 6.0),
          Measure("build", "of which build", "s"), Measure("plan", "of which plan", "s"),
          Measure("run", "of which run", "s"),
          Measure("peak", "the most memory the process had", "MB", 500))),
    Work("import", (_ours(7, 1), _dask("dask", 7, 1)),
         (Measure("package", "the import of the package, over bare python", "ms", 30),
          Measure("delayed", "`from ... import delayed`, over bare python", "ms", 30))),
    Work("metg", (_ours(4_096, 256, "numpy"), _dask(_THREADED, 4_096, 1_024, "numpy")),
         (Measure("figure", "smallest task at which 2 threads are at half efficiency (METG 50 %)", "us", 20),
          Measure("speedup", "what two bare threads make of the largest, over one (below 1.5: no figure)", "times"))),
    Work("again", (_ours(8_192, 64), _dask(_DELAYED, 1_024, 64)),
         (Measure("first", "`graph.compute()` of a tree of {size} leaves, sync", US),
          Measure("again", "of the same graph once more", US),
          Measure("share", "once more over the first", "times"))),
)  # fmt: skip

WORKS: Mapping[str, Work] = {work.name: work for work in _ALL}


@click.command()
@click.option("--works", callback=chosen(WORKS), metavar="NAMES", help="Only these rows, separated by commas.")
@click.option("--runs", type=click.IntRange(min=1), help=f"Fresh processes for each figure (default {RUNS}).")
@click.option("--quick", is_flag=True, help="Small sizes and one run: shows that it works, says nothing about speed.")
@click.option("--write", type=click.Path(dir_okay=False, path_type=Path), help="Write the report there, too.")
def main(works: Sequence[str], runs: int | None, quick: bool, write: Path | None) -> None:
    """Measure what a task costs in one process, next to peers and to what we want to reach."""
    facts, rounds = machine.facts(), runs or (1 if quick else RUNS)
    records = [
        Record(WORKS[name], each, each.quick if quick else each.size)
        for name in works
        for each in WORKS[name].contenders
    ]
    for number in range(rounds):
        for record in records:
            measure(record, f"run {number + 1} of {rounds}")
    text = "\n".join([*heading(facts, rounds, command_line(works, rounds, quick, write)), *table(records, not quick)])
    click.echo(text)
    if write is not None:
        write.write_text(f"{text}\n\n{NOTES}{notes_of(write)}")


def command_line(works: Sequence[str], runs: int, quick: bool, write: Path | None) -> str:
    """Return what one would type to have this again; of the file only its place in the checkout, or its name."""
    said = ["python", "-m", "benchmarks.local", "--runs", str(runs)]
    said += ["--quick"] * quick
    said += [] if len(works) == len(WORKS) else ["--works", ",".join(works)]
    if write is not None:
        said += ["--write", write.name if write.is_absolute() else write.as_posix()]
    return shlex.join(said)


def measure(record: Record, when: str) -> None:
    """Run a contender once more, unless it has failed or is not installed."""
    missing = record.contender.missing()
    if missing is not None:
        record.reason = f"not installed: {missing}"
    if record.reason is not None:
        return
    name, contender = record.work.name, record.contender
    click.echo(f"{when}: {name}, {contender.name}", err=True)
    command = [sys.executable, "-m", "benchmarks.local_works", name, contender.name]
    try:
        output = run([*command, str(contender.quick), str(record.size)], {}, TIME_LIMIT)
        record.figures.append(json.loads(output.splitlines()[-1])["figures"])
    except (ContenderFailed, ValueError, LookupError) as error:
        record.reason = f"failed: {error}"


def notes_of(report: Path) -> str:
    """Return what people have written below the table of an earlier report."""
    _, found, notes = report.read_text().partition(NOTES) if report.exists() else ("", "", "")
    return notes if found else NO_NOTES


# -- what is shown ---------------------------------------------------------------------------------


def heading(facts: Facts, runs: int, command: str) -> Iterator[str]:
    """Yield what has to be known of the machine and of the run."""
    loads, packages = facts["load_average"], facts["packages"]
    yield "# What a task costs in one process"
    yield ""
    yield "Compare these figures with each other only, as ratios. `benchmarks/README.md` says how the table is read."
    yield ""
    yield f"* machine: {facts['usable_cores']} cores, {facts['processor']}"
    yield f"* {facts['python']}, {'' if facts['python_optimized'] else 'not '}built with --enable-optimizations"
    if isinstance(packages, dict):
        yield "* " + ", ".join(f"{name} {packages[name]}" for name in (OURS, "dask") if name in packages)
    if isinstance(loads, list):
        yield f"* load average before: {', '.join(map(str, loads))}"
    yield f"* {datetime.now(UTC):%Y-%m-%d}, {runs} {'run' if runs == 1 else 'runs'} in fresh processes, in turns"
    yield f"* `{command}`"
    yield ""


def table(records: Sequence[Record], judged: bool = True) -> Iterator[str]:
    """Yield the rows: one for each figure and peer, medians over the runs with the least and the most."""
    yield "| work | unit | ours median (min-max) | peer median (min-max) | ratio ours/peer | figure to reach |"
    yield "|---|---|--:|--:|--:|--:|"
    for work in {record.work.name: record.work for record in records}.values():
        ours, *peers = (record for record in records if record.work is work)
        for measure in work.measures:
            title = measure.title.format(size=f"{ours.size:,}", nodes=f"{2 * ours.size - 1:,}")
            shown = [peer for peer in peers if peer.reason is not None or cell(peer, measure)]
            for number, peer in enumerate(shown or [None]):
                cells = [*([title, measure.unit] if not number else ["", ""]), cell(ours, measure)]
                cells += [peer_cell(ours, peer, measure), ratio(ours, peer, measure)]
                yield f"| {' | '.join([*cells, '' if number else reached(ours, measure, judged)])} |"


def cell(record: Record, measure: Measure) -> str:
    """Return median, least and most of a contender; or why there is nothing."""
    runs = _runs(record, measure)
    if record.reason is not None:
        return record.reason.replace("|", "/")
    if not runs:
        return "no figure" if record.figures and measure.part == "figure" else ""
    some = "" if len(runs) == len(record.figures) else f", {len(runs)} of {len(record.figures)} runs"
    return f"{digits(statistics.median(runs))} ({digits(min(runs))}-{digits(max(runs))}{some})"


def peer_cell(ours: Record, peer: Record | None, measure: Measure) -> str:
    """Return who the peer is, at which size when it is not ours, and its figures."""
    if peer is None:
        return ""
    size = "" if peer.size == ours.size else f" at {peer.size:,}"
    return f"{peer.contender.title}{size}: {cell(peer, measure)}"


def ratio(ours: Record, peer: Record | None, measure: Measure) -> str:
    """Return our median over the peer's."""
    mine, theirs = _median(ours, measure), None if peer is None else _median(peer, measure)
    return digits(mine / theirs) if mine is not None and theirs else ""


def reached(ours: Record, measure: Measure, judged: bool) -> str:
    """Return the most that our median should be, and whether it is."""
    mine = _median(ours, measure)
    if measure.reach is None:
        return ""
    verdict = "" if mine is None or not judged else ", reached" if mine <= measure.reach else ", **missed**"
    return f"<= {measure.reach:g}{verdict}"


def digits(value: float) -> str:
    """Return three significant digits, or all before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _runs(record: Record, measure: Measure) -> list[float]:
    return [figures[measure.part] for figures in record.figures if measure.part in figures]


def _median(record: Record, measure: Measure) -> float | None:
    runs = [] if record.reason is not None else _runs(record, measure)
    return statistics.median(runs) if runs else None


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.local")
