"""Results in files, under their content keys: safe with many processes, and never more than was said.

A value is one file, named by its key.  It is written under another name first and renamed when it is whole, so whoever
reads has all of it or nothing; who is killed while he writes leaves a file that nobody reads.  Reading takes no lock.
Deleting does not disturb who has opened a file.

Covers: finding, loading, keeping, what goes when there is too much or it is too old, the default place.
Does not cover: one file (files.format), the index (files.index), which key a task has (planning.caching).
"""

from __future__ import annotations

import os
import sqlite3
import sys
import time
import warnings
from contextlib import suppress
from functools import lru_cache, partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

from lazygraph.errors import CacheWarning, InvalidOption
from lazygraph.executors.files.format import Damaged, is_whole, read, write
from lazygraph.executors.files.index import Index, Row
from lazygraph.values.outcome import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

VARIABLE = "LAZYGRAPH_CACHE"
"""Where the default store is, in the environment."""

MAX_BYTES = 10 * 2**30
"""What a store holds at most unless something else is said: 10 GiB."""

_LEFT = 0.9
"""How full a store is when what was too much has gone: the next value need not make room again."""

_HOUR = 3600.0
"""A file that has been under way for so long without growing belongs to somebody who is gone."""

_PRIVATE = 0o700


class Entry(NamedTuple):
    """A value that is kept: bytes in its file, when it was made and last used, what the task was called."""

    key: str
    size: int
    made: float
    used: float
    name: str


class Store:
    """Keeps results in a folder: `cache=Store("results")`; `cache=True` is the one of this user.

    Without a path that is the folder that `LAZYGRAPH_CACHE` names, else `lazygraph` in the user's cache folder
    (`XDG_CACHE_HOME`, `~/.cache`).  Files can be read by this user only.  When there are more than `max_bytes` (default
    10 GiB, None: no limit), what was not used for longest goes; what is older than `max_age` seconds (default: no
    limit) is made again.  Opening a value runs what a pickle says: use no folder that others can write to.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        max_bytes: int | None = MAX_BYTES,
        max_age: float | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        limits: list[tuple[str, Any]] = [("max_bytes", max_bytes), ("max_age", max_age)]
        for name, limit in limits:
            if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int | float) or limit < 0):
                raise InvalidOption(f"Store({name}={limit!r}): a number of at least 0, or None, is wanted")
        if path is not None and not os.fspath(path):  # an environment variable that is not set, perhaps
            raise InvalidOption(f"Store({path!r}): the path of a folder is wanted")
        self.path = Path(path).expanduser().absolute() if path is not None else default_path()
        self.max_bytes, self.max_age = max_bytes, max_age
        self._clock = clock
        self._index = Index(self.path / "index.sqlite", self._on_disk)

    def __repr__(self) -> str:
        return f"Store({str(self.path)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Store) and self._facts() == other._facts()

    def __hash__(self) -> int:
        return hash(self._facts())

    def __reduce__(self) -> tuple[Any, ...]:
        return _store_at, self._facts()

    def _facts(self) -> tuple[str, int | None, float | None]:
        return str(self.path), self.max_bytes, self.max_age

    # -- what tasks and planners want (values.storing) ---------------------------------------------

    def find(self, key: str) -> bool:
        """Whether there is a value under a key: its file is there, as long as it says, and not too old."""
        place = self._place(key)
        try:
            if self._too_old(place.stat().st_mtime):
                return False
            if is_whole(place):
                return True
        except OSError:
            return False
        self._damaged(key, "it has been cut off")
        return False

    def load(self, key: str) -> Value | None:
        """Return the value under a key, or None.  A damaged one is warned of and deleted."""
        place = self._place(key)
        try:
            made = place.stat().st_mtime
            if self._too_old(made):
                return None
            value = read(place, key)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except Damaged as error:
            self._damaged(key, str(error))
            return None
        except Exception as error:
            warnings.warn(CacheWarning(f"{place}", f"{type(error).__name__}: {error}"), stacklevel=2)
            return None
        with suppress(OSError):  # somebody has deleted it meanwhile, or it is not ours
            os.utime(place, (self._clock(), made))
        return Value(value)

    def keep(self, key: str, value: Any, name: str = "") -> None:
        """Put a value under a key, then make room.

        Raises what pickling and writing raise, `InvalidOption` for more than there may be in all.
        """
        under_way = self._folder("new") / f"{key}-{uuid4().hex[:8]}"
        try:
            size = write(under_way, key, value)
            if self.max_bytes is not None and size > self.max_bytes:
                raise InvalidOption(f"it takes {size:,} bytes, and {self!r} holds {self.max_bytes:,} at most")
            now = self._clock()
            os.utime(under_way, (now, now))
            total = self._named(under_way, Row(key, size, now, name))
        finally:
            under_way.unlink(missing_ok=True)
        self._make_room(total, key)

    # -- what people want --------------------------------------------------------------------------

    def __len__(self) -> int:
        """How many values there are."""
        return sum(1 for _ in self._files())

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self.find(key)

    @property
    def bytes(self) -> int:
        """How many bytes they take."""
        return sum(row.size for row in self._on_disk())

    def entries(self) -> list[Entry]:
        """Return what there is, the last used first."""
        names: dict[str, str] = {}
        if not self.path.exists():
            return []
        with self._indexing():
            names = {row.key: row.name for row in self._index.rows()}
        found = []
        for place in self._files():
            with suppress(FileNotFoundError):
                seen = place.stat()
                found.append(Entry(place.name, seen.st_size, seen.st_mtime, seen.st_atime, names.get(place.name, "")))
        return sorted(found, key=lambda entry: -entry.used)

    def forget(self, key: str) -> None:
        """Delete the value under a key, if there is one."""
        with suppress(FileNotFoundError, PermissionError):  # on Windows: somebody reads it
            self._place(key).unlink()
        if self.path.exists():
            with self._indexing():
                self._index.remove([key])

    def clear(self) -> None:
        """Delete all values."""
        keys = [place.name for place in self._files()]
        for key in keys:
            with suppress(FileNotFoundError, PermissionError):
                self._place(key).unlink()
        if self.path.exists():
            with self._indexing():
                self._index.remove({*keys, *(row.key for row in self._index.rows())})

    # -- files -------------------------------------------------------------------------------------

    def _place(self, key: str) -> Path:
        return self.path / key[:2] / key

    def _folder(self, name: str) -> Path:
        folder = self.path / name
        if not folder.is_dir():
            self.path.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
            folder.mkdir(mode=_PRIVATE, exist_ok=True)
        return folder

    def _files(self) -> Iterator[Path]:
        with suppress(FileNotFoundError):
            folders = [one for one in self.path.iterdir() if len(one.name) == 2 and one.is_dir()]
            yield from chain.from_iterable(folder.iterdir() for folder in folders)

    def _on_disk(self) -> Iterator[Row]:
        for place in self._files():
            with suppress(FileNotFoundError):
                seen = place.stat()
                yield Row(place.name, seen.st_size, seen.st_mtime, "")

    def _too_old(self, made: float) -> bool:
        return self.max_age is not None and self._clock() - made > self.max_age

    def _damaged(self, key: str, why: str) -> None:
        warnings.warn(CacheWarning(str(self._place(key)), f"{why}; it is deleted"), stacklevel=3)
        self.forget(key)

    # -- limits ------------------------------------------------------------------------------------

    def _named(self, under_way: Path, row: Row) -> int:
        """Give a file its name and note it; return how much there is (0: not known)."""
        place = self._folder(row.key[:2]) / row.key
        with self._indexing():
            return self._index.add(row, partial(os.replace, under_way, place))
        if under_way.exists():
            os.replace(under_way, place)
        return 0

    def _indexing(self) -> _Indexing:
        return _Indexing(self._index, self.path)

    def _make_room(self, total: int, newest: str) -> None:
        """Delete what is too old, and what was not used for longest while there is too much."""
        with self._indexing():
            for key in self._index.older(self._clock() - self.max_age) if self.max_age is not None else ():
                self.forget(key)
            if self.max_bytes is not None and total > self.max_bytes:
                self._index.corrected(partial(self._delete_unused, newest))
        self._sweep()

    def _delete_unused(self, newest: str) -> Iterable[Row]:
        """Delete until there is somewhat less than there may be; return what is left."""
        assert self.max_bytes is not None
        rows = {row.key: row for row in self._on_disk()}
        left = sum(row.size for row in rows.values())
        for _, key in sorted((self._used(key), key) for key in rows if key != newest):
            if left <= self.max_bytes * _LEFT:
                break
            with suppress(PermissionError):  # on Windows: somebody reads it
                self._place(key).unlink(missing_ok=True)
                left -= rows.pop(key).size
        return rows.values()

    def _used(self, key: str) -> float:
        try:
            return self._place(key).stat().st_atime
        except OSError:
            return 0.0

    def _sweep(self) -> None:
        """Delete what somebody has left who was killed while he wrote."""
        for place in (self.path / "new").iterdir():
            with suppress(OSError):
                if self._clock() - place.stat().st_mtime > _HOUR:
                    place.unlink()


class _Indexing:
    """A stretch that goes on without the index where that cannot be used: files say what there is."""

    def __init__(self, index: Index, path: Path) -> None:
        self._index, self._path = index, path

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: object) -> bool:
        if not isinstance(error, sqlite3.Error):
            return False
        broken = isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError)
        if broken:
            self._index.give_up()
        then = "a new one is made of its files" if broken else "what is kept now is not counted"
        warnings.warn(CacheWarning(f"the index of {self._path}", f"{error}; {then}"), stacklevel=3)
        return True


def default_path() -> Path:
    """Return the folder of this user's store.  Raises `InvalidOption` where others could write to it."""
    said = os.environ.get(VARIABLE)
    if said:
        return Path(said).expanduser().absolute()
    if sys.platform == "win32":
        home = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    else:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    path = Path(home) / "lazygraph"
    with suppress(FileNotFoundError):
        seen = path.stat()
        if sys.platform != "win32" and (seen.st_uid != os.getuid() or seen.st_mode & 0o022):
            raise InvalidOption(
                f"cache=True: {path} belongs to somebody else or others can write to it; "
                f"say chmod 700 {path}, or name another folder in {VARIABLE}"
            )
    return path


def default_store() -> Store:
    """Return the store of this user, that of `cache=True`."""
    return _store_at(str(default_path()), MAX_BYTES, None)


@lru_cache(maxsize=64)
def _store_at(path: str, max_bytes: int | None, max_age: float | None) -> Store:
    """Return the store of a folder; one for all whose pickles arrive in this process."""
    return Store(path, max_bytes=max_bytes, max_age=max_age)
