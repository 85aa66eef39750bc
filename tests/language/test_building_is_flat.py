"""Building costs the same for every node, whatever is there already: counted in calls, which no clock disturbs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from lazygraph import chain, delayed, group

inc = delayed(lambda x: x)
total = delayed(lambda xs: xs)


def calls_of(act: Callable[[], object]) -> int:
    """Return how many functions are called, of Python's and of C's."""
    counted = 0

    def count(frame: FrameType, event: str, arg: object) -> None:
        nonlocal counted
        counted += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        act()
    finally:
        sys.setprofile(before)
    return counted


def chain_of(length: int) -> Any:
    node = inc(0)
    for _ in range(length):
        node = inc(node)
    return node


@pytest.mark.parametrize("length", [100, 10_000])
def test_a_node_behind_a_long_chain_costs_what_the_second_did(length: int) -> None:
    short, long = chain_of(2), chain_of(length)
    assert calls_of(lambda: inc(long)) == calls_of(lambda: inc(short))


@pytest.mark.parametrize("width", [100, 10_000])
def test_a_fan_in_costs_so_much_a_child(width: int) -> None:
    def cost(children: int) -> int:
        made = [inc(i) for i in range(children)]
        total(made)  # what is made once for every call of this shape
        return calls_of(lambda: total(made))

    a_child = (cost(20) - cost(10)) // 10
    assert cost(width) - cost(10) == a_child * (width - 10)


@pytest.mark.parametrize("among", [list, tuple, lambda made: dict(enumerate(made)), lambda made: [*made, 1, "a"]])
def test_what_holds_nothing_but_promises_is_taken_as_a_whole(among: Callable[[list[Any]], Any]) -> None:
    def cost(children: int) -> int:
        whole = among([inc(i) for i in range(children)])
        total(whole)
        return calls_of(lambda: total(whole))

    assert cost(1_000) == cost(10)


@pytest.mark.parametrize("length", [100, 10_000])
def test_a_step_behind_a_long_canvas_costs_what_the_second_did(length: int) -> None:
    short, long = chain(inc.s(1), inc.s()), chain(inc.s(1), *[inc.s() for _ in range(length)])
    assert calls_of(lambda: long | inc.s()) == calls_of(lambda: short | inc.s())


@pytest.mark.parametrize("width", [100, 10_000])
def test_composing_a_wide_group_looks_at_none_of_its_members(width: int) -> None:
    few, many = group(inc.s(i) for i in range(2)), group(inc.s(i) for i in range(width))
    assert calls_of(lambda: many | total.s()) == calls_of(lambda: few | total.s())
