"""Parcels: values come out as they went in, and nothing large is copied on the way into one."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster.net import parcels
from lazygraph.executors.cluster.net.parcels import OUTSIDE, pack, pack_values, unpack, unpack_values

ABSENT: Any = object()
LARGE = 3 * OUTSIDE


class Sheet:
    """A class of users' that hands its memory to pickle."""

    def __init__(self, *buffers: Any) -> None:
        self.buffers = buffers

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Sheet, tuple(pickle.PickleBuffer(one) for one in self.buffers)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sheet) and list(map(bytes, self.buffers)) == list(map(bytes, other.buffers))


def body(pieces: list[memoryview]) -> memoryview:
    return memoryview(b"".join(pieces))


def there_and_back(value: Any, own: bool = False) -> Any:
    parcel = pack(value)
    joined = body(parcel.pieces)
    assert len(joined) == parcel.length
    return unpack(joined, own)


VALUES: dict[str, Any] = {
    "nothing": None,
    "a text": "text",
    "a list": [1, {"two": (3.0, None)}],
    "empty bytes": b"",
    "short bytes": b"short",
    "long bytes": bytes(range(256)) * 2_000,
    "a long bytearray": bytearray(range(256)) * 2_000,
    "a long text": "long" * 100_000,
    "two buffers": Sheet(bytes(LARGE), bytearray(b"x" * LARGE)),
    "a buffer of nothing": Sheet(b"", bytes(LARGE), bytearray()),
    "many buffers": Sheet(*(bytes([at % 256]) * (OUTSIDE + at) for at in range(50))),
    "many small buffers": Sheet(*(bytes([at % 256]) * 10 for at in range(2_000))),
}


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("name", VALUES)
def test_values_come_out_as_they_went_in(name: str, own: bool) -> None:
    value = VALUES[name]
    found = there_and_back(value, own)
    assert (type(found), found) == (type(value), value)


ARRAYS: dict[str, Any] = {
    "numbers": np.arange(LARGE, dtype=np.float64),
    "in columns": np.asfortranarray(np.arange(LARGE, dtype=np.int32).reshape(3, -1)),
    "every other": np.arange(LARGE)[::2],
    "backwards": np.arange(LARGE)[::-1],
    "of no length": np.zeros((0, 5)),
    "of no dimension": np.array(7),
    "small": np.arange(10),
    "records": np.zeros(LARGE, dtype=[("a", "i4"), ("b", "f8")]),
    "objects": np.array([{"a": 1}, None, "x"], dtype=object),
    "times": np.arange("2026-01-01", "2027-01-01", dtype="datetime64[m]"),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_come_out_as_they_went_in(name: str) -> None:
    array = ARRAYS[name]
    for found in (there_and_back(array), there_and_back({"in": [array]})["in"][0]):
        assert (found.dtype, found.shape, found.flags.aligned) == (array.dtype, array.shape, True)
        np.testing.assert_array_equal(found, array)


def test_a_large_array_is_not_copied_into_its_parcel() -> None:
    array = np.zeros(LARGE, dtype=np.uint8)
    pieces = pack(array).pieces
    array[5] = 7
    assert [piece[5] for piece in pieces if len(piece) == LARGE] == [7]


def test_a_large_array_is_a_view_of_what_has_come() -> None:
    memory = bytearray(body(pack(np.zeros(LARGE, dtype=np.uint8)).pieces))
    found = unpack(memoryview(memory))
    memory[-5:] = b"abcde"
    assert bytes(found[-5:]) == b"abcde"


def test_what_several_tasks_read_none_of_them_changes() -> None:
    found = there_and_back([np.zeros(LARGE), np.zeros(LARGE)])
    assert not any(array.flags.writeable for array in found)
    with pytest.raises(ValueError, match="read-only"):
        found[0][0] = 1


def test_what_is_ones_own_may_be_changed() -> None:
    found = there_and_back(np.zeros(LARGE), own=True)
    found[0] = 1
    assert found[0] == 1


def test_what_could_not_be_changed_before_cannot_be_after() -> None:
    array = np.zeros(LARGE)
    array.flags.writeable = False
    assert not there_and_back(array, own=True).flags.writeable


def test_several_values_in_one_body() -> None:
    values = [1, ABSENT, np.arange(LARGE), lambda: (yield), "four", (one for one in ()), np.arange(LARGE) + 1, b"end"]
    lengths, problems, pieces = pack_values(values, ABSENT)
    assert [length for length in lengths if length < 0] == [parcels.MISSING, parcels.CANNOT]
    found, wrong = unpack_values(m.Values(1, lengths, problems), body(pieces), ABSENT)
    assert list(wrong) == [5] and wrong[5].startswith("a generator: TypeError")
    assert (found[0], found[1] is ABSENT, found[4], found[7]) == (1, True, "four", b"end")
    np.testing.assert_array_equal(found[2], values[2])
    np.testing.assert_array_equal(found[6], values[6])
    assert found[2].flags.aligned and found[6].flags.aligned


@pytest.mark.parametrize("values", [[1, 2.5, None, True, 10**400], [], ["a", b"b", 3], ["", "x" * 1000]])
def test_numbers_and_short_texts_are_pickled_without_ado(values: list[Any]) -> None:
    pickles = parcels.plain_pickles(values)

    assert pickles is not None
    message = m.Values(0, [len(one) for one in pickles], [])
    assert parcels.unpack_values(message, b"".join(pickles), "missing") == (values, {})


@pytest.mark.parametrize("odd", [["x" * 2000], [object()], [[1]], [lambda: 1]])
def test_others_are_not(odd: list[Any]) -> None:
    assert parcels.plain_pickles([1, *odd]) is None


def test_of_several_values_each_has_its_own_memory() -> None:
    lengths, _, pieces = pack_values([np.zeros(LARGE), np.zeros(LARGE)], ABSENT)
    memory = bytearray(body(pieces))
    found, _ = unpack_values(m.Values(1, lengths, []), memoryview(memory), ABSENT)
    assert not any(np.shares_memory(array, np.frombuffer(memory, np.uint8)) for array in found)


@pytest.mark.parametrize("left", [0, 1, 10, 20, 200, LARGE // 2, -1])
def test_a_value_that_is_cut_off_is_an_error(left: int) -> None:
    joined = body(pack(np.arange(LARGE, dtype=np.uint8)).pieces)
    with pytest.raises(Exception, match=r"cut off|Ran out"):
        unpack(joined[:left])
