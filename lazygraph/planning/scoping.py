"""Scopes of a graph that came from outside, and the checks of the rows in which it says things.

A row is a mapping of fields.  `scopes` are rows: `parent` (0, the default, is the run, and n the n-th row, from 1),
`fail_fast`, `contained`, `given` and `ends`, which mean what they do in `values.graph.Scope`.

Covers: what scopes say, both for networkx and JSON; on what callbacks hang.
Does not cover: what rows of nodes say (planning.reading, planning.drawn).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lazygraph.errors import InvalidOption, suggest
from lazygraph.language.promise import Delayed
from lazygraph.planning.faults import Told, in_order
from lazygraph.values.node import NodeScope

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Iterable, Sequence

    from lazygraph.values.graph import Scope
    from lazygraph.values.node import External

_SCOPE = frozenset({"parent", "given", "ends", "fail_fast", "contained"})


# -- rows ------------------------------------------------------------------------------------------


def only(row: Any, known: Collection[str], where: str) -> Mapping[str, Any]:
    """Return a row that has no fields but these.  Raises `InvalidOption`."""
    if not isinstance(row, Mapping):
        raise InvalidOption(f"{where} is {type(row).__name__}, and an object is wanted")
    for name in row:
        if name not in known:
            raise InvalidOption(f"{where} has {name!r}, which means nothing here{suggest(name, known)}")
    return row


def listed(row: Mapping[str, Any], name: str, where: str) -> list[Any]:
    """Return a field that is a list (default: an empty one).  Raises `InvalidOption`."""
    found = row.get(name, [])
    if not isinstance(found, list):
        raise InvalidOption(f"{where}: {name!r} is {type(found).__name__}, and a list is wanted")
    return found


def flag(row: Mapping[str, Any], name: str, where: str) -> bool:
    """Return a field that is true or false (the default).  Raises `InvalidOption`."""
    given = row.get(name, False)
    if not isinstance(given, bool):
        raise InvalidOption(f"{where}: {name!r} is {given!r}, and true or false is wanted")
    return given


# -- scopes ----------------------------------------------------------------------------------------


def row_of(scope: Scope) -> dict[str, Any]:
    """Return the row of a graph's scope: what it says, and nothing else."""
    said = {"parent": scope.parent, "given": list(scope.given), "ends": list(scope.ends)}
    said |= {"fail_fast": scope.fail_fast, "contained": scope.contained}
    return {name: value for name, value in said.items() if value}


class Scopes:
    """The scopes that rows describe; number 0 is the run and has no record of its own."""

    def __init__(self, rows: Sequence[Any]) -> None:
        self._rows = rows
        self._made: list[NodeScope | None] = [None, *(NodeScope(None) for _ in rows)]
        parents: dict[Hashable, Told] = {}
        for number, row in enumerate(rows, 1):
            parent = only(row, _SCOPE, "a scope").get("parent", 0)
            scope = self._made[number]
            assert scope is not None
            scope.parent = self.at(parent)
            scope.fail_fast, scope.contained = flag(row, "fail_fast", "a scope"), flag(row, "contained", "a scope")
            parents[number] = Told([parent])
        if in_order(parents)[1]:
            raise InvalidOption("a scope is within itself; 'parent' is the number of the one around it")

    def at(self, number: Any) -> NodeScope | None:
        """Return a scope by its number; None is the run.  Raises `InvalidOption`."""
        if not isinstance(number, int) or not 0 <= number < len(self._made):
            raise InvalidOption(f"there is no scope {number!r}; there are {len(self._made) - 1}")
        return self._made[number]

    def failure_of(self, number: Any, node: Hashable) -> External:
        """Return what stands for the failure of a scope; `node` is who asks for it.  Raises `InvalidOption`."""
        scope = self.at(number)
        if scope is None:
            raise InvalidOption(f"node {node!r} is the failure of scope 0, and that is the whole run; name another")
        return scope.caught

    def enclose(self, made: Mapping[Hashable, Any]) -> None:
        """Tell every scope which promises it is given and ends with, once there are any; `made` has them by node."""
        for row, scope in zip(self._rows, self._made[1:], strict=True):
            assert scope is not None
            scope.given.extend(_known(node, made) for node in listed(row, "given", "a scope"))
            scope.ends.extend(_known(node, made) for node in listed(row, "ends", "a scope"))

    def hang(self, callbacks: Iterable[tuple[Any, Iterable[Any]]], outputs: Iterable[Any]) -> None:
        """Hang callbacks, each given with what it reads, where they belong.

        What answers for the failure of a scope hangs on that scope, and all others, in order, on one node that is
        needed.
        """
        caught = {scope.caught: scope for scope in self._made if scope is not None}
        anchor = next((output for output in outputs if isinstance(output, Delayed)), None)
        for callback, reads in callbacks:
            handled = next((caught[read] for read in reads if read in caught), None)
            if handled is not None:
                handled.handlers.append(callback)
            elif anchor is not None:
                anchor._links += (callback,)


def _known(node: Any, made: Mapping[Hashable, Any]) -> Any:
    if node not in made:
        raise InvalidOption(f"a scope names node {node!r}, which is not there")
    return made[node]
