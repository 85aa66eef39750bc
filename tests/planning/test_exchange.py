"""Graphs from and to networkx."""

from __future__ import annotations

import operator
import subprocess
import sys
from typing import Any

import networkx
import pytest
from hypothesis import given

from lazygraph import Graph, compute, delayed, group
from lazygraph.errors import CyclicGraph, InvalidOption, NotImplementedYet, UnknownOption, WrongCall
from lazygraph.planning.exchange import Input, from_networkx, promises_of, to_networkx
from lazygraph.planning.lower import lift, lower
from lazygraph.planning.optimize import optimize
from tests.language.canvases import Described, Language, Speller, often

plus = delayed(operator.add)


def small() -> Any:
    graph = networkx.DiGraph()
    graph.add_node("a", value=20)
    graph.add_node("b", function=operator.add, args=(Input("a"), 1))
    graph.add_node("c", function=lambda *args, **kwargs: (args, kwargs), args=([Input("b")],), kwargs={"k": Input("a")})
    graph.add_edges_from([("a", "b"), ("a", "c"), ("b", "c")])
    return graph


def test_a_networkx_graph_becomes_promises() -> None:
    made = promises_of(small())
    assert compute(made["a"], made["b"], made["c"]) == (20, 21, (([21],), {"k": 20}))
    assert f"'c' built at {__file__}:" in repr(made["c"])


def test_and_a_graph_of_what_nothing_reads_or_of_what_is_asked_for() -> None:
    assert compute(*lift(from_networkx(small()))) == ((([21],), {"k": 20}),)
    asked = small()
    asked.nodes["b"]["output"] = True
    assert compute(*lift(from_networkx(asked))) == (21,)
    assert len(from_networkx(asked)) == 2


def test_without_arguments_the_predecessors_are_the_arguments() -> None:
    graph = networkx.DiGraph()
    for name, value in (("x", 7), ("y", 2)):
        graph.add_node(name, value=value)
    graph.add_node("rest", function=divmod)
    graph.add_edges_from([("x", "rest"), ("y", "rest")])
    assert promises_of(graph)["rest"].compute() == (3, 1)


def test_an_edge_that_no_argument_mentions_is_only_waited_for() -> None:
    seen: list[str] = []
    graph = networkx.DiGraph()
    graph.add_node("second", function=lambda: list(seen), args=())
    graph.add_node("first", function=lambda: seen.append("first"))
    graph.add_edge("first", "second")
    assert promises_of(graph)["second"].compute() == ["first"]


def test_a_node_may_have_options() -> None:
    graph = networkx.DiGraph()
    graph.add_node("a", function=int, options={"queue": "io"})
    assert promises_of(graph)["a"]._options.queue == "io"
    graph.add_node("b", function=int, options={"quewe": "io"})
    with pytest.raises(UnknownOption, match="node 'b' has no option 'quewe'; did you mean 'queue'"):
        promises_of(graph)


def test_a_cycle_is_named() -> None:
    graph = networkx.DiGraph([("a", "b"), ("b", "c"), ("c", "a"), ("c", "d")])
    for node in graph:
        graph.nodes[node]["function"] = int
    with pytest.raises(CyclicGraph, match="the graph has a cycle: a -> b -> c -> a;"):
        from_networkx(graph)
    itself = networkx.DiGraph([("a", "a")])
    itself.nodes["a"]["function"] = int
    with pytest.raises(ValueError, match="a -> a"):
        promises_of(itself)


def test_what_is_no_call_is_refused_by_name() -> None:
    with pytest.raises(InvalidOption, match="node 'x' has neither a function nor a value"):
        from_networkx(networkx.DiGraph([("x", "y")]))
    with pytest.raises(InvalidOption, match="undirected"):
        from_networkx(networkx.Graph())
    lost = networkx.DiGraph()
    lost.add_node("b", function=int, args=(Input("a"),))
    with pytest.raises(InvalidOption, match="node 'b' reads 'a', but no edge"):
        from_networkx(lost)


def test_a_graph_becomes_a_networkx_graph() -> None:
    a = plus(1, 2)
    nx_graph = to_networkx(lower([plus(a, [a, 5]), a]))
    assert networkx.is_directed_acyclic_graph(nx_graph)
    assert list(nx_graph.edges(data="kind")) == [(0, 1, "data")]
    assert nx_graph.nodes[0]["function"] is operator.add
    assert nx_graph.nodes[0]["args"] == (1, 2)
    assert nx_graph.nodes[1]["args"] == (Input(0), [Input(0), 5])
    assert [nx_graph.nodes[at]["output"] for at in (0, 1)] == [True, True]
    assert nx_graph.nodes[1]["origin"].startswith(__file__)


def test_order_and_names_survive_both_ways() -> None:
    canvas = group(plus.s(1, 2).set(name="First"), plus.s(3, 4)) | plus.si(5, 6)
    before = canvas.graph
    after = from_networkx(to_networkx(before))
    assert list(after.edges()) == list(before.edges())
    assert after.shape.kinds == before.shape.kinds
    assert [after.shape.name_of(at) for at in after.tasks()] == ["First", "add", "add"]
    assert compute(*lift(after)) == (11,)


def test_a_fused_graph_is_not_taken_apart() -> None:
    with pytest.raises(NotImplementedYet, match="fused"):
        to_networkx(optimize(lower([plus(plus(1, 2), 3)])))


def test_networkx_is_imported_only_when_it_is_used() -> None:
    code = "import sys, lazygraph.planning.exchange; print('networkx' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_the_methods_of_graphs() -> None:
    graph = plus(plus(1, 2), 3).graph
    again = Graph.from_networkx(graph.to_networkx())
    assert isinstance(again, Graph)
    assert again.compute() == (6,)
    assert [again.shape.origin_of(at) for at in again.tasks()] == [graph.shape.origin_of(at) for at in graph.tasks()]
    written = networkx.DiGraph()
    written.add_node("a", function=int)
    assert Graph.from_networkx(written).shape.origin_of(0).startswith(f"{__file__}:")


@often(100)
@given(Language(callbacks=True, each=True).described())
def test_any_graph_survives_both_ways(said: Described) -> None:
    graph = Speller(said).canvas().graph
    again = Graph.from_networkx(graph.to_networkx())
    assert (list(again.edges()), again.shape.kinds) == (list(graph.edges()), graph.shape.kinds)
    assert (again.shape.outputs, again.shape.callbacks) == (graph.shape.outputs, graph.shape.callbacks)
    assert again.compute(executor="sync") == graph.compute(executor="sync")


def test_the_order_of_outputs_survives() -> None:
    a, b = plus(1, 2), plus(3, 4)
    graph = group(b, a, b).graph
    assert Graph.from_networkx(graph.to_networkx()).compute() == graph.compute() == (7, 3, 7)
    changed = graph.to_networkx()
    changed.remove_node(next(node for node in changed if changed.nodes[node]["args"] == (1, 2)))
    assert Graph.from_networkx(changed).compute() == (7, 7)


def test_edges_may_say_which_argument_they_are() -> None:
    graph = networkx.DiGraph()
    for name in "xyz":
        graph.add_node(name, value=name)
    graph.add_node("call", function=lambda *args, **kwargs: (args, kwargs), args=("between",), kwargs={"k": 1})
    graph.add_edge("x", "call", argument=2)
    graph.add_edge("y", "call", argument=0)
    graph.add_edge("z", "call", argument="by")
    assert Graph.from_networkx(graph).compute() == ((("y", "between", "x"), {"k": 1, "by": "z"}),)
    graph.edges["x", "call"]["argument"] = 7
    with pytest.raises(InvalidOption, match="node 'call' has an edge for argument 7, but only 3 arguments"):
        Graph.from_networkx(graph)


def test_an_edge_that_is_only_for_order_is_no_argument() -> None:
    graph = networkx.DiGraph()
    graph.add_node("a", value=20)
    graph.add_node("first", value=0)
    graph.add_node("b", function=operator.neg)
    graph.add_edge("first", "b", kind="order")
    graph.add_edge("a", "b")
    assert Graph.from_networkx(graph).compute() == (-20,)


def test_callbacks_survive_and_handlers_of_failures_are_refused() -> None:
    linked = group(plus.s(1, 2), plus.s(3, 4)).link(delayed(sum).s()).graph
    again = Graph.from_networkx(linked.to_networkx())
    assert list(again.edges()) == list(linked.edges())
    assert list(again.shape.callbacks) == list(linked.shape.callbacks) != []
    handled = plus.s(1, 2).link_error(delayed(repr).s()).graph
    with pytest.raises(InvalidOption, match=r"which nodes a handler of failures answers for; .* by to_json\(\)"):
        Graph.from_networkx(handled.to_networkx())


def test_a_call_that_its_function_cannot_take_is_refused() -> None:
    graph = networkx.DiGraph()
    graph.add_node("a", function=len, args=(1, 2))
    with pytest.raises(WrongCall, match=r"len.* cannot be called like this"):
        Graph.from_networkx(graph)
    graph.add_node("a", function=7)
    with pytest.raises(InvalidOption, match="node 'a': function=7 cannot be called"):
        Graph.from_networkx(graph)
