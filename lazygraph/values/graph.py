"""The graph: nodes in topological order, as flat columns.  Checked once, then a value.

Identity is the position.  Entries 0 to externals-1 stand for values that exist already or are being made elsewhere; the
others are tasks.  `Shape` is what a scheduler may read, plain numbers and texts; `Tables` are live objects that only
the side that runs them opens.

Covers: the columns and what can be read off them.
Does not cover: making (planning.lower), changing (planning.optimize), drawing (showing).
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

from lazygraph.values.options import DEFAULT
from lazygraph.values.references import portable, restored
from lazygraph.values.verbs import GraphVerbs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from lazygraph.values.node import External, Site
    from lazygraph.values.options import TaskOptions
    from lazygraph.values.template import Template

DATA, ORDER, MEMBER, FAILURE = range(4)
"""What an input is for: its value; only its end; a value that `skip` may drop; fires when it fails."""

PREVIOUS, DEEP = -(2**31), 2**16
"""In a fused task's arguments: the value of the step before.  Where it reduces, PREVIOUS + n is the n-th last of the
values that no step has taken yet, n < DEEP."""


class Scope(NamedTuple):
    """A stretch of the graph that has an ending of its own.  Row 0 is the run.

    It has failed when one of its `ends` has no value (default: one of its nodes).  `fail_fast`: then whatever is left
    of it is ended.  `catch` is the external whose value is the `Failure` of the first of its nodes that has failed (-1:
    nobody asks); `given` are entries of the stretch that bear another scope's row, because they stand in several.
    `contained`: it goes on without those that fail, which is nothing to the scopes around it.
    """

    parent: int = -1
    fail_fast: bool = False
    catch: int = -1
    given: tuple[int, ...] = ()
    contained: bool = False
    ends: tuple[int, ...] = ()


class Step(NamedTuple):
    """One member of a fused task: a row of the function table, its template's row, its arguments, its origin's row."""

    function: int
    template: int
    arguments: int
    origin: int


class Fused(NamedTuple):
    """Stands in the function table for several calls run one after another as one task.

    Each takes the value of the one before it; where it `reduces`, those of several, which are taken from the end.
    """

    steps: tuple[Step, ...]
    reduces: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """What may be read without opening anything: one entry a node in every column, and offsets for the lists.

    The inputs of entry i are `inputs[input_offsets[i]:input_offsets[i+1]]`, all of them lower than i, each once; its
    call takes `arguments[argument_offsets[i]:argument_offsets[i+1]]`, where n >= 0 is the n-th input, PREVIOUS the
    value of the step before in a fused task, and any other n < 0 the constant in row ~n.  `function` is -1 for
    externals; `template` is 0 for "the arguments are positional".  `outputs` are what was asked for; `callbacks` run
    although nobody waits for them.  Whatever reads or waits for a scope's `catch` runs only when the scope fails.
    """

    externals: int
    function: array[int]
    template: array[int]
    option: array[int]
    scope: array[int]
    origin: array[int]
    input_offsets: array[int]
    inputs: array[int]
    kinds: bytes
    argument_offsets: array[int]
    arguments: array[int]
    outputs: array[int]
    callbacks: array[int]
    names: tuple[str, ...]
    options: tuple[TaskOptions, ...] = (DEFAULT,)
    scopes: tuple[Scope, ...] = (Scope(),)
    origins: tuple[Site | str, ...] = ()
    catches: Mapping[int, int] = field(init=False)
    """The externals that are failures of scopes, and the rows of those."""

    def __post_init__(self) -> None:
        catches = {scope.catch: row for row, scope in enumerate(self.scopes) if scope.catch >= 0}
        object.__setattr__(self, "catches", catches)

    def __len__(self) -> int:
        return len(self.function)

    def inputs_of(self, entry: int) -> array[int]:
        """Return the entries that `entry` reads or waits for."""
        return self.inputs[self.input_offsets[entry] : self.input_offsets[entry + 1]]

    def name_of(self, entry: int) -> str:
        """Return the display name of an entry."""
        if entry < self.externals:
            row = self.function[entry]
            return self.names[row] if row >= 0 else "failure" if entry in self.catches else "external"
        own = self.options[self.option[entry]].name
        return own or self.names[self.function[entry]]

    def origin_of(self, entry: int) -> str:
        """Return the file:line that built an entry, or an empty text for externals."""
        row = self.origin[entry]
        return str(self.origins[row]) if row >= 0 else ""


@dataclass(frozen=True, slots=True, eq=False)
class Tables:
    """What only runners open: functions, constants, and templates (row 0 is None: positional arguments)."""

    functions: tuple[Callable[..., Any] | Fused, ...]
    constants: tuple[Any, ...]
    templates: tuple[Template | None, ...] = (None,)

    def __reduce__(self) -> tuple[Any, ...]:
        functions = tuple(map(portable, self.functions))
        return _tables_again, (functions, self.constants, self.templates)


def _tables_again(functions: tuple[Any, ...], constants: Any, templates: Any) -> Tables:
    return Tables(tuple(map(restored, functions)), constants, templates)


class Change(NamedTuple):
    """What one optimizer pass did to the number of tasks, and in a sentence what and why, when that was asked for."""

    name: str
    before: int
    after: int
    why: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Graph(GraphVerbs):
    """A shape, its tables, the externals it reads, and what the optimizer has done so far."""

    shape: Shape
    tables: Tables
    externals: tuple[External, ...] = ()
    history: tuple[Change, ...] = field(default=())
    plans: dict[Any, Any] = field(default_factory=dict, init=False, repr=False)
    """Plans that were made of it, by the passes (planning.plan); they do not travel."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Graph, (self.shape, self.tables, self.externals, self.history)

    def __len__(self) -> int:
        """The number of tasks (externals are not counted)."""
        return len(self.shape) - self.shape.externals

    def __repr__(self) -> str:
        shape = self.shape
        return f"<Graph: {len(self)} nodes, {len(shape.inputs)} edges, {len(shape.outputs)} outputs>"

    def tasks(self) -> range:
        """Return the entries that are tasks."""
        return range(self.shape.externals, len(self.shape))

    def edges(self) -> Iterator[tuple[int, int]]:
        """Yield (input, consumer) for every edge."""
        shape = self.shape
        for entry in range(len(shape)):
            for read in shape.inputs_of(entry):
                yield read, entry


def offsets_of(lengths: Sequence[int]) -> array[int]:
    """Return running sums: offsets for lists of the given lengths."""
    return array("i", accumulate(lengths, initial=0))


def consumers_of(shape: Shape) -> tuple[array[int], array[int]]:
    """Return (offsets, consumers): who reads each entry, in rank order, O(V + E)."""
    n = len(shape)
    counts = [0] * (n + 1)
    inputs = shape.inputs
    for read in inputs:
        counts[read + 1] += 1
    for entry in range(n):
        counts[entry + 1] += counts[entry]
    offsets = array("i", counts)
    consumers = array("i", bytes(4 * len(inputs)))
    bounds = shape.input_offsets
    at = 0
    for entry in range(n):
        end = bounds[entry + 1]
        while at < end:
            read = inputs[at]
            consumers[counts[read]] = entry
            counts[read] += 1
            at += 1
    return offsets, consumers
