"""What the value of a group becomes when members of it have none: `group(..., on_error="collect" | "skip")`.

A task that reads members so is not ended by their failure: it gets a `Missed` in their places.

Covers: the two functions that gather members, and which functions read so.
Does not cover: whose failures end what (running.endings).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lazygraph.errors import InvalidOption, suggest
from lazygraph.values.outcome import Missed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ON_ERROR = ("raise", "collect", "skip")


def collected(members: list[Any]) -> list[Any]:
    """Return the members' values, with a `Failure` in the place of each that has none."""
    return [member.failure if type(member) is Missed else member for member in members]


def present(members: list[Any]) -> list[Any]:
    """Return the values of those members that have one."""
    return [member for member in members if type(member) is not Missed]


GATHERS: Mapping[str, Callable[[list[Any]], list[Any]]] = {"collect": collected, "skip": present}
READS_MEMBERS = frozenset(GATHERS.values())


def check_on_error(where: str, on_error: str) -> None:
    """Raise `InvalidOption` unless it is one of the three words."""
    if on_error not in ON_ERROR:
        hint = suggest(str(on_error), ON_ERROR)
        raise InvalidOption(f"{where}(on_error={on_error!r}): 'raise', 'collect' or 'skip' is wanted{hint}")
