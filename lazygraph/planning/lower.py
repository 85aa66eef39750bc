"""Lowering: from promises to one graph.

One iterative walk from the outputs, inputs first, numbers every node that is needed and only those, so it is also cull
and already a depth-first order.  Cost measured on a 2-core machine: about 3 us a node.

Covers: nodes to a Graph, and back (`lift`) for promises that were pickled.
Does not cover: sharing, fusing, ordering (planning.optimize, planning.order).
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

from lazygraph.errors import NotImplementedYet
from lazygraph.language.calls import name_of
from lazygraph.language.promise import Delayed
from lazygraph.values.graph import DATA, ORDER, Fused, Graph, Shape, Tables, offsets_of
from lazygraph.values.node import External, Node, identity
from lazygraph.values.options import DEFAULT
from lazygraph.values.template import PLAIN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from lazygraph.values.node import Site
    from lazygraph.values.template import Template


class Rows:
    """A table being filled: a row for every distinct object, found by identity first and, where asked, by equality.

    Constants are never compared: 1, True and 1.0 are equal and not the same.
    """

    __slots__ = ("_by_id", "_by_value", "rows")

    def __init__(self, first: Iterable[Any] = (), *, by_value: bool = False) -> None:
        self.rows: list[Any] = []
        self._by_id: dict[int, int] = {}
        self._by_value: dict[Any, int] | None = {} if by_value else None
        for row in first:
            self.add(row)

    def add(self, thing: Any) -> int:
        """Return the row of `thing`.  The table keeps it alive, so that its id stays its own."""
        row = self._by_id.get(id(thing))
        if row is not None:
            return row
        if self._by_value is not None:
            row = self._by_value.setdefault(thing, len(self.rows))
            if row < len(self.rows):
                return row
        row = self._by_id[id(thing)] = len(self.rows)
        self.rows.append(thing)
        return row


def lower(outputs: Sequence[Node | External], held: Mapping[External, Any] | None = None) -> Graph:
    """Return the graph of what `outputs` need; its outputs are theirs, in order (one may be asked for twice).

    `held` gives the values of externals that go in as constants.
    """
    if held:
        outputs = [Delayed(identity, (held[o],)) if isinstance(o, External) and o in held else o for o in outputs]
    order, externals, callbacks = _walk(outputs)
    return _Columns(order, [e for e in externals if e not in (held or {})], held or {}).graph(outputs, callbacks)


def _walk(outputs: Sequence[Node | External]) -> tuple[list[Node], list[External], list[Node]]:
    """Return every needed node, inputs first, then externals and callbacks, all in the order they are met."""
    callbacks: list[Node] = []
    order: list[Node] = []
    externals: dict[External, None] = {}
    done: set[Any] = set()
    stack: list[Any] = list(reversed(outputs))
    followed = 0  # callbacks: nobody waits for them, so they come last
    while stack or followed < len(callbacks):
        if not stack:
            stack.append(callbacks[followed])
            followed += 1
        node = stack[-1]
        if node in done:
            stack.pop()
            continue
        if isinstance(node, External):
            stack.pop()
            done.add(node)
            externals[node] = None
            continue
        missing = [
            leaf for leaf in node._leaves if type(leaf) not in PLAIN and isinstance(leaf, _LAZY) and leaf not in done
        ]
        if node._after:
            missing.extend(other for other in node._after if other not in done)
        if missing:
            missing.reverse()
            stack.extend(missing)
            continue
        stack.pop()
        done.add(node)
        order.append(node)
        callbacks.extend(node._links)
    return order, list(externals), callbacks


_LAZY = (Node, External)


class _Columns:
    """The columns of a graph while they are filled."""

    def __init__(self, order: list[Node], externals: list[External], held: Mapping[External, Any]) -> None:
        self.order, self.externals, self.held = order, externals, held
        self.entry: dict[Any, int] = {external: at for at, external in enumerate(externals)}
        first = len(externals)
        for at, node in enumerate(order, first):
            self.entry[node] = at
        self.functions, self.constants = Rows(), Rows()
        self.templates = Rows([None], by_value=True)
        self.options = Rows([DEFAULT], by_value=True)
        self.origins: list[Site | str] = []
        self._origin_rows: dict[Any, int] = {}

    def graph(self, outputs: Sequence[Node | External], callbacks: Sequence[Node]) -> Graph:
        k, held = len(self.externals), self.held
        entry, add_function, add_constant = self.entry, self.functions.add, self.constants.add
        function, template = array("i", [-1] * k), array("i", bytes(4 * k))
        option, origin = array("i", bytes(4 * k)), array("i", [-1] * k)
        input_lengths, argument_lengths = [0] * k, [0] * k
        inputs, arguments = array("i"), array("i")
        kinds = bytearray()
        for node in self.order:
            function.append(add_function(node._function))
            template.append(self._template(node._template))
            option.append(self.options.add(node._options) if node._options is not DEFAULT else 0)
            origin.append(self._origin(node._site))
            reads: dict[int, int] = {}
            leaves = node._leaves
            for leaf in leaves:
                if type(leaf) in PLAIN or not isinstance(leaf, _LAZY):
                    arguments.append(~add_constant(leaf))
                elif held and leaf in held:
                    arguments.append(~add_constant(held[leaf]))  # type: ignore[index]
                else:
                    arguments.append(reads.setdefault(entry[leaf], len(reads)))
            kinds.extend(bytes(len(reads)))
            for other in node._after:
                if other in entry and entry[other] not in reads:  # one that is held has ended already
                    reads[entry[other]] = len(reads)
                    kinds.append(ORDER)
            inputs.extend(reads)
            input_lengths.append(len(reads))
            argument_lengths.append(len(leaves))
        shape = Shape(
            externals=k,
            function=function,
            template=template,
            option=option,
            scope=array("i", bytes(4 * len(function))),
            origin=origin,
            input_offsets=offsets_of(input_lengths),
            inputs=inputs,
            kinds=bytes(kinds),
            argument_offsets=offsets_of(argument_lengths),
            arguments=arguments,
            outputs=array("i", [entry[output] for output in outputs]),
            callbacks=array("i", [entry[node] for node in callbacks]),
            names=tuple(name_of(f) for f in self.functions.rows),
            options=tuple(self.options.rows),
            origins=tuple(self.origins),
        )
        tables = Tables(tuple(self.functions.rows), tuple(self.constants.rows), tuple(self.templates.rows))
        return Graph(shape, tables, tuple(self.externals))

    def _origin(self, site: Site | str) -> int:
        # By the code's id: hashing a code object walks its bytecode.
        key = site if isinstance(site, str) else (id(site[0]), site[1])
        row = self._origin_rows.get(key)
        if row is None:
            row = self._origin_rows[key] = len(self.origins)
            self.origins.append(site)
        return row

    def _template(self, template: Template | None) -> int:
        return 0 if template is None else self.templates.add(template)


assert DATA == 0  # `bytes(n)` above makes n DATA inputs


def lift(graph: Graph) -> list[Delayed]:
    """Return fresh promises that mean what `graph` means, one for each output."""
    shape, tables = graph.shape, graph.tables
    made: list[Any] = list(graph.externals)
    for at in graph.tasks():
        function, options = function_of(tables, shape.function[at]), shape.options[shape.option[at]]
        reads = [made[read] for read in shape.inputs_of(at)]
        kinds = shape.kinds[shape.input_offsets[at] : shape.input_offsets[at + 1]]
        numbers = shape.arguments[shape.argument_offsets[at] : shape.argument_offsets[at + 1]]
        leaves = tuple(reads[n] if n >= 0 else tables.constants[~n] for n in numbers)
        after = tuple(read for read, kind in zip(reads, kinds, strict=True) if kind == ORDER)
        template: Any = tables.templates[shape.template[at]]
        made.append(Delayed(function, leaves, template, options, shape.origin_of(at), after))
    for at in shape.callbacks:  # they hang on what they read
        owner = made[shape.inputs_of(at)[0]]
        if isinstance(owner, Delayed):
            owner._links += (made[at],)
    return [_as_promise(made[output]) for output in shape.outputs]


def function_of(tables: Tables, row: int) -> Callable[..., Any]:
    """Return the function in a row of the tables.  Raises `NotImplementedYet` for a fused one."""
    function = tables.functions[row]
    if isinstance(function, Fused):
        raise NotImplementedYet("taking a fused graph apart", "use the graph as it was before optimizing")
    return function


def _as_promise(made: Any) -> Delayed:
    return made if isinstance(made, Delayed) else Delayed(identity, (made,))
