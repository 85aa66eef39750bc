"""Calls, as type checkers see them: read by both of them, run by nobody (see test_typing)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, assert_type

from lazygraph import Delayed, Future, delayed, ref

T = TypeVar("T")


@delayed
def add(x: int, y: int) -> int:
    return x + y


@delayed
def show(x: int) -> str:
    return str(x)


@delayed(retries=3, queue="io")
def scale(x: float, by: float = 2.0, *, unit: str = "") -> float:
    return x * by


@delayed()
def total_of(*numbers: int) -> int:
    return sum(numbers)


@delayed
def total(numbers: list[int]) -> int:
    return sum(numbers)


@delayed
def mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / len(numbers)


@delayed
def merge(parts: dict[str, int]) -> list[int]:
    return list(parts.values())


@delayed
def eight(a: int, b: int, c: int, d: int, e: int, f: int, g: int, h: int) -> int:
    return a + b + c + d + e + f + g + h


@delayed()  # with the brackets: what says Any is Any to mypy without, and with them too if its first argument does
def anything(x: Any, y: int) -> Any:
    return x


@delayed()
def load(path: str) -> Any:
    return path


@delayed
def log(message: object, level: int) -> None:
    return None


three = add(1, 2)
word = show(3)

# -- plain calls are exact -------------------------------------------------------------------------

assert_type(add(1, 2), Delayed[int])
assert_type(add(1, y=2), Delayed[int])
assert_type(add(x=1, y=2), Delayed[int])
assert_type(show(1), Delayed[str])
assert_type(scale(1), Delayed[float])
assert_type(scale(1, 2.0, unit="m"), Delayed[float])
assert_type(total_of(1, 2, 3), Delayed[int])
assert_type(total([]), Delayed[int])
assert_type(mean((1, 2.5)), Delayed[float])
assert_type(merge({"a": 1}), Delayed[list[int]])
assert_type(load("x"), Delayed[Any])
assert_type(log("x", 1), Delayed[None])
assert_type(three.compute(), int)
assert_type(three.compute(executor="sync", fail_fast=False), int)
assert_type(three.persist(), Delayed[int])

add(1)  # E: mypy[call-overload] pyright[reportCallIssue]
add(1, 2, 3)  # E: mypy[call-overload] pyright[reportCallIssue]
add("1", 2)  # E: mypy[arg-type] pyright[reportArgumentType]
add(1, z=2)  # E: mypy[call-overload] pyright[reportCallIssue]
add(1, 2, y=2)  # E: mypy[call-overload] pyright[reportCallIssue]
add(x="1", y=2)  # E: mypy[call-overload] pyright[reportArgumentType]
scale(1, unit=2)  # E: mypy[call-overload] pyright[reportArgumentType]
scale(1, 2.0, "m")  # E: mypy[call-overload] pyright[reportCallIssue]
total_of(1, "2")  # E: mypy[arg-type] pyright[reportArgumentType]
total("12")  # E: mypy[arg-type] pyright[reportArgumentType]
total(["1"])  # E: mypy[list-item] pyright[reportArgumentType]
anything(1)  # E: pyright[reportCallIssue]
load(1)  # E: mypy[call-overload] pyright[reportArgumentType]
log("x")  # E: mypy[call-overload] pyright[reportCallIssue]
three.compute(excutor="sync")  # E: mypy[call-arg] pyright[reportCallIssue]

# -- a promise of an A is taken where an A is ------------------------------------------------------

assert_type(add(three, 3), Delayed[int])
assert_type(add(3, three), Delayed[int])
assert_type(add(add(three, 1), add(1, three)), Delayed[int])
assert_type(show(add(1, three)), Delayed[str])
assert_type(add(three, y=3), Delayed[int])
assert_type(scale(three), Delayed[float])  # an int is a float, and so is its promise
assert_type(scale(three, 1.5, unit="m"), Delayed[float])
assert_type(scale(three, three, unit="m"), Delayed[float])
assert_type(total_of(three, 1, three), Delayed[int])
assert_type(eight(three, 2, three, 4, three, 6, three, three), Delayed[int])
assert_type(log(three, 1), Delayed[None])
assert_type(add(anything(1, 2), load("x")), Delayed[int])

add(word, 1)  # E: mypy[arg-type] pyright[reportArgumentType]
add(1, word)  # E: mypy[arg-type] pyright[reportArgumentType]
add(three)  # E: mypy[call-overload] pyright[reportCallIssue]
add(three, 1, 2)  # E: mypy[call-overload] pyright[reportCallIssue]
show(merge({"a": 1}))  # E: mypy[arg-type] pyright[reportArgumentType]
next(three)  # E: mypy[call-overload] pyright[reportArgumentType]
show(word)  # E: mypy[arg-type] pyright[reportArgumentType]
scale(three, unit=3)  # E: mypy[call-overload] pyright[reportArgumentType]
mean(word)  # E: mypy[arg-type] pyright[reportArgumentType]

# -- as a keyword, and inside of other things, with ref --------------------------------------------


@dataclass
class Point:
    x: int
    y: int = 0


assert_type(ref(three), int)
assert_type(add(x=ref(three), y=2), Delayed[int])
assert_type(scale(1, unit=ref(word)), Delayed[float])
assert_type(total([1, ref(three)]), Delayed[int])
point = Point(ref(three), y=ref(three))

add(x=three, y=2)  # E: mypy[call-overload] pyright[reportArgumentType]
add(x=ref(word), y=2)  # E: mypy[call-overload] pyright[reportArgumentType]

# -- containers of promises are taken; what is in them is not asked --------------------------------

squares = [add(n, n) for n in range(10)]
assert_type(squares, list[Delayed[int]])
assert_type(total(squares), Delayed[int])
assert_type(total([three, three]), Delayed[int])
assert_type(mean(squares), Delayed[float])
assert_type(mean(tuple(squares)), Delayed[float])
assert_type(mean(add(n, n) for n in range(3)), Delayed[float])
assert_type(merge({"a": three}), Delayed[list[int]])

total([1], squares)  # E: mypy[call-overload] pyright[reportCallIssue]

# -- futures and canvases are taken like promises --------------------------------------------------

future = add.delay(1, 2)
assert_type(future, Future[int])
assert_type(future.result(), int)
assert_type(future.get(timeout=1), int)
assert_type(add.delay(three, 2), Future[int])
assert_type(add(future, add.s(1, 2)), Delayed[int])
assert_type(show(add.s(1, 2) | add.s(3)), Delayed[str])
assert_type(total([add.s(1, 2), add.s(3, 4)]), Delayed[int])

show(show.delay(1))  # E: mypy[arg-type] pyright[reportArgumentType]
show(show.s(1))  # E: mypy[arg-type] pyright[reportArgumentType]
add.delay(1)  # E: mypy[call-overload] pyright[reportCallIssue]


async def waits() -> None:
    assert_type(await future, int)


# -- everything else of a promise is lazy, and of a type that nobody knows -------------------------

assert_type(three + 1, Delayed[Any])
assert_type(1 + three, Delayed[Any])
assert_type(-three, Delayed[Any])
assert_type(three < 4, Delayed[Any])
assert_type(three == 4, Delayed[Any])
assert_type(three[0], Delayed[Any])
assert_type(three.real, Delayed[Any])
assert_type(word.upper(), Delayed[Any])
assert_type(round(three, 2), Delayed[Any])
assert_type(three | 1, Delayed[Any])
assert_type(1 | three, Delayed[Any])
assert_type(three | three, Delayed[Any])
assert_type(three**2, Delayed[Any])
assert_type(show(three + 1), Delayed[str])
first, second = delayed(divmod, nout=2)(7, 2)
assert_type(first, Delayed[Any])

# -- a promise is covariant; a delayed function is a function --------------------------------------

wide: Delayed[float] = three
narrow: Delayed[bool] = three  # E: mypy[assignment] pyright[reportAssignmentType]
later: Future[float] = future


def twice(function: Callable[[int], T]) -> T:
    return function(2)


assert_type(twice(show), Delayed[str])
assert_type(list(map(show, [1, 2])), list[Delayed[str]])
assert_type(list(map(show, squares)), list[Delayed[str]])
twice(add)  # E: mypy[arg-type] pyright[reportArgumentType]

# -- what a call takes for itself ------------------------------------------------------------------

assert_type(add(1, 2, dask_key_name="three"), Delayed[int])
assert_type(add(1, three, pure=True), Delayed[int])
