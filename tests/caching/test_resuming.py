"""`run_name=`: a run that was killed anywhere, and is started again, computes only what is missing."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import lazygraph
from lazygraph import compute, delayed, explain, group
from lazygraph.errors import InvalidOption, WorkerDied
from lazygraph.executors import ProcessExecutor, SyncExecutor, ThreadExecutor

SCRIPT = """
import os, random, signal, sys
from pathlib import Path
import lazygraph
from lazygraph import Client, LocalCluster, compute, delayed

executor, ran, main = sys.argv[1], Path(sys.argv[2]), os.getpid()
dies = not ran.exists()

def note(what):
    with ran.open("a") as file:
        file.write(f"{what}\\n")

@delayed
def load(n):
    note(f"load {n}")
    return n, random.random()  # nothing here is pure

@delayed
def total(parts):
    note("total")
    return sum(n for n, _ in parts)

@delayed
def deadly(number):
    note("deadly")
    if dies:
        os.kill(main, signal.SIGKILL)
    return number * 2

def work(where):
    return compute(deadly(total([load(n) for n in range(6)])), executor=where, run_name="etl")

if executor == "cluster":
    with LocalCluster(2) as cluster, Client(cluster):
        print(work(None))
else:
    print(work(executor))
"""


def mark(folder: Path, name: str) -> None:
    """Leave a letter in a file of that name: as many as calls."""
    with (folder / name).open("a") as file:
        file.write("x")


@pytest.fixture
def etl(tmp_path: Path) -> Path:
    script = tmp_path / "etl.py"
    script.write_text(SCRIPT)
    return script


def started(script: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(script), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)


@pytest.mark.parametrize("executor", ["sync", "threads", "processes", "cluster"])
def test_killed_and_started_again_only_what_is_missing_is_computed(etl: Path, tmp_path: Path, executor: str) -> None:
    ran = tmp_path / "ran"
    assert started(etl, executor, str(ran)).returncode == -signal.SIGKILL
    again = started(etl, executor, str(ran))
    assert again.stdout == "(30,)\n", again.stderr
    counts = Counter(ran.read_text().splitlines())
    # In another process it goes on: its value may be there, too.
    assert counts.pop("deadly") in (1, 2)
    assert counts == {**{f"load {n}": 1 for n in range(6)}, "total": 1}
    third = started(etl, executor, str(ran))  # it has ended whole: this is another run
    assert third.stdout == "(30,)\n"
    assert Counter(ran.read_text().splitlines())["total"] == 2


def test_the_command_starts_it_again(etl: Path, tmp_path: Path) -> None:
    def command(*words: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "lazygraph.cli", "resume", *words]
        return subprocess.run(line, capture_output=True, text=True, check=False, timeout=50)

    ran = tmp_path / "ran"
    assert started(etl, "threads", str(ran)).returncode == -signal.SIGKILL
    [known] = json.loads(command("--json").stdout)
    assert (known["name"], known["calls"], known["kept"]) == ("etl", 8, 7)
    assert re.match(r"etl  7 values of 8 calls, begun \d{4}-.*etl\.py threads", command().stdout)
    assert command("elt").returncode == 2
    assert command("etl").stdout == "(30,)\n"
    assert command().stdout == ""
    assert Counter(ran.read_text().splitlines())["total"] == 1
    assert "(etl)" not in command("etl").stderr and command("etl").returncode == 2


@delayed
def make(folder: Path, n: Any) -> Any:
    mark(folder, f"make {n}")
    return n


@delayed
def broken(folder: Path, parts: list[Any]) -> int:
    mark(folder, "broken")
    if not (folder / "mended").exists():
        raise LookupError("not yet")
    return sum(parts)


class TestAFailure:
    @pytest.mark.parametrize("make_executor", [SyncExecutor, lambda: ThreadExecutor(2), lambda: ProcessExecutor(2)])
    def test_is_mended_and_the_rest_is_not_made_again(self, marks: Path, make_executor: Any) -> None:
        def work() -> Any:
            return broken(marks, [make(marks, 1), make(marks, 2)])

        with make_executor() as executor:
            with pytest.raises(LookupError):
                compute(work(), run_name="mended", executor=executor)
            fates = {fate.node: fate.sentence for fate in explain(work(), run_name="mended").cache}
            assert fates == {"make": "found: is loaded", "broken": "not found: runs, and is kept"}
            (marks / "mended").touch()
            assert compute(work(), run_name="mended", executor=executor) == (3,)
        assert count(marks) == {"make 1": 1, "make 2": 1, "broken": 2}

    def test_in_a_group_that_collects_is_not_kept(self, marks: Path) -> None:
        def work() -> Any:
            members = group([make.s(marks, 1), broken.s(marks, [2])], on_error="collect")
            return members | delayed(len).s()

        def both() -> Any:
            return [work(), broken(marks, [3])]

        with pytest.raises(LookupError):
            compute(*both(), run_name="some", fail_fast=False)
        (marks / "mended").touch()
        assert compute(*both(), run_name="some") == (2, 3)
        assert count(marks)["make 1"] == 1


def count(marks: Path) -> dict[str, int]:
    return {path.name: len(path.read_text()) for path in marks.iterdir() if path.name != "mended"}


class TestAnotherPlan:
    @pytest.mark.parametrize(
        ("then", "sentence"),
        [
            (lambda folder: broken(folder, [make(folder, 1), make(folder, 3)]), "had an argument 2 and has 3"),
            (lambda folder: broken(folder, [make(folder, 1)]), "'broken', was 'make'"),
            (lambda folder: broken(folder, [make(folder, 1), len(folder.name)]), "'broken', was 'make'"),
            (lambda folder: delayed(sum)([broken(folder, [make(folder, 1), make(folder, 2)])]), "'sum' is new"),
        ],
    )
    def test_is_refused_with_the_first_difference(self, marks: Path, then: Any, sentence: str) -> None:
        with pytest.raises(LookupError):
            compute(broken(marks, [make(marks, 1), make(marks, 2)]), run_name="one")
        for begin in (lambda: compute(then(marks), run_name="one"), lambda: explain(then(marks), run_name="one")):
            with pytest.raises(InvalidOption, match=rf"run 'one' was begun with another plan: .*{sentence}"):
                begin()
        compute(make(marks, 3), run_name="another")

    def test_of_functions_that_were_mended_is_the_same(self, marks: Path) -> None:
        def step(folder: Path) -> int:
            mark(folder, "step")
            raise LookupError("no")

        with pytest.raises(LookupError):
            compute(delayed(step)(marks), run_name="one")

        def mended(folder: Path) -> int:
            return 1

        mended.__qualname__, mended.__name__ = step.__qualname__, step.__name__
        assert compute(delayed(mended)(marks), run_name="one") == (1,)


class TestWhatIsKept:
    def test_is_gone_when_it_has_ended_whole(self, marks: Path) -> None:
        folder = Path(os.environ["LAZYGRAPH_STATE"]) / "runs"
        for _ in range(2):
            assert compute(make(marks, 1), run_name="a/b") == (1,)
            assert list(folder.iterdir()) == []
        assert count(marks) == {"make 1": 2}

    def test_what_may_run_once_only_has_failed_when_it_was_begun(self, etl: Path, tmp_path: Path) -> None:
        etl.write_text(SCRIPT.replace("@delayed\ndef deadly", "@delayed(at_most_once=True)\ndef deadly"))
        ran = tmp_path / "ran"
        assert started(etl, "threads", str(ran)).returncode == -signal.SIGKILL
        assert f"{WorkerDied.__name__}: 'deadly' was running on 1 workers" in started(etl, "threads", str(ran)).stderr
        assert Counter(ran.read_text().splitlines())["deadly"] == 1

    def test_a_plan_has_no_places(self, marks: Path) -> None:
        plan = make(marks, 1).graph.plan()
        with pytest.raises(InvalidOption, match="compute its graph"):
            lazygraph.start(plan, run_name="planned")

    @pytest.mark.parametrize("name", ["..", "x" * 200])
    def test_under_a_name_that_is_a_folder(self, marks: Path, name: str) -> None:
        with pytest.raises(InvalidOption, match="1 to 150 letters"):
            compute(make(marks, 1), run_name=name)

    def test_two_processes_at_one_run(self, etl: Path, tmp_path: Path) -> None:
        etl.write_text(SCRIPT.replace("os.kill(main, signal.SIGKILL)", "print('here', flush=True); signal.pause()"))
        words = [sys.executable, str(etl), "threads", str(tmp_path / "ran")]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as first:
            assert first.stdout is not None and first.stdout.readline() == "here\n"
            second = started(etl, "threads", str(tmp_path / "ran"))
            assert f"run 'etl' is going on in process {first.pid}" in second.stderr
            first.kill()
        assert started(etl, "threads", str(tmp_path / "ran")).stdout == "(30,)\n"
