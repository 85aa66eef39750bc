"""Inlining: a wrapped value that is small stands in the calls that take it, and is no task.

`delayed(5)` is a node, so that it can be asked for, named and drawn; as a task it would cost more than what it holds.

Covers: the pass, which wrapped values it takes.
Does not cover: large ones: they are made once, and go where they are wanted.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lazygraph.planning.selecting import rewired, select
from lazygraph.values.graph import DATA, ORDER, Graph
from lazygraph.values.node import identity
from lazygraph.values.template import PLAIN

if TYPE_CHECKING:
    from typing import Any

    from lazygraph.planning.selecting import Call

MOST = 1024
"""Texts and bytes longer than this stay where they are."""


def inline(graph: Graph) -> Graph:
    """Put small wrapped values into the calls that take them.

    Numbers, texts and bytes up to `MOST`, and None, unless somebody asked for them or gave them a name or options.
    """
    constant = _constants(graph)
    if not constant:
        return graph
    shape = graph.shape
    calls: dict[int, Call] = {}
    for at in range(len(shape)):
        reads = shape.inputs_of(at)
        if not constant.keys().isdisjoint(reads):
            numbers = shape.arguments[shape.argument_offsets[at] : shape.argument_offsets[at + 1]]
            said = shape.kinds[shape.input_offsets[at] : shape.input_offsets[at + 1]]
            left = [n for n, read in enumerate(reads) if read not in constant]
            seat = {n: new for new, n in enumerate(left)}
            taken = [n if n < 0 else seat[n] if n in seat else constant[reads[n]] for n in numbers]
            calls[at] = [reads[n] for n in left], bytes([said[n] for n in left]), taken
    changed = rewired(shape, calls)
    return select(replace(graph, shape=changed), [at for at in range(len(shape)) if at not in constant])


def _constants(graph: Graph) -> dict[int, int]:
    """Return the entries that only hold something small, and the number by which arguments name that."""
    shape, tables = graph.shape, graph.tables
    rows = {row for row, function in enumerate(tables.functions) if function is identity}
    if not rows:
        return {}
    kept = {*shape.outputs, *shape.callbacks}
    for scope in shape.scopes:
        kept.update(scope.given, scope.ends)
    for place, read in enumerate(shape.inputs):
        if shape.kinds[place] not in (DATA, ORDER):
            kept.add(read)
    found: dict[int, int] = {}
    for at in graph.tasks():
        said = shape.options[shape.option[at]]
        if shape.function[at] not in rows or at in kept or not said.plain or said.key is not None:
            continue
        start, end = shape.argument_offsets[at], shape.argument_offsets[at + 1]
        bare = end - start == 1 and not shape.template[at] and not len(shape.inputs_of(at))
        if bare and _is_small(tables.constants[~shape.arguments[start]]):
            found[at] = shape.arguments[start]
    return found


def _is_small(value: Any) -> bool:
    return type(value) in PLAIN and (type(value) not in (str, bytes) or len(value) <= MOST)
