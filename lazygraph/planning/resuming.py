"""`run_name=`: a run that was killed is started again, and computes only what is missing.

Each call of the graph, as it was written, is known by its place, so nothing has to be pure.  That holds only as long as
the graph is the same: what it is made of is noted, and another one is refused with the first thing that differs.  The
code of functions is not compared: who mends the one that has failed goes on with it.

Covers: what a graph is made of, the first difference, which calls are kept by their place.
Does not cover: where that is noted (executors.files.runs), finding and keeping values (planning.caching).
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from lazygraph.errors import Unkeyable
from lazygraph.language.members import READS_MEMBERS
from lazygraph.language.promise import take_output
from lazygraph.planning.keeping import Found, Kept
from lazygraph.values.forms import SIZE
from lazygraph.values.graph import DEEP, FAILURE, MEMBER, PREVIOUS, Fused, Graph, Tables
from lazygraph.values.keys import Keys
from lazygraph.values.node import identity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lazygraph.values.options import TaskOptions
    from lazygraph.values.storing import ResultStore

_NEVER = frozenset(map(id, (identity, take_output))) | frozenset(map(id, READS_MEMBERS))
_TOLERANT = frozenset(map(id, READS_MEMBERS))
_SHOWN = 60


class Part(NamedTuple):
    """What one call is: its node's name, its function's, what it reads, and of each constant what it is and a word."""

    node: str
    function: str
    reads: list[int]
    constants: list[tuple[str, str]]


class Resumed(Protocol):
    """A run that may have been begun before: where its values are, and what tells them from those of others."""

    name: str
    token: str
    parts: list[Part]

    @property
    def store(self) -> ResultStore:
        """Where its values are."""
        ...


def parts_of(graph: Graph) -> list[Part]:
    """Return what the calls of a graph are, in its order."""
    shape, tables, keys = graph.shape, graph.tables, Keys()
    names = [_name_of(function) for function in tables.functions]
    templates = [repr(None if one is None else (one.ops, one.positional, one.keywords)) for one in tables.templates]
    known: dict[int, tuple[str, str]] = {}
    parts = []
    for at in graph.tasks():
        given = shape.arguments[shape.argument_offsets[at] : shape.argument_offsets[at + 1]]
        constants = [known.get(n) or known.setdefault(n, _constant(graph, n, keys)) for n in given if n < 0]
        reads = [*shape.inputs_of(at), *(n for n in given if n >= 0)]
        form = blake2b(templates[shape.template[at]].encode(), digest_size=4).hexdigest()
        parts.append(Part(shape.name_of(at), f"{names[shape.function[at]]} {form}", reads, constants))
    return parts


def _name_of(function: Any) -> str:
    named = getattr(function, "__qualname__", None)
    return f"{getattr(function, '__module__', '')}:{named}" if named else type(function).__qualname__


def _constant(graph: Graph, number: int, keys: Keys) -> tuple[str, str]:
    if number < PREVIOUS + DEEP:
        return "", f"step {number - PREVIOUS}"
    value = graph.tables.constants[~number]
    try:
        shown = repr(value)
    except Exception:
        shown = type(value).__qualname__
    try:
        token = blake2b(keys.token(value), digest_size=SIZE).hexdigest()
    except Unkeyable:  # a lock, say: that it is one is all that can be compared
        return "", type(value).__qualname__
    return token, shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."


def difference(before: Sequence[Part], now: Sequence[Part]) -> str:
    """Return the first thing in which two plans differ, in a sentence; an empty text when they are the same."""
    for at, (was, found) in enumerate(zip(before, now, strict=False), 1):
        if was != found:
            return f"call {at} of {len(now)}, {found.node!r}, {_differs(was, found)}"
    if len(before) != len(now):
        rest = [*before, *now][min(len(before), len(now))] if len(before) > len(now) else now[len(before)]
        return f"it had {len(before)} calls and has {len(now)}: {rest.node!r} is {_gone_or_new(before, now)}"
    return ""


def _gone_or_new(before: Sequence[Part], now: Sequence[Part]) -> str:
    return "gone" if len(before) > len(now) else "new"


def _differs(was: Part, found: Part) -> str:
    if was.node != found.node:
        return f"was {was.node!r}"
    if was.function != found.function:
        one, other = was.function.rpartition(" ")[0], found.function.rpartition(" ")[0]
        return f"called {one} and calls {other}" if one != other else "has arguments of another form"
    if was.reads != found.reads:
        return "reads other calls"
    pairs = zip(was.constants, found.constants, strict=False)
    old, new = next((pair for pair in pairs if pair[0] != pair[1]), (("", "nothing"), ("", "something")))
    return f"had an argument {old[1]} and has {new[1]}" if old[1] != new[1] else f"has another {new[1]}"


# -- keeping by place ------------------------------------------------------------------------------


def key_at(token: str, at: int) -> str:
    """Return under which key the value of an entry of a run is kept."""
    return blake2b(f"{token} {at}".encode(), digest_size=SIZE).hexdigest()


def kept_by_place(graph: Graph, resumed: Resumed) -> Graph:
    """Return the graph in which every call keeps its value under its place; those that are cached do it as they do."""
    shape, tables = graph.shape, graph.tables
    functions, names, options = list(tables.functions), list(shape.names), list(shape.options)
    column, option = shape.function[:], shape.option[:]
    rows: dict[int, int] = {}
    unsure = _unsure(graph)
    for at in graph.tasks():
        function = functions[shape.function[at]]
        if isinstance(function, Kept | Found | Fused) or id(function) in _NEVER or unsure[at]:
            continue
        row = options[shape.option[at]]
        column[at] = len(functions)
        key = key_at(resumed.token, at)
        once = row.at_most_once
        functions.append(Kept(function, key, b"", resumed.store, shape.name_of(at), shape.origin_of(at), once))
        names.append(shape.names[shape.function[at]])
        option[at] = _row(rows, shape.option[at], options)
    changed = replace(shape, function=column, option=option, names=tuple(names), options=tuple(options))
    return replace(graph, shape=changed, tables=Tables(tuple(functions), tables.constants, tables.templates))


def _row(rows: dict[int, int], row: int, options: list[TaskOptions]) -> int:
    """Return the row of options for a call that is kept: it runs by itself, and for no other in its place."""
    if row not in rows:
        rows[row] = len(options)
        options.append(replace(options[row], cache=True))
    return rows[row]


def _unsure(graph: Graph) -> bytearray:
    """Mark what may be another value the next time, because it depends on what has failed."""
    shape, functions = graph.shape, graph.tables.functions
    unsure = bytearray(len(shape))
    for at in graph.tasks():
        start, end = shape.input_offsets[at], shape.input_offsets[at + 1]
        kinds = shape.kinds[start:end]
        tolerant = id(functions[shape.function[at]]) in _TOLERANT or FAILURE in kinds or MEMBER in kinds
        unsure[at] = tolerant or any(unsure[read] for read in shape.inputs_of(at))
    return unsure
