"""The plan: a graph that is ready to travel and to run.

Positions are ranks: of the tasks that may run, the lowest number goes first.

Covers: sealing, and what a plan asks of an executor.
Does not cover: bytes on a wire (executors.cluster.net.codec).
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from lazygraph.errors import InvalidOption, suggest
from lazygraph.planning.caching import cached, has_cached
from lazygraph.planning.lower import lower
from lazygraph.planning.passes import Passes, optimize
from lazygraph.values.node import External, Node, identity
from lazygraph.values.options import LABELS
from lazygraph.values.verbs import PlanVerbs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lazygraph.planning.resuming import Resumed
    from lazygraph.values.graph import Change, Graph, Shape, Tables


class Need(NamedTuple):
    """An option that some node asks for: what, which node, where it was built."""

    option: str
    node: str
    origin: str


@dataclass(frozen=True, slots=True, eq=False)
class Plan(PlanVerbs):
    """What an executor runs.  `fail_fast`: the first failed output ends the run.

    It may run as often as one likes.  Of a graph that has wrapped values with names (`delayed(0, name="x")`),
    `graph.plan()` is a template: `inputs` says which constants those are, and `bind` puts others in their places.

    `skips`: what reads a node that has failed is said to be skipped.  `observed`: it is noted when each task began and
    ended, and where (running.observing).
    """

    shape: Shape
    tables: Tables
    externals: tuple[External, ...] = ()
    history: tuple[Change, ...] = ()
    name: str = ""
    fail_fast: bool = True
    skips: bool = False
    observed: bool = False
    inputs: Mapping[str, int] = field(default_factory=dict)

    def __repr__(self) -> str:
        named = f", inputs {', '.join(self.inputs)}" if self.inputs else ""
        return f"<Plan: {len(self)} nodes, {len(self.shape.outputs)} outputs{named}>"

    def bind(self, **values: Any) -> Plan:
        """Return this plan with other values under names that wrapped values were given; nothing is compiled again.

        Raises `InvalidOption` for a name that there is none of.
        """
        constants = list(self.tables.constants)
        for name, value in values.items():
            if name not in self.inputs:
                hint = suggest(name, self.inputs) or f"; it has {', '.join(sorted(self.inputs)) or 'none'}"
                raise InvalidOption(f"bind: no wrapped value of this plan is called {name!r}{hint}")
            if isinstance(value, Node | External):
                raise InvalidOption(f"bind({name}=...): {value!r} is lazy; a value is wanted")
            constants[self.inputs[name]] = value
        return replace(self, tables=replace(self.tables, constants=tuple(constants)))

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


def planned(graph: Graph, optimize_graph: Passes = True) -> Plan:
    """Return the plan of a graph, the same one when it has been made before; a template if it has named inputs.

    It may run more than once, so it looks for what is cached when it runs, and what is above that runs too.
    """
    if has_cached(graph):  # what a function reads may have changed since, and then its key is another
        return _template(seal(optimize(cached(graph, template=True), optimize_graph)))
    key = optimize_graph if isinstance(optimize_graph, bool) else tuple(optimize_graph)
    try:
        plan: Plan | None = graph.plans.get(key)
    except TypeError:  # a pass that cannot be hashed
        return _template(seal(optimize(graph, optimize_graph)))
    if plan is None:
        plan = graph.plans[key] = _template(seal(optimize(graph, optimize_graph)))
    return plan


def plan_of_graph(graph: Graph, optimize_graph: Passes = True, resumed: Resumed | None = None) -> Plan:
    """Return the plan of a graph that is to run once; what it has cached is looked for now."""
    if resumed is None and not has_cached(graph):
        return planned(graph, optimize_graph)
    return seal(optimize(cached(graph, resumed=resumed), optimize_graph))


def _template(plan: Plan) -> Plan:
    """Give each wrapped value that has a name a constant of its own: equal ones may share one."""
    shape, tables = plan.shape, plan.tables
    rows = {row for row, function in enumerate(tables.functions) if function is identity}
    named = [at for at in range(shape.externals, len(shape)) if shape.function[at] in rows] if rows else []
    arguments, constants, inputs = array("i", shape.arguments), list(tables.constants), dict[str, int]()
    for at in named:
        name, first = shape.options[shape.option[at]].key, shape.argument_offsets[at]
        if name is not None and not len(shape.inputs_of(at)) and shape.argument_offsets[at + 1] == first + 1:
            inputs[name] = len(constants)
            constants.append(constants[~arguments[first]])
            arguments[first] = ~inputs[name]
    if not inputs:
        return plan
    tables = replace(tables, constants=tuple(constants))
    return replace(plan, shape=replace(shape, arguments=arguments), tables=tables, inputs=inputs)


def seal(graph: Graph, name: str = "", fail_fast: bool = True, skips: bool = False) -> Plan:
    """Return the plan of a graph."""
    return Plan(graph.shape, graph.tables, graph.externals, graph.history, name, fail_fast, skips)


def plan_of(
    outputs: Sequence[Node | External],
    *,
    held: Mapping[External, Any] | None = None,
    optimize_graph: Passes = True,
    name: str = "",
    fail_fast: bool = True,
    skips: bool = False,
    resumed: Resumed | None = None,
) -> Plan:
    """Lower, optimize and seal.  `held` gives the values of externals that go in as constants."""
    graph = cached(lower(outputs, held), resumed=resumed)
    return seal(optimize(graph, optimize_graph), name, fail_fast, skips)
