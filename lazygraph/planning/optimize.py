"""Optimizer passes: Graph -> Graph.  A pass with nothing to do returns its argument.

Covers: cull (drop what no output needs), fuse (linear chains become one task), order (number the tasks).
Does not cover: sharing equal calls (planning.sharing), inlining (planning.inlining), which order is best
(planning.order), which passes are run (planning.passes).
"""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import replace
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING

from lazygraph.planning.order import depth_first
from lazygraph.planning.selecting import select
from lazygraph.values.graph import (
    DATA,
    PREVIOUS,
    Fused,
    Graph,
    Step,
    Tables,
    offsets_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


def cull(graph: Graph) -> Graph:
    """Drop what neither an output nor a callback needs.  Externals stay: their positions are the run's bindings."""
    shape = graph.shape
    if len({*range(shape.externals), *shape.inputs, *shape.outputs, *shape.callbacks}) == len(shape):
        return graph  # where whatever nobody reads was asked for, nothing is for nothing
    needed = bytearray(len(shape))
    stack = [*shape.outputs, *shape.callbacks]
    while stack:
        at = stack.pop()
        if not needed[at]:
            needed[at] = 1
            stack.extend(shape.inputs_of(at))
    needed[: shape.externals] = b"\1" * shape.externals
    if all(needed):
        return graph
    return select(graph, [at for at in range(len(shape)) if needed[at]])


def fuse(graph: Graph) -> Graph:
    """Join linear chains of plain nodes with the same options into one task each.

    A node joins the one before it when that is its only input, nothing else reads that, and it is no output.
    """
    joined = _joined(graph)
    if joined is None:
        return graph
    shape = graph.shape
    absorbed = bytearray(len(shape))
    for before in joined:
        if before >= 0:
            absorbed[before] = 1
    build = _Fusing(graph)
    for at in range(len(shape)):
        if joined[at] >= 0 and not absorbed[at]:
            members = [at]
            while joined[members[-1]] >= 0:
                members.append(joined[members[-1]])
            build.fused(members[::-1])
    return build.graph(absorbed)


def _joined(graph: Graph) -> list[int] | None:
    """Return for each entry the one before it that it joins, or -1; None when nothing joins."""
    shape = graph.shape
    readers = Counter(shape.inputs)
    bounds, inputs, option, scope, kinds = shape.input_offsets, shape.inputs, shape.option, shape.scope, shape.kinds
    plain = [row.plain for row in shape.options]
    fixed = bytearray(len(shape))
    given = {at for row in shape.scopes for at in row.given}
    for at in (*shape.outputs, *shape.callbacks, *range(shape.externals), *given):
        fixed[at] = 1
    # What an async function returns is awaited before anything goes on with it.
    functions = enumerate(graph.tables.functions)
    apart = {row for row, function in functions if isinstance(function, Fused) or iscoroutinefunction(function)}
    joined = [-1] * len(shape)
    found = False
    for at in graph.tasks():
        start = bounds[at]
        if bounds[at + 1] - start != 1 or kinds[start] != DATA:
            continue
        before = inputs[start]
        if (
            not fixed[before]
            and at not in given
            and readers[before] == 1
            and option[before] == option[at]
            and scope[before] == scope[at]
            and plain[option[at]]
            and (not apart or (shape.function[at] not in apart and shape.function[before] not in apart))
        ):
            joined[at] = before
            found = True
    return joined if found else None


class _Fusing:
    """New rows for fused tasks, and the columns that use them."""

    def __init__(self, graph: Graph) -> None:
        self.source = graph
        self.functions = list(graph.tables.functions)
        self.names = list(graph.shape.names)
        self.rows: dict[Fused, int] = {}
        self.steps: dict[tuple[int, int, int, int], Step] = {}
        self.calls: dict[int, tuple[int, int, array[int]]] = {}  # tail -> function row, head, arguments

    def fused(self, members: list[int]) -> None:
        """Note that `members` (head first) become one task at the place of the last."""
        shape, known = self.source.shape, self.steps
        function, template, origin = shape.function, shape.template, shape.origin
        bounds, whole = shape.argument_offsets, shape.arguments
        steps, arguments = [], array("i")
        for at in members:
            first, last = bounds[at], bounds[at + 1]
            said = (function[at], template[at], last - first, origin[at])
            steps.append(known.get(said) or known.setdefault(said, Step(*said)))
            if len(steps) == 1:
                arguments.extend(whole[first:last])
            else:
                for place in range(first, last):
                    n = whole[place]
                    arguments.append(n if n < 0 else PREVIOUS)
        fused = Fused(tuple(steps))
        row = self.rows.get(fused)
        if row is None:
            row = self.rows[fused] = len(self.functions)
            self.functions.append(fused)
            self.names.append(_joined_name([self.names[step.function] for step in steps]))
        self.calls[members[-1]] = (row, members[0], arguments)

    def graph(self, absorbed: bytearray) -> Graph:
        """Return the graph without the absorbed entries, the tails calling their fused rows."""
        shape = self.source.shape
        function, template = array("i", shape.function), array("i", shape.template)
        inputs, arguments, kinds = array("i"), array("i"), bytearray()
        input_lengths, argument_lengths = [], []
        for at in range(len(shape)):
            if absorbed[at]:  # they are left out below
                input_lengths.append(0)
                argument_lengths.append(0)
                continue
            numbers = shape.arguments[shape.argument_offsets[at] : shape.argument_offsets[at + 1]]
            reader = at
            if at in self.calls:
                function[at], reader, numbers = self.calls[at]
                template[at] = 0
            reads = shape.inputs_of(reader)
            inputs.extend(reads)
            kinds.extend(shape.kinds[shape.input_offsets[reader] : shape.input_offsets[reader + 1]])
            arguments.extend(numbers)
            input_lengths.append(len(reads))
            argument_lengths.append(len(numbers))
        changed = replace(
            shape,
            function=function,
            template=template,
            input_offsets=offsets_of(input_lengths),
            inputs=inputs,
            kinds=bytes(kinds),
            argument_offsets=offsets_of(argument_lengths),
            arguments=arguments,
            names=tuple(self.names),
        )
        tables = Tables(tuple(self.functions), self.source.tables.constants, self.source.tables.templates)
        whole = replace(self.source, shape=changed, tables=tables)
        return select(whole, [at for at in range(len(shape)) if not absorbed[at]])


def _joined_name(names: Sequence[str]) -> str:
    if len(names) <= 4:
        return " → ".join(names)
    return f"{names[0]} → {names[1]} → … → {names[-1]} ({len(names)} calls)"


def reorder(graph: Graph) -> Graph:
    """Number the nodes so that running them by number keeps few values alive (planning.order)."""
    order = depth_first(graph.shape)
    return graph if order is None else select(graph, order)


def why_not_fused(graph: Graph) -> dict[str, int]:
    """Return how often a task that reads one other alone could not join it, by reason."""
    shape = graph.shape
    readers, bounds = Counter(shape.inputs), shape.input_offsets
    asked = {*shape.outputs, *shape.callbacks}
    joined = _joined(graph) or [-1] * len(shape)
    reasons: Counter[str] = Counter()
    for at in graph.tasks():
        before = shape.inputs[bounds[at]] if bounds[at + 1] - bounds[at] == 1 else -1
        if before < shape.externals or joined[at] >= 0 or shape.kinds[bounds[at]] != DATA:
            continue
        if before in asked:
            reasons["what it reads was asked for"] += 1
        elif readers[before] > 1:
            reasons["others read the same"] += 1
        elif not shape.options[shape.option[at]].plain or shape.option[before] != shape.option[at]:
            reasons["options of their own"] += 1
        else:
            reasons["awaited, or of another scope"] += 1
    return dict(reasons)
