"""Values of a run, with others in the places of those that are missing.

A task may be given up while it runs, and go on to its end: what it makes then comes to the place where its readers were
to find that it is missing.  So what stands in for a value is kept beside the values, and read first.

Covers: reading and writing.
Does not cover: what stands in (values.outcome.Missed), when it comes and goes (running.course, the worker's mind).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class StandIns:
    """What is written goes to `values`; what is read comes from `others`, if it is there."""

    __slots__ = ("_others", "_values")

    def __init__(self, others: Mapping[int, Any], values: Any) -> None:
        self._others, self._values = others, values

    def __getitem__(self, entry: int) -> Any:
        return self._others[entry] if entry in self._others else self._values[entry]

    def __setitem__(self, entry: int, value: Any) -> None:
        self._values[entry] = value

    def __delitem__(self, entry: int) -> None:
        del self._values[entry]

    def __contains__(self, entry: int) -> bool:
        return entry in self._others or entry in self._values
