"""The table of what a task costs in one process: every row gives figures, and what people wrote below it stays."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import local, local_works
from benchmarks.contenders.harness import WrongResult
from benchmarks.local import NOTES, WORKS, Contender, Record, Work, main, table

ROOT = Path(__file__).resolve().parents[2]


def figures(work: Work, contender: Contender) -> dict[str, float]:
    """Return what a contender measures of a work in small, in a process of its own."""
    size = str(contender.quick)
    command = [sys.executable, "-m", "benchmarks.local_works", work.name, contender.name, size, size]
    found: dict[str, float] = json.loads(subprocess.check_output(command, cwd=ROOT, text=True))["figures"]
    return found


@pytest.mark.parametrize("work", WORKS.values(), ids=WORKS)
def test_every_row_gives_every_figure(work: Work) -> None:
    for contender in work.contenders:
        if contender.missing() is not None:
            continue
        found = figures(work, contender)
        wanted = {measure.part for measure in work.measures}
        if work.name == "metg":
            wanted -= {"figure"}  # a machine that others use may not give two cores
        assert found.keys() >= wanted if contender.name == local.OURS else found.keys() & wanted
        assert all(math.isfinite(figure) for figure in found.values())


def test_the_table_knows_exactly_who_does_what() -> None:
    assert {name: {one.name for one in work.contenders} for name, work in WORKS.items()} == {
        name: {*contenders} for name, contenders in local_works.WORKS.items()
    }


def test_the_command_writes_the_table_and_keeps_the_notes(tmp_path: Path) -> None:
    report = tmp_path / "RESULTS.md"
    report.write_text(f"| an old table |\n\n{NOTES}\n## Where the rest goes\n\nIn the queue.\n")
    arguments = ["--quick", "--works", "fan-in,million", "--write", str(report)]
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    text = report.read_text()
    assert text.endswith(f"\n\n{NOTES}\n## Where the rest goes\n\nIn the queue.\n")
    assert "an old table" not in text
    assert "| a binary tree of 1,024 leaves, 2,047 nodes: build, plan and run, sync | s | " in text
    assert "`python -m benchmarks.local --runs 1 --quick --works fan-in,million --write RESULTS.md`" in text
    assert str(tmp_path) not in text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + len(WORKS["fan-in"].measures) + len(WORKS["million"].measures)


def test_a_first_report_has_a_place_for_notes(tmp_path: Path) -> None:
    assert local.notes_of(tmp_path / "none.md") == local.NO_NOTES


def test_a_row_has_medians_spread_ratio_and_a_verdict() -> None:
    work = WORKS["noops-threads"]
    ours, dask, pool = (Record(work, contender, contender.size) for contender in work.contenders)
    ours.figures = [{"figure": 4.0}, {"figure": 2.0}, {"figure": 3.0}]
    dask.figures = [{"figure": 300.0}]
    pool.reason = "failed: no luck"
    first, second = [*table([ours, dask, pool])][2:]
    assert first.startswith("| 10,000 independent no-ops on 2 threads")
    assert first.endswith("| 3 (2-4) | dask.compute, threads at 2,000: 300 (300-300) | 0.01 | <= 5, reached |")
    assert second == "|  |  | 3 (2-4) | ThreadPoolExecutor(2): failed: no luck |  |  |"
    ours.figures = [{"figure": 6.0}]
    assert [*table([ours])][2].endswith("| 6 (6-6) |  |  | <= 5, **missed** |")


def test_who_is_not_installed_or_fails_is_listed_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, dask = WORKS["fan-in"].contenders
    absent = Contender("dask", "absent", 10, 10, ("no_such_module",))
    broken = Contender("nobody", "broken", 10, 10)
    work = Work("fan-in", (ours, absent, broken, dask), WORKS["fan-in"].measures)
    monkeypatch.setattr(local, "WORKS", {"fan-in": work})
    result = CliRunner().invoke(main, ["--quick", "--works", "fan-in"], catch_exceptions=False)
    assert "absent at 10: not installed: no_such_module" in result.output
    assert "broken at 10: failed: KeyError: 'nobody'" in result.output
    if dask.missing() is None:
        assert "| dask.delayed: " in result.output


def test_a_wrong_value_is_no_figure() -> None:
    with pytest.raises(WrongResult):
        local_works.per_node(lambda: 3, local_works.expects(4), 1)


def test_an_odd_number_of_leaves_is_joined_too() -> None:
    for leaves in range(1, 20):
        nodes: list[int] = []
        top = local_works.joined(lambda a, b, made=nodes: made.append(0) or a + b, [*range(leaves)])
        assert (top, len(nodes)) == (local_works.sum_below(leaves), leaves - 1)


def test_a_run_without_a_figure_is_told() -> None:
    work = WORKS["metg"]
    ours = Record(work, work.contenders[0], 10, [{"figure": 9.0, "speedup": 2.0}, {"speedup": 1.0}])
    assert "| 9 (9-9, 1 of 2 runs) |" in [*table([ours])][2]
    ours.figures = [{"speedup": 1.0}]
    assert "| no figure |" in [*table([ours])][2]
