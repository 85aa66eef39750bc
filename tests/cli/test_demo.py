"""The demo as a user sees it: the graph on every executor, what is printed, exit codes, and Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lazygraph.cli.demo import plain, show
from lazygraph.cli.demo.command import demo
from lazygraph.cli.demo.report import Report
from lazygraph.cli.demo.run import DIFFERENT, EQUAL, INTERRUPTED, verdict
from lazygraph.cli.demo.show import Measured, Progress
from lazygraph.cli.demo.sources import list_files
from lazygraph.cli.demo.workflow import build


@pytest.fixture
def tree(tmp_path: Path) -> str:
    """A directory of 20 modules in a row, a cycle of two, and two files with a problem."""
    root = tmp_path / "tree"
    root.mkdir()
    for number in range(20):
        (root / f"m{number:02}.py").write_text(f"import m{number + 1:02}\nname = {number}\n")
    (root / "left.py").write_text("import right\n")
    (root / "right.py").write_text("import left\n")
    (root / "latin.py").write_bytes(b"\n\n# \xe9\xe8\n")
    (root / "broken.py").write_text("def (:\n")
    return str(root)


@pytest.fixture
def expected(tree: str) -> Report:
    return plain.run(list_files(tree), tree)


def run_demo(*arguments: str, cwd: Path) -> Result:
    """Run the command in `cwd`, where it writes its picture."""
    here = os.getcwd()
    os.chdir(cwd)
    try:
        return CliRunner().invoke(demo, arguments, catch_exceptions=False)
    finally:
        os.chdir(here)


# On executors


@pytest.mark.parametrize("executor", ["sync", "threads"])
def test_the_graph_gives_what_the_plain_loop_gives(tree: str, expected: Report, executor: str) -> None:
    graph = build(list_files(tree), tree)
    assert graph.compute(executor=executor) == expected
    assert graph.compute(executor=executor) == expected
    assert len(expected.chain.links) == 20
    assert expected.cycles.count == 1
    assert [os.path.basename(problem.path) for problem in expected.totals.problems] == ["broken.py", "latin.py"]


@pytest.mark.parametrize("count", [0, 1, 8, 9, 24])
def test_any_number_of_files_makes_one_report(tree: str, count: int) -> None:
    files = list_files(tree)[:count]
    assert build(files, tree).compute(executor="sync") == plain.run(files, tree)


def test_links_are_made_once_for_cycles_and_chain(tree: str) -> None:
    counts = build(list_files(tree), tree).explain().to_dict()["counts"]
    assert counts["parse"] == 24
    assert counts["merge_many"] == 4
    assert counts["link_imports"] == 1


def test_both_executors_are_run_and_compared_by_default(tree: str, tmp_path: Path) -> None:
    result = run_demo(tree, cwd=tmp_path)
    assert result.exit_code == EQUAL
    assert "threads == cluster == plain loop: identical" in result.stdout
    assert "left → right → left" in result.stdout
    assert "latin.py is not utf-8 text" in result.stdout
    assert "threads: 35 of 35" in result.stderr
    assert (tmp_path / "lazygraph-demo.svg").read_text().startswith("<svg")


def test_json_is_one_document_on_standard_output(tree: str, expected: Report, tmp_path: Path) -> None:
    picture = tmp_path / "graph.svg"
    result = run_demo(tree, "--json", "--executor", "threads", "--picture", str(picture), cwd=tmp_path)
    assert result.exit_code == EQUAL
    found = json.loads(result.stdout)
    assert found["identical"] is True
    assert found["picture"] == str(picture)
    assert found["report"]["totals"]["files"] == found["plain"]["files"] == expected.totals.files == 24
    assert [run["executor"] for run in found["runs"]] == ["threads"]
    assert found["runs"][0]["tasks"] == found["graph"]["nodes"]
    assert picture.exists()


def test_files_takes_the_first_ones(tree: str, tmp_path: Path) -> None:
    result = run_demo(tree, "--json", "--executor", "sync", "--files", "3", cwd=tmp_path)
    assert json.loads(result.stdout)["report"]["totals"]["files"] == 3


def test_a_directory_without_sources_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = run_demo("empty", "--executor", "threads", cwd=tmp_path)
    assert result.exit_code == EQUAL
    assert "0 files" in result.stdout


# Bad command lines


def test_a_missing_directory_is_wrong_usage(tmp_path: Path) -> None:
    result = run_demo("nowhere", cwd=tmp_path)
    assert result.exit_code == 2
    assert "nowhere" in result.stderr


def test_a_picture_that_cannot_be_written_is_wrong_usage_before_anything_runs(tree: str, tmp_path: Path) -> None:
    result = run_demo(tree, "--picture", "missing/graph.svg", "--executor", "sync", cwd=tmp_path)
    assert result.exit_code == 2
    assert "missing/graph.svg" in result.stderr
    assert "sync:" not in result.stderr


# Ctrl-C


@pytest.mark.parametrize("executor", ["threads", "cluster"])
def test_ctrl_c_ends_the_demo_and_all_its_processes(tmp_path: Path, executor: str) -> None:
    demo_process = subprocess.Popen(
        [sys.executable, "-m", "lazygraph.cli", "demo", "--executor", executor],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with demo_process:
        assert demo_process.stderr is not None
        first = demo_process.stderr.readline()
        assert first.startswith(f"{executor}: "), first + demo_process.stderr.read()
        os.killpg(demo_process.pid, signal.SIGINT)  # as a terminal does: to every process of the group
        # Standard error is inherited: it ends when the last of the processes has gone.
        rest = demo_process.stderr.read()
    assert demo_process.returncode == INTERRUPTED, rest
    assert rest.splitlines()[-1].startswith("interrupted")
    assert "Traceback" not in rest
    with pytest.raises(ProcessLookupError):
        os.killpg(demo_process.pid, 0)


# What is printed


def test_a_difference_is_named_and_is_not_success(expected: Report) -> None:
    right = Measured(show.PLAIN, expected, 2.0, 24)
    wrong = Measured("cluster", replace(expected, chain=replace(expected.chain, links=())), 1.0, 50, 1234, 5)
    same = replace(right, name="threads", tasks=50)
    assert (verdict([same], right), verdict([same, wrong], right)) == (EQUAL, DIFFERENT)
    text = show.after([same, wrong], right)
    assert "cluster DIFFERS from the plain loop in: chain" in text
    assert "threads == plain loop: identical" in text
    assert "kept on workers 1.2 kB   moved 5 B" in text


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (5 * 10**12, "5000.0 GB")])
def test_sizes_are_written_for_reading(count: int, text: str) -> None:
    assert show.size(count) == text


def test_names_of_files_cannot_speak_to_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "a\x1b[31m\n.py").write_text("(")
    os.close(os.open(os.fsencode(tmp_path) + b"/b\xff.py", os.O_CREAT | os.O_WRONLY))
    (tmp_path / os.fsdecode(b"b\xff.py")).write_text("import nothing")
    found = plain.run(list_files(str(tmp_path)), str(tmp_path))
    text = show.report(found, str(tmp_path))
    assert "a\\x1b[31m\\n.py cannot be parsed" in text
    assert "  b\\udcff" in text
    show.say(text)
    assert json.loads(json.dumps(text))


def test_progress_tells_a_few_lines_when_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("threads") as progress:
        for done in range(1001):
            progress.update(done, 1000)
        progress.update(0, 0)
    told = capsys.readouterr()
    assert told.err.splitlines() == [f"threads: {n} of 1,000" for n in (250, 500, 750)] + ["threads: 1,000 of 1,000"]
    assert told.out == ""
