"""What the tests of the plugin share: pytest in a process of its own, over a suite that is written here."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

SUITE = Path(__file__).with_name("shop_suite.py")


class Ran(NamedTuple):
    """What a pytest has come to."""

    status: int
    said: str


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Ran]:
    """Run pytest as a user has it, over one file with the given text."""

    def run(text: str, *words: str) -> Ran:
        (tmp_path / "test_shop.py").write_text(text, encoding="utf-8")
        (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\n", encoding="utf-8")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        environment.pop("LAZYGRAPH_CHECK_MUTATION", None)
        done = subprocess.run(
            [sys.executable, "-W", "error", "-m", "pytest", "-p", "no:cacheprovider", *words],
            cwd=tmp_path,
            env={**environment, "NO_COLOR": "1"},
            capture_output=True,
            text=True,
        )
        return Ran(done.returncode, done.stdout + done.stderr)

    return run
