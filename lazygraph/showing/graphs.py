"""What a graph looks like to those who draw and measure: boxes and arrows, figures.

The failure that a scope hands to whoever asked for it is no box: an arrow leads from where the scope ends to them.

Covers: from a graph to a `Picture`, a `Profile`, and what an executor will make of it.
Does not cover: drawing (showing.draw), measuring (showing.explain), what there are samples of (showing.estimating).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from lazygraph.showing.estimating import estimate
from lazygraph.showing.explain import Fate, Use, profile
from lazygraph.showing.picture import Arrow, Box, Picture
from lazygraph.values.graph import ORDER, Fused, consumers_of, offsets_of
from lazygraph.values.options import LABELS

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Sequence

    from lazygraph.planning.caching import Verdict
    from lazygraph.showing.estimating import Estimate, Samples
    from lazygraph.showing.explain import Profile
    from lazygraph.showing.picture import BoxKind
    from lazygraph.values.graph import Graph, Shape


def picture_of(graph: Graph) -> Picture:
    """Return a graph's boxes and arrows; what runs only on failure hangs on arrows of its own kind."""
    shape = graph.shape
    outputs, catches = set(shape.outputs), shape.catches
    shown = [at for at in range(len(shape)) if at not in catches]
    place = {at: number for number, at in enumerate(shown)}
    boxes = tuple(Box(shape.name_of(at), _kind(graph, at, outputs), shape.origin_of(at)) for at in shown)
    arrows = [
        Arrow(place[read], place[at], "order" if kind == ORDER else "data")
        for (read, at), kind in zip(graph.edges(), shape.kinds, strict=True)
        if read not in catches
    ]
    arrows += [Arrow(place[source], place[target], "failure") for source, target in _failures(shape)]
    return Picture(boxes, tuple(arrows))


def _kind(graph: Graph, at: int, outputs: Container[int]) -> BoxKind:
    if at < graph.shape.externals:
        return "external"
    if at in outputs:
        return "output"
    return "fused" if isinstance(graph.tables.functions[graph.shape.function[at]], Fused) else "task"


def _failures(shape: Shape) -> Iterator[tuple[int, int]]:
    """Yield (a node with which a scope ends, whoever is told when the scope fails)."""
    if not shape.catches:
        return
    told: dict[int, list[int]] = {row: [] for row in shape.catches.values()}
    for at in range(shape.externals, len(shape)):
        reads = [read for read in shape.inputs_of(at) if read in shape.catches]
        # Of what runs only then, those that wait for nothing else that runs only then.
        if reads and not any(_runs_on_failure(shape, read) for read in shape.inputs_of(at) if read not in reads):
            for read in reads:
                told[shape.catches[read]].append(at)
    for source, row in _ends_of_scopes(shape):
        yield from ((source, target) for target in told.get(row, ()))


def _ends_of_scopes(shape: Shape) -> Iterator[tuple[int, int]]:
    """Yield (entry, row) for each scope that ends with an entry: none of its readers is in the scope too."""
    given: dict[int, list[int]] = {}
    for row, scope in enumerate(shape.scopes):
        for at in scope.given:
            given.setdefault(at, []).append(row)
    starts, consumers = consumers_of(shape)
    for at in range(shape.externals, len(shape)):
        readers = consumers[starts[at] : starts[at + 1]]
        # Scopes are in each other: those of an entry that hold a reader too are the outer ones.
        shared = {row for reader in readers for row in (shape.scope[reader], *given.get(reader, ()))}
        outer: set[int] | None = None
        for start in (shape.scope[at], *given.get(at, ())):
            row = start
            while row >= 0 and row not in shared:
                if outer is None:
                    outer = {above for one in shared for above in _chain(shape, one)}
                if row in outer:
                    break
                yield at, row
                row = shape.scopes[row].parent


def _chain(shape: Shape, row: int) -> Iterator[int]:
    while row >= 0:
        yield row
        row = shape.scopes[row].parent


def _runs_on_failure(shape: Shape, at: int) -> bool:
    return any(read in shape.catches for read in shape.inputs_of(at))


class _Kept(NamedTuple):
    """What is counted of a graph: entries, and what each reads, numbered anew."""

    entries: list[int]
    place: dict[int, int]
    apart: list[int]  # runs only on failure
    offsets: Sequence[int]
    inputs: list[int]


def _kept(shape: Shape) -> _Kept:
    catches = shape.catches
    apart = {at for at in range(len(shape)) if catches and _runs_on_failure(shape, at)}
    kept = [at for at in range(len(shape)) if at not in apart and at not in catches]
    place = {at: number for number, at in enumerate(kept)}
    reads = [[place[read] for read in shape.inputs_of(at)] for at in kept]
    return _Kept(
        kept, place, sorted(apart), offsets_of([len(each) for each in reads]), [read for each in reads for read in each]
    )


def profile_of(graph: Graph) -> Profile:
    """Return a graph's figures, without what runs only on failure: that is named apart."""
    shape, kept = graph.shape, _kept(graph.shape)
    return profile(
        len(kept.entries),
        kept.offsets,
        kept.inputs,
        [shape.name_of(at) for at in kept.entries],
        [kept.place[at] for at in shape.outputs],
        graph.history,
        [shape.name_of(at) for at in kept.apart],
        sum(at < shape.externals for at in kept.entries),
    )


def estimate_of(shape: Shape, functions: Sequence[str], samples: Samples, executor: str, slots: int) -> Estimate:
    """Return how long a graph may take, if all goes well; `functions` are the names of its functions, by row."""
    kept = _kept(shape)
    names = [shape.name_of(at) for at in kept.entries]
    called = [functions[shape.function[at]] if at >= shape.externals else None for at in kept.entries]
    return estimate(kept.offsets, kept.inputs, names, called, samples, executor, slots)


def uses_of(graph: Graph, target: Willing) -> tuple[Use, ...]:
    """Return what an executor will do about each option that tasks of a graph have."""
    shape = graph.shape
    nodes: dict[str, list[int]] = {}
    asked = [[option for option in row.asked() if option not in LABELS] for row in shape.options]
    for at in graph.tasks():
        for option in asked[shape.option[at]]:
            nodes.setdefault(option, []).append(at)
    found = []
    for option, having in nodes.items():
        who, sentence = target.about(option, shape.name_of(having[0]), shape.origin_of(having[0]))
        found.append(Use(option, len(having), who, sentence))
    return tuple(found)


def fates_of(verdicts: Iterable[Verdict]) -> tuple[Fate, ...]:
    """Return what `cache=` makes of nodes, those together that have one name and one fate; the cached ones first."""
    counts = Counter((verdict.fate, verdict.node, verdict.sentence) for verdict in verdicts)
    return tuple(Fate(node, count, sentence) for (_, node, sentence), count in sorted(counts.items()))


def held_back(shape: Shape) -> list[str]:
    """Return the names of tasks that options hold back: limits, rates, earliest starts."""
    rows = {row for row, options in enumerate(shape.options) if not _HOLDING.isdisjoint(options.asked())}
    found = [shape.name_of(at) for at in range(shape.externals, len(shape)) if shape.option[at] in rows] if rows else []
    return list(dict.fromkeys(found))


_HOLDING = frozenset({"rate_limit", "limit", "concurrency", "countdown", "eta"})


class Willing(NamedTuple):
    """What an executor will do about options: which it honours, which of them are seen to by whom.

    `refusal` gives the sentence with which it refuses an option of a node that was built at file:line.
    """

    name: str
    honoured: Container[str]
    by_lazygraph: Container[str]
    in_a_child: Container[str]
    refusal: Callable[[str, str, str], str]

    def about(self, option: str, node: str, origin: str) -> tuple[str, str]:
        """Return who sees to an option, and a sentence."""
        if option not in self.honoured:
            return "refused", self.refusal(option, node, origin)
        if option in self.in_a_child:
            return "child", "done by lazygraph, in a child process of the slot"
        if option in self.by_lazygraph:
            return "lazygraph", "done by lazygraph, as on every executor"
        return "executor", f"done by {self.name!r}"
