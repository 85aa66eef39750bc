"""From the facts about a tree of sources to a report a person wants to read.

Each section is a function of the merged facts, or of the links made of them once, so they can run side by side;
`assemble` puts them together.
Every result is a plain value with a fixed order: two reports of the same sources are equal, whoever computed them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from heapq import nsmallest
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    import networkx

    from lazygraph.cli.demo.facts import Facts, Problem

Links = dict[str, tuple[str, ...]]
"""For every module the modules it imports."""

TOP = 12
"""How many of the most frequent names and modules are kept."""

CYCLES = 5
"""How many of the import cycles are kept, largest first."""


@dataclass(frozen=True, slots=True)
class Totals:
    """How much was read, and what could not be."""

    files: int
    lines: int
    functions: int
    classes: int
    identifiers: int
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class Ranking:
    """The most frequent of something, most frequent first, equal counts by name; `distinct` counts all of them."""

    distinct: int
    top: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Cycle:
    """Modules that all import each other, directly or through others, and a shortest way round from the first."""

    modules: tuple[str, ...]
    loop: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cycles:
    """The import cycles: how many there are, and the largest."""

    count: int
    largest: tuple[Cycle, ...]


@dataclass(frozen=True, slots=True)
class Chain:
    """The longest chain of imports: each link imports the next. Modules of one cycle are one link."""

    links: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Report:
    """What the demo found out."""

    totals: Totals
    identifiers: Ranking
    modules: Ranking
    cycles: Cycles
    chain: Chain


def total(facts: Facts) -> Totals:
    """Return the sums over all files."""
    return Totals(
        facts.files,
        facts.lines,
        facts.functions,
        facts.classes,
        sum(facts.identifiers.values()),
        facts.problems,
    )


def rank_identifiers(facts: Facts, top: int = TOP) -> Ranking:
    """Return the names that occur most often in code."""
    return _ranking(facts.identifiers, top)


def rank_modules(facts: Facts, top: int = TOP) -> Ranking:
    """Return the modules that most modules import, wherever in them."""
    known = facts.imports.keys()
    importers: Counter[str] = Counter()
    for module, imports in facts.imports.items():
        names = (*imports, *facts.deferred.get(module, ()))
        importers.update({_imported_module(name, known) for name in names} - {module})
    return _ranking(importers, top)


def link_imports(facts: Facts) -> Links:
    """Return for every module which of the other modules it imports while being imported itself, in a fixed order."""
    known = facts.imports.keys()
    links: Links = {}
    for module in sorted(known):
        targets = {_imported_module(name, known) for name in facts.imports[module]} - {module}
        links[module] = tuple(sorted(target for target in targets if target in known))
    return links


def find_cycles(links: Links, top: int = CYCLES) -> Cycles:
    """Return the groups of modules that need each other while being imported.

    Imports inside functions and for type checkers do not count: putting them there is how a cycle is broken.
    """
    import networkx as nx

    groups = [sorted(group) for group in nx.strongly_connected_components(_graph(links)) if len(group) > 1]
    groups.sort(key=lambda group: (-len(group), group))
    return Cycles(len(groups), tuple(Cycle(tuple(group), _shortest_loop(links, group)) for group in groups[:top]))


def find_chain(links: Links) -> Chain:
    """Return the longest path along imports, where the modules of a cycle count as one link."""
    import networkx as nx

    condensed = nx.condensation(_graph(links))
    members = condensed.nodes(data="members")
    return Chain(tuple(tuple(sorted(members[link])) for link in nx.dag_longest_path(condensed)))


def assemble(sections: tuple[Totals, Ranking, Ranking, Cycles, Chain]) -> Report:
    """Put the sections together, given in the order of the report's fields."""
    return Report(*sections)


def report(facts: Facts) -> Report:
    """Return the whole report, one section after the other."""
    links = link_imports(facts)
    return assemble((total(facts), rank_identifiers(facts), rank_modules(facts), find_cycles(links), find_chain(links)))


def _ranking(counts: Mapping[str, int], top: int) -> Ranking:
    return Ranking(len(counts), tuple(nsmallest(top, counts.items(), key=lambda item: (-item[1], item[0]))))


def _imported_module(name: str, known: Container[str]) -> str:
    """Return which module an entry of `Facts.imports` means.

    `package:name` is the module `package.name` if there is one, else something in `package`. A module that is not
    known belongs to the nearest known package above it (`os.path` is made by `os`); without one it stays as it is.
    """
    package, _, member = name.partition(":")
    if member and f"{package}.{member}" in known:
        return f"{package}.{member}"
    above = package
    while above and above not in known:
        above = above.rpartition(".")[0]
    return above or package


def _graph(links: Links) -> networkx.DiGraph[str]:
    """Return the links as a graph; networkx answers in the order of adding, so the links' own order decides."""
    import networkx as nx

    graph: networkx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(links)
    graph.add_edges_from((module, target) for module, targets in links.items() for target in targets)
    return graph


def _shortest_loop(links: Links, group: Sequence[str]) -> tuple[str, ...]:
    """Return a shortest way from the group's first module back to it: the first one and what follows, each once."""
    start = group[0]
    inside = set(group)
    previous: dict[str, str] = {}
    ring = [start]
    while start not in previous:
        following: list[str] = []
        for module in ring:
            for target in links[module]:
                if target in inside and target not in previous:
                    previous[target] = module
                    following.append(target)
        ring = following
    loop = [start]
    while (before := previous[loop[-1]]) != start:
        loop.append(before)
    return (start, *reversed(loop[1:]))
