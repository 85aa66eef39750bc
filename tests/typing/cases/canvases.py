"""Canvases, as type checkers see them: read by both of them, run by nobody (see test_typing)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_type

from lazygraph import (
    Delayed,
    Failure,
    Future,
    GroupResult,
    Signature,
    chain,
    chord,
    delayed,
    each,
    group,
    quote,
    ref,
    replace,
)


@delayed
def add(x: int, y: int) -> int:
    return x + y


@delayed
def show(x: int) -> str:
    return str(x)


@delayed
def parse(text: str) -> int:
    return int(text)


@delayed
def load(path: str) -> list[str]:
    return [path]


@delayed
def total(numbers: list[int]) -> int:
    return sum(numbers)


@delayed
def mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / len(numbers)


@delayed
def scale(x: float, by: float = 2.0, *, unit: str = "") -> float:
    return x * by


@delayed
def three_of(a: int, b: str, c: float) -> bytes:
    return b""


@delayed
def now() -> float:
    return 0.0


@delayed
def report(failure: Failure) -> None:
    return None


@delayed()
def anything(x: Any) -> Any:
    return x


three = add(1, 2)

# -- a signature takes what comes before it, and gives what its function returns -------------------

assert_type(show.s(), Signature[int, str])
assert_type(add.s(2), Signature[int, int])
assert_type(add.s(y=2), Signature[int, int])
assert_type(add.s(three), Signature[int, int])
assert_type(three_of.s("b", 1.5), Signature[int, bytes])
assert_type(scale.s(), Signature[float, float])
assert_type(scale.s(3), Signature[float, float])
assert_type(scale.s(unit="m"), Signature[float, float])
assert_type(add.si(1, 2), Signature[object, int])
assert_type(add.si(1, three), Signature[object, int])
assert_type(show.map([1, 2]), Signature[object, list[str]])
assert_type(add.starmap([(1, 2)]), Signature[object, list[int]])

add.s("2")  # E: mypy[arg-type] pyright[reportArgumentType]
add.s(1, 2, 3)  # E: mypy[call-overload] pyright[reportCallIssue]
add.s(z=1)  # E: mypy[call-overload] pyright[reportCallIssue]
add.s(show(1))  # E: mypy[arg-type] pyright[reportArgumentType]
add.si(1)  # E: mypy[call-overload] pyright[reportCallIssue]
show.map(["1"])  # E: mypy[list-item] pyright[reportArgumentType]

# -- a step takes what the one before it gives -----------------------------------------------------

steps = add.s(1, 2) | show.s() | parse.s()
assert_type(steps.compute(), int)
assert_type(steps.compute(executor="sync"), int)
assert_type(steps.delay(), Future[int])
assert_type(~steps, int)
assert_type(steps.apply(), Future[int])
assert_type(steps().get(), int)
assert_type(steps.apply_async(queue="io", link=show.s()), Future[int])
assert_type(steps.persist(), Delayed[int])
assert_type(steps.to_delayed(), Delayed[int])
assert_type((three | show.s()).compute(), str)
assert_type((three | add.s(3) | show.s()).compute(), str)
assert_type((add.s(2) | show.s()).delay(1), Future[str])
assert_type((add.s(1, 2) | scale.s(3)).compute(), float)  # an int is a float
assert_type((show.s(1) | now.si() | scale.s()).compute(), float)
assert_type((show.s(1) | anything.s() | total.s()).compute(), int)
assert_type((add.s(1, 2) | (add.s(3) | show.s())).compute(), str)
assert_type((show.map([1, 2]) | delayed(len).s()).compute(), int)

show.s(1) | show.s()  # E: mypy[operator] pyright[reportOperatorIssue]
add.s(1, 2) | parse.s()  # E: mypy[operator] pyright[reportOperatorIssue]
three | parse.s()  # E: mypy[operator] pyright[reportOperatorIssue]
add.s(1, 2) | add.s(1, 2)  # E: mypy[operator] pyright[reportOperatorIssue]
add.s(1, 2) | three_of.s()  # E: mypy[operator] pyright[reportOperatorIssue]
add.s(1, 2) | now.s()  # E: mypy[operator] pyright[reportOperatorIssue]
add.s(1, 2) | show.s() | add.s(1)  # E: mypy[operator] pyright[reportOperatorIssue]
add.s(1, 2) | 3  # E: mypy[operator] pyright[reportOperatorIssue]
add.s(1, 2) | three  # E: mypy[operator] pyright[reportOperatorIssue]

assert_type(chain(add.s(1, 2), show.s()).compute(), str)
assert_type(chain(three, show.s(), parse.s(), add.s(2)).compute(), int)
assert_type(chain(add.s(2), show.s()).delay(1).get(), str)
assert_type(chain(three).compute(), int)
ten = chain(three, show.s(), parse.s(), show.s(), parse.s(), show.s(), parse.s(), show.s(), parse.s(), show.s())
assert_type(ten.compute(), str)
eleven = chain(ten, parse.s(), *[add.s(1)] * 9)
listed = chain([add.s(1, 2), show.s()])
empty = chain()

chain(add.s(1, 2), parse.s())  # E: mypy[misc] pyright[reportArgumentType]
chain(three, show.s(), parse.s(), parse.s())  # E: mypy[misc] pyright[reportArgumentType]
chain(add.s(1, 2), 3)  # E: mypy[call-overload] pyright[reportArgumentType]

# -- a group gives a list, flat in groups ----------------------------------------------------------

assert_type(group(add.s(n, n) for n in range(10)).compute(), list[int])
assert_type(group([add.s(1, 2), add.s(3, 4)]).compute(), list[int])
assert_type(group(add.s(1, 2), add.s(3, 4)).delay(), GroupResult[int])
assert_type(group(add.s(1, 2), add.s(3, 4)).delay().get(), list[int])
assert_type(group(add.s(1, 2), add.s(3, 4)).delay()[0], Future[int])
assert_type(group(add.s(1, 2), show.s(1)).compute(), list[int | str])
assert_type(group(three, show(1), now.s()).compute(), list[int | str | float])
assert_type(group(group(add.s(1, 2), three), add.s(1, 2)).compute(), list[int])
assert_type(group(add.s(1, 2) | group(add.s(1), add.s(2)), three).compute(), list[list[int] | int])
assert_type((add.s(1, 2) | group(add.s(1), scale.s())).compute(), list[int | float])
assert_type((add.s(1, 2) | group(add.s(1), add.s(2))).delay(), GroupResult[int])
assert_type((add.s(1, 2) | group(add.s(1), add.s(2)) | total.s()).compute(), int)
assert_type((add.s(1, 2) | group(add.s(1), now.si()) | mean.s()).compute(), float)
assert_type(add.chunks([(1, 2)], 10).compute(), list[list[int]])
none = group()

show.s(1) | group(add.s(1), add.s(2))  # E: mypy[arg-type] pyright[reportOperatorIssue]
add.s(1, 2) | group(add.s(1), parse.s())  # E: mypy[arg-type] pyright[reportArgumentType]
group(show.s(1), show.s(2)) | total.s()  # E: mypy[operator] pyright[reportOperatorIssue]
group(add.s(1, 2), 3)  # E: mypy[call-overload] pyright[reportArgumentType]

assert_type(chord((add.s(n, n) for n in range(10)), total.s()).compute(), int)
assert_type(chord([add.s(1, 2), three], mean.s()).delay(), Future[float])
assert_type(chord(group(add.s(1, 2), add.s(3, 4)), total.s()).compute(), int)
assert_type(chord(add.s(1, 2), total.s()).compute(), int)
assert_type(chord([add.s(1, 2)])(total.s()), Future[int])
assert_type((three | chord([add.s(1), add.s(2)], total.s()) | show.s()).compute(), str)

chord([show.s(1)], total.s())  # E: mypy[arg-type, misc] pyright[reportArgumentType]
chord([show.s(1)])(total.s())  # E: mypy[arg-type] pyright[reportArgumentType]

# -- fan-outs over what is known only at run time --------------------------------------------------

assert_type((load.s("x") | each(parse.s()) | total.s()).compute(), int)
assert_type((load.s("x") | each(parse.s() | show.s())).compute(), list[str])
assert_type((load.s("x") | each(parse.s())).delay(), Future[list[int]])
load.s("x") | each(show.s())  # E: mypy[arg-type] pyright[reportOperatorIssue]
load.s("x") | each(parse.s()) | show.s()  # E: mypy[operator] pyright[reportOperatorIssue]


@delayed
def deeper(n: int) -> int:
    if n:
        return replace(add.s(n, 1) | add.s(2))
    return replace(add(n, 1))


@delayed
def wrong(n: int) -> int:
    return replace(show.s(n))  # E: mypy[return-value] pyright[reportReturnType]


@delayed
def looks(at: Signature[int, int]) -> str:
    return repr(at)


assert_type(looks(quote(add.s(1))), Delayed[str])

# -- options and callbacks keep the type -----------------------------------------------------------

assert_type(add.s(2).set(queue="io", retries=2), Signature[int, int])
assert_type(add.s(2).link(show.s()).link_error(report.s()), Signature[int, int])
assert_type(add.s(2).clone((1,)), Signature[Any, int])
assert_type(add.signature((1, 2), immutable=True), Signature[Any, int])
assert_type(add.apply_async((1, 2), link=show.s(), countdown=1), Future[int])
assert_type(steps.set(priority=3).compute(), int)
add.s(2).link(parse.s())  # E: mypy[arg-type] pyright[reportArgumentType]
add.s(2).link_error(show.s())  # E: mypy[arg-type] pyright[reportArgumentType]
add.s(2).set(quue="io")  # E: mypy[call-arg] pyright[reportCallIssue]

# -- a signature's type as people write it ---------------------------------------------------------


def shows(canvas: Signature[int, object]) -> object:
    return (three | canvas).compute()


shows(show.s())
shows(scale.s())  # what takes a float takes an int
shows(parse.s())  # E: mypy[arg-type] pyright[reportArgumentType]
parts: list[Signature[int, int]] = [add.s(1), add.s(ref(three))]
unsaid: list[Signature] = [add.s(1), show.s()]
