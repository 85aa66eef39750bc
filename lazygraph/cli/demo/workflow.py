"""The demo's work as one graph: the same functions as in `plain`, put together with `delayed` and the canvas."""

from collections.abc import Sequence
from typing import Any

from lazygraph.cli.demo import facts, report, sources
from lazygraph.language.composing import chord, group
from lazygraph.language.delayed import delayed

BATCH = 8
"""How many results one merge takes: the merges form a tree, so that none of them sees everything but the last."""

parse = delayed(sources.parse)
merge_many = delayed(facts.merge_many)
total = delayed(report.total)
rank_identifiers = delayed(report.rank_identifiers)
rank_modules = delayed(report.rank_modules)
link_imports = delayed(report.link_imports, pure=True)
find_cycles = delayed(report.find_cycles)
find_chain = delayed(report.find_chain)
assemble = delayed(report.assemble)


def build(files: Sequence[str], root: str) -> Any:
    """Return the graph that reads the files of the tree at `root` and ends in one `Report`; nothing is run.

    The files are known here because the graph has a node for each. What is returned can be run again and again, on
    any executor.
    """
    merges = [merge_many(group(parse.s(path, root) for path in batch)) for batch in _batches(files)]
    while len(merges) > 1:
        merges = [merge_many(list(batch)) for batch in _batches(merges)]
    everything = merges[0] if merges else merge_many([])
    # link_imports is written twice and, being pure, runs once: its two calls with the same input are one node.
    sections = group(
        total.s(),
        rank_identifiers.s(),
        rank_modules.s(),
        link_imports.s() | find_cycles.s(),
        link_imports.s() | find_chain.s(),
    )
    return everything | chord(sections, assemble.s())  # type: ignore[arg-type]  # as a tuple, of five types


def _batches(items: Sequence[Any]) -> list[Sequence[Any]]:
    return [items[start : start + BATCH] for start in range(0, len(items), BATCH)]
