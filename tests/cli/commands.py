"""The installed command, as a user calls it, in a folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

LAZYGRAPH = str(Path(sysconfig.get_path("scripts"), "lazygraph"))


class Ended:
    """What a command said and how it ended."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.status, self.said, self.complaint = done.returncode, done.stdout, done.stderr


def lazygraph(folder: Path, *words: str, given: str = "", **environment: str) -> Ended:
    """Run `lazygraph ...` in a folder to its end; `given` is its standard input."""
    return Ended(_done([LAZYGRAPH, *words], folder, given, environment))


def python(folder: Path, code: str) -> Ended:
    """Run some Python in a folder to its end; it has to succeed."""
    ended = Ended(_done([sys.executable, "-c", code], folder, "", {}))
    assert ended.status == 0, ended.complaint
    return ended


def _done(words: list[str], folder: Path, given: str, environment: dict[str, Any]) -> Any:
    return subprocess.run(
        words,
        cwd=folder,
        env={**os.environ, **environment},
        input=given,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
