"""Graphs from and to networkx.

In a networkx graph a node carries `function` and, if its call is not simply the values of its predecessors in the
order of their edges, `args` and `kwargs`, in which `Input(node)` stands for the value of another node.  A node with
`value` instead of `function` is that value.  An edge may claim a place among the arguments itself, `argument=0` or
`argument="name"`; a predecessor that nothing mentions is only waited for.

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
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from lazygraph.errors import InvalidOption, LazyGraphError
from lazygraph.language.calls import Contract, name_of, site_of
from lazygraph.language.promise import Delayed, build, is_lazy
from lazygraph.planning.faults import MISSING, NO_CALL, UNUSED, Fault, Told, in_order, raise_first, unused
from lazygraph.planning.lower import function_of, lower
from lazygraph.values.graph import ORDER
from lazygraph.values.node import Caught, Quoted, identity
from lazygraph.values.options import DEFAULT, TaskOptions, changed
from lazygraph.values.template import PLAIN, put_together, take_apart

if TYPE_CHECKING:
    from lazygraph.values.graph import Graph
    from lazygraph.values.node import Site
    from lazygraph.values.template import Op


class Input(NamedTuple):
    """Stands among the arguments of a node for the value of another node."""

    node: Hashable


def to_networkx(graph: Graph) -> Any:
    """Return a `networkx.DiGraph` that says what `graph` says; its nodes are the graph's entries, by number.

    Node attributes: `name`, `function`, `args`, `kwargs`, `options`, `origin`, `output`, `callback` (externals:
    `external`); edges have `kind`, "data" or "order"; the graph has `outputs`, which says their order.
    """
    import networkx  # heavy, and only those who exchange graphs have a use for it

    shape, outputs, callbacks = graph.shape, set(graph.shape.outputs), set(graph.shape.callbacks)
    nx_graph = networkx.DiGraph(outputs=list(shape.outputs))
    for at, external in enumerate(graph.externals):
        name = "failure" if isinstance(external, Caught) else shape.name_of(at)
        nx_graph.add_node(at, name=name, external=external, output=at in outputs)
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
    Raises `CyclicGraph` naming a cycle, `InvalidOption` for what is no call.
    """
    made = _promises_of(nx_graph, site or site_of(sys._getframe(1)))
    return lower([made[node] for node in _outputs_of(nx_graph)])


def promises_of(nx_graph: Any) -> dict[Hashable, Any]:
    """Return a promise for every node of a directed networkx graph (see the module).

    Raises `CyclicGraph` naming a cycle, `InvalidOption` for what is no call.
    """
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


def faults_of(nx_graph: Any) -> list[Fault]:
    """Return what is wrong with the edges of a networkx graph and with what its nodes say; see planning.faults."""
    if not nx_graph.is_directed():
        message = "an undirected graph does not say which node reads which; use networkx.DiGraph"
        return [Fault(NO_CALL, message)]
    told = {
        node: Told([*nx_graph.predecessors(node)], str(said.get("origin", "")))
        for node, said in nx_graph.nodes(data=True)
    }
    _, cycles = in_order(told)
    calls = [fault for node in nx_graph for fault in _faults_at(nx_graph, node)]
    # Where no output is named, all that nothing reads is one: then everything is needed.
    named = any(said.get("output") for _, said in nx_graph.nodes(data=True))
    spare = unused(told, [*_outputs_of(nx_graph), *_callbacks_of(nx_graph)]) if named else []
    return [*cycles, *calls, *spare]


def _faults_at(nx_graph: Any, node: Hashable) -> Iterator[Fault]:
    said = nx_graph.nodes[node]
    if not {"function", "value", "external"} & set(said):
        readers = list(nx_graph.successors(node))
        # An edge makes the nodes that it names: one that was never added is most likely a slip.
        why = f"; {readers[0]!r} reads it" if readers else ""
        message = f"node {node!r} has neither a function nor a value{why}; add_node({node!r}, function=...)"
        yield Fault(MISSING if readers else NO_CALL, message, str(node))
        return
    if "function" in said and not callable(said["function"]):
        message = f"node {node!r}: function={said['function']!r} cannot be called"
        yield Fault(NO_CALL, message, str(node))
    for leaf in _leaves_of(said.get("args") or (), said.get("kwargs") or {})[0]:
        if isinstance(leaf, Input) and not nx_graph.has_edge(leaf.node, node):
            message = f"node {node!r} reads {leaf.node!r}, but no edge leads from there to it"
            yield Fault(MISSING, message, str(node), str(said.get("origin", "")))


def _outputs_of(nx_graph: Any) -> list[Hashable]:
    asked = [node for node in nx_graph.graph.get("outputs", ()) if nx_graph.nodes.get(node, {}).get("output")]
    known = set(asked)
    asked += [node for node, said in nx_graph.nodes(data=True) if said.get("output") and node not in known]
    callbacks = set(_callbacks_of(nx_graph))
    return asked or [node for node in nx_graph if not nx_graph.out_degree(node) and node not in callbacks]


def _callbacks_of(nx_graph: Any) -> list[Hashable]:
    return [node for node, said in nx_graph.nodes(data=True) if said.get("callback")]


def _leaves_of(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[list[Any], list[Op]]:
    return take_apart([*args, *kwargs.values()], lambda value: is_lazy(value) or isinstance(value, Input))


def _promises_of(nx_graph: Any, site: Site | str) -> dict[Hashable, Any]:
    raise_first(faults_of(nx_graph))
    made: dict[Hashable, Any] = {}
    contracts: dict[tuple[int, bool], Contract] = {}  # by the function's id: `nx_graph` keeps it alive
    order, _ = in_order({node: Told(list(nx_graph.predecessors(node))) for node in nx_graph})
    for node in order:
        made[node] = _promise_of(nx_graph, node, made, contracts, site)
    # Callbacks hang on any node that is needed, in their order.
    anchor = next((made[node] for node in _outputs_of(nx_graph) if isinstance(made[node], Delayed)), None)
    if anchor is not None:
        anchor._links += tuple(made[node] for node in _callbacks_of(nx_graph))
    return {node: made[node] for node in nx_graph}


def _promise_of(
    nx_graph: Any,
    node: Hashable,
    made: Mapping[Hashable, Any],
    contracts: dict[tuple[int, bool], Contract],
    site: Site | str,
) -> Any:
    said = nx_graph.nodes[node]
    if isinstance(said.get("external"), Caught):
        raise InvalidOption(
            "a networkx graph cannot say which nodes a handler of failures answers for; "
            "exchange a canvas with link_error by to_json() and from_json()"
        )
    if "external" in said:
        return said["external"]
    place = said.get("origin") or site
    before = list(nx_graph.predecessors(node))
    waited = [made[other] for other in before]
    if "function" not in said:
        return build(identity, (said["value"],), {}, TaskOptions(name=str(node)), place, tuple(waited))
    args, kwargs = _written(nx_graph, node, before)
    leaves, ops = _leaves_of(args, kwargs)
    for at, leaf in enumerate(leaves):
        if isinstance(leaf, Input):
            leaves[at] = made[leaf.node]
    whole = put_together(ops, leaves)
    read = {id(leaf) for leaf in leaves}
    after = tuple(other for other in waited if id(other) not in read)
    arguments, keywords = whole[: len(args)], dict(zip(kwargs, whole[len(args) :], strict=True))
    options = _options_of(node, said)
    function = said["function"]
    contract = contracts.get((id(function), options.bind))
    if contract is None:
        contract = contracts[id(function), options.bind] = Contract(function, bound=int(options.bind))
    contract.check(tuple(arguments), keywords, place)
    return build(function, arguments, keywords, options, place, after)


def _written(nx_graph: Any, node: Hashable, before: list[Hashable]) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments of a call: its own, and those that edges claim a position or a name for.

    Edges with `argument=2` or `argument="name"` take that place, and `args` what is left between them.  A node without
    `args`, `kwargs` and such edges is called with its predecessors.
    """
    said, edges = nx_graph.nodes[node], nx_graph.pred[node]
    claims = {other: edges[other]["argument"] for other in before if "argument" in edges[other]}
    args, kwargs = said.get("args"), dict(said.get("kwargs") or {})
    if args is None:
        plain = [] if kwargs or claims else [other for other in before if edges[other].get("kind") != "order"]
        args = tuple(map(Input, plain))
    positions = {claim: Input(other) for other, claim in claims.items() if isinstance(claim, int)}
    kwargs.update({claim: Input(other) for other, claim in claims.items() if not isinstance(claim, int)})
    rest = iter(args)
    count = len(args) + len(positions)
    if any(not 0 <= position < count for position in positions):
        raise InvalidOption(f"node {node!r} has an edge for argument {max(positions)}, but only {count} arguments")
    return [positions[at] if at in positions else next(rest) for at in range(count)], kwargs


def _options_of(node: Hashable, said: dict[str, Any]) -> TaskOptions:
    options = said.get("options", DEFAULT)
    if not isinstance(options, TaskOptions):
        options = changed(DEFAULT, f"node {node!r}", options)
    # An entry's number is no name; a node that a person named is called so.
    if options.name is None and "name" not in said and name_of(said["function"]) != str(node):
        options = changed(options, f"node {node!r}", {"name": str(node)})
    return options
