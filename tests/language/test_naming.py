"""What a promise is called."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import pytest

from lazygraph import delayed

pure, impure = delayed(operator.add, pure=True), delayed(operator.add)
three = impure(1, 2)
"""An input that is one node wherever it is read."""


@pytest.mark.parametrize(
    "make",
    [
        lambda: pure(1, 2),
        lambda: pure(three, [three]),
        lambda: pure(pure(1, 2), pure(3, 4)),
        lambda: delayed([three, {"k": 1}], pure=True),
        lambda: delayed(operator.add)(1, 2, pure=True),
        lambda: three.bit_length(pure=True),
        lambda: impure(1, 2, dask_key_name="mine"),
    ],
)
def test_equal_pure_calls_have_one_key(make: Callable[[], Any]) -> None:
    assert make().key == make().key


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (lambda: pure(1, 2), lambda: pure(2, 1)),
        (lambda: pure(1, 2), lambda: pure(1, 2.0)),
        (lambda: pure(three, 1), lambda: pure(impure(1, 2), 1)),
        (lambda: pure(three, "x"), lambda: pure(three.key, "x")),
        (lambda: delayed([three, 1], pure=True), lambda: delayed([1, three], pure=True)),
        (lambda: delayed([three], pure=True), lambda: delayed((three,), pure=True)),
        (lambda: impure(1, 2), lambda: impure(1, 2)),
        (lambda: pure(object(), 1), lambda: pure(object(), 1)),
    ],
)
def test_whatever_differs_has_another(one: Callable[[], Any], other: Callable[[], Any]) -> None:
    assert one().key != other().key


def test_a_key_starts_with_the_name_and_stays() -> None:
    promise = delayed(operator.add, pure=True, name="plus")(1, 2)
    assert promise.key.startswith("plus-")
    assert promise.key == promise.key


def test_chains_longer_than_python_recurses_have_keys() -> None:
    ends = []
    for _ in range(2):
        end = pure(0, 0)
        for _ in range(3_000):
            end = pure(end, 1)
        ends.append(end)
    assert ends[0].key == ends[1].key
