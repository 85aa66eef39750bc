"""Ray with two CPUs, no dashboard. A call runs at once, so building is only timed for its lazy ``bind``."""
# mypy: disable-error-code="import-not-found,import-untyped"
# pyright: reportMissingImports=false

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory

import ray

from benchmarks.contenders import functions, harness, shapes
from benchmarks.contenders.harness import Samples

add = ray.remote(functions.add)
sum_of = ray.remote(functions.sum_of)


@contextmanager
def session() -> Iterator[None]:
    """Start Ray on loopback, with its session files where they end with it."""
    with TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as scratch:
        ray.init(
            num_cpus=2, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1", _temp_dir=scratch
        )
        try:
            yield
        finally:
            ray.shutdown()


def round_trip(_: None, size: int) -> Samples:
    """Call one, get it."""
    return harness.one_by_one(lambda x, y: ray.get(add.remote(x, y)), size)


def adds(_: None, size: int) -> Samples:
    """Call in a loop, get the list."""
    return harness.in_two_parts(lambda: shapes.independent(add.remote, size), ray.get, [2 * i for i in range(size)])


def mapped(_: None, size: int) -> Samples:
    """Call in a loop, get the list: Ray has no map."""
    return harness.whole(lambda: ray.get(shapes.independent(add.remote, size)), [2 * i for i in range(size)])


def merge(_: None, size: int) -> Samples:
    """Call the adds and a sum of their references; a chord is the same thing here."""
    return harness.whole(
        lambda: ray.get(sum_of.remote(*shapes.independent(add.remote, size))), shapes.sum_of_independent(size)
    )


def tree(_: None, size: int) -> Samples:
    """Call on references, pairwise."""
    expected = shapes.sum_of_independent(shapes.leaves(size))
    return harness.whole(lambda: ray.get(shapes.tree(add.remote, size)), expected)


def chain(_: None, size: int) -> Samples:
    """Call on the reference of the call before; Ray fuses nothing."""
    return harness.unfused_too(harness.whole(lambda: ray.get(shapes.chain(add.remote, size)), size))


WORKS = {
    "rtt": round_trip, "adds": adds, "map": mapped, "chord": merge, "merge": merge, "tree": tree, "chain": chain,
    "build-independent": lambda _, n: harness.build_only(lambda: shapes.independent(add.bind, n)),
    "build-tree": lambda _, n: harness.build_only(lambda: shapes.tree(add.bind, n)),
    "build-chain": lambda _, n: harness.build_only(lambda: shapes.chain(add.bind, n)),
    "build-fan-in": lambda _, n: harness.build_only(lambda: sum_of.bind(*shapes.independent(add.bind, n))),
}  # fmt: skip

if __name__ == "__main__":
    harness.main(WORKS, session)
