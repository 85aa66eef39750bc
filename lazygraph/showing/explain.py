"""What a graph amounts to, in a few lines: its size, its shape, what the optimizer did to it and an executor will do.

Takes arrays of numbers and names; every figure is one pass over them, so 100,000 nodes take a moment.

Covers: EXPLAIN, before anything runs.
Does not cover: what a run has come to (showing.analysis), how long one may take (showing.estimating).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from html import escape
from itertools import groupby
from typing import Any

from lazygraph.errors import InvalidOption
from lazygraph.showing.estimating import Estimate
from lazygraph.showing.held import most_held
from lazygraph.showing.picture import shorten

NAMES_SHOWN = 6
STEPS_SHOWN = 9
OUTPUTS_SHOWN = 4
PASSES_SHOWN = 6
OPTIONS_SHOWN = 8
FATES_SHOWN = 12
LONGEST_NAME = 40
BAR = 20


@dataclass(frozen=True, slots=True)
class Pass:
    """One optimizer pass: its name, the number of nodes before and after it, and why it did what it did, if it says."""

    name: str
    before: int
    after: int
    why: str = ""


@dataclass(frozen=True, slots=True)
class Use:
    """An option that `nodes` nodes have, and what the executor will do about it: a sentence.

    `who` sees to it: "lazygraph", the same on every executor; "child", a child process of lazygraph's; "executor", the
    executor itself; or nobody: "refused".
    """

    option: str
    nodes: int
    who: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Fate:
    """What `cache=` makes of `nodes` nodes of one name: a sentence."""

    node: str
    nodes: int
    sentence: str


@dataclass(frozen=True, slots=True)
class Profile:
    """The figures of one graph.

    `width` is the largest number of nodes on one level, a node's level being the longest way to it; `depth` is the
    number of levels, which is the number of nodes on `critical_path`: however many workers there are, these run one
    after the other. `roots` counts the nodes that wait for nothing. `counts` lists nodes by name, most common first.
    `held` is the largest number of values there are at once, the one just made and outputs among them, when one worker
    runs the nodes in this order; several may hold more, and tasks shorter than 2 ms, whose values are let go together.
    `options` and `estimate` are about `executor`, where that is known.
    """

    nodes: int
    edges: int
    width: int
    depth: int
    roots: int
    critical_path: tuple[str, ...]
    outputs: tuple[str, ...]
    counts: tuple[tuple[str, int], ...]
    passes: tuple[Pass, ...]
    on_failure: tuple[str, ...] = ()
    held: int = 0
    executor: str = ""
    options: tuple[Use, ...] = ()
    estimate: Estimate | None = None
    cache: tuple[Fate, ...] = ()

    @property
    def parallelism(self) -> float:
        """Nodes per level: about how many workers the graph keeps busy when all tasks take equally long."""
        return self.nodes / self.depth if self.depth else 0.0

    def __str__(self) -> str:
        lines = [f"{_many(self.nodes, 'node')}, {_many(self.edges, 'edge')}, {_many(self.depth, 'level')}"]
        lines += [f"  {name:<14} {text}" for name, text in self._facts()]
        lines += _bars(self.counts)
        lines += _table(self.passes)
        lines += _fates(self.cache)
        lines += self._options()
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain values for JSON; the critical path in full."""
        return {
            **asdict(self),
            "critical_path": list(self.critical_path),
            "outputs": list(self.outputs),
            "on_failure": list(self.on_failure),
            "counts": dict(self.counts),
            "passes": [asdict(step) for step in self.passes],
            "parallelism": round(self.parallelism, 3),
            "options": [asdict(use) for use in self.options],
            "cache": [asdict(fate) for fate in self.cache],
            "estimate": self.estimate.to_dict() if self.estimate is not None else None,
        }

    def _repr_html_(self) -> str:
        """A small table for notebooks, without colours of its own: it takes the page's."""
        facts = [("nodes", str(self.nodes)), ("edges", str(self.edges)), ("levels", str(self.depth)), *self._facts()]
        names = [f"{_short(name)} ×{count}" for name, count in self.counts[:NAMES_SHOWN]]
        facts += [("nodes by name", ", ".join(names + ["…"] * (len(self.counts) > NAMES_SHOWN)))]
        facts += [(f"pass {step.name}", f"{step.before} → {step.after} nodes{_why(step)}") for step in self.passes]
        facts += [(f"{use.option}=", f"{_many(use.nodes, 'node')}: {use.sentence}") for use in self.options]
        facts += [(f"cache {fate.node}", f"{_many(fate.nodes, 'node')}: {fate.sentence}") for fate in self.cache]
        rows = "".join(
            f'<tr><th style="text-align:left">{escape(name)}</th><td style="text-align:left">{escape(text)}</td></tr>'
            for name, text in facts
            if text
        )
        return f"<table>{rows}</table>"

    def _facts(self) -> list[tuple[str, str]]:
        if not self.nodes:
            return []
        return [
            ("side by side", f"{self.width} at most, {self.parallelism:.1f} on average"),
            ("start at once", str(self.roots)),
            ("critical path", f"{_many(len(self.critical_path), 'node')}: {shorten_path(self.critical_path)}"),
            ("outputs", shorten_list(self.outputs)),
            ("values held", f"{self.held} at most, outputs included, by one worker in this order"),
            *([("time", _time(self.estimate))] if self.estimate is not None else []),
            *([("on failure", shorten_list(self.on_failure))] if self.on_failure else []),
        ]

    def _options(self) -> list[str]:
        if not self.options:
            return []
        shown = self.options[:OPTIONS_SHOWN]
        wide = max(len(use.option) for use in shown)
        digits = max(len(str(use.nodes)) for use in shown)
        lines = [f"  options on {self.executor!r}"]
        for use in shown:
            nodes = f"{use.nodes:>{digits}} {'node ' if use.nodes == 1 else 'nodes'}"
            lines.append(f"    {use.option:<{wide}}  {nodes}  {use.sentence}")
        if len(self.options) > OPTIONS_SHOWN:
            lines.append(f"    and {_many(len(self.options) - OPTIONS_SHOWN, 'more option')}")
        return lines


def profile(
    n: int,
    offsets: Sequence[int],
    inputs: Sequence[int],
    names: Sequence[str],
    outputs: Sequence[int],
    passes: Sequence[tuple[str, int, int] | tuple[str, int, int, str]] = (),
    on_failure: Sequence[str] = (),
    externals: int = 0,
) -> Profile:
    """Measure a graph of `n` nodes in topological order, in O(nodes + edges).

    Node i reads `inputs[offsets[i]:offsets[i + 1]]`, all of them numbers below i. A pass is its name, the number of
    nodes before and after, and perhaps why. `on_failure` are names of nodes that are not counted: they run when others
    fail. The first `externals` nodes are values that others hold. Raises `InvalidOption` when a node reads itself or
    one after it.
    """
    level, longest = _levels(n, offsets, inputs)
    crowd = Counter(level)
    return Profile(
        nodes=n,
        edges=len(inputs),
        width=max(crowd.values(), default=0),
        depth=len(crowd),
        roots=crowd[0],
        critical_path=tuple(names[node] for node in _critical_path(level, longest)),
        outputs=tuple(names[node] for node in outputs),
        counts=tuple(Counter(names).most_common()),
        passes=tuple(Pass(step[0], step[1], step[2], step[3] if len(step) > 3 else "") for step in passes),
        on_failure=tuple(on_failure),
        held=most_held(offsets, inputs, outputs, externals),
    )


def _levels(n: int, offsets: Sequence[int], inputs: Sequence[int]) -> tuple[list[int], list[int]]:
    """Each node's level, and the input that it is due to (-1: none); of several, the first."""
    level = [0] * n
    longest = [-1] * n
    for node in range(n):
        highest, due = -1, -1
        for source in inputs[offsets[node] : offsets[node + 1]]:
            if not 0 <= source < node:
                raise InvalidOption(f"node {node} reads node {source}: inputs must come before their reader")
            if level[source] > highest:
                highest, due = level[source], source
        level[node], longest[node] = highest + 1, due
    return level, longest


def _critical_path(level: Sequence[int], longest: Sequence[int]) -> list[int]:
    if not level:
        return []
    node = level.index(max(level))
    path: list[int] = []
    while node >= 0:
        path.append(node)
        node = longest[node]
    path.reverse()
    return path


def shorten_path(names: Sequence[str]) -> str:
    """A path for reading: `list → parse → merge ×9 → report`, the middle left out when it is still long."""
    steps: list[tuple[str, int]] = [(_short(name), len(list(run))) for name, run in groupby(names)]
    shown = [name if count == 1 else f"{name} ×{count}" for name, count in steps]
    if len(shown) > STEPS_SHOWN:
        first = (STEPS_SHOWN + 1) // 2
        last = len(shown) - (STEPS_SHOWN - first - 1)
        left_out = sum(count for _, count in steps[first:last])
        shown[first:last] = [f"… {left_out} more …"]
    return " → ".join(shown)


def shorten_list(names: Sequence[str]) -> str:
    """A list for reading: equal names once with their number, and how many more there are."""
    counts = Counter(names).most_common()
    shown = [_short(name) if count == 1 else f"{_short(name)} ×{count}" for name, count in counts[:OUTPUTS_SHOWN]]
    rest = sum(count for _, count in counts[OUTPUTS_SHOWN:])
    return ", ".join(shown) + (f" and {rest} more" if rest else "")


def _bars(counts: Sequence[tuple[str, int]]) -> list[str]:
    if not counts:
        return []
    shown = counts[:NAMES_SHOWN]
    wide = max(len(_short(name)) for name, _ in shown)
    digits = len(str(shown[0][1]))
    lines = ["  nodes by name"]
    for name, count in shown:
        bar = "▇" * max(1, round(BAR * count / shown[0][1]))
        lines.append(f"    {_short(name):<{wide}}  {count:>{digits}}  {bar}")
    rest = sum(count for _, count in counts[NAMES_SHOWN:])
    if rest:
        lines.append(f"    and {rest} more of {_many(len(counts) - NAMES_SHOWN, 'name')}")
    return lines


def _table(passes: Sequence[Pass]) -> list[str]:
    if not passes:
        return []
    shown = passes[:PASSES_SHOWN]
    wide = max(len(_short(step.name)) for step in shown)
    digits = max(len(str(number)) for step in shown for number in (step.before, step.after))
    lines = ["  optimizer"]
    for step in shown:
        change = step.after - step.before
        text = f"    {_short(step.name):<{wide}}  {step.before:>{digits}} → {step.after:>{digits}} nodes"
        said = [f"({change:+d})"] if change else [] if step.why else ["(nothing to do)"]
        lines.append("  ".join([text, *said, *([step.why] if step.why else [])]))
    if len(passes) > PASSES_SHOWN:
        lines.append(f"    and {_many(len(passes) - PASSES_SHOWN, 'more pass', 'more passes')}")
    return lines


def _fates(fates: Sequence[Fate]) -> list[str]:
    if not fates:
        return []
    shown = fates[:FATES_SHOWN]
    wide = max(len(_short(fate.node)) for fate in shown)
    digits = max(len(str(fate.nodes)) for fate in shown)
    lines = ["  cache"]
    lines += [f"    {_short(fate.node):<{wide}}  {fate.nodes:>{digits}}  {fate.sentence}" for fate in shown]
    if len(fates) > FATES_SHOWN:
        lines.append(f"    and {_many(len(fates) - FATES_SHOWN, 'more line')}")
    return lines


def _time(estimate: Estimate) -> str:
    return str(estimate) if estimate.calls else f"{estimate}; explain(..., analyze=True) measures them"


def _why(step: Pass) -> str:
    return f": {step.why}" if step.why else ""


def _many(count: int, one: str, more: str = "") -> str:
    return f"{count} {one if count == 1 else more or one + 's'}"


def _short(name: str) -> str:
    return shorten(name, LONGEST_NAME)
