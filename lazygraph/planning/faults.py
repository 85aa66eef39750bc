"""What is wrong with a description of a graph that came from outside: networkx, JSON.

Such a description names its nodes and says what each reads; nothing keeps it from having a cycle or from naming what is
not there.  All faults are found, not only the first.

Covers: cycles, missing inputs, nodes that no output needs, in which order to read the rest.
Does not cover: what a node says of its call (planning.exchange, planning.reading).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lazygraph.errors import CyclicGraph, InvalidOption

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence

CYCLE, MISSING, UNUSED, NO_CALL = "cycle", "missing input", "unused node", "no call"
"""Kinds of faults."""


class Fault(NamedTuple):
    """One thing that is wrong with a description; `cycle` are the names along it."""

    kind: str
    message: str
    node: str = ""
    origin: str = ""
    cycle: tuple[str, ...] = ()

    def error(self) -> CyclicGraph | InvalidOption:
        """Return the exception that says the same."""
        return CyclicGraph(self.cycle) if self.kind == CYCLE else InvalidOption(self.message)


class Told(NamedTuple):
    """What a description says of one node: what it reads or waits for, and where it was written."""

    reads: Collection[Hashable]
    origin: str = ""


def missing_inputs(told: Mapping[Hashable, Told]) -> list[Fault]:
    """Return a fault for every input that is not there."""
    return [
        Fault(
            MISSING,
            f"{_called(node, one.origin)} reads {read!r}, and there is no such node; add it, or correct the name",
            str(node),
            one.origin,
        )
        for node, one in told.items()
        for read in one.reads
        if read not in told
    ]


def in_order(told: Mapping[Hashable, Told]) -> tuple[list[Hashable], list[Fault]]:
    """Return the nodes, inputs first, as far as they can be ordered, and a fault for a cycle.  O(V + E)."""
    waits = {node: sum(read in told for read in set(one.reads)) for node, one in told.items()}
    readers: dict[Hashable, list[Hashable]] = {node: [] for node in told}
    for node, one in told.items():
        for read in dict.fromkeys(one.reads):
            if read in told:
                readers[read].append(node)
    order = [node for node, count in waits.items() if not count]
    for node in order:  # grows
        for reader in readers[node]:
            waits[reader] -= 1
            if not waits[reader]:
                order.append(reader)
    if len(order) == len(told):
        return order, []
    stuck = {node for node, count in waits.items() if count}
    names = tuple(map(str, _cycle_among(told, stuck)))
    message = f"the graph has a cycle: {' -> '.join(names)}; take out one of its edges, a task cannot wait for itself"
    return order, [Fault(CYCLE, message, names[0], cycle=names)]


def _cycle_among(told: Mapping[Hashable, Told], stuck: Collection[Hashable]) -> list[Hashable]:
    """Return a cycle, first and last the same, in the direction of the edges: backwards along what nodes wait for."""
    node = next(node for node in told if node in stuck)
    at: dict[Hashable, int] = {}
    path: list[Hashable] = []
    while node not in at:
        at[node] = len(path)
        path.append(node)
        node = next(read for read in told[node].reads if read in stuck)
    cycle = path[at[node] :][::-1]
    members = set(cycle)
    first = cycle.index(next(node for node in told if node in members))
    return [*cycle[first:], *cycle[: first + 1]]


def unused(told: Mapping[Hashable, Told], outputs: Iterable[Hashable]) -> list[Fault]:
    """Return a fault for every node that no output needs."""
    needed: set[Hashable] = set()
    waiting: list[Hashable] = [output for output in outputs if output in told]
    while waiting:
        node = waiting.pop()
        if node not in needed:
            needed.add(node)
            waiting.extend(read for read in told[node].reads if read in told)
    return [
        Fault(
            UNUSED,
            f"{_called(node, one.origin)}: no output needs this node; remove it, or make it an output",
            str(node),
            one.origin,
        )
        for node, one in told.items()
        if node not in needed
    ]


def _called(node: Hashable, origin: str) -> str:
    return f"node {str(node)!r} ({origin})" if origin else f"node {str(node)!r}"


def raise_first(faults: Sequence[Fault]) -> None:
    """Raise the first fault that keeps a description from being a graph."""
    for fault in faults:
        if fault.kind != UNUSED:
            raise fault.error()
