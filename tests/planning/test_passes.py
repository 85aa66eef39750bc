"""Which passes are run, what they say of themselves, and what a pass of somebody else's may do."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from lazygraph import Graph, compute, delayed, explain, persist, start
from lazygraph.errors import InvalidOption
from lazygraph.planning.inlining import MOST
from lazygraph.planning.lower import lower
from lazygraph.planning.passes import PASSES, optimize


@delayed
def plus(a: Any, b: Any) -> Any:
    return a + b


@delayed(pure=True)
def double(a: Any) -> Any:
    return 2 * a


def names(graph: Graph) -> list[str]:
    return [graph.shape.name_of(at) for at in graph.tasks()]


class TestChoosing:
    def test_by_name_in_the_order_that_was_given(self) -> None:
        promise = plus(plus(double(1), double(1)), 5)
        fused = optimize(lower([promise]), ["fuse"])
        assert [change.name for change in fused.history] == ["fuse"]
        assert len(fused) == 3
        assert len(optimize(lower([promise]), ["fuse", "share"])) == 2
        assert optimize(lower([promise]), []).history == ()

    @pytest.mark.parametrize("begin", [compute, start, persist, explain])
    def test_wherever_graphs_are_optimized(self, begin: Callable[..., Any]) -> None:
        seen: list[int] = []

        def look(graph: Graph) -> Graph:
            seen.append(len(graph))
            return graph

        begin(plus(plus(1, 2), 3), executor="sync", optimize_graph=[look, "fuse", look])
        assert seen == [2, 1]

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            (["fuze"], "no pass is called 'fuze'; did you mean 'fuse'"),
            (["?"], "there are cull, share, inline, fuse, order"),
            ([5], "5 is no pass"),
            ("fuse", "a list of passes is wanted"),
            (3, "a list of passes is wanted"),
        ],
    )
    def test_what_is_no_pass_is_refused(self, given: Any, said: str) -> None:
        with pytest.raises(InvalidOption, match=said.replace("?", r"\?")):
            compute(plus(1, 2), executor="sync", optimize_graph=given)


class TestAPassOfOnesOwn:
    def test_it_may_change_what_is_called(self) -> None:
        def checked(graph: Graph) -> Graph:
            """Every sum is told apart."""
            functions = tuple(lambda a, b, f=f: ("sum", f(a, b)) for f in graph.tables.functions)
            return replace(graph, tables=replace(graph.tables, functions=functions))

        promise = plus(1, 2)
        assert compute(promise, executor="sync", optimize_graph=["cull", checked, "order"]) == (("sum", 3),)
        assert compute(promise, executor="sync") == (3,)
        (change,) = explain(promise, optimize_graph=[checked]).passes
        assert (change.name, change.before, change.after, change.why) == ("checked", 1, 1, "Every sum is told apart.")

    def test_what_it_raises_comes_out(self) -> None:
        def broken(graph: Graph) -> Graph:
            raise LookupError("not today")

        with pytest.raises(LookupError, match="not today"):
            compute(plus(1, 2), executor="sync", optimize_graph=[broken])

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (lambda shape: {"outputs": array("i")}, "0 outputs where 1 were asked for"),
            (lambda shape: {"outputs": array("i", [7])}, "none of its entries"),
            (lambda shape: {"externals": 1}, "its externals are others"),
            (lambda shape: {"option": array("i", [0])}, "the column option has 1 entries, function has 2"),
            (lambda shape: {"kinds": b""}, "0 kinds for 1 inputs"),
            (lambda shape: {"inputs": array("i", [1])}, r"task 1 reads \[1\]"),
            (lambda shape: {"input_offsets": array("i", [0, 1, 0])}, "input_offsets does not fit"),
            (lambda shape: {"argument_offsets": array("i", [0, 5, 4])}, "argument_offsets goes backwards"),
            (lambda shape: {"arguments": array("i", [-1, -2, 0, -9])}, "neither an input nor a constant"),
            (lambda shape: {"function": array("i", [0, 3])}, "task 1 calls function 3 of 1"),
        ],
    )
    def test_a_graph_that_could_not_be_run_is_refused(self, change: Callable[[Any], dict[str, Any]], said: str) -> None:
        def bad(graph: Graph) -> Graph:
            return replace(graph, shape=replace(graph.shape, **change(graph.shape)))

        with pytest.raises(InvalidOption, match=f"pass 'bad' .*{said}"):
            compute(plus(plus(1, 2), 3), executor="sync", optimize_graph=[bad])

    def test_what_is_no_graph_is_refused(self) -> None:
        def forgot(graph: Graph) -> Any:
            return None

        with pytest.raises(InvalidOption, match="pass 'forgot' has returned None"):
            compute(plus(1, 2), executor="sync", optimize_graph=[forgot])


class TestInlining:
    def test_small_wrapped_values_are_no_tasks(self) -> None:
        graph = PASSES["inline"](lower([plus(delayed(1), plus(delayed("a"), delayed("b")))]))
        assert names(graph) == ["plus", "plus"]
        assert compute(plus(delayed(1), delayed(2)), executor="sync") == (3,)

    @pytest.mark.parametrize(
        "promise",
        [
            delayed(1),  # asked for
            plus(delayed([1]), delayed([2])),  # whoever changes one changes it for all
            plus(delayed(1, name="one"), delayed(2, name="two")),  # somebody knows them by name
            plus(delayed("x" * (MOST + 1)), delayed("y" * (MOST + 1))),
            plus(delayed(double), 1),
        ],
    )
    def test_others_stay(self, promise: Any) -> None:
        graph = lower([promise])
        assert PASSES["inline"](graph) is graph

    def test_in_containers_and_beside_other_inputs(self) -> None:
        @delayed
        def many(*args: Any, **kwargs: Any) -> Any:
            return args, kwargs

        one = delayed(1)
        promise = many(one, [one, {"k": delayed(2)}], plus(one, 3), a=one, b=delayed(None))
        graph = PASSES["inline"](lower([promise]))
        assert names(graph) == ["plus", "many"]
        for passes in (True, False, ["inline"], ["fuse", "inline"]):
            (value,) = compute(promise, executor="sync", optimize_graph=passes)
            assert value == ((1, [1, {"k": 2}], 4), {"a": 1, "b": None})


class TestWhy:
    def test_each_pass_says_what_it_did(self) -> None:
        a = plus(plus(double(1), 2), 3)
        whole = plus(plus(double(1), a), plus(delayed(4), plus(a, a)))
        said = {change.name: change.why for change in explain(whole).passes}
        assert said["share"] == "1 call pure, or of one key, that is made already"
        assert said["inline"] == "1 wrapped value small enough to stand in the calls that take them"
        assert said["fuse"].startswith("4 calls in 2 chains, the longest of 2; not joined: ")

    def test_fusing_says_why_not_more(self) -> None:
        asked = plus(1, 2)
        retried = delayed(lambda a: a, name="retried", retries=2)(plus(3, 4))
        shared = plus(5, 6)
        others = plus(asked, 1), retried, plus(shared, 1), plus(shared, plus(7, 8)), plus(plus(9, 1), 1)
        (change,) = [change for change in explain(asked, *others).passes if change.name == "fuse"]
        assert change.why == (
            "2 calls in 1 chain, the longest of 2; "
            "not joined: 1 (options of their own), 1 (others read the same), 1 (what it reads was asked for)"
        )
