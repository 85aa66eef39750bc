"""What is in a store, in SQLite: how large it is and what is old are known without looking at every file.

It says nothing about what can be read: a file is there or not, whatever is written here.  Files are given their names
and deleted while the index is locked.  Who is killed just then leaves a row too many or too few; whoever makes room
next looks at the files, and corrects that.

Covers: rows, their total, an index that is new, gone or damaged.
Does not cover: files (files.store).
"""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

BUSY = 10.0
"""Seconds to wait for another process that writes."""

_TABLES = """
CREATE TABLE IF NOT EXISTS kept (key TEXT PRIMARY KEY, size INTEGER, made REAL, name TEXT) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_age ON kept (made);
CREATE TABLE IF NOT EXISTS total (bytes INTEGER);
CREATE TRIGGER IF NOT EXISTS added AFTER INSERT ON kept BEGIN UPDATE total SET bytes = bytes + NEW.size; END;
CREATE TRIGGER IF NOT EXISTS changed AFTER UPDATE ON kept BEGIN
    UPDATE total SET bytes = bytes + NEW.size - OLD.size; END;
CREATE TRIGGER IF NOT EXISTS removed AFTER DELETE ON kept BEGIN UPDATE total SET bytes = bytes - OLD.size; END;
"""
_ADD = """INSERT INTO kept VALUES (?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET size = excluded.size, made = excluded.made, name = excluded.name"""


class Row(NamedTuple):
    """A value that is kept: `made` is a time, `name` what the task was called that made it."""

    key: str
    size: int
    made: float
    name: str


class Index:
    """The index of one folder, in this process.  Its methods raise sqlite3.Error.

    `found` tells what files there are: a new index begins with those.
    """

    def __init__(self, place: Path, found: Callable[[], Iterable[Row]]) -> None:
        self._place, self._found = place, found
        self._lock = threading.Lock()
        self._held: list[sqlite3.Connection] = []
        self._pid = os.getpid()
        weakref.finalize(self, _close, self._held, os.getpid())

    def add(self, row: Row, rename: Callable[[], None]) -> int:
        """Note a value and give its file its name; return how many bytes there are in all."""
        with self._writing() as connection:
            connection.execute(_ADD, row)
            rename()
            return _total(connection)

    def remove(self, keys: Iterable[str]) -> None:
        """Forget values."""
        with self._writing() as connection:
            connection.executemany("DELETE FROM kept WHERE key = ?", [(key,) for key in keys])

    def older(self, than: float) -> list[str]:
        """Return the keys of what was made before a time."""
        with self._guard():
            return [key for (key,) in self._connection().execute("SELECT key FROM kept WHERE made < ?", (than,))]

    def rows(self) -> list[Row]:
        """Return all rows."""
        with self._guard():
            return [Row(*row) for row in self._connection().execute("SELECT key, size, made, name FROM kept")]

    def corrected(self, delete: Callable[[], Iterable[Row]]) -> None:
        """Call what deletes files, while nobody gives one its name; what it returns is what there is then."""
        with self._writing() as connection:
            rest = {row.key: row for row in delete()}
            known = {key for (key,) in connection.execute("SELECT key FROM kept")}
            connection.executemany("DELETE FROM kept WHERE key = ?", [(key,) for key in known - rest.keys()])
            connection.executemany(_ADD, [row for key, row in rest.items() if key not in known])

    def give_up(self) -> None:
        """Delete the index: it is damaged.  The next question makes a new one."""
        with self._guard():
            while self._held:
                self._held.pop().close()
            for ending in ("", "-wal", "-shm"):
                self._place.with_name(self._place.name + ending).unlink(missing_ok=True)

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._guard():
            connection = self._connection()
            try:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
            except BaseException:  # a task may be cancelled here
                _undo(connection)
                raise

    def _guard(self) -> threading.Lock:
        if self._pid != os.getpid():  # after a fork: lock and connection are the other one's
            self._lock, self._held, self._pid = threading.Lock(), [], os.getpid()
            weakref.finalize(self, _close, self._held, os.getpid())
        return self._lock

    def _connection(self) -> sqlite3.Connection:
        if not self._held:
            self._held.append(self._opened())
        return self._held[0]

    def _opened(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._place, timeout=BUSY, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            # What a crash of the machine takes from it is found again on the disk.
            connection.execute("PRAGMA synchronous = OFF")
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'total'").fetchone():
                self._begin(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _begin(self, connection: sqlite3.Connection) -> None:
        """Make the tables, of what is there; of several who begin, the first does."""
        connection.execute("BEGIN IMMEDIATE")
        try:
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'total'").fetchone():
                for statement in _statements():
                    connection.execute(statement)
                connection.execute("INSERT INTO total VALUES (0)")
                connection.executemany(_ADD, self._found())
            connection.execute("COMMIT")
        except BaseException:
            _undo(connection)
            raise


def _undo(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def _statements() -> Iterator[str]:
    """Yield the statements that make the tables, one by one: a script would commit before each."""
    text = ""
    for line in _TABLES.splitlines(keepends=True):
        text += line
        if sqlite3.complete_statement(text):
            yield text
            text = ""


def _total(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT bytes FROM total").fetchone()[0])


def _close(held: list[sqlite3.Connection], pid: int) -> None:
    while held and pid == os.getpid():
        held.pop().close()
