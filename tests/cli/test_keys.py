"""`lazygraph keys`: explain, diff, save."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import threading
from lazygraph import chain, delayed

@delayed
def add(x, y):
    return x + y

total = add(add(1, 2), {rate})
again = add(add(1, 2), {rate})
canvas = chain(add.s(1, 2), add.s({rate}))
hole = add.s(1)
config = {{"rate": {rate}, "tags": {{"a", "b", "c", "d"}}, "steps": [1, 2]}}
lock = {{"config": threading.Lock()}}

class Settings:
    class Inner:
        rate = {rate}
"""


def run(folder: Path, *words: str, seed: int = 0) -> subprocess.CompletedProcess[str]:
    """Run `lazygraph keys ...` in a folder."""
    return subprocess.run(
        [sys.executable, "-m", "lazygraph.cli", "keys", *words],
        cwd=folder,
        env={**os.environ, "PYTHONHASHSEED": str(seed)},
        capture_output=True,
        text=True,
        check=False,
    )


class Answer:
    """What `lazygraph keys ...` said and how it ended."""

    def __init__(self, folder: Path, *words: str, seed: int = 0) -> None:
        done = run(folder, *words, seed=seed)
        self.status, self.said, self.complaint = done.returncode, done.stdout, done.stderr
        assert "Traceback" not in self.complaint


@pytest.fixture
def here(tmp_path: Path) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "work.py").write_text(PROGRAM.format(rate=3))
    return folder


@pytest.fixture
def there(tmp_path: Path) -> Path:
    folder = tmp_path / "there"
    folder.mkdir()
    (folder / "work.py").write_text("\n\n" + PROGRAM.format(rate=4))
    return folder


@pytest.mark.parametrize("target", ["work:total", "work:canvas", "work:config", "work:Settings.Inner.rate", "work:add"])
def test_explain(here: Path, target: str) -> None:
    answer = Answer(here, "explain", target)
    assert answer.status == 0, answer.complaint
    head, *lines = answer.said.splitlines()
    key = json.loads(Answer(here, "explain", target, "--json").said)["key"]
    assert head == f"{target} has the key {key}"
    assert lines[0].startswith(key[:12])


def test_explain_names_the_parts(here: Path) -> None:
    said = Answer(here, "explain", "work:total").said
    assert "call of function add" in said
    assert "argument 1: call of function add" in said
    assert "argument 2: 3" in said
    assert "['rate']: 3" in Answer(here, "explain", "work:config").said


def test_the_same_work_has_the_same_key(here: Path) -> None:
    answer = Answer(here, "diff", "work:total", "work:again")
    assert answer.status == 0
    assert "have the same key" in answer.said
    assert json.loads(Answer(here, "diff", "work:total", "work:again", "--json").said)["differences"] == []


def test_different_work_says_where(here: Path) -> None:
    answer = Answer(here, "diff", "work:total", "work:canvas")
    assert answer.status == 0  # a canvas is the promise of its value
    answer = Answer(here, "diff", "work:total", "work:config")
    assert answer.status == 1
    answer = Answer(here, "diff", "work:config", "work:lock", "--json")
    assert answer.status == 2
    assert "['config']: <lock> has no content" in answer.complaint


def test_two_machines_are_compared_by_a_file(here: Path, there: Path, tmp_path: Path) -> None:
    file = str(tmp_path / "config.json")
    for target, place in [("work:config", "['rate']"), ("work:total", "argument 2")]:
        saved = Answer(here, "save", target, file, seed=1)
        assert saved.status == 0 and file in saved.said
        assert Answer(here, "diff", target, file, seed=2).status == 0
        answer = Answer(there, "diff", file, target, seed=3)
        assert answer.status == 1
        assert f"  {place}: 3 | 4\n" in answer.said
        found = json.loads(Answer(there, "diff", file, target, "--json", seed=4).said)
        assert not found["same"] and found["left"] != found["right"]
        assert found["differences"] == [{"path": [place], "left": "3", "right": "4"}]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("explain work", "neither a file nor of the form MODULE:attr"),
        ("explain work:", "neither a file nor of the form MODULE:attr"),
        ("explain nowhere:x", "nowhere:x: there is no module 'nowhere' in"),
        ("diff work:total work.nowhere:x", "work.nowhere:x: there is no module 'work.nowhere' in"),
        ("explain work:nothing", "work has no attribute 'nothing'"),
        ("explain work:Settings.nothing", "work.Settings has no attribute 'nothing'"),
        ("explain work:hole", "add"),
        ("explain work:lock", "['config']: <lock> has no content"),
        ("diff work:total work.py", "this is no account of a key"),
        ("diff work:total", "Missing argument"),
        ("save work:total nowhere/at/all", "nowhere/at/all"),
        ("nonsense", "No such command"),
    ],
)
def test_what_cannot_be_done_ends_with_2_and_a_sentence(here: Path, words: str, sentence: str) -> None:
    answer = Answer(here, *words.split())
    assert answer.status == 2
    assert sentence in answer.complaint
    assert answer.said == ""


@pytest.mark.parametrize("words", ["explain broken:x", "diff work:total broken:x", "save broken:x account.json"])
@pytest.mark.parametrize(
    ("text", "last"),
    [
        ("rate = 1 / 0", "ZeroDivisionError: division by zero"),
        ("import nothing_of_that_name", "ModuleNotFoundError: No module named 'nothing_of_that_name'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("rate =", "SyntaxError: invalid syntax"),
    ],
)
def test_a_module_that_fails_is_shown_where_it_does(here: Path, words: str, text: str, last: str) -> None:
    (here / "broken.py").write_text(f"\n{text}\n")
    done = run(here, *words.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Usage: ")
    assert f'File "{here / "broken.py"}", line 2' in done.stderr
    assert last in done.stderr
    assert "lazygraph/cli" not in done.stderr  # nothing of ours
    assert "importlib" not in done.stderr
