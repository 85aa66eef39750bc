"""Long and deep canvases: built in a loop, lowered without recursion."""

from __future__ import annotations

from typing import Any

from lazygraph import chain, chord, delayed, group


@delayed
def add(x: Any, y: Any) -> Any:
    return x + y


@delayed
def tsum(values: list[int]) -> int:
    return sum(values)


@delayed
def same(value: Any) -> Any:
    return value


def test_a_chain_of_100_000_steps_built_in_a_loop() -> None:
    canvas: Any = add.s(0, 1)
    for _ in range(100_000):
        canvas = canvas | add.s(1)
    assert len(canvas.steps) == 100_001
    assert canvas.compute() == 100_001


def test_a_chain_built_in_front_in_a_loop() -> None:
    canvas: Any = add.s(1)
    for _ in range(20_000):
        canvas = add.s(1) | canvas
    assert canvas.to_delayed(0).compute() == 20_001


def test_a_group_built_in_a_loop() -> None:
    canvas = group()
    for i in range(20_000):
        canvas = group(canvas, same.s(i))
    assert (canvas | tsum.s()).compute() == sum(range(20_000))


def test_chords_in_chords_in_chords() -> None:
    canvas: Any = same.s(0)
    for _ in range(5_000):
        canvas = chord([canvas, same.s(1)], tsum.s())
    assert canvas.compute() == 5_000
    assert len(repr(canvas)) < 1_000


def test_canvases_as_arguments_of_canvases_and_scopes_in_scopes() -> None:
    canvas: Any = add.s(0, 0)
    for _ in range(5_000):
        canvas = add.s(canvas, 1)
    assert canvas.compute() == 5_000
    assert len(repr(canvas)) < 1_000
    nested: Any = same.s(1)
    for _ in range(5_000):
        nested = chain(nested, same.s()).set(pure=True)
    assert nested.compute() == 1
