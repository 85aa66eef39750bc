"""Plans in portions, on the two sides that open them: the client says how large they are, workers put them together.

Only what is large is divided: below `WHOLE` bytes a plan goes to each worker as it is.  A page of constants is a pickle
of its own, so two of them have no object in common; where constants share much, they stay together.

Covers: dividing, room for what has not come, opening what comes.
Does not cover: which portions go where (cluster.portioning), pickles (net.codec).
"""

from __future__ import annotations

import mmap
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster.net import codec
from lazygraph.executors.cluster.records import unpack_shape
from lazygraph.running.program import Program
from lazygraph.values.graph import Tables
from lazygraph.values.options import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lazygraph.values.graph import Shape

WHOLE = 256 * 1024
"""Bytes up to which a plan is not divided."""

PORTION = 64 * 1024
"""Bytes that a portion is to have at most, as far as that can be told beforehand."""

MOST_ROWS = 64
"""Rows of a portion: a lease has about as many tasks, mostly neighbours."""

_ROW = 40
"""Bytes that a row takes, about, without its constants."""

_COMMON = 4096
"""Bytes that two pages may have in common in any case: the class of their constants, where that goes by value."""

_LOOKED_AT = 16
"""Of many constants so many are measured."""


# -- the client ------------------------------------------------------------------------------------


def grain_of(shape: Shape, constants: Sequence[Any]) -> int:
    """Return how many rows make a portion of a plan; 0 when it is to stay whole."""
    rows = len(shape) - shape.externals
    if rows < 2 or any(row.isolated or row.timeout is not None for row in shape.options):
        return 0  # a child process that runs an isolated task gets all such tasks of a plan at once
    step = -(-len(constants) // _LOOKED_AT) or 1
    sizes = [codec.size_of(constant) for constant in constants[::step]] if len(constants) > 1 else []
    each = _ROW + sum(sizes) * len(constants) // (max(1, len(sizes)) * rows)
    if each * rows < WHOLE:
        return 0
    grain = MOST_ROWS
    while grain > 1 and grain * each > PORTION:
        grain //= 2
    return grain


def pack_in_portions(shape: Shape, tables: Tables) -> tuple[m.TablesOnWire, list[bytes]]:
    """Pickle the tables of a plan as `codec.pack_tables` does; of a large one so that it can be divided."""
    return divided(shape, tables, grain_of(shape, tables.constants))


def divided(shape: Shape, tables: Tables, grain: int) -> tuple[m.TablesOnWire, list[bytes]]:
    """Pickle the tables of a plan that goes out in portions of `grain` rows, or whole (0)."""
    constants = tables.constants
    pages = _pages(constants, grain) if grain and len(constants) > grain else None
    bare = tables if pages is None else replace(tables, constants=())
    wire, blobs = codec.pack_tables(shape, bare)
    if not grain:
        return wire, blobs
    lengths = m.longs(map(len, pages)) if pages is not None else b""
    wire = m.TablesOnWire(wire.functions, wire.constants, wire.policies, grain, lengths)
    return wire, [*blobs, *(pages or ())]


def _pages(constants: Sequence[Any], grain: int) -> list[bytes] | None:
    """Return pickles of `grain` constants each; None when they have much in common, or cannot be pickled.

    Who cannot be pickled is found out when all of them are.
    """
    parts = [constants[at : at + grain] for at in range(0, len(constants), grain)]
    some = [parts[0], parts[len(parts) // 2], parts[-1]] if len(parts) > 2 else parts
    try:
        apart = [len(codec.dumps(part)) for part in some]
        common = (sum(apart) - len(codec.dumps(some))) // max(1, len(some) - 1)
        if common > max(min(apart) // 2, _COMMON):
            return None
        return [codec.dumps(part) for part in parts]
    except Exception:
        return None


# -- the worker ------------------------------------------------------------------------------------


class Arrived(dict[int, Any]):
    """A table of constants, as far as they have come.  One that could not be opened raises where it is read."""

    def __init__(self, grain: int) -> None:
        super().__init__()
        self._grain = grain
        self._errors: dict[int, Exception] = {}

    def open(self, page: int, blob: memoryview) -> None:
        """A page has come."""
        try:
            rows = codec.loads(blob)
        except Exception as error:
            self._errors[page] = codec.cannot_open_arguments(error)
            return
        self.update(enumerate(rows, page * self._grain))

    def __missing__(self, row: int) -> Any:
        """Say why a constant is not here."""
        raise self._errors.get(row // self._grain) or KeyError(row)


def opened(message: m.Load, body: bytes | memoryview) -> Program:
    """Open a plan, or the heading of one that comes in portions."""
    shape = with_classes(unpack_shape(message.shape), codec.unpack_policies(message.tables, body))
    tables = codec.unpack_tables(shape.names, message.tables, body)
    if not message.room:
        return Program(shape, tables)
    entries, inputs, arguments = message.room
    shape = replace(
        shape,
        function=_column(entries),
        template=_column(entries),
        option=_column(entries),
        origin=_column(entries),
        input_offsets=_column(entries + 1),
        inputs=_column(inputs),
        kinds=cast("Any", _zeros(inputs)),
        argument_offsets=_column(entries + 1),
        arguments=_column(arguments),
    )
    if message.paged:
        constants: Any = Arrived(message.tables.grain)
        tables = Tables(tables.functions, constants, tables.templates)
    return Program(shape, tables)


def _column(length: int) -> Any:
    """Return zeros for a column of numbers."""
    return _zeros(4 * length).cast("i")


def _zeros(size: int) -> memoryview:
    """Return memory of which those pages take room that something is put into: many rows may never come."""
    if size <= mmap.PAGESIZE or not hasattr(mmap, "MAP_PRIVATE"):
        return memoryview(bytearray(size))
    return memoryview(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))


def put(program: Program, message: m.Portion, body: bytes | memoryview) -> None:
    """Put a portion where it belongs."""
    shape: Any = program.shape
    first = message.first
    for column, rows in (
        (shape.function, message.functions),
        (shape.template, message.templates),
        (shape.option, message.options_of),
        (shape.origin, message.origins_of),
        (shape.input_offsets, message.input_offsets),
        (shape.argument_offsets, message.argument_offsets),
    ):
        column[first : first + len(rows) // 4] = memoryview(rows).cast("i")
    read, argued = shape.input_offsets[first], shape.argument_offsets[first]
    shape.inputs[read : read + len(message.inputs) // 4] = memoryview(message.inputs).cast("i")
    shape.kinds[read : read + len(message.kinds)] = message.kinds
    shape.arguments[argued : argued + len(message.arguments) // 4] = memoryview(message.arguments).cast("i")
    constants: Any = program.tables.constants
    view, at = memoryview(body), 0
    for page, length in zip(m.from_ints(message.pages), m.from_longs(message.lengths), strict=True):
        constants.open(page, view[at : at + length])
        at += length


def with_classes(shape: Shape, classes: Mapping[int, tuple[Any, Any]]) -> Shape:
    """Return a shape with the classes of exceptions that its rows retry: they do not travel in it."""
    if not classes:
        return shape
    rows = list(shape.options)
    for at, (on, not_on) in classes.items():
        retries = rows[at].retries
        if isinstance(retries, RetryPolicy):
            rows[at] = replace(rows[at], retries=replace(retries, on=on, not_on=not_on))
    return replace(shape, options=tuple(rows))
