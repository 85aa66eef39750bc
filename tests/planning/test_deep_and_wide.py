"""Long chains and wide fans: no recursion, and the same cost for every node, however many there are."""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable
from typing import Any

import pytest

from lazygraph import compute, delayed, group
from lazygraph.planning.lower import lift, lower
from lazygraph.planning.order import depth_first
from lazygraph.planning.passes import PASSES, optimize
from lazygraph.planning.plan import plan_of

LONG = 100_000

plus = delayed(operator.add)
pure = delayed(operator.add, pure=True)
total = delayed(lambda *values: sum(values))


def chain_of(n: int, function: Any = plus) -> Any:
    node = function(0, 1)
    for _ in range(n - 1):
        node = function(node, 1)
    return node


def test_a_chain_of_100_000_nodes() -> None:
    node = chain_of(LONG)
    graph = lower([node])
    assert len(graph) == LONG
    assert len(optimize(graph)) == 1
    assert lift(graph)[0].compute() == LONG
    assert node.compute() == LONG
    assert node.compute(optimize_graph=False) == LONG


def test_two_equal_pure_chains_of_100_000_nodes_are_shared() -> None:
    graph = lower([chain_of(LONG, pure), chain_of(LONG, pure)])
    assert (len(graph), len(optimize(graph))) == (2 * LONG, 1)


def test_a_ladder_that_cannot_be_fused() -> None:
    left, right = plus(0, 1), plus(0, 1)
    for _ in range(LONG // 2):
        left, right = plus(left, right), plus(right, 0)
    assert len(optimize(lower([left, right]))) == LONG + 2


@pytest.mark.parametrize("make", [lambda parts: total(*parts), lambda parts: delayed(sum)(parts)])
def test_a_fan_in_of_5_000(make: Callable[[list[Any]], Any]) -> None:
    graph = optimize(lower([make([plus(i, 1) for i in range(5_000)])]))
    assert len(graph) == 5_001
    assert compute(make([plus(i, 1) for i in range(5_000)])) == (sum(range(1, 5_001)),)


def test_a_fan_out_of_5_000() -> None:
    source = plus(1, 1)
    assert compute(*[plus(source, i) for i in range(5_000)]) == tuple(range(2, 5_002))


def test_a_group_of_thousands_behind_a_group_of_thousands() -> None:
    canvas = group(plus.s(i, 0) for i in range(2_000)) | group(delayed(len).s() for _ in range(2_000))
    assert len(list(canvas.graph.edges())) == 4_000


# -- cost, in calls of functions -------------------------------------------------------------------


def calls_made(work: Callable[[], Any]) -> int:
    """Count the calls, of Python and of built-in functions, that `work` makes."""
    count = 0

    def note(frame: Any, event: str, arg: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def tree_of(n: int) -> Any:
    level = [plus(i, 1) for i in range(n // 2)]
    while len(level) > 1:
        level = [plus(a, b) for a, b in zip(level[::2], level[1::2], strict=False)] + level[len(level) & ~1 :]
    return level[0]


def diamonds(n: int) -> Any:
    node = plus(0, 1)
    for _ in range(n // 3):
        node = plus(plus(node, 1), plus(node, 2))
    return node


def linked(n: int) -> Any:
    return group(plus.s(i, 1).link(plus.s(1)) for i in range(n // 3)).to_delayed()


MAKERS = [chain_of, tree_of, diamonds, linked, lambda n: total(*[plus(i, 1) for i in range(n)])]
WORK: dict[str, Callable[[Any], Any]] = {
    "lower": lambda asked: lower([asked]),
    "plan": lambda asked: plan_of([asked]),
    "lift": lambda asked: lift(lower([asked])),
    "order": lambda asked: depth_first(lower([asked]).shape),
    **{name: (lambda asked, pass_=pass_: pass_(lower([asked]))) for name, pass_ in PASSES.items()},
}


@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize("make", MAKERS, ids=["chain", "tree", "diamonds", "callbacks", "fan-in"])
def test_every_node_costs_the_same_however_many_there_are(make: Callable[[int], Any], work: str) -> None:
    few, many = make(600), make(6_000)
    WORK[work](few)  # what is done once, such as imports and caches, is not the matter
    assert calls_made(lambda: WORK[work](many)) < 11 * calls_made(lambda: WORK[work](few))


@pytest.mark.parametrize("make", MAKERS, ids=["chain", "tree", "diamonds", "callbacks", "fan-in"])
def test_building_costs_the_same_for_every_node(make: Callable[[int], Any]) -> None:
    make(600)
    assert calls_made(lambda: make(6_000)) < 11 * calls_made(lambda: make(600))
