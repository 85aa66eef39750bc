"""The benchmark of the order of running: it reads what it is given, and says what Dask says of both orders."""

from __future__ import annotations

import json
from pathlib import Path
from zipfile import ZipFile

from click.testing import CliRunner

from benchmarks.pressure import Row, main, measured, report
from benchmarks.pressure_graphs import Reads, estee, tree


def archive(folder: Path, **graphs: list[list[int]]) -> None:
    """Write graphs as the Estee set has them: for each task which tasks' first outputs it reads."""
    tables: dict[str, dict[str, str]] = {"graph_name": {}, "graph": {}}
    for row, (name, tasks) in enumerate(graphs.items()):
        tables["graph_name"][str(row)] = name
        tables["graph"][str(row)] = json.dumps([{"inputs": [[task, 0] for task in reads]} for reads in tasks])
    with ZipFile(folder / "family.zip", "w") as opened:
        opened.writestr("family.json", json.dumps(tables))


def test_a_graph_is_read_from_an_archive(tmp_path: Path) -> None:
    archive(tmp_path, fork=[[], [0, 0], [0]], one=[[]])
    assert list(estee(tmp_path)) == [("family/0 fork", {0: [], 1: [0], 2: [0]}), ("family/1 one", {0: []})]


def test_peaks_are_counted_for_both_orders() -> None:
    row = measured("tree", tree(16))
    assert (row.tasks, row.edges, row.theirs, row.ours, row.ratio) == (31, 30, 5, 5, 1.0)
    assert row.their_seconds > 0


def test_a_worse_order_is_told() -> None:
    fair = Row("fair", 10, 9, 4, 4, 1e-5, 1e-5)
    poor = fair._replace(name="poor", ours=8)
    shown = "\n".join(report({"both": [fair, poor]}))
    assert shown.index("poor") < shown.index("fair")
    family, every = shown.splitlines()[-2:]
    assert family.split() == ["both", "2", "1.414", "2.00", "1", "1", "20", "1.0", "1.0"]
    assert every.split() == ["all", *family.split()[1:]]


def test_the_command_compares_all_that_it_is_given(tmp_path: Path) -> None:
    chain: list[list[int]] = [[], [0], [1]]
    archive(tmp_path, chain=chain)
    result = CliRunner().invoke(main, ["--graphs", str(tmp_path), "--size", "3"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert any(line.split()[:6] == ["Estee:", "family/0", "chain", "3", "2", "1"] for line in lines)
    assert "size 3: dask/cumsum" in result.output
    assert "size 3: shape/butterfly" in result.output
    assert {line.split()[0] for line in lines[-3:]} == {"Estee", "size", "all"}


def test_an_order_that_holds_nothing_is_no_better_than_one_that_holds_one_value() -> None:
    alone: Reads = {"a": [], "b": []}
    assert measured("alone", alone).ratio == 1.0
