"""`lazygraph doctor --conformance NAME`, and README's table of executors and options."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lazygraph.executors.base import CAPABILITIES
from lazygraph.testing.conformance.matrix import SAMPLES, reason, table
from lazygraph.values.options import LABELS, NAMES

ROOT = Path(__file__).resolve().parents[2]

LIAR = """
from lazygraph.executors import SyncExecutor, ThreadExecutor

class Liar(SyncExecutor):
    "Says that it honours what it does not, and refuses what it could do."
    capabilities = SyncExecutor.capabilities - {"retries", "priority"} | {"resources"}

    def check(self, plan):
        for need in plan.needs():
            if need.option == "resources":
                raise ValueError("it was a lie")
        super().check(plan)
"""


def doctor(*words: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lazygraph.cli", "doctor", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.timeout(180)
def test_it_prints_what_an_executor_does_with_each_option():
    done = doctor("--conformance", "sync")
    assert done.returncode == 0, done.stdout + done.stderr
    first, *lines = done.stdout.splitlines()
    assert first == "sync:"
    cells = {line.split()[0]: line.split(maxsplit=3)[3] for line in lines}
    assert list(cells) == list(SAMPLES)
    for option, cell in cells.items():
        wanted = "yes" if option in CAPABILITIES["sync"] else f"refused: {reason(option, 'sync')}"
        assert cell == wanted


@pytest.mark.timeout(180)
def test_one_that_does_not_do_what_it_says_is_found_out(tmp_path: Path):
    (tmp_path / "mine.py").write_text(LIAR, encoding="utf-8")
    done = doctor("--conformance", "mine:Liar", "--json", folder=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    found = json.loads(done.stdout)["mine:Liar"]
    assert set(found) == set(SAMPLES)
    assert {option for option, cell in found.items() if cell["failed"]} == {"resources"}
    assert "it was a lie" in found["resources"]["failed"][0]
    assert not found["retries"]["honoured"]
    assert found["retries"]["reason"]
    assert found["retries"]["tests"] > 10


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "Missing option '--conformance'"),
        (["--conformance", "thread"], "did you mean 'threads'?"),
        (["--conformance", "no_such_module:x"], "No module named 'no_such_module'"),
    ],
    ids=["nothing", "unknown", "not importable"],
)
def test_what_cannot_be_proved_is_a_sentence_and_status_2(words: list[str], says: str):
    done = doctor(*words)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert says in done.stderr


def test_every_option_that_asks_something_of_an_executor_is_in_the_matrix():
    assert set(SAMPLES) == NAMES - LABELS


def test_no_cell_is_without_a_reason():
    for executor, honoured in CAPABILITIES.items():
        assert {option for option in SAMPLES if option not in honoured and not reason(option, executor)} == set()
    rows = table().split("\n\n")[0].splitlines()
    assert {cell.strip() for row in rows[2:] for cell in row.strip("|").split("|")[1:]} <= {
        "yes",
        *(f"({number})" for number in range(1, 20)),
    }


def test_readme_shows_the_table():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    [shown] = re.findall(r"<!-- executors -->\n(.*?)<!-- /executors -->", readme, re.DOTALL)
    assert shown.strip() == table().strip()
