"""What `delayed` makes of what, as type checkers see it: read by both of them, run by nobody (see test_typing)."""

from __future__ import annotations

import functools
import itertools
import json
import math
import operator
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, assert_type

from lazygraph import Delayed, RetryPolicy, Signature, delayed

T = TypeVar("T")
U = TypeVar("U")


@delayed
def add(x: int, y: int) -> int:
    return x + y


three = add(1, 2)
many = [three, three]
unknown: Delayed[Any] = three + 1

# -- every spelling --------------------------------------------------------------------------------


def plain(x: int) -> str:
    return str(x)


@delayed()
def with_nothing(x: int) -> str:
    return str(x)


@delayed(retries=RetryPolicy(max_retries=2), name="shown", pure=True, nout=2)
def with_options(x: int) -> str:
    return str(x)


assert_type(delayed(plain)(1), Delayed[str])
assert_type(delayed(plain, pure=True)(1), Delayed[str])
assert_type(delayed(plain, "shown")(three), Delayed[str])
assert_type(delayed(delayed(plain))(1), Delayed[str])
assert_type(delayed(delayed(plain), queue="io")(1), Delayed[str])
assert_type(with_nothing(three), Delayed[str])
assert_type(with_options(1), Delayed[str])
assert_type(with_options.options(retries=3)(1), Delayed[str])

delayed(plain)("1")  # E: mypy[arg-type] pyright[reportArgumentType]
with_nothing("1")  # E: mypy[arg-type] pyright[reportArgumentType]
with_options(1, 2)  # E: mypy[call-overload] pyright[reportCallIssue]
with_options.options(retries=3)("1")  # E: mypy[arg-type] pyright[reportArgumentType]
delayed(retrys=3)  # E: mypy[call-overload] pyright[reportCallIssue]
with_options.options(queue=3)  # E: mypy[arg-type, call-overload] pyright[reportArgumentType, reportCallIssue]

# -- values, collections, promises, canvases -------------------------------------------------------

assert_type(delayed(1), Delayed[int])
assert_type(delayed([1, 2], name="numbers"), Delayed[list[int]])
assert_type(delayed([three, three]), Delayed[list[int]])
assert_type(delayed({"a": three}), Delayed[dict[str, int]])
assert_type(delayed({"a": [1, 2]}, traverse=False), Delayed[dict[str, list[int]]])
assert_type(delayed(three), Delayed[int])
assert_type(delayed(add.s(1, 2)), Delayed[int])
assert_type(delayed(None), Delayed[None])

# -- a context comes first, and is not the caller's ------------------------------------------------


@delayed(bind=True, retries=3)
def fetch(self: Any, url: str, tries: int = 3) -> bytes:
    return b""


assert_type(fetch("x"), Delayed[bytes])
assert_type(fetch("x", tries=2), Delayed[bytes])
assert_type(fetch.s(), Signature[str, bytes])
assert_type(delayed(plain, bind=True)(), Delayed[str])
fetch(None, "x")  # E: mypy[call-overload] pyright[reportCallIssue, reportArgumentType]
fetch()  # E: mypy[call-overload] pyright[reportCallIssue]

# -- coroutine functions give what they return -----------------------------------------------------


@delayed
async def download(url: str) -> bytes:
    return b""


@delayed(retries=2)
async def upload(data: bytes) -> int:
    return len(data)


assert_type(download("x"), Delayed[bytes])
assert_type(upload(download("x")), Delayed[int])
upload("x")  # E: mypy[arg-type] pyright[reportArgumentType]
upload(upload(b""))  # E: mypy[arg-type] pyright[reportArgumentType]

# -- classes, objects, methods ---------------------------------------------------------------------


@dataclass
class Point:
    x: int
    y: int = 0


class Scale:
    def __call__(self, x: int) -> float:
        return x * 2.0


assert_type(delayed(Point)(1), Delayed[Point])
assert_type(delayed(Point)(three, y=2), Delayed[Point])
assert_type(delayed(Scale())(three), Delayed[float])
delayed(Point)("1")  # E: mypy[arg-type] pyright[reportArgumentType]


class Model:
    @delayed
    def fit(self, data: list[int], rate: float = 0.1) -> str:
        return ""

    @staticmethod
    @delayed
    def blank(size: int) -> str:
        return ""

    @classmethod
    @delayed
    def named(cls, name: str) -> str:
        return name


model = Model()
assert_type(model.fit([1, 2]), Delayed[str])
assert_type(model.fit(many, rate=0.5), Delayed[str])
assert_type(Model.fit(model, [1]), Delayed[str])
assert_type(model.blank(three), Delayed[str])
assert_type(Model.blank(1), Delayed[str])
assert_type(model.named("x"), Delayed[str])
assert_type(Model.named("x"), Delayed[str])
assert_type(delayed(model).fit([1]), Delayed[Any])
model.fit(3)  # E: mypy[call-overload] pyright[reportArgumentType]

# -- generic and overloaded functions: any call is taken -------------------------------------------

delayed(max)(many)
delayed(max)(unknown)
delayed(max)(1, three)
delayed(min)([1, 2], key=abs)
delayed(sum)(many)
delayed(sum)([1.5, 2.5])
delayed(sum)([[1]], [])
delayed(sorted)(many, reverse=True)
delayed(list)(unknown)
delayed(dict)(a=three)
delayed(dict)([("a", three)])
delayed(tuple)(many)
delayed(set)(many)
delayed(zip)(many, many)
delayed(map)(str, many)
delayed(filter)(None, many)
delayed(enumerate)(many)
delayed(range)(1, three)
delayed(reversed)(many)
delayed(abs)(three)
delayed(divmod)(three, 2)
delayed(pow)(three, 2)
delayed(round)(1.5, 1)
delayed(int)("11", base=2)
delayed(operator.add)(1, three)
delayed(operator.mul)(three, 2.0)
delayed(operator.neg)(three)
delayed(operator.getitem)(unknown, 0)
delayed(operator.itemgetter(1))(unknown)
delayed(functools.reduce)(operator.add, many, 0)
delayed(itertools.chain)(many, many)
delayed(partial(int, base=2))("11")
delayed(lambda a, b: a + b)(1, three)


@delayed
def first_of(xs: list[T]) -> T:
    return xs[0]


@delayed
def same(x: T) -> T:
    return x


@delayed
def pairs(xs: Iterable[T], n: int) -> list[tuple[T, T]]:
    return []


@delayed
def keyed(xs: Mapping[str, T]) -> list[T]:
    return list(xs.values())


@delayed
def apply_to_all(f: Callable[[T], U], xs: Iterable[T]) -> list[U]:
    return [f(x) for x in xs]


one = first_of([1])
of_promises = first_of(many)
of_unknown = first_of(unknown)
itself = same(x=1)
promised = same(three)
paired = pairs(many, n=2)
valued = keyed({"a": three})
applied = apply_to_all(str, many)

# -- others are exact ------------------------------------------------------------------------------


@delayed
def shortest(xs: Sequence[str], default: str = "") -> str:
    return min(xs, default=default)


assert_type(delayed(len)(many), Delayed[int])
assert_type(delayed(math.sqrt)(three), Delayed[float])
assert_type(delayed(json.dumps)({"a": three}, indent=2), Delayed[str])
delayed(json.loads)("{}", parse_float=float)
assert_type(delayed(Path)("x"), Delayed[Path])
assert_type(delayed(os.getcwd)(), Delayed[str])
assert_type(delayed(re.escape)("x"), Delayed[str])
assert_type(shortest(["a"]), Delayed[str])
delayed(len)(3)  # E: mypy[call-overload] pyright[reportArgumentType]
shortest(3)  # E: mypy[call-overload] pyright[reportArgumentType]
