"""`lazygraph scheduler`, `worker` and `status` as processes of their own, found by address."""

from __future__ import annotations

import json
import os
import signal
import socket
from operator import add
from pathlib import Path

import pytest

from lazygraph import Client
from tests.cluster.commands import Lazygraph, Scheduler, address_in


class TestTogether:
    def test_scheduler_worker_client_status(self, lazygraph: Lazygraph, scheduler: Scheduler, tmp_path: Path) -> None:
        command, address, token = scheduler
        assert token.is_relative_to(tmp_path)
        assert token.stat().st_mode & 0o077 == 0
        worker = lazygraph("worker", address, "--name", "alice", "--threads", "2")
        assert worker.line() == f"worker 'alice' has joined {address} with 2 thread(s)\n"
        with Client(address) as client:  # the token is found by the address
            client.wait_for_workers(1)
            assert client.submit(add, 1, 2).result() == 3
        status, said = lazygraph("status", address, "--json").rest()
        info = json.loads(said)
        assert (status, info["address"]) == (0, address)
        assert [(each["name"], each["threads"]) for each in info["workers"].values()] == [("alice", 2)]
        status, said = lazygraph("status", address).rest()
        assert status == 0
        assert f"scheduler {address}: 1 worker" in said and "alice" in said
        assert worker.end() == (0, "")
        assert command.end() == (0, "")
        assert not token.exists()
        status, said = lazygraph("status", address).rest()
        assert status == 1
        assert "lazygraph scheduler --port" in said and "Traceback" not in said

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_ends_both(
        self, lazygraph: Lazygraph, scheduler: Scheduler, tmp_path: Path, number: signal.Signals
    ) -> None:
        command, address, token = scheduler
        bell = tmp_path / "bell"
        os.mkfifo(bell)
        worker = lazygraph("worker", address)
        worker.line()
        client = Client(address)
        client.wait_for_workers(1)

        def never_ends() -> None:
            bell.write_text("here")
            while True:
                signal.pause()

        busy = client.submit(never_ends)
        assert bell.read_text() == "here"
        if number == signal.SIGTERM:  # the first one has it finish what it does, and this does not end
            worker.process.send_signal(number)
            while any(there["state"] != "leaving" for there in client.scheduler_info()["workers"].values()):
                pass
        assert worker.end(number)[0] == 0
        assert command.end(number) == (0, "")
        with pytest.raises(ConnectionError):
            busy.result(30)
        client.close()
        assert not token.exists()

    def test_a_worker_ends_with_its_scheduler(self, lazygraph: Lazygraph, scheduler: Scheduler) -> None:
        command, address, _ = scheduler
        worker = lazygraph("worker", address, "--name", "bob")
        worker.line()
        command.process.kill()
        status, said = worker.rest()
        assert f"the scheduler at {address} is gone; worker 'bob' ends" in said
        assert "Traceback" not in said
        assert status == 0


class TestTokens:
    def test_in_the_environment(self, lazygraph: Lazygraph, tmp_path: Path) -> None:
        command = lazygraph("scheduler", "--port", "0", LAZYGRAPH_TOKEN="abc")
        line = command.line()
        assert "token is in" not in line and "abc" not in line
        address = address_in(line)
        assert list((tmp_path / "runtime").rglob("*.token")) == []
        lazygraph("worker", address, LAZYGRAPH_TOKEN="abc").line()
        with Client(address, token="abc") as client:
            assert client.submit(add, 1, 2).result() == 3
        with pytest.raises(ConnectionError, match="LAZYGRAPH_TOKEN"):
            Client(address)

    def test_in_a_file(self, lazygraph: Lazygraph, tmp_path: Path) -> None:
        file = tmp_path / "token"
        file.write_text("secret\n")
        address = address_in(lazygraph("scheduler", "--port", "0", "--token-file", str(file)).line())
        assert "has joined" in lazygraph("worker", address, "--token-file", str(file)).line()
        status, said = lazygraph("status", address, "--token-file", str(file)).rest()
        assert (status, "1 worker" in said) == (0, True)

    def test_a_wrong_one_is_refused_with_a_sentence(
        self, lazygraph: Lazygraph, scheduler: Scheduler, tmp_path: Path
    ) -> None:
        _, address, _ = scheduler
        file = tmp_path / "wrong"
        file.write_text("wrong")
        for command in ("worker", "status"):
            status, said = lazygraph(command, address, "--token-file", str(file)).rest()
            assert status == 1
            assert "token" in said and "Traceback" not in said

    def test_an_empty_file(self, lazygraph: Lazygraph, tmp_path: Path) -> None:
        file = tmp_path / "empty"
        file.touch()
        for words in (("scheduler", "--port", "0"), ("worker", "tcp://127.0.0.1:1"), ("status", "tcp://127.0.0.1:1")):
            status, said = lazygraph(*words, "--token-file", str(file)).rest()
            assert status == 1
            assert "nothing in it" in said and "Traceback" not in said


class TestRefusals:
    def test_a_port_that_is_taken(self, lazygraph: Lazygraph) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            status, said = lazygraph("scheduler", "--port", str(port)).rest()
        assert status == 1
        assert str(port) in said and "Traceback" not in said

    def test_a_worker_without_a_scheduler(self, lazygraph: Lazygraph) -> None:
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            port = bound.getsockname()[1]
            status, said = lazygraph("worker", f"tcp://127.0.0.1:{port}", LAZYGRAPH_TOKEN="x").rest()
        assert status == 1
        assert f"lazygraph scheduler --port {port}" in said and "Traceback" not in said

    @pytest.mark.parametrize(
        ("words", "sentence"),
        [
            ("scheduler --journal here --no-journal", "exclude each other"),
            ("worker tcp://127.0.0.1:1 --memory-limit 1", "is no amount of memory"),
            ("retry", "`lazygraph retry` is not built yet"),
            ("scheduler --port 0 --dashboard-address nonsense", "is not of the form host:port"),
        ],
    )
    def test_what_is_not_built_says_so(self, lazygraph: Lazygraph, words: str, sentence: str) -> None:
        status, said = lazygraph(*words.split()).rest()
        assert sentence in said
        assert status == 1
        assert "Traceback" not in said
