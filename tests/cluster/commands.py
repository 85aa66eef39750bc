"""Commands of ours as processes, for tests."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path


class Command:
    """A running `lazygraph ...`."""

    def __init__(self, words: tuple[str, ...], cwd: Path | None = None, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lazygraph.cli", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=cwd,
            env={**os.environ, **environment},
        )

    def line(self) -> str:
        """Wait for the next line it prints."""
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Signal it; return its status and what else it printed."""
        self.process.send_signal(number)
        return self.rest()

    def rest(self) -> tuple[int, str]:
        """Wait for its end; return its status and what it printed."""
        said, _ = self.process.communicate(timeout=30)
        return self.process.returncode, said


Lazygraph = Callable[..., Command]
"""Starts `lazygraph ...`."""

Scheduler = tuple[Command, str, Path]
"""A scheduler, its address and its token's file."""


def address_in(line: str) -> str:
    found = re.search(r"tcp://127\.0\.0\.1:\d+", line)
    assert found is not None, line
    return found[0]
