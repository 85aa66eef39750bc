"""Parcels: what a value looks like between processes.

Small values are pickles.  Of others, buffers of 64 KiB or more (arrays, frames, texts of bytes) stand outside of the
pickle, each at a multiple of 64 bytes, and are not copied into or out of it:

    [0, 3 bytes, buffers: u32, length of the pickle: u64][lengths of the buffers: u64 each][pickle] ... buffers

A pickle begins with 128, never with 0.  Where values are opened, buffers are views of the memory in which they came: on
a worker, where several tasks read them, they cannot be written to; a client's are its own.

Covers: packing, opening, several values in one body.
Does not cover: how a body travels (net.link), shared memory (net.segments).
"""

from __future__ import annotations

import pickle
import struct
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lazygraph.executors.cluster.net.codec import dumps, loads, reason_of
from lazygraph.executors.cluster.net.room import ALIGNED, room_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lazygraph.executors.cluster import messages as m
    from lazygraph.executors.cluster.net.segments import Mapped

OUTSIDE = 64 * 1024
"""Buffers of at least this many bytes stand outside of the pickle."""

MISSING, CANNOT, PLACED = -1, -2, -3
"""What stands for a length in `Values`."""

_HEAD = struct.Struct("<B3xIQ")


@dataclass(frozen=True, slots=True)
class Parcel:
    """A packed value: pieces that are to follow one another, of `length` bytes together."""

    pieces: list[memoryview]
    length: int


class _Whole:
    """A value that is nothing but bytes: it is put together again from a buffer."""

    def __init__(self, value: bytes | bytearray) -> None:
        self._value = value

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self._value), (pickle.PickleBuffer(self._value),)


def pack(value: Any) -> Parcel:
    """Pickle a value; its large buffers are not copied, and must not change before the parcel is gone."""
    buffers: list[memoryview] = []

    def stays_inside(buffer: pickle.PickleBuffer) -> bool:
        try:
            raw = buffer.raw()
        except BufferError:  # it is not in one piece
            return True
        if raw.nbytes < OUTSIDE:
            return True
        buffers.append(raw)
        return False

    if type(value) in (bytes, bytearray) and len(value) >= OUTSIDE:
        value = _Whole(value)
    pickled = dumps(value, stays_inside)
    if not buffers:
        return Parcel([memoryview(pickled)], len(pickled))
    lengths = array("Q", [buffer.nbytes for buffer in buffers]).tobytes()
    front = b"".join((_HEAD.pack(0, len(buffers), len(pickled)), lengths, pickled))
    pieces: list[memoryview] = []
    for piece in (memoryview(front), *buffers):
        pieces.append(piece)
        if padding := -len(piece) % ALIGNED:
            pieces.append(_PADDING[:padding])
    return Parcel(pieces, sum(map(len, pieces)))


_PADDING = memoryview(bytes(ALIGNED))


def unpack(view: memoryview, own: bool = False) -> Any:
    """Open a value; `own`: its buffers may be written to.  Raises what opening a pickle may raise, and ValueError."""
    if not len(view) or view[0]:
        return loads(view)
    try:
        _, count, length = _HEAD.unpack_from(view)
        start = _HEAD.size + 8 * count
        lengths = array("Q", bytes(view[_HEAD.size : start]))
    except (struct.error, ValueError):
        raise _cut_off(view) from None
    end = start + length
    buffers = []
    for size in lengths:
        end += -end % ALIGNED
        buffers.append(_lent(view[end : end + size], own))
        end += size
    if end > len(view):
        raise _cut_off(view)
    return loads(view[start : start + length], buffers)


def _cut_off(view: memoryview) -> ValueError:
    return ValueError(f"a value is cut off after {len(view):,} bytes")


def _lent(buffer: memoryview, own: bool) -> Any:
    if not own:
        return buffer.toreadonly()
    return bytearray(buffer) if buffer.readonly else buffer


_NUMBERS = frozenset({int, float, bool, complex, type(None)})
_TEXTS = frozenset({str, bytes})
_SHORT = 1024


def plain_pickles(values: Sequence[Any]) -> list[bytes] | None:
    """Return the pickles of values that are all numbers or short texts (a tenth of the time of parcels), or None."""
    types = set(map(type, values))
    if not types <= _NUMBERS:
        if not types <= _NUMBERS | _TEXTS or any(type(v) in _TEXTS and len(v) > _SHORT for v in values):
            return None
    pickled = pickle.dumps
    return [pickled(value, 5) for value in values]


# -- several of them, in messages ------------------------------------------------------------------


def packed(value: Any) -> Parcel | str:
    """Return a value's parcel, or why there cannot be one."""
    try:
        return pack(value)
    except Exception as error:
        return f"a {type(value).__name__}: {reason_of(error)}"


def together(parcels: Sequence[Parcel]) -> tuple[list[int], list[memoryview]]:
    """Return the lengths and the pieces of several values in one body, in which those with buffers are aligned."""
    if all(len(parcel.pieces) == 1 for parcel in parcels):
        return [parcel.length for parcel in parcels], [parcel.pieces[0] for parcel in parcels]
    lengths: list[int] = []
    pieces: list[memoryview] = []
    for parcel in parcels:
        padding = -parcel.length % ALIGNED  # a pickle says itself where it ends
        pieces += (*parcel.pieces, _PADDING[:padding])
        lengths.append(parcel.length + padding)
    return lengths, pieces


def pack_values(values: Sequence[Any], missing: Any) -> tuple[list[int], list[str], list[memoryview]]:
    """Pack values: lengths (or what stands for them), problems, and the pieces of the body."""
    found = [None if value is missing else packed(value) for value in values]
    sizes, pieces = together([parcel for parcel in found if isinstance(parcel, Parcel)])
    left = iter(sizes)
    lengths = [MISSING if one is None else CANNOT if isinstance(one, str) else next(left) for one in found]
    return lengths, [one for one in found if isinstance(one, str)], pieces


def unpack_values(
    message: m.Values, body: bytes | memoryview, missing: Any, mapped: Sequence[Mapped] = (), own: bool = False
) -> tuple[list[Any], dict[int, str]]:
    """Open values: one for each entry asked for (or `missing`), and problems by position."""
    view = memoryview(body)
    problems, segments = iter(message.problems), iter(mapped)
    alone = sum(length > 0 for length in message.lengths) == 1
    values, wrong, at = [], {}, 0
    for place, length in enumerate(message.lengths):
        if length == PLACED:
            values.append(unpack(next(segments).view, own))
        elif length < 0:
            values.append(missing)
            if length == CANNOT:
                wrong[place] = next(problems)
        else:
            part = view[at : at + length]
            at += length
            values.append(loads(part) if length and part[0] else unpack(_apart(part, alone), own))
    return values, wrong


def _apart(view: memoryview, alone: bool) -> memoryview:
    """Give a value memory of its own, or all that came with it would stay as long as one of them is held."""
    if alone or not len(view):
        return view
    own = room_for(0, len(view))
    own[:] = view
    return own
