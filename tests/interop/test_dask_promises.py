"""Dask's collections in our hands, and promises of ours in dask's."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import lazygraph
from lazygraph import bind, chain, compute, delayed, group
from lazygraph.errors import DuplicateKey, NotImplementedYet
from lazygraph.interop.dask import from_dask, get

dask = pytest.importorskip("dask")
array = pytest.importorskip("dask.array")
bag = pytest.importorskip("dask.bag")
dataframe = pytest.importorskip("dask.dataframe")

import numpy  # noqa: E402
import pandas  # noqa: E402

Get = Callable[..., Any]

pytestmark = pytest.mark.usefixtures("inputs_may_be_read_up")


@delayed
def add(x: Any, y: Any) -> Any:
    return x + y


@delayed
def inc(x: Any) -> Any:
    return x + 1


def counted(ran: list[Any], value: Any) -> Any:
    ran.append(value)
    return value


def table() -> Any:
    return pandas.DataFrame({"kind": list("abcabc"), "price": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]})


# -- collections compute what they compute ---------------------------------------------------------


def test_arrays(under_dask: Get) -> None:
    known = numpy.arange(72.0).reshape(8, 9)
    x = array.from_array(known, chunks=(3, 4))
    assert ((x + 1)[::2, 3:].sum(axis=0).compute() == (known + 1)[::2, 3:].sum(axis=0)).all()
    assert (x.rechunk((8, 2)).T.compute() == known.T).all()
    assert numpy.allclose((x @ x.T).compute(), known @ known.T)
    assert (x.map_blocks(lambda block: block * 2).compute() == known * 2).all()
    assert x.persist().mean().compute() == known.mean()


def test_bags(under_dask: Get) -> None:
    numbers = bag.from_sequence(range(20), npartitions=4)
    assert dict(numbers.foldby(lambda x: x % 2, lambda a, x: a + x, 0).compute()) == {0: 90, 1: 100}
    assert numbers.filter(lambda x: x > 3).map(lambda x: x * x).max().compute() == 361
    assert sorted((k, len(v)) for k, v in numbers.groupby(lambda x: x % 3)) == [(0, 7), (1, 7), (2, 6)]


def test_tables(under_dask: Get) -> None:
    known = table()
    prices = dataframe.from_pandas(known, npartitions=3)
    assert prices.groupby("kind").price.sum().compute().to_dict() == {"a": 5.0, "b": 7.0, "c": 9.0}
    names = dataframe.from_pandas(pandas.DataFrame({"kind": list("abc"), "name": ["x", "y", "z"]}), npartitions=2)
    assert sorted(prices.merge(names, on="kind").compute().name) == list("xxyyzz")
    assert sorted(prices.shuffle("kind").compute().price) == sorted(known.price)


# -- dask's collections as inputs ------------------------------------------------------------------


def test_a_collection_is_its_value_wherever_it_stands(executor: Any) -> None:
    x = array.arange(10, chunks=3)
    assert inc(x.sum()).compute(executor=executor) == 46
    assert compute({"all": [x.sum(), 1]}, x.max(), executor=executor) == ({"all": [45, 1]}, 9)
    assert chain(inc.s(x.max()), inc.s()).compute(executor=executor) == 11
    assert add([1], bag.from_sequence([2, 3])).compute(executor=executor) == [1, 2, 3]
    assert delayed(len)(dataframe.from_pandas(table(), npartitions=2)).compute(executor=executor) == 6


def test_a_promise_of_dasks_that_several_tasks_read_runs_once() -> None:
    ran: list[Any] = []
    theirs = dask.delayed(counted)(dask.delayed(ran, traverse=False), 5)
    theirs = dask.delayed(lambda: counted(ran, 5))()
    assert compute(inc(theirs), add(theirs, theirs), theirs, executor="sync") == (6, 10, 5)
    assert ran == [5]


def test_collections_that_are_asked_for_together_share_what_they_need() -> None:
    ran: list[Any] = []
    theirs = array.from_delayed(dask.delayed(lambda: counted(ran, numpy.ones(3)))(), (3,), float)
    assert compute(theirs.sum(), theirs.max(), executor="sync") == (3.0, 1.0)
    assert len(ran) == 1


def test_kinds_of_collections_mix() -> None:
    total = dataframe.from_pandas(table(), npartitions=2).price.sum()
    got = compute(array.ones(3).sum(), total, dask.delayed(abs)(-1), bag.range(3, npartitions=1).sum())
    assert got == (3.0, 21.0, 1, 3)


@pytest.fixture(scope="module")
def theirs() -> Iterator[Any]:
    """A client of a cluster of dask's own, in this process."""
    distributed = pytest.importorskip("distributed")
    quiet = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}
    scheduler = {"cls": distributed.Scheduler, "options": {**quiet, "protocol": "inproc://", "port": 0}}
    worker = {"cls": distributed.Worker, "options": {**quiet, "nthreads": 1}}
    cluster = distributed.SpecCluster(scheduler=scheduler, workers={"only": worker})
    with cluster, distributed.Client(cluster, set_as_default=False) as client:
        yield client


def test_what_dasks_own_cluster_has_persisted_is_an_input(executor: Any, theirs: Any) -> None:
    x, items, frame, one = map(
        theirs.persist,
        [
            array.arange(10, chunks=4),
            bag.from_sequence(range(5), npartitions=2),
            dataframe.from_pandas(table(), npartitions=2),
            dask.delayed(sum)([1, 2]),
        ],
    )
    described = delayed(lambda *values: [(type(value).__name__, len(value)) for value in values])(x, items, frame)
    assert described.compute(executor=executor) == [("ndarray", 10), ("list", 5), ("DataFrame", 6)]
    assert inc(one).compute(executor=executor) == 4
    assert from_dask(x.sum()).compute(executor=executor) == 45
    assert (x.max() - x.min()).compute(scheduler=get, executor=executor) == 9


def test_what_has_the_protocol_and_nothing_lazy_is_a_value() -> None:
    class InMemory:
        def __dask_graph__(self) -> None:
            return None

    value = InMemory()
    assert compute(value, executor="sync") == (value,)
    assert delayed(type)(value).compute(executor="sync") is InMemory


# -- one of our graphs -----------------------------------------------------------------------------


def test_a_collection_as_a_promise_is_explained_drawn_checked_and_run(executor: Any) -> None:
    promise = from_dask(array.ones((6, 6), chunks=3).sum())
    assert "sum" in str(promise.explain())
    assert "sum-aggregate" in promise._repr_svg_()
    assert lazygraph.check(promise) == []
    assert promise.compute(executor=executor) == 36.0
    assert pickle.loads(pickle.dumps(promise)).compute(executor="sync") == 36.0


def test_its_nodes_are_called_as_their_layers_and_say_which_key_they_are() -> None:
    def broken(block: Any) -> Any:
        if block.size:
            raise ArithmeticError("of one block")
        return block

    promise = from_dask(array.ones(4, chunks=2).map_blocks(broken, dtype=float))
    with pytest.raises(ArithmeticError) as raised:
        promise.compute(executor="sync")
    (note,) = raised.value.__notes__
    assert "node 'broken'" in note and "built at dask's key ('broken-" in note


def test_data_alone_is_a_promise_too() -> None:
    assert from_dask(dask.delayed(5)).compute(executor="sync") == 5


def test_what_is_no_collection_is_refused() -> None:
    with pytest.raises(TypeError, match=r"from_dask\(\) takes a dask array, bag, dataframe or delayed, not 5"):
        from_dask(5)


# -- promises of ours in dask's hands --------------------------------------------------------------


@pytest.fixture(params=["ours", "dask's threads", "dask's own", None])
def scheduler(request: pytest.FixtureRequest) -> Any:
    """Who runs it: we, dask, and whoever dask asks when nobody says."""
    return {"ours": get, "dask's threads": "threads", "dask's own": "sync", None: None}[request.param]


def test_dask_computes_promises_of_ours(scheduler: Any) -> None:
    one = inc(0)
    both = add(one, [add(one, 1)][0])
    assert dask.compute(both, {"k": [one]}, 7, scheduler=scheduler) == (3, {"k": [1]}, 7)


def test_dasks_promises_and_arrays_take_ours_as_inputs(scheduler: Any) -> None:
    one = inc(0)
    theirs = dask.delayed(lambda x, rest: [x, *rest])(one, [one, inc(one)])
    block = array.from_delayed(dask.delayed(inc(numpy.zeros(3))), (3,), float)
    assert dask.compute(theirs, block.sum(), one, scheduler=scheduler) == ([1, 1, 2], 3.0, 1)


def test_what_two_of_ours_need_runs_once(scheduler: Any) -> None:
    ran: list[Any] = []
    first = delayed(lambda: counted(ran, 1))()
    assert dask.compute(inc(first), inc(first), scheduler=scheduler) == (2, 2)
    assert ran == [1]


def test_options_of_ours_hold_in_dasks_hands(scheduler: Any) -> None:
    ran: list[Any] = []

    def second_time(self: Any, value: Any) -> Any:
        ran.append(self.request.attempt)
        if len(ran) < 2:
            raise ArithmeticError
        return value

    assert dask.compute(delayed(second_time, retries=1, bind=True)(5), scheduler=scheduler) == (5,)
    assert ran == [1, 2]


def test_coroutines_and_replacements_hold_in_dasks_hands(scheduler: Any) -> None:
    async def later() -> int:
        return 4

    def other(x: int) -> Any:
        return lazygraph.replace(inc(x))

    assert dask.compute(delayed(later)(), delayed(other)(4), scheduler=scheduler) == (4, 5)


def test_what_is_only_waited_for_is_waited_for(scheduler: Any) -> None:
    ran: list[Any] = []
    first = delayed(lambda: counted(ran, "first"))()
    then = bind(delayed(lambda: counted(ran, "then"))(), first)
    assert dask.compute(then, scheduler=scheduler) == ("then",)
    assert ran == ["first", "then"]


def test_what_only_a_whole_run_can_see_to_needs_our_scheduler() -> None:
    limited = delayed(abs, rate_limit="100/s")(-1)
    with pytest.raises(NotImplementedYet, match=r"rate_limit of node 'abs'.*scheduler=lazygraph\.interop\.dask\.get"):
        dask.compute(limited, scheduler="sync")
    assert dask.compute(limited, scheduler=get) == (1,)


def test_callbacks_need_our_scheduler() -> None:
    told: list[Any] = []
    failing = delayed(lambda: 1 / 0)
    watched = group([failing.s().link_error(delayed(lambda failure: told.append(failure.node)).si(1)), inc.s(1)])
    promise = watched.to_delayed()
    with pytest.raises((NotImplementedYet, ZeroDivisionError)):
        dask.compute(promise, scheduler="sync")
    assert told == []


def test_held_values_go_along() -> None:
    (held,) = lazygraph.persist(inc(1), executor="threads")
    assert dask.compute(add(held, 1), scheduler="sync") == (3,)
    assert dask.compute(add(held, 1), scheduler=get) == (3,)


def test_dask_persists_and_optimizes_promises_of_ours() -> None:
    ran: list[Any] = []
    promise = delayed(lambda: counted(ran, 3))()
    (kept,) = dask.persist(promise, scheduler="sync")
    assert isinstance(kept, lazygraph.Delayed)
    assert kept.compute(executor="sync") == inc(kept).compute(executor="sync") - 1 == 3
    assert ran == [3]
    (same,) = dask.optimize(inc(inc(1)))
    assert same.compute(executor="sync") == 3


def test_a_deep_promise_is_no_trouble() -> None:
    promise = inc(0)
    for _ in range(20_000):
        promise = inc(promise)
    assert dask.compute(promise, scheduler=get) == (20_001,)


def test_one_key_for_two_calls_is_refused() -> None:
    with pytest.raises(DuplicateKey):
        dask.compute([add(inc(1, dask_key_name="k"), inc(2, dask_key_name="k"))], scheduler="sync")


def test_dask_is_not_imported_by_those_who_do_not_use_it() -> None:
    import subprocess
    import sys

    script = (
        "import sys, lazygraph; f = lazygraph.delayed(abs); "
        "assert lazygraph.compute(f(-1), [f(f(-2))]) == (1, [2]) and len(f(1).dask) == 1; "
        "assert 'dask' not in sys.modules and 'lazygraph.planning.from_dask' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
