"""How long calls of a function take: measured, and remembered from run to run.

Covers: what is known of a plan's functions.
Does not cover: what follows from it (handing, placement).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

SHORT, MOST_KNOWN = 1024, 4096
"""Of so many functions whose pickles have at most so many bytes it is known in later runs how long they take."""


class Pace:
    """How long calls of one function took lately, in seconds; None while nothing has been measured."""

    __slots__ = ("seconds",)

    def __init__(self) -> None:
        self.seconds: float | None = None

    def measured(self, seconds: float) -> None:
        """Calls have taken so long, on average."""
        self.seconds = seconds if self.seconds is None else 0.5 * self.seconds + 0.5 * seconds

    def at_least(self, seconds: float) -> None:
        """A call takes longer than that."""
        self.seconds = max(self.seconds or 0.0, seconds)


class Paces:
    """What is known of functions, by their pickles; of too many the oldest are forgotten."""

    def __init__(self) -> None:
        self._known: dict[bytes, Pace] = {}

    def of(self, lengths: Sequence[int], body: bytes | memoryview) -> list[Pace]:
        """Return those of a plan's functions, whose pickles stand at the beginning of a body."""
        found, at, known = [], 0, self._known
        for length in lengths:
            blob = bytes(body[at : at + length]) if length <= SHORT else None
            at += length
            pace = known.get(blob) if blob is not None else None
            if pace is None:
                pace = Pace()
                if blob is not None:
                    if len(known) >= MOST_KNOWN:
                        del known[next(iter(known))]
                    known[blob] = pace
            found.append(pace)
        return found
