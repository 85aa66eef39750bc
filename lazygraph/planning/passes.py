"""The optimizer: named passes, run one after another.

A pass is a function that takes a `Graph` and returns one that means the same: its argument when it has nothing to do.
Who wants others, or another order, names them: `compute(optimize_graph=["cull", my_pass, "fuse", "order"])`.  What a
pass of somebody else's returns is looked at before anything is made of it.

Covers: which passes there are, running them, what each has done and why.
Does not cover: the passes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from lazygraph.errors import InvalidOption, suggest
from lazygraph.planning.fusing import fuse, fuse_reductions, why_not_fused
from lazygraph.planning.holding import edges_of, peak
from lazygraph.planning.inlining import inline
from lazygraph.planning.optimize import cull, reorder
from lazygraph.planning.sharing import share
from lazygraph.values.graph import Change, Fused, Graph

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Pass = Callable[[Graph], Graph]
Passes = bool | Sequence[str | Pass]
"""True: all there are; False: none; or which, by name or themselves."""

PASSES: Mapping[str, Pass] = {"cull": cull, "share": share, "inline": inline, "fuse": fuse, "order": reorder}
"""What is run when nothing is said, in this order."""

OPTIONAL: Mapping[str, Pass] = {"fuse_reductions": fuse_reductions}
"""What is run when it is asked for by name."""

NAMED: Mapping[str, Pass] = {**PASSES, **OPTIONAL}


def optimize(graph: Graph, passes: Passes = True, *, explained: bool = False) -> Graph:
    """Run passes in order; `history` of what comes back says what each did, if `explained` in a sentence too.

    `passes`: True for all there are, False for none, or which: names and functions.  Raises `InvalidOption` for a name
    that is none, and for what is no pass or returns no graph that could take the place of the one it was given.
    """
    for name, pass_ in chosen(passes):
        before = graph
        changed = pass_(graph)
        if NAMED.get(name) is not pass_:
            _check(name, before, changed)
        if changed is not before:
            change = Change(name, len(before), len(changed), _why(name, pass_, before, changed) if explained else "")
            graph = replace(changed, history=(*before.history, change))
    return graph


def chosen(passes: Passes) -> list[tuple[str, Pass]]:
    """Return the passes that were asked for, with their names."""
    if isinstance(passes, str) or (not isinstance(passes, bool) and not hasattr(passes, "__iter__")):
        raise InvalidOption(f"optimize_graph={passes!r}: True, False, or a list of passes is wanted")
    if isinstance(passes, bool):
        return list(PASSES.items()) if passes else []
    found: list[tuple[str, Pass]] = []
    for one in passes:
        if isinstance(one, str):
            if one not in NAMED:
                hint = suggest(one, NAMED) or f"; there are {', '.join(NAMED)}"
                raise InvalidOption(f"optimize_graph: no pass is called {one!r}{hint}")
            found.append((one, NAMED[one]))
        elif callable(one):
            found.append((getattr(one, "__name__", type(one).__name__), one))
        else:
            raise InvalidOption(f"optimize_graph: {one!r} is no pass; the name of one or a function is wanted")
    return found


def _check(name: str, before: Graph, after: Any) -> None:
    """Refuse what a pass has returned that cannot take the place of what it was given."""
    if not isinstance(after, Graph):
        raise InvalidOption(f"pass {name!r} has returned {after!r}; a Graph is wanted")
    wrong = next(_faults(before, after), None)
    if wrong is not None:
        raise InvalidOption(f"pass {name!r} has returned a graph that cannot be run: {wrong}")


def _faults(before: Graph, after: Graph) -> Iterator[str]:
    shape, tables = after.shape, after.tables
    n = len(shape)
    if len(shape.outputs) != len(before.shape.outputs):
        yield f"{len(shape.outputs)} outputs where {len(before.shape.outputs)} were asked for"
    if after.externals != before.externals or shape.externals != before.shape.externals:
        yield "its externals are others: what it reads of other runs must stay as it is"
    for column in ("template", "option", "scope", "origin"):
        if len(getattr(shape, column)) != n:
            yield f"the column {column} has {len(getattr(shape, column))} entries, function has {n}"
    for column, whole in (("input_offsets", shape.inputs), ("argument_offsets", shape.arguments)):
        offsets = getattr(shape, column)
        if len(offsets) != n + 1 or offsets[0] or offsets[-1] != len(whole):
            yield f"{column} does not fit its list"
        elif any(start > end for start, end in pairwise(offsets)):
            yield f"{column} goes backwards"
    if len(shape.kinds) != len(shape.inputs):
        yield f"{len(shape.kinds)} kinds for {len(shape.inputs)} inputs"
    if any(not 0 <= entry < n for entry in (*shape.outputs, *shape.callbacks)):
        yield "an output or callback is none of its entries"
    for at in range(shape.externals, n):
        where = f"task {at}"
        if not 0 <= shape.function[at] < min(len(tables.functions), len(shape.names)):
            yield f"{where} calls function {shape.function[at]} of {len(tables.functions)}"
        reads = shape.inputs_of(at)
        if any(not 0 <= read < at for read in reads) or len({*reads}) < len(reads):
            yield f"{where} reads {list(reads)}: entries before it, each once, are wanted"
        for number in shape.arguments[shape.argument_offsets[at] : shape.argument_offsets[at + 1]]:
            fused = type(tables.functions[shape.function[at]]) is Fused
            if number >= len(reads) or (number < 0 and ~number >= len(tables.constants) and not fused):
                yield f"an argument of {where} is neither an input nor a constant"


# -- why -------------------------------------------------------------------------------------------


def _why(name: str, pass_: Pass, before: Graph, after: Graph) -> str:
    """Say in a sentence what a pass has done, and why not more."""
    if NAMED.get(name) is pass_:
        return _SENTENCES[name](before, after)
    return (pass_.__doc__ or "").strip().partition("\n")[0]


def _many(count: int, one: str) -> str:
    return f"{count} {one}{'' if count == 1 else 's'}"


def _is(before: Graph, after: Graph) -> str:
    return "is" if len(before) - len(after) == 1 else "are"


def _why_cull(before: Graph, after: Graph) -> str:
    return f"{_many(len(before) - len(after), 'node')} that nothing asked for needs"


def _why_share(before: Graph, after: Graph) -> str:
    return f"{_many(len(before) - len(after), 'call')} pure, or of one key, that {_is(before, after)} made already"


def _why_inline(before: Graph, after: Graph) -> str:
    return f"{_many(len(before) - len(after), 'wrapped value')} small enough to stand in the calls that take them"


def _why_fuse(before: Graph, after: Graph) -> str:
    shape, functions = after.shape, after.tables.functions
    rows = [functions[shape.function[at]] for at in after.tasks()]
    lengths = [len(row.steps) for row in rows if isinstance(row, Fused)]
    text = f"{_many(sum(lengths), 'call')} in {_many(len(lengths), 'chain')}, the longest of {max(lengths)}"
    left = why_not_fused(after)
    if left:
        text += "; not joined: " + ", ".join(f"{count} ({reason})" for reason, count in sorted(left.items()))
    return text


def _why_reductions(before: Graph, after: Graph) -> str:
    rows = [after.tables.functions[after.shape.function[at]] for at in after.tasks()]
    lengths = [len(row.steps) for row in rows if isinstance(row, Fused) and row.reduces]
    return f"{_many(sum(lengths), 'call')} in {_many(len(lengths), 'task')}, the largest of {max(lengths)}"


def _why_order(before: Graph, after: Graph) -> str:
    was, is_ = (peak(edges_of(graph.shape), range(len(graph))) for graph in (before, after))
    return f"run by number, at most {is_} values are held that are still to be read; it was {was}"


_SENTENCES: Mapping[str, Callable[[Graph, Graph], str]] = {
    "cull": _why_cull,
    "share": _why_share,
    "inline": _why_inline,
    "fuse": _why_fuse,
    "fuse_reductions": _why_reductions,
    "order": _why_order,
}
