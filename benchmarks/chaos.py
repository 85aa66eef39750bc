"""Chaos: `kill -9` of random workers, again and again, while thousands of tasks with side effects run.

    python -m benchmarks.chaos --tasks 20000 --every 1

Every task writes down that it was begun.  In the end every result has to be right, no task with `at_most_once=True` was
begun twice, and nothing is left: no process, no descriptor.  Says how much was done again for all that.

Exit status 0: all held; 1: something did not, and which.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lazygraph import Client, LocalCluster, delayed, start
from lazygraph.errors import WorkerDied

ONCE = 10
"""Every so many-th task is one that may be begun once only; nobody reads it."""


CHORD = 9
"""Leaves of a chord; their total is asked for."""


@dataclass
class Figures:
    """What came of it."""

    tasks: int
    workers: int
    kills: int
    seconds: float
    begun: int
    begun_again: int
    at_most_once: int
    died_of_it: int


class Wrong(AssertionError):
    """Something that must hold did not."""


def note(path: str, name: str) -> None:
    """Write down that a task begins: one write, so that no two mix."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, f"{name}\n".encode())
    finally:
        os.close(file)


def leaf(path: str, number: int, seconds: float) -> int:
    """Give the number back, after a while."""
    note(path, f"leaf {number}")
    time.sleep(seconds)
    return number


def total(path: str, number: int, parts: list[int]) -> int:
    """Add what the leaves of a chord have given."""
    note(path, f"total {number}")
    return sum(parts)


def act(path: str, number: int, seconds: float) -> int:
    """What is not to be done twice."""
    note(path, f"act {number}")
    time.sleep(seconds)
    return number


def chaos(tasks: int, every: float, workers: int = 3, seconds: float = 0.002, seed: int = 0, kills: int = 0) -> Figures:
    """Run it; raise `Wrong` for the first that does not hold.  With `kills`, it ends only after so many at least."""
    with TemporaryDirectory() as folder:
        return _chaos(tasks, every, workers, seconds, random.Random(seed), kills, str(Path(folder) / "begun"))


def _chaos(
    tasks: int, every: float, workers: int, seconds: float, rng: random.Random, least: int, path: str
) -> Figures:
    before = _descriptors()
    acts = [delayed(act).options(at_most_once=True)(path, n, seconds) for n in range(tasks // ONCE)]
    leaves = [delayed(leaf)(path, n, seconds) for n in range((tasks - len(acts)) // (CHORD + 1) * CHORD)]
    chords = [leaves[at : at + CHORD] for at in range(0, len(leaves), CHORD)]
    totals = [delayed(total)(path, at, chord) for at, chord in enumerate(chords)]
    begun = time.monotonic()
    with LocalCluster(workers) as cluster, Client(cluster) as client:
        client.wait_for_workers(workers)
        killer = _Killer(cluster, every, rng)
        run = start(*totals, *acts, fail_fast=False)
        with killer:
            died = _check(run.futures, len(totals))
            killer.wait_for(least)
        run.release()
        pids = {*killer.pids, *cluster.workers.values()}
    took = time.monotonic() - begun
    counts = Counter(Path(path).read_text().splitlines())
    twice = [name for name, times in counts.items() if name.startswith("act ") and times > 1]
    if twice:
        raise Wrong(f"{len(twice)} tasks with at_most_once=True were begun twice, {twice[0]!r} for one")
    left = [pid for pid in pids if _is_there(pid)]
    if left:
        raise Wrong(f"processes {left} are left")
    if _descriptors() > before:
        raise Wrong(f"{_descriptors() - before} descriptors are left")
    again = sum(counts.values()) - len(counts)
    names = len(leaves) + len(totals) + len(acts)
    return Figures(names, workers, len(killer.pids), round(took, 1), sum(counts.values()), again, len(acts), died)


def _check(futures: list[Any], chords: int) -> int:
    """Wait for all; return how many of those that may be begun once only were killed."""
    for at, future in enumerate(futures[:chords]):
        expected = sum(range(at * CHORD, (at + 1) * CHORD))
        if future.result(600) != expected:
            raise Wrong(f"total {at} is {future.result()} and not {expected}")
    died = 0
    for number, future in enumerate(futures[chords:]):
        error = future.exception(600)
        died += error is not None
        if error is not None and not isinstance(error, WorkerDied):
            raise Wrong(f"a task has failed with {error!r}") from error
        if error is None and future.result() != number:
            raise Wrong(f"the value of act {number} is {future.result()}")
    return died


class _Killer:
    """Kills a random worker every so many seconds, as long as it is entered."""

    def __init__(self, cluster: LocalCluster, every: float, rng: random.Random) -> None:
        self._cluster, self._every, self._random = cluster, every, rng
        self.pids: list[int] = []
        self._stop = threading.Event()
        self._killed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="killer", daemon=True)

    def _run(self) -> None:
        while not self._stop.wait(self._every):
            there = [pid for pid in list(self._cluster.workers.values()) if pid not in self.pids]
            if there:
                pid = self._random.choice(there)
                os.kill(pid, signal.SIGKILL)
                with self._killed:
                    self.pids.append(pid)
                    self._killed.notify_all()

    def wait_for(self, kills: int) -> None:
        """Return when there have been so many."""
        with self._killed:
            self._killed.wait_for(lambda: len(self.pids) >= kills, 60)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *exc_info: object) -> None:
        self._stop.set()
        self._thread.join()


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def _is_there(pid: int) -> bool:
    """Whether a process is there, and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def main() -> int:
    """Run it as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__.partition("\n")[0])
    parser.add_argument("--tasks", type=int, default=20_000)
    parser.add_argument("--every", type=float, default=1.0, help="seconds between two kills")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.002, help="how long a task takes at least")
    parser.add_argument("--seed", type=int, default=0)
    said = parser.parse_args()
    try:
        figures = chaos(said.tasks, said.every, said.workers, said.seconds, said.seed)
    except Wrong as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(json.dumps(asdict(figures), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
