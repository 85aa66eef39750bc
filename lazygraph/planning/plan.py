"""The plan: a graph that is ready to travel and to run.

Positions are ranks: of the tasks that may run, the lowest number goes first.

Covers: sealing, and what a plan asks of an executor.
Does not cover: bytes on a wire (executors.cluster.net.codec).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from lazygraph.planning.lower import lower
from lazygraph.planning.optimize import optimize
from lazygraph.values.options import LABELS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lazygraph.values.graph import Change, Graph, Shape, Tables
    from lazygraph.values.node import External, Node


class Need(NamedTuple):
    """An option that some node asks for: what, which node, where it was built."""

    option: str
    node: str
    origin: str


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What an executor runs.  `fail_fast`: the first failed output ends the run.

    `skips`: what reads a node that has failed is said to be skipped.
    """

    shape: Shape
    tables: Tables
    externals: tuple[External, ...] = ()
    history: tuple[Change, ...] = ()
    name: str = ""
    fail_fast: bool = True
    skips: bool = False

    def __len__(self) -> int:
        """The number of tasks."""
        return len(self.shape) - self.shape.externals

    def needs(self) -> list[Need]:
        """Return each option that some node asks for, with the first such node."""
        shape = self.shape
        found: list[Need] = []
        rows = {row: [name for name in o.asked() if name not in LABELS] for row, o in enumerate(shape.options)}
        asking = {row: names for row, names in rows.items() if names}
        if not asking:
            return found
        seen: set[str] = set()
        for at in range(shape.externals, len(shape)):
            for name in asking.get(shape.option[at], ()):
                if name not in seen:
                    seen.add(name)
                    found.append(Need(name, shape.name_of(at), shape.origin_of(at)))
        return found


def seal(graph: Graph, name: str = "", fail_fast: bool = True, skips: bool = False) -> Plan:
    """Return the plan of a graph."""
    return Plan(graph.shape, graph.tables, graph.externals, graph.history, name, fail_fast, skips)


def plan_of(
    outputs: Sequence[Node | External],
    *,
    held: Mapping[External, Any] | None = None,
    optimize_graph: bool = True,
    name: str = "",
    fail_fast: bool = True,
    skips: bool = False,
) -> Plan:
    """Lower, optimize and seal.  `held` gives the values of externals that go in as constants."""
    graph = lower(outputs, held)
    return seal(optimize(graph) if optimize_graph else graph, name, fail_fast, skips)
