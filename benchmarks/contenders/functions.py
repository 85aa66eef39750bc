"""The functions every contender runs; importable, so that peers ship them by name."""

from __future__ import annotations

from collections.abc import Iterable


def add(x: int, y: int) -> int:
    """Return the sum of two numbers: as good as no work, so that what is measured is the machinery."""
    return x + y


def tsum(values: Iterable[int]) -> int:
    """Return the sum of a list of results, the body of every chord and merge here."""
    return sum(values)


def sum_of(*values: int) -> int:
    """Return the sum of the arguments, for libraries that resolve results only as direct arguments."""
    return sum(values)
