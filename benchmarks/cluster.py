"""The command: ``python -m benchmarks.cluster [--runs N] [--only NAME ...] [--write benchmarks/RESULTS.md]``.

What a cluster of two workers with one thread each costs, next to its peers on the same machine and to the figures that
we want to reach: one Markdown table.  What is measured is in `benchmarks.cluster_rows`.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import click

from benchmarks import machine
from benchmarks.cluster_rows import OURS, ROWS, TITLES, Measure, Part, Row
from benchmarks.contenders.registry import CONTENDERS
from benchmarks.local import digits
from benchmarks.machine import Facts
from benchmarks.processes import ContenderFailed, run

RUNS = 3
TIME_LIMIT = 120.0
BEGIN, NOTES = "<!-- cluster -->", "<!-- cluster notes -->"
"""In a report: where the table of the cluster begins, and after what everything is kept as people have written it."""
NO_NOTES = "\n## Where the rest goes in a cluster\n\nNothing is written yet.\n"
HEAD = (
    "| work | unit | ours median (min-max) | peer median (min-max) | ratio ours/peer | figure to reach | when, load |",
    "|---|---|--:|--:|--:|--:|---|",
)


@dataclass
class Record:
    """What has come of one contender at one row so far: samples of each process, or why there are none."""

    row: Row
    part: Part
    size: int
    processes: list[Mapping[str, Sequence[float]]] = field(default_factory=list)
    loads: list[float] = field(default_factory=list)
    reason: str | None = None

    def figures(self, measure: Measure, part: str = "") -> list[float]:
        """Return a figure for each process that has one."""
        some = [samples[part or measure.part] for samples in self.processes if (part or measure.part) in samples]
        return [measure.reduce(each) * measure.scale / measure.tasks(self.size) for each in some]

    def median(self, measure: Measure, part: str = "") -> float | None:
        """Return the median over the processes."""
        figures = self.figures(measure, part)
        return statistics.median(figures) if figures and self.reason is None else None


@click.command()
@click.option("--only", multiple=True, type=click.Choice([*ROWS]), help="Only this row; may be said several times.")
@click.option("--contenders", metavar="NAMES", help="Only these, separated by commas (ours is always one).")
@click.option("--runs", type=click.IntRange(min=1), help=f"Fresh processes for each figure (default {RUNS}).")
@click.option("--quick", is_flag=True, help="Small sizes and one run: shows that it works, says nothing about speed.")
@click.option(
    "--write",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Put the table into this report; rows that are not measured now stay in it as they are.",
)
def main(only: Sequence[str], contenders: str | None, runs: int | None, quick: bool, write: Path | None) -> None:
    """Measure what a cluster on this machine costs, next to peers and to what we want to reach."""
    # SIGTERM unwinds like Ctrl-C, so that the contender that runs is ended too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    facts, rounds = machine.facts(), runs or (1 if quick else RUNS)
    names = None if contenders is None else {OURS, *contenders.split(",")}
    records = [
        Record(ROWS[name], part, part.quick if quick else part.size)
        for name in ROWS
        if not only or name in only
        for part in ROWS[name].parts
        if names is None or part.name in names
    ]
    for number in range(rounds):
        for record in records:
            measure(record, f"run {number + 1} of {rounds}")
    command = command_line(only, contenders, rounds, quick, write)
    lines = [line for group in table(records, not quick) for line in group]
    click.echo("\n".join([*heading(facts, [command]), *HEAD, *lines]))
    if write is not None:
        write.write_text(merged(write.read_text() if write.exists() else "", facts, command, records, not quick))


def command_line(only: Sequence[str], contenders: str | None, runs: int, quick: bool, write: Path | None) -> str:
    """Return what one would type to have this again; of the file only its place in the checkout, or its name."""
    said = ["python", "-m", "benchmarks.cluster", "--runs", str(runs)]
    said += ["--quick"] * quick
    said += [word for name in only for word in ("--only", name)]
    said += ["--contenders", contenders] if contenders else []
    if write is not None:
        said += ["--write", write.name if write.is_absolute() else write.as_posix()]
    return shlex.join(said)


def measure(record: Record, when: str) -> None:
    """Run a contender once more, unless it has failed or is not installed."""
    contender = CONTENDERS[record.part.name]
    missing = contender.missing()
    if missing is not None:
        record.reason = f"not installed: {missing}"
    if record.reason is not None:
        return
    click.echo(f"{when}: {record.row.name}, {contender.name}", err=True)
    record.loads.append(os.getloadavg()[0])
    try:
        output = run(record.row.command(record.part, record.size), contender.environment, TIME_LIMIT)
        record.processes.append(json.loads(output.splitlines()[-1])["samples"])
    except (ContenderFailed, ValueError, LookupError) as error:
        record.reason = f"failed: {error}"


# -- what is shown ---------------------------------------------------------------------------------


def heading(facts: Facts, commands: Sequence[str]) -> Iterator[str]:
    """Yield what has to be known of the machine and of the run."""
    packages = facts["packages"]
    yield "# What a task costs in a cluster"
    yield ""
    yield "Two workers with one thread each; client, scheduler and workers on one machine. Compare these figures with"
    yield "each other only, as ratios, and within one command. `benchmarks/README.md` says how the table is read."
    yield ""
    yield f"* machine: {facts['usable_cores']} cores, {facts['processor']}"
    yield f"* {facts['python']}, {'' if facts['python_optimized'] else 'not '}built with --enable-optimizations"
    if isinstance(packages, dict):
        known = ("lazygraph", "distributed", "ray", "celery", "redis")
        yield "* " + ", ".join(f"{name} {packages[name]}" for name in known if name in packages)
    for command in commands:
        yield f"* `{command}`"
    yield ""


def table(records: Sequence[Record], judged: bool = True) -> Iterator[list[str]]:
    """Yield the lines of each row: one for each figure and peer, medians over the runs with the least and the most."""
    for row in {record.row.name: record.row for record in records}.values():
        ours, *peers = (record for record in records if record.row is row)
        lines: list[str] = []
        for measure in row.measures:
            title = measure.title.format(size=f"{ours.size:,}")
            shown = [peer for peer in peers if peer.reason is not None or peer.figures(measure)]
            for number, peer in enumerate(shown or [None]):
                cells = [*([title, measure.unit] if not number else ["", ""]), cell(ours, measure)]
                cells += [peer_cell(ours, peer, measure), ratio(ours, peer, measure)]
                cells += ["", ""] if number else [reached(ours, peers, measure, judged), when([ours, *peers])]
                lines.append(f"| {' | '.join(cells)} |")
        yield lines


def cell(record: Record, measure: Measure) -> str:
    """Return median, least and most of a contender; or why there is nothing."""
    if record.reason is not None:
        return record.reason.replace("|", "/")
    figures = record.figures(measure)
    if not figures:
        return "no figure"
    some = "" if len(figures) == len(record.processes) else f", {len(figures)} of {len(record.processes)} runs"
    return f"{digits(statistics.median(figures))} ({digits(min(figures))}-{digits(max(figures))}{some})"


def peer_cell(ours: Record, peer: Record | None, measure: Measure) -> str:
    """Return who the peer is, at which size when it is not ours, and its figures."""
    if peer is None:
        return ""
    size = "" if peer.size == ours.size else f" at {peer.size:,}"
    return f"{TITLES[peer.part.name]}{size}: {cell(peer, measure)}"


def ratio(ours: Record, peer: Record | None, measure: Measure) -> str:
    """Return our median over the peer's."""
    mine, theirs = ours.median(measure), None if peer is None else peer.median(measure)
    return digits(mine / theirs) if mine is not None and theirs else ""


def reached(ours: Record, peers: Sequence[Record], measure: Measure, judged: bool) -> str:
    """Return the most that our median should be, and whether it is."""
    if measure.reach is None:
        return ""
    mine, most, shown = ours.median(measure), measure.reach, f"<= {measure.reach:g}"
    if measure.of is not None:
        bare = next((peer for peer in peers if peer.part.name == measure.of), None)
        figures = [] if bare is None else [statistics.median(each[measure.base]) for each in bare.processes]
        base = statistics.median(figures) * measure.scale if figures else None
        shown += "x" if base is None or mine is None else f"x the echo, is {digits(mine / base)}x"
        if base is None:
            return shown
        most *= base
    verdict = "" if mine is None or not judged else ", reached" if mine <= most else ", **missed**"
    return shown + verdict


def when(records: Sequence[Record]) -> str:
    """Return the day, and the load average before the runs of a row, the least and the most."""
    loads = [load for record in records for load in record.loads]
    runs = max((len(record.processes) for record in records), default=0)
    said = f"{datetime.now(UTC):%Y-%m-%d}, {runs} {'run' if runs == 1 else 'runs'}"
    return f"{said}, {min(loads):.1f}-{max(loads):.1f}" if loads else said


# -- a report that is there already ----------------------------------------------------------------


def merged(report: str, facts: Facts, command: str, records: Sequence[Record], judged: bool) -> str:
    """Return a report with the rows that were measured now in place of what it had of them."""
    before, found, rest = report.partition(BEGIN)
    old, noted, notes = rest.partition(NOTES)
    kept = _groups(old)
    commands = [] if not kept else re.findall(r"^\* `(python -m benchmarks\.cluster .*)`$", old, re.MULTILINE)
    new = dict(
        zip((record.row.name for record in records if record.part.name == OURS), table(records, judged), strict=True)
    )
    lines = [line for name in ROWS for line in _marked(name, new.get(name, kept.get(name, [])))]
    before = before if found or not report else report.rstrip("\n") + "\n\n"
    body = "\n".join([*heading(facts, [*dict.fromkeys([*commands, command])]), *HEAD, *lines])
    return f"{before}{BEGIN}\n{body}\n\n{NOTES}{notes if noted else NO_NOTES}"


def _marked(name: str, lines: Sequence[str]) -> list[str]:
    """Return lines with the name of their row in the first, where readers see what to give `--only`."""
    if not lines or lines[0].startswith(f"| `{name}`: "):
        return [*lines]
    return [f"| `{name}`: {lines[0].removeprefix('| ')}", *lines[1:]]


def _groups(old: str) -> dict[str, list[str]]:
    """Return the lines of a table by the row that the first of them names."""
    groups: dict[str, list[str]] = {}
    name = ""
    for line in old.splitlines():
        begun = re.match(r"\| `([\w-]+)`: ", line)
        if begun:
            name = begun[1]
        if name and line.startswith("|"):
            groups.setdefault(name, []).append(line)
    return groups


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.cluster")
