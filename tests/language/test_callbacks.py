"""`link`: what runs once with the value, and nobody waits for."""

from __future__ import annotations

from typing import Any

import pytest

from lazygraph import chain, compute, delayed, group


@delayed
def add(x: Any, y: Any) -> Any:
    return x + y


@delayed
def tsum(values: list[int]) -> int:
    return sum(values)


@delayed
def same(value: Any) -> Any:
    return value


def computed(canvas: Any) -> Any:
    return canvas.compute()


@pytest.fixture
def noted() -> list[Any]:
    return []


@pytest.fixture
def note(noted: list[Any]) -> Any:
    @delayed
    def take(*values: Any) -> None:
        noted.append(values[0] if len(values) == 1 else values)

    return take


def test_a_callback_runs_once_with_the_value(note: Any, noted: list[Any]) -> None:
    assert computed(add.s(1, 2).link(note.s())) == 3
    assert noted == [3]
    assert add.apply_async((1, 2), link=note.s()).get() == 3
    assert add.apply_async((1, 2), link=[note.s(), note.s("b")]).get() == 3
    assert noted == [3, 3, 3, (3, "b")]


def test_one_lowering_one_callback(note: Any, noted: list[Any]) -> None:
    signature = add.s(1, 2).link(note.s())
    first, second = signature.to_delayed(), signature.to_delayed()
    assert compute(first, second) == (3, 3)
    assert noted == [3, 3]
    first.compute()
    assert noted == [3, 3, 3]


def test_callbacks_do_not_hang_on_promises_of_the_user(note: Any, noted: list[Any]) -> None:
    promise = add(1, 2)
    for canvas in (chain(promise).link(note.s()), group(promise).link(note.s())):
        canvas.to_nodes()
        canvas.compute()
    assert noted == [3, [3]]
    promise.compute()
    assert len(promise.graph) == 1
    assert noted == [3, [3]]


@pytest.mark.parametrize("n", [0, 1, 3])
def test_a_callback_of_a_group_gets_the_whole_list(n: int, note: Any, noted: list[Any]) -> None:
    members = [same.s(i) for i in range(n)]
    assert computed(group(members).link(note.s())) == list(range(n))
    assert noted == [list(range(n))]
    assert computed(group(members).link(note.s()) | tsum.s()) == sum(range(n))
    assert noted == [list(range(n))] * 2
    assert computed(group(same.s("a"), group(members).link(note.s()), same.s("b"))) == ["a", *range(n), "b"]
    deeper = group(group(group(members).link(note.s())), same.s("b"))
    assert computed(deeper) == [*range(n), "b"]
    assert noted == [list(range(n))] * 4


def test_callbacks_inside_a_chain_run_too(note: Any, noted: list[Any]) -> None:
    canvas = (add.s(1, 2).link(note.s()) | add.s(10)).link(note.s()) | add.s(100)
    assert computed(canvas) == 113
    assert sorted(noted) == [3, 13]


def test_callbacks_of_callbacks(note: Any, noted: list[Any]) -> None:
    canvas = add.s(1, 2).link(add.s(10).link(add.s(100).link(note.s())))
    assert computed(canvas) == 3
    assert noted == [113]


def test_callbacks_have_options_of_their_own(note: Any) -> None:
    node = chain(add.s(1, 2).link(note.s())).set(priority=5).to_delayed()
    assert (node._options.priority, node._links[0]._options.priority) == (5, 0)


def test_a_link_that_is_a_chain(note: Any, noted: list[Any]) -> None:
    computed(add.s(1, 2).link(add.s(1) | group(add.s(1), add.s(2)) | note.s()))
    assert noted == [[5, 6]]
