"""Nothing stands behind what takes long while a thread is free, on the same worker or on another."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from lazygraph import Client, LocalCluster


def note(folder: str, what: str) -> str:
    Path(folder, what).touch()
    return what


def waits(folder: str, what: str) -> str:
    note(folder, what)
    while not Path(folder, "gate").exists():
        time.sleep(0.01)  # sleeping is the task
    return what


def test_as_many_long_tasks_run_as_there_are_threads_whatever_they_came_with(tmp_path: Path) -> None:
    with LocalCluster(n_workers=2, threads_per_worker=2) as cluster, Client(cluster) as client:
        client.gather(client.map(note, [str(tmp_path)] * 20, [f"short-{at}" for at in range(20)]))
        long = [client.submit(waits, str(tmp_path), "long-0")]
        client.flush()  # a plan of its own: it is alone with its worker, and what follows is dealt out by what is left
        long += [client.submit(waits, str(tmp_path), f"long-{at}") for at in range(1, 4)]
        short = [client.submit(note, str(tmp_path), f"behind-{at}") for at in range(3)]
        client.flush()
        end = time.monotonic() + 30
        while len([*tmp_path.glob("long-*")]) < 4:
            assert time.monotonic() < end, f"begun: {sorted(file.name for file in tmp_path.glob('[lb]*'))}"
            threading.Event().wait(0.01)
        note(str(tmp_path), "gate")
        assert client.gather([*long, *short]) == [
            *[f"long-{at}" for at in range(4)],
            *[f"behind-{at}" for at in range(3)],
        ]
