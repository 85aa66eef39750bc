"""Run after run on one cluster: what processes have afterwards is what they had after the first two.

    python -m benchmarks.leaks --runs 10 --tasks 100000

Prints MB of memory of their own and descriptors of each process; exits with 1 when memory has grown by more than 20 MB.
"""

from __future__ import annotations

import argparse
import os
from operator import neg

from lazygraph import Client, LocalCluster, compute, delayed


def anonymous(pid: int) -> int:
    """Return the MB of a process's own pages."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) // 1024 for line in file if line.startswith("RssAnon:"))


def main() -> int:
    """Run it; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--tasks", type=int, default=100_000)
    asked = parser.parse_args()
    seen = []
    call = delayed(neg)
    with LocalCluster(n_workers=2) as cluster, Client(cluster) as client:
        client.wait_for_workers(2)
        pids = [*cluster.workers.values(), os.getpid()]
        for run in range(asked.runs):
            assert len(compute([call(n) for n in range(asked.tasks)])[0]) == asked.tasks
            memory = [anonymous(pid) for pid in pids]
            descriptors = [len(os.listdir(f"/proc/{pid}/fd")) for pid in pids]
            seen.append((memory, descriptors))
            print(f"run {run}: MB {memory}, descriptors {descriptors}", flush=True)
    (before, had), (after, has) = seen[min(1, len(seen) - 1)], seen[-1]
    grown = any(late > early + 20 for early, late in zip(before, after, strict=True))
    return int(grown or sum(has) > sum(had) + 4)


if __name__ == "__main__":
    raise SystemExit(main())
