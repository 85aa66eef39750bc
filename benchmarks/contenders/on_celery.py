"""Celery with a prefork worker of two processes and redis for broker and results, all started here on loopback."""
# mypy: disable-error-code="import-not-found,import-untyped"
# pyright: reportMissingImports=false

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from tempfile import TemporaryDirectory
from types import ModuleType

import celery

from benchmarks.contenders import celery_app, harness, shapes
from benchmarks.contenders.harness import Samples

READY_WITHIN = 60.0


@contextmanager
def session() -> Iterator[ModuleType]:
    """Start redis and a worker; give the application module, connected to them."""
    with ExitStack() as stack:
        scratch = stack.enter_context(TemporaryDirectory(prefix="celery-"))
        port = _free_port()
        redis = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", scratch, "--save", ""]
        stack.enter_context(_running(redis))
        os.environ["CELERY_BROKER_URL"] = os.environ["CELERY_RESULT_BACKEND"] = f"redis://127.0.0.1:{port}/0"
        worker = ["celery", "-A", "benchmarks.contenders.celery_app", "worker", "--pool", "prefork", "-c", "2"]
        quiet = ["--loglevel", "ERROR", "--without-mingle", "--without-gossip"]
        stack.enter_context(_running([sys.executable, "-m", *worker, *quiet]))
        celery_app.add.delay(1, 1).get(timeout=READY_WITHIN)
        yield celery_app


@contextmanager
def _running(command: list[str]) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=READY_WITHIN)


def _free_port() -> int:
    """Return a port that is free now; redis cannot choose one for itself and say which."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def round_trip(app: ModuleType, size: int) -> Samples:
    """Delay one, get it."""
    return harness.one_by_one(lambda x, y: app.add.delay(x, y).get(), size)


def adds(app: ModuleType, size: int) -> Samples:
    """Delay in a loop, then take every result."""
    return harness.in_two_parts(
        lambda: shapes.independent(app.add.delay, size),
        lambda results: [result.get() for result in results],
        [2 * i for i in range(size)],
    )


def mapped(app: ModuleType, size: int) -> Samples:
    """Delay a group, get its results."""
    return harness.whole(
        lambda: celery.group(shapes.independent(app.add.s, size)).delay().get(), [2 * i for i in range(size)]
    )


def build_merge(app: ModuleType, size: int) -> celery.chord:
    """Make a chord out of many adds and one sum."""
    return celery.chord(shapes.independent(app.add.s, size), app.tsum.s())


def merge(app: ModuleType, size: int) -> Samples:
    """Build a chord, start it, get the sum."""
    return harness.in_two_parts(
        lambda: build_merge(app, size), lambda canvas: canvas.delay().get(), shapes.sum_of_independent(size)
    )


def build_tree(app: ModuleType, levels: int) -> celery.chord:
    """Nest chords of two, the way a canvas can say a tree."""

    def call(left: object, right: object) -> object:
        return app.add.s(left, right) if isinstance(left, int) else celery.chord([left, right], app.tsum.s())

    return shapes.tree(call, levels)


def tree(app: ModuleType, levels: int) -> Samples:
    """Build the nested chords, start them, get the sum."""
    return harness.in_two_parts(
        lambda: build_tree(app, levels),
        lambda canvas: canvas.delay().get(),
        shapes.sum_of_independent(shapes.leaves(levels)),
    )


def build_chain(app: ModuleType, size: int) -> celery.chain:
    """Make one chain out of a list of signatures, the quickest way there is."""
    return celery.chain(app.add.s(0, 1), *[app.add.s(1) for _ in range(size - 1)])


def chain(app: ModuleType, size: int) -> Samples:
    """Build a chain, start it, get the last value; Celery fuses nothing."""
    samples = harness.in_two_parts(lambda: build_chain(app, size), lambda canvas: canvas.delay().get(), size)
    return harness.unfused_too(samples)


WORKS = {
    "rtt": round_trip, "adds": adds, "map": mapped, "chord": merge, "merge": merge, "tree": tree, "chain": chain,
    "build-independent": lambda app, n: harness.build_only(lambda: shapes.independent(app.add.s, n)),
    "build-tree": lambda app, n: harness.build_only(lambda: build_tree(app, n)),
    "build-chain": lambda app, n: harness.build_only(lambda: build_chain(app, n)),
    "build-fan-in": lambda app, n: harness.build_only(lambda: build_merge(app, n)),
}  # fmt: skip

if __name__ == "__main__":
    harness.main(WORKS, session)
