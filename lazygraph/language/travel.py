"""How promises and canvases are pickled.

A function travels by name where its name leads to it, also through its decorated form.  One of `__main__`, a lambda or
a nested function travels by value: then the pickle can be read in another process too.

A canvas is pickled as a list of flat rows, parts before wholes, so that no nesting is walked by recursion.

Covers: functions in what people wrote, nested canvases.
Does not cover: tables on a wire (executors.cluster.net.codec pickles those with cloudpickle anyway).
"""

from __future__ import annotations

import sys
from contextvars import ContextVar
from dataclasses import replace
from types import FunctionType
from typing import TYPE_CHECKING, Any

from lazygraph.values.graph import Graph, Tables
from lazygraph.values.limiting import limit_as, own_limit_of
from lazygraph.values.node import External, Node, Recipe
from lazygraph.values.references import portable, restored
from lazygraph.values.verbs import frozen_graph, thawed_nodes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_by_value: ContextVar[bool] = ContextVar("lazygraph_by_value", default=False)


class Travelling:
    """Stands for a callable while it is pickled; what comes out of the pickle is the callable itself."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __lazygraph_key__(self) -> Any:
        return self.function

    def __reduce__(self) -> tuple[Any, ...]:
        name = own_limit_of(self.function)
        return self._way() if name is None else (_limited_again, (*self._way(), name))

    def _way(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """Return what makes the callable again, and of what."""
        function = portable(self.function)
        # Inside a pickle by value cloudpickle does the rest, and knows what it has met already: a function may refer
        # to a promise that refers to it.
        if not isinstance(function, FunctionType) or _by_value.get() or _leads_home(function):
            return restored, (function,)
        # Needed by those only who pickle such functions, and `import lazygraph` must not pay for it.
        import pickle

        import cloudpickle

        token = _by_value.set(True)
        try:
            return pickle.loads, (cloudpickle.dumps(function, protocol=5),)
        finally:
            _by_value.reset(token)


def _limited_again(maker: Callable[..., Any], parts: tuple[Any, ...], name: str) -> Callable[..., Any]:
    function: Callable[..., Any] = maker(*parts)
    limit_as(function, name)
    return function


def _leads_home(function: FunctionType) -> bool:
    """Whether another process finds the function under its own name."""
    if function.__module__ == "__main__":
        return False
    found: Any = sys.modules.get(function.__module__)
    for name in function.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is function


def travelling(graph: Graph) -> Graph:
    """Return the graph with functions that can be pickled (to be pickled, not to be run)."""
    tables = graph.tables
    functions, constants = (tuple(map(packed, column)) for column in (tables.functions, tables.constants))
    return replace(graph, tables=Tables(functions, constants, tables.templates))


def packed(value: Any) -> Any:
    """Return what stands for a value in a pickle: functions travel as such, everything else stays as it is."""
    return Travelling(value) if isinstance(value, FunctionType) else value


def unpacked(value: Any) -> Any:
    """Return the value that was packed, whether it has been in a pickle meanwhile or not."""
    return value.function if isinstance(value, Travelling) else value


Row = tuple[Any, tuple[int, ...], Any]
"""One canvas: what makes it again, the rows of its parts, and the rest.  A promise among the parts has no maker."""


def frozen(canvas: Any) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """Return what pickle wants to know of a canvas: its rows, and the one graph of all promises in it."""
    rows = rows_of(canvas)
    places = promises_in(rows)
    if not places:
        return thawed, (rows,)
    graph = travelling(frozen_graph([rows[at][2] for at in places]))
    for at in places:
        rows[at] = (None, (), None)
    return _thawed_with, (rows, places, graph)


def _thawed_with(rows: list[Row], places: list[int], graph: Graph) -> Any:
    for at, promise in zip(places, thawed_nodes(graph), strict=True):
        rows[at] = (None, (), promise)
    return thawed(rows)


def promises_in(rows: Sequence[Row]) -> list[int]:
    """Return which rows are promises (not functions made lazy: those travel by name)."""
    return [
        at
        for at, (maker, _, rest) in enumerate(rows)
        if maker is None and isinstance(rest, Node | External) and not isinstance(rest, Recipe)
    ]


def rows_of(canvas: Any) -> list[Row]:
    """Return a canvas in rows, parts before wholes, the last one its own."""
    rows: list[Row] = []
    number: dict[int, int] = {}
    stack = [canvas]
    while stack:
        top = stack[-1]
        if id(top) in number:
            stack.pop()
            continue
        maker, parts, rest = top.state() if _in_parts(top) else (None, (), top)
        missing = [part for part in parts if id(part) not in number]
        if missing:
            stack.extend(missing)
            continue
        stack.pop()
        number[id(top)] = len(rows)
        rows.append((maker, tuple(number[id(part)] for part in parts), rest))
    return rows


def _in_parts(part: Any) -> bool:
    return isinstance(part, Recipe) and not isinstance(part, Node)


def thawed(rows: list[Row]) -> Any:
    """Return the canvas of these rows."""
    made: list[Any] = []
    for maker, parts, rest in rows:
        made.append(rest if maker is None else maker([made[part] for part in parts], rest))
    return made[-1]
