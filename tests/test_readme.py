"""README keeps its word: two commands under Quick start, and every Python block runs as a reader would run it.

The two commands themselves are executed by .ci/run, word for word and in a fresh clone.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8") if (ROOT / "README.md").exists() else ""
FENCED = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```[ ]*$", re.MULTILINE | re.DOTALL)


def blocks(text: str, language: str) -> list[str]:
    """The contents of the fenced blocks of that language, in order."""
    return [body for word, body in FENCED.findall(text) if word == language]


def section(title: str) -> str:
    """What stands under the heading `## title`, up to the next heading of its kind."""
    [found] = re.findall(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    return str(found)


PYTHON = blocks(README, "python")


def test_quick_start_is_two_commands() -> None:
    first, second = blocks(section("Quick start"), "sh")
    assert "lazygraph demo" in first
    assert "pytest" in second
    for block in (first, second):
        done = subprocess.run(["sh", "-n"], input=block, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_readme_shows_python() -> None:
    assert PYTHON


@pytest.mark.timeout(180)
@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_python_block_runs(number: int, tmp_path: Path) -> None:
    script = tmp_path / "block.py"
    script.write_text(PYTHON[number], encoding="utf-8")
    # As a script of its own, so that nothing in it leans on another block, on pytest or on a main guard.
    done = subprocess.run(
        [sys.executable, "-W", "error", script.name],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{PYTHON[number]}\n{done.stdout}\n{done.stderr}"


def test_changelog_has_a_place_for_the_next_change() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## Unreleased$", changelog, re.MULTILINE)
