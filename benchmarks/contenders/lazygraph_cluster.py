"""lazygraph on a LocalCluster of two worker processes with one thread each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from benchmarks.contenders import functions, harness
from benchmarks.contenders.harness import Function, Samples
from benchmarks.contenders.lazygraph_language import LANGUAGE, chain, chord_of_sums
from lazygraph import Client, LocalCluster


@contextmanager
def session() -> Iterator[Client]:
    """Start the cluster; its client is the default executor inside the block."""
    with LocalCluster(n_workers=2, threads_per_worker=1) as cluster, Client(cluster) as client:
        client.wait_for_workers(2, timeout=30)
        yield client


def round_trip(client: Client, size: int) -> Samples:
    """Submit one, wait for it."""
    return harness.one_by_one(lambda x, y: client.submit(functions.add, x, y).result(), size)


def adds(client: Client, size: int) -> Samples:
    """Submit in a loop, gather."""
    return harness.in_two_parts(
        lambda: [client.submit(functions.add, i, i) for i in range(size)],
        client.gather,
        [2 * i for i in range(size)],
    )


def mapped(client: Client, size: int) -> Samples:
    """Map over a range, gather."""
    return harness.whole(
        lambda: client.gather(client.map(functions.add, range(size), range(size))), [2 * i for i in range(size)]
    )


WORKS: Mapping[str, Function[Client]] = {
    "rtt": round_trip,
    "adds": adds,
    "map": mapped,
    "chord": chord_of_sums,
    **LANGUAGE.runs(),
    "chain": chain,
    **LANGUAGE.builds(),
}

if __name__ == "__main__":
    harness.main(WORKS, session)
