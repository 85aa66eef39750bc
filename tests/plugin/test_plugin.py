"""The pytest plugin, as a user meets it: installed with lazygraph, in a pytest of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from tests.plugin.conftest import SUITE, Ran

Run = Callable[..., Ran]

HEAD = """
import pytest
from lazygraph import RetryPolicy, chain, compute, delayed, group

@delayed
def add(x, y):
    return x + y

@delayed(name="the load", retries=1)
def load(folder):
    return len(folder)
"""


def test_pytest_finds_it():
    [found] = [point for point in entry_points(group="pytest11") if point.name == "lazygraph"]
    assert found.value == "lazygraph.testing.plugin"


@pytest.mark.timeout(180)
def test_the_example_suite_passes(run: Run):
    ran = run(SUITE.read_text(encoding="utf-8"), "-q")
    assert ran.status == 0, ran.said
    assert "15 passed" in ran.said  # ten tests; five seeds of one and two executors of another


def test_the_example_stands_in_the_readme():
    readme = Path(__file__).resolve().parents[2] / "README.md"
    assert SUITE.read_text(encoding="utf-8").partition("\n\n")[2] in readme.read_text(encoding="utf-8")


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", ["sync", "threads", "processes", "sim", "cluster", "pool of threads"])
def test_a_suite_runs_on_another_executor(run: Run, name: str):
    text = f"""
import os, pytest
from lazygraph import delayed

@delayed
def where():
    return os.getpid()

@pytest.fixture(scope="session")
def of_the_session():
    return where().compute()

def test_where(of_the_session):
    far = {name in ("processes", "cluster")}
    assert (where().compute() != os.getpid()) == far
    assert (of_the_session != os.getpid()) == far
"""
    ran = run(text, "-q", "--lazygraph-executor", name)
    assert ran.status == 0, ran.said
    assert "1 passed" in ran.said


def test_an_executor_can_be_named_by_module(run: Run):
    text = """
from lazygraph.executors import ThreadExecutor
made = []

def make():
    made.append(ThreadExecutor(1))
    return made[-1]

def test_mine():
    from lazygraph import delayed
    import test_shop
    assert delayed(len)("abc").compute() == 3
    assert test_shop.made[0]._courses == {}
"""
    ran = run(text, "-q", "--lazygraph-executor", "test_shop:make")
    assert ran.status == 0, ran.said


def test_an_unknown_executor_is_an_error_that_names_the_known(run: Run):
    ran = run(HEAD + "def test_it():\n    pass\n", "-q", "--lazygraph-executor", "thread")
    assert ran.status == 1
    assert "did you mean 'threads'?" in ran.said


def test_the_mark_goes_before_the_option_and_the_fixture_before_the_mark(run: Run):
    text = (
        HEAD
        + """
from lazygraph.executors.registry import resolve

def test_option():
    assert resolve(None).name == "threads"

@pytest.mark.lazygraph(executor="sync")
def test_mark():
    assert resolve(None).name == "sync"

@pytest.mark.lazygraph(executor="sync")
def test_fixture(lazygraph_sim):
    assert resolve(None).name == "sim"
"""
    )
    ran = run(text, "-q", "--lazygraph-executor", "threads")
    assert ran.status == 0, ran.said


def test_a_word_that_the_mark_does_not_take_is_an_error(run: Run):
    ran = run(HEAD + "@pytest.mark.lazygraph(sed=1)\ndef test_it():\n    pass\n", "-q")
    assert ran.status != 0
    assert "takes executor=, seed=, slots=, not sed" in ran.said


def test_a_fault_that_never_happens_fails_the_test(run: Run):
    text = (
        HEAD
        + """
def test_it(lazygraph_sim):
    lazygraph_sim.fail("laod")
    assert add(1, 2).compute() == 3
"""
    )
    ran = run(text, "-q")
    assert ran.status == 1
    assert "fail attempt 1 of 'laod'; ran: add" in ran.said


def test_a_failing_test_says_its_seed_and_the_seed_brings_its_order_back(run: Run):
    text = (
        HEAD
        + """
def test_it(lazygraph_sim):
    group(add.s(i, 0) for i in range(8)).compute()
    assert [args[0] for args in lazygraph_sim.calls.given("add")] == "?"
"""
    )
    first, second = run(text, "-q"), run(text, "-q")
    order = [line for line in first.said.splitlines() if line.startswith("E ")]
    assert order == [line for line in second.said.splitlines() if line.startswith("E ")]
    [seed] = set(re.findall(r"seed (\d+);", first.said))
    again = run(text, "-q", "--lazygraph-seed", seed)
    assert order == [line for line in again.said.splitlines() if line.startswith("E ")]
    other = run(text, "-q", "--lazygraph-seed", "1")
    assert order != [line for line in other.said.splitlines() if line.startswith("E ")]


def test_our_fixtures_find_tasks_that_change_their_inputs(run: Run):
    text = (
        HEAD
        + """
from lazygraph.errors import LazyGraphError

@delayed
def sort(numbers):
    numbers.sort()

@pytest.mark.parametrize("rig", ["lazygraph_sync", "lazygraph_sim"])
def test_it(rig, request):
    request.getfixturevalue(rig)
    with pytest.raises(LazyGraphError, match="sort"):
        sort([2, 1]).compute()

def test_without():
    sort([2, 1]).compute()
"""
    )
    ran = run(text, "-q")
    assert ran.status == 0, ran.said


def test_starting_pytest_imports_nothing_heavy_because_of_us(tmp_path: Path):
    def loaded(*words: str) -> set[str]:
        script = (
            f"import sys, pytest; pytest.main(['--collect-only', {', '.join(map(repr, words))}]); print(*sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
        return set(done.stdout.splitlines()[-1].split())

    ours = loaded() - loaded("-p", "no:lazygraph")
    assert ours == {"lazygraph", "lazygraph.testing", "lazygraph.testing.plugin", "lazygraph.version"}


def test_nothing_is_started_unless_a_fixture_asks(run: Run):
    text = (
        HEAD
        + """
import os, threading
from pathlib import Path

def started():
    return threading.active_count(), Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()

def test_plain():
    assert started() == (1, [])

def test_sync(lazygraph_sync):
    assert add(1, 2).compute() == 3
    assert started() == (1, [])

def test_sim(lazygraph_sim):
    lazygraph_sim.fail("the load", attempt=1)
    assert load("abc").compute() == 3
    assert started() == (1, [])
"""
    )
    ran = run(text, "-q", "--lazygraph-executor", "cluster")
    assert ran.status == 0, ran.said
