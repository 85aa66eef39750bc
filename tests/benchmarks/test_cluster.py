"""The table of what a task costs in a cluster: every row gives figures, and what a report has stays in it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import cluster, cluster_works, watching
from benchmarks.cluster import BEGIN, NOTES, Record, main, table
from benchmarks.cluster_rows import ECHO, OURS, ROWS, Row
from benchmarks.cluster_works import ALONE, ON_ENGINE
from benchmarks.contenders.registry import CONTENDERS
from benchmarks.works import WORKS

ON_LINUX = pytest.mark.skipif(not watching.command_of(1), reason="what processes use is read from /proc")


def record(name: str, contender: str, **samples: list[float]) -> Record:
    """Return a record of one process."""
    row = ROWS[name]
    part = next(part for part in row.parts if part.name == contender)
    return Record(row, part, part.size, [samples], [0.5])


@ON_LINUX
def test_every_row_about_processes_gives_every_figure() -> None:
    sizes = {"million": 100, "held": 50, "idle": 0, "metg": 2000}
    with cluster_works.ours() as engine:
        assert [len(engine.who[role]) for role in ("client", "worker")] == [1, 2]
        for name, work in ON_ENGINE.items():
            found = work(engine, sizes.get(name, 20))
            wanted = {measure.part for measure in ROWS[name].measures}
            if name == "metg":
                wanted -= {"figure"}  # a machine that others use may not give two processors
            assert found.keys() >= wanted, name
            assert all(math.isfinite(figure) for figures in found.values() for figure in figures)


def test_what_needs_no_cluster_of_its_own_gives_figures() -> None:
    for name, size in (("start", 0), ("zero", 200)):
        assert ALONE[name](OURS, size).keys() >= {measure.part for measure in ROWS[name].measures}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_a_row_names_works_and_contenders_that_there_are(row: Row) -> None:
    assert row.parts[0].name == OURS
    for part in row.parts:
        if row.own:
            assert row.work in ALONE or (row.work in ON_ENGINE and part.name in cluster_works.ENGINES)
        else:
            assert row.work in CONTENDERS[part.name].works and row.work in WORKS
        assert part.quick <= part.size


def test_the_command_puts_its_rows_into_a_report_and_leaves_the_others(tmp_path: Path) -> None:
    report = tmp_path / "RESULTS.md"
    old = "| `chord`: an old chord | ms |\n| | | of a peer |\n| `adds`: old adds | ms |"
    report.write_text(f"# Local\n\n{BEGIN}\n{old}\n\n{NOTES}\n## Where\n\nIn the queue.\n")
    arguments = ["--quick", "--only", "adds", "--contenders", "process-pool", "--write", str(report)]
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    text = report.read_text()
    assert text.startswith(f"# Local\n\n{BEGIN}\n# What a task costs in a cluster\n")
    assert text.endswith(f"\n\n{NOTES}\n## Where\n\nIn the queue.\n")
    assert "| `chord`: an old chord | ms |\n| | | of a peer |\n" in text
    assert "old adds" not in text
    assert "\n| `adds`: 20 adds, submit loop and gather | us/task | " in text
    again = "--runs 1 --quick --only adds --contenders process-pool --write RESULTS.md"
    assert f"* `python -m benchmarks.cluster {again}`\n" in text
    assert str(tmp_path) not in text


def test_a_report_without_such_a_table_gets_one_at_its_end() -> None:
    ours = record("chord", OURS, total=[0.001])
    text = cluster.merged("# Local\n", cluster.machine.facts(), "python -m benchmarks.cluster", [ours], True)
    assert text.startswith(f"# Local\n\n{BEGIN}\n")
    assert text.endswith(NOTES + cluster.NO_NOTES)
    assert cluster.merged(text, cluster.machine.facts(), "python -m benchmarks.cluster", [ours], True) == text


def test_figures_are_medians_for_each_task_with_spread_ratio_and_verdict() -> None:
    ours, pool = record("map", OURS, total=[0.04]), record("map", "process-pool", total=[1.0])
    ours.processes.append({"total": [0.06]})
    [[line]] = table([ours, pool])
    assert line.startswith("| 10,000 adds by map, gathered | us/task | 5 (4-6) | ProcessPoolExecutor(2): 100 (100-100)")
    assert "| 0.05 | <= 8, reached | " in line
    pool.reason = "failed: no luck"
    assert "| ProcessPoolExecutor(2): failed: no luck |  | <= 8, reached |" in next(table([ours, pool]))[0]


def test_a_round_trip_is_judged_by_the_echo_of_the_same_run() -> None:
    ours, echo = record("round-trip", OURS, total=[0.001] * 200), record("round-trip", ECHO, total=[0.0004] * 200)
    [[median, p99]] = table([ours, echo])
    assert "| <= 2x the echo, is 2.5x, **missed** |" in median
    assert "| <= 5x the echo, is 2.5x, reached |" in p99
    [[alone, _]] = table([ours])
    assert "| <= 2x |" in alone


@ON_LINUX
def test_processor_time_and_memory_are_those_of_the_process() -> None:
    who = watching.roles(lambda command: False, lambda command: False)
    before = watching.each(watching.seconds, who)["client"]
    cluster_works.spin(100_000)
    assert watching.each(watching.seconds, who)["client"] > before
    assert watching.each(watching.resident, who)["client"] > 1_000_000
