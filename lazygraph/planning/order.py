"""The order in which tasks run: depth first, hungriest input first, so that few values live at once.  O(V + E log).

For trees this is Sethi and Ullman's rule (1970: "The generation of optimal code for arithmetic expressions"): a node
whose inputs need r1 >= r2 >= ... values alive at once, made in that order, needs max(r1, r2 + 1, r3 + 2, ...).  Graphs
that are no trees are treated as the tree of first visits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lazygraph.values.graph import Shape


def needs(shape: Shape) -> tuple[list[int], bool]:
    """Return for each entry how many values are alive at once while it is made by the rule above.

    And whether no node has a hungrier input behind a less hungry one: then the entries are in this order already, since
    lowering has walked depth first.
    """
    need = [1] * len(shape)
    bounds, inputs = shape.input_offsets, shape.inputs
    ordered = True
    end = bounds[shape.externals]
    for at in range(shape.externals, len(shape)):
        start, end = end, bounds[at + 1]
        count = end - start
        if not count:
            continue
        first = need[inputs[start]]
        if count == 1:
            need[at] = first
        elif count == 2:
            second = need[inputs[start + 1]]
            if first == second:
                need[at] = first + 1
            elif first > second:
                need[at] = first
            else:
                need[at] = second
                ordered = False
        else:
            each = [need[read] for read in inputs[start:end]]
            hungry = sorted(each, reverse=True)
            ordered = ordered and each == hungry
            need[at] = max([held + value for held, value in enumerate(hungry)])
    return need, ordered


def depth_first(shape: Shape) -> list[int] | None:
    """Return every entry in the order to run them (externals first), or None when that is the order they have."""
    need, ordered = needs(shape)
    if ordered:
        return None
    bounds, inputs = shape.input_offsets, shape.inputs
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
