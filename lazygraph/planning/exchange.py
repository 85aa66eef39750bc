"""Graphs from and to networkx.

In a networkx graph a node carries `function` and, if its call is not simply the values of its predecessors in the
order of their edges, `args` and `kwargs`, in which `Input(node)` stands for the value of another node.  A node with
`value` instead of `function` is that value.  An edge may claim a place among the arguments itself, `argument=0` or
`argument="name"`; a predecessor that nothing mentions is only waited for, as one at an edge with `kind="order"` is.

    g = networkx.DiGraph()
    g.add_node("a", value=20)
    g.add_node("b", function=operator.add, args=(Input("a"), 1), options={"retries": 2})
    g.add_edge("a", "b")
    promises_of(g)["b"].compute()       # 21

`options` are task options, `name` the display name (default: the node), `origin` the file:line in messages, `output`
whether it is asked for, `callback` whether it runs although nobody waits for it.  `scope` is the number of a row in the
graph's `scopes`, and a node with `failure_of` is the failure of that one (planning.scoping); both come from canvases.

Covers: both directions.
Does not cover: what is wrong with such a graph (planning.drawn), drawing (showing), analysing (networkx does).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from lazygraph.errors import LazyGraphError
from lazygraph.language.calls import Contract, name_of, site_of
from lazygraph.language.delayed import DelayedFunction
from lazygraph.language.promise import build, is_lazy
from lazygraph.planning.drawn import Input, call_of, callbacks_of, described_nodes, faults_of, leaves_of, outputs_of
from lazygraph.planning.faults import NO_CALL, UNUSED, Fault, in_order, raise_first
from lazygraph.planning.lower import function_of, lower
from lazygraph.planning.scoping import Scopes, row_of
from lazygraph.values.graph import ORDER
from lazygraph.values.node import Quoted
from lazygraph.values.options import DEFAULT, TaskOptions, changed
from lazygraph.values.tagged import plain
from lazygraph.values.template import PLAIN, put_together, take_apart

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from lazygraph.values.graph import Graph
    from lazygraph.values.node import Site


def to_networkx(graph: Graph) -> Any:
    """Return a `networkx.DiGraph` that says what `graph` says; its nodes are the graph's entries, by number.

    Nodes have `name`, `function`, `args`, `kwargs`, `options`, `origin`, `output`, `callback` and `scope` (externals:
    `name`, `output`, and `external` or `failure_of`); edges have `kind`, "data" or "order"; the graph has `outputs`,
    which says their order, and `scopes`.
    """
    import networkx  # heavy, and only those who exchange graphs have a use for it

    shape, outputs, callbacks = graph.shape, set(graph.shape.outputs), set(graph.shape.callbacks)
    nx_graph = networkx.DiGraph(outputs=list(shape.outputs), scopes=[row_of(scope) for scope in shape.scopes[1:]])
    for at, external in enumerate(graph.externals):
        what = {"failure_of": shape.catches[at]} if at in shape.catches else {"external": external}
        nx_graph.add_node(at, name=shape.name_of(at), output=at in outputs, **what)
    for at in graph.tasks():
        function = function_of(graph.tables, shape.function[at])
        args, kwargs = _call_of(graph, at)
        nx_graph.add_node(
            at,
            name=shape.name_of(at),
            function=function,
            args=args,
            kwargs=kwargs,
            options=shape.options[shape.option[at]],
            origin=shape.origin_of(at),
            output=at in outputs,
            callback=at in callbacks,
            scope=shape.scope[at],
        )
    for (read, at), kind in zip(graph.edges(), shape.kinds, strict=True):
        nx_graph.add_edge(read, at, kind="order" if kind == ORDER else "data")
    return nx_graph


def _call_of(graph: Graph, at: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
    shape, tables = graph.shape, graph.tables
    reads = shape.inputs_of(at)
    numbers = shape.arguments[shape.argument_offsets[at] : shape.argument_offsets[at + 1]]
    leaves = [Input(reads[n]) if n >= 0 else _as_data(tables.constants[~n]) for n in numbers]
    template = tables.templates[shape.template[at]]
    if template is None:
        return tuple(leaves), {}
    whole = put_together(template.ops, leaves)
    positional = template.positional
    return tuple(whole[:positional]), dict(zip(template.keywords, whole[positional:], strict=True))


def _as_data(constant: Any) -> Any:
    """Return a constant so that nothing in it is taken for an input: promises in it are data."""
    if type(constant) in PLAIN or not any(map(is_lazy, take_apart([constant], is_lazy)[0])):
        return constant
    return Quoted(constant)


def from_networkx(nx_graph: Any, site: Site | str | None = None) -> Graph:
    """Return the graph that a directed networkx graph describes (see the module).

    Its outputs are the nodes with `output=True`, or, where no node says so, those that nothing reads; both in the
    order in which the nodes were added, unless the graph has `outputs`, a list of nodes, that says another.
    Raises `CyclicGraph` naming a cycle, `InvalidOption` for what is no call, `WrongCall` for a call that its function
    cannot take, `UnknownOption`.
    """
    made = _promises_of(nx_graph, site or site_of(sys._getframe(1)))
    return lower([made[node] for node in outputs_of(nx_graph)])


def promises_of(nx_graph: Any) -> dict[Hashable, Any]:
    """Return a promise for every node of a directed networkx graph (see the module).  Raises as `from_networkx`."""
    return _promises_of(nx_graph, site_of(sys._getframe(1)))


def described(nx_graph: Any) -> tuple[Graph | None, list[Fault]]:
    """Return everything that is wrong with a networkx graph, and the graph, if it is one."""
    faults = faults_of(nx_graph)
    if any(fault.kind != UNUSED for fault in faults):
        return None, faults
    try:
        return from_networkx(nx_graph, site_of(sys._getframe(1))), faults
    except LazyGraphError as error:
        return None, [*faults, Fault(NO_CALL, str(error))]


def _promises_of(nx_graph: Any, site: Site | str) -> dict[Hashable, Any]:
    raise_first(faults_of(nx_graph))
    return _Maker(nx_graph, site).made_all()


class _Maker:
    """Makes a promise of every node, inputs first."""

    def __init__(self, nx_graph: Any, site: Site | str) -> None:
        self.nx_graph, self.site = nx_graph, site
        self.made: dict[Hashable, Any] = {}
        self._contracts: dict[tuple[int, bool], Contract] = {}  # by the function's id: `nx_graph` keeps it alive
        self._scopes = Scopes(list(nx_graph.graph.get("scopes", ())))

    def made_all(self) -> dict[Hashable, Any]:
        """Make them; return them in the order of the nodes."""
        nx_graph, made = self.nx_graph, self.made
        for node in in_order(described_nodes(nx_graph))[0]:
            made[node] = self._promise(node)
        self._scopes.enclose(made)
        callbacks = ((made[node], map(made.get, nx_graph.predecessors(node))) for node in callbacks_of(nx_graph))
        self._scopes.hang(callbacks, [made[node] for node in outputs_of(nx_graph)])
        return {node: made[node] for node in nx_graph}

    def _promise(self, node: Hashable) -> Any:
        said, made = self.nx_graph.nodes[node], self.made
        if "external" in said:
            return said["external"]
        if "failure_of" in said:
            return self._scopes.failure_of(said["failure_of"], node)
        call = call_of(self.nx_graph, node)
        leaves, ops = leaves_of(call.args, call.kwargs)
        leaves = [made[leaf.node] if isinstance(leaf, Input) else leaf for leaf in leaves]
        whole = put_together(ops, leaves)
        arguments, keywords = whole[: len(call.args)], dict(zip(call.kwargs, whole[len(call.args) :], strict=True))
        options, function = _options_of(node, said, call.function), plain(call.function)
        place = said.get("origin") or self.site
        self._contract(function, options).check(tuple(arguments), keywords, place)
        read = {id(leaf) for leaf in leaves}
        after = tuple(made[one] for one in self.nx_graph.predecessors(node) if id(made[one]) not in read)
        return build(function, arguments, keywords, options, place, after, self._scopes.at(said.get("scope", 0)))

    def _contract(self, function: Any, options: TaskOptions) -> Contract:
        known = self._contracts.get((id(function), options.bind))
        if known is None:
            known = self._contracts[id(function), options.bind] = Contract(function, bound=int(options.bind))
        return known


def _options_of(node: Hashable, said: Mapping[str, Any], function: Any) -> TaskOptions:
    """Return a node's options: those of its decorated function, then its own; and the name that it is given."""
    where, options = f"node {node!r}", said.get("options", {})
    if not isinstance(options, TaskOptions):
        options = changed(
            function._options_of_calls if isinstance(function, DelayedFunction) else DEFAULT, where, options
        )
    # An entry's number is no name; a node that a person named is called so.
    name = str(said.get("name", node))
    if options.name is None and name_of(plain(function)) != name:
        options = changed(options, where, {"name": name})
    return options
