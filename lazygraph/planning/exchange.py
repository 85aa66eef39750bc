"""Graphs from and to networkx.

In a networkx graph a node carries `function` and, if its call is not simply the values of its predecessors in the
order of their edges, `args` and `kwargs`, in which `Input(node)` stands for the value of another node.  A node with
`value` instead of `function` is that value.  A predecessor that no `Input` mentions is only waited for.

    g = networkx.DiGraph()
    g.add_node("a", value=20)
    g.add_node("b", function=operator.add, args=(Input("a"), 1))
    g.add_edge("a", "b")
    promises_of(g)["b"].compute()       # 21

Covers: both directions.
Does not cover: drawing (showing), analysing (networkx does).
"""

from __future__ import annotations

import sys
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, NamedTuple

from lazygraph.errors import CyclicGraph, InvalidOption
from lazygraph.language.calls import name_of, site_of
from lazygraph.language.promise import build, is_lazy
from lazygraph.planning.lower import function_of, lower
from lazygraph.values.graph import ORDER
from lazygraph.values.node import identity
from lazygraph.values.options import DEFAULT, TaskOptions, changed
from lazygraph.values.template import put_together, take_apart

if TYPE_CHECKING:
    from lazygraph.values.graph import Graph
    from lazygraph.values.node import Site


class Input(NamedTuple):
    """Stands among the arguments of a node for the value of another node."""

    node: Hashable


def to_networkx(graph: Graph) -> Any:
    """Return a `networkx.DiGraph` that says what `graph` says; its nodes are the graph's entries, by number.

    Node attributes: `name`, `function`, `args`, `kwargs`, `options`, `origin`, `output` (externals: `external`); edges
    have `kind`, "data" or "order".
    """
    import networkx  # heavy, and only those who exchange graphs have a use for it

    shape, outputs = graph.shape, set(graph.shape.outputs)
    nx_graph = networkx.DiGraph()
    for at, external in enumerate(graph.externals):
        nx_graph.add_node(at, name=shape.name_of(at), external=external, output=at in outputs)
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
        )
    for (read, at), kind in zip(graph.edges(), shape.kinds, strict=True):
        nx_graph.add_edge(read, at, kind="order" if kind == ORDER else "data")
    return nx_graph


def _call_of(graph: Graph, at: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
    shape, tables = graph.shape, graph.tables
    reads = shape.inputs_of(at)
    numbers = shape.arguments[shape.argument_offsets[at] : shape.argument_offsets[at + 1]]
    leaves = [Input(reads[n]) if n >= 0 else tables.constants[~n] for n in numbers]
    template = tables.templates[shape.template[at]]
    if template is None:
        return tuple(leaves), {}
    whole = put_together(template.ops, leaves)
    positional = template.positional
    return tuple(whole[:positional]), dict(zip(template.keywords, whole[positional:], strict=True))


def from_networkx(nx_graph: Any) -> Graph:
    """Return the graph that a directed networkx graph describes (see the module).

    Its outputs are the nodes with `output=True`, or, where no node says so, those that nothing reads; both in the
    order in which the nodes were added.  Raises `CyclicGraph` naming a cycle, `InvalidOption` for what is no call.
    """
    made = _promises_of(nx_graph, site_of(sys._getframe(1)))
    asked = [node for node, said in nx_graph.nodes(data=True) if said.get("output")]
    return lower([made[node] for node in asked or [node for node in nx_graph if not nx_graph.out_degree(node)]])


def promises_of(nx_graph: Any) -> dict[Hashable, Any]:
    """Return a promise for every node of a directed networkx graph (see the module).

    Raises `CyclicGraph` naming a cycle, `InvalidOption` for what is no call.
    """
    return _promises_of(nx_graph, site_of(sys._getframe(1)))


def _promises_of(nx_graph: Any, site: Site) -> dict[Hashable, Any]:
    import networkx  # as above

    if not nx_graph.is_directed():
        raise InvalidOption("an undirected graph does not say which node reads which; use networkx.DiGraph")
    made: dict[Hashable, Any] = {}
    try:
        for node in networkx.topological_sort(nx_graph):
            made[node] = _promise_of(nx_graph, node, made, site)
    except networkx.NetworkXUnfeasible:
        cycle = [edge[0] for edge in networkx.find_cycle(nx_graph)]
        raise CyclicGraph([str(node) for node in (*cycle, cycle[0])]) from None
    return made


def _promise_of(nx_graph: Any, node: Hashable, made: dict[Hashable, Any], site: Site) -> Any:
    said = nx_graph.nodes[node]
    if "external" in said:
        return said["external"]
    place = said.get("origin") or site
    before = list(nx_graph.predecessors(node))
    waited = [made[other] for other in before]
    if "function" not in said:
        if "value" not in said:
            raise InvalidOption(f"node {node!r} has neither a function nor a value; add_node({node!r}, function=...)")
        return build(identity, (said["value"],), {}, TaskOptions(name=str(node)), place, tuple(waited))
    args, kwargs = said.get("args"), said.get("kwargs", {})
    if args is None:
        args = () if kwargs else tuple(map(Input, before))
    leaves, ops = take_apart([*args, *kwargs.values()], lambda value: is_lazy(value) or isinstance(value, Input))
    for at, leaf in enumerate(leaves):
        if isinstance(leaf, Input):
            if leaf.node not in before:
                raise InvalidOption(f"node {node!r} reads {leaf.node!r}, but no edge leads from there to it")
            leaves[at] = made[leaf.node]
    whole = put_together(ops, leaves)
    read = {id(leaf) for leaf in leaves}
    after = tuple(other for other in waited if id(other) not in read)
    arguments, keywords = whole[: len(args)], dict(zip(kwargs, whole[len(args) :], strict=True))
    return build(said["function"], arguments, keywords, _options_of(node, said), place, after)


def _options_of(node: Hashable, said: dict[str, Any]) -> TaskOptions:
    options = said.get("options", DEFAULT)
    if not isinstance(options, TaskOptions):
        options = changed(DEFAULT, f"node {node!r}", options)
    # An entry's number is no name; a node that a person named is called so.
    if options.name is None and "name" not in said and name_of(said["function"]) != str(node):
        options = changed(options, f"node {node!r}", {"name": str(node)})
    return options
