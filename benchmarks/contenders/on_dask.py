"""Dask distributed: two worker processes with one thread each, no dashboard; settings come from the environment."""
# mypy: disable-error-code="import-not-found,import-untyped,no-untyped-call"
# pyright: reportMissingImports=false

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory

from dask import config
from dask.delayed import delayed
from distributed import Client, LocalCluster

from benchmarks.contenders import functions, harness, shapes
from benchmarks.contenders.harness import Samples
from benchmarks.contenders.lazy_graphs import Language

LANGUAGE = Language(
    delayed(functions.add, pure=False),
    delayed(functions.tsum, pure=False),
    run=lambda node: node.compute(),
)


@contextmanager
def session() -> Iterator[Client]:
    """Start the cluster; its client is the default scheduler inside the block."""
    with (
        TemporaryDirectory(prefix="dask-") as scratch,
        config.set({"temporary-directory": scratch}),
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",  # None would leave the scheduler's HTTP server on its fixed port
            scheduler_kwargs={"dashboard": False},
        ) as cluster,
        Client(cluster) as client,
    ):
        client.wait_for_workers(2, timeout=30)
        yield client


def round_trip(client: Client, size: int) -> Samples:
    """Submit one, wait for it; impure, so that no result is found in memory."""
    return harness.one_by_one(lambda x, y: client.submit(functions.add, x, y, pure=False).result(), size)


def adds(client: Client, size: int) -> Samples:
    """Submit in a loop, gather."""
    return harness.in_two_parts(
        lambda: [client.submit(functions.add, i, i, pure=False) for i in range(size)],
        client.gather,
        [2 * i for i in range(size)],
    )


def mapped(client: Client, size: int) -> Samples:
    """Map over a range, gather."""
    return harness.whole(
        lambda: client.gather(client.map(functions.add, range(size), range(size), pure=False)),
        [2 * i for i in range(size)],
    )


def chord(client: Client, size: int) -> Samples:
    """Submit the adds and a sum that takes their futures."""

    def run() -> object:
        futures = [client.submit(functions.add, i, i, pure=False) for i in range(size)]
        return client.submit(functions.tsum, futures, pure=False).result()

    return harness.whole(run, shapes.sum_of_independent(size))


def chain(_: Client, size: int) -> Samples:
    """Build and run the chain; Dask fuses nothing unless it is told to."""
    samples = LANGUAGE.chain(size)
    return samples if config.get("optimization.fuse.delayed") else harness.unfused_too(samples)


WORKS = {
    "rtt": round_trip, "adds": adds, "map": mapped, "chord": chord, **LANGUAGE.runs(), "chain": chain,
    **LANGUAGE.builds(),
}  # fmt: skip

if __name__ == "__main__":
    harness.main(WORKS, session)
