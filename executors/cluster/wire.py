"""What frames are made of: the base of all messages, columns of numbers as bytes, and what two peers must agree on.

Covers: representation.  Does not cover: the vocabulary (messages).
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

PROTOCOL = 12
INLINE_LIMIT = 64 * 1024
"""Values of at most this many bytes ride in the message that says they are done."""
LOST_FOR_GOOD = "its worker ended, and a scattered value cannot be made again"


def ints(values: Iterable[int]) -> bytes:
    """Return 32-bit integers as bytes."""
    return array("i", values).tobytes()


def from_ints(data: bytes) -> array[int]:
    """Return the integers in bytes."""
    values = array("i")
    values.frombytes(data)
    return values


def longs(values: Iterable[int]) -> bytes:
    """Return 64-bit integers as bytes."""
    return array("q", values).tobytes()


def from_longs(data: bytes) -> array[int]:
    """Return the integers in bytes."""
    values = array("q")
    values.frombytes(data)
    return values


class Message(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The base of all of them."""
