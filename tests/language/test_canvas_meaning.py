"""Random canvases mean what a page of plain Python says they mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lazygraph import chain, chord, delayed, group
from lazygraph.language.promise import Delayed
from lazygraph.running.program import Program


@delayed
def call(*args: Any, **kwargs: Any) -> Any:
    """The call itself, as a value: nothing that happens to it can be overlooked."""
    return ("call", args, tuple(kwargs.items()))


# -- the reference: a description of a canvas, and what it gives behind a prefix ---------------------


@dataclass
class Call:
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    immutable: bool = False

    def value(self, prefix: tuple[Any, ...]) -> Any:
        args = self.args if self.immutable else (*prefix, *self.args)
        return ("call", args, tuple(self.kwargs.items()))

    def canvas(self) -> Any:
        return (call.si if self.immutable else call.s)(*self.args, **self.kwargs)


@dataclass
class Steps:
    steps: list[Any]
    piped: bool = True
    said: bool = False

    def value(self, prefix: tuple[Any, ...]) -> Any:
        for step in self.steps:
            prefix = (step.value(prefix),)
        return prefix[0]

    def canvas(self) -> Any:
        steps = [step.canvas() for step in self.steps]
        if not self.piped:
            whole = chain(*steps)
        elif len(steps) == 1:
            whole = chain() | steps[0]
        else:
            whole = steps[0]
            for step in steps[1:]:
                whole = whole | step
        return whole.set(priority=1) if self.said else whole


@dataclass
class Side:
    members: list[Any]
    said: bool = False

    def value(self, prefix: tuple[Any, ...]) -> Any:
        values: list[Any] = []
        for member in self.members:
            value = member.value(prefix)
            values.extend(value if isinstance(member, Side) else [value])
        return values

    def canvas(self) -> Any:
        whole = group(member.canvas() for member in self.members)
        return whole.set(queue="io") if self.said else whole


@dataclass
class Bodied:
    header: list[Any]
    body: Any

    def value(self, prefix: tuple[Any, ...]) -> Any:
        return self.body.value((Side(self.header).value(prefix),))

    def canvas(self) -> Any:
        return chord([member.canvas() for member in self.header], self.body.canvas())


CALLS = st.builds(
    Call,
    st.lists(st.integers(0, 9), max_size=2).map(tuple),
    st.dictionaries(st.sampled_from("km"), st.integers(0, 9), max_size=1),
    st.booleans(),
)
CANVASES = st.recursive(
    CALLS,
    lambda inner: st.one_of(
        st.builds(Steps, st.lists(inner, min_size=1, max_size=4), st.booleans(), st.booleans()),
        st.builds(Side, st.lists(inner, max_size=4), st.booleans()),
        st.builds(Bodied, st.lists(inner, max_size=3), inner),
    ),
    max_leaves=12,
)


def evaluate(promise: Delayed) -> Any:
    """Run the graph of a promise node by node: an executor might refuse its options."""
    graph = promise.graph
    program = Program(graph.shape, graph.tables)
    values: dict[int, Any] = {}
    for at in graph.tasks():
        values[at] = program.run(at, values)
    return values[graph.shape.outputs[0]]


@given(CANVASES)
def test_a_canvas_means_what_the_reference_says(described: Any) -> None:
    assert evaluate(described.canvas().to_delayed()) == described.value(())


@given(CANVASES, st.lists(st.integers(), max_size=2))
def test_behind_other_values_too(described: Any, prefix: list[int]) -> None:
    assert evaluate(described.canvas().to_delayed(*prefix)) == described.value(tuple(prefix))


def plain(described: Any) -> Any:
    """The same without options, which an executor may refuse."""
    if isinstance(described, Steps):
        return Steps([plain(step) for step in described.steps], described.piped)
    if isinstance(described, Side):
        return Side([plain(member) for member in described.members])
    if isinstance(described, Bodied):
        return Bodied([plain(member) for member in described.header], plain(described.body))
    return described


@given(CANVASES.map(plain))
def test_and_the_sync_executor_says_the_same(described: Any) -> None:
    expected = described.value(())
    assert described.canvas().compute(executor="sync") == expected
    assert described.canvas().compute(executor="sync", optimize_graph=False) == expected


@given(CANVASES.map(plain), CANVASES.map(plain), CANVASES.map(plain))
def test_composing_is_associative_and_changes_no_operand(a: Any, b: Any, c: Any) -> None:
    x, y, z = a.canvas(), b.canvas(), c.canvas()
    texts = [repr(operand) for operand in (x, y, z)]
    left, right, flat = (x | y) | z, x | (y | z), chain(x, y, z)
    assert left.steps == right.steps == flat.steps
    assert left.compute() == Steps([a, b, c]).value(())
    assert [repr(operand) for operand in (x, y, z)] == texts
    assert y.to_delayed(1).compute() == b.value((1,))


@given(CANVASES.map(plain))
def test_lowering_twice_makes_fresh_nodes_of_the_same_meaning(described: Any) -> None:
    canvas = described.canvas()
    first, second = canvas.to_delayed(), canvas.to_delayed()
    assert first is not second
    assert evaluate(first) == evaluate(second)
