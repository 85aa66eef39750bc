"""How many values one worker holds at once, against a count of those that are there after every step."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lazygraph import delayed, explain
from lazygraph.showing.held import most_held
from lazygraph.values.graph import offsets_of


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[list[int]], list[int], int]:
    size = draw(st.integers(0, 12))
    externals = draw(st.integers(0, size))
    reads = [
        draw(st.lists(st.integers(0, node - 1), max_size=3)) if node >= max(externals, 1) else []
        for node in range(size)
    ]
    outputs = draw(st.lists(st.integers(0, size - 1), max_size=3)) if size else []
    return reads, outputs, externals


@given(graphs())
def test_it_is_the_most_that_is_there_at_once(graph: tuple[list[list[int]], list[int], int]) -> None:
    reads, outputs, externals = graph
    alive: set[int] = set()
    most = 0
    for node in range(externals, len(reads)):
        alive.add(node)
        most = max(most, len(alive))
        wanted = {read for later in reads[node + 1 :] for read in later} | set(outputs)
        alive &= wanted
    flat = [read for each in reads for read in each]
    assert most_held(offsets_of([len(each) for each in reads]), flat, outputs, externals) == most


def test_of_a_chain_two_of_a_fan_all() -> None:
    inc, total = delayed(lambda x: x + 1), delayed(lambda values: sum(values))
    node = inc(0)
    for _ in range(9):
        node = inc(node)
    assert explain(node, optimize_graph=False).held == 2
    assert explain(total([inc(at) for at in range(9)])).held == 10


def test_a_graph_of_100_000() -> None:
    size = 100_000
    assert most_held([0, *range(size)], range(size - 1), [size - 1]) == 2
