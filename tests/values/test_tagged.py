"""Values as JSON that keeps their types."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import json
import math
from collections import OrderedDict, defaultdict, deque, namedtuple
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lazygraph.errors import InvalidOption
from lazygraph.values.tagged import Reader, Writer

Point = namedtuple("Point", "x y")


@dataclasses.dataclass(frozen=True)
class Made:
    name: str
    size: int = dataclasses.field(default=0, init=False)


class Colour(enum.Enum):
    RED = "red"


def again(value: Any) -> Any:
    writer = Writer(lambda _: None)
    text = json.dumps([writer.write(value, "it"), writer.values], allow_nan=False)
    written, values = json.loads(text)
    return Reader({}, values).read(written, "it")


ATOMS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | st.text(st.characters(codec=None))
    | st.binary()
    | st.decimals(allow_nan=False)
    | st.fractions()
    | st.uuids()
    | st.datetimes(timezones=st.none() | st.just(dt.UTC) | st.sampled_from([ZoneInfo("Europe/Paris")]))
    | st.times()
    | st.dates()
    | st.timedeltas()
)


def _containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    keys = st.text(max_size=3) | st.just("$tuple") | st.integers() | st.tuples(st.integers())
    return (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.lists(inner).map(lambda items: deque(items, maxlen=5))
        | st.dictionaries(keys, inner)
        | st.dictionaries(keys, inner).map(OrderedDict)
        | st.sets(st.integers() | st.text())
        | st.frozensets(st.integers())
        | st.builds(Point, inner, inner)
        | st.builds(Made, inner)
    )


@given(st.recursive(ATOMS, _containers, max_leaves=20))
def test_a_value_is_read_as_it_was_written(value: Any) -> None:
    read = again(value)
    assert read == value
    assert repr(read) == repr(value) or isinstance(value, set | frozenset) or "{" in repr(value)


@pytest.mark.parametrize(
    "value",
    [
        math.inf,
        -math.inf,
        -0.0,
        2**70,
        -(2**10_000) * 3,
        complex(-0.0, math.inf),
        bytearray(b"ab"),
        range(1, 10, 2),
        slice(1, None, 2),
        Decimal("1.10"),
        Fraction(1, 3),
        UUID(int=5),
        Path("a/b"),
        ...,
        dt.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Paris")),
        dt.datetime(2026, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=-3, minutes=-30))),
        dt.time(1, 2, 3, 4, tzinfo=dt.UTC),
        Colour.RED,
        len,
        str.upper,
        int,
        ValueError,
        Made("x"),
        "\ud800",
        {"$tuple": [1]},
        {1: 2, "1": 3},
        "x" * 1000,
    ],
    ids=lambda value: repr(value)[:40],
)
def test_values_that_json_does_not_have(value: Any) -> None:
    read = again([value, value])
    assert read == [value, value]
    assert type(read[0]) is type(value)


def test_what_equality_does_not_see() -> None:
    assert math.isnan(again(math.nan))
    assert math.copysign(1, again(-0.0)) == -1
    assert again(True) is True and again(1) is not True and isinstance(again(1.0), float)
    moment = dt.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Paris"))
    assert again(moment).fold == 1 and again(moment).tzinfo.key == "Europe/Paris"
    made = again(defaultdict(list, {1: [2]}))
    assert (made, made.default_factory) == ({1: [2]}, list)
    assert again(deque([1], 3)).maxlen == 3


def test_deep_values() -> None:
    deep: Any = 1
    for _ in range(10_000):
        deep = [deep]
    read = again(deep)
    for _ in range(10_000):
        (read,) = read
    assert read == 1


def test_a_long_text_is_written_once_and_is_one_again() -> None:
    long = "x" * 1000
    writer = Writer(lambda _: None)
    assert writer.write([long, long], "it") == [{"$value": 0}, {"$value": 0}]
    first, second = again([long, long])
    assert first is second


@pytest.mark.parametrize("value", [object(), [{1: iter([])}], type("Here", (int,), {})(3)])
def test_what_has_no_json_is_named_by_its_type(value: Any) -> None:
    with pytest.raises(InvalidOption, match=r"^it is or contains a .*(object|iterator|Here), which has no JSON"):
        again(value)


def test_a_class_that_nobody_finds_is_refused() -> None:
    local = dataclasses.make_dataclass("local", ["x"])
    with pytest.raises(InvalidOption, match=r"^it: function 'local' cannot be found as"):
        again(local(1))


def test_something_that_contains_itself_is_refused() -> None:
    itself: dict[str, Any] = {}
    itself["me"] = [itself]
    with pytest.raises(InvalidOption, match=r"^it contains itself \(a dict\)"):
        again(itself)
    twice = [1]
    assert again([twice, twice]) == [[1], [1]]
