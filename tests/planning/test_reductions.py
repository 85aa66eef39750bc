"""Small trees become one task each, for who asks for it."""

from __future__ import annotations

import gc
import operator
import weakref
from functools import partial
from typing import Any

import pytest

from lazygraph import compute, delayed, explain, replace, start
from lazygraph.errors import InvalidOption
from lazygraph.executors.cluster.records import last_name
from lazygraph.planning.fusing import fuse, fuse_reductions
from lazygraph.planning.lower import lower
from lazygraph.values.graph import Fused, Graph

plus = delayed(operator.add)
gather = delayed(lambda *args: list(args))
REDUCED = ["cull", "share", "inline", "fuse", "fuse_reductions", "order"]


def tree(leaves: int) -> Any:
    row = [plus(at, 0) for at in range(leaves)]
    while len(row) > 1:
        row = [plus(row[at], row[at + 1]) for at in range(0, len(row), 2)]
    return row[0]


def names(graph: Graph) -> list[str]:
    return [graph.shape.name_of(at) for at in graph.tasks()]


def calls_of(graph: Graph) -> list[int]:
    rows = [graph.tables.functions[graph.shape.function[at]] for at in graph.tasks()]
    return [len(row.steps) if isinstance(row, Fused) else 1 for row in rows]


@pytest.mark.parametrize(("most", "sizes"), [(1, {1: 31}), (3, {3: 10, 1: 1}), (7, {7: 4, 3: 1}), (31, {31: 1})])
def test_no_task_has_more_calls_than_was_said(most: int, sizes: dict[int, int]) -> None:
    sizes_of = calls_of(fuse_reductions(lower([tree(16)]), most))
    assert {size: sizes_of.count(size) for size in sizes_of} == sizes
    assert compute(tree(16), executor="sync", optimize_graph=[partial(fuse_reductions, most=most)]) == (120,)


def test_who_asks_for_it_is_told_what_it_did() -> None:
    (change,) = explain(tree(16), optimize_graph=["fuse", "fuse_reductions"]).passes
    assert (change.name, change.before, change.after) == ("fuse_reductions", 31, 3)
    assert change.why == "30 calls in 2 tasks, the largest of 15"


def test_nobody_has_it_unasked() -> None:
    assert [change.name for change in explain(tree(16)).passes if "reduc" in change.name] == []
    assert len(tree(16).graph.plan()) == 31


def test_what_is_read_twice_stays_and_is_read_once() -> None:
    shared = plus(1, 2)
    graph = fuse_reductions(lower([gather(plus(shared, 1), plus(shared, 2), plus(shared, 2))]))
    assert names(graph) == ["add", "add ×3 → <lambda>"]
    assert list(graph.shape.inputs_of(1)) == [0]
    assert compute(gather(plus(shared, 1), plus(shared, 2)), executor="sync", optimize_graph=REDUCED) == ([4, 5],)


def test_arguments_keep_their_places() -> None:
    minus = delayed(operator.sub)
    a, b, c = minus(10, 1), minus(20, 2), minus(30, 3)
    promise = gather(c, 0, a, c, gather(b, 5), minus(7, 1), *[a])
    assert compute(promise, executor="sync", optimize_graph=REDUCED) == ([27, 0, 9, 27, [18, 5], 6, 9],)


def test_containers_and_keywords_among_the_arguments() -> None:
    @delayed
    def named(*parts: Any, **rest: Any) -> Any:
        return parts, rest

    promise = named([plus(1, 1), {"two": plus(2, 2)}], three=plus(3, 3))
    assert compute(promise, executor="sync", optimize_graph=REDUCED) == ((([2, {"two": 4}],), {"three": 6}),)


def test_the_name_of_the_last_call_comes_last_and_is_that_of_the_key() -> None:
    minus, times = delayed(operator.sub), delayed(operator.mul)
    promise = minus(times(minus(5, 1), plus(1, 1)), plus(0, 1))
    (name,) = names(fuse_reductions(lower([promise])))
    assert name == "add ×2 → mul → sub ×2"
    run = start(promise, executor="sync", optimize_graph=REDUCED)
    assert run.result() == (7,)
    assert last_name(name) == "sub" == run.futures[0].key.partition("-")[0]


def test_chains_are_taken_in() -> None:
    promise = gather(*[plus(plus(plus(at, 1), 1), 1) for at in range(4)])
    graph = fuse_reductions(fuse(lower([promise])))
    assert calls_of(graph) == [13]
    assert compute(promise, executor="sync", optimize_graph=REDUCED) == ([3, 4, 5, 6],)


def test_what_was_asked_for_or_has_options_of_its_own_stays() -> None:
    asked = plus(1, 2)
    tried = delayed(operator.add, retries=2)(3, 4)
    for other in (asked, tried):
        graph = fuse_reductions(lower([gather(other, plus(5, 6)), asked]))
        assert set(calls_of(graph)) == {1}


def test_a_step_that_fails_is_named_and_has_its_line() -> None:
    bad = delayed(operator.truediv)(1, 0)
    with pytest.raises(ZeroDivisionError) as info:
        compute(gather(plus(1, 2), bad, plus(3, 4)), executor="sync", optimize_graph=REDUCED)
    (note,) = info.value.__notes__
    assert "truediv" in note
    assert "test_reductions.py" in note


def test_a_step_may_be_replaced() -> None:
    grown = delayed(lambda x: replace(plus(x, 100)))
    promise = gather(plus(1, 1), plus(plus(2, 2), grown(3)), plus(4, 4))
    assert compute(promise, executor="sync", optimize_graph=REDUCED) == ([2, 107, 8],)
    assert compute(promise, executor="threads", optimize_graph=REDUCED) == ([2, 107, 8],)


def test_values_are_let_go_when_they_have_been_taken() -> None:
    class Thing:
        pass

    alive: list[Any] = []

    def make(_: int) -> Thing:
        thing = Thing()
        alive.append(weakref.ref(thing))
        return thing

    def look(*things: Any) -> Any:
        gc.collect()
        return [at for at, seen in enumerate(alive) if seen() is not None]

    made = delayed(make)
    first = delayed(lambda a, b: "taken")(made(0), made(1))
    seen = delayed(look)(first, made(2))
    assert compute(seen, executor="sync", optimize_graph=REDUCED) == ([2],)


@pytest.mark.parametrize("most", [0, -1, 2**16])
def test_an_impossible_bound_is_refused(most: int) -> None:
    with pytest.raises(InvalidOption, match="calls in a task are possible"):
        fuse_reductions(lower([tree(2)]), most)
