"""concurrent.futures.ThreadPoolExecutor with two workers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from benchmarks.contenders import harness
from benchmarks.contenders.pools import WORKS


def session() -> ThreadPoolExecutor:
    """Open the pool; it ends with the ``with`` block."""
    return ThreadPoolExecutor(max_workers=2)


if __name__ == "__main__":
    harness.main(WORKS, session)
