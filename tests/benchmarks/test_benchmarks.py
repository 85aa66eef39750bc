"""The benchmarks run, say what is missing or has failed, compute what they claim and leave no process behind."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import table
from benchmarks.__main__ import main
from benchmarks.contenders import harness, shapes
from benchmarks.contenders.functions import add
from benchmarks.contenders.registry import BASELINE, CONTENDERS, EXTRA, Contender
from benchmarks.processes import PROCESSES, ContenderFailed, run
from benchmarks.table import FAILED, MEASURED, NOT_INSTALLED, Record
from benchmarks.works import WORKS, percentile_99

ROOT = Path(__file__).resolve().parents[2]
LIMITS = ("echo", "thread-pool", "process-pool", "loop")
RESULT_KEYS = {
    "contender", "work", "size", "measure", "part", "unit", "status", "reason", "runs", "median", "min", "max", "ratio",
}  # fmt: skip


def report_of(*arguments: str, to: Path) -> Any:
    """Run the command in this process (contenders in their own) and return the JSON it wrote."""
    result = CliRunner().invoke(main, [*arguments, "--json", str(to)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(to.read_text())


# ---- the command, from end to end


def test_quick_run_of_the_limits_measures_every_work_they_do(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    command = [sys.executable, "-m", "benchmarks", "--quick", "--contenders", ",".join(LIMITS), "--json", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(path.read_text())
    assert {(result["contender"], result["work"]) for result in report["results"]} == {
        (name, work) for name in LIMITS for work in CONTENDERS[name].works
    }
    for result in report["results"]:
        assert result.keys() == RESULT_KEYS
        assert (result["status"], result["reason"], len(result["runs"])) == (MEASURED, None, 1)
        assert result["min"] == result["median"] == result["max"] > 0
        assert result["size"] == WORKS[result["work"]].quick
        assert result["ratio"] is None  # the baseline did not take part
    for name in LIMITS:
        assert name in done.stdout


def test_report_has_the_machine_and_the_exact_commands(tmp_path: Path) -> None:
    report = report_of("--quick", "--works", "chord", "--contenders", "loop", to=tmp_path / "report.json")
    assert (report["version"], report["baseline"], report["runs"]) == (1, BASELINE, 1)
    assert report["machine"].keys() >= {"cores", "processor", "python", "load_average", "packages"}
    (entry,) = report["commands"]
    assert (entry["contender"], entry["work"]) == ("loop", "chord")
    again = subprocess.run(entry["command"], shell=True, cwd=ROOT, capture_output=True, text=True, check=True)
    assert len(json.loads(again.stdout)["samples"]["total"]) == WORKS["chord"].repeats


def test_what_is_not_installed_and_what_fails_is_shown_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for contender in (
        Contender("absent", "loop", ("chord",), "", packages=("no-such-distribution",)),
        Contender("helpless", "loop", ("chord",), "", programs={"no-such-program": "apt install it"}),
        Contender("broken", "no_such_module", ("chord",), ""),
    ):
        monkeypatch.setitem(CONTENDERS, contender.name, contender)
    chosen = ("absent", "helpless", "broken", "loop")
    arguments = ["--quick", "--runs", "2", "--works", "chord", "--contenders", ",".join(chosen)]
    path = tmp_path / "report.json"
    result = CliRunner().invoke(main, [*arguments, "--json", str(path)], catch_exceptions=False)
    assert result.exit_code == 0
    rows = {row["contender"]: row for row in json.loads(path.read_text())["results"]}
    assert (rows["absent"]["status"], rows["absent"]["reason"]) == (NOT_INSTALLED, f"no-such-distribution: {EXTRA}")
    assert (rows["helpless"]["status"], rows["helpless"]["reason"]) == (
        NOT_INSTALLED,
        "no-such-program: apt install it",
    )
    assert rows["broken"]["status"] == FAILED
    assert "no_such_module" in rows["broken"]["reason"]
    assert len(rows["loop"]["runs"]) == 2
    assert f"absent needs no-such-distribution: {EXTRA}" in result.output
    assert "failed: " in result.output


@pytest.mark.parametrize("option", ["--works", "--contenders"])
def test_an_unknown_name_is_refused_with_the_known_ones(option: str) -> None:
    result = CliRunner().invoke(main, [option, "nonsense"])
    assert result.exit_code == 2
    assert "'nonsense' is not one of: " in result.output
    assert ("rtt" if option == "--works" else "dask-inf") in result.output


def test_list_names_every_work_and_contender() -> None:
    output = CliRunner().invoke(main, ["--list"], catch_exceptions=False).output
    assert [name for name in (*WORKS, *CONTENDERS) if f"  {name} " not in output] == []


# ---- the contenders


@pytest.mark.parametrize("contender", CONTENDERS.values(), ids=CONTENDERS)
def test_a_contender_knows_the_works_it_is_down_for(contender: Contender) -> None:
    if reason := contender.missing():
        pytest.skip(reason)
    command = [sys.executable, "-W", "ignore", "-m", f"benchmarks.contenders.{contender.module}"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert told.stderr.startswith("usage: WORK SIZE"), told.stderr
    known = told.stderr.strip().partition("one of: ")[2].split(", ")
    assert [work for work in contender.works if work not in known] == []


@pytest.mark.parametrize("name", ["lazygraph-cluster", "lazygraph-threads"])
def test_lazygraph_gets_every_work_right(name: str) -> None:
    module = importlib.import_module(f"benchmarks.contenders.{CONTENDERS[name].module}")
    with module.session() as session:
        for work in CONTENDERS[name].works:
            samples = module.WORKS[work](session, WORKS[work].quick)
            assert {measure.part for measure in WORKS[work].measures} - samples.keys() <= {"build"}


@given(st.integers(1, 9))
def test_shapes_come_to_the_value_they_announce(size: int) -> None:
    assert sum(shapes.independent(add, size)) == shapes.sum_of_independent(size)
    assert shapes.tree(add, size) == shapes.sum_of_independent(shapes.leaves(size))
    assert shapes.chain(add, size) == size


def test_a_wrong_result_is_no_figure() -> None:
    with pytest.raises(harness.WrongResult, match="the result is 3, expected 4"):
        harness.whole(lambda: 3, 4)


def test_the_warming_go_is_not_counted() -> None:
    sizes: list[int] = []

    def function(_: None, size: int) -> harness.Samples:
        sizes.append(size)
        return {"total": [float(size)]}

    work = WORKS["chord"]
    assert harness.measure(function, None, "chord", work.size) == {"total": [float(work.size)] * work.repeats}
    assert sizes == [work.warm] + [work.size] * work.repeats


# ---- processes


def test_the_reason_of_a_failure_is_the_last_line_of_its_error_output() -> None:
    with pytest.raises(ContenderFailed, match=r"^no luck$"):
        run([sys.executable, "-c", "raise SystemExit('no luck')"], {}, 60)


def test_a_contender_that_takes_too_long_is_ended() -> None:
    with pytest.raises(ContenderFailed, match=r"^no result within 0\.1 s$"):
        run([sys.executable, "-c", "import signal; signal.pause()"], {}, 0.1)


def test_files_of_a_contender_that_is_ended_go_with_it() -> None:
    says_where = (
        "import os, signal, tempfile; print(tempfile.mkdtemp(), flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    # What it prints is not given back when it fails, so its own shell swallows the failure.
    where = run(["sh", "-c", f"{sys.executable} -c '{says_where}'; true"], {}, 60).strip()
    assert where
    assert not Path(where).exists()


LEAVES_ONE_BEHIND = """
import subprocess, sys
waits = [sys.executable, "-c", "import signal; signal.pause()"]
print(subprocess.Popen(waits, start_new_session=True, stdout=subprocess.DEVNULL).pid)
"""


@pytest.mark.skipif(not PROCESSES.exists(), reason="what left its process group is only found through /proc")
def test_a_process_in_a_session_of_its_own_is_ended_too() -> None:
    number = int(run([sys.executable, "-c", LEAVES_ONE_BEHIND], {}, 60))
    assert state(number) in {"gone", "Z", "X"}  # a dead process may still wait to be reaped


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 1), (signal.SIGTERM, 128 + signal.SIGTERM)])
def test_interrupting_the_run_ends_the_contender(number: signal.Signals, code: int) -> None:
    mark = f"TEST_MARK={uuid.uuid4().hex}"
    command = [sys.executable, "-m", "benchmarks", "--works", "chain", "--contenders", "process-pool"]
    environment = {**os.environ, **dict([mark.split("=")])}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as benchmark:
        assert benchmark.stderr is not None
        assert benchmark.stderr.readline() == b"run 1 of 5: chain, process-pool\n"
        benchmark.send_signal(number)
        benchmark.stderr.read()
    assert benchmark.returncode == code
    assert [process for process in PROCESSES.glob("[0-9]*") if carries(process, mark)] == []


def carries(process: Path, mark: str) -> bool:
    """Say whether a living process has the mark in its environment."""
    try:
        return mark.encode() in (process / "environ").read_bytes().split(b"\0")
    except OSError:
        return False


def state(number: int) -> str:
    """Return the letter that /proc has for the state of a process, or "gone"."""
    try:
        return (PROCESSES / str(number) / "stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "gone"


# ---- the table


def record(name: str, work: str, *processes: dict[str, list[float]], size: int = 10) -> Record:
    """Return what a contender has come to, one mapping of samples for each of its processes."""
    return Record(CONTENDERS[name], WORKS[work], size, list(processes))


def test_rows_have_medians_over_processes_and_ratios_to_the_baseline() -> None:
    base = record(BASELINE, "chord", *({"total": [value]} for value in (0.002, 0.001, 0.004)))
    peer = record("dask", "chord", {"total": [0.02, 0.01, 0.03]}, {"total": [0.04]}, {"total": [0.01]})
    ours, theirs = table.rows([base, peer])
    assert ours.runs == pytest.approx((2.0, 1.0, 4.0))
    assert theirs.runs == pytest.approx((20.0, 40.0, 10.0))
    assert ours.median == pytest.approx(2.0)
    assert ours.ratio == 1.0
    assert theirs.median == pytest.approx(20.0)
    assert theirs.ratio == pytest.approx(10.0)


def test_per_task_figures_divide_by_the_tasks_of_the_size() -> None:
    total, build = table.rows([record(BASELINE, "tree", {"total": [0.7], "build": [0.07]}, size=3)])
    assert total.unit == "us/task"
    assert total.median == pytest.approx(100_000)
    assert build.median == pytest.approx(10_000)


def test_a_part_that_a_contender_does_not_have_makes_no_row() -> None:
    found = table.rows([record("loop", "merge", {"total": [1.0]})])
    assert [row.part for row in found] == ["total"]


def test_a_failed_contender_has_no_figures_and_gives_no_ratio() -> None:
    base = record(BASELINE, "chord", {"total": [1.0]})
    base.stop(FAILED, "it broke")
    ours, theirs = table.rows([base, record("ray", "chord", {"total": [2.0]})])
    assert (ours.status, ours.reason, ours.runs, ours.median) == (FAILED, "it broke", (), None)
    assert theirs.median == pytest.approx(2000.0)
    assert theirs.ratio is None


@given(st.lists(st.floats(0, 1), min_size=1, max_size=300))
def test_the_99th_percentile_is_exceeded_by_at_most_one_in_a_hundred(samples: list[float]) -> None:
    limit = percentile_99(samples)
    assert limit in samples
    assert sum(sample > limit for sample in samples) <= len(samples) / 100
    assert sum(sample >= limit for sample in samples) > len(samples) / 100
