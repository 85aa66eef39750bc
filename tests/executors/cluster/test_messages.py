"""Every sentence of the protocol survives its trip, and nothing else is one."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lazygraph.executors.cluster import messages as m

KINDS = get_args(m.ANY)


def test_tags_are_numbers_of_one_kind_each() -> None:
    tags = [kind.__struct_config__.tag for kind in KINDS]

    assert len(set(tags)) == len(tags) == len(set(KINDS))
    assert all(isinstance(tag, int) for tag in tags)


@pytest.mark.parametrize(
    "message",
    [
        m.Done(4, 2, m.ints([1, 2]), m.longs([2**40, 1]), 0.25, b""),
        m.Do(4, 1, m.ints([1]), b"", [("at", 3, m.ints([7]))]),
        m.Ended(1, m.ints([0]), 8, "n", "k", 1, "raised", "text", "w", "here", 2),
        m.Load(
            0,
            m.ShapeOnWire(0, *[b""] * 12, ["f"], [{}], [(-1, True, -1, [], False, [])], []),
            m.TablesOnWire([3], 4),
            [(1, 2)],
        ),
        m.Returned(-1, 0, b"", [("", 1, m.ints([2]))], True),
        m.StateOf(1, {"at": {"threads": 2}}, [["at"], []]),
    ],
    ids=lambda message: type(message).__name__,
)
def test_a_message_is_the_same_on_the_other_side(message: m.Message) -> None:
    assert m.decode(m.encode(message)) == message


@given(st.lists(st.integers(-(2**31), 2**31 - 1)), st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_columns_of_numbers_survive(small: list[int], large: list[int]) -> None:
    assert list(m.from_ints(m.ints(small))) == small
    assert list(m.from_longs(m.longs(large))) == large


def test_before_the_greeting_nothing_but_greetings_is_read() -> None:
    for kind in get_args(m.GREETING):
        assert kind in KINDS
    with pytest.raises(msgspec.ValidationError):
        m.decode_greeting(m.encode(m.Drop(1, b"")))


@given(st.binary(max_size=60))
def test_noise_is_refused_and_does_nothing_else(noise: bytes) -> None:
    try:
        message = m.decode(noise)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return
    assert type(message) in KINDS
