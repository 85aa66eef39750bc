"""Files for values that memory has no room for: those of one process, gone with it.

They stand in a folder of its own (mode 0700) where temporary files are, which is locked as long as the process lives.
Whoever was killed leaves files, but no lock: the next process of the same user that makes such a folder removes them.

Covers: writing, reading by mapping, removing, sweeping.
Does not cover: which values go there and when (cluster.net.memory).
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zict import File

_PREFIX = "lazygraph-spill-"
_LOCK = "lock"


class SpilledFile:
    """One value's bytes on disk, as long as this is held."""

    __slots__ = ("_files", "_folder", "_key", "size")

    def __init__(self, files: File, folder: Path, key: str, size: int) -> None:
        self._files, self._folder, self._key, self.size = files, folder, key, size

    def view(self) -> memoryview:
        """Map it: pages are read when they are looked at, and the kernel may drop them again.  Raises OSError."""
        return memoryview(self._files[self._key])

    @property
    def path(self) -> str:
        """The folder that it is in."""
        return str(self._folder)

    def __del__(self) -> None:
        with contextlib.suppress(Exception):  # it may be gone with its folder
            del self._files[self._key]


class SpillRoom:
    """The files of one process.  Any thread may write one; the folder is made with the first."""

    def __init__(self, parent: str | None = None) -> None:
        self._parent = parent
        self._files: File | None = None
        self._folder: Path | None = None
        self._lock: int | None = None
        self._numbers = itertools.count()
        self._opening = threading.Lock()

    @property
    def folder(self) -> str:
        """Where files are, or will be."""
        return str(self._folder or self._parent or tempfile.gettempdir())

    def put(self, pieces: Sequence[memoryview], size: int) -> SpilledFile:
        """Write pieces of `size` bytes together.  Raises OSError when there is no room; nothing is left of it then."""
        with self._opening:
            files, folder = self._opened()
        key = str(next(self._numbers))
        try:
            files[key] = list(pieces)
        except BaseException:
            for left in folder.glob(f"{key}#*"):
                left.unlink(missing_ok=True)
            raise
        return SpilledFile(files, folder, key, size)

    def _opened(self) -> tuple[File, Path]:
        if self._files is None or self._folder is None:
            from zict import File

            parent = Path(self._parent or tempfile.gettempdir())
            sweep(parent)
            folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))  # of mode 0700
            self._lock = _locked(folder)
            self._files, self._folder = File(folder / "values", memmap=True), folder / "values"
        return self._files, self._folder

    def close(self) -> None:
        """Remove all files; what is still mapped stays readable."""
        if self._folder is not None:
            shutil.rmtree(self._folder.parent, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _locked(folder: Path) -> int | None:
    """Lock a folder until this process ends; None when somebody else has."""
    held = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if sys.platform != "win32":
        import fcntl

        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(held)
            return None
    return held


def sweep(parent: Path) -> None:
    """Remove what processes of this user have left that were killed."""
    if sys.platform == "win32":
        return
    for folder in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            found = folder.lstat()
            if found.st_uid != os.geteuid() or not folder.is_dir() or folder.is_symlink():
                continue
            if not (folder / _LOCK).exists():  # just being made
                continue
            held = _locked(folder)
            if held is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(held)
