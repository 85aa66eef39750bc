"""What can be done to a promise, and what Python must not do with one."""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Callable
from typing import Any

import pytest

import lazygraph
from lazygraph import compute, delayed
from lazygraph.errors import NotConcrete
from lazygraph.language.promise import Delayed

SEVEN, TWO = 7, 2

BINARY = [
    operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod, operator.pow,
    operator.lshift, operator.rshift, operator.and_, operator.or_, operator.xor, operator.lt, operator.le,
    operator.eq, operator.ne, operator.gt, operator.ge, divmod,
]  # fmt: skip


@pytest.mark.parametrize("function", BINARY, ids=lambda f: f.__name__)
def test_binary_operators_on_either_side(function: Callable[[Any, Any], Any]) -> None:
    x, y = delayed(SEVEN), delayed(TWO)
    for promise in (function(x, y), function(x, TWO), function(SEVEN, y)):
        assert isinstance(promise, Delayed)
        assert promise.compute() == function(SEVEN, TWO)


@pytest.mark.parametrize("function", [operator.neg, operator.pos, operator.invert, abs], ids=lambda f: f.__name__)
def test_unary_operators(function: Callable[[Any], Any]) -> None:
    assert function(delayed(-7)).compute() == function(-7)


class Matrix:
    """Something that knows `@`."""

    def __matmul__(self, other: Any) -> str:
        return f"self @ {other}"

    def __rmatmul__(self, other: Any) -> str:
        return f"{other} @ self"


def test_matrix_product_on_either_side() -> None:
    assert (delayed(Matrix()) @ 3).compute() == "self @ 3"
    assert (3 @ delayed(Matrix())).compute() == "3 @ self"


def test_operators_with_more_operands() -> None:
    assert round(delayed(2.567), 1).compute() == 2.6
    assert round(delayed(2.567)).compute() == 3
    assert pow(delayed(7), 2, 5).compute() == pow(7, 2, 5)
    quotient, rest = divmod(delayed(7), 2)
    assert compute(quotient, rest) == (3, 1)


def test_items_and_slices_with_promises_in_them() -> None:
    letters = delayed(list("abcdef"))
    assert letters[2].compute() == "c"
    assert letters[delayed(2)].compute() == "c"
    assert letters[1 : delayed(4) : 2].compute() == ["b", "d"]
    assert delayed({"k": 5})["k"].compute() == 5


def test_attributes_and_methods() -> None:
    word = delayed("a-b-c")
    assert delayed(3 + 4j).imag.compute() == 4.0
    assert word.split("-", maxsplit=1).compute() == ["a", "b-c"]
    assert word.replace("-", delayed("+")).upper().compute() == "A+B+C"


def test_a_method_call_is_one_node() -> None:
    assert len(delayed("ab").upper().graph) == 2


def test_a_promise_of_a_function_can_be_called() -> None:
    @delayed
    def adder(x: int) -> Callable[[int], int]:
        return lambda y: x + y

    assert adder(1)(2).compute() == 3
    assert adder(1)(y=2).compute() == 3


def test_a_promise_knows_the_verbs() -> None:
    promise = delayed(operator.add)(1, 2)
    assert promise.compute() == 3
    assert promise.persist().compute() == 3
    assert len(promise.graph) == len(promise.dask) == 1
    assert "1 node" in str(promise.explain())
    assert promise._repr_svg_().startswith("<svg")


# -- what Python must not do -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "use",
    [
        bool,
        iter,
        len,
        lambda d: d and 1,
        list,
        lambda d: (lambda *args: args)(*d),
        lambda d: 3 in d,
        lambda d: sorted([d, d]),
        lambda d: max(d, 1),
        lambda d: operator.setitem(d, 0, 1),
        lambda d: operator.delitem(d, 0),
        int,
        float,
        lambda d: [10, 20][d],
        lambda d: math.floor(d),
        lambda d: range(d),
    ],
)
def test_a_promise_has_no_value_to_look_at(use: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError):
        use(delayed(operator.add)(1, 2))


@pytest.mark.parametrize(
    ("use", "sentence"),
    [
        (bool, "is not known before it has run; compute it first"),
        (iter, "cannot be iterated before it has run; say nout="),
        (len, "has no length before it has run; say nout="),
        (lambda d: operator.setitem(d, 0, 1), "cannot be changed"),
    ],
)
def test_and_says_what_to_do(use: Callable[[Any], Any], sentence: str) -> None:
    with pytest.raises(NotConcrete) as caught:
        use(delayed(operator.add)(1, 2))
    assert "<Delayed 'add' built at" in str(caught.value)
    assert sentence in str(caught.value)


def test_a_promise_cannot_be_given_attributes() -> None:
    promise = delayed(operator.add)(1, 2)
    with pytest.raises(AttributeError):
        promise.x = 1
    with pytest.raises(AttributeError, match="no private attributes, '_x'"):
        promise._x


def test_probes_of_other_libraries_find_nothing() -> None:
    promise = delayed(operator.add)(1, 2)
    for probe in ("__array__", "__len_hint__", "_ipython_display_", "__iter_not__", "__dask_unknown__"):
        assert not hasattr(promise, probe)


def test_a_promise_is_a_key_of_dictionaries() -> None:
    a, b = delayed(1), delayed(1)
    named = {a: "a", b: "b"}
    assert (named[a], named[b]) == ("a", "b")
    assert compute({a: 1}) == ({1: 1},)


def test_a_copy_of_a_promise_is_the_promise() -> None:
    promise = delayed(operator.add)([1], [2])
    assert copy.copy(promise) is promise
    assert copy.deepcopy([promise, promise])[0] is promise


def test_operators_take_the_options_around_them() -> None:
    promise = delayed([1, 2])
    with lazygraph.options(queue="io"):
        made = [promise * 2, promise[0], promise.real, promise.count(1), promise(), 1 + promise]
    assert {node._options.queue for node in made} == {"io"}
    assert (promise * 2)._options.queue == "default"
