"""What the tests of this floor share: all that a graph says; random workflows, and what they give if run directly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import networkx
from hypothesis import strategies as st

from lazygraph import Graph, delayed
from lazygraph.language.promise import Delayed
from lazygraph.planning.exchange import Input


def columns(graph: Graph) -> Any:
    """All that a graph says."""
    shape = graph.shape
    sites = [shape.origin_of(at) for at in range(len(shape))]
    names = [shape.name_of(at) for at in range(len(shape))]
    numbers = [
        shape.option,
        shape.scope,
        shape.input_offsets,
        shape.inputs,
        shape.kinds,
        shape.outputs,
        shape.callbacks,
    ]
    return names, sites, list(map(list, numbers)), shape.options, shape.scopes


def mix(*args: Any, **kwargs: Any) -> Any:
    """A value that tells every argument apart, of bounded size."""
    return hash(("mix", repr(args), repr(sorted(kwargs.items()))))


def other(*args: Any) -> Any:
    """A second function."""
    return hash(("other", repr(args)))


FUNCTIONS = {
    "mix": delayed(mix),
    "other": delayed(other),
    "pure": delayed(mix, pure=True),
    "named": delayed(other, name="named", pure=True),
}
PLAIN = {"mix": mix, "other": other, "pure": mix, "named": other}
CONSTANTS = st.sampled_from([0, 1, True, 1.0, 0.0, -0.0, "a", None, (1,), (True,)])


@dataclass(frozen=True)
class Call:
    """A call of a function: numbers of earlier calls and constants, some nested in a list; constants may be wrapped."""

    function: str
    reads: tuple[int, ...]
    constants: tuple[Any, ...]
    nested: bool
    wrapped: bool = False


@dataclass(frozen=True)
class Workflow:
    """Calls, each reading earlier ones, and the numbers of those asked for."""

    calls: tuple[Call, ...]
    asked: tuple[int, ...]

    def promises(self) -> list[Delayed]:
        """Write it down with lazygraph."""
        made: list[Delayed] = []
        for call in self.calls:
            constants = map(delayed, call.constants) if call.wrapped else call.constants
            args: list[Any] = [*(made[read] for read in call.reads), *constants]
            made.append(FUNCTIONS[call.function](*([args] if call.nested else args)))
        return [made[at] for at in self.asked]

    def values(self) -> list[Any]:
        """Run it directly."""
        found: list[Any] = []
        for call in self.calls:
            args: list[Any] = [*(found[read] for read in call.reads), *call.constants]
            found.append(PLAIN[call.function](*([args] if call.nested else args)))
        return [found[at] for at in self.asked]


@st.composite
def workflows(draw: st.DrawFn, largest: int = 20, wrapped: bool = False) -> Workflow:
    """Any workflow: chains, fans, diamonds, calls made twice, outputs asked for twice or not at all.

    `wrapped`: some of its constants are wrapped.
    """
    calls: list[Call] = []
    for at in range(draw(st.integers(1, largest))):
        earlier = st.integers(max(0, at - 6), at - 1)
        reads = draw(st.lists(earlier, max_size=3)) if at else []
        constants = draw(st.lists(CONSTANTS, max_size=2))
        function = draw(st.sampled_from(sorted(FUNCTIONS)))
        calls.append(
            Call(function, tuple(reads), tuple(constants), draw(st.booleans()), wrapped and draw(st.booleans()))
        )
    asked = draw(st.lists(st.integers(0, len(calls) - 1), min_size=1, max_size=4))
    return Workflow(tuple(calls), tuple(asked))


def drawn(workflow: Workflow) -> Any:
    """Draw it with networkx, as a person would who knows of lazygraph only what attributes it reads."""
    graph = networkx.MultiDiGraph(outputs=[f"call {at}" for at in workflow.asked])
    for at, call in enumerate(workflow.calls):
        reads = [f"call {read}" for read in call.reads]
        args: list[Any] = [*map(Input, reads), *call.constants] if call.nested else [*call.constants]
        # What is not in a list has its place by the edge alone.
        graph.add_node(f"call {at}", function=PLAIN[call.function], args=[args] if call.nested else args, pos=(0, at))
        for place, read in enumerate(reads):
            graph.add_edge(read, f"call {at}", weight=1, **({} if call.nested else {"argument": place}))
    return graph
