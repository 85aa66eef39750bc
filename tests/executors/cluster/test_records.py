"""Shapes survive the wire, and records say who has what."""

from __future__ import annotations

from array import array
from dataclasses import fields
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster.records import NOWHERE, RunRecord, held_shape, pack_shape, unpack_shape
from lazygraph.language.delayed import delayed
from lazygraph.language.promise import Delayed
from lazygraph.planning.plan import plan_of
from lazygraph.running.block import Block
from lazygraph.values.graph import Scope, Shape
from lazygraph.values.node import External, NodeScope
from lazygraph.values.options import DEFAULT


class Elsewhere(External):
    """Stands for a value of another run."""


def step(*inputs: Any) -> int:
    return len(inputs)


def as_columns(shape: Shape) -> dict[str, Any]:
    return {field.name: getattr(shape, field.name) for field in fields(shape)}


@given(st.lists(st.lists(st.integers(0, 5), max_size=3), min_size=1, max_size=12), st.booleans(), st.booleans())
def test_a_shape_is_the_same_on_the_other_side(reads: list[list[int]], optimized: bool, external: bool) -> None:
    nodes: list[Any] = [Elsewhere() if external else 1]
    for inputs in reads:
        nodes.append(delayed(step)(*(nodes[-1 - back % len(nodes)] for back in inputs)))
    shape = plan_of([nodes[-1], nodes[1]], optimize_graph=optimized).shape
    wire = m.decode(m.encode(m.Submit(1, "", True, pack_shape(shape), m.TablesOnWire([], 0), b"")))

    again = unpack_shape(wire.shape)  # type: ignore[union-attr]
    expected = as_columns(shape) | {"origins": tuple(map(str, shape.origins))}
    assert as_columns(again) == expected
    assert [type(again.function), again.kinds.__class__] == [array, bytes]


def test_scopes_and_their_failures_are_the_same_on_the_other_side() -> None:
    scope = NodeScope(NodeScope(None))
    lent = delayed(step)()
    node = Delayed(step, (lent,), None, DEFAULT, "", (), scope)
    scope.given.append(lent)
    scope.handlers.append(delayed(step)(scope.caught))
    shape = plan_of([node], optimize_graph=False).shape

    assert shape.scopes[1:] == (Scope(2, catch=0, given=(1,)), Scope(0, catch=-1))
    assert unpack_shape(pack_shape(shape)).scopes == shape.scopes


def test_held_values_are_outputs_and_nothing_else() -> None:
    shape = held_shape(["a", "b"])

    assert (shape.externals, len(shape), list(shape.outputs), list(shape.inputs)) == (2, 2, [0, 1], [])
    assert as_columns(unpack_shape(pack_shape(shape))) == as_columns(shape)


def test_holders_are_named_the_maker_first() -> None:
    shape = held_shape(["a", "b"])
    record = RunRecord(Block(0, shape, False), 1, 1, pack_shape(shape), m.TablesOnWire([], 0), b"")
    assert record.holders(0) == []

    record.home[0], record.replicas[0] = 5, [7, 6]
    assert record.holders(0) == [5, 7, 6]
    record.home[0] = NOWHERE
    assert record.holders(0) == [7, 6]
