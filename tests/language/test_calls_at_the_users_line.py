"""A call that its function cannot take is a TypeError where it is written, and says at which line that is.

In each case `# here` marks the line that the message must name.
"""

from __future__ import annotations

import functools
import inspect
import operator
from collections.abc import Callable
from typing import Any

import pytest

from lazygraph import chain, chord, delayed, each, group
from lazygraph.errors import LazyGraphError, WrongCall


@delayed
def add(x: int, y: int) -> int:
    return x + y


@delayed
def scale(x: int, *, by: int) -> int:
    return x * by


@delayed
def tag(*, name: str) -> str:
    return name


@delayed(bind=True)
def task(self: Any, x: int) -> int:
    return x


@delayed
async def fetch(url: str) -> str:
    return url


class Box:
    """With every kind of method."""

    def __init__(self, size: int) -> None:
        self.size = size

    def grow(self, by: int) -> int:
        return self.size + by

    @classmethod
    def of(cls, size: int) -> Box:
        return cls(size)

    @staticmethod
    def double(size: int) -> int:
        return size * 2

    def __call__(self, by: int) -> int:
        return self.size - by


CASES: list[tuple[str, Callable[[], Any]]] = []


def says(reason: str) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    """Note the decorated function as a wrong call, and what is wrong with it."""

    def note(wrong: Callable[[], Any]) -> Callable[[], Any]:
        CASES.append((reason, wrong))
        return wrong

    return note


# -- plain calls -----------------------------------------------------------------------------------


@says("missing a required argument: 'y'")
def too_few() -> Any:
    return add(1)  # here


@says("too many positional arguments")
def too_many() -> Any:
    return add(1, 2, 3)  # here


@says("unexpected keyword argument 'z'")
def an_unknown_name() -> Any:
    return add(1, 2, z=3)  # here


@says("multiple values for argument 'x'")
def a_name_twice() -> Any:
    return add(1, x=2)  # here


@says("missing a required")
def a_keyword_only_one_left_out() -> Any:
    return scale(1)  # here


@says("too many positional arguments")
def a_keyword_only_one_by_position() -> Any:
    return scale(1, 2)  # here


@says("too many positional arguments")
def an_argument_for_a_function_of_keywords() -> Any:
    return tag("a")  # here


@says("missing a required argument: 'y'")
def of_a_function_made_lazy_here() -> Any:
    return delayed(lambda x, y: x)(1)  # here


@says("missing a required argument: 'y'")
def on_the_line_of_the_call_not_of_its_last_argument() -> Any:
    return add(  # here
        1,
    )


@says("missing a required argument: 'y'")
def inside_another_call() -> Any:
    return add(
        1,
        add(2),  # here
    )


@says("missing a required argument: 'x'")
def without_its_context_too_few() -> Any:
    return task()  # here


@says("too many positional arguments")
def without_its_context_too_many() -> Any:
    return task(1, 2)  # here


@says("unexpected keyword argument 'self'")
def the_context_is_nobodys_to_give() -> Any:
    return task(1, self=2)  # here


@says("missing a required argument: 'url'")
def of_an_async_function() -> Any:
    return fetch()  # here


@says("too many positional arguments")
def of_a_partial() -> Any:
    return delayed(functools.partial(operator.add, 1))(2, 3)  # here


@says("unexpected keyword argument 'z'")
def of_a_partial_of_a_function() -> Any:
    return delayed(functools.partial(Box, size=3))(z=1)  # here


@says("too many positional arguments")
def of_a_builtin() -> Any:
    return delayed(len)([], [])  # here


@says("missing a required argument: 'b'")
def of_an_operator() -> Any:
    return delayed(operator.add)(1)  # here


@says("missing a required argument: 'by'")
def of_a_method() -> Any:
    return delayed(Box(1).grow)()  # here


@says("too many positional arguments")
def of_a_classmethod() -> Any:
    return delayed(Box.of)(1, 2)  # here


@says("missing a required argument: 'size'")
def of_a_staticmethod() -> Any:
    return delayed(Box.double)(by=2)  # here


@says("missing a required argument: 'size'")
def of_a_class() -> Any:
    return delayed(Box)()  # here


@says("too many positional arguments")
def of_an_object_that_can_be_called() -> Any:
    return delayed(Box(1))(1, 2)  # here


@says("missing a required argument: 'y'")
def with_options() -> Any:
    return add.options(queue="io")(1)  # here


# -- signatures, when they are written -------------------------------------------------------------


@says("too many positional arguments")
def a_signature_with_too_many() -> Any:
    return add.s(1, 2, 3)  # here


@says("unexpected keyword argument 'z'")
def a_signature_with_an_unknown_name() -> Any:
    return add.s(z=3)  # here


@says("multiple values for argument 'x'")
def a_signature_with_a_name_twice() -> Any:
    return add.s(1, x=2)  # here


@says("missing a required argument: 'y'")
def an_immutable_one_with_too_few() -> Any:
    return add.si(1)  # here


@says("too many positional arguments")
def an_immutable_one_with_too_many() -> Any:
    return add.si(1, 2, 3)  # here


@says("too many positional arguments")
def a_signature_of_a_function_of_keywords() -> Any:
    return tag.s("a")  # here


@says("too many positional arguments")
def a_signature_without_its_context() -> Any:
    return task.s(1, 2)  # here


@says("too many positional arguments")
def a_clone_with_too_many() -> Any:
    signature = add.s(2, 3)
    return signature.clone((1,))  # here


@says("unexpected keyword argument 'z'")
def a_clone_with_an_unknown_name() -> Any:
    signature = add.s(2, 3)
    return signature.clone(kwargs={"z": 1})  # here


@says("too many positional arguments")
def a_call_that_is_started() -> Any:
    return add.delay(1, 2, 3)  # here


@says("too many positional arguments")
def a_call_that_is_started_with_options() -> Any:
    return add.apply_async((1, 2, 3), queue="default")  # here


# -- holes that nobody fills, and what is too much for them ----------------------------------------


@says("missing a required argument: 'y'")
def a_hole_that_nobody_fills() -> Any:
    signature = add.s(1)  # here
    return signature.compute()


@says("missing a required argument: 'y'")
def started() -> Any:
    return add.delay(1)  # here


@says("missing a required argument: 'y'")
def started_as_a_signature() -> Any:
    signature = add.s(1)  # here
    return signature.delay()


@says("missing a required argument: 'y'")
def in_a_chain() -> Any:
    return chain(
        add.s(1, 2),
        add.s(),  # here
    ).compute()


@says("too many positional arguments")
def in_a_chain_with_no_hole() -> Any:
    return chain(
        add.s(1, 2),
        add.s(3, 4),  # here
    ).compute()


@says("multiple values for argument 'x'")
def in_a_chain_where_the_first_is_named() -> Any:
    first = add.s(1, 2)
    second = add.s(x=3, y=4)  # here
    return (first | second).compute()


@says("missing a required argument: 'y'")
def in_a_group() -> Any:
    return group(
        add.s(1, 2),
        add.s(3),  # here
    ).compute()


@says("missing a required argument: 'y'")
def in_a_header() -> Any:
    header = [
        add.s(1, 2),
        add.s(3),  # here
    ]
    return chord(header, delayed(sum).s()).compute()


@says("missing a required argument: 'y'")
def in_a_body() -> Any:
    body = add.s()  # here
    return chord([add.s(1, 2)], body).compute()


@says("too many positional arguments")
def a_function_of_keywords_behind_a_value() -> Any:
    step = tag.s(name="a")  # here
    return (add.s(1, 2) | step).compute()


@says("missing a required argument: 'y'")
def in_the_arguments_of_a_call() -> Any:
    signature = add.s(1)  # here
    return add(signature, 2)


@says("missing a required argument: 'y'")
def in_a_callback() -> Any:
    callback = add.s()  # here
    return add.s(1, 2).link(callback).compute()


@says("missing a required argument: 'y'")
def when_it_is_only_looked_at() -> Any:
    signature = add.s(1)  # here
    return signature.explain()


@says("too many positional arguments")
def values_given_at_the_start() -> Any:
    step = add.s(1, 2)  # here
    return chain(step, add.s(3)).delay(4)


@says("missing a required argument: 'y'")
def members_of_a_fan_out() -> Any:
    member = add.s()  # here
    return (delayed(list).s([1, 2]) | each(member)).compute(executor="sync")


@pytest.mark.parametrize(("reason", "wrong"), CASES, ids=[wrong.__name__ for _, wrong in CASES])
def test_a_wrong_call_names_its_line(reason: str, wrong: Callable[[], Any]) -> None:
    lines, first = inspect.getsourcelines(wrong)
    (line,) = [first + at for at, text in enumerate(lines) if text.rstrip().endswith("# here")]
    with pytest.raises(TypeError) as caught:
        wrong()
    assert isinstance(caught.value, WrongCall) and isinstance(caught.value, LazyGraphError)
    text = str(caught.value)
    assert reason in text
    assert f"written at {__file__}:{line})" in text


def test_the_function_and_what_it_takes_are_named() -> None:
    with pytest.raises(WrongCall, match=r"^add\(x: 'int', y: 'int'\) -> 'int' cannot be called like this: missing"):
        add(1)
    with pytest.raises(WrongCall, match=r"^task\(x: 'int'\) -> 'int' cannot be called like this"):
        task()


def test_what_nobody_can_know_is_found_when_it_runs() -> None:
    # Builtins without a signature, and methods of values that are not there yet.
    for wrong in (delayed(max)(), delayed(Box)(1).grow()):
        with pytest.raises(TypeError) as caught:
            wrong.compute()
        assert not isinstance(caught.value, WrongCall)
        assert f"built at {__file__}" in "".join(caught.value.__notes__)


def test_right_calls_of_all_kinds() -> None:
    right = {
        add(1, y=2): 3,
        scale(2, by=3): 6,
        tag(name="a"): "a",
        delayed(functools.partial(operator.add, 1))(2): 3,
        delayed(len)([1]): 1,
        delayed(Box(1).grow)(2): 3,
        delayed(Box.of)(1).size: 1,
        delayed(Box.double)(size=2): 4,
        delayed(Box(3))(1): 2,
        delayed(max)(1, 2): 2,
    }
    assert [node.compute() for node in right] == list(right.values())
    assert (add.s(1, 2) | add.s(3) | scale.s(by=2)).compute() == 12
    assert add.s(y=2).clone((1,)).compute() == 3
