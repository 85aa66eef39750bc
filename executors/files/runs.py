"""Named runs on disk: what they are made of, which of their values are there, who is at it.

Of each run there is a folder, of this user only: `plan.json` (what its calls are, and how it was started), `values` (a
store), `lock`.  It goes when the run has ended whole.  A lock of the kernel's is gone with the process that held it.

Covers: beginning and going on, refusing another plan, forgetting, the list of runs, the default place.
Does not cover: values (files.store), what a plan is made of (planning.resuming).
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, unquote
from uuid import uuid4

from lazygraph.errors import InvalidOption
from lazygraph.executors.files.store import Store
from lazygraph.planning.resuming import Part, difference

if TYPE_CHECKING:
    from collections.abc import Iterator

VARIABLE = "LAZYGRAPH_STATE"
"""Where named runs are kept, in the environment."""

_FORMAT = 1
_LONGEST_NAME = 150


class Known(NamedTuple):
    """A run that has not ended whole: its calls, how many values are there, the command that started it, and where."""

    name: str
    calls: int
    kept: int
    begun: float
    command: list[str]
    folder: str


class NamedRun:
    """One run: what `run_name=` names."""

    def __init__(self, name: str) -> None:
        quoted = quote(name, safe=" ")
        if quoted in ("", ".", "..") or len(quoted) > _LONGEST_NAME:
            raise InvalidOption(f"run_name={name!r}: a name of 1 to {_LONGEST_NAME} letters is wanted")
        self.name, self.path = name, state_path() / "runs" / quoted
        self.parts: list[Part] = []
        self.store = Store(self.path / "values", max_bytes=None)
        self._before = _read(self.path)
        self.token: str = self._before["token"] if self._before else uuid4().hex
        self._lock: int | None = None

    def agree(self) -> None:
        """Raise `InvalidOption` if it was begun with another plan."""
        if self._before is not None:
            was = [Part(a, b, c, [(x, y) for x, y in d]) for a, b, c, d in self._before["parts"]]
            differs = difference(was, self.parts)
            if differs:
                raise InvalidOption(
                    f"run {self.name!r} was begun with another plan: {differs}; take another run_name, or say "
                    f"`lazygraph resume --forget {self.name}`"
                )

    def begin(self) -> None:
        """Begin it, or go on.  Raises `InvalidOption` for another plan, or when another process is at it."""
        self.agree()
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._take_lock()
        if self._before is None:
            said = {"format": _FORMAT, "token": self.token, "parts": self.parts, "begun": time.time(), **_command()}
            under_way = self.path / "plan.new"
            with open(os.open(under_way, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                json.dump(said, file)
            os.replace(under_way, self.path / "plan.json")

    def _take_lock(self) -> None:
        if sys.platform == "win32":
            return
        import fcntl

        held = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            pid = os.pread(held, 20, 0).decode()
            os.close(held)
            if pid != str(os.getpid()):
                raise InvalidOption(
                    f"run {self.name!r} is going on in process {pid or 'unknown'}; wait for its end, or take another "
                    f"run_name"
                ) from None
            return
        os.truncate(held, 0)
        os.pwrite(held, str(os.getpid()).encode(), 0)
        self._lock = held

    def release(self) -> None:
        """Let others go on with it."""
        held, self._lock = self._lock, None
        if held is not None:
            os.close(held)

    def forget(self) -> None:
        """It has ended whole: the next of its name begins anew."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.release()

    def __del__(self) -> None:
        if getattr(self, "_lock", None) is not None:
            self.release()


def known_runs() -> list[Known]:
    """Return the runs that have not ended whole, the newest first."""
    return sorted(_known(), key=lambda run: -run.begun)


def _known() -> Iterator[Known]:
    runs = state_path() / "runs"
    for path in runs.iterdir() if runs.is_dir() else ():
        said = _read(path)
        if said is not None:
            kept = len(Store(path / "values", max_bytes=None))
            yield Known(unquote(path.name), len(said["parts"]), kept, said["begun"], said["command"], said["folder"])


def _read(path: Path) -> dict[str, Any] | None:
    """Return what is known of a run; None when it has never begun."""
    try:
        said: dict[str, Any] = json.loads((path / "plan.json").read_text())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise InvalidOption(f"{path}/plan.json cannot be read ({error}); delete {path}") from None
    if said.get("format") != _FORMAT:
        raise InvalidOption(f"{path} was written by another lazygraph (format {said.get('format')}); delete it")
    return said


def _command() -> dict[str, Any]:
    """Return how this process was started, so that it can be started again."""
    return {"command": list(sys.orig_argv), "folder": os.getcwd()}


def state_path() -> Path:
    """Return the folder of what is to outlast processes.  Raises `InvalidOption` where others could write to it."""
    said = os.environ.get(VARIABLE)
    if said:
        return Path(said).expanduser().absolute()
    if sys.platform == "win32":
        home = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    else:
        home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    path = Path(home) / "lazygraph"
    if path.exists() and sys.platform != "win32":
        seen = path.stat()
        if seen.st_uid != os.getuid() or seen.st_mode & 0o022:
            raise InvalidOption(
                f"run_name=: {path} belongs to somebody else or others can write to it; "
                f"say chmod 700 {path}, or name another folder in {VARIABLE}"
            )
    return path
