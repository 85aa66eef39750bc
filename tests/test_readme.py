"""README keeps its word: two commands under Quick start, and every Python block runs and prints what it says.

In a Python block, what follows `#> ` is what is printed, line by line; `...` stands for what differs from run to run.
The two commands themselves are executed by .ci/run, word for word and in a fresh clone.
"""

from __future__ import annotations

import doctest
import os
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


def assert_printed(expected: str, printed: str) -> None:
    """Compare what a block prints with what it says, as doctest does."""
    checker = doctest.OutputChecker()
    example = doctest.Example("", expected)
    assert checker.check_output(example.want, printed, doctest.ELLIPSIS), checker.output_difference(
        example, printed, doctest.ELLIPSIS | doctest.REPORT_NDIFF
    )


PYTHON = blocks(README, "python")

QUIET_DASK = {**os.environ, "DASK_LOGGING__DISTRIBUTED": "warning"}
"""Dask's scheduler says at INFO that a worker closed before it told it to, which happens when a cluster is closed."""


def test_quick_start_is_two_commands() -> None:
    first, second = blocks(section("Quick start"), "sh")
    assert "lazygraph demo" in first
    assert "pytest" in second
    for block in (first, second):
        done = subprocess.run(["sh", "-n"], input=block, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_readme_shows_python() -> None:
    assert PYTHON


@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_python_block_shows_what_it_prints(number: int) -> None:
    assert re.search("#> .", PYTHON[number])


@pytest.mark.timeout(180)
@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_python_block_prints_what_it_says(number: int, tmp_path: Path) -> None:
    script = tmp_path / "block.py"
    script.write_text(PYTHON[number], encoding="utf-8")
    # As a script of its own, so that nothing in it leans on another block, on pytest or on a main guard.
    done = subprocess.run(
        [sys.executable, "-W", "error", script.name],
        cwd=tmp_path,
        env=QUIET_DASK,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{PYTHON[number]}\n{done.stdout}\n{done.stderr}"
    assert done.stderr == ""
    assert_printed("".join(f"{line}\n" for line in re.findall("#> ?(.*)$", PYTHON[number], re.MULTILINE)), done.stdout)


@pytest.mark.timeout(60)
def test_commands_about_keys_say_what_is_shown(tmp_path: Path) -> None:
    [module] = blocks(section("Keys"), "python")
    [session] = blocks(section("Keys"), "console")
    (tmp_path / "shop.py").write_text(module, encoding="utf-8")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    commands = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", session, re.MULTILINE)
    assert len(commands) > 2
    for command, expected in commands:
        done = subprocess.run(command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.stderr == ""
        assert_printed(expected, done.stdout)


def test_changelog_has_a_place_for_the_next_change() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## Unreleased$", changelog, re.MULTILINE)
