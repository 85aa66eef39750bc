"""How a lease finds what other leases have left where it runs, although some of it was not made when it was sent.

Covers: the small values that leases leave together, inputs that turn out to be missing.
Does not cover: parcels (executors.remote), where what is left lies (executors.elsewhere and its adapters).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lazygraph.executors.cluster.net import codec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

SMALL_ONES = -1
"""Among what a lease leaves: a pickle of its small values by number.  Left if this stands among what is wanted."""

IF_MADE = -1
"""In the place of a number: the input was not made when the lease was sent, and has its own number if it was since."""


def bring(values: dict[int, Any], inputs: Sequence[Mapping[int, Any]], places: Iterable[tuple[int, int, int]]) -> bool:
    """Add to `values` what lies in these places of the inputs: entry, which input, number; whether all was made."""
    small: dict[int, Mapping[int, Any]] = {}
    for entry, at, number in places:
        if number != IF_MADE:
            values[entry] = inputs[at][number]
            continue
        try:
            values[entry] = inputs[at][entry]
        except KeyError:
            if at not in small:
                small[at] = _small_ones(inputs[at])
            if entry not in small[at]:
                return False
            values[entry] = small[at][entry]
    return True


def _small_ones(left: Mapping[int, Any]) -> Mapping[int, Any]:
    try:
        pickled = left[SMALL_ONES]
    except KeyError:
        return {}
    values: Mapping[int, Any] = codec.loads(pickled)
    return values
