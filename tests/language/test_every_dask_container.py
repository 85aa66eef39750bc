"""Every container that is searched for promises, in the arguments of calls, as a promise itself, and in the verbs."""

from __future__ import annotations

import operator
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import InitVar, dataclass, field
from typing import Any, NamedTuple

import pytest

from lazygraph import compute, delayed, optimize, persist

two = delayed(operator.add)(1, 1)
"""A promise of 2."""


class Pair(NamedTuple):
    x: Any
    y: Any


class Named(dict[Any, Any]):
    """A dict of its own kind."""


class Row(list[Any]):
    """A list of its own kind."""


@dataclass
class Plain:
    x: Any
    y: Any = 5


@dataclass(frozen=True)
class Frozen:
    x: Any


@dataclass(slots=True)
class Slotted:
    x: Any
    y: list[Any] = field(default_factory=list)


@dataclass
class Derived:
    x: Any
    sum: Any = field(init=False)

    def __post_init__(self) -> None:
        self.sum = self.x


@dataclass(init=False)
class OwnInit:
    x: Any

    def __init__(self, text: str) -> None:
        self.x = text


@dataclass
class WithInitVar:
    x: Any
    start: InitVar[int] = 0


CONTAINERS: list[tuple[Callable[[Any], Any], str]] = [
    (lambda d: [d, 1], "list"),
    (lambda d: (d, 1), "tuple"),
    (lambda d: {d}, "set"),
    (lambda d: frozenset([d]), "frozenset"),
    (lambda d: {"k": d}, "values of a dict"),
    (lambda d: {d: "v"}, "keys of a dict"),
    (lambda d: Named(k=d), "dict of its own kind"),
    (lambda d: OrderedDict([("z", d), ("a", 1)]), "OrderedDict"),
    (lambda d: defaultdict(list, {"k": d}), "defaultdict"),
    (lambda d: Counter({"k": d}), "Counter"),
    (lambda d: Row([d]), "list of its own kind"),
    (lambda d: deque([d, 1], maxlen=4), "deque"),
    (lambda d: Pair(d, [d]), "namedtuple"),
    (lambda d: slice(d, None, 2), "slice"),
    (lambda d: Plain(d), "dataclass"),
    (lambda d: Plain([d], {"k": d}), "dataclass that holds collections"),
    (lambda d: Frozen(d), "frozen dataclass"),
    (lambda d: Slotted(d, [d]), "dataclass with slots"),
    (lambda d: Derived(d), "dataclass with a field that is not in __init__"),
    (lambda d: WithInitVar(d), "dataclass with a variable of __init__ only"),
    (lambda d: [({"k": [(d, {"deep": {d}})]},)], "nested"),
    (lambda d: [], "empty"),
]
as_container = pytest.mark.parametrize("make", [pytest.param(make, id=name) for make, name in CONTAINERS])


@as_container
def test_containers_in_arguments(make: Callable[[Any], Any]) -> None:
    got = delayed(lambda x: x)(make(two)).compute()
    assert type(got) is type(make(2))
    assert got == make(2)
    assert delayed(lambda *, x: x)(x=make(two)).compute() == make(2)


@as_container
def test_containers_as_promises(make: Callable[[Any], Any]) -> None:
    assert delayed(make(two)).compute() == make(2)


@as_container
def test_containers_in_the_verbs(make: Callable[[Any], Any]) -> None:
    assert compute(make(two), make(5)) == (make(2), make(5))
    assert compute(*persist(make(two))) == (make(2),)
    assert compute(*optimize(make(two))) == (make(2),)


def test_a_dataclass_with_an_init_of_its_own_keeps_its_fields() -> None:
    made = OwnInit("text")
    made.x = two
    got = compute(made)[0]
    assert (type(got), got.x) == (OwnInit, 2)


def test_attributes_beside_the_fields_stay() -> None:
    made: Any = Plain(two)
    made.extra = [two]
    got = compute(made)[0]
    assert (got.x, got.extra) == (2, [2])


@pytest.mark.parametrize(
    "once",
    [
        lambda d: iter([d, 1]),
        lambda d: iter((d, 1)),
        lambda d: iter({d: 1, 1: 1}),
        lambda d: iter({1: d, 2: 1}.values()),
        lambda d: {1: d, 2: 1}.values(),
        lambda d: {d: 1, 1: 1}.keys(),
        lambda d: reversed([1, d]),
    ],
    ids=["list", "tuple", "keys", "values", "view of values", "view of keys", "reversed"],
)
def test_iterators_are_read_once_when_the_call_is_written(once: Callable[[Any], Iterator[Any]]) -> None:
    promise = delayed(list)(once(two))
    assert promise.compute() == [2, 1]
    assert promise.compute() == [2, 1]
    assert list(compute(once(two))[0]) == [2, 1]


@pytest.mark.parametrize(
    "once",
    [lambda d: (x for x in [d, 1]), lambda d: map(operator.pos, [d, 1]), lambda d: zip([d], [1], strict=True)],
    ids=["generator", "map", "zip"],
)
def test_the_verbs_make_a_list_of_any_iterator(once: Callable[[Any], Iterator[Any]]) -> None:
    assert compute(once(two)) == (list(once(2)),)
    assert compute(persist(once(two))) == ((list(once(2)),),)


def test_the_pairs_of_a_dict() -> None:
    assert delayed(dict)({"a": two}.items()).compute() == {"a": 2}
    assert delayed(sorted)(iter({"a": two}.items())).compute() == [("a", 2)]


def test_what_holds_nothing_lazy_is_passed_as_it_is() -> None:
    value = [1, {"k": (2, 3)}]
    assert delayed(lambda x: x)(value).compute() is value
