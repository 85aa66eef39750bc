"""Everything a user of `dask.delayed` has, under the same names: one test for each feature."""

from __future__ import annotations

import asyncio
import functools
import inspect
import math
import operator
import pickle
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lazygraph
from lazygraph import Delayed, compute, delayed, optimize, persist, visualize


def add(x: Any, y: Any = 0) -> Any:
    """Add two things."""
    return x + y


one, two = delayed(1), delayed(add)(1, 1)
"""Promises of 1 and 2."""


# -- making: delayed(obj, name, pure, nout, traverse) ----------------------------------------------


@pytest.mark.parametrize(
    "lazy",
    [
        delayed(add),
        delayed()(add),
        delayed(pure=True)(add),
        delayed(nout=None)(add),
        delayed(add, pure=True),
        delayed(add, "addition", True),
        delayed(obj=add),
    ],
)
def test_curried_forms(lazy: Any) -> None:
    assert lazy(1, 2).compute() == 3


def test_what_is_delayed_stays_what_it_is() -> None:
    assert delayed(two) is two
    assert delayed(delayed(add))(1, 2).compute() == 3


@pytest.mark.parametrize("value", [5, None, "text", b"bytes", 2.5, [], {}, (), {1, 2}, object, ..., range(3)])
def test_any_value_can_be_a_promise(value: Any) -> None:
    made = delayed(value)
    assert isinstance(made, Delayed)
    assert made.compute() == (value if not callable(value) else made.compute())


def test_a_value_is_held_by_reference() -> None:
    value = object()
    assert delayed(value).compute() is value


def test_traverse_false_leaves_collections_alone() -> None:
    assert delayed([two], traverse=False).compute()[0] is two
    assert delayed(two, traverse=False).compute() == 2


def test_name_is_the_key_of_this_value_not_of_its_calls() -> None:
    assert delayed([1, 2], name="mine").key == "mine"
    lazy = delayed(add, name="addition")
    assert lazy(1, 2).key != lazy(1, 2).key


def test_pure_calls_are_one_node() -> None:
    calls: list[int] = []

    @delayed(pure=True)
    def note(x: int) -> int:
        calls.append(x)
        return x

    assert compute(note(1), note(1), note(2)) == (1, 1, 2)
    assert sorted(calls) == [1, 2]


@pytest.mark.parametrize("nout", [0, 1, 2, 3])
def test_nout_gives_length_and_items(nout: int) -> None:
    outputs = delayed(lambda: tuple(range(nout)), nout=nout)()
    assert len(outputs) == nout
    assert compute(*outputs) == tuple(range(nout))
    assert compute([*outputs]) == (list(range(nout)),)


def test_nout_of_one_is_a_tuple_of_one() -> None:
    (only,) = delayed(lambda: ("only",), nout=1)()
    assert only.compute() == "only"


def test_nout_of_a_value() -> None:
    x, y = delayed([two, 5], nout=2)
    assert compute(x, y) == (2, 5)


@pytest.mark.parametrize("nout", [-1, True, 1.5])
def test_nout_is_a_number_of_outputs(nout: Any) -> None:
    with pytest.raises(ValueError, match="nout"):
        delayed(add, nout=nout)


def test_the_wrapped_function_is_told_by_its_name_and_words() -> None:
    lazy = delayed(add)
    assert (lazy.__name__, lazy.__doc__, lazy.__wrapped__) == ("add", "Add two things.", add)
    assert (lazy.__module__, lazy.__qualname__) == (add.__module__, add.__qualname__)
    assert inspect.signature(lazy) == inspect.signature(add)


def test_methods_classmethods_and_staticmethods() -> None:
    class Account:
        rate = 2

        def __init__(self, balance: int) -> None:
            self.balance = balance

        @delayed
        def plus(self, amount: int) -> int:
            return self.balance + amount

        @delayed(pure=True)
        def times(self, factor: int) -> int:
            return self.balance * factor

        @classmethod
        @delayed
        def doubled(cls, amount: int) -> int:
            return cls.rate * amount

        @staticmethod
        @delayed
        def halved(amount: int) -> float:
            return amount / 2

    account = Account(10)
    assert compute(account.plus(1), account.times(2), account.doubled(3), Account.doubled(4)) == (11, 20, 6, 8)
    assert compute(account.halved(4), Account.halved(6), Account.plus(account, amount=5)) == (2, 3, 15)
    assert delayed(account.plus).compute().__self__ is account


class Scale:
    """A callable object."""

    def __init__(self, by: int) -> None:
        self.by = by

    def __call__(self, x: int) -> int:
        return x * self.by


@pytest.mark.parametrize(
    ("function", "args", "expected"),
    [
        (Scale(3), (2,), 6),
        (functools.partial(add, 5), (2,), 7),
        (functools.partial(add, y=5), (2,), 7),
        (sum, ([1, 2],), 3),
        (max, (1, two), 2),
        (operator.add, (1, 2), 3),
        (operator.itemgetter(1), ("abc",), "b"),
        (math.sqrt, (4,), 2),
        (int, ("7",), 7),
        (Counter, ("aab",), Counter("aab")),
        ("a,b".split, (",",), ["a", "b"]),
        (str.upper, ("a",), "A"),
        (lambda *args: args, (1, two), (1, 2)),
    ],
)
def test_anything_that_can_be_called(function: Any, args: tuple[Any, ...], expected: Any) -> None:
    assert delayed(function)(*args).compute() == expected


@pytest.mark.parametrize("executor", ["sync", "threads"])
def test_async_functions_are_awaited(executor: str) -> None:
    async def later(x: int) -> int:
        await asyncio.sleep(0)
        return x + 1

    lazy = delayed(later)
    assert lazy(1).compute(executor=executor) == 2
    assert delayed(add)(lazy(1), lazy(lazy(2))).compute(executor=executor) == 6


# -- calling ---------------------------------------------------------------------------------------


def test_promises_as_positional_and_keyword_arguments() -> None:
    assert delayed(add)(one, y=two).compute() == 3
    assert delayed(dict)(a=one, b=[two]).compute() == {"a": 1, "b": [2]}


def test_dask_key_name_is_the_key() -> None:
    assert delayed(add)(1, 2, dask_key_name="three").key == "three"
    assert delayed(add)(1, 2, dask_key_name="three").compute() == 3


def test_a_key_starts_with_the_name() -> None:
    assert delayed(add)(1, 2).key.startswith("add-")
    assert delayed(add)(1, 2, pure=True).key.startswith("add")
    assert delayed(functools.partial(add, 1))(2).key.startswith("add-")


def test_pure_can_be_said_at_the_call() -> None:
    calls: list[int] = []
    note = delayed(lambda x: calls.append(x))
    compute(note(1, pure=True), note(1, pure=True), note(1))
    assert calls == [1, 1]


def test_parameters_of_these_names_are_the_functions_own() -> None:
    @delayed
    def honey(pure: bool, dask_key_name: str) -> tuple[bool, str]:
        return pure, dask_key_name

    assert honey(pure=True, dask_key_name="mine").compute() == (True, "mine")


def test_a_promise_of_something_that_can_be_called() -> None:
    adder = delayed(lambda x: functools.partial(add, x))(1)
    assert adder(two).compute() == 3
    assert adder(y=two).compute() == 3
    named = adder(2, pure=True, dask_key_name="called")
    assert (named.key, named.compute()) == ("called", 3)


# -- what can be done to a promise -----------------------------------------------------------------


@pytest.mark.parametrize(
    "function",
    [
        operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod, operator.pow,
        operator.and_, operator.or_, operator.xor, operator.lshift, operator.rshift,
        operator.lt, operator.le, operator.eq, operator.ne, operator.ge, operator.gt,
    ],
)  # fmt: skip
def test_operators_on_both_sides(function: Callable[[Any, Any], Any]) -> None:
    seven = delayed(7)
    assert compute(function(seven, two), function(seven, 2), function(7, two)) == (function(7, 2),) * 3


def test_operators_with_one_operand() -> None:
    assert compute(-two, +two, ~two, abs(-two), round(two / 3, 2)) == (-2, 2, ~2, 2, 0.67)


def test_items_and_slices() -> None:
    letters = delayed("abcdef")
    assert compute(letters[0], letters[two], letters[two:], letters[1 : two + 2 : two]) == ("a", "c", "cdef", "bd")
    assert delayed({(1, 2): "pair"})[one, two].compute() == "pair"


def test_attributes_of_attributes_and_methods() -> None:
    number = delayed(3 + 4j)
    assert compute(number.real, number.imag.is_integer(), number.conjugate().imag) == (3, True, -4)
    assert delayed("a b").split(maxsplit=one).compute() == ["a", "b"]


def test_a_method_call_is_one_node_and_takes_pure_and_dask_key_name() -> None:
    word = delayed("word")
    upper = word.upper(dask_key_name="loud", pure=True)
    assert (upper.key, upper.compute(), len(upper.graph)) == ("loud", "WORD", 2)


def test_missing_attributes_and_methods_fail_when_they_run() -> None:
    lazy = two.nothing, two.nothing(1)
    for promise in lazy:
        with pytest.raises(AttributeError, match="nothing"):
            promise.compute()


@pytest.mark.parametrize("name", ["_private", "__array__", "__wrapped__", "_repr_html_"])
def test_hidden_names_are_no_attributes(name: str) -> None:
    with pytest.raises(AttributeError):
        getattr(two, name)


def _set_attribute(d: Any) -> None:
    d.x = 1


@pytest.mark.parametrize(
    ("forbidden", "error"),
    [
        (lambda d: operator.setitem(d, 0, 1), TypeError),
        (lambda d: operator.delitem(d, 0), TypeError),
        (_set_attribute, (TypeError, AttributeError)),
        (bool, TypeError),
        (lambda d: 5 if d else 6, TypeError),
        (lambda d: 1 in d, TypeError),
        (iter, TypeError),
        (len, TypeError),
        (list, TypeError),
        (lambda d: (lambda a, b: a)(*d), TypeError),
        (lambda d: operator.index(d), TypeError),
        (lambda d: d + 1 if d > 1 else d, TypeError),
    ],
)
def test_what_python_must_not_do_is_an_error(forbidden: Callable[[Any], Any], error: Any) -> None:
    with pytest.raises(error):
        forbidden(delayed(add)(1, 2))


def test_a_promise_can_be_hashed_and_has_a_key() -> None:
    assert len({one, two, one}) == 2
    assert isinstance(two.key, str)
    assert two.key == two.key


def test_dask_is_the_graph() -> None:
    assert len((two + 1).dask) == 2


def test_dir_names_what_is_ours() -> None:
    assert {"compute", "persist", "visualize", "key", "dask"} <= set(dir(two))


@pytest.mark.parametrize("dumps", [pickle.dumps, pytest.importorskip("cloudpickle").dumps])
def test_pickling(dumps: Callable[[Any], bytes]) -> None:
    promise = delayed(operator.add)(delayed(sum)([1, two]), 4)
    assert pickle.loads(dumps(promise)).compute() == 7
    assert pickle.loads(dumps(delayed(add)))(1, 2).compute() == 3
    first, second = pickle.loads(dumps(delayed(divmod, nout=2)(7, 2)))
    assert compute(first, second) == (3, 1)


# -- compute, persist, optimize, visualize ---------------------------------------------------------


def test_compute_returns_a_tuple_and_passes_the_rest_through() -> None:
    assert compute(two) == (2,)
    assert compute(two, 5, "a", None, [two, {"k": one}]) == (2, 5, "a", None, [2, {"k": 1}])
    assert compute() == ()
    assert compute(two, two) == (2, 2)


def test_compute_with_traverse_false() -> None:
    got = compute([two], two, traverse=False)
    assert got[0][0] is two
    assert got[1] == 2


@pytest.mark.parametrize("optimize_graph", [True, False])
@pytest.mark.parametrize("scheduler", ["sync", "synchronous", "single-threaded", "threads", "threading"])
def test_compute_with_dasks_words(scheduler: str, optimize_graph: bool) -> None:
    end = (two + 1) * delayed(add)(two, 1)
    assert end.compute(scheduler=scheduler, optimize_graph=optimize_graph) == 9
    assert compute(end, [end], scheduler=scheduler, optimize_graph=optimize_graph) == (9, [9])
    assert persist(end, scheduler=scheduler, optimize_graph=optimize_graph)[0].compute() == 9
    assert end.persist(scheduler=scheduler).compute(scheduler=scheduler) == 9


def test_an_unknown_word_is_an_error() -> None:
    with pytest.raises(TypeError, match="did you mean 'scheduler'"):
        compute(two, schedular="sync")


def test_persist_runs_once_and_gives_promises() -> None:
    calls: list[int] = []

    @delayed
    def note(x: int) -> int:
        calls.append(x)
        return x

    kept, nested = persist(note(1), {"k": [note(2)]})
    assert type(kept) is Delayed
    assert compute(kept, nested, delayed(add)(kept, 1)) == (1, {"k": [2]}, 2)
    assert sorted(calls) == [1, 2]
    assert note(3).persist().compute() == 3


def test_optimize_gives_promises_of_one_merged_graph() -> None:
    note = delayed(add, pure=True)
    a, b = note(1, 2), note(1, 2)
    first, (second,), seven = optimize(a + 1, [b + 2], 7)
    assert isinstance(first, Delayed)
    assert compute(first, second, seven) == (4, 5, 7)
    assert len(delayed([a + 1, b + 2]).graph) == len(delayed([first, second]).graph) + 1


@pytest.mark.parametrize("optimize_graph", [True, False])
def test_visualize_writes_a_file_and_gives_a_picture(tmp_path: Path, optimize_graph: bool) -> None:
    target = tmp_path / "graph.svg"
    end = two + 1
    picture = end.visualize(filename=str(target), optimize_graph=optimize_graph)
    assert picture.data == target.read_bytes()
    assert visualize(end, [two], {"k": one}, filename=None, format="svg").data.startswith(b"<svg")
    assert b"digraph" in end.visualize(str(tmp_path / "graph.dot")).data
    assert "digraph" in (tmp_path / "graph.dot").read_text(encoding="utf-8")


def test_annotate_says_options_of_what_is_built_inside() -> None:
    with lazygraph.annotate(priority=3, retries=2), lazygraph.annotate(priority=5):
        inside = [delayed(add)(1, 2), two.real, two + 1]
    assert {(promise._options.priority, promise._options.retries) for promise in inside} == {(5, 2)}
    assert delayed(add)(1, 2)._options.priority == 0
    with pytest.raises(TypeError, match="allow_other_workers"):
        lazygraph.annotate(allow_other_workers=True)


def test_config_set_chooses_the_scheduler() -> None:
    here = delayed(threading.get_ident)
    with lazygraph.config.set(scheduler="threads"):
        assert lazygraph.config.get("scheduler") == "threads"
        with lazygraph.config.set({"scheduler": "synchronous"}):
            assert here().compute() == threading.get_ident()
        assert here().compute() != threading.get_ident()
    assert here().compute() == threading.get_ident()  # as the tests here are set up


@pytest.mark.parametrize("name", ["num_workers", "pool", "delayed_pure", "unheard_of"])
def test_other_settings_are_refused_by_name(name: str) -> None:
    with pytest.raises(TypeError, match=f"config.set.. has no option '{name}'"):
        lazygraph.config.set(**{name: 1})


@pytest.mark.parametrize("name", ["bag", "is_dask_collection", "graph_manipulation"])
def test_what_is_elsewhere_says_where(name: str) -> None:
    with pytest.raises(AttributeError, match=f"lazygraph has no '{name}'; "):
        getattr(lazygraph, name)


def test_a_delayed_function_that_returns_a_promise_says_what_to_do() -> None:
    with pytest.raises(TypeError, match="replace"):
        delayed(lambda: two)().compute()


def test_a_delayed_function_as_an_argument_is_the_function() -> None:
    assert delayed(lambda function, x: function(x, x))(delayed(add), 2).compute() == 4


def test_errors_are_the_users_own() -> None:
    with pytest.raises(ZeroDivisionError):
        (delayed(1) / 0 + 1).compute()
    with lazygraph.use("threads"), pytest.raises(KeyError, match="missing"):
        delayed({})["missing"].compute()
