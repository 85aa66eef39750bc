"""One limit for each decorated function: what is one function, and stays one wherever it travels."""

from __future__ import annotations

import functools
import operator
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import lazygraph
from lazygraph import chord, clone, compute, delayed, each, group, replace
from lazygraph.testing.rigs import SimRig, simulated


@pytest.fixture(autouse=True)
def rig() -> Iterator[SimRig]:
    """A virtual clock: a second of waiting for a permit is seen in the seconds that it shows."""
    with simulated(seed=1) as rig:
        yield rig


def fetch(x: Any) -> Any:
    return x


@delayed
def outer(x: Any) -> Any:
    return x


def factory(site: str) -> Callable[[Any], Any]:
    def fetch(x: Any) -> Any:
        return site, x

    return fetch


class Site:
    """Has methods; it is equal to all others, and cannot be hashed."""

    def __init__(self, name: str = "") -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Site)

    __hash__ = None  # type: ignore[assignment]

    def fetch(self, x: Any) -> Any:
        return x

    def __call__(self, x: Any) -> Any:
        return x

    @classmethod
    def made(cls, x: Any) -> Any:
        return x

    @delayed(rate_limit="1/s")
    def lazily(self, x: Any) -> Any:
        return x


class Slotted:
    __slots__ = ()

    def fetch(self, x: Any) -> Any:
        return x


def limited(function: Callable[..., Any]) -> Any:
    return delayed(function, rate_limit="1/s")


PAIRS: dict[str, Callable[[], tuple[Callable[..., Any], Callable[..., Any]]]] = {
    "closures of one factory": lambda: (factory("a"), factory("b")),
    "equal closures": lambda: (factory("a"), factory("a")),
    "lambdas": lambda: (lambda x: x, lambda x: x),
    "methods of two objects": lambda: (Site().fetch, Site().fetch),
    "methods of two objects without a dict": lambda: (Slotted().fetch, Slotted().fetch),
    "methods of two classes": lambda: (type("A", (Site,), {}).made, type("B", (Site,), {}).made),
    "objects that can be called": lambda: (Site(), Site()),
    "partials": lambda: (functools.partial(operator.add, 1), functools.partial(operator.mul, 2)),
    "getters": lambda: (operator.methodcaller("bit_length"), operator.methodcaller("bit_length")),
    "functions of two names": lambda: (fetch, factory),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_two_functions_have_two_limits(rig: SimRig, pair: str):
    one, other = PAIRS[pair]()
    compute(limited(one)(1), limited(other)(2))
    assert rig.now == 0.0
    compute(limited(one)(1), limited(other)(2))
    assert rig.now == 1.0


FUNCTIONS: dict[str, Callable[[], Callable[..., Any]]] = {
    "of a module": lambda: fetch,
    "nested": lambda: factory("a"),
    "lambda": lambda: lambda x: x,
    "partial": lambda: functools.partial(fetch),
    "method": lambda: Site().fetch,
    "classmethod": lambda: Site.made,
    "object": Site,
}


@pytest.fixture(params=FUNCTIONS)
def one(request: pytest.FixtureRequest) -> Callable[..., Any]:
    function: Callable[..., Any] = FUNCTIONS[request.param]()
    return function


def test_a_function_that_is_decorated_twice_has_one_limit(rig: SimRig, one: Callable[..., Any]):
    compute(*(limited(one)(n) for n in range(3)))
    assert rig.now == 2.0


def test_options_make_no_other_function(rig: SimRig, one: Callable[..., Any]):
    lazy = limited(one)
    compute(lazy(1), lazy.options(name="another")(2), delayed(one).options(rate_limit="1/s", retries=1)(3))
    assert rig.now == 2.0
    compute(lazy.options(rate_limit="7/s")(4))  # another rate is another limit
    assert rig.now == 2.0


def test_options_of_calls_canvases_and_blocks_mean_the_function(rig: SimRig, one: Callable[..., Any]):
    lazy = delayed(one)
    with lazygraph.options(rate_limit="1/s"):
        inside = lazy(1)
    compute(inside, limited(one)(2), group(lazy.s(3), lazy.s(4)).set(rate_limit="1/s"))
    assert rig.now == 3.0


def test_clones_and_replacements_keep_it(rig: SimRig, one: Callable[..., Any]):
    lazy = limited(one)
    node = lazy(1)
    compute(node, clone(node), delayed(lambda: replace(lazy.s(2)))())
    assert rig.now == 2.0


def test_a_fan_out_over_what_a_task_returns_has_one(rig: SimRig, one: Callable[..., Any]):
    members = limited(one).s()
    assert len((delayed(range).s(3) | each(members)).compute()) == 3
    assert rig.now == 2.0


def test_calls_of_many_at_once_are_of_the_function(rig: SimRig, one: Callable[..., Any]):
    lazy = limited(one)
    compute(lazy.map([1, 2]), lazy.starmap([(1,)]), lazy(1), delayed(fetch).s(1), outer.options(rate_limit="1/s")(1))
    assert rig.now == 2.0


def test_a_delayed_method_is_one_function_for_all_objects(rig: SimRig):
    # What is decorated is the function in the class.
    compute(Site().lazily(1), Site().lazily(2), Site().lazily.s(3), Site.lazily(Site(), 4))
    assert rig.now == 3.0


PICKLED: dict[str, Callable[[Any], Any]] = {
    "function": lambda lazy: lazy,
    "signature": lambda lazy: lazy.s(1),
    "canvas": lambda lazy: chord([lazy.s(1)], outer.s()),
    "promise": lambda lazy: lazy(1),
}


@pytest.mark.parametrize("what", PICKLED)
@pytest.mark.parametrize("when", ["before", "after"])
def test_it_goes_with_what_is_pickled(rig: SimRig, one: Callable[..., Any], what: str, when: str):
    lazy = delayed(one) if when == "after" else limited(one)
    made = PICKLED[what](lazy)
    again, once_more = pickle.loads(pickle.dumps(made)), pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(made))))
    if when == "before":
        compute(*(each if what != "function" else each(1) for each in (made, again, once_more)))
        assert rig.now == 2.0
    elif what == "signature":  # whoever opens it limits it
        compute(*(each.set(rate_limit="1/s") for each in (made, again, once_more)))
        assert rig.now == 2.0


def test_what_is_gone_leaves_nothing_behind(rig: SimRig):
    for n in range(300):
        compute(limited(factory(str(n)))(n), limited(Site().fetch)(n))
        rig.advance(2)
    frontier: Any = rig.executor._frontier  # type: ignore[attr-defined]
    assert len(frontier._limits) < 100
    assert len(frontier._lines) < 100
