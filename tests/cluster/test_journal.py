"""Schedulers that are killed and started again on their journal, with real processes."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from lazygraph import Client, delayed
from tests.cluster.commands import Command, Lazygraph, address_in


def note(file: str, what: object) -> object:
    """Write a line that nobody can half see, and return what was written."""
    handle = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(handle, f"{what} {time.time()}\n".encode())
    finally:
        os.close(handle)
    return what


def waits(gate: str, file: str, what: object) -> object:
    """Note that it has begun, then wait until a file is there."""
    note(file, what)
    while not os.path.exists(gate):
        threading.Event().wait(0.01)
    return what


def noted(file: Path) -> list[tuple[str, float]]:
    lines = file.read_text().splitlines() if file.exists() else []
    return [(what, float(when)) for what, when in (line.split() for line in lines)]


def until(file: Path, count: int) -> None:
    """Wait for so many notes."""
    end = time.monotonic() + 30
    while len(noted(file)) < count:
        assert time.monotonic() < end, f"{file} has {noted(file)}"
        threading.Event().wait(0.01)


class Restarting:
    """A scheduler with a journal, and how to kill it."""

    def __init__(self, lazygraph: Lazygraph, folder: Path) -> None:
        self.lazygraph, self.journal = lazygraph, folder / "journal"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = str(free.getsockname()[1])
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.command: Command
        self.start()

    def start(self) -> None:
        self.command = self.lazygraph("scheduler", "--port", self.port, "--journal", str(self.journal))
        assert str(self.journal) in self.command.line()

    def kill(self) -> None:
        self.command.process.kill()
        self.command.process.wait()

    def restart(self) -> None:
        self.kill()
        self.start()

    def worker(self, name: str, threads: int = 1) -> Command:
        command = self.lazygraph("worker", self.address, "--name", name, "--threads", str(threads))
        assert "has joined" in command.line()
        return command


@pytest.fixture
def restarting(lazygraph: Lazygraph, tmp_path: Path) -> Restarting:
    return Restarting(lazygraph, tmp_path)


class TestKilledAndStartedAgain:
    def test_futures_resolve_and_what_was_done_is_not_done_again(self, restarting: Restarting, tmp_path: Path) -> None:
        file, gate = tmp_path / "ran", tmp_path / "gate"
        restarting.worker("a", 2)
        restarting.worker("b", 2)
        with Client(restarting.address) as client:
            done = client.map(note, [str(file)] * 20, range(20))
            assert client.gather(done) == list(range(20))
            # An answer that follows their ends: what is accepted after them was noted after them.
            client.submit(note, str(file), "accepted", detach=True).accepted(10)
            until(file, 21)
            running = [client.submit(waits, str(gate), str(file), f"running-{at}") for at in range(4)]
            after = [client.submit(note, str(file), f"after-{at}", pure=False) for at in range(3)]
            total = client.submit(lambda *values: len(values), *done, *running, *after)
            until(file, 25)
            last = client.submit(note, str(file), "accepted-too", detach=True)
            last.accepted(10)  # and so was what came before
            restarting.kill()
            gate.touch()
            late = client.submit(note, str(file), "late")  # while nobody is there
            restarting.start()
            assert total.result(60) == 27
            assert (late.result(60), last.result(60)) == ("late", "accepted-too")
            assert client.gather(done) == list(range(20))
        ran = Counter(what for what, _ in noted(file))
        assert ran == Counter(dict.fromkeys(ran, 1)) and len(ran) == 30

    def test_detached_work_goes_on_without_its_client_and_is_found_by_its_key(
        self, restarting: Restarting, tmp_path: Path
    ) -> None:
        file, gate = tmp_path / "ran", tmp_path / "gate"
        restarting.worker("a")
        with Client(restarting.address) as client:
            first = client.submit(waits, str(gate), str(file), "first", detach=True)
            second = client.submit(note, str(file), "second", detach=True)
            key = second.key
            second.accepted(10)
            until(file, 1)
        restarting.kill()
        gate.touch()
        restarting.start()
        with Client(restarting.address) as client:
            assert client.future(key).result(60) == "second"
            assert client.future(first.key).result(60) == "first"
        assert Counter(what for what, _ in noted(file)) == {"first": 1, "second": 1}

    def test_a_rate_holds_and_at_most_once_is_at_most_once(self, restarting: Restarting, tmp_path: Path) -> None:
        file, once = tmp_path / "ran", tmp_path / "once"
        restarting.worker("a", 4)
        rated = delayed(note, pure=False).options(rate_limit="4/s")
        single = delayed(note, pure=False).options(at_most_once=True)
        with Client(restarting.address) as client:
            futures = client.compute([rated(str(file), at) for at in range(14)])
            singles = client.compute([single(str(once), at) for at in range(30)])
            for count in (3, 7):
                until(file, count)
                restarting.restart()
            assert client.gather(futures) == list(range(14))
            ended = [future.exception(60) for future in singles]
        starts = sorted(when for _, when in noted(file))
        assert all(fifth - first >= 0.99 for first, fifth in zip(starts, starts[4:], strict=False)), starts
        assert set(Counter(what for what, _ in noted(once)).values()) == {1}
        assert sum(error is None for error in ended) <= len(noted(once))

    def test_without_a_journal_work_ends_with_its_scheduler(self, lazygraph: Lazygraph) -> None:
        command = lazygraph("scheduler", "--port", "0", "--no-journal")
        line = command.line()
        assert "its journal is" not in line
        address = address_in(line)
        lazygraph("worker", address).line()
        with Client(address) as client:
            client.wait_for_workers(1)
            future = client.submit(signal.pause)
            command.process.kill()
            with pytest.raises(ConnectionError):
                future.result(30)


class TestTheFile:
    def test_only_its_user_may_read_it_and_one_scheduler_holds_it(
        self, restarting: Restarting, lazygraph: Lazygraph
    ) -> None:
        for file in restarting.journal.parent.glob("journal*"):
            assert file.stat().st_mode & 0o077 == 0, file
        status, said = lazygraph("scheduler", "--port", "0", "--journal", str(restarting.journal)).rest()
        assert status == 1 and "another scheduler uses it" in said and "Traceback" not in said

    def test_another_format_is_refused(self, lazygraph: Lazygraph, tmp_path: Path) -> None:
        path = tmp_path / "other"
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE something (x)")
        connection.commit()
        connection.close()
        status, said = lazygraph("scheduler", "--port", "0", "--journal", str(path)).rest()
        assert status == 1 and "no journal of lazygraph" in said and "--no-journal" in said
        path.write_bytes(b"words, not a database" * 100)
        status, said = lazygraph("scheduler", "--port", "0", "--journal", str(path)).rest()
        assert status == 1 and "no journal of lazygraph" in said

    def test_there_is_one_by_default(self, lazygraph: Lazygraph, tmp_path: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        command = lazygraph("scheduler", "--port", port, XDG_STATE_HOME=str(tmp_path / "state"))
        command.line()
        assert (tmp_path / "state" / "lazygraph" / f"scheduler-127.0.0.1_{port}.journal").exists()
