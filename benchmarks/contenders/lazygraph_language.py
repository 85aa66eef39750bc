"""lazygraph's own words for the works, the same for each of its executors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from benchmarks.contenders import functions, harness, shapes
from benchmarks.contenders.harness import Samples
from benchmarks.contenders.lazy_graphs import Language
from lazygraph import chord, compute, delayed

add: Any = delayed(functions.add)
tsum: Any = delayed(functions.tsum)

LANGUAGE = Language(add, tsum, run=lambda node: node.compute())
UNFUSED = replace(LANGUAGE, run=lambda node: node.compute(optimize_graph=False))


def chain(_: object, size: int) -> Samples:
    """Build and run the chain as built, then one with the optimizer off: one task a call."""
    return {**LANGUAGE.chain(size), "unfused": UNFUSED.chain(size)["total"]}


def mapped(_: object, size: int) -> Samples:
    """Compute independent calls on the context's executor: one plan, as a client's map is."""
    return harness.whole(lambda: [*compute(*shapes.independent(add, size))], [2 * i for i in range(size)])


def chord_of_sums(_: object, size: int) -> Samples:
    """Compute a chord on the context's executor."""
    return harness.whole(
        lambda: chord((add.s(i, i) for i in range(size)), tsum.s()).compute(),
        shapes.sum_of_independent(size),
    )
