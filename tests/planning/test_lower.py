"""Lowering: promises become one graph."""

from __future__ import annotations

import operator
import pickle
from typing import Any

import pytest

from lazygraph import compute, delayed, group
from lazygraph.errors import NotImplementedYet
from lazygraph.language.promise import Delayed
from lazygraph.planning.fusing import fuse
from lazygraph.planning.lower import lift, lower
from lazygraph.planning.passes import optimize
from lazygraph.values.graph import DATA, ORDER, Fused, Graph
from lazygraph.values.node import External

plus = delayed(operator.add)


@delayed
def take(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
    return args, kwargs


def is_topological(graph: Graph) -> bool:
    return all(read < at for read, at in graph.edges())


def test_inputs_come_before_their_consumers() -> None:
    a = plus(1, 2)
    b = plus(a, 3)
    graph = lower([plus(b, a), b])
    assert is_topological(graph)
    assert len(graph) == 3
    assert list(graph.shape.outputs) == [2, 1]


def test_only_what_is_needed_is_in_the_graph() -> None:
    needed, unneeded = plus(1, 2), plus(3, 4)
    plus(needed, unneeded)
    assert len(lower([needed])) == 1


def test_a_node_used_twice_is_one_node_and_one_input() -> None:
    a = plus(1, 2)
    graph = lower([take(a, a, [a], k=a)])
    assert len(graph) == 2
    assert list(graph.edges()) == [(0, 1)]
    start, end = graph.shape.argument_offsets[1], graph.shape.argument_offsets[2]
    assert list(graph.shape.arguments[start:end]) == [0, 0, 0, 0]


def test_a_node_asked_for_twice_is_one_node_and_two_outputs() -> None:
    a = plus(1, 2)
    graph = lower([a, a, plus(a, 1), a])
    assert list(graph.shape.outputs) == [0, 0, 1, 0]
    assert compute(a, a, plus(a, 1), a) == (3, 3, 4, 3)


def test_a_large_constant_is_stored_once() -> None:
    large = list(range(1000))
    graph = lower([take(large, i) for i in range(5)])
    assert [constant for constant in graph.tables.constants if constant is large] == [large]


def test_equal_constants_of_different_types_stay_apart() -> None:
    values = compute(*[take(x) for x in (1, True, 1.0, 0, False, 0.0, -0.0)])
    assert [repr(args[0]) for args, _ in values] == ["1", "True", "1.0", "0", "False", "0.0", "-0.0"]


def test_functions_templates_and_options_are_stored_once() -> None:
    a = plus(1, 2)
    graph = lower([take([a, i], k=i) for i in range(10)])
    assert len(graph.tables.functions) == 2
    assert len(graph.tables.templates) == 2
    assert len(graph.shape.options) == 1
    assert len(set(graph.shape.origin)) == 2


def test_what_is_only_waited_for_is_an_order_input() -> None:
    a = plus.s(1, 2)
    graph = (a | plus.si(3, 4)).graph
    assert list(graph.edges()) == [(0, 1)]
    assert list(graph.shape.kinds) == [ORDER]
    assert compute(group(a, a) | plus.si(3, 4)) == (7,)


def test_what_is_read_and_waited_for_is_read() -> None:
    a = plus(1, 2)
    node = Delayed(operator.neg, (a,), after=(a,))
    graph = lower([node])
    assert list(graph.shape.kinds) == [DATA]


def test_callbacks_come_last_and_are_no_outputs() -> None:
    linked = (plus.s(1, 2).link(plus.s(3), plus.s(4)) | plus.s(5)).to_delayed()
    graph = lower([linked])
    assert len(graph) == 4
    assert list(graph.shape.outputs) == [1]
    assert list(graph.shape.callbacks) == [2, 3]


class Held(External):
    """A value that some executor holds."""


def test_externals_come_first_and_keep_their_objects() -> None:
    first, second = Held(), Held()
    graph = lower([take(plus(first, second), [second]), second])
    assert graph.externals == (first, second)
    assert graph.shape.externals == 2
    assert len(graph) == 2
    assert list(graph.shape.outputs) == [3, 1]
    assert is_topological(graph)
    assert graph.shape.name_of(0) == "external"


def test_externals_whose_values_are_given_are_constants() -> None:
    first, second = Held(), Held()
    graph = lower([take(first, second), first], {first: 5})
    assert graph.externals == (second,)
    assert 5 in graph.tables.constants
    waiting = Delayed(operator.neg, (1,), after=(first, second))
    graph = lower([waiting], {first: 5})
    assert list(graph.shape.inputs) == [0]


def test_an_external_can_be_waited_for() -> None:
    held = Held()
    graph = lower([Delayed(operator.neg, (1,), after=(held,))])
    assert graph.externals == (held,)
    assert list(graph.shape.kinds) == [ORDER]


def test_lifting_gives_back_what_was_lowered() -> None:
    a = plus(1, 2)
    asked = [take(a, [a], k={"n": a}), a, (plus.s(1, 1) | plus.si(a, 9)).to_delayed()]
    lifted = lift(lower(asked))
    assert compute(*lifted) == compute(*asked)
    again, before = lower(lifted), lower(asked)
    assert list(again.edges()) == list(before.edges())
    assert again.shape.kinds == before.shape.kinds
    assert [again.shape.origin_of(at) for at in again.tasks()] == [before.shape.origin_of(at) for at in before.tasks()]


def test_a_fused_graph_is_not_taken_apart() -> None:
    graph = fuse(lower([plus(plus(1, 2), 3)]))
    assert any(isinstance(function, Fused) for function in graph.tables.functions)
    with pytest.raises(NotImplementedYet, match="fused"):
        lift(graph)
    assert pickle.loads(pickle.dumps(graph)).tables.functions[-1] == graph.tables.functions[-1]


def test_an_empty_list_of_outputs_is_an_empty_graph() -> None:
    graph = lower([])
    assert len(graph) == 0
    assert optimize(graph).history == ()
    assert compute() == ()
    assert compute(1, [2]) == (1, [2])
