"""Computing, as type checkers see it: read by both of them, run by nobody (see test_typing)."""

from __future__ import annotations

from typing import Any, assert_type

from lazygraph import Delayed, Future, GroupResult, Run, compute, delayed, group, persist, start


@delayed
def add(x: int, y: int) -> int:
    return x + y


@delayed
def show(x: int) -> str:
    return str(x)


three = add(1, 2)
many = [three, three]

assert_type(compute(three), tuple[int])
assert_type(compute(three, show(1)), tuple[int, str])
assert_type(compute(three, add.s(1, 2) | show.s(), executor="sync"), tuple[int, str])
assert_type(compute(group(add.s(1, 2), three), three), tuple[list[int], int])
assert_type(compute(three, three, three, three, three, show(1)), tuple[int, int, int, int, int, str])
assert_type(compute(*many), tuple[int, ...])
assert_type(compute(three, {"all": many}, 7), tuple[Any, ...])
assert_type(compute(add.delay(1, 2)), tuple[int])
assert_type(persist(three), tuple[Delayed[int]])
assert_type(persist(three, show(1)), tuple[Delayed[int], Delayed[str]])
assert_type(persist(many), tuple[Any, ...])
(listed,) = compute(many)
answer, text = compute(three, show(1), fail_fast=False, timeout=5)
assert_type(answer, int)
assert_type(start(three, many, run_name="mine"), Run)
assert_type(start(three).futures, list[Future[Any]])

compute(three, excutor="sync")  # E: mypy[call-overload] pyright[reportCallIssue]
compute(three, timeout="5")  # E: mypy[call-overload] pyright[reportArgumentType]


def waits(results: GroupResult[int]) -> None:
    assert_type(results.get(timeout=3), list[int])
    assert_type(results[0], Future[int])
    assert_type([future.result() for future in results], list[int])


async def awaits(future: Future[int], results: GroupResult[str]) -> None:
    assert_type(await future, int)
    assert_type(await results, list[str])
