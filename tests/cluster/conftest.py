"""What the tests on real processes share: one cluster a module, commands, knowing that a process has ended."""

from __future__ import annotations

import os
import re
import select
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lazygraph import Client, LocalCluster
from tests.cluster.commands import Command, Lazygraph, Scheduler, address_in


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Two workers of one thread, on loopback."""
    with LocalCluster(n_workers=2) as cluster:
        yield cluster


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[Client]:
    """A client of that cluster, the default executor inside the test; both workers have joined."""
    with Client(cluster) as client:
        client.wait_for_workers(2)
        yield client


@pytest.fixture
def ended() -> Callable[[int], bool]:
    """Whether a process has ended, waiting up to 20 s for its end."""

    def ended(pid: int) -> bool:
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            return True
        try:
            return bool(select.select([handle], [], [], 20)[0])
        finally:
            os.close(handle)

    return ended


@pytest.fixture
def lazygraph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lazygraph]:
    """Start commands, in a runtime directory of the test's own; kill those that are left at the end."""
    for name in ("LAZYGRAPH_TOKEN", "LAZYGRAPH_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    started: list[Command] = []

    def start(*words: str, cwd: Path | None = None, **environment: str) -> Command:
        started.append(Command(words, cwd, **environment))
        return started[-1]

    yield start
    for command in started:
        if command.process.poll() is None:
            command.process.kill()
        command.process.wait()
        assert command.process.stdout is not None
        command.process.stdout.close()


@pytest.fixture
def scheduler(lazygraph: Lazygraph) -> Scheduler:
    """A scheduler on a free port, its address and its token's file."""
    command = lazygraph("scheduler", "--port", "0")
    line = command.line()
    found = re.search(r"its token is in (\S+)", line)
    assert found is not None, line
    address = address_in(line)
    assert command.line() == f"start workers with: lazygraph worker {address}\n"
    return command, address, Path(found[1])
