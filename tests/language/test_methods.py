"""Methods made lazy: the object goes along, whichever way the call is written."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

import lazygraph
from lazygraph import chain, delayed, group, key_of
from lazygraph.errors import InvalidOption, ReturnedPromise, WrongCall


class Scale:
    """An object with lazy methods of every kind."""

    def __init__(self, factor: int) -> None:
        self.factor = factor

    @delayed
    def by(self, x: int, plus: int = 0) -> int:
        return self.factor * x + plus

    @classmethod
    @delayed
    def named(cls, x: int) -> tuple[str, int]:
        return cls.__name__, x

    @staticmethod
    @delayed
    def inside(x: int) -> int:
        return x

    @delayed
    @staticmethod
    def outside(x: int) -> int:
        return x


scale = Scale(10)
plus_one = delayed(lambda x: x + 1)


def test_a_call_knows_its_object() -> None:
    assert scale.by(2).compute() == 20
    assert Scale.by(Scale(3), 2, plus=1).compute() == 7


def test_so_does_every_other_way_to_call_it() -> None:
    assert scale.by.s(2).compute() == 20
    assert scale.by.si(2).compute() == 20
    assert scale.by.delay(2, plus=1).get() == 21
    assert scale.by.apply_async((2,), {"plus": 1}).get() == 21
    assert scale.by.map([1, 2]).compute() == [10, 20]
    assert scale.by.starmap([(1, 1), (2, 2)]).compute() == [11, 22]
    assert scale.by.options(name="scaled")(2).compute() == 20
    assert delayed(scale.by)(2).compute() == 20


def test_what_comes_before_goes_in_front_of_the_arguments_and_behind_the_object() -> None:
    assert chain(plus_one.s(1), scale.by.s(5)).compute() == 25
    assert (group(plus_one.s(n) for n in range(3)) | lazygraph.each(scale.by.s(1))).compute() == [11, 21, 31]


def test_class_methods_and_static_ones() -> None:
    assert scale.named(1).compute() == Scale.named(1).compute() == ("Scale", 1)
    assert scale.named.s(1).compute() == ("Scale", 1)
    for call in (scale.inside, Scale.inside, scale.outside, Scale.outside):
        assert call(4).compute() == call.s(4).compute() == 4


def test_a_class_method_is_decorated_inside() -> None:
    with pytest.raises(InvalidOption, match=rf"above @classmethod at {__file__}:\d+; write @classmethod first"):
        delayed(classmethod(lambda cls: 1))


def test_as_an_argument_it_is_the_plain_method() -> None:
    assert delayed(lambda method: method(3))(scale.by).compute() == 30


def test_a_wrong_call_is_told_at_the_users_line() -> None:
    for wrong in (lambda: scale.by(), lambda: scale.by.s(1, 2, 3), lambda: scale.by.si()):
        with pytest.raises(WrongCall, match=rf"by\(.*\(written at {__file__}:\d+\)"):
            wrong()


def test_it_travels_with_its_object() -> None:
    assert pickle.loads(pickle.dumps(scale.by.s(2))).compute() == 20
    assert pickle.loads(pickle.dumps(scale.by(2))).compute() == 20


def test_its_key_is_that_of_the_function_and_the_object() -> None:
    def key(factor: int) -> str:
        return key_of(Scale(factor).by.options(pure=True)(1))

    assert key(2) == key(2) != key(3)


# -- many calls in one task ------------------------------------------------------------------------


def test_many_calls_of_an_async_function_are_awaited_together() -> None:
    @delayed
    async def later(x: int) -> int:
        return x + 1

    assert later.map([1, 2]).compute() == later.starmap([(1,), (2,)]).compute() == [2, 3]


def test_many_calls_that_are_to_be_replaced() -> None:
    @delayed
    async def grows(x: int) -> Any:
        return lazygraph.replace(plus_one.s(x)) if x else 0

    assert grows.map([0, 1, 2]).compute() == [0, 2, 3]


def test_many_calls_that_return_promises_are_told() -> None:
    with pytest.raises(ReturnedPromise):
        delayed(lambda x: plus_one(x)).map([1]).compute()
