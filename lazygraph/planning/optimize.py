"""Optimizer passes: Graph -> Graph.  A pass with nothing to do returns its argument.

Covers: cull (drop what no output needs), share (equal pure calls run once), fuse (linear chains become one task).
Does not cover: the order in which tasks run (planning.order).
"""

from __future__ import annotations

from array import array
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lazygraph.planning.order import depth_first
from lazygraph.values.graph import (
    DATA,
    FAILURE,
    MEMBER,
    ORDER,
    PREVIOUS,
    Change,
    Fused,
    Graph,
    Step,
    Tables,
    consumers_of,
    offsets_of,
)
from lazygraph.values.template import take_apart

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


_STRENGTH = (DATA, MEMBER, ORDER, FAILURE)


def optimize(graph: Graph) -> Graph:
    """Run every pass in order; `history` of what comes back says what each did."""
    for name, pass_ in PASSES:
        before = len(graph)
        changed = pass_(graph)
        if changed is not graph:
            graph = replace(changed, history=(*graph.history, Change(name, before, len(changed))))
    return graph


def select(graph: Graph, keep: Sequence[int], alias: Sequence[int] | None = None) -> Graph:
    """Return the graph of the entries in `keep`, in that order; `alias[i]` says which entry stands for entry i."""
    shape = graph.shape
    old_inputs, old_arguments = shape.inputs, shape.arguments
    number = [-1] * len(shape)
    for new, old in enumerate(keep):
        number[old] = new
    target = number if alias is None else [number[other] for other in alias]
    inputs, arguments, kinds = array("i"), array("i"), bytearray()
    input_lengths, argument_lengths = [], []
    for old in keep:
        start, end = shape.input_offsets[old], shape.input_offsets[old + 1]
        first, last = shape.argument_offsets[old], shape.argument_offsets[old + 1]
        reads = [target[read] for read in old_inputs[start:end]]
        numbers = old_arguments[first:last]
        if alias is not None and len(set(reads)) < len(reads):  # two inputs became one: the stronger kind holds
            seats: dict[int, int] = {}
            seat = [seats.setdefault(read, len(seats)) for read in reads]
            numbers = array("i", [seat[n] if n >= 0 else n for n in numbers])
            strongest = [FAILURE] * len(seats)
            for place, kind in zip(seat, shape.kinds[start:end], strict=True):
                strongest[place] = min(strongest[place], kind, key=_STRENGTH.index)
            reads = list(seats)
            kinds.extend(strongest)
        else:
            kinds.extend(shape.kinds[start:end])
        inputs.extend(reads)
        arguments.extend(numbers)
        input_lengths.append(len(reads))
        argument_lengths.append(len(numbers))

    def column(values: array[int]) -> array[int]:
        return array("i", [values[old] for old in keep])

    return replace(
        graph,
        shape=replace(
            shape,
            function=column(shape.function),
            template=column(shape.template),
            option=column(shape.option),
            scope=column(shape.scope),
            origin=column(shape.origin),
            input_offsets=offsets_of(input_lengths),
            inputs=inputs,
            kinds=bytes(kinds),
            argument_offsets=offsets_of(argument_lengths),
            arguments=arguments,
            outputs=array("i", [target[old] for old in shape.outputs]),
            callbacks=array("i", [target[old] for old in shape.callbacks]),
        ),
    )


def cull(graph: Graph) -> Graph:
    """Drop what neither an output nor a callback needs.  Externals stay: their positions are the run's bindings."""
    shape = graph.shape
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


def share(graph: Graph) -> Graph:
    """Merge nodes that make the same call of the same inputs and are pure, or were given the same key.

    Constants count as the same when they are one object, or equal in every way one could tell: never a wrong hit.
    """
    shape = graph.shape
    shared = [row.pure or row.key is not None for row in shape.options]
    if not any(shared):
        return graph
    alias = list(range(len(shape)))
    seen: dict[Any, int] = {}
    tokens: dict[int, Any] = {}
    for at in graph.tasks():
        if shared[shape.option[at]]:
            alias[at] = seen.setdefault(_identity(graph, at, alias, tokens), at)
    keep = [at for at in range(len(shape)) if alias[at] == at]
    return graph if len(keep) == len(shape) else select(graph, keep, alias)


def _identity(graph: Graph, at: int, alias: Sequence[int], tokens: dict[int, Any]) -> Any:
    shape, constants = graph.shape, graph.tables.constants
    reads = [alias[read] for read in shape.inputs_of(at)]
    given: list[Any] = []
    for number in shape.arguments[shape.argument_offsets[at] : shape.argument_offsets[at + 1]]:
        if number >= 0:
            given.append(reads[number])
            continue
        if number == PREVIOUS:
            given.append(None)
            continue
        if number not in tokens:
            tokens[number] = _token(constants[~number])
        given.append(tokens[number])
    return shape.function[at], shape.template[at], shape.option[at], tuple(given), tuple(reads)


_BY_VALUE = frozenset({int, str, bytes, bool, type(None)})
_OPENED = frozenset({list, tuple, set, frozenset, dict, slice})


def _token(constant: Any) -> Any:
    """Return what two constants have in common only if no function could tell them apart, but by their identity.

    1, True and 1.0 differ, and 0.0 and -0.0; objects of other types are the same only when they are one.
    """
    leaves, ops = take_apart((constant,), lambda value: type(value) not in _OPENED)
    return tuple(ops), tuple([_leaf_token(leaf) for leaf in leaves])


def _leaf_token(leaf: Any) -> Any:
    kind = type(leaf)
    if kind in _BY_VALUE:
        return kind, leaf
    if kind is float:
        return kind, leaf.hex()
    if kind is complex:
        return kind, leaf.real.hex(), leaf.imag.hex()
    if kind is dict:  # of plain things, as take_apart leaves it
        return kind, tuple([(_leaf_token(key), _leaf_token(value)) for key, value in leaf.items()])
    if kind is slice:
        return kind, _leaf_token(leaf.start), _leaf_token(leaf.stop), _leaf_token(leaf.step)
    if kind in _OPENED:
        return kind, tuple(map(_leaf_token, leaf))
    return kind, id(leaf)  # the table of constants keeps it alive


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
    offsets, _ = consumers_of(shape)
    bounds, inputs, option, scope, kinds = shape.input_offsets, shape.inputs, shape.option, shape.scope, shape.kinds
    plain = [row.plain for row in shape.options]
    fixed = bytearray(len(shape))
    for at in (*shape.outputs, *shape.callbacks, *range(shape.externals)):
        fixed[at] = 1
    fused = {row for row, function in enumerate(graph.tables.functions) if isinstance(function, Fused)}
    joined = [-1] * len(shape)
    found = False
    for at in graph.tasks():
        start = bounds[at]
        if bounds[at + 1] - start != 1 or kinds[start] != DATA:
            continue
        before = inputs[start]
        if (
            not fixed[before]
            and offsets[before + 1] - offsets[before] == 1
            and option[before] == option[at]
            and scope[before] == scope[at]
            and plain[option[at]]
            and (not fused or (shape.function[at] not in fused and shape.function[before] not in fused))
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
        self.calls: dict[int, tuple[int, int, array[int]]] = {}  # tail -> function row, head, arguments

    def fused(self, members: list[int]) -> None:
        """Note that `members` (head first) become one task at the place of the last."""
        shape = self.source.shape
        steps, arguments = [], array("i")
        for place, at in enumerate(members):
            numbers = shape.arguments[shape.argument_offsets[at] : shape.argument_offsets[at + 1]]
            steps.append(Step(shape.function[at], shape.template[at], len(numbers), shape.origin[at]))
            arguments.extend(numbers if place == 0 else [PREVIOUS if n >= 0 else n for n in numbers])
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


PASSES: Sequence[tuple[str, Callable[[Graph], Graph]]] = (
    ("cull", cull),
    ("share", share),
    ("fuse", fuse),
    ("order", reorder),
)
