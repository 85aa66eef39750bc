"""Promises are found wherever they stand in the arguments, and the function gets what was written."""

from __future__ import annotations

import dataclasses
from collections import ChainMap, Counter, OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lazygraph import chain, compute, delayed, group


@delayed
def same(value: Any) -> Any:
    return value


@delayed
def inc(x: int) -> int:
    return x + 1


class Point(NamedTuple):
    x: Any
    y: Any = 0


Pair = namedtuple("Pair", ["left", "right"])


@dataclasses.dataclass
class Box:
    content: Any
    label: str = "box"
    hidden: Any = dataclasses.field(default=None, init=False)

    def __post_init__(self) -> None:
        self.note = "made by __post_init__"


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    content: Any


class Words(list[Any]):
    """A list of its own kind."""


class Table(dict[str, Any]):
    """A dict whose constructor takes something else."""

    def __init__(self, *, rows: int) -> None:
        super().__init__()


def table(**items: Any) -> Table:
    made = Table(rows=1)
    made.update(items)
    return made


SHAPES: list[Callable[[Any], Any]] = [
    lambda v: [v, 1, [v]],
    lambda v: (v, 1, (v,)),
    lambda v: {"k": v, "n": {"m": [v]}},
    lambda v: OrderedDict([("b", v), ("a", 1)]),
    lambda v: defaultdict(list, {"k": v}),
    lambda v: Counter({"k": v}),
    lambda v: deque([v, 2, 3], maxlen=4),
    lambda v: slice(v, 10, 2),
    lambda v: Point(v),
    lambda v: Pair(v, [v]),
    lambda v: Box(v),
    lambda v: Frozen([v]),
    lambda v: Words([v, 1]),
    lambda v: table(k=v),
    lambda v: [({"k": Point(Box(v))},)],
]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_promise_inside_a_container(shape: Callable[[Any], Any]) -> None:
    plain, value = shape(5), same(shape(inc(4))).compute()
    assert value == plain
    assert type(value) is type(plain)
    assert compute(shape(inc(4))) == (plain,)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_container_without_promises_is_handed_on_itself(shape: Callable[[Any], Any]) -> None:
    plain = shape(5)
    assert same(plain).compute() is plain


def test_sets_and_keys() -> None:
    assert same({inc(1), 5}).compute() == {2, 5}
    assert same(frozenset([inc(1)])).compute() == frozenset([2])
    assert same({inc(1): "two"}).compute() == {2: "two"}


def test_details_of_containers_survive() -> None:
    many = same(defaultdict(list, {"k": inc(1)})).compute()
    assert many["new"] == []
    assert same(deque([inc(1)], maxlen=3)).compute().maxlen == 3
    box = Box(inc(1))
    box.hidden = inc(2)
    rebuilt = same(box).compute()
    assert (rebuilt.content, rebuilt.hidden, rebuilt.note) == (2, 3, "made by __post_init__")
    assert box.content is not rebuilt.content
    assert list(same(OrderedDict([("b", inc(1)), ("a", 0)])).compute()) == ["b", "a"]


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (lambda v: iter([v, 1]), [5, 1]),
        (lambda v: iter((v, 1)), (5, 1)),
        (lambda v: iter({"a": v}.values()), [5]),
        (lambda v: {"a": v}.values(), [5]),
        (lambda v: {"a": v}.items(), [("a", 5)]),
        (lambda v: [iter([v])], [[5]]),
    ],
)
def test_iterators_are_read_once_and_views_are_lists(made: Callable[[Any], Any], expected: Any) -> None:
    promise = same(made(inc(4)))
    assert promise.compute() == expected
    assert promise.compute() == expected


def test_iterators_without_promises_can_be_read_by_every_run() -> None:
    promise = same([iter([1, 2]), 3])
    assert promise.compute() == [[1, 2], 3]
    assert promise.compute() == [[1, 2], 3]


def test_iterators_in_a_signature_can_be_read_by_every_lowering() -> None:
    signature = same.s(iter([1, 2]))
    assert signature.compute() == [1, 2]
    assert signature.compute() == [1, 2]


def test_keyword_arguments() -> None:
    @delayed
    def call(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        return args, kwargs

    assert call(1, [inc(1)], k=inc(2), n={"m": inc(3)}).compute() == ((1, [2]), {"k": 3, "n": {"m": 4}})


def test_the_order_of_arguments_and_values_is_kept() -> None:
    @delayed
    def order(*args: Any, **kwargs: Any) -> list[Any]:
        return [*args, *kwargs.values()]

    a, b = inc(1), inc(2)
    assert order(b, 0, a, b, z=a, y=[b, a]).compute() == [3, 0, 2, 3, 2, [3, 2]]


def test_a_canvas_among_the_arguments_is_lowered() -> None:
    total = delayed(sum)
    assert same([inc.s(1) | inc.s(), group(inc.s(i) for i in range(3))]).compute() == [3, [1, 2, 3]]
    assert total(group(inc.s(i) for i in range(3))).compute() == 6
    assert same.s([inc.s(1)]).compute() == [2]
    assert same.s(value=chain(inc.s(1), inc.s())).compute() == 3


def test_a_container_that_contains_itself_is_no_trap() -> None:
    own: list[Any] = [1]
    own.append(own)
    assert same(own).compute() is own


def test_a_mapping_that_is_no_dict_is_a_value() -> None:
    layered: ChainMap[str, int] = ChainMap({"a": 1})
    assert same(layered).compute() is layered


def test_classes_are_values() -> None:
    assert same(Box).compute() is Box
    assert same([Point, inc(1)]).compute() == [Point, 2]


def test_deep_nesting_is_no_recursion() -> None:
    nested: Any = inc(1)
    for _ in range(50_000):
        nested = [nested]
    value = same(nested).compute()
    depth = 0
    while isinstance(value, list):
        (value,) = value
        depth += 1
    assert (depth, value) == (50_000, 2)


ATOMS = st.one_of(st.integers(), st.text(max_size=3), st.booleans(), st.none())
NESTED = st.recursive(
    st.one_of(ATOMS, st.integers(0, 9).map(lambda n: ("promise", n))),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.text(max_size=2), inner, max_size=4),
        inner.map(Point),
        inner.map(Frozen),
        st.lists(inner, max_size=3).map(deque),
    ),
    max_leaves=20,
)


def swap(value: Any, promise: Callable[[int], Any]) -> Any:
    """Put promise(n) in the place of every ("promise", n): plain recursion, to compare with."""
    if isinstance(value, tuple) and value[:1] == ("promise",) and type(value) is tuple:
        return promise(value[1])
    if isinstance(value, Point | Frozen):
        fields = [getattr(value, name) for name in (("x", "y") if isinstance(value, Point) else ("content",))]
        return type(value)(*[swap(field, promise) for field in fields])
    if isinstance(value, dict):
        return {key: swap(item, promise) for key, item in value.items()}
    return type(value)(swap(item, promise) for item in value) if isinstance(value, list | tuple | deque) else value


@given(NESTED)
def test_any_nesting_comes_back_in_its_shape(value: Any) -> None:
    expected = swap(value, lambda n: n + 1)
    assert compute(swap(value, lambda n: inc(n))) == (expected,)
    assert same(swap(value, lambda n: inc(n))).compute() == expected
