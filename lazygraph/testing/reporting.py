"""What the workers of a test's cluster preload: each task is noted in a file, and a worker that is to die dies.

The folder stands in the environment, which local workers inherit, also those that replace a dead one.

Covers: the worker's side.
Does not cover: reading the notes (testing.recorder), the cluster (testing.rigs).
"""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lazygraph.running.hooks import TaskRecord

VARIABLE = "LAZYGRAPH_TESTING_FOLDER"
NOTES, KILLS = "notes", "kills"


def before_task(record: TaskRecord) -> None:
    """Note that a task begins; end this process if a test wants that here."""
    _note("begins", record)
    if _is_to_die(record):
        os.kill(os.getpid(), signal.SIGKILL)


def after_task(record: TaskRecord) -> None:
    """Note that a task has ended."""
    _note("ended", record)


def _note(what: str, record: TaskRecord) -> None:
    error = record.exception
    note = {
        "what": what,
        "name": record.name,
        "key": record.key,
        "attempt": record.attempt,
        "worker": record.worker,
        "when": time.time(),
        "exception": type(error).__name__ if error is not None else None,
    }
    # One write at the file's end: notes of several processes do not mix.
    handle = os.open(_folder() / NOTES, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(handle, json.dumps(note).encode() + b"\n")
    finally:
        os.close(handle)


def _is_to_die(record: TaskRecord) -> bool:
    kills = _folder() / KILLS
    return kills.exists() and [record.name, record.attempt] in json.loads(kills.read_text(encoding="utf-8"))


def _folder() -> Path:
    return Path(os.environ[VARIABLE])
