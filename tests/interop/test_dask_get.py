"""Graphs of dask's on our executors: `lazygraph.interop.dask.get`."""

from __future__ import annotations

import io
import operator
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

import lazygraph
from lazygraph.errors import CyclicGraph, InvalidOption, UnsupportedByExecutor
from lazygraph.executors import SyncExecutor

dask = pytest.importorskip("dask")

from dask._task_spec import Alias, DataNode, Dict, List, Set, Task, TaskRef, Tuple  # noqa: E402
from dask.callbacks import Callback  # noqa: E402
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer  # noqa: E402
from dask.utils_test import GetFunctionTestMixin, add, inc  # noqa: E402

from lazygraph.interop.dask import from_dask, get  # noqa: E402

Get = Callable[..., Any]
MANY = 100_000


class TestWhatDaskWantsOfAScheduler(GetFunctionTestMixin):  # type: ignore[misc]
    """Dask's own tests, from the wheel that is installed."""

    @pytest.fixture(autouse=True)
    def on(self, ours: Get) -> None:
        self.get = ours


# -- the forms of a graph --------------------------------------------------------------------------


def collected(*args: Any, **kwargs: Any) -> Any:
    return args, kwargs


def test_tasks_take_their_inputs_wherever_they_stand(ours: Get) -> None:
    graph = {
        "one": DataNode("one", 1),
        "two": Task("two", inc, TaskRef("one")),
        "other name": Alias("other name", "two"),
        "all": Task(
            "all",
            collected,
            TaskRef("one"),
            List(TaskRef("two"), Tuple(Alias("other name"), 3), []),
            Dict({"k": TaskRef("two"), "l": List()}),
            DataNode(None, "text"),
            at=Set(TaskRef("one"), TaskRef("two")),
            nested=List(Task(None, add, TaskRef("two"), 40)),
            plain={"one": "two"},
        ),
    }
    args, kwargs = ours(graph, "all")
    assert args == (1, [2, (2, 3), []], {"k": 2, "l": []}, "text")
    assert kwargs == {"at": {1, 2}, "nested": [42], "plain": {"one": "two"}}
    assert ours(graph, ["one", ["other name", "two"]]) == (1, (2, 2))


def test_fused_tasks_are_one_task(ours: Get) -> None:
    parts = Task("a", inc, 1), Task("b", inc, TaskRef("a")), Task("c", add, TaskRef("b"), TaskRef("x"))
    assert ours({"c": Task.fuse(*parts), "x": DataNode("x", 10)}, "c") == 13


def test_a_value_that_looks_like_a_promise_of_ours_stays_a_value(ours: Get) -> None:
    assert get({"d": DataNode("d", lazygraph.quote(1))}, "d", executor="sync").value == 1
    promise = lazygraph.delayed(inc)(1)
    graph = {"p": DataNode("p", promise), "k": Task("k", type, TaskRef("p"))}
    assert get(graph, "k", executor="sync") is type(promise)
    assert get(graph, "p", executor="sync") is promise


def test_what_dasks_own_cluster_holds_is_brought_from_there() -> None:
    class Held(TaskRef):  # type: ignore[misc]
        """As `distributed.Future` is one."""

        def result(self) -> int:
            return 5

    assert get({"k": Held("k"), "z": Task("z", inc, TaskRef("k"))}, ["k", "z"]) == (5, 6)


@pytest.mark.parametrize("key", ["text", ("x", 0), ("x", ("y", 1.5)), 7, 1.5, b"bytes", ""])
def test_every_key_of_dasks_is_a_key(key: Any) -> None:
    graph = {key: Task(key, inc, 1), "z": Task("z", inc, TaskRef(key))}
    assert get(graph, [key, "z"], executor="sync") == (2, 3)


def test_only_what_the_keys_need_runs(ours: Get) -> None:
    graph = {"a": (inc, 1), "b": (operator.truediv, 1, 0), "c": (inc, "b")}
    assert ours(graph, "a") == 2


def test_a_graph_may_be_deep() -> None:
    deep: dict[Any, Any] = {0: Task(0, inc, 0)}
    deep.update((at, Task(at, inc, TaskRef(at - 1))) for at in range(1, MANY))
    assert get(deep, MANY - 1, executor="sync") == MANY


def test_a_graph_may_be_wide() -> None:
    wide: dict[Any, Any] = {at: Task(at, inc, at) for at in range(MANY)}
    wide["sum"] = Task("sum", sum, List(*map(TaskRef, range(MANY))))
    assert get(wide, "sum", executor="threads") == MANY * (MANY + 1) // 2


# -- what goes wrong -------------------------------------------------------------------------------


class OutOfStock(Exception):
    """The user's own."""


def sold_out(what: str) -> None:
    raise OutOfStock(what)


def test_the_tasks_own_exception_is_raised_and_names_dasks_key(ours: Get) -> None:
    graph = {("shelf", 3): (sold_out, "tea"), "bill": (inc, ("shelf", 3))}
    with pytest.raises(OutOfStock, match="tea") as raised:
        ours(graph, ["bill"])
    assert any("node \"('shelf', 3)\"" in note for note in raised.value.__notes__)


def test_a_key_that_is_not_there_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="the graph has 1 keys, and 'b' is none of them"):
        get({"a": 1}, [["b"]])


def test_an_input_that_is_not_there_is_named() -> None:
    with pytest.raises(InvalidOption, match="node 'a' reads 'gone', and there is no such node"):
        get({"a": Task("a", inc, TaskRef("gone"))}, "a")


def test_a_cycle_is_named() -> None:
    with pytest.raises(CyclicGraph, match=r"the graph has a cycle: (a -> b -> a|b -> a -> b)"):
        get({"a": (inc, "b"), "b": (inc, "a")}, "a")


# -- keywords and annotations ----------------------------------------------------------------------


def test_keywords_for_other_schedulers_are_ignored() -> None:
    assert get({"a": (inc, 1)}, "a", cache=None, rerun_exceptions_locally=True, chunksize=3, anything=1) == 2


def test_num_workers_is_a_number_of_threads() -> None:
    assert get({"a": (inc, 1)}, "a", num_workers=3) == 2


def test_the_default_executor_is_the_contexts() -> None:
    with lazygraph.use(SyncExecutor()) as chosen:
        assert get({"name": (in_use,)}, "name") == "sync"
    assert chosen.name == "sync"


def in_use() -> str:
    import threading

    return "sync" if threading.current_thread() is threading.main_thread() else "another"


def flaky(ran: list[int]) -> int:
    ran.append(1)
    if len(ran) < 3:
        raise OutOfStock("not yet")
    return len(ran)


@pytest.mark.parametrize("retries", [2, 2.0])
def test_annotated_retries_are_retries(retries: float) -> None:
    ran: list[int] = []
    again = dask.delayed(lambda: flaky(ran))
    with dask.annotate(retries=retries):
        promise = again()
    assert promise.compute(scheduler=get, executor="sync") == 3
    ran.clear()
    with pytest.raises(OutOfStock):
        again().compute(scheduler=get, executor="sync")


def at_the_third(ran: list[int], values: Any) -> Any:
    flaky(ran)
    return values


def test_annotations_of_an_array_outlive_what_dask_optimizes() -> None:
    array = pytest.importorskip("dask.array")
    ran: list[int] = []
    with dask.annotate(retries=2):
        flaking = array.arange(4, chunks=4).map_blocks(partial(at_the_third, ran), dtype=int, meta=array.arange(0))
    assert flaking.sum().compute(scheduler=get, executor="sync") == 6
    ran.clear()
    assert from_dask(flaking.sum()).compute(executor="sync") == 6
    assert len(ran) == 3


def test_annotations_of_a_bag_hold_where_dask_does_not_optimize_it() -> None:
    bag = pytest.importorskip("dask.bag")
    ran: list[int] = []
    with dask.annotate(retries=2):
        flaking = bag.from_sequence(range(4), npartitions=1).map_partitions(partial(at_the_third, ran))
    assert flaking.sum().compute(scheduler=get, executor="sync", optimize_graph=False) == 6
    assert len(ran) == 3


def test_annotations_of_a_layered_graph_hold_for_its_layer() -> None:
    ran: list[int] = []
    layers = {
        "a": MaterializedLayer({"x": Task("x", lambda: flaky(ran))}, annotations={"retries": lambda key: len(key) + 1}),
        "b": MaterializedLayer({"y": Task("y", inc, TaskRef("x"))}),
    }
    assert get(HighLevelGraph(layers, {"a": set(), "b": {"a"}}), "y", executor="sync") == 4


def test_annotated_priorities_order_what_can_run() -> None:
    ran: list[str] = []
    note = dask.delayed(ran.append, pure=False)
    promises = []
    for name, priority in (("low", 1), ("high", 10), ("middle", 5)):
        with dask.annotate(priority=priority):
            promises.append(note(name))
    dask.compute(*promises, scheduler=get, executor="sync")
    assert ran == ["high", "middle", "low"]


def test_options_of_ours_can_be_annotated_and_other_words_mean_nothing_here() -> None:
    with dask.annotate(concurrency=1, span={"name": "s"}, anything=3):
        promise = dask.delayed(inc)(1)
    assert promise.compute(scheduler=get, executor="sync") == 2


def test_places_are_refused_where_there_are_none() -> None:
    with dask.annotate(resources={"gpu": 1}):
        promise = dask.delayed(inc)(1)
    with pytest.raises(UnsupportedByExecutor, match="does not honour resources"):
        promise.compute(scheduler=get, executor="threads")


def test_a_worker_that_is_only_wished_for_may_be_another() -> None:
    with dask.annotate(workers=["there"], allow_other_workers=True):
        promise = dask.delayed(inc)(1)
    assert promise.compute(scheduler=get, executor="threads") == 2


def test_a_retry_and_a_half_is_refused() -> None:
    with dask.annotate(retries=1.5):
        promise = dask.delayed(inc)(1)
    with pytest.raises(InvalidOption, match=r"retries=1\.5.*whole number"):
        promise.compute(scheduler=get)


# -- dask's callbacks ------------------------------------------------------------------------------


class Diary(Callback):  # type: ignore[misc]
    """Notes what it is told."""

    def __init__(self) -> None:
        self.notes: list[Any] = []

    def _start(self, dsk: Any) -> None:
        self.notes.append(("start", sorted(dsk)))

    def _start_state(self, dsk: Any, state: Any) -> None:
        self.notes.append(("state", sorted(state["dependencies"])))

    def _pretask(self, key: Any, dsk: Any, state: Any) -> None:
        self.notes.append(("before", key, sorted(state["running"])))

    def _posttask(self, key: Any, value: Any, dsk: Any, state: Any, worker: Any) -> None:
        self.notes.append(("after", key, value, sorted(state["finished"])))

    def _finish(self, dsk: Any, state: Any, failed: bool) -> None:
        self.notes.append(("finish", failed))


@pytest.mark.parametrize("where", ["sync", "threads"])
def test_dasks_callbacks_are_told(where: str) -> None:
    with Diary() as diary:
        assert get({"x": 1, "a": (inc, "x"), "b": (inc, "a")}, "b", executor=where) == 3
    assert diary.notes == [
        ("start", ["a", "b", "x"]),
        ("state", ["a", "b", "x"]),
        ("before", "a", ["a"]),
        ("after", "a", 2, ["a"]),
        ("before", "b", ["b"]),
        ("after", "b", 3, ["a", "b"]),
        ("finish", False),
    ]
    assert get({"a": (inc, 1)}, "a", executor=where) == 2
    assert len(diary.notes) == 7  # only in its block


def test_a_callback_hears_of_a_failure() -> None:
    with Diary() as diary, pytest.raises(OutOfStock):
        get({"a": (sold_out, "tea")}, "a", executor="sync")
    assert diary.notes[-2:] == [("before", "a", ["a"]), ("finish", True)]


def test_a_scheduler_in_a_task_tells_nobody() -> None:
    with Diary() as diary:
        assert get({"a": (lambda: get({"inner": (inc, 1)}, "inner"),)}, "a", executor="sync") == 2
    assert [note[1] for note in diary.notes if note[0] == "before"] == ["a"]


def test_elsewhere_callbacks_hear_of_the_beginning_and_the_end(cluster_of_two: lazygraph.Client) -> None:
    with Diary() as diary, pytest.warns(UserWarning, match="share memory"):
        assert get({"a": (inc, 1)}, "a", executor=cluster_of_two) == 2
    assert diary.notes == [("start", ["a"]), ("state", ["a"]), ("finish", False)]


def test_dasks_progress_bar_and_profilers_see_our_runs() -> None:
    diagnostics = pytest.importorskip("dask.diagnostics")
    shown = io.StringIO()
    with diagnostics.ProgressBar(out=shown), diagnostics.Profiler() as profiler, diagnostics.CacheProfiler() as cached:
        assert get({"a": (inc, 1), "b": (inc, "a")}, "b", executor="threads") == 3
    assert "100% Completed" in shown.getvalue()
    assert [result.key for result in profiler.results] == ["a", "b"]
    assert all(result.end_time >= result.start_time for result in profiler.results)
    assert {result.key for result in cached.results} == {"a", "b"}


def test_what_a_callback_puts_into_the_graph_is_not_run_again() -> None:
    def put(dsk: Any) -> None:
        dsk["a"] = 10

    with Callback(start=put):
        assert get({"a": (sold_out, "tea"), "b": (inc, "a")}, "b", executor="sync") == 11
