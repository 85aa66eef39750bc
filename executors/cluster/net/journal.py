"""The scheduler's journal: notes in an SQLite file, written by a thread of its own.

A file in WAL mode, readable by its user alone, of one format, held by one scheduler at a time.  Notes are gathered and
committed together, about every `GATHERED` seconds, or at once when somebody waits for them; only what somebody waits
for is also forced through the system's cache (a killed process loses nothing that was committed; a machine without
power may lose what nobody waited for).  What is erased makes room for what comes: the file grows with the runs that are
alive, not with those that were.

Covers: the file, the thread, erasing.
Does not cover: which notes there are (cluster.notes), who waits (cluster.net.scheduler_server).
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

from lazygraph.errors import LazyGraphError
from lazygraph.executors.cluster import notes as n

FORMAT = 1
"""Which format: a file of another is refused, not guessed at."""
APPLICATION = 0x1A27_6A6C
"""What SQLite files of ours are marked with."""
GATHERED = 0.02
"""Seconds that notes which nobody waits for are gathered before they are written."""
CLEANED = 60.0
"""Seconds between two looks for notes whose time is over."""

_TABLES = (
    "CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    """CREATE TABLE notes (
        seq INTEGER PRIMARY KEY, about INTEGER NOT NULL, at REAL NOT NULL, until REAL, entry BLOB NOT NULL, body BLOB
    )""",
    "CREATE INDEX notes_about ON notes (about)",
    "CREATE INDEX notes_until ON notes (until) WHERE until IS NOT NULL",
)


class UnusableJournal(LazyGraphError, OSError):
    """Raised when a journal cannot be used: it is no journal, of another format, or somebody else's."""

    def __init__(self, path: object, why: str) -> None:
        super().__init__(
            f"the journal {str(path)!r} cannot be used: {why}; "
            "name another file with --journal, or run without one (--no-journal)"
        )


class Journal:
    """A journal's file, open for one scheduler.  `epoch` counts how often it was opened, this time among them."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._connection = self._opened()
        self.ident, self.epoch, self.token = self._begin()
        # The clock of notes: monotonic within one life, and the wall's between two.
        self._ahead = time.time() - time.monotonic()
        self._jobs: list[n.Note | n.Erase] = []
        self._noted = self._committed = 0
        self._waited = 0
        self._wake = threading.Condition()
        self._closing = False
        self._thread: threading.Thread | None = None
        self.written: Callable[[int], None] = lambda count: None
        self.failed: Callable[[Exception], None] = lambda error: None

    def _opened(self) -> sqlite3.Connection:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600))
            os.chmod(self.path, 0o600)  # SQLite gives its other files the same mode
            connection = sqlite3.connect(self.path, timeout=0.2, isolation_level=None, check_same_thread=False)
        except OSError as error:
            raise UnusableJournal(self.path, f"it cannot be opened ({error})") from error
        except sqlite3.Error as error:
            raise UnusableJournal(self.path, str(error)) from error
        try:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._check(connection)
        except sqlite3.OperationalError as error:
            connection.close()
            why = "another scheduler uses it" if "locked" in str(error) else str(error)
            raise UnusableJournal(self.path, why) from error
        except sqlite3.DatabaseError as error:
            connection.close()
            raise UnusableJournal(self.path, f"it is no journal of lazygraph ({error})") from error
        except BaseException:
            connection.close()
            raise
        return connection

    def _check(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("BEGIN EXCLUSIVE")
        if not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
            connection.execute(f"PRAGMA application_id = {APPLICATION}")
            connection.execute(f"PRAGMA user_version = {FORMAT}")
            for statement in _TABLES:
                connection.execute(statement)
        [application] = connection.execute("PRAGMA application_id").fetchone()
        [version] = connection.execute("PRAGMA user_version").fetchone()
        connection.execute("COMMIT")
        if application != APPLICATION:
            raise UnusableJournal(self.path, "it is an SQLite file, but no journal of lazygraph")
        if version != FORMAT:
            raise UnusableJournal(self.path, f"its format is {version}, and this lazygraph reads format {FORMAT}")

    def _begin(self) -> tuple[str, int, str]:
        """Count this opening; return the journal's name, the count, and the token kept in it (empty: none yet)."""
        facts = dict(self._connection.execute("SELECT name, value FROM facts").fetchall())
        ident = facts.get("ident") or os.urandom(12).hex()
        epoch = int(facts.get("epoch", 0)) + 1
        self._set(ident=ident, epoch=str(epoch))
        return ident, epoch, facts.get("token", "")

    def _set(self, **facts: str) -> None:
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("BEGIN")
        self._connection.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", list(facts.items()))
        self._connection.execute("COMMIT")

    def keep_token(self, token: str) -> None:
        """Keep the token that workers and clients were given, for the next start."""
        if token != self.token:
            self.token = token
            self._set(token=token)

    def read(self) -> list[n.Record]:
        """Return what was noted and still matters, in order, at the times of this process's monotonic clock."""
        self._connection.execute("DELETE FROM notes WHERE until < ?", (time.time(),))
        rows = self._connection.execute("SELECT about, entry, body, at FROM notes ORDER BY seq")
        try:
            return [n.Record(about, n.decode(entry), body or b"", at - self._ahead) for about, entry, body, at in rows]
        except ValueError as error:
            raise UnusableJournal(self.path, f"a note in it cannot be read ({error})") from error

    # -- writing -----------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to write, in a thread."""
        self._thread = threading.Thread(target=self._write_on, name="lazygraph-journal", daemon=True)
        self._thread.start()

    def put(self, job: n.Note | n.Erase) -> None:
        """Have something noted or erased, after all that came before; never waits."""
        self._noted += 1
        self._jobs.append(job)
        if len(self._jobs) == 1:
            with self._wake:
                self._wake.notify()

    def ask(self) -> int | None:
        """Somebody waits for all that was put: return the count that `written` must reach, None if it has."""
        if self._committed >= self._noted:
            return None
        self._waited = self._noted
        with self._wake:
            self._wake.notify()
        return self._noted

    def close(self) -> None:
        """Write what was put, and end.  Safe to call twice."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._connection.close()

    def _write_on(self) -> None:
        try:
            cleaned = time.monotonic()
            while True:
                with self._wake:
                    self._wake.wait_for(lambda: self._jobs or self._closing, CLEANED)
                    urgent = lambda: self._waited > self._committed or self._closing  # noqa: E731
                    self._wake.wait_for(urgent, GATHERED)
                if time.monotonic() - cleaned > CLEANED:
                    cleaned = time.monotonic()
                    self._connection.execute("DELETE FROM notes WHERE until < ?", (time.time(),))
                count = len(self._jobs)
                if count:
                    self._write(count)
                    self.written(self._committed)
                elif self._closing:
                    return
        except Exception as error:  # a full disk, say: nothing more can be promised
            self.failed(error)

    def _write(self, count: int) -> None:
        jobs = self._jobs[:count]
        connection, adding = self._connection, list[tuple[object, ...]]()
        waited = self._waited > self._committed
        connection.execute(f"PRAGMA synchronous = {'FULL' if waited else 'NORMAL'}")
        connection.execute("BEGIN")
        try:
            for job in jobs:
                if isinstance(job, n.Note):
                    adding.append((job.about, job.now + self._ahead, n.encode(job.entry), job.body or None))
                    continue
                self._add(adding)
                if job.when is None:
                    connection.execute("DELETE FROM notes WHERE about = ?", (job.about,))
                else:
                    connection.execute(
                        "UPDATE notes SET until = ? WHERE about = ?", (job.when + self._ahead, job.about)
                    )
            self._add(adding)
            connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise
        del self._jobs[:count]
        self._committed += count

    def _add(self, adding: list[tuple[object, ...]]) -> None:
        self._connection.executemany("INSERT INTO notes (about, at, entry, body) VALUES (?, ?, ?, ?)", adding)
        adding.clear()


def default_path(host: str, port: int) -> Path:
    """Return where the journal of a scheduler on this address is kept, when nothing else is said."""
    state = os.environ.get("XDG_STATE_HOME")
    home = Path(state) if state and os.path.isabs(state) else Path.home() / ".local" / "state"
    name = "".join(letter if letter.isalnum() or letter in ".-" else "-" for letter in host)
    return home / "lazygraph" / f"scheduler-{name}_{port}.journal"
