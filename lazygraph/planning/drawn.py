"""What a networkx graph says, and what is wrong with it, before anything is made of it.

Attributes with names of ours are ours, and one that is nearly such a name, or the name of an option, is taken for a
slip.  All others (`pos`, `weight`, `color`) belong to whoever drew the graph.

Covers: attributes, calls as they are written, outputs, faults (planning.faults).
Does not cover: making promises of it (planning.exchange).
"""

from __future__ import annotations

import difflib
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from lazygraph.errors import InvalidOption
from lazygraph.language.canvas import Canvas
from lazygraph.language.delayed import DelayedFunction
from lazygraph.language.promise import is_lazy
from lazygraph.planning.faults import MISSING, NO_CALL, Fault, Told, in_order, unused
from lazygraph.values.node import Node, identity
from lazygraph.values.options import NAMES
from lazygraph.values.template import take_apart

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping, Sequence

    from lazygraph.values.template import Op

_CALLS = frozenset({"function", "value", "external", "failure_of"})
"""What a node can be; one of them says which."""
_NODE = _CALLS | {"name", "args", "kwargs", "options", "origin", "output", "callback", "scope"}
_EDGE = frozenset({"kind", "argument"})
_GRAPH = frozenset({"outputs", "scopes"})
_KINDS = ("data", "order")
_NEAR = 0.8
"""So alike are two names of which one may be a slip for the other (a ratio of difflib)."""


class Input(NamedTuple):
    """Stands among the arguments of a node for the value of another node."""

    node: Hashable


class Call(NamedTuple):
    """A node as it is written: what is called, and its arguments with `Input` in them."""

    function: Any
    args: list[Any]
    kwargs: dict[str, Any]


def described_nodes(nx_graph: Any) -> dict[Hashable, Told]:
    """Return what each node reads or waits for."""
    return {
        node: Told([*nx_graph.predecessors(node)], str(said.get("origin", "")))
        for node, said in nx_graph.nodes(data=True)
    }


def faults_of(nx_graph: Any) -> list[Fault]:
    """Return what is wrong with the edges of a networkx graph and with what its nodes say; see planning.faults."""
    if not callable(getattr(nx_graph, "is_directed", None)):
        return [Fault(NO_CALL, f"{type(nx_graph).__name__} is no networkx graph")]
    if not nx_graph.is_directed():
        message = "an undirected graph does not say which node reads which; use networkx.DiGraph"
        return [Fault(NO_CALL, message)]
    told = described_nodes(nx_graph)
    _, cycles = in_order(told)
    calls = [fault for node in nx_graph for fault in _faults_at(nx_graph, node)]
    # Where no output is named, all that nothing reads is one: then everything is needed.
    named = any(said.get("output") for _, said in nx_graph.nodes(data=True))
    spare = unused(told, [*outputs_of(nx_graph), *callbacks_of(nx_graph)]) if named else []
    return [*_faults_of_outputs(nx_graph), *cycles, *calls, *spare]


def outputs_of(nx_graph: Any) -> list[Hashable]:
    """Return the outputs in their order.

    They are the nodes in the graph's list `outputs`, as far as they are (still) there and none says `output=False`;
    then those that say `output=True`; where there are none, all that nothing reads.
    """
    asked = [node for node in nx_graph.graph.get("outputs", ()) if nx_graph.nodes.get(node, _GONE).get("output", True)]
    known = set(asked)
    asked += [node for node, said in nx_graph.nodes(data=True) if said.get("output") and node not in known]
    callbacks = set(callbacks_of(nx_graph))
    return asked or [node for node in nx_graph if not nx_graph.out_degree(node) and node not in callbacks]


_GONE = {"output": False}


def callbacks_of(nx_graph: Any) -> list[Hashable]:
    """Return the nodes that run although nobody waits for them."""
    return [node for node, said in nx_graph.nodes(data=True) if said.get("callback")]


def leaves_of(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[list[Any], list[Op]]:
    """Take the arguments of a call apart; each `Input` is a leaf of its own."""
    return take_apart([*args, *kwargs.values()], lambda value: is_lazy(value) or isinstance(value, Input))


# -- calls -----------------------------------------------------------------------------------------


def call_of(nx_graph: Any, node: Hashable) -> Call:
    """Return a node's call: its own arguments, and those that edges claim a position or a name for.

    Edges with `argument=2` or `argument="name"` take that place, and `args` what is left between them.  A node without
    `args`, `kwargs` and such edges is called with its predecessors.  Raises `InvalidOption` for claims that cannot be.
    """
    said = nx_graph.nodes[node]
    if "function" not in said:
        return Call(identity, [said["value"]], {})
    edges = list(nx_graph.in_edges(node, data=True))
    claims = [(edge["argument"], other) for other, _, edge in edges if "argument" in edge]
    args, kwargs = said.get("args"), dict(said.get("kwargs") or {})
    if args is None:
        plain = [] if kwargs or claims else [other for other, _, edge in edges if edge.get("kind") != "order"]
        args = tuple(map(Input, plain))
    positions: dict[int, Input] = {}
    for place, other in claims:
        target: dict[Any, Any] = positions if isinstance(place, int) else kwargs
        if place in target:
            raise InvalidOption(f"node {node!r} is given argument {place!r} more than once, one time by {other!r}")
        target[place] = Input(other)
    count = len(args) + len(positions)
    for place in positions:
        if not 0 <= place < count:
            raise InvalidOption(f"node {node!r} has an edge for argument {place}, but only {count} arguments")
    rest = iter(args)
    return Call(said["function"], [positions[at] if at in positions else next(rest) for at in range(count)], kwargs)


# -- faults ----------------------------------------------------------------------------------------


def _faults_of_outputs(nx_graph: Any) -> Iterator[Fault]:
    for name in nx_graph.graph:
        if _slip_for(name, _GRAPH):
            yield Fault(NO_CALL, _slip("the graph", name, _GRAPH))
    named = list(nx_graph.graph.get("outputs", ()))
    if named and not any(node in nx_graph for node in named):
        yield Fault(MISSING, f"the outputs name node {named[0]!r}, and there is no such node")


def _faults_at(nx_graph: Any, node: Hashable) -> Iterator[Fault]:
    said = nx_graph.nodes[node]
    where, origin = f"node {node!r}", str(said.get("origin", ""))
    for message in (*_slips_of(where, said), *_edges_of(nx_graph, node)):
        yield Fault(NO_CALL, message, str(node), origin)
    kinds = sorted(_CALLS & set(said))
    if not kinds:
        readers = list(nx_graph.successors(node))
        # An edge makes the nodes that it names: one that was never added is most likely a slip.
        why = f"; {readers[0]!r} reads it" if readers else ""
        message = f"{where} has neither a function nor a value{why}; add_node({node!r}, function=...)"
        yield Fault(MISSING if readers else NO_CALL, message, str(node), origin)
        return
    if len(kinds) > 1:
        yield Fault(NO_CALL, f"{where} has {' and '.join(kinds)}, and can be only one of them", str(node), origin)
        return
    if "function" in said and (why := _no_function(said["function"])):
        yield Fault(NO_CALL, f"{where}: function={said['function']!r} {why}", str(node), origin)
        return
    if "value" in said and ("args" in said or "kwargs" in said):
        yield Fault(NO_CALL, f"{where} has arguments and a value; give it a function, or leave them out", str(node))
    yield from _missing_inputs(nx_graph, node, origin)


def _missing_inputs(nx_graph: Any, node: Hashable, origin: str) -> Iterator[Fault]:
    said = nx_graph.nodes[node]
    args, kwargs = said.get("args") or (), said.get("kwargs") or {}
    for leaf in leaves_of([said.get("value"), *args], kwargs)[0]:
        if isinstance(leaf, Input) and not nx_graph.has_edge(leaf.node, node):
            message = f"node {node!r} reads {leaf.node!r}, but no edge leads from there to it"
            yield Fault(MISSING, message, str(node), origin)


def _no_function(function: Any) -> str:
    """Return why something cannot be the function of a node, or nothing when it can."""
    if isinstance(function, DelayedFunction):
        return ""
    if isinstance(function, Canvas):
        return "is a canvas; give the function it is made of, and what it is called with as args="
    if isinstance(function, Node):
        return "is a promise of a value; give it as value="
    return "" if callable(function) else "cannot be called"


def _edges_of(nx_graph: Any, node: Hashable) -> Iterator[str]:
    """Yield what is wrong with what the edges to a node say."""
    for other, _, edge in nx_graph.in_edges(node, data=True):
        where = f"the edge from {other!r} to {node!r}"
        yield from (_slip(where, name, _EDGE) for name in edge if _slip_for(name, _EDGE))
        if edge.get("kind", "data") not in _KINDS:
            yield f"{where} has kind={edge['kind']!r}: 'data' or 'order' is wanted"
        place = edge.get("argument", 0)
        if not isinstance(place, int | str) or isinstance(place, bool):
            yield f"{where} has argument={place!r}: a position or a name is wanted"


def _slips_of(where: str, said: Mapping[Any, Any]) -> Iterator[str]:
    """Yield a sentence for every attribute of a node that is most likely meant for us and would pass unread."""
    for name in said:
        if name in NAMES and name not in _NODE:
            yield f"{where} has {name!r}, which is an option; write options={{{name!r}: {said[name]!r}}}"
        elif _slip_for(name, _NODE):
            yield _slip(where, name, _NODE)


@lru_cache(maxsize=1024)  # the same few names at every node
def _slip_for(name: Any, known: frozenset[str]) -> str:
    """Return the name of ours that another one is nearly, or nothing: then that one is the user's."""
    if not isinstance(name, str) or name in known:
        return ""
    # "func" and "arg" are short for names of ours, and no more alike to them than many other words.
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=_NEAR)
    return near[0] if near else next((one for one in sorted(known) if len(name) > 2 and one.startswith(name)), "")


def _slip(where: str, name: str, known: frozenset[str]) -> str:
    meant = _slip_for(name, known)
    return (
        f"{where} has {name!r}, which means nothing here; did you mean {meant!r}? Data of your own needs another name"
    )
