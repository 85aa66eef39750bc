"""The command: ``python -m benchmarks [--works rtt,chord] [--contenders lazygraph-cluster,dask] [--quick] ...``."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import click

from benchmarks import machine, report, table
from benchmarks.contenders.registry import CONTENDERS
from benchmarks.processes import ContenderFailed, run
from benchmarks.table import FAILED, MEASURED, NOT_INSTALLED, Record
from benchmarks.works import WORKS

RUNS = 5
TIME_LIMIT = 120.0

Choice = Callable[[click.Context, click.Parameter, str | None], tuple[str, ...]]


def chosen(known: Mapping[str, object]) -> Choice:
    """Return the check of an option that takes names of a table, separated by commas; without the option all of them.

    The names come back in the table's order; an unknown one is an error that lists the known ones.
    """

    def choose(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
        asked = tuple(known) if value is None else tuple(name.strip() for name in value.split(","))
        for name in asked:
            if name not in known:
                raise click.BadParameter(f"{name!r} is not one of: {', '.join(known)}", context, parameter)
        return tuple(name for name in known if name in asked)

    return choose


@click.command()
@click.option("--works", callback=chosen(WORKS), metavar="NAMES", help="Only these, separated by commas.")
@click.option("--contenders", callback=chosen(CONTENDERS), metavar="NAMES", help="Only these, likewise.")
@click.option("--runs", type=click.IntRange(min=1), help=f"Fresh processes for each figure (default {RUNS}).")
@click.option("--quick", is_flag=True, help="Small sizes and one run: shows that it works, says nothing about speed.")
@click.option(
    "--time-limit",
    type=click.FloatRange(min=0, min_open=True),
    default=TIME_LIMIT,
    show_default=True,
    help="Seconds a contender may take for one work in one process.",
)
@click.option("--json", "json_path", type=click.Path(dir_okay=False, path_type=Path), help="Write the report there.")
@click.option("--list", "only_list", is_flag=True, help="Show works and contenders and end.")
def main(
    works: Sequence[str],
    contenders: Sequence[str],
    runs: int | None,
    quick: bool,
    time_limit: float,
    json_path: Path | None,
    only_list: bool,
) -> None:
    """Measure lazygraph, its peers and the bare limits of this machine, side by side in one run."""
    # SIGTERM unwinds like Ctrl-C, so that the contender that runs is ended too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if only_list:
        return _show_lists()
    rounds = runs or (1 if quick else RUNS)
    facts = machine.facts()
    records = _records(works, contenders, quick)
    for number in range(rounds):
        for record in records:
            _measure(record, time_limit, f"run {number + 1} of {rounds}")
    rows = table.rows(records)
    if json_path is not None:
        json_path.write_text(json.dumps(report.as_json(facts, records, rows, rounds), indent=1) + "\n")
    click.echo(report.text(facts, records, rows, rounds))


def _show_lists() -> None:
    click.echo("works")
    for work in WORKS.values():
        click.echo(f"  {work.name:<20}{work.title} (size {work.size}, quick {work.quick})")
    click.echo("contenders")
    for contender in CONTENDERS.values():
        missing = contender.missing()
        click.echo(f"  {contender.name:<20}{contender.what}" + (f"  [not installed: {missing}]" if missing else ""))


def _records(works: Sequence[str], contenders: Sequence[str], quick: bool) -> list[Record]:
    """Return a record for every work and contender that does it, in the order in which a round runs them."""
    records: list[Record] = []
    missing = {name: CONTENDERS[name].missing() for name in contenders}
    for work in (WORKS[name] for name in works):
        for contender in (CONTENDERS[name] for name in contenders if work.name in CONTENDERS[name].works):
            record = Record(contender, work, work.quick if quick else work.size)
            reason = missing[contender.name]
            if reason is not None:
                record.stop(NOT_INSTALLED, reason)
            records.append(record)
    return records


def _measure(record: Record, time_limit: float, when: str) -> None:
    """Run the record's contender once more, unless it has failed before."""
    if record.status != MEASURED:
        return
    click.echo(f"{when}: {record.work.name}, {record.contender.name}", err=True)
    try:
        output = run(record.contender.command(record.work.name, record.size), record.contender.environment, time_limit)
        record.processes.append(json.loads(output.splitlines()[-1])["samples"])
    except (ContenderFailed, ValueError, LookupError) as error:
        record.stop(FAILED, str(error))


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
