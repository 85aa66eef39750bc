"""The processes of isolated tasks end with whoever has them, however that ends."""

from __future__ import annotations

import gc
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lazygraph import delayed
from lazygraph.executors import ProcessExecutor, SyncExecutor, ThreadExecutor

WAIT = 60


@delayed(isolated=True)
def pid() -> int:
    return os.getpid()


def ended(process: int) -> bool:
    """Wait until a process has ended."""
    try:
        handle = os.pidfd_open(process)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], WAIT)[0])
    finally:
        os.close(handle)


@pytest.mark.parametrize("make", [SyncExecutor, ThreadExecutor, ProcessExecutor])
def test_they_end_with_the_executor(make: Any) -> None:
    executor = make()
    there = pid().compute(executor=executor)
    executor.close()
    assert ended(there)


@pytest.mark.parametrize("make", [SyncExecutor, ThreadExecutor, ProcessExecutor])
def test_they_end_with_the_last_reference(make: Any) -> None:
    executor = make()
    there = pid().compute(executor=executor)
    del executor
    gc.collect()
    assert ended(there)


HEAD = """
import os, signal, sys, threading
import lazygraph
from lazygraph.executors import ProcessExecutor, SyncExecutor, ThreadExecutor

@lazygraph.delayed(isolated=True)
def stands():
    print("here", file=sys.stderr, flush=True)
    threading.Event().wait(300)

@lazygraph.delayed(isolated=True)
def comes_back():
    print("here", file=sys.stderr, flush=True)
"""


def started(folder: Path, lines: str) -> subprocess.Popen[str]:
    """Run a script; return when a task of it says that it is there."""
    script = folder / "script.py"
    script.write_text(HEAD + lines)
    pipe = subprocess.PIPE
    parent = subprocess.Popen([sys.executable, str(script)], stdin=pipe, stderr=pipe, text=True)
    assert parent.stderr is not None
    assert parent.stderr.readline() == "here\n"
    return parent


def nobody_left(parent: subprocess.Popen[str]) -> str:
    """Wait until a script and all it has started have ended; return what they have said."""
    with parent:
        assert parent.stdin is not None and parent.stderr is not None
        parent.stdin.close()
        return parent.stderr.read()  # ends when the last one who holds it has ended


@pytest.mark.parametrize("name", ["SyncExecutor()", "ThreadExecutor(1)", "ProcessExecutor(1)"])
def test_no_process_is_left_when_the_program_ends(name: str, tmp_path: Path) -> None:
    assert nobody_left(started(tmp_path, f"executor = {name}\ncomes_back().compute(executor=executor)\n")) == ""


@pytest.mark.parametrize("name", ["ThreadExecutor(1)", "ProcessExecutor(1)"])
def test_no_process_is_left_when_the_program_ends_before_it(name: str, tmp_path: Path) -> None:
    lines = f"run = lazygraph.start(stands(), executor={name})\nsys.stdin.read()\nos._exit(0)\n"
    assert nobody_left(started(tmp_path, lines)) == ""


@pytest.mark.parametrize("name", ["SyncExecutor()", "ThreadExecutor(1)", "ProcessExecutor(1)", "'threads'"])
def test_no_process_is_left_after_ctrl_c(name: str, tmp_path: Path) -> None:
    parent = started(tmp_path, f"stands().compute(executor={name})\n")
    parent.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in nobody_left(parent)
    assert parent.returncode in (1, -signal.SIGINT)


def test_no_process_is_left_when_the_program_is_killed(tmp_path: Path) -> None:
    parent = started(tmp_path, "stands().compute(executor=SyncExecutor())\n")
    parent.kill()
    assert nobody_left(parent) == ""
