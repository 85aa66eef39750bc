"""Optimizer passes that make one task of several.  A pass with nothing to do returns its argument.

Covers: fuse (linear chains), fuse_reductions (small trees; only for who asks for it), why a task did not join another.
Does not cover: running what is fused (running.program), which passes are run (planning.passes).
"""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import replace
from inspect import iscoroutinefunction
from operator import sub
from typing import TYPE_CHECKING

from lazygraph.errors import InvalidOption
from lazygraph.planning.selecting import rewired, select
from lazygraph.values.graph import DATA, DEEP, PREVIOUS, Fused, Graph, Step, Tables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from lazygraph.planning.selecting import Call


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


def fuse_reductions(graph: Graph, most: int = 16) -> Graph:
    """Join plain nodes with all that they read, where nothing else reads it, into tasks of at most `most` calls.

    For trees of calls that take microseconds, and only for who asks for it: the calls of one task run one after
    another, on one worker, and begin when all that any of them reads is there.  Behind `fuse` it takes its chains in.
    """
    if not 0 < most < DEEP:
        raise InvalidOption(f"fuse_reductions(most={most}): 1 to {DEEP - 1} calls in a task are possible")
    shape, functions = graph.shape, graph.tables.functions
    joins = _joins(graph, fused=True)
    groups: dict[int, list[int]] = {}  # root -> who has joined it, and itself, each behind all that it reads
    sizes = [len(row.steps) if isinstance(row, Fused) else 1 for row in functions]
    absorbed = bytearray(len(shape))
    for at in graph.tasks():
        reads = shape.inputs_of(at)
        if not reads or not all(joins(at, place) for place in range(len(reads))) or not _takes_all(graph, at):
            continue
        members = [member for read in reads for member in groups.get(read, [read])]
        members.append(at)
        if sum(sizes[shape.function[member]] for member in members) <= most:
            groups[at] = members
            for read in reads:
                absorbed[read] = 1
                groups.pop(read, None)
    if not groups:
        return graph
    build = _Fusing(graph)
    for root, members in groups.items():
        build.reduced(root, members)
    return build.graph(absorbed)


def _takes_all(graph: Graph, at: int) -> bool:
    """Whether a call takes each of its inputs."""
    shape = graph.shape
    numbers = shape.arguments[shape.argument_offsets[at] : shape.argument_offsets[at + 1]]
    return {*range(len(shape.inputs_of(at)))} <= {*numbers}


def _joins(graph: Graph, *, fused: bool) -> Callable[[int, int], bool]:
    """Return what says whether a node may join the one at a place among its inputs, which may be `fused` already."""
    shape = graph.shape
    bounds, inputs, kinds = shape.input_offsets, shape.inputs, shape.kinds
    function, option, scope = shape.function, shape.option, shape.scope
    plain = [row.plain for row in shape.options]
    given = {at for row in shape.scopes for at in row.given}
    single = bytearray(len(shape))  # read once, and neither asked for nor made elsewhere
    for at, times in Counter(inputs).items():
        single[at] = times == 1
    for at in (*shape.outputs, *shape.callbacks, *range(shape.externals), *given):
        single[at] = 0
    # What an async function returns is awaited before anything goes on with it.
    rows = enumerate(graph.tables.functions)
    apart = {row for row, called in rows if iscoroutinefunction(called) or (isinstance(called, Fused) and not fused)}

    def joins(at: int, place: int) -> bool:
        place += bounds[at]
        before = inputs[place]
        return bool(
            single[before]
            and kinds[place] == DATA
            and option[before] == option[at]
            and scope[before] == scope[at]
            and plain[option[at]]
            and at not in given
            and (not apart or (function[at] not in apart and function[before] not in apart))
        )

    return joins


def _joined(graph: Graph) -> list[int] | None:
    """Return for each entry the one before it that it joins, or -1; None when nothing joins."""
    shape = graph.shape
    bounds, inputs = shape.input_offsets, shape.inputs
    joins = _joins(graph, fused=False)
    joined = [-1] * len(shape)
    found = False
    for at in graph.tasks():
        if bounds[at + 1] - bounds[at] == 1 and joins(at, 0):
            joined[at] = inputs[bounds[at]]
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
        # tail -> function row, and what that reads and takes
        self.calls: dict[int, tuple[int, Call]] = {}

    def fused(self, members: list[int]) -> None:
        """Note that `members` (head first) become one task at the place of the last."""
        shape, known = self.source.shape, self.steps
        function, template, origin = shape.function, shape.template, shape.origin
        bounds, whole = shape.argument_offsets, shape.arguments
        first, after = members[0], members[-1] + 1
        rows: Iterable[tuple[int, int, int, int]]
        if after - first == len(members):  # as lowering numbers them: whole slices, since there may be very many
            counts = map(sub, bounds[first + 1 : after + 1], bounds[first:after])
            rows = zip(function[first:after], template[first:after], counts, origin[first:after], strict=True)
            numbers = whole[bounds[first] : bounds[after]]
        else:
            rows = [(function[at], template[at], bounds[at + 1] - bounds[at], origin[at]) for at in members]
            numbers = array("i")
            for at in members:
                numbers.extend(whole[bounds[at] : bounds[at + 1]])
        steps = [known.get(said) or known.setdefault(said, Step(*said)) for said in rows]
        head = steps[0].arguments
        arguments = numbers[:head]
        arguments.extend([n if n < 0 else PREVIOUS for n in numbers[head:]])
        row = self.row(Fused(tuple(steps)))
        start, end = shape.input_offsets[members[0]], shape.input_offsets[members[0] + 1]
        self.calls[members[-1]] = row, (shape.inputs[start:end], shape.kinds[start:end], arguments)

    def reduced(self, root: int, members: Sequence[int]) -> None:
        """Note that `members` become one task at the place of `root`; each stands behind all that it reads of them."""
        shape, functions = self.source.shape, self.source.tables.functions
        function, template, origin = shape.function, shape.template, shape.origin
        bounds, whole, inside = shape.argument_offsets, shape.arguments, {*members}
        steps: list[Step] = []
        seats: dict[int, int] = {}  # what it reads of others -> its place there
        arguments = array("i")
        for at in members:
            first, last = bounds[at], bounds[at + 1]
            reads = shape.inputs_of(at)
            if reads and reads[0] in inside:  # then all are: the last one's value is the nearest
                targets = [PREVIOUS + len(reads) - 1 - place for place in range(len(reads))]
            else:
                targets = [seats.setdefault(read, len(seats)) for read in reads]
            arguments.extend([targets[n] if n >= 0 else n for n in whole[first:last]])
            called = functions[function[at]]
            if isinstance(called, Fused):
                steps.extend(called.steps)
            else:
                steps.append(Step(function[at], template[at], last - first, origin[at]))
        row = self.row(Fused(tuple(steps), reduces=True))
        self.calls[root] = row, (list(seats), self._kinds(members, seats), arguments)

    def _kinds(self, members: Sequence[int], seats: Mapping[int, int]) -> bytes:
        """Return what the inputs of a fused task are for: a value that one member takes is taken."""
        shape, kinds = self.source.shape, [-1] * len(seats)
        for at in members:
            start = shape.input_offsets[at]
            for place, read in enumerate(shape.inputs_of(at)):
                if read in seats and kinds[seats[read]] != DATA:
                    kinds[seats[read]] = shape.kinds[start + place]
        return bytes(kinds)

    def row(self, fused: Fused) -> int:
        """Return the row of the function table that stands for these steps."""
        row = self.rows.get(fused)
        if row is None:
            row = self.rows[fused] = len(self.functions)
            self.functions.append(fused)
            called = [self.names[step.function] for step in fused.steps]
            self.names.append(_counted(called) if fused.reduces else _joined_name(called))
        return row

    def graph(self, absorbed: bytearray) -> Graph:
        """Return the graph without the absorbed entries, the tails calling their fused rows."""
        shape = self.source.shape
        function, template = array("i", shape.function), array("i", shape.template)
        for at, (row, _) in self.calls.items():
            function[at], template[at] = row, 0
        keep = [at for at, gone in enumerate(absorbed) if not gone]
        calls = {at: call for at, (_, call) in self.calls.items()}
        changed = rewired(shape, calls, keep, function=function, template=template, names=tuple(self.names))
        tables = Tables(tuple(self.functions), self.source.tables.constants, self.source.tables.templates)
        whole = replace(self.source, shape=changed, tables=tables)
        return select(whole, keep)


def _joined_name(names: Sequence[str]) -> str:
    if len(names) <= 4:
        return " → ".join(names)
    return f"{names[0]} → {names[1]} → … → {names[-1]} ({len(names)} calls)"


def _counted(names: Sequence[str]) -> str:
    """Name a task of several calls; what its last call is named comes last (`last_name` reads it off)."""
    counts = Counter(names)
    counts[names[-1]] = counts.pop(names[-1])
    said = [name if count == 1 else f"{name} ×{count}" for name, count in counts.items()]
    return " → ".join(said) if len(said) <= 4 else f"{said[0]} → … → {said[-1]} ({len(names)} calls)"


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
