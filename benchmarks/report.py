"""How the rows are shown: as text for people, as JSON for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from benchmarks.contenders.registry import BASELINE
from benchmarks.machine import Facts
from benchmarks.processes import shown
from benchmarks.table import FAILED, NOT_INSTALLED, Record, Row

SCHEMA_VERSION = 1


def text(facts: Facts, records: Sequence[Record], rows: Sequence[Row], runs: int) -> str:
    """Return the whole report: the machine, one block for each measure, the commands."""
    return "\n".join([*_machine(facts, runs), *_not_installed(records), *_blocks(rows), *_commands(records)])


def as_json(facts: Facts, records: Sequence[Record], rows: Sequence[Row], runs: int) -> dict[str, object]:
    """Return the report as plain values; figures are in the unit that stands beside them."""
    return {
        "version": SCHEMA_VERSION,
        "baseline": BASELINE,
        "runs": runs,
        "machine": facts,
        "commands": [
            {"contender": record.contender.name, "work": record.work.name, "command": _command(record)}
            for record in records
        ],
        "results": [_result(row) for row in rows],
    }


def _result(row: Row) -> dict[str, object]:
    return {
        "contender": row.contender,
        "work": row.work,
        "size": row.size,
        "measure": row.measure,
        "part": row.part,
        "unit": row.unit,
        "status": row.status,
        "reason": row.reason,
        "runs": list(row.runs),
        "median": row.median,
        "min": min(row.runs, default=None),
        "max": max(row.runs, default=None),
        "ratio": row.ratio,
    }


def _machine(facts: Facts, runs: int) -> Iterator[str]:
    yield f"runs: {runs}, each in a fresh process, contenders interleaved"
    for name, value in facts.items():
        yield f"{name.replace('_', ' ')}: {_listed(value)}"


def _listed(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _not_installed(records: Sequence[Record]) -> Iterator[str]:
    missing = {record.contender.name: record.reason for record in records if record.status == NOT_INSTALLED}
    for name, how in missing.items():
        yield f"not installed: {name} needs {how}"


def _blocks(rows: Sequence[Row]) -> Iterator[str]:
    for (work, size, measure, unit), group in groupby(rows, lambda row: (row.work, row.size, row.measure, row.unit)):
        yield ""
        yield f"{measure} [{unit}]   (WORK SIZE = {work} {size})"
        yield f"  {'':<20}{'median':>12}{'min':>12}{'max':>12}   / {BASELINE}"
        for row in group:
            yield f"  {row.contender:<20}{_figures(row)}".rstrip()


def _figures(row: Row) -> str:
    if row.status == FAILED:
        return f"  {row.status}: {row.reason}"
    if row.median is None:
        return f"  {row.status}"
    spread = "".join(f"{_digits(value):>12}" for value in (row.median, min(row.runs), max(row.runs)))
    return spread + ("" if row.ratio is None else f"{_digits(row.ratio):>12}")


def _digits(value: float) -> str:
    """Three significant digits, or all digits before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _commands(records: Sequence[Record]) -> Iterator[str]:
    yield ""
    yield "commands, run in the checkout; WORK SIZE as above"
    for contender in {record.contender.name: record.contender for record in records}.values():
        command = contender.command("WORK", 0)[:-1]
        yield f"  {contender.name:<20}{shown([*command, 'SIZE'], contender.environment)}"


def _command(record: Record) -> str:
    return shown(record.contender.command(record.work.name, record.size), record.contender.environment)
