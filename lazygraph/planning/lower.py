"""Lowering: from promises to one graph.

One iterative walk from the outputs, inputs first, numbers every node that is needed and only those, so it is also cull
and already a depth-first order.  Cost measured on a 2-core machine: about 3 us a node.

Covers: nodes to a Graph, and back (`lift`) for promises that were pickled.
Does not cover: sharing, fusing, ordering (planning.fusing, planning.order).
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

from lazygraph.errors import NotImplementedYet
from lazygraph.language.calls import name_of
from lazygraph.language.delayed import map_items, starmap_items
from lazygraph.language.members import READS_MEMBERS
from lazygraph.language.promise import Delayed
from lazygraph.values.graph import DATA, MEMBER, ORDER, Fused, Graph, Scope, Shape, Tables, offsets_of
from lazygraph.values.limiting import limit_of
from lazygraph.values.node import Caught, External, Node, NodeScope, Quoted, identity
from lazygraph.values.options import DEFAULT, limited
from lazygraph.values.template import PLAIN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from lazygraph.values.node import Site
    from lazygraph.values.template import Template


class Rows:
    """A table being filled: a row for every distinct object, found by identity first and, where asked, by equality.

    Constants are never compared: 1, True and 1.0 are equal and not the same.
    """

    __slots__ = ("_by_id", "_by_value", "known", "or_next", "rows")

    def __init__(self, first: Iterable[Any] = (), *, by_value: bool = False) -> None:
        self.rows: list[Any] = []
        self._by_id: dict[int, int] = {}
        self.known = self._by_id.get
        """The row of what has this id, None when there is none."""
        self.or_next = self._by_id.setdefault
        """The same, or the given one, which must be the next: then what has this id is to be put there."""
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
    walk = _Walk(outputs)
    return _Columns(walk, held or {}).graph(outputs)


class _Walk:
    """Every needed node, inputs first; then callbacks, then handlers of failures; all in the order they are met.

    `gate` says of a node that only a handler needs which failure it has to wait for, or None when several want it:
    then it runs in any case.
    """

    def __init__(self, outputs: Sequence[Node | External]) -> None:
        self.order: list[Node] = []
        self.externals: list[External] = []
        self.entry: dict[Any, int] = {}  # their places in these two lists
        self.callbacks: list[Node] = []
        self.scopes: dict[NodeScope, int] = {}
        self.gate: dict[Node, Caught | None] = {}
        self._hanging: list[tuple[Node, Caught | None]] = []
        self._follow(list(reversed(outputs)), None)
        looked = 0
        while len(self.callbacks) < len(self._hanging) or looked < len(self.order):
            if len(self.callbacks) < len(self._hanging):
                node, caught = self._hanging[len(self.callbacks)]
                self.callbacks.append(node)
                self._follow([node], caught)
                continue
            scope = self.order[looked]._scope
            looked += 1
            while scope is not None and scope not in self.scopes:
                self.scopes[scope] = len(self.scopes) + 1
                self._hanging.extend((handler, scope.caught) for handler in scope.handlers)
                scope = scope.parent

    def _follow(self, stack: list[Any], caught: Caught | None) -> None:
        order, entry, gate = self.order, self.entry, self.gate
        while stack:
            node = stack[-1]
            known = entry.get(node)
            if known is not None and known >= 0:
                stack.pop()
                continue
            if known is None:
                if type(node) is not Delayed and isinstance(node, External):
                    stack.pop()
                    entry[node] = len(self.externals)
                    self.externals.append(node)
                    continue
                top = len(stack)
                for leaf in node._leaves:
                    kind = type(leaf)
                    if kind not in PLAIN and (kind is Delayed or isinstance(leaf, _LAZY)) and leaf not in entry:
                        stack.append(leaf)
                if node._after:
                    stack.extend([other for other in node._after if other not in entry])
                if len(stack) > top:
                    if len(stack) > top + 1:
                        stack[top:] = stack[: top - 1 : -1]  # the first is looked at first
                    entry[node] = _ENTERED
                    continue
            stack.pop()
            entry[node] = len(order)
            order.append(node)
            if node._links:
                self._hang([(link, caught) for link in node._links])
            if caught is not None:
                gate[node] = caught
            if gate:
                self._open_gates(node, caught)

    def _hang(self, callbacks: list[tuple[Node, Caught | None]]) -> None:
        """Line callbacks up: those of a handler behind it, before other handlers.  So `lift` finds them in order."""
        hanging, caught = self._hanging, callbacks[0][1]
        at = len(hanging)
        if caught is not None:
            at = len(self.callbacks)
            while at < len(hanging) and hanging[at][1] is caught:
                at += 1
        hanging[at:at] = callbacks

    def _open_gates(self, node: Node, caught: Caught | None) -> None:
        """What a node reads and another handler reads too waits for neither of them."""
        gate = self.gate
        stack = [node]
        while stack:
            top = stack.pop()
            for read in (*top._leaves, *top._after):
                if isinstance(read, Node) and gate.get(read, caught) is not caught and gate[read] is not None:
                    gate[read] = None
                    stack.append(read)


_LAZY = (Node, External)
_ENTERED = -1
"""The place of a node whose inputs come first."""
_READ_MEMBERS = frozenset(map(id, READS_MEMBERS))  # not every function can be hashed


class _Columns:
    """The columns of a graph while they are filled."""

    def __init__(self, walk: _Walk, held: Mapping[External, Any]) -> None:
        self.walk, self.held = walk, held
        self.order, self.externals = walk.order, [e for e in walk.externals if e not in held]
        self.entry = walk.entry
        if walk.externals:
            self.entry = {entry: at for at, entry in enumerate((*self.externals, *self.order))}
        self.functions, self.constants = Rows(), Rows()
        self.templates = Rows([None], by_value=True)
        self.options = Rows([DEFAULT], by_value=True)
        self.origins: list[Site | str] = []
        self._origin_rows: dict[Any, int] = {}
        self._site_rows: dict[int, int] = {}  # by identity: a site is kept by its node

    def graph(self, outputs: Sequence[Node | External]) -> Graph:
        """Fill the columns, node after node."""
        k, held = len(self.externals), self.held
        entry, add_function, add_constant = self.entry, self.functions.add, self.constants.add
        known_function, known_site = self.functions.known, self._site_rows.get
        constants, constant_rows = self.constants.rows, self.constants.or_next
        function, template = array("i", [-1] * k), array("i", bytes(4 * k))
        option, origin = array("i", bytes(4 * k)), array("i", [-1] * k)
        input_lengths, argument_lengths = [0] * k, [0] * k
        inputs, arguments = array("i"), array("i")
        kinds = bytearray()
        scope, scopes, gate = array("i", bytes(4 * k)), self.walk.scopes, self.walk.gate
        # A million nodes come past here: what most of them are is looked up by identity, without a call.
        for node in self.order:
            row = known_function(id(node._function))
            function.append(row if row is not None else add_function(node._function))
            template.append(self._template(node._template) if node._template is not None else 0)
            option.append(self._option(node) if node._options is not DEFAULT else 0)
            row = known_site(id(node._site))
            origin.append(row if row is not None else self._origin(node._site))
            scope.append(scopes[node._scope] if node._scope is not None else 0)
            reads: dict[int, int] = {}
            leaves = node._leaves
            for leaf in leaves:
                kind = type(leaf)
                if kind is Delayed and not held:
                    arguments.append(reads.setdefault(entry[leaf], len(reads)))
                elif kind in PLAIN or not isinstance(leaf, _LAZY):
                    # As `add`, which would be a call for each: most constants are met once.
                    whole = leaf.value if kind is Quoted else leaf
                    row = constant_rows(id(whole), len(constants))
                    if row == len(constants):
                        constants.append(whole)
                    arguments.append(~row)
                elif held and leaf in held:
                    arguments.append(~add_constant(held[leaf]))  # type: ignore[index]
                else:
                    arguments.append(reads.setdefault(entry[leaf], len(reads)))
            if reads:
                kinds.extend(bytes(len(reads)) if id(node._function) not in _READ_MEMBERS else [MEMBER] * len(reads))
            caught = gate.get(node) if gate else None
            if caught is not None and entry[caught] not in reads:
                reads[entry[caught]] = len(reads)
                kinds.append(ORDER)
            for other in node._after:
                if other in entry and entry[other] not in reads:  # one that is held has ended already
                    reads[entry[other]] = len(reads)
                    kinds.append(ORDER)
            if reads:
                inputs.extend(reads)
            input_lengths.append(len(reads))
            argument_lengths.append(len(leaves))
        shape = Shape(
            externals=k,
            function=function,
            template=template,
            option=option,
            scope=scope,
            origin=origin,
            input_offsets=offsets_of(input_lengths),
            inputs=inputs,
            kinds=bytes(kinds),
            argument_offsets=offsets_of(argument_lengths),
            arguments=arguments,
            outputs=array("i", [entry[output] for output in outputs]),
            callbacks=array("i", [entry[node] for node in self.walk.callbacks]),
            names=tuple(name_of(f) for f in self.functions.rows),
            options=tuple(self.options.rows),
            scopes=(Scope(), *map(self._scope, scopes)),
            origins=tuple(self.origins),
        )
        tables = Tables(tuple(self.functions.rows), tuple(self.constants.rows), tuple(self.templates.rows))
        return Graph(shape, tables, tuple(self.externals))

    def _option(self, node: Node) -> int:
        row = node._options
        if (row.rate_limit is not None or row.concurrency is not None) and row.limited_as is None:
            many = node._function is map_items or node._function is starmap_items
            row = limited(row, limit_of(node._leaves[0] if many else node._function))
        return self.options.add(row)

    def _scope(self, scope: NodeScope) -> Scope:
        parent = self.walk.scopes[scope.parent] if scope.parent is not None else 0
        given = tuple(self.entry[node] for node in scope.given if node in self.entry)
        ends = tuple(self.entry[node] for node in scope.ends if node in self.entry)
        return Scope(parent, scope.fail_fast, self.entry.get(scope.caught, -1), given, scope.contained, ends)

    def _origin(self, site: Site | str) -> int:
        # By the code's id: hashing a code object walks its bytecode.
        key = site if isinstance(site, str) else (id(site[0]), site[1])
        row = self._origin_rows.get(key)
        if row is None:
            row = self._origin_rows[key] = len(self.origins)
            self.origins.append(site)
        self._site_rows[id(site)] = row
        return row

    def _template(self, template: Template | None) -> int:
        return 0 if template is None else self.templates.add(template)


assert DATA == 0  # `bytes(n)` above makes n DATA inputs


def lift(graph: Graph) -> list[Delayed]:
    """Return fresh promises that mean what `graph` means, one for each output."""
    shape, tables = graph.shape, graph.tables
    made: list[Any] = list(graph.externals)
    scopes = _lifted_scopes(graph)
    for at in graph.tasks():
        function, options = function_of(tables, shape.function[at]), shape.options[shape.option[at]]
        reads = [made[read] for read in shape.inputs_of(at)]
        kinds = shape.kinds[shape.input_offsets[at] : shape.input_offsets[at + 1]]
        numbers = shape.arguments[shape.argument_offsets[at] : shape.argument_offsets[at + 1]]
        leaves = tuple(reads[n] if n >= 0 else _as_leaf(tables.constants[~n]) for n in numbers)
        after = tuple(read for read, kind in zip(reads, kinds, strict=True) if kind == ORDER)
        template: Any = tables.templates[shape.template[at]]
        scope = scopes[shape.scope[at]]
        made.append(Delayed(function, leaves, template, options, shape.origin_of(at), after, scope))
    for row, scope in zip(shape.scopes, scopes, strict=True):
        if scope is not None:
            scope.given.extend(made[at] for at in row.given)
            scope.ends.extend(made[at] for at in row.ends)
    catches = shape.catches
    # Handlers answer for their scope; all other callbacks hang, in order, on one node that is needed anyway: what they
    # read may be needed by nothing else (the list that a link on a group gets).
    anchor = next((made[output] for output in shape.outputs if isinstance(made[output], Delayed)), None)
    for at in shape.callbacks:
        handled = next((read for read in shape.inputs_of(at) if read in catches), None)
        if handled is not None:
            scopes[catches[handled]].handlers.append(made[at])  # type: ignore[union-attr]
        elif anchor is not None:
            anchor._links += (made[at],)
    return [_as_promise(made[output]) for output in shape.outputs]


def _lifted_scopes(graph: Graph) -> list[NodeScope | None]:
    scopes: list[NodeScope | None] = [None]
    rows = graph.shape.scopes[1:]
    scopes.extend(NodeScope(None, row.fail_fast, row.contained) for row in rows)
    for row, scope in zip(rows, scopes[1:], strict=True):
        assert scope is not None
        scope.parent = scopes[row.parent]
        if row.catch >= 0:
            caught = graph.externals[row.catch]
            assert isinstance(caught, Caught)
            scope.caught = caught
    return scopes


def _as_leaf(constant: Any) -> Any:
    return Quoted(constant) if isinstance(constant, _LAZY) else constant


def function_of(tables: Tables, row: int) -> Callable[..., Any]:
    """Return the function in a row of the tables.  Raises `NotImplementedYet` for a fused one."""
    function = tables.functions[row]
    if isinstance(function, Fused):
        raise NotImplementedYet("taking a fused graph apart", "use the graph as it was before optimizing")
    return function


def _as_promise(made: Any) -> Delayed:
    return made if isinstance(made, Delayed) else Delayed(identity, (made,))
