"""Which part of a large plan a worker is sent: the rows of the tasks it is handed, with their neighbours.

A small plan goes to each worker whole, once.  Of a large one the client says (`TablesOnWire.grain`) how many rows make
a portion; its constants are pickled in pages of as many.  What a worker has got is remembered in a byte a portion.

Covers: the heading of such a plan, portions and pages that a worker lacks.
Does not cover: how large portions are (net.portions), when tasks are handed out (handing).
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from lazygraph.executors.cluster.messages import Portion, from_longs, ints, longs
from lazygraph.values.graph import DEEP, PREVIOUS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lazygraph.executors.cluster.messages import ShapeOnWire, TablesOnWire
    from lazygraph.values.graph import Shape

_STEPS = PREVIOUS + DEEP
"""Arguments below this are values of steps of the same fused task, not constants."""

_WIDEST = 32
"""Portions that go together at most: about 2,000 rows, in a cluster of two workers."""

_THIN = 4096
"""Bytes that pages of constants have, on average, where neighbours go together."""


class _Has(NamedTuple):
    """What a worker has got: a byte for each portion, and for each page."""

    portions: bytearray
    pages: bytearray


class Portioning:
    """One plan that is sent in portions: what of it each worker has."""

    __slots__ = ("_base", "_body", "_grain", "_has", "_lengths", "_reads", "_shape", "_starts", "_thin")

    def __init__(self, base: int, shape: Shape, tables: TablesOnWire, body: bytes | memoryview) -> None:
        self._base, self._shape, self._grain = base, shape, tables.grain
        self._body = memoryview(body)
        self._lengths = from_longs(tables.pages)
        before = sum(tables.functions) + tables.constants + tables.policies
        self._starts = list(accumulate(self._lengths, initial=before))
        self._thin = sum(self._lengths) <= len(self._lengths) * _THIN
        self._has: dict[int, _Has] = {}
        self._reads: dict[int, tuple[int, ...]] = {}  # portion -> the pages of constants that its rows read

    @property
    def room(self) -> tuple[int, int, int]:
        """How many entries, inputs and arguments there are in all."""
        return len(self._shape), len(self._shape.inputs), len(self._shape.arguments)

    def heading(self, wire: ShapeOnWire, tables: TablesOnWire) -> tuple[ShapeOnWire, TablesOnWire, memoryview]:
        """Return what all workers get: everything but rows and constants."""
        bare = dict.fromkeys(_COLUMNS, b"")
        return replace(wire, **bare, scopes=[]), replace(tables, pages=b""), self._body[: self._starts[0]]

    def forget(self, worker: int) -> None:
        """A worker is gone."""
        self._has.pop(worker, None)

    def lacking(
        self, worker: int, tasks: Iterable[int], workers: int
    ) -> Iterator[tuple[Portion, tuple[memoryview, ...]]]:
        """Yield, with their bodies, the portions that a worker lacks for these tasks; then it is taken to have them.

        The fewer `workers` there are, the more of its neighbours it gets with a portion: it will need most of them.
        """
        has, grain = self._has.get(worker), self._grain
        if has is None:
            count = -(-len(self._shape) // grain)
            has = self._has[worker] = _Has(bytearray(count), bytearray(len(self._lengths)))
        known = has.portions
        needed = {task // grain for task in tasks if not known[task // grain]}
        wide = max(1, min(_WIDEST, 2 * _WIDEST // workers)) if self._thin else 1
        if wide > 1:
            firsts = {one - one % wide for one in needed}
            needed = {one for first in firsts for one in range(first, min(first + wide, len(known))) if not known[one]}
        wanted = sorted(needed)
        at = 0
        while at < len(wanted):
            first = last = wanted[at]
            while at < len(wanted) and wanted[at] == last:  # neighbours go together
                at, last = at + 1, last + 1
            known[first:last] = b"\1" * (last - first)
            pages = sorted({page for one in range(first, last) for page in self._pages_of(one) if not has.pages[page]})
            for page in pages:
                has.pages[page] = 1
            yield self._portion(first * grain, min(last * grain, len(self._shape)), pages)

    def _pages_of(self, portion: int) -> tuple[int, ...]:
        pages = self._reads.get(portion)
        if pages is None:
            shape, grain = self._shape, self._grain
            first, end = portion * grain, min((portion + 1) * grain, len(shape))
            numbers = shape.arguments[shape.argument_offsets[first] : shape.argument_offsets[end]]
            found = {~n // grain for n in numbers if _STEPS <= n < 0} if self._lengths else ()
            pages = self._reads[portion] = tuple(sorted(found))
        return pages

    def _portion(self, first: int, end: int, pages: list[int]) -> tuple[Portion, tuple[memoryview, ...]]:
        shape, starts = self._shape, self._starts
        inputs = slice(shape.input_offsets[first], shape.input_offsets[end])
        arguments = slice(shape.argument_offsets[first], shape.argument_offsets[end])
        message = Portion(
            self._base,
            first,
            shape.function[first:end].tobytes(),
            shape.template[first:end].tobytes(),
            shape.option[first:end].tobytes(),
            shape.origin[first:end].tobytes(),
            shape.input_offsets[first : end + 1].tobytes(),
            shape.inputs[inputs].tobytes(),
            bytes(shape.kinds[inputs]),
            shape.argument_offsets[first : end + 1].tobytes(),
            shape.arguments[arguments].tobytes(),
            ints(pages),
            longs(self._lengths[page] for page in pages),
        )
        return message, tuple([self._body[starts[page] : starts[page + 1]] for page in pages])


_COLUMNS = (
    "functions", "templates", "options_of", "scopes_of", "origins_of", "input_offsets", "inputs", "kinds",
    "argument_offsets", "arguments", "outputs", "callbacks",
)  # fmt: skip
