"""The order in which tasks run: depth first, so that few values are held at once.

Where nothing is read twice, Sethi and Ullman's rule is best (1970: "The generation of optimal code for arithmetic
expressions"): the hungriest input first.  A node whose inputs hold r1 >= r2 >= ... values while they are made, made in
that order, holds max(r1, r2 + 1, r3 + 2, ...).

For any other graph the best order is hard to know.  So some are tried, and the one that holds least is taken: the order
that lowering has left, and those of `tries` where the graph is small enough for them.  The moves of planning.holding
better each of them.  Cost measured on a 2-core machine, in us a node with two inputs: 0.15 to see that trees are in the
best order, 1.2 to bring them into it; 2 for the first try, 4 for each of the next two, 3 to 5 for each of the last.
"""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import accumulate, chain, islice
from operator import add as plus
from operator import sub
from typing import TYPE_CHECKING

from lazygraph.planning.holding import Edges, edges_of, inputs_of, later, mirrored, peak, sooner

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from lazygraph.values.graph import Shape

LARGE = 50_000
"""Tasks and edges up to which more than the order of lowering is tried: there it takes a fifth of a second."""
SMALL = 5_000
"""Tasks and edges up to which everything is tried."""


def depth_first(shape: Shape) -> list[int] | None:
    """Return every entry in the order to run them (externals first), or None when the one they have is no worse.

    Of two orders that hold as much, the one that there is stays; of two inputs that need as much, the first goes first.
    What nothing that was asked for needs may be left out.
    """
    k = shape.externals
    read: Sequence[int] = [read for read in shape.inputs if read >= k] if k else shape.inputs
    if not read:
        return None
    ends = {at for at in (*shape.outputs, *shape.callbacks) if at >= k}
    # Where nothing is there for nothing, counting tells trees; where it does not, it takes a little longer.
    if len(read) + len(ends) == len(shape) - k:
        order = _of_trees(shape, [at - k for at in sorted(ends)])
    elif len(set(read)) == len(read):
        order = _of_trees(shape, [at - k for at in sorted({*range(k, len(shape))}.difference(read))])
    else:
        order = _of_any(edges_of(shape))
    return [*range(k), *[at + k for at in order]] if k and order else order


# -- trees -----------------------------------------------------------------------------------------


def _of_trees(shape: Shape, ends: list[int]) -> list[int] | None:
    inputs: Sequence[int] = shape.inputs
    bounds: Sequence[int] = shape.input_offsets
    if shape.externals:
        each = inputs_of(shape)
        inputs = list(chain.from_iterable(each))
        bounds = list(accumulate(map(len, each), initial=0))
    held = _peak_of_trees(bounds, ends)
    if held <= 1:
        return None
    need = needs(map(sub, bounds[1:], bounds), inputs)
    if held <= max(need):
        return None
    return _depth_first(inputs_of(shape), ends, need)


def _peak_of_trees(bounds: Sequence[int], ends: Sequence[int]) -> int:
    """Return the peak of the order that there is: every edge that came past has let go of a value."""
    count = len(bounds) - 1
    held: Iterable[int] = map(sub, range(count), bounds)
    if len(ends) > 1:  # an end holds nothing, and others than the last have run before something
        ended = bytearray(count)
        for at in ends:
            ended[at] = 1
        held = map(sub, held, accumulate(ended, initial=0))
    return max(held)


def needs(counts: Iterable[int], inputs: Iterable[int]) -> list[int]:
    """Return for each task how many values are held while it is made by Sethi and Ullman's rule.

    `counts` says how many inputs each task has; `inputs` are those of all tasks, one after another.
    """
    need: list[int] = []
    add = need.append
    each = map(need.__getitem__, inputs)
    for count in counts:
        if not count:
            add(1)
        elif count == 1:
            add(next(each))
        elif count == 2:
            first, second = next(each), next(each)
            add(first + 1 if first == second else first if first > second else second)
        else:
            add(max(map(plus, sorted(islice(each, count), reverse=True), range(count))))
    return need


# -- any graph -------------------------------------------------------------------------------------


def _of_any(edges: Edges) -> list[int] | None:
    least = max(map(len, edges.inputs))  # whatever the order: all inputs of a task are held when it starts
    lowest = peak(edges, range(len(edges.inputs)))
    best: list[int] | None = None
    untried = tries(edges)
    while lowest > least and (order := next(untried, None)) is not None:
        if (found := sooner(edges, later(edges, order), lowest)) is not None:
            best, lowest = found
    return best


def tries(edges: Edges) -> Iterator[Sequence[int]]:
    """Yield orders to try, what is likeliest to help first; more of them the smaller the graph.

    Which these are was found by trying: on some 500 graphs, none of those left out made the least of all much less.
    """
    count = len(edges.inputs)
    yield range(count)
    size = count + sum(map(len, edges.inputs))
    if size > LARGE:
        return
    mirror = mirrored(edges)
    back, forth = _needs_of(mirror), _needs_of(edges)
    ends, sizes = _ends(edges), _sizes(edges)
    yield _backwards(_depth_first(mirror.inputs, _ends(mirror), back, mirror.consumers))
    yield _depth_first(edges.inputs, sorted(ends, key=sizes.__getitem__), forth)
    if size <= SMALL:
        hungriest = sorted(ends, key=forth.__getitem__, reverse=True)
        yield _depth_first(edges.inputs, hungriest, forth, edges.consumers)
        yield _nearest_first(edges, sizes, forth)
        yield _backwards(_nearest_first(mirror, _sizes(mirror), back))


def _ends(edges: Edges) -> list[int]:
    return [at for at, each in enumerate(edges.consumers) if not each]


def _needs_of(edges: Edges) -> list[int]:
    """As if a graph were the tree that shows a task once to each of its readers."""
    return needs(map(len, edges.inputs), chain.from_iterable(edges.inputs))


_MOST = 1 << 40


def _sizes(edges: Edges) -> list[int]:
    """Return how many tasks each task is the end of, itself included, in that tree; from a trillion on it is that."""
    sizes: list[int] = []
    for each in edges.inputs:
        size = 1
        for read in each:
            size += sizes[read]
        sizes.append(size if size < _MOST else _MOST)
    return sizes


def _backwards(order: list[int]) -> list[int]:
    last = len(order) - 1
    return [last - at for at in reversed(order)]


def _depth_first(
    inputs: list[list[int]], ends: list[int], need: list[int], then: list[list[int]] | None = None
) -> list[int]:
    """Return the order that makes one end after another, the hungriest input first, of equals the first.

    `then` are the consumers, if those of a new value are to be made before older ones' and before other ends.
    """
    hungry = need.__getitem__
    done = bytearray(len(inputs))
    order: list[int] = []
    stack: list[int] = []
    goals = ends[::-1]
    while goals:
        stack.append(goals.pop())
        while stack:
            at = stack[-1]
            if not done[at]:
                if missing := [read for read in inputs[at][::-1] if not done[read]]:
                    missing.sort(key=hungry)
                    stack += missing
                    continue
                done[at] = 1
                order.append(at)
                if then:
                    goals += then[at][::-1]
            stack.pop()
    return order


def _nearest_first(edges: Edges, sizes: list[int], need: list[int]) -> list[int]:
    """As `_depth_first`, but of the consumers of all values that one is next of which least is missing.  O(E log V)."""
    inputs, consumers = edges
    hungry = need.__getitem__
    count = len(inputs)
    away = [sum([sizes[read] for read in each]) for each in inputs]  # sizes of what is missing
    done = bytearray(count)
    order: list[int] = []
    stack: list[int] = []
    goals: list[int] = []  # a heap; of each reader the newest number holds
    for end in _ends(edges):
        stack.append(end)
        while stack:
            at = stack[-1]
            if not done[at]:
                if missing := [read for read in inputs[at][::-1] if not done[read]]:
                    missing.sort(key=hungry)
                    stack += missing
                    continue
                done[at] = 1
                order.append(at)
                for reader in consumers[at]:
                    away[reader] = left = away[reader] - sizes[at]
                    heappush(goals, left * count + reader)
            stack.pop()
            while goals and not stack:
                left, reader = divmod(heappop(goals), count)
                if not done[reader] and left == away[reader]:
                    stack.append(reader)
    return order
