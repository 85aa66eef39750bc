"""Graphs from and to networkx."""

from __future__ import annotations

import operator
import subprocess
import sys
from typing import Any

import networkx
import pytest
from hypothesis import given

from lazygraph import Graph, check, compute, delayed, group
from lazygraph.errors import CyclicGraph, InvalidOption, NotImplementedYet, UnknownOption, WrongCall
from lazygraph.planning.exchange import Input, from_networkx, promises_of, to_networkx
from lazygraph.planning.lower import lift, lower
from lazygraph.planning.passes import optimize
from tests.language.canvases import Described, Language, Speller, often
from tests.planning.graphs import Workflow, columns, drawn, workflows

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
    with pytest.raises(InvalidOption, match="dict is no networkx graph"):
        from_networkx({"a": ["b"]})
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
    assert columns(again) == columns(graph)
    assert again.compute(executor="sync") == graph.compute(executor="sync")


@often(150)
@given(Language(failing=True, callbacks=True, each=True, options=True, fail_fast=True).described())
def test_also_with_options_scopes_and_what_answers_for_failures(said: Described) -> None:
    graph = Speller(said).canvas().graph
    again = Graph.from_networkx(graph.to_networkx())
    assert columns(again) == columns(graph)


@often(60)
@given(Language(callbacks=True, each=True, options=True).described())
def test_through_networkx_and_json(said: Described) -> None:
    graph = Speller(said).canvas().graph
    text = Graph.from_networkx(graph.to_networkx()).to_json()
    assert text == graph.to_json()
    assert Graph.from_networkx(Graph.from_json(text).to_networkx()).to_json() == text


@often(100)
@given(workflows())
def test_any_graph_may_be_drawn_by_hand(workflow: Workflow) -> None:
    assert list(Graph.from_networkx(drawn(workflow)).compute()) == workflow.values()


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


def test_callbacks_and_handlers_of_failures_survive() -> None:
    told: list[str] = []
    canvas = (
        group(plus.s(1, 2), plus.s(3, "x"))
        .link(delayed(sum).s())
        .link_error(delayed(lambda failure: told.append(failure.node)).s())
    )
    again = Graph.from_networkx(canvas.graph.to_networkx())
    assert columns(again) == columns(canvas.graph)
    with pytest.raises(TypeError):
        again.compute()
    assert told == ["add"]


def test_a_group_goes_on_without_members_there_too() -> None:
    canvas = group([plus.s(1, 2), plus.s(3, "x"), plus.s(5, 6)], on_error="skip") | delayed(sum).s()
    assert Graph.from_networkx(canvas.graph.to_networkx()).compute() == (14,)


def test_scopes_that_are_wrong_are_refused() -> None:
    def scoped(**scope: Any) -> Any:
        graph = networkx.DiGraph(scopes=[scope])
        graph.add_node("a", function=int, scope=1)
        return graph

    assert len(Graph.from_networkx(scoped(given=["a"])).shape.scopes) == 2
    for wrong, sentence in (
        ({"parent": 1}, "a scope is within itself"),
        ({"parent": 2}, "there is no scope 2; there are 1"),
        ({"ends": ["b"]}, "a scope names node 'b', which is not there"),
        ({"fail_slow": True}, "a scope has 'fail_slow', which means nothing here; did you mean 'fail_fast'"),
    ):
        with pytest.raises(InvalidOption, match=sentence):
            Graph.from_networkx(scoped(**wrong))
    graph = scoped()
    graph.add_node("b", failure_of=0)
    with pytest.raises(InvalidOption, match="node 'b' is the failure of scope 0, and that is the whole run"):
        Graph.from_networkx(graph)


def test_decorated_functions_are_functions_with_options() -> None:
    @delayed(retries=2, queue="io", bind=True)
    def half(context: Any, x: int) -> float:
        assert context.request.attempt == 1
        return x / 2

    graph = networkx.DiGraph()
    graph.add_node("a", function=half, args=(8,), options={"queue": "cpu"}, name="Half of it")
    made = promises_of(graph)["a"]
    assert made.compute() == 4.0
    assert (made._options.retries, made._options.queue, made._options.name) == (2, "cpu", "Half of it")


def test_a_value_may_be_made_of_inputs() -> None:
    graph = networkx.DiGraph()
    graph.add_node("a", function=int)
    graph.add_node("both", value=[Input("a"), {"again": Input("a")}])
    graph.add_edge("a", "both")
    assert Graph.from_networkx(graph).compute() == ([0, {"again": 0}],)
    graph.remove_edge("a", "both")
    with pytest.raises(InvalidOption, match="node 'both' reads 'a', but no edge"):
        Graph.from_networkx(graph)


def test_several_edges_are_several_arguments() -> None:
    graph = networkx.MultiDiGraph()
    graph.add_node("x", value=7)
    graph.add_node("square", function=operator.mul)
    graph.add_edges_from([("x", "square"), ("x", "square")])
    assert Graph.from_networkx(graph).compute() == (49,)


def test_outputs_may_be_named_by_the_graph_alone() -> None:
    graph = networkx.DiGraph(outputs=["b", "a"])
    for name, value in (("a", 1), ("b", 2), ("c", 3)):
        graph.add_node(name, value=value)
    assert Graph.from_networkx(graph).compute() == (2, 1)
    graph.nodes["b"]["output"] = False
    assert Graph.from_networkx(graph).compute() == (1,)
    with pytest.raises(InvalidOption, match="the outputs name node 'x', and there is no such node"):
        Graph.from_networkx(networkx.DiGraph(graph, outputs=["x"]))


def test_attributes_of_others_are_left_alone() -> None:
    graph = networkx.DiGraph(name="mine", layout="dot")
    graph.add_node("a", function=int, pos=(1, 2), color="red", label="A", group=3, title="t", weight=1.5, size=9)
    graph.add_node("b", function=operator.neg, shape="box", level=1, type="t", id=7, description="d", x=1, y=2)
    graph.add_edge("a", "b", weight=2, label="to", color="blue", length=1)
    assert Graph.from_networkx(graph).compute() == (0,)


@pytest.mark.parametrize(
    ("node", "sentence"),
    [
        ({"arg": (1,)}, "node 'a' has 'arg', which means nothing here; did you mean 'args'"),
        ({"func": int}, "node 'a' has 'func', which means nothing here; did you mean 'function'"),
        ({"functions": int}, "did you mean 'function'"),
        ({"kwarg": {}}, "did you mean 'kwargs'"),
        ({"option": {"retries": 1}}, "did you mean 'options'"),
        ({"retries": 3}, r"node 'a' has 'retries', which is an option; write options=\{'retries': 3\}"),
        ({"value": 3}, "node 'a' has function and value, and can be only one of them"),
        ({"function": plus.s(1)}, r"node 'a': function=.* is a canvas; give the function it is made of"),
        ({"function": plus(1, 2)}, r"node 'a': function=.* is a promise of a value; give it as value="),
        ({"function": "int"}, "node 'a': function='int' cannot be called"),
        ({"scope": 1}, "there is no scope 1; there are 0"),
    ],
)
def test_slips_in_attributes_are_found(node: dict[str, Any], sentence: str) -> None:
    graph = networkx.DiGraph()
    graph.add_node("a", **{"function": int, **node})
    with pytest.raises(InvalidOption, match=sentence):
        Graph.from_networkx(graph)


@pytest.mark.parametrize(
    ("edge", "sentence"),
    [
        ({"arg": 0}, "the edge from 'x' to 'call' has 'arg', which means nothing here; did you mean 'argument'"),
        ({"kind": "odrer"}, "the edge from 'x' to 'call' has kind='odrer': 'data' or 'order' is wanted"),
        ({"argument": 1.5}, "the edge from 'x' to 'call' has argument=1.5: a position or a name is wanted"),
        ({"argument": -1}, "node 'call' has an edge for argument -1, but only 2 arguments"),
        ({"argument": "k"}, "node 'call' is given argument 'k' more than once, one time by 'x'"),
        ({"argument": 0}, "node 'call' is given argument 0 more than once, one time by 'y'"),
    ],
)
def test_slips_at_edges_are_found(edge: dict[str, Any], sentence: str) -> None:
    graph = networkx.DiGraph()
    graph.add_node("x", value=1)
    graph.add_node("y", value=2)
    graph.add_node("call", function=dict, args=(), kwargs={"k": 3})
    graph.add_edge("x", "call", **edge)
    graph.add_edge("y", "call", argument=0)
    with pytest.raises(InvalidOption, match=sentence):
        Graph.from_networkx(graph)


def test_checking_a_drawn_graph_finds_all_that_is_wrong_with_it() -> None:
    graph = networkx.DiGraph([("a", "b"), ("b", "a"), ("c", "b")])
    graph.add_node("a", function=int, arg=1)
    graph.add_node("b", function=7)
    assert [finding.code for finding in check(graph)] == ["LG001", "LG002", "LG012", "LG012"]


def test_a_call_that_its_function_cannot_take_is_refused() -> None:
    graph = networkx.DiGraph()
    graph.add_node("a", function=len, args=(1, 2))
    with pytest.raises(WrongCall, match=r"len.* cannot be called like this"):
        Graph.from_networkx(graph)
    graph.add_node("a", function=7)
    with pytest.raises(InvalidOption, match="node 'a': function=7 cannot be called"):
        Graph.from_networkx(graph)
