"""Selecting: the graph of some of a graph's entries, in a new order, with others standing for what is left out.

Covers: renumbering every column, entries that read something else.
Does not cover: which entries to keep (planning.optimize, planning.sharing, planning.fusing).
"""

from __future__ import annotations

from array import array
from dataclasses import replace
from typing import TYPE_CHECKING

from lazygraph.values.graph import DATA, FAILURE, MEMBER, ORDER, Graph, offsets_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from lazygraph.values.graph import Shape

_STRENGTH = (DATA, MEMBER, ORDER, FAILURE)


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

    def there(entries: Iterable[int]) -> tuple[int, ...]:
        return tuple(target[entry] for entry in entries if target[entry] >= 0)

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
            scopes=tuple([s._replace(given=there(s.given), ends=there(s.ends)) for s in shape.scopes]),
        ),
    )


Call = tuple["Sequence[int]", bytes, "Sequence[int]"]
"""What an entry reads, what for, and its arguments."""


def rewired(shape: Shape, calls: Mapping[int, Call], entries: Iterable[int] | None = None, **columns: Any) -> Shape:
    """Return a shape in which these entries read and take something else; `columns` are others that change.

    `entries`: all but these (default: none), which may be nearly all, read and take nothing; they go up.
    """
    inputs, arguments, kinds = array("i"), array("i"), bytearray()
    input_lengths, argument_lengths = [0] * len(shape), [0] * len(shape)
    starts, bounds = shape.input_offsets, shape.argument_offsets
    for at in range(len(shape)) if entries is None else entries:
        call = calls.get(at)
        if call is None:
            start, end = starts[at], starts[at + 1]
            call = shape.inputs[start:end], shape.kinds[start:end], shape.arguments[bounds[at] : bounds[at + 1]]
        reads, how, numbers = call
        if reads:
            inputs.extend(reads)
            kinds.extend(how)
        if numbers:
            arguments.extend(numbers)
        input_lengths[at] = len(reads)
        argument_lengths[at] = len(numbers)
    return replace(
        shape,
        input_offsets=offsets_of(input_lengths),
        inputs=inputs,
        kinds=bytes(kinds),
        argument_offsets=offsets_of(argument_lengths),
        arguments=arguments,
        **columns,
    )
