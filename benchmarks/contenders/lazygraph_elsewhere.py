"""lazygraph on the engines of other people: LAZYGRAPH_ENGINE says on which, started as that contender starts it.

LAZYGRAPH_TOGETHER is how many tasks a message of Celery's may have.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from benchmarks.contenders import harness
from benchmarks.contenders.harness import Function
from benchmarks.contenders.lazygraph_language import LANGUAGE, chain, chord_of_sums, mapped
from benchmarks.contenders.lazygraph_threads import adds, round_trip
from lazygraph import executors, use


def _executor(engine: str, what: Any) -> Any:
    if engine == "dask":
        return executors.DaskExecutor(what)
    if engine == "ray":
        return executors.RayExecutor()
    from benchmarks.contenders.celery_app import app  # type: ignore[import-untyped, unused-ignore]

    return executors.CeleryExecutor(app, together=int(os.environ.get("LAZYGRAPH_TOGETHER", "1")))


@contextmanager
def session() -> Iterator[None]:
    """Start the engine as its own contender does; make it the default executor inside the block."""
    engine = os.environ["LAZYGRAPH_ENGINE"]
    native = importlib.import_module(f"benchmarks.contenders.on_{engine}")
    with native.session() as what, _executor(engine, what) as executor, use(executor):
        yield


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
