"""One value in one file: written in one go, and never read as another one.

    the pickle | its large parts, one after another | the length of each part | length of the pickle, number of parts,
    sum over the key and everything before it, mark

What is last is written last, so a file that was cut off, or has other lengths than it says, is known by its end.  The
sum begins with the key: a file under a wrong name is damaged, too.

Covers: writing, reading, looking.
Does not cover: where files are and which are kept (files.store).
"""

from __future__ import annotations

import os
import pickle
import struct
from typing import TYPE_CHECKING, Any
from zlib import crc32

import cloudpickle

if TYPE_CHECKING:
    from collections.abc import Sequence
    from io import BufferedReader, FileIO
    from pathlib import Path

_END = struct.Struct("<QQI8s")
_LENGTH = struct.Struct("<Q")
_MARK = b"lazykept"
_MODE = 0o600


class Damaged(Exception):
    """A file is not what was written.  Never seen by users: they get a warning, and the value is made again."""


class _Summing:
    """Writes to a file, and knows the sum of what was written."""

    def __init__(self, file: Any, key: str) -> None:
        self._file, self.sum, self.size = file, crc32(key.encode()), 0

    def write(self, data: Any) -> int:
        """Write all of it."""
        self.sum = crc32(data, self.sum)
        self._file.write(data)
        size = memoryview(data).nbytes
        self.size += size
        return size


def write(place: Path, key: str, value: Any) -> int:
    """Write a value into a new file, which only this user can read; return its size.

    By name what pickle can name, by value the rest.  Large arrays are not copied.  Raises what pickling raises.
    """
    try:
        return _write(place, key, value, pickle.Pickler)
    except OSError:
        raise
    except Exception:  # of `__main__` elsewhere, a lambda
        place.unlink(missing_ok=True)
        return _write(place, key, value, cloudpickle.Pickler)


def _write(place: Path, key: str, value: Any, pickler: Any) -> int:
    parts: list[pickle.PickleBuffer] = []
    with open(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), _MODE), "wb") as file:
        summing = _Summing(file, key)
        pickler(summing, protocol=5, buffer_callback=parts.append).dump(value)
        length = summing.size
        raws = [part.raw() for part in parts]
        for raw in raws:
            summing.write(raw)
        summing.write(b"".join(_LENGTH.pack(raw.nbytes) for raw in raws))
        file.write(_END.pack(length, len(raws), summing.sum, _MARK))
        return summing.size + _END.size


def read(place: Path, key: str) -> Any:
    """Return the value in a file.  Raises `Damaged`, FileNotFoundError, or what opening the pickle raises."""
    with open(place, "rb") as file:
        length, sizes, said = _lengths(file)
        file.seek(0)
        data = _part(file, length)
        parts = [_part(file, size) for size in sizes]
    found = crc32(key.encode())
    for part in (data, *parts):
        found = crc32(part, found)
    found = crc32(b"".join(map(_LENGTH.pack, sizes)), found)
    if found != said:
        raise Damaged("its content has changed")
    return pickle.loads(data, buffers=parts)


def is_whole(place: Path) -> bool:
    """Whether a file is as long as it says.  Raises FileNotFoundError."""
    try:
        with open(place, "rb") as file:
            _lengths(file)
    except Damaged:
        return False
    return True


def _lengths(file: BufferedReader | FileIO) -> tuple[int, Sequence[int], int]:
    """Return how long the pickle and the parts are, and the sum."""
    size = file.seek(0, os.SEEK_END)
    if size < _END.size:
        raise Damaged("it has been cut off")
    file.seek(size - _END.size)
    length, count, said, mark = _END.unpack(file.read(_END.size))
    table = size - _END.size - count * _LENGTH.size
    if mark != _MARK or table < length:
        raise Damaged("it does not end as it was written")
    file.seek(table)
    sizes = [_LENGTH.unpack(file.read(_LENGTH.size))[0] for _ in range(count)]
    if length + sum(sizes) != table:
        raise Damaged("it is not as long as it says")
    return length, sizes, said


def _part(file: Any, size: int) -> bytearray:
    """Read so many bytes into memory that belongs to whoever gets them: arrays in it can be changed."""
    part = bytearray(size)
    if file.readinto(part) != size:
        raise Damaged("it has been cut off")
    return part
