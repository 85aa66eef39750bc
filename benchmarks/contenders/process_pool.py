"""concurrent.futures.ProcessPoolExecutor with two workers."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor

from benchmarks.contenders import harness
from benchmarks.contenders.pools import WORKS


def session() -> ProcessPoolExecutor:
    """Open the pool; it ends with the ``with`` block."""
    return ProcessPoolExecutor(max_workers=2)


if __name__ == "__main__":
    harness.main(WORKS, session)
