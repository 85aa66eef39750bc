"""Content keys of data: equal content, equal key, wherever and whenever; different content, different keys.

Tested elsewhere: code, the arrays and tables of numpy and pandas, and what has no content."""

from __future__ import annotations

import array
import collections
import copy
import datetime
import decimal
import fractions
import functools
import itertools
import json
import operator
import pathlib
import pickle
import random
import re
import types
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lazygraph.values.keys import Keys, key_of
from tests.values.keyed import (
    Access,
    Bag,
    Colour,
    MyDict,
    MyList,
    MySet,
    MyText,
    Number,
    OtherBag,
    Pair,
    Point,
    Slotted,
    in_another_process,
    noted,
)

# -- what values are ---------------------------------------------------------------------------------

BERLIN = datetime.timezone(datetime.timedelta(hours=1))

DIFFERENT: list[Callable[[], Any]] = [
    *(
        lambda value=value: value
        for value in (0, 1, -1, 255, 256, -256, 2**64, 10**5000, True, False, None, ..., NotImplemented)
    ),  # type: ignore[misc]
    lambda: 0.0,
    lambda: -0.0,
    lambda: 1.0,
    lambda: float("nan"),
    lambda: float("inf"),
    lambda: 1j,
    lambda: complex(0.0, -0.0),
    lambda: complex(0.0, 0.0),
    lambda: "",
    lambda: "1",
    lambda: "N",
    lambda: "\u00e9",
    lambda: "e\u0301",
    lambda: "\udc80",
    lambda: b"",
    lambda: b"1",
    lambda: bytearray(b"1"),
    lambda: memoryview(b"1"),
    lambda: array.array("i", [1]),
    lambda: array.array("l", [1]),
    lambda: "x" * 5000,
    lambda: "x" * 5001,
    lambda: b"x" * 5000,
    lambda: [],
    lambda: (),
    lambda: {},
    lambda: set(),
    lambda: frozenset(),
    lambda: [()],
    lambda: [[]],
    lambda: [1],
    lambda: [True],
    lambda: [1.0],
    lambda: (1,),
    lambda: {1},
    lambda: frozenset({1}),
    lambda: {1: None},
    lambda: [1, 2],
    lambda: [2, 1],
    lambda: [[1], 2],
    lambda: [[1, 2]],
    lambda: ["ab", "c"],
    lambda: ["a", "bc"],
    lambda: ["abc"],
    lambda: {"a": 1, "b": 2},
    lambda: {"a": 2, "b": 1},
    lambda: {"b": 2, "a": 1},  # another order of insertion, which list(d) would show
    lambda: {"a": {"b": 1}},
    lambda: collections.OrderedDict(a=1, b=2),
    lambda: collections.OrderedDict(b=2, a=1),
    lambda: collections.defaultdict(int, a=1, b=2),
    lambda: collections.defaultdict(float, a=1, b=2),
    lambda: collections.Counter("aab"),
    lambda: collections.deque([1, 2]),
    lambda: collections.deque([1, 2], 2),
    lambda: collections.ChainMap({"a": 1}),
    lambda: MyList([1]),
    lambda: MyDict(a=1),
    lambda: MySet({1}),
    lambda: MyText("1"),
    lambda: noted("a"),
    lambda: noted("b"),
    lambda: types.SimpleNamespace(a=1),
    lambda: types.MappingProxyType({"a": 1}),
    lambda: Pair(1, 2),
    lambda: Pair(2, 1),
    lambda: Point(1, 2),
    lambda: Point(2, 1),
    lambda: Bag(a=1, b=2),
    lambda: Bag(a=2, b=1),
    lambda: OtherBag(a=1, b=2),
    lambda: Slotted(a=1),
    lambda: Slotted(b=1),
    lambda: Colour.RED,
    lambda: Colour.GREEN,
    lambda: Number.ONE,
    lambda: Access.READ | Access.WRITE,
    lambda: Access.READ,
    lambda: Colour,
    lambda: Point,
    lambda: Pair,
    lambda: Bag,
    lambda: int,
    lambda: str,
    lambda: type,
    lambda: object,
    lambda: decimal.Decimal,
    lambda: slice(1),
    lambda: slice(0, 1),
    lambda: slice(None, 1, 1),
    lambda: range(3),
    lambda: range(4),
    lambda: datetime.date(2026, 1, 2),
    lambda: datetime.datetime(2026, 1, 2),
    lambda: datetime.datetime(2026, 1, 2, fold=1),
    lambda: datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
    lambda: datetime.datetime(2026, 1, 2, tzinfo=BERLIN),
    lambda: datetime.time(1, 2),
    lambda: datetime.timedelta(1),
    lambda: decimal.Decimal("1"),
    lambda: decimal.Decimal("1.0"),
    lambda: fractions.Fraction(1, 2),
    lambda: uuid.UUID(int=1),
    lambda: pathlib.PurePosixPath("a/b"),
    lambda: pathlib.PureWindowsPath("a/b"),
    lambda: pathlib.PurePosixPath("a"),
    lambda: re.compile("a"),
    lambda: re.compile("a", re.IGNORECASE),
    lambda: re.compile(b"a"),
    lambda: list[int],
    lambda: list[str],
    lambda: int | None,
    lambda: ValueError("a"),
    lambda: ValueError("b"),
    lambda: TypeError("a"),
    lambda: random.Random(1),
    lambda: random.Random(2),
    lambda: len,
    lambda: max,
    lambda: operator.add,
    lambda: str.upper,
    lambda: str.lower,
    lambda: "a".upper,
    lambda: "b".upper,
    lambda: json.dumps,
    lambda: operator.itemgetter(1),
    lambda: operator.attrgetter("a"),
    lambda: functools.partial(operator.add, 1),
    lambda: functools.partial(operator.add, 2),
    lambda: functools.partial(operator.sub, 1),
    lambda: Point(1).norm,
    lambda: Point(2).norm,
    lambda: Point.norm,
    lambda: Point.origin,
    lambda: json,
    lambda: re,
    lambda: lambda x: x,
    lambda: lambda x: x + 1,
    lambda: lambda x: x + 2,
    lambda: lambda y: y,
    lambda: lambda x, y=1: x,
    lambda: lambda x, y=2: x,
    lambda: lambda x, *, y=2: x,
    lambda: lambda *x: x,
    lambda: lambda **x: x,
]


def test_everything_here_has_a_key_of_its_own() -> None:
    keys = [key_of(make()) for make in DIFFERENT]
    assert [at for at, key in enumerate(keys) if key in keys[:at]] == []
    assert all(re.fullmatch("[0-9a-f]{40}", key) for key in keys)


def test_made_again_it_has_the_same_key() -> None:
    assert [key_of(make()) for make in DIFFERENT] == [key_of(make()) for make in DIFFERENT]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (lambda: {1, 2, 3, 1000}, lambda: {1000, 3, 2, 1}),
        (lambda: {"b", "a"}, lambda: {"a", "b"}),
        (lambda: {(1, "a"), 2}, lambda: {2, (1, "a")}),
        (lambda: frozenset({"x", "y", "z"}), lambda: frozenset({"z", "y", "x"})),
        (lambda: MySet(["b", "a"]), lambda: MySet(["a", "b"])),
        (lambda: Bag(a=1, b=2), lambda: Bag(b=2, a=1)),
        (lambda: Slotted(a=1, b=2), lambda: Slotted(b=2, a=1)),
        (lambda: "ab", lambda: "".join(["a", "b"])),
        (lambda: 10**30, lambda: int("1" + "0" * 30)),
        (lambda: slice(1, 2), lambda: slice(1, 2, None)),
        (lambda: pathlib.PurePosixPath("a/b"), lambda: pathlib.PurePosixPath("a", "b")),
        (lambda: [[1], [1]], lambda: [[1]] * 2),
        (lambda: Colour(1), lambda: Colour.RED),
    ],
)
def test_what_cannot_be_told_apart_has_one_key(left: Callable[[], Any], right: Callable[[], Any]) -> None:
    assert key_of(left()) == key_of(right())


def test_two_nans_and_two_zeros() -> None:
    assert key_of(float("nan")) == key_of(float("nan"))
    assert key_of([0.0]) != key_of([-0.0])


def test_keys_of_data_are_the_same_in_every_version() -> None:
    # Kept values are found by these: whoever changes one makes strangers of them all.
    data = {
        "plain": [1, -1, 2**70, True, None, 1.5, 1j, "text", b"bytes", ...],
        "containers": [
            (1, [2]),
            {3, 4},
            frozenset({5}),
            {"k": 6},
            collections.OrderedDict(a=1),
            collections.deque([7]),
        ],
        "others": [
            decimal.Decimal("1.0"),
            fractions.Fraction(1, 2),
            uuid.UUID(int=1),
            datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
            pathlib.PurePosixPath("a/b"),
            re.compile("a"),
            slice(1, 2),
            range(3),
        ],
    }
    assert {name: key_of(value) for name, value in data.items()} == {
        "plain": "6d80de9f95a6aa32833a773e43c38ee537234be8",
        "containers": "7c870f4dea696d2c9b15775b39571f31ee92f4d2",
        "others": "a5a486134251458989e5932ffcb0a7dcefed1e41",
    }


# -- any value ----------------------------------------------------------------------------------------

HASHABLE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.binary(max_size=4),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=6,
)
VALUES = st.recursive(
    HASHABLE | st.decimals() | st.dates() | st.fractions() | st.uuids() | st.timedeltas(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(HASHABLE, inner, max_size=3)
        | st.sets(HASHABLE, max_size=3)
        | st.builds(Point, inner, inner)
        | st.builds(Pair, inner, inner)
        | st.builds(collections.deque, st.lists(inner, max_size=3))
        | st.builds(slice, inner, inner, inner)
    ),
    max_leaves=15,
)


def described(value: Any) -> Any:
    """What a value is, told in another way: equal descriptions if and only if nothing tells two values apart."""
    kind = type(value).__name__
    if isinstance(value, float):
        return kind, value.hex()
    if isinstance(value, set | frozenset):
        return kind, frozenset(collections.Counter(map(described, value)).items())
    if isinstance(value, dict):
        return kind, tuple((described(key), described(each)) for key, each in value.items())
    if isinstance(value, slice):
        return kind, described([value.start, value.stop, value.step])
    if isinstance(value, Point):
        return kind, described([value.x, value.y])
    if isinstance(value, list | tuple | collections.deque):
        return kind, tuple(map(described, value))
    return kind, repr(value)


@given(VALUES, VALUES)
def test_keys_are_equal_exactly_when_values_are(left: Any, right: Any) -> None:
    assert (key_of(left) == key_of(right)) == (described(left) == described(right))


@given(VALUES)
def test_a_copy_has_the_key_of_its_original(value: Any) -> None:
    assert key_of(copy.deepcopy(value)) == key_of(value)
    assert key_of(pickle.loads(pickle.dumps(value))) == key_of(value)


@given(st.lists(VALUES, min_size=2, max_size=3))
def test_a_list_in_another_order_has_another_key(values: list[Any]) -> None:
    for other in itertools.permutations(values):
        assert (key_of(list(other)) == key_of(values)) == (described(list(other)) == described(values))


# -- other processes ----------------------------------------------------------------------------------

PLAIN_VALUES = st.recursive(
    HASHABLE | st.decimals() | st.dates() | st.uuids(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(HASHABLE, inner, max_size=4)
        | st.sets(HASHABLE, max_size=5)
        | st.builds(collections.OrderedDict, st.dictionaries(HASHABLE, inner, max_size=3))
        | st.builds(types.SimpleNamespace, a=inner, b=inner)
    ),
    max_leaves=15,
)
KEYS_OF_A_PICKLE = """
import json, pickle, sys
from lazygraph.values.keys import key_of
print(json.dumps([key_of(value) for value in pickle.loads(bytes.fromhex(sys.argv[1]))]))
"""


@settings(max_examples=4)
@given(values=st.lists(PLAIN_VALUES, min_size=20, max_size=60), seed=st.integers(0, 2**32 - 1))
def test_keys_do_not_depend_on_the_process(
    values: list[Any], seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    found = in_another_process(
        KEYS_OF_A_PICKLE, pickle.dumps(values).hex(), seed=seed, cwd=tmp_path_factory.mktemp("elsewhere")
    )
    assert found == [key_of(value) for value in values]


# -- size and shape --------------------------------------------------------------------------------------


def test_a_list_nested_a_hundred_thousand_deep() -> None:
    def nested(innermost: Any) -> Any:
        for _ in range(100_000):
            innermost = [innermost]
        return innermost

    assert key_of(nested(1)) == key_of(nested(1)) != key_of(nested(2))


def test_shared_parts_are_looked_at_once() -> None:
    value: Any = [1]
    for _ in range(1000):
        value = [value, value]  # two to the thousand ways through it
    other: Any = [2]
    for _ in range(1000):
        other = (other, other)
    assert key_of(value) != key_of(other)


def test_values_that_contain_themselves() -> None:
    def ring(*items: Any) -> list[Any]:
        """Lists in a circle, each with an item and the next one."""
        made: list[list[Any]] = [[item] for item in items]
        for at, one in enumerate(made):
            one.append(made[(at + 1) % len(made)])
        return made[0]

    assert key_of(ring(1)) == key_of(ring(1)) != key_of(ring(2))
    assert key_of(ring(1, 2, 3)) == key_of(ring(1, 2, 3)) != key_of(ring(1, 3, 2))
    assert key_of(ring(1, 2, 3)) != key_of(ring(2, 3, 1))
    looping: dict[str, Any] = {}
    looping["self"] = looping
    bag = Bag()
    bag.self = bag  # type: ignore[attr-defined]
    assert len({key_of(looping), key_of(bag), key_of(ring(0))}) == 3


@given(st.data())
def test_knots_are_told_apart_as_far_as_a_walk_can(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 6))
    rows = data.draw(
        st.lists(
            st.tuples(st.integers(0, 1), st.lists(st.integers(0, size - 1), max_size=3)), min_size=size, max_size=size
        )
    )
    order = data.draw(st.permutations(range(size)))

    def made(numbers: Any) -> list[list[Any]]:
        lists: list[list[Any]] = [[] for _ in rows]
        for at in numbers:  # in any order
            letter, reads = rows[at]
            lists[at].append(letter)
            lists[at].extend(lists[read] for read in reads)
        return lists

    @functools.cache
    def seen(at: int, steps: int) -> int:
        """What a walk of so many steps from here sees, as a number that stands for it."""
        letter, reads = rows[at]
        view = (letter, tuple(seen(read, steps - 1) for read in reads) if steps else len(reads))
        return views.setdefault(view, len(views))

    views: dict[Any, int] = {}
    one, other = made(range(size)), made(order)
    keys = [key_of(each) for each in one]
    assert keys == [key_of(each) for each in other]
    for a, b in itertools.combinations(range(size), 2):
        if keys[a] == keys[b]:
            assert seen(a, 2 * size) == seen(b, 2 * size)
    together = Keys()
    tokens = [together.token(each) for each in one]
    for a, b in itertools.combinations(range(size), 2):
        assert (tokens[a] == tokens[b]) <= (seen(a, 2 * size) == seen(b, 2 * size))
