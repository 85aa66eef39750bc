"""README's section Guarantees: each sentence names the tests that show it, and they are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
README = (TESTS.parent / "README.md").read_text(encoding="utf-8")
SECTION = README.partition("\n## Guarantees\n")[2].partition("\n## ")[0]
_, *PROMISES = re.split(r"^\* ", SECTION.partition("\nNot promised")[0], flags=re.MULTILINE)


def names_in(path: Path) -> set[str]:
    """Return the tests of a file, as pytest names them."""
    found = set[str]()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            found.update(f"{node.name}::{one.name}" for one in node.body if isinstance(one, ast.FunctionDef))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
    return found


def test_there_are_some() -> None:
    assert len(PROMISES) > 15


@pytest.mark.parametrize("promise", PROMISES, ids=[promise.split("\n")[0][:60] for promise in PROMISES])
def test_each_names_tests_that_exist(promise: str) -> None:
    named = re.findall(r"`(\S+\.py)::(\S+)`", promise)
    assert named, f"no test is named for: {promise}"
    for file, test in named:
        assert (TESTS / file).is_file(), f"there is no tests/{file}"
        assert test in names_in(TESTS / file), f"tests/{file} has no {test}"
