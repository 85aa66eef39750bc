"""How many values are held at once when one worker runs a graph in its order.

Covers: that count, by going through the order once.
Does not cover: which order is best (planning.order), how large values are: that nobody knows before they are made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def most_held(offsets: Sequence[int], inputs: Sequence[int], outputs: Iterable[int], first: int = 0) -> int:
    """Return the largest number of values there are at once, in O(nodes + edges).

    Node i reads `inputs[offsets[i]:offsets[i + 1]]`, all of them numbers below i.  A value is there from when its node
    has run until its last reader has, an output for good.  Nodes below `first` are not counted: others hold them.
    """
    count = len(offsets) - 1
    last = list(range(count))
    for node in range(count):
        for read in inputs[offsets[node] : offsets[node + 1]]:
            last[read] = node
    for node in outputs:
        last[node] = count
    going = [0] * (count + 1)
    for node in range(first, count):
        going[last[node]] += 1
    most = held = 0
    for node in range(first, count):
        held += 1
        most = max(most, held)
        held -= going[node]
    return most
