"""Optimizer passes: Graph -> Graph.  A pass with nothing to do returns its argument.

Covers: cull (drop what no output needs), order (number the tasks).
Does not cover: sharing equal calls (planning.sharing), inlining (planning.inlining), fusing (planning.fusing), which
order is best (planning.order), which passes are run (planning.passes).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lazygraph.planning.order import depth_first
from lazygraph.planning.selecting import select

if TYPE_CHECKING:
    from collections.abc import Container

    from lazygraph.values.graph import Graph, Shape


def cull(graph: Graph) -> Graph:
    """Drop what neither an output nor a callback needs.  Externals stay: their positions are the run's bindings."""
    shape = graph.shape
    if len({*range(shape.externals), *shape.inputs, *shape.outputs, *shape.callbacks}) == len(shape):
        return graph  # where whatever nobody reads was asked for, nothing is for nothing
    needed = needed_by(shape)
    needed[: shape.externals] = b"\1" * shape.externals
    if all(needed):
        return graph
    return select(graph, [at for at in range(len(shape)) if needed[at]])


def needed_by(shape: Shape, there: Container[int] = ()) -> bytearray:
    """Return for each entry whether an output or a callback needs it; what is `there` needs nothing."""
    needed = bytearray(len(shape))
    stack = [*shape.outputs, *shape.callbacks]
    while stack:
        at = stack.pop()
        if not needed[at]:
            needed[at] = 1
            if at not in there:
                stack.extend(shape.inputs_of(at))
    return needed


def reorder(graph: Graph) -> Graph:
    """Number the nodes so that running them by number keeps few values alive (planning.order)."""
    order = depth_first(graph.shape)
    return graph if order is None else select(graph, order)
