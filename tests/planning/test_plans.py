"""A graph is compiled once, however often it runs; a plan runs with other inputs without being compiled again."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lazygraph import Graph, compute, delayed, explain, persist, start
from lazygraph.errors import InvalidOption
from lazygraph.executors.processes import ProcessExecutor
from lazygraph.executors.sync import SyncExecutor
from lazygraph.executors.threads import ThreadExecutor


@delayed
def plus(a: Any, b: Any) -> Any:
    return a + b


@delayed
def whole(*args: Any, **kwargs: Any) -> Any:
    return args, kwargs


@pytest.fixture(params=[SyncExecutor, ThreadExecutor, lambda: ProcessExecutor(1)], ids=["sync", "threads", "processes"])
def executor(request: pytest.FixtureRequest) -> Iterator[Any]:
    with request.param() as made:
        yield made


def calls_of(work: Callable[[], Any]) -> int:
    """Count the Python functions that something calls."""
    seen = 0

    def count(frame: Any, event: str, arg: Any) -> None:
        nonlocal seen
        seen += event == "call"

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return seen


class TestCompiledOnce:
    def test_a_graph_that_runs_again(self) -> None:
        compiled: list[int] = []

        def seen(graph: Graph) -> Graph:
            compiled.append(len(graph))
            return graph

        graph = plus(plus(1, 2), 3).graph
        for _ in range(3):
            assert graph.compute(executor="sync", optimize_graph=[seen, "fuse"]) == (6,)
            assert compute(graph, executor="sync", optimize_graph=[seen, "fuse"]) == (6,)
        assert compiled == [2]
        assert graph.plan() is graph.plan()
        assert graph.plan() is not graph.plan(False)

    def test_with_other_ways_to_end(self) -> None:
        @delayed
        def broken() -> None:
            raise LookupError("no")

        graph = whole(broken()).graph
        with pytest.raises(LookupError):
            graph.compute(executor="sync")
        (failure,) = graph.compute(executor="sync", on_error="collect")
        assert isinstance(failure.exception, LookupError)
        assert start(graph, executor="sync", run_name="again", fail_fast=False).id == "again"

    def test_several_outputs(self, executor: Any) -> None:
        a = plus(1, 2)
        run = start(a, plus(a, 1), executor=executor)
        assert run.result() == (3, 4)
        graph = plus(a, 5).graph
        assert graph.plan().start(executor=executor).result() == (8,)

    @pytest.mark.parametrize("verb", [compute, start, persist, explain])
    def test_graphs_and_plans_are_computed_alone(self, verb: Callable[..., Any]) -> None:
        graph = plus(1, 2).graph
        for given in (graph, graph.plan()):
            with pytest.raises(InvalidOption, match=r"<(Graph|Plan): 1 node.*\(\) take a graph or plan alone"):
                verb(given, plus(3, 4), executor="sync")

    def test_plans_do_not_travel_with_their_graph(self) -> None:
        graph = plus(plus(1, 2), 3).graph
        graph.plan()
        again = pickle.loads(pickle.dumps(graph))
        assert again.plans == {}
        assert again.compute(executor="sync") == (6,)

    def test_a_pass_that_cannot_be_hashed(self) -> None:
        class Nothing:
            __hash__ = None  # type: ignore[assignment]

            def __call__(self, graph: Graph) -> Graph:
                return graph

        assert plus(1, 2).graph.compute(executor="sync", optimize_graph=[Nothing()]) == (3,)
        assert explain(plus(1, 2), optimize_graph=[Nothing()]).passes == ()


class TestBind:
    def test_other_values_under_the_names(self, executor: Any) -> None:
        x, y = delayed(1, name="x"), delayed(2, name="y")
        plan = plus(plus(x, y), x).graph.plan()
        assert plan.compute(executor=executor) == (4,)
        assert plan.bind(x=10).compute(executor=executor) == (22,)
        assert plan.bind(x=10).bind(y=0).compute(executor=executor) == (20,)
        assert plan.bind(x="a", y="b").compute(executor=executor) == ("aba",)
        assert plan.compute(executor=executor) == (4,)

    def test_equal_values_are_different_inputs(self) -> None:
        same = delayed(lambda a: [a], pure=True)
        x, y = delayed(0, name="x"), delayed(0, name="y")
        plan = whole(same(x), same(y), 0, k=delayed(0)).graph.plan()
        assert plan.bind(x=5).compute(executor="sync") == ((([5], [0], 0), {"k": 0}),)
        assert plan.bind(y=5).compute(executor="sync") == ((([0], [5], 0), {"k": 0}),)

    def test_a_name_that_there_is_none_of(self) -> None:
        plan = plus(delayed(1, name="speed"), delayed(2, name="time")).graph.plan()
        with pytest.raises(InvalidOption, match="no wrapped value of this plan is called 'sped'; did you mean 'speed'"):
            plan.bind(sped=3)
        with pytest.raises(InvalidOption, match="it has none"):
            plus(1, 2).graph.plan().bind(x=1)

    def test_what_is_lazy_is_no_value(self) -> None:
        plan = plus(delayed(1, name="x"), 2).graph.plan()
        with pytest.raises(InvalidOption, match=r"bind\(x=...\): .* is lazy"):
            plan.bind(x=plus(1, 2))

    def test_it_costs_what_is_bound_however_large_the_plan(self) -> None:
        def cost(n: int) -> int:
            node = delayed(0, name="x")
            for at in range(n):
                node = plus(node, at)
            plan = node.graph.plan(optimize_graph=False)
            return calls_of(lambda: plan.bind(x=5))

        assert cost(10) == cost(5_000)

    def test_futures_of_another_executor(self) -> None:
        with SyncExecutor() as one, SyncExecutor() as other:
            future = start(plus(1, 2), executor=one).futures[0]
            graph = plus(future, 3).graph
            assert graph.compute(executor=one) == (6,)
            assert graph.compute(executor=other) == (6,)
            with pytest.raises(InvalidOption, match="reads futures of another executor"):
                graph.plan().compute(executor=other)
