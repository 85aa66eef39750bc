"""The order in which tasks run: depth first, hungriest input first, so that few values live at once.  O(V + E log).

For trees this is Sethi and Ullman's rule (1970: "The generation of optimal code for arithmetic expressions"): a node
whose inputs need r1 >= r2 >= ... values alive at once, made in that order, needs max(r1, r2 + 1, r3 + 2, ...).  Graphs
that are no trees are treated as the tree of first visits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lazygraph.values.graph import Shape


def needs(shape: Shape) -> list[int]:
    """Return for each entry how many values are alive at once while it is made by the rule above."""
    need = [1] * len(shape)
    bounds, inputs = shape.input_offsets, shape.inputs
    for at in range(shape.externals, len(shape)):
        start, end = bounds[at], bounds[at + 1]
        if end - start == 1:
            need[at] = need[inputs[start]]
        elif end > start:
            hungry = sorted((need[read] for read in inputs[start:end]), reverse=True)
            need[at] = max(held + value for held, value in enumerate(hungry))
    return need


def depth_first(shape: Shape) -> list[int] | None:
    """Return every entry in the order to run them (externals first), or None when that is the order they have."""
    need = needs(shape)
    bounds, inputs = shape.input_offsets, shape.inputs
    if not _out_of_order(shape, need):
        return None
    done = bytearray(len(shape))
    order = list(range(shape.externals))
    done[: shape.externals] = b"\1" * shape.externals
    stack = [*reversed(shape.callbacks), *reversed(shape.outputs)]
    while stack:
        at = stack[-1]
        if done[at]:
            stack.pop()
            continue
        missing = [read for read in inputs[bounds[at] : bounds[at + 1]] if not done[read]]
        if missing:
            missing.sort(key=need.__getitem__)  # stable, least first: the hungriest is on top
            stack.extend(missing)
            continue
        stack.pop()
        done[at] = 1
        order.append(at)
    return order


def _out_of_order(shape: Shape, need: list[int]) -> bool:
    """Whether some node has a hungrier input behind a less hungry one.  Lowering has walked depth first already."""
    bounds, inputs = shape.input_offsets, shape.inputs
    for at in range(shape.externals, len(shape)):
        start, end = bounds[at], bounds[at + 1]
        if end - start < 2:
            continue
        last = need[inputs[start]]
        for read in inputs[start + 1 : end]:
            if need[read] > last:
                return True
            last = need[read]
    return False
