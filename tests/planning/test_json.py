"""Graphs as JSON texts, and back."""

from __future__ import annotations

import functools
import json
import operator
import subprocess
import sys
import threading
from typing import Any

import pytest
from hypothesis import given

from lazygraph import Graph, check, delayed, from_json, group, persist
from lazygraph.errors import CyclicGraph, InvalidOption, NotImplementedYet, WrongCall
from lazygraph.planning.passes import optimize
from lazygraph.testing.conformance import tasks
from tests.language.canvases import Described, Language, Speller, often
from tests.planning.graphs import columns

plus = delayed(operator.add)


def again(graph: Graph) -> Graph:
    read = Graph.from_json(graph.to_json())
    assert isinstance(read, Graph)
    return read


@often(150)
@given(Language(callbacks=True, each=True).described())
def test_the_graph_of_any_canvas_is_read_as_it_was_written(said: Described) -> None:
    graph = Speller(said).canvas().graph
    read = again(graph)
    assert columns(read) == columns(graph)
    assert read.compute(executor="sync") == graph.compute(executor="sync")


@often(100)
@given(Language(failing=True, callbacks=True, each=True, options=True).described())
def test_what_answers_for_failures_is_read_as_it_was_written(said: Described) -> None:
    graph = Speller(said).canvas().graph
    assert columns(again(graph)) == columns(graph)


def test_a_graph_runs_in_another_process() -> None:
    graph = group(plus(n, plus(1, 1)) | plus.s(10) for n in range(3)).graph
    code = "import sys, lazygraph; print(lazygraph.Graph.from_json(sys.stdin.read()).compute())"
    done = subprocess.run(
        [sys.executable, "-c", code], input=graph.to_json(), capture_output=True, text=True, check=True
    )
    assert done.stdout == "(12, 13, 14)\n"


def test_nothing_is_a_value_too() -> None:
    graph = tasks.call(None, [plus(1, 1), None], by={"k": None}).graph
    assert columns(again(graph)) == columns(graph)
    assert again(graph).compute(executor="sync") == graph.compute(executor="sync")


def test_arguments_keep_their_shape_and_sharing() -> None:
    shared, inner = [{"k": (1, 2)}], plus(1, 2)
    graph = tasks.call(shared, inner, [inner, {"in": (inner, {3})}], by=[shared, inner]).graph
    assert len(again(graph)) == 2
    assert again(graph).compute() == graph.compute()
    same = again(delayed(operator.is_)(shared, delayed(operator.getitem)([shared, inner], 0)).graph)
    assert sum(constant == shared for constant in same.tables.constants) == 1


def test_callbacks_and_handlers_of_failures_are_kept() -> None:
    canvas = plus.s(1, 2).link(tasks.give.s()) | group(plus.s(3), plus.s("x")).link_error(tasks.give.s())
    read = again(canvas.graph)
    assert columns(read) == columns(canvas.graph)
    with pytest.raises(TypeError):
        read.compute(executor="sync")


def test_a_callback_of_a_group_is_kept() -> None:
    graph = group(plus.s(1, 2), plus.s(3, 4)).link(delayed(sum).s().link(plus.s(1))).graph
    assert columns(again(graph)) == columns(graph)


def test_a_large_literal_is_written_once() -> None:
    big = b"x" * 100_000
    graph = delayed(list)([delayed(len)(big) for _ in range(100)]).graph
    assert len(graph.to_json()) < 200_000
    assert again(graph).compute() == ([100_000] * 100,)


def test_deep_graphs_and_deep_arguments() -> None:
    deep = plus(0, 1)
    for _ in range(10_000):
        deep = plus(deep, 1)
    assert again(deep.graph).compute() == (10_001,)
    listed: Any = deep
    for _ in range(10_000):
        listed = [listed]
    read = again(delayed(len)(listed).graph)
    assert read.compute() == (1,)
    assert len(read) == 10_002


def test_what_cannot_be_written_is_named() -> None:
    with pytest.raises(InvalidOption, match=rf"node '<lambda>' \({__file__}:\d+\): function .* cannot be found as"):
        delayed(lambda: 1)().graph.to_json()
    with pytest.raises(InvalidOption, match=r"node 'add' .*: functools.partial has no name that leads to it"):
        delayed(functools.partial(operator.add, 1))(2).graph.to_json()
    with pytest.raises(InvalidOption, match=r"node 'add' .*, argument 2 is or contains a _thread.lock, which has no"):
        plus(1, [threading.Lock()]).graph.to_json()
    (held,) = persist(plus(1, 2))
    with pytest.raises(InvalidOption, match="held by an executor and has no JSON; compute it first"):
        plus(held, 1).graph.to_json()
    with pytest.raises(NotImplementedYet, match="fused"):
        optimize(plus(plus(1, 2), 3).graph).to_json()


def test_a_function_of_a_script_has_no_name_elsewhere() -> None:
    code = "from lazygraph import delayed\ndef f(): ...\ndelayed(f)().graph.to_json()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "function 'f' is of __main__, which is another module elsewhere; define it in a module" in done.stderr


# -- written by hand -------------------------------------------------------------------------------


def text(*nodes: Any, **more: Any) -> str:
    return json.dumps({"lazygraph": "graph", "version": 1, "nodes": nodes, **more})


def add(name: Any, *args: Any, **more: Any) -> dict[str, Any]:
    return {"id": name, "function": "operator:add", "args": args, **more}


def test_a_graph_may_be_written_by_hand_in_any_order() -> None:
    written = text(add("c", {"$node": "b"}, {"$node": "b"}), add("b", {"$node": "a"}, 1), {"id": "a", "value": 20})
    assert from_json(written).compute() == (42,)
    assert Graph.from_json(text(add("a", 1, 1), add("b", 2, 2, after=["a"]), outputs=["b", "a"])).compute() == (4, 2)


@pytest.mark.parametrize(
    ("written", "error", "sentence"),
    [
        (text(add("a", {"$node": "b"}, 1), add("b", {"$node": "a"}, 1)), CyclicGraph, "has a cycle: a -> b -> a;"),
        (text(add("a", 1, 1, after=["a"])), CyclicGraph, "has a cycle: a -> a;"),
        (text(add("a", {"$node": "x"}, 1)), InvalidOption, "node 'a' reads 'x', and there is no such node; add it"),
        (text(add("a", 1, 1), outputs=["x"]), InvalidOption, "the outputs name node 'x', and there is no such node"),
        (text({"id": "a", "function": "no:thing"}), InvalidOption, "node 'a': function 'no:thing' is unknown here"),
        (text({"id": "a"}), InvalidOption, "node 'a' has neither a function nor a value"),
        (text(add("a", 1, 1), add("a", 1, 1)), InvalidOption, "node number 1 has the id 'a'; each needs"),
        (text(add(None, 1, 1)), InvalidOption, "node number 0 has the id None"),
        (text(add("a", 1, 1, optoins={})), InvalidOption, "node number 0 has 'optoins', .* did you mean 'options'"),
        (text(add("a", 1, 1, options={"quewe": "io"})), InvalidOption, "node 'a', options has 'quewe', .* 'queue'"),
        (text(add("a", 1, 1, origin="x.py:3", scope=4)), InvalidOption, "there is no scope 4; there are 0"),
        (text(add("a", 1, 1), scopes=[{"parent": 1}]), InvalidOption, "a scope is within itself; 'parent' is"),
        (text(add("a", 1, 1, after=[["x"]])), InvalidOption, r"node 'a': 'after' has \['x'\], and the id of a node"),
        (text(add("a", 1, 1), outputs=[["x"]]), InvalidOption, r"the outputs name node \"\['x'\]\""),
        (text({"id": "a", "failure_of": 0}), InvalidOption, "the failure of scope 0, and that is the whole run"),
        (text(add("a", 1, 1), scopes=[{"given": ["x"]}]), InvalidOption, "a scope names node 'x', which is not there"),
        (
            text({"id": "a", "function": "statistics:mean", "args": [1, 2], "origin": "x.py:3"}),
            WrongCall,
            r"mean.* cannot be called like this: too many .* \(written at x.py:3\)",
        ),
    ],
)
def test_a_text_that_is_wrong_says_where(written: str, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        from_json(written)


def test_checking_a_text_finds_all_that_is_wrong_with_it() -> None:
    written = text(
        add("a", {"$node": "b"}, 1, origin="there.py:1"),
        add("b", {"$node": "a"}, {"$node": "x"}),
        add("c", 1, 1),
        add("d", 1, 1),
        outputs=["a", "c"],
    )
    assert [(found.code, found.node) for found in check(written)] == [("LG001", "a"), ("LG002", "b"), ("LG011", "d")]
    assert check(text(add("a", 1, 1))) == []
    (no_call,) = check(text({"id": "a", "function": "no:thing"}))
    assert (no_call.code, no_call.severity) == ("LG012", "error")
    (no_text,) = check("{}")
    assert no_text.code == "LG012"


def test_a_text_is_checked_as_the_graph_it_is() -> None:
    assert check(plus.s(1, 2).to_json()) == []
    asked = text(add("a", 1, 1, options={"workers": ["w"]}))
    assert [found.code for found in check(asked, executor="sync")] == ["LG008"]
