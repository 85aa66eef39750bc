"""Where each node that was asked for stands among the outputs of its run.

Mostly a run's outputs are one node after another: then nothing is kept for each of them.

Covers: finding places, giving one up.
Does not cover: the futures that stand there (running.run).
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class Places:
    """The places of each entry among outputs; an entry may be asked for more than once.

    >>> places = Places(array("i", [4, 7, 4]))
    >>> [*places.of(4)], [*places.of(7)], [*places.of(5)]
    ([0, 2], [1], [])
    """

    __slots__ = ("_first", "_known", "_length")

    def __init__(self, outputs: array[int]) -> None:
        """Look through the outputs."""
        self._first = outputs[0] if outputs else 0
        self._length = len(outputs)
        self._known: dict[int, Sequence[int]] = {}
        if self._length > 1 and outputs != array(outputs.typecode, range(self._first, self._first + self._length)):
            self._length = 0
            known: dict[int, list[int]] = {}
            for place, entry in enumerate(outputs):
                known.setdefault(entry, []).append(place)
            self._known.update(known)

    def of(self, entry: int) -> Sequence[int]:
        """Return the places of an entry; none of one that was not asked for."""
        place = entry - self._first
        if 0 <= place < self._length:
            return (place,)
        return self._known.get(entry, ())

    def without(self, entry: int, place: int) -> Sequence[int]:
        """Return the other places of an entry."""
        return [other for other in self.of(entry) if other != place]

    def give_up(self, entry: int, place: int) -> None:
        """Have an entry stand there no more; it has others."""
        self._known[entry] = self.without(entry, place)
