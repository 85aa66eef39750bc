"""Running one contender in a fresh process, with a time limit, and leaving nothing of it behind.

A contender starts processes of its own (workers, redis, raylets), some in sessions of their own. They all inherit one
environment variable with a token of this run, so that what is left can be found and ended, and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import select
import shlex
import signal
import subprocess
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
MARK = "LAZYGRAPH_BENCHMARK_RUN"
PROCESSES = Path("/proc")
_ENDING = (signal.SIGINT, signal.SIGTERM)


class ContenderFailed(Exception):
    """Raised when a contender ends without samples: it exited with an error or took longer than it may."""


def run(command: Sequence[str], environment: Mapping[str, str], time_limit: float) -> str:
    """Run the command to its end and return what it printed; whatever it started is gone when this returns.

    ``time_limit`` is in seconds. Raises ``ContenderFailed`` with the last line of its error output, or with the limit.
    """
    token = uuid.uuid4().hex
    with (
        TemporaryDirectory(prefix="lgb-") as scratch,  # one that is killed cannot clear up; short, for socket paths
        TemporaryFile("w+", errors="replace") as errors,
        _started(command, {**os.environ, **environment, MARK: token, "TMPDIR": scratch}, token, errors) as process,
    ):
        try:
            output, _ = process.communicate(timeout=time_limit)
        except subprocess.TimeoutExpired:
            raise ContenderFailed(f"no result within {time_limit:g} s") from None
        if process.returncode != 0:
            errors.seek(0)
            raise ContenderFailed(_reason(errors.read(), process.returncode))
        return output


@contextlib.contextmanager
def _started(
    command: Sequence[str], environment: Mapping[str, str], token: str, errors: IO[str]
) -> Iterator[subprocess.Popen[str]]:
    # A session of its own: Ctrl-C reaches this program only, which then ends the contender in the lines below.
    process: subprocess.Popen[str] | None = None
    try:
        with _signals_held_back():
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors,
                text=True, start_new_session=True,
            )  # fmt: skip
        yield process
    finally:
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        end_marked(token)
        if process is not None:
            process.communicate()


@contextlib.contextmanager
def _signals_held_back() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM wait: in the middle of starting a process nobody could say yet what there is to end."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are handled in the main thread only
        return
    held: list[int] = []
    ours = {number: signal.signal(number, lambda number, _: held.append(number)) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)
        for caught in held:
            signal.raise_signal(caught)


def _reason(errors: str, returncode: int) -> str:
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    return lines[-1] if lines else f"it exited with code {returncode} and said nothing"


def marked(token: str) -> list[int]:
    """Return the ids of the living processes that carry the token; empty where there is no /proc."""
    needle = f"{MARK}={token}".encode()
    found: list[int] = []
    for folder in PROCESSES.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if needle in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def end_marked(token: str) -> None:
    """Kill every process that carries the token, and those they start meanwhile, until none is left."""
    while left := marked(token):
        for number in left:
            _end(number)


def _end(number: int) -> None:
    """Kill a process and wait until it is dead: a dying one loses its environment, and so its mark, before it is."""
    with contextlib.suppress(ProcessLookupError), contextlib.ExitStack() as leaving:
        handle = os.pidfd_open(number)
        leaving.callback(os.close, handle)
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        select.select([handle], [], [])


def shown(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """Return the command as one would type it in the checkout."""
    settings = [f"{name}={shlex.quote(value)}" for name, value in environment.items()]
    return " ".join([*settings, shlex.join(command)])
