"""The order of running: as few values alive as can be, by Sethi and Ullman's rule."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lazygraph import delayed
from lazygraph.planning.lower import lower
from lazygraph.planning.optimize import reorder
from lazygraph.planning.order import depth_first, needs
from lazygraph.values.graph import Shape, consumers_of

join = delayed(lambda *args: args)


def peak(shape: Shape, order: list[int]) -> int:
    """The most values alive at once when tasks run in this order; a value goes when its last consumer has run."""
    offsets, _ = consumers_of(shape)
    unread = [offsets[at + 1] - offsets[at] for at in range(len(shape))]
    outputs = set(shape.outputs)
    alive: set[int] = set()
    most = 0
    for at in order:
        for read in shape.inputs_of(at):
            unread[read] -= 1
            if not unread[read] and read not in outputs:
                alive.discard(read)
        alive.add(at)
        most = max(most, len(alive))
    return most


def orders(shape: Shape) -> Iterator[list[int]]:
    """Every order in which the tasks could run."""
    stack: list[list[int]] = [[]]
    while stack:
        done = stack.pop()
        if len(done) == len(shape):
            yield done
            continue
        ready = (at for at in range(len(shape)) if at not in done and all(r in done for r in shape.inputs_of(at)))
        stack.extend([*done, at] for at in ready)


def order_of(shape: Shape) -> list[int]:
    return depth_first(shape) or list(range(len(shape)))


# A tree as nested lists: a node is the list of its inputs.
TREES: st.SearchStrategy[list[Any]] = st.recursive(
    st.just([]), lambda inner: st.lists(inner, min_size=1, max_size=3), max_leaves=5
)


def size(tree: list[Any]) -> int:
    return 1 + sum(map(size, tree))


def promise(tree: list[Any]) -> Any:
    return join(*[promise(inner) for inner in tree])


@given(TREES.filter(lambda tree: size(tree) <= 8))
def test_no_order_of_a_tree_needs_less(tree: list[Any]) -> None:
    shape = lower([promise(tree)]).shape
    least = min(peak(shape, order) for order in orders(shape))
    assert peak(shape, order_of(shape)) == least
    assert needs(shape)[0][shape.outputs[0]] == least


@given(TREES)
def test_reordering_a_graph_makes_its_numbers_the_order(tree: list[Any]) -> None:
    graph = lower([promise(tree)])
    shape = reorder(graph).shape
    assert peak(shape, list(range(len(shape)))) == peak(graph.shape, order_of(graph.shape))
    assert all(read < at for read, at in reorder(graph).edges())


def test_the_hungriest_input_goes_first() -> None:
    light = join(1)
    heavy = join(join(join(1), join(2)), join(join(3), join(4)))
    shape = lower([join(light, heavy)]).shape
    assert peak(shape, list(range(len(shape)))) == 4
    assert peak(shape, order_of(shape)) == 3


def test_a_wide_reduction_holds_the_logarithm() -> None:
    level = [join(i) for i in range(1024)]
    while len(level) > 1:
        level = [join(a, b) for a, b in zip(level[::2], level[1::2], strict=True)]
    graph = reorder(lower(level))
    assert peak(graph.shape, list(range(len(graph.shape)))) == 11


@st.composite
def dags(draw: st.DrawFn) -> list[Any]:
    made = [join()]
    for _ in range(draw(st.integers(0, 15))):
        made.append(join(*draw(st.lists(st.sampled_from(made), max_size=4, unique_by=id))))
    return draw(st.lists(st.sampled_from(made), min_size=1, max_size=3))


@given(dags())
def test_every_entry_is_in_the_order_once_and_after_its_inputs(asked: list[Any]) -> None:
    shape = lower(asked).shape
    order = order_of(shape)
    assert sorted(order) == list(range(len(shape)))
    place = {at: rank for rank, at in enumerate(order)}
    assert all(place[read] < place[at] for at in range(len(shape)) for read in shape.inputs_of(at))
