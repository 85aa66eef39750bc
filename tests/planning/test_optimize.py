"""Optimizer passes: what each does, and what it leaves alone."""

from __future__ import annotations

import operator
from dataclasses import replace
from typing import Any

import pytest

from lazygraph import compute, delayed
from lazygraph.errors import DuplicateKey
from lazygraph.planning.fusing import fuse
from lazygraph.planning.lower import lower
from lazygraph.planning.optimize import cull, select
from lazygraph.planning.passes import OPTIONAL, PASSES, optimize
from lazygraph.planning.plan import plan_of
from lazygraph.planning.sharing import share
from lazygraph.running.program import Program
from lazygraph.values.graph import DATA, ORDER, Fused, Graph

plus = delayed(operator.add)
same = delayed(lambda *args: args, pure=True)


def names(graph: Graph) -> list[str]:
    return [graph.shape.name_of(at) for at in graph.tasks()]


def values_of(graph: Graph) -> list[Any]:
    program = Program(graph.shape, graph.tables)
    values: dict[int, Any] = {}
    for at in graph.tasks():
        values[at] = program.run(at, values)
    return [values[at] for at in graph.shape.outputs]


# -- cull ------------------------------------------------------------------------------------------


def test_cull_drops_what_nothing_needs() -> None:
    a, b = plus(1, 2), plus(3, 4)
    graph = lower([plus(a, 1), b])
    less = replace(graph, shape=replace(graph.shape, outputs=graph.shape.outputs[1:]))
    culled = cull(less)
    assert (len(graph), len(culled)) == (3, 1)
    assert values_of(culled) == [7]


def test_cull_keeps_callbacks() -> None:
    graph = lower([plus.s(1, 2).link(plus.s(3)).to_delayed()])
    assert cull(graph) is graph


@pytest.mark.parametrize(("name", "pass_"), [*PASSES.items(), *OPTIONAL.items()])
def test_a_pass_with_nothing_to_do_returns_its_argument(name: str, pass_: Any) -> None:
    graph = lower([plus(1, 2)])
    assert pass_(graph) is graph


def test_history_says_what_each_pass_did() -> None:
    graph = optimize(lower([same(plus(plus(1, 2), 3)), same(plus(1, 2)), same(1), same(1)]))
    assert [(change.name, change.before - change.after) for change in graph.history] == [("share", 1), ("fuse", 1)]


# -- share -----------------------------------------------------------------------------------------


def test_equal_pure_calls_run_once() -> None:
    called: list[int] = []

    @delayed(pure=True)
    def note(x: int) -> int:
        called.append(x)
        return x

    assert compute(note(note(1)), note(note(1)), [note(1)]) == (1, 1, [1])
    assert called == [1, 1]


def test_impure_calls_are_never_merged() -> None:
    graph = lower([plus(1, 2), plus(1, 2)])
    assert share(graph) is graph


class Equal:
    """Equal to everything, and not to be hashed."""

    def __init__(self, state: int = 0) -> None:
        self.state = state

    def __eq__(self, value: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


NAN = float("nan")


@pytest.mark.parametrize(
    ("left", "right", "merged"),
    [
        (1, 1, True),
        ("a", "a", True),
        (1000, int("1000"), True),
        (1.5, float("1.5"), True),
        (NAN, NAN, True),
        ([1, [2.0, "x"]], [1, [2.0, "x"]], True),
        ({"k": (1, 2)}, {"k": (1, 2)}, True),
        (slice(1, 2), slice(1, 2), True),
        (1j, 1j, True),
        (1, True, False),
        (1, 1.0, False),
        (0, False, False),
        (0.0, -0.0, False),
        (0j, -0j, False),
        ("a", b"a", False),
        (None, 0, False),
        ([1], [True], False),
        ([1], (1,), False),
        ([[1]], [[True]], False),
        ({"k": 1}, {"k": 1.0}, False),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, False),
        (slice(1, 2), slice(1, 2, None), True),
        (slice(1, 2), slice(1, 2, 1), False),
        (Equal(), Equal(), True),  # what a key says of an object is its class and state, not what it calls equal
        ([Equal(1)], [Equal(2)], False),
        (set(), frozenset(), False),
    ],
)
def test_a_hit_is_never_wrong(left: Any, right: Any, merged: bool) -> None:
    assert len(share(lower([same(left), same(right)]))) == (1 if merged else 2)
    assert len(share(lower([same([left, same()]), same([right, same()])]))) == (2 if merged else 3)


def test_unhashable_constants_are_the_same_when_they_are_one() -> None:
    one = Equal()
    assert len(share(lower([same(one), same(one)]))) == 1


def test_calls_that_differ_in_shape_function_or_options_are_not_merged() -> None:
    a = plus(1, 2)
    other = delayed(lambda *args: (*args,), pure=True)
    calls = [same(a, 1), same([a, 1]), same([a], 1), same(1, a), other(a, 1), same.options(queue="io")(a, 1)]
    assert len(share(lower(calls))) == len(calls) + 1


def test_merging_goes_all_the_way_up() -> None:
    def tower() -> Any:
        return same(same(same(plus_pure(1, 2)), 1), [same(5)])

    plus_pure = delayed(operator.add, pure=True)
    assert len(share(lower([tower(), tower()]))) == len(lower([tower()]))


def test_calls_with_one_key_are_one_node() -> None:
    assert len(share(lower([plus(1, 2, dask_key_name="k"), plus(1, 2, dask_key_name="k")]))) == 1
    with pytest.raises(DuplicateKey, match="two different calls have the key 'k'"):
        share(lower([plus(1, 2, dask_key_name="k"), plus(1, 3, dask_key_name="k")]))
    assert len(share(lower([plus(1, 2, dask_key_name="k"), plus(1, 2, dask_key_name="m")]))) == 2


def test_inputs_that_become_one_are_read_once() -> None:
    graph = share(lower([plus(same(1), same(1))]))
    assert list(graph.edges()) == [(0, 1)]
    assert values_of(graph) == [(1, 1)]


def test_reading_is_stronger_than_waiting() -> None:
    waits = (same.s(1) | plus.si(same(1), (2,))).to_delayed()
    graph = share(lower([waits]))
    assert list(graph.shape.kinds) == [DATA]
    assert values_of(graph) == [(1, 2)]


def test_thousands_of_inputs_that_become_one() -> None:
    graph = share(lower([same(*[same(1) for _ in range(5_000)])]))
    assert len(graph) == 2
    assert values_of(graph) == [((1,),) * 5_000]


# -- fuse ------------------------------------------------------------------------------------------


def test_a_chain_becomes_one_task_that_keeps_its_members_names() -> None:
    graph = fuse(lower([delayed(operator.neg)(delayed(abs)(plus(-5, 2)))]))
    assert names(graph) == ["add → abs → neg"]
    assert values_of(graph) == [-3]


def test_a_long_chain_has_a_short_name() -> None:
    node = plus(0, 1)
    for _ in range(9):
        node = plus(node, 1)
    assert names(fuse(lower([node]))) == ["add → add → … → add (10 calls)"]


def test_an_output_is_never_absorbed() -> None:
    a = plus(1, 2)
    b = plus(a, 3)
    c = plus(b, 4)
    graph = fuse(lower([c, b]))
    assert names(graph) == ["add → add", "add"]
    assert values_of(graph) == [10, 6]


def test_a_node_with_two_consumers_is_not_absorbed() -> None:
    a = plus(1, 2)
    graph = lower([plus(plus(a, 1), plus(a, 2))])
    assert fuse(graph) is graph


def test_nodes_with_other_options_are_not_joined() -> None:
    graph = lower([plus.options(queue="io")(plus(1, 2), 3)])
    assert fuse(graph) is graph
    same_queue = plus.options(queue="io")
    both = lower([same_queue(same_queue(1, 2), 3)])
    assert fuse(both) is both  # a queue is policy, and policy acts on tasks


def test_what_is_only_waited_for_is_not_joined() -> None:
    graph = (plus.s(1, 2) | plus.si(3, 4)).graph
    assert list(graph.shape.kinds) == [ORDER]
    assert fuse(graph) is graph


def test_a_callback_is_not_joined_to_what_it_is_told_of() -> None:
    graph = lower([plus.s(1, 2).link(plus.s(3)).to_delayed()])
    assert len(fuse(graph)) == 2


def test_the_previous_value_may_stand_anywhere_and_more_than_once() -> None:
    keep = delayed(lambda *args, **kwargs: (args, kwargs))
    a = plus(1, 2)
    b = keep(0, [a, {"n": a}], k=a)
    graph = fuse(lower([keep(b, 9)]))
    assert len(graph) == 1
    assert values_of(graph) == [(((((0, [3, {"n": 3}]), {"k": 3}), 9)), {})]


def test_chains_of_one_make_share_one_row() -> None:
    graph = fuse(lower([plus(plus(i, 1), 2) for i in range(50)]))
    assert len(graph) == 50
    assert sum(isinstance(function, Fused) for function in graph.tables.functions) <= 2


def test_an_error_in_a_fused_task_names_its_member() -> None:
    @delayed
    def broken(x: int) -> float:
        return x / 0

    promise = plus(broken(plus(1, 2)), 3)
    assert len(plan_of([promise])) == 1
    with pytest.raises(ZeroDivisionError) as caught:
        promise.compute()
    assert any("'broken'" in note and f"{__file__}:" in note for note in caught.value.__notes__)


# -- select ----------------------------------------------------------------------------------------


def test_select_renumbers() -> None:
    a, b = plus(1, 2), plus(10, 20)
    graph = lower([plus(a, b)])
    turned = select(graph, [1, 0, 2])
    assert values_of(turned) == values_of(graph) == [33]
    assert list(turned.shape.inputs_of(2)) == [1, 0]


def test_a_plan_says_what_it_needs_and_who_asked_first() -> None:
    plan = plan_of([plus.options(queue="io", name="Load")(1, 2), plus.options(queue="io", retries=1)(3, 4)])
    assert [(need.option, need.node) for need in plan.needs()] == [("queue", "Load"), ("retries", "add")]
    assert all(need.origin.startswith(__file__) for need in plan.needs())
    assert plan_of([plus(1, 2)]).needs() == []
