"""Whatever the optimizer does, random workflows give what they give when they are run directly."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lazygraph import compute
from lazygraph.planning.exchange import from_networkx, to_networkx
from lazygraph.planning.lower import lift, lower
from lazygraph.planning.passes import OPTIONAL, PASSES, optimize
from lazygraph.running.program import Program
from lazygraph.values.graph import Graph
from tests.planning.graphs import Workflow, workflows


def values_of(graph: Graph) -> list[Any]:
    """Run a graph by its numbers, without an executor."""
    program = Program(graph.shape, graph.tables)
    values: dict[int, Any] = {}
    for at in graph.tasks():
        values[at] = program.run(at, values)
    return [values[at] for at in graph.shape.outputs]


def check(graph: Graph) -> None:
    """Every column has its length, inputs come first and once, arguments point at something."""
    shape = graph.shape
    n = len(shape)
    for column in (shape.template, shape.option, shape.scope, shape.origin):
        assert len(column) == n
    assert len(shape.input_offsets) == len(shape.argument_offsets) == n + 1
    assert shape.input_offsets[-1] == len(shape.inputs) == len(shape.kinds)
    assert shape.argument_offsets[-1] == len(shape.arguments)
    for at in range(n):
        reads = list(shape.inputs_of(at))
        assert len(set(reads)) == len(reads)
        assert all(0 <= read < at for read in reads)
        numbers = shape.arguments[shape.argument_offsets[at] : shape.argument_offsets[at + 1]]
        assert all(number < len(reads) for number in numbers)


@given(workflows())
def test_compute_gives_what_direct_evaluation_gives(workflow: Workflow) -> None:
    expected = tuple(workflow.values())
    assert compute(*workflow.promises(), executor="sync") == expected
    assert compute(*workflow.promises(), executor="sync", optimize_graph=False) == expected


@pytest.mark.parametrize(("name", "pass_"), [*PASSES.items(), *OPTIONAL.items()])
@given(workflow=workflows(wrapped=True))
def test_each_pass_keeps_the_values(name: str, pass_: Any, workflow: Workflow) -> None:
    graph = lower(workflow.promises())
    changed = pass_(graph)
    check(graph)
    check(changed)
    assert len(changed) <= len(graph)
    assert len(changed.shape.outputs) == len(workflow.asked)
    assert values_of(changed) == values_of(graph) == workflow.values()


@given(st.lists(st.sampled_from([*PASSES, *OPTIONAL]), max_size=7), workflows(largest=10, wrapped=True))
def test_passes_keep_the_values_and_the_options_in_any_order(names: list[str], workflow: Workflow) -> None:
    before = lower(workflow.promises())
    graph = optimize(before, names)
    check(graph)
    assert values_of(graph) == workflow.values()
    asked = [[one.shape.options[one.shape.option[at]] for at in one.shape.outputs] for one in (before, graph)]
    assert asked[0] == asked[1]


@given(workflows(wrapped=True))
def test_optimizing_twice_changes_nothing_more(workflow: Workflow) -> None:
    once = optimize(lower(workflow.promises()))
    twice = optimize(once)
    assert len(twice) == len(once)
    assert values_of(twice) == values_of(once)


@given(workflows())
def test_graphs_survive_pickles_lifting_and_networkx(workflow: Workflow) -> None:
    graph = lower(workflow.promises())
    expected = workflow.values()
    assert values_of(pickle.loads(pickle.dumps(graph))) == expected
    assert values_of(lower(lift(graph))) == expected
    again = from_networkx(to_networkx(graph))
    check(again)
    assert values_of(again) == expected


@given(workflows(), st.data())
def test_parts_of_a_workflow_can_be_asked_for(workflow: Workflow, data: st.DataObject) -> None:
    promises = workflow.promises()
    kept = data.draw(st.lists(st.sampled_from(range(len(promises))), min_size=1))
    graph = optimize(lower([promises[at] for at in kept]))
    assert values_of(graph) == [workflow.values()[at] for at in kept]
