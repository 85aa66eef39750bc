"""What can be done with a graph."""

from __future__ import annotations

import operator
from pathlib import Path
from typing import Any

import pytest

from lazygraph import delayed, group

plus = delayed(operator.add)


@pytest.fixture
def graph() -> Any:
    return group(plus.s(plus(1, 1), at) for at in range(3)).graph


def test_computing_gives_the_value_of_each_output(graph: Any) -> None:
    assert graph.compute() == graph.compute(executor="sync") == (2, 3, 4)
    assert plus(1, 2).graph.compute() == (3,)


def test_a_graph_says_what_it_is(graph: Any) -> None:
    assert "6 nodes, 3 edges" in str(graph.explain())
    assert graph.check() == []


def test_a_graph_is_drawn_as_it_is(graph: Any, tmp_path: Path) -> None:
    graph.visualize(str(tmp_path / "graph.svg"))
    assert (tmp_path / "graph.svg").read_text().startswith("<svg")
    assert graph._repr_svg_().startswith("<svg")


def test_a_value_may_have_a_method_to_json() -> None:
    class Table:
        def to_json(self) -> str:
            return "its own"

    assert delayed(Table)().to_json().compute() == "its own"
