"""`delayed`: functions become lazy, values become promises."""

from __future__ import annotations

import asyncio
import functools
import inspect
import operator
from collections.abc import Iterator
from typing import Any

import pytest

from lazygraph import compute, delayed, options
from lazygraph.errors import InvalidOption, UnknownOption, WrongCall, WrongNumberOfOutputs
from lazygraph.language.promise import Delayed
from lazygraph.values.node import Node


@delayed
def add(x: Any, y: Any) -> Any:
    """Add."""
    return x + y


def test_a_call_is_a_promise_and_runs_when_it_is_computed() -> None:
    called: list[int] = []

    @delayed
    def note(x: int) -> int:
        called.append(x)
        return x

    promise = note(7)
    assert isinstance(promise, Delayed)
    assert called == []
    assert promise.compute() == 7
    assert called == [7]


def test_promises_are_arguments_of_calls() -> None:
    assert add(add(1, 2), 3).compute() == 6
    assert add(1, y=add(2, y=3)).compute() == 6


def test_a_node_used_twice_runs_once() -> None:
    called: list[int] = []

    @delayed
    def note(x: int) -> int:
        called.append(x)
        return x

    shared = note(1)
    assert compute(add(shared, shared), {"again": shared}, shared) == (2, {"again": 1}, 1)
    assert called == [1]


def test_two_equal_calls_run_twice_unless_they_are_pure() -> None:
    called: list[int] = []

    def note(x: int) -> int:
        called.append(x)
        return x

    impure, pure = delayed(note), delayed(note, pure=True)
    assert compute(impure(1), impure(1)) == (1, 1)
    assert called == [1, 1]
    assert compute(pure(2), pure(2)) == (2, 2)
    assert called == [1, 1, 2]


def test_the_decorated_function_still_tells_what_it_is() -> None:
    assert add.__name__ == "add"
    assert add.__doc__ == "Add."
    assert list(inspect.signature(add).parameters) == ["x", "y"]
    assert repr(add) == "<delayed function 'add'>"
    assert add.key == "add"


def test_decorator_with_arguments_without_and_with_empty_parentheses() -> None:
    @delayed(pure=True, name="Greeting")
    def greet(who: str) -> str:
        return f"hello {who}"

    @delayed()
    def shout(what: str) -> str:
        return what.upper()

    promise = shout(greet("you"))
    assert promise.compute() == "HELLO YOU"
    assert greet("you")._options.pure
    assert "Greeting" in repr(greet("you"))


def test_delaying_what_is_delayed_changes_nothing() -> None:
    assert delayed(add) is add
    promise = add(1, 2)
    assert delayed(promise) is promise
    assert delayed(add, retries=1)(1, 2)._options.retries == 1


def test_a_delayed_function_as_an_argument_is_its_function() -> None:
    @delayed
    def twice(function: Any, x: int) -> Any:
        return function(function(x, x), x)

    assert twice(add, 1).compute() == 3
    assert compute(add)[0](1, 2) == 3


def test_values_and_collections_become_promises() -> None:
    assert delayed(5).compute() == 5
    assert delayed(None).compute() is None
    assert delayed([add(1, 2), {"k": (add(3, 4), 5)}]).compute() == [3, {"k": (7, 5)}]
    assert delayed([1, 2], name="mine").key == "mine"
    x, y = delayed([add(1, 1), 5], nout=2)
    assert compute(x, y) == (2, 5)


def test_traverse_false_does_not_look_into_a_collection() -> None:
    inner = add(1, 2)
    assert delayed([inner], traverse=False).compute()[0] is inner


def test_a_canvas_is_delayed_as_one_promise() -> None:
    assert delayed(add.s(1, 2) | add.s(3)).compute() == 6


def test_options_give_the_same_function_with_other_options() -> None:
    patient = add.options(retries=4)
    assert patient(1, 2)._options.retries == 4
    assert add(1, 2)._options.retries == 0
    assert patient.options(retries=0)(1, 2)._options.retries == 0


def test_an_unknown_option_suggests_the_known_one() -> None:
    with pytest.raises(UnknownOption, match=r"no option 'retires'; did you mean 'retries'\?"):
        delayed(retires=3)
    with pytest.raises(UnknownOption, match="did you mean 'queue'"):
        add.options(quewe="io")
    with pytest.raises(TypeError, match="did you mean 'priority'"):
        options(prioritty=1)


def test_a_call_takes_pure_and_dask_key_name_for_itself() -> None:
    promise = add(1, 2, dask_key_name="three", pure=True)
    assert (promise.key, promise._options.pure, promise.compute()) == ("three", True, 3)
    assert add(1, 2, dask_key_name=None, pure=None)._options.pure is False


def test_unless_the_function_has_such_a_parameter() -> None:
    @delayed
    def honey(pure: bool, dask_key_name: str = "") -> tuple[bool, str]:
        return pure, dask_key_name

    promise = honey(pure=True, dask_key_name="mine")
    assert promise.compute() == (True, "mine")
    assert promise.key != "mine"
    assert promise._options.pure is False


def test_every_other_keyword_reaches_the_function() -> None:
    @delayed
    def say(**words: Any) -> dict[str, Any]:
        return words

    assert say(retries=3, name="n", queue="q").compute() == {"retries": 3, "name": "n", "queue": "q"}


def test_a_method_decorated_in_a_class() -> None:
    class Account:
        def __init__(self, balance: int) -> None:
            self.balance = balance

        @delayed
        def plus(self, amount: int) -> int:
            return self.balance + amount

        @staticmethod
        @delayed
        def double(amount: int) -> int:
            return 2 * amount

        @classmethod
        @delayed
        def name(cls) -> str:
            return cls.__name__

    account = Account(10)
    assert account.plus(5).compute() == 15
    assert Account.plus(account, 6).compute() == 16
    assert account.double(4).compute() == 8
    assert account.name().compute() == "Account"


class Multiplier:
    """A callable object."""

    def __init__(self, factor: int) -> None:
        self.factor = factor

    def __call__(self, x: int) -> int:
        return self.factor * x


@pytest.mark.parametrize(
    ("function", "args", "expected", "name"),
    [
        (Multiplier(3), (5,), 15, "Multiplier"),
        (functools.partial(operator.sub, 10), (4,), 6, "sub"),
        (functools.partial(functools.partial(int, base=2)), ("101",), 5, "int"),
        (max, (3, 9), 9, "max"),  # a builtin without a signature
        (dict, ([("a", 1)],), {"a": 1}, "dict"),
        (str.upper, ("a",), "A", "upper"),
        ("a-b".split, ("-",), ["a", "b"], "split"),
        (lambda x: -x, (1,), -1, "<lambda>"),
        (Multiplier, (3,), None, "Multiplier"),
    ],
)
def test_anything_callable_can_be_delayed(function: Any, args: tuple[Any, ...], expected: Any, name: str) -> None:
    promise = delayed(function)(*args)
    value = promise.compute()
    assert value == expected if expected is not None else isinstance(value, function)
    assert promise.key.startswith(name)


def test_a_generator_function_gives_its_generator() -> None:
    @delayed
    def count(n: int) -> Iterator[int]:
        yield from range(n)

    assert list(count(3).compute()) == [0, 1, 2]


def test_an_async_function_is_awaited() -> None:
    async def later(x: int) -> int:
        await asyncio.sleep(0)
        return x + 1

    lazily = delayed(later)
    assert lazily(lazily(1)).compute() == 3
    assert (lazily.s(1) | lazily.s() | delayed(abs).s()).compute() == 3
    assert delayed(functools.partial(later, 4))().compute() == 5

    async def inside_a_loop() -> int:
        return int(lazily(1).compute(executor="sync"))

    assert asyncio.run(inside_a_loop()) == 2


def test_map_starmap_and_chunks() -> None:
    assert delayed(abs).map([-1, 2, -3]).compute() == [1, 2, 3]
    assert add.starmap([(1, 2), (3, 4)]).compute() == [3, 7]
    assert add.starmap([(add(1, 1), 2)]).compute() == [4]
    assert add.chunks([(i, i) for i in range(5)], 2).compute() == [[0, 2], [4, 6], [8]]
    assert add.chunks([], 2).compute() == []
    assert "add.map" in repr(add.map([1]).to_delayed())
    with pytest.raises(InvalidOption, match="at least 1"):
        add.chunks([(1, 2)], 0)


# -- several outputs -------------------------------------------------------------------------------


def test_nout_unpacks() -> None:
    quotient, rest = delayed(divmod, nout=2)(7, 2)
    assert compute(quotient, rest) == (3, 1)
    assert len(delayed(divmod, nout=2)(7, 2)) == 2
    assert list(delayed(tuple, nout=0)()) == []


def test_the_function_runs_once_for_all_its_outputs() -> None:
    called: list[int] = []

    @delayed(nout=2)
    def pair() -> tuple[int, int]:
        called.append(1)
        return 1, 2

    a, b = pair()
    assert compute(a, b, add(a, b)) == (1, 2, 3)
    assert called == [1]


@pytest.mark.parametrize("value", [(1,), (1, 2, 3), 5])
def test_a_wrong_nout_says_how_many_there_are(value: Any) -> None:
    first, _ = delayed(lambda: value, nout=2)()
    with pytest.raises(WrongNumberOfOutputs, match="nout=2 was promised"):
        first.compute()


@pytest.mark.parametrize("nout", [-1, 1.5, "2", True])
def test_nout_is_a_number_of_outputs(nout: Any) -> None:
    with pytest.raises(InvalidOption, match="nout="):
        delayed(divmod, nout=nout)


# -- wrong calls -----------------------------------------------------------------------------------


def line_here() -> int:
    """The line of the caller."""
    frame = inspect.currentframe()
    assert frame is not None
    assert frame.f_back is not None
    return frame.f_back.f_lineno


@pytest.mark.parametrize(
    ("args", "kwargs", "reason"),
    [
        ((1,), {}, "missing a required argument: 'y'"),
        ((1, 2, 3), {}, "too many positional arguments"),
        ((1, 2), {"z": 3}, "got an unexpected keyword argument 'z'"),
        ((1,), {"x": 2}, "multiple values for argument 'x'"),
    ],
)
def test_a_wrong_call_fails_where_it_is_written(args: Any, kwargs: Any, reason: str) -> None:
    with pytest.raises(TypeError) as caught:
        here = line_here() + 1
        add(*args, **kwargs)
    assert isinstance(caught.value, WrongCall)
    assert str(caught.value).startswith("add(x: 'Any', y: 'Any') -> 'Any' cannot be called like this: ")
    assert reason in str(caught.value)
    assert f"{__file__}:{here}" in str(caught.value)


def test_keyword_only_parameters_are_asked_for_too() -> None:
    @delayed
    def scale(x: int, *, by: int) -> int:
        return x * by

    assert scale(2, by=3).compute() == 6
    with pytest.raises(WrongCall, match="by"):
        scale(2)


def test_a_bound_context_is_not_the_callers_to_give() -> None:
    @delayed(bind=True)
    def step(self: Any, x: int) -> int:
        return x

    with pytest.raises(WrongCall, match="missing a required argument: 'x'"):
        step()
    assert step(1)._options.bind


def test_a_node_says_where_it_was_built() -> None:
    here = line_here() + 1
    promise = add(1, 2)
    assert repr(promise) == f"<Delayed 'add' built at {__file__}:{here}>"


def test_an_error_in_a_task_is_the_users_own_with_a_note() -> None:
    @delayed
    def broken(x: int) -> float:
        return 1 / x

    here = line_here() + 1
    promise = add(broken(0), 1)
    with pytest.raises(ZeroDivisionError) as caught:
        promise.compute()
    assert any("'broken'" in note and f"{__file__}:{here}" in note for note in caught.value.__notes__)


def test_the_plainest_calls_are_as_all_others() -> None:
    @delayed(priority=2, name="twice")
    def double(x: object, y: object = 0) -> object:
        return (x, y)

    def slots(node: Any) -> dict[str, Any]:
        return {name: getattr(node, name) for name in Node.__slots__ if name not in ("_site", "_template", "_leaves")}

    inner = double(1)
    plain, other = double(1, inner), double(1, y=inner)
    assert slots(plain) == slots(other)
    assert plain._leaves == (1, inner)
    assert str(plain._site) == str(other._site)
    first, second = [double(at) for at in range(2)]
    assert first._site is second._site  # one for all that a line makes
    assert str(double(3)._site) != str(first._site)
    with options(priority=5):
        assert double(1)._options.priority == 5
