"""lazygraph on two threads of this process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from benchmarks.contenders import harness
from benchmarks.contenders.harness import Function, Samples
from benchmarks.contenders.lazygraph_language import LANGUAGE, add, chain, chord_of_sums, mapped
from lazygraph import use
from lazygraph.executors import ThreadExecutor


@contextmanager
def session() -> Iterator[None]:
    """Make two threads the default executor inside the block."""
    with ThreadExecutor(n_threads=2) as executor, use(executor):
        yield


def round_trip(_: None, size: int) -> Samples:
    """Start one, wait for it."""
    return harness.one_by_one(lambda x, y: add.delay(x, y).get(), size)


def adds(_: None, size: int) -> Samples:
    """Start in a loop, then take every result."""
    return harness.in_two_parts(
        lambda: [add.delay(i, i) for i in range(size)],
        lambda futures: [future.get() for future in futures],
        [2 * i for i in range(size)],
    )


WORKS: Mapping[str, Function[None]] = {
    "rtt": round_trip,
    "adds": adds,
    "map": mapped,
    "chord": chord_of_sums,
    **LANGUAGE.runs(),
    "chain": chain,
}

if __name__ == "__main__":
    harness.main(WORKS, session)
