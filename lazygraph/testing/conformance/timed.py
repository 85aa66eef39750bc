"""Tasks that note when they ran, wherever that is, and tasks that fail, stand or ask for what options are about.

Notes are lines in a file; their moments are of the machine's one monotonic clock, which all its processes share, or of
the executor's own, where it has a virtual one.
"""

from __future__ import annotations

import os
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from lazygraph.executors.registry import resolve
from lazygraph.language.delayed import delayed
from lazygraph.running.context import inside_task
from lazygraph.testing.conformance.tasks import Lasting, log_line
from lazygraph.values.options import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


SLIGHTLY = 1e-6
"""Seconds by which sums of floats may be off."""


def moment() -> float:
    """Return the seconds of the clock that notes are of; in a test, and in a task."""
    clock = getattr(inside_task.get() or resolve(None), "clock", None)
    return float(clock.now()) if clock is not None else time.monotonic()


def wall() -> datetime:
    """Return the time of day, as the executor has it."""
    clock = getattr(resolve(None), "clock", None)
    return datetime.fromtimestamp(clock.wall() if clock is not None else time.time(), UTC)


class Note(NamedTuple):
    """One attempt: what it was called, when it began and ended, in which process."""

    name: str
    began: float
    ended: float
    pid: int


def noted(path: Any) -> list[Note]:
    """Return the notes of all attempts that have ended, in the order in which they began."""
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as file:
        rows = [line.split() for line in file]
    return sorted((Note(n, float(b), float(e), int(p)) for n, b, e, p in rows), key=lambda note: note.began)


def names(path: Any) -> list[str]:
    """Return the names of the notes, in the order in which they began."""
    return [note.name for note in noted(path)]


def _end(path: str, name: str, began: float) -> None:
    log_line(path, f"{name} {began!r} {moment()!r} {os.getpid()}")


@delayed
def note(path: str, name: str, *after: Any) -> str:
    """Note the call."""
    _end(path, name, moment())
    return name


@delayed
def last_a_moment(path: str, name: str, *after: Any) -> str:
    """Note a call that takes 10 ms: long enough to overlap with another, if it may."""
    began = moment()
    threading.Event().wait(0.01)
    _end(path, name, began)
    return name


@delayed
def fail_first(path: str, times: int, value: Any = "done") -> Any:
    """Fail so many times with `Lasting`, then return the value."""
    began, before = moment(), len(noted(path))
    _end(path, "fail_first", began)
    if before < times:
        raise Lasting(before + 1, "not yet")
    return value


@delayed(bind=True)
def ask_again(self: Any, path: str, times: int, countdown: float | None = None) -> list[Any]:
    """Ask so many times for another attempt; return which attempts there were, as they saw themselves."""
    began = moment()
    _end(path, f"attempt-{self.request.attempt}", began)
    try:
        if self.request.retries < times:
            raise Lasting(self.request.attempt, "again")
    except Lasting as error:
        raise self.retry(exc=error, countdown=countdown) from error
    return [self.request.attempt, self.request.key, self.request.run_id]


@delayed
def stand(path: str) -> str:
    """Say that it stands, and stand until somebody ends its process, or writes into its pipe."""
    log_line(path, f"stands-{os.getpid()}")
    with open(f"{path}.go", encoding="utf-8") as pipe:
        return pipe.read()


@delayed
def turn(path: str) -> None:
    """Say that it runs, and run until somebody makes it leave: a loop of Python's own."""
    log_line(path, f"turns-{os.getpid()}")
    while True:
        pass


@delayed
def where() -> int:
    """Return the process that it runs in."""
    return os.getpid()


def tried_again_in(seconds: float, times: int = 2) -> RetryPolicy:
    """Return a policy of retries that wait so long each."""
    return RetryPolicy(max_retries=times, delay=seconds, backoff=1.0, max_delay=max(seconds, 600.0))


def pipe_beside(path: Path) -> str:
    """Make the pipe that `stand(path)` reads from; return the path for it."""
    os.mkfifo(f"{path}.go")
    return str(path)


def giving(value: Any) -> Callable[[], Any]:
    """Return a function that returns a value: another one each time."""
    return lambda: value


@delayed
def zero(_: Any) -> int:
    """Return 0, when what it is given is there."""
    return 0
