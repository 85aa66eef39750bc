"""Memory for what arrives: received into once, never filled or copied before.

Covers: room for one frame or value.  Does not cover: memory that processes share (net.segments).
"""

from __future__ import annotations

import mmap
from contextlib import suppress

ALIGNED = 64
"""What begins at a multiple of so many bytes can be worked on as it is, whatever it is."""

_FROM = 1024**2


def room_for(before: int, length: int) -> memoryview:
    """Return memory for `before` and `length` bytes, of which the latter are aligned (to 16 bytes when short).

    Raises MemoryError when there is none.
    """
    start = -before % ALIGNED
    if length < _FROM or not hasattr(mmap, "MAP_PRIVATE"):
        return memoryview(bytearray(start + before + length))[start:]
    # A bytearray is filled with zeros first, which takes as long as receiving what goes there.
    try:
        room = mmap.mmap(-1, start + before + length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except (OSError, ValueError, OverflowError) as error:
        raise MemoryError(str(error)) from error
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a kernel without them
            room.madvise(mmap.MADV_HUGEPAGE)
    return memoryview(room)[start:]
