"""Ctrl-C: everything ends at once, and no process, port or file is left behind.

Each test sends SIGINT to a process group, as a terminal does, when the program has said that it is in the middle.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ENDINGS = (130, -signal.SIGINT)
"""What a shell sees of a program that Ctrl-C has ended: it said so itself, or Python did."""

BUSY = """
import os, sys, threading
from lazygraph import Client, LocalCluster, compute, delayed

@delayed
def busy(number):
    if number == 0:
        os.write(2, b"in the middle\\n")
    threading.Event().wait()  # for ever: a task that nothing ends

graph = delayed(list)([busy(number) for number in range(20)])
"""


class Program:
    """A program in a process group of its own, with directories of its own for temporary files."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.kept = [folder / "tmp", folder / "runtime"]
        for place in self.kept:
            place.mkdir(mode=0o700)
        (folder / "work").mkdir()
        self.process = subprocess.Popen(
            [sys.executable, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=0,
            cwd=folder / "work",
            text=True,
            env={**os.environ, "TMPDIR": str(self.kept[0]), "XDG_RUNTIME_DIR": str(self.kept[1])},
        )
        self.said = ""

    def until(self, text: str) -> str:
        """Read until a line with this text has come; return that line."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said += line
            if text in line:
                return line
        pytest.fail(f"it ended without saying {text!r}; it said:\n{self.said}")

    def interrupt(self) -> int:
        """Press Ctrl-C; return the status once all that hold its output, its children too, have ended."""
        os.killpg(self.process.pid, signal.SIGINT)
        assert self.process.stdout is not None
        self.said += self.process.stdout.read()
        return self.process.wait()

    def left(self) -> list[str]:
        """Return the files that it has left behind."""
        return [str(path) for place in self.kept for path in place.rglob("*") if not path.is_dir()]


Start = Callable[..., Program]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a program; kill its group should the test fail."""
    started: list[Program] = []

    def start(*words: str) -> Program:
        started.append(Program(tmp_path, *words))
        return started[-1]

    yield start
    for program in started:
        if program.process.poll() is None:
            os.killpg(program.process.pid, signal.SIGKILL)
        program.process.wait()
        assert program.process.stdout is not None
        program.process.stdout.close()


def nobody_listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.parametrize("executor", ["threads", "sync"])
def test_compute_in_this_process(start: Start, executor: str) -> None:
    program = start("-c", f"{BUSY}\ngraph.compute(executor={executor!r})")
    program.until("in the middle")
    assert program.interrupt() in ENDINGS
    assert "KeyboardInterrupt" in program.said
    assert program.left() == []


SAID = """
def said(cluster):
    pids = [cluster._scheduler.process.pid, *cluster.workers.values()]
    print("cluster:", cluster.address.rpartition(":")[2], *pids, flush=True)
"""
CLUSTERS = {
    "inside with": "with LocalCluster(2) as cluster, Client(cluster):\n    said(cluster)\n    graph.compute()",
    "without with": "cluster = LocalCluster(n_workers=2)\nclient = Client(cluster)\nsaid(cluster)\ngraph.compute()",
    "a future": "client = Client()\nsaid(client._own_cluster)\nfuture = client.compute(graph)\nfuture.result()",
    "gather": "client = Client()\nsaid(client._own_cluster)\nclient.gather(client.map(busy, range(20)))",
}


@pytest.mark.parametrize("how", CLUSTERS)
def test_compute_on_a_cluster(start: Start, ended: Callable[[int], bool], how: str) -> None:
    program = start("-c", f"{BUSY}{SAID}{CLUSTERS[how]}")
    port, *children = map(int, program.until("cluster:").split()[1:])
    program.until("in the middle")
    assert program.interrupt() in ENDINGS
    assert "KeyboardInterrupt" in program.said
    assert "Lost" not in program.said and "Error" not in program.said, program.said
    assert len(children) >= 2
    assert all(ended(pid) for pid in children)
    assert nobody_listens(port)
    assert program.left() == []


@pytest.mark.parametrize(
    ("executor", "moment"),
    [
        ("threads", "threads: "),
        ("cluster", "picture of the graph"),  # while the cluster starts
        ("cluster", "cluster: "),
        ("both", "threads: "),
    ],
)
def test_demo(start: Start, executor: str, moment: str) -> None:
    program = start("-m", "lazygraph.cli", "demo", "--files", "600", "--executor", executor)
    program.until(moment)
    assert program.interrupt() == 130
    assert "interrupted" in program.said
    assert "Traceback" not in program.said, program.said
    assert program.left() == []
