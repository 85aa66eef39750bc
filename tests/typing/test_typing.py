"""Whether type checkers know what users know: the files in cases, and the README's Python, read by both.

A line that is wrong says so: `# E: mypy[code] pyright[code]`, one code or several of which one has to be given.
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

CASES = Path(__file__).parent / "cases"
ROOT = CASES.parent.parent.parent
FILES = sorted(CASES.glob("*.py"))
README = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)
FOREIGN = re.compile(r"\b(dask|da|distributed|joblib)\b")
"""Whose own types are missing, or refuse what their documentation says."""
_WRONG = re.compile(r"# E: (.*)$")
_CODES = re.compile(r"(\w+)\[([\w, -]+)\]")

Found = dict[tuple[str, int], set[str]]
"""File and line -> codes of the errors that a checker gives there."""


def mypy(files: list[Path], scratch: Path) -> Found:
    """Read files as mypy --strict does."""
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), "--no-pretty"]
    command += ["--follow-imports=silent", "--output=json", "--cache-dir", str(scratch / "mypy"), *map(str, files)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found: Found = defaultdict(set)
    for line in done.stdout.splitlines():
        one: dict[str, Any] = json.loads(line)
        if one["severity"] == "error":
            found[Path(one["file"]).name, one["line"]].add(str(one["code"]))
    return found


def pyright(files: list[Path], scratch: Path) -> Found:
    """Read files as pyright does, in its standard mode."""
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    command += ["--pythonversion", "3.11", *map(str, files)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["summary"]["filesAnalyzed"] >= len(files), told
    found: Found = defaultdict(set)
    for one in told["generalDiagnostics"]:
        if one["severity"] == "error":
            found[Path(one["file"]).name, one["range"]["start"]["line"] + 1].add(str(one["rule"]))
    return found


CHECKERS: Mapping[str, Callable[[list[Path], Path], Found]] = {"mypy": mypy, "pyright": pyright}


@pytest.fixture(scope="module", params=sorted(CHECKERS))
def checked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Found]:
    """Return a checker's name and all that it finds.  It runs once: most of that time is reading lazygraph."""
    name: str = request.param
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed; the extra `test` has it")
    scratch = tmp_path_factory.mktemp(name)
    return name, CHECKERS[name]([*FILES, *_readme(scratch)], scratch)


def _readme(scratch: Path) -> list[Path]:
    # Its functions say nothing of their types, as many a user's.
    loose = "# mypy: allow-untyped-defs, allow-untyped-calls\n"
    paths = [scratch / f"readme_{number}.py" for number in range(len(README))]
    for path, text in zip(paths, README, strict=True):
        path.write_text(loose + text, encoding="utf-8")
    return paths


def _expected(name: str, path: Path) -> Found:
    expected: Found = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        wrong = _WRONG.search(line)
        for checker, codes in _CODES.findall(wrong[1]) if wrong else ():
            if checker == name:
                expected[path.name, number] = {code.strip() for code in codes.split(",")}
    return expected


@pytest.mark.timeout(600)
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_errors_are_where_they_belong_and_nowhere_else(path: Path, checked: tuple[str, Found]) -> None:
    name, found = checked
    expected = _expected(name, path)
    here = {place: codes for place, codes in found.items() if place[0] == path.name}
    assert {place: codes for place, codes in here.items() if place not in expected} == {}
    assert {place: codes for place, codes in expected.items() if not codes & here.get(place, set())} == {}


@pytest.mark.timeout(600)
def test_the_readme_is_right_for_a_type_checker(checked: tuple[str, Found]) -> None:
    lines = {
        (f"readme_{block}.py", number): line
        for block, text in enumerate(README)
        for number, line in enumerate(text.splitlines(), 2)
    }
    found = {place for place in checked[1] if place in lines and not FOREIGN.search(lines[place])}
    said = {place for place, line in lines.items() if "# type checkers refuse this" in line}
    assert said
    assert found == said


def test_every_file_has_lines_that_are_wrong() -> None:
    for name in CHECKERS:
        assert [path.name for path in FILES if not _expected(name, path)] == []
