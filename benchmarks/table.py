"""From samples to rows: medians over processes, their spread, and the ratio to the baseline of the same run."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from benchmarks.contenders.registry import BASELINE, Contender
from benchmarks.works import Measure, Work

MEASURED = "measured"
FAILED = "failed"
NOT_INSTALLED = "not installed"

Samples = Mapping[str, Sequence[float]]


@dataclass
class Record:
    """What has come of one contender at one work so far: the samples of each process, or why there are none."""

    contender: Contender
    work: Work
    size: int
    processes: list[Samples] = field(default_factory=list)
    status: str = MEASURED
    reason: str | None = None

    def stop(self, status: str, reason: str) -> None:
        """Take the contender out of this work; it is not tried again and shows no figures."""
        self.status, self.reason = status, reason


@dataclass(frozen=True)
class Row:
    """One contender at one measure, ready to be shown; ``runs`` has one figure for each process."""

    contender: str
    work: str
    measure: str
    part: str
    unit: str
    size: int
    status: str
    reason: str | None = None
    runs: tuple[float, ...] = ()
    ratio: float | None = None

    @property
    def median(self) -> float | None:
        """The median over the processes."""
        return statistics.median(self.runs) if self.runs else None


def rows(records: Sequence[Record]) -> list[Row]:
    """Return the rows of all measures, grouped by work and measure in the order in which the records come.

    A contender that does a work without the measure's part (a pool builds nothing) has no row there.
    """
    works = {record.work.name: record.work for record in records}
    found: list[Row] = []
    for work in works.values():
        for measure in work.measures:
            made = (_row(record, measure) for record in records if record.work is work)
            found += _with_ratios([row for row in made if row is not None])
    return found


def _row(record: Record, measure: Measure) -> Row | None:
    row = Row(
        record.contender.name, record.work.name, measure.title, measure.part, measure.unit, record.size,
        record.status, record.reason,
    )  # fmt: skip
    if record.status != MEASURED:
        return row
    if not record.processes or any(measure.part not in samples for samples in record.processes):
        return None
    figures = [record.work.figure(measure, samples, record.size) for samples in record.processes]
    return replace(row, runs=tuple(figures))


def _with_ratios(group: Sequence[Row]) -> list[Row]:
    base = next((row.median for row in group if row.contender == BASELINE), None)
    if not base:
        return list(group)
    return [row if row.median is None else replace(row, ratio=row.median / base) for row in group]
