"""A picture as a value: boxes, arrows, and the grouping that keeps a large one readable.

Covers what is drawn, not how: positions are in `layout`, SVG in `draw`, graphviz in `dot`.
"""

import re
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

from lazygraph.errors import CyclicGraph, InvalidOption

BoxKind = Literal["task", "constant", "output", "group", "fused", "external"]
ArrowKind = Literal["data", "order", "failure"]

LIMIT = 300  # boxes a reader can still take in, and a browser draw at once
ROW = 16  # boxes side by side before those of one name are drawn as one
ARROWS_PER_BOX = 10
BANDS = 12
NAMES_SHOWN = 8
LONGEST_LABEL = 32
LONGEST_TOOLTIP = 1000

# What XML 1.0 cannot hold even when escaped: control characters, lone surrogates, two noncharacters.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class Box:
    """One drawn node; `note` is the text behind it (a tooltip), `count` says how many nodes it stands for."""

    label: str
    kind: BoxKind = "task"
    note: str = ""
    count: int = 1


@dataclass(frozen=True, slots=True)
class Arrow:
    """A line from one box to another, by index; `count` says how many lines of the graph it stands for."""

    source: int
    target: int
    kind: ArrowKind = "data"
    count: int = 1


@dataclass(frozen=True, slots=True)
class Picture:
    """Boxes and the arrows between them; raises `ValueError` when an arrow leads to a box that is not there."""

    nodes: tuple[Box, ...]
    edges: tuple[Arrow, ...]
    title: str = ""

    def __post_init__(self) -> None:
        size = len(self.nodes)
        for arrow in self.edges:
            if not (0 <= arrow.source < size and 0 <= arrow.target < size):
                raise ValueError(f"arrow {arrow.source} -> {arrow.target} leaves a picture of {size} boxes")


def printable(text: str) -> str:
    """The text with every character that no picture format can hold replaced by a visible mark."""
    return _UNPRINTABLE.sub("\ufffd", text)


def shorten(text: str, longest: int) -> str:
    """The text on one line, without its middle when it is long: names differ at their beginnings and their ends."""
    text = " ".join(printable(text[: 10 * longest] + text[10 * longest :][-longest:]).split())
    if len(text) <= longest:
        return text
    keep = longest - 1
    return f"{text[: keep - keep // 2]}…{text[-(keep // 2) :]}"


def caption(box: Box) -> str:
    """What stands in the box: `parse`, or `parse ×1500` when it stands for many."""
    label = shorten(box.label, LONGEST_LABEL)
    return label if box.count == 1 else f"{label} ×{box.count}"


def tooltip(box: Box) -> str:
    """What is said when a reader points at the box: its whole label, its count and its note."""
    text = box.label if box.count == 1 else f"{box.label} ×{box.count}"
    return printable(f"{text}\n{box.note}" if box.note else text)[:LONGEST_TOOLTIP]


def levels(picture: Picture) -> list[int]:
    """The longest way, in arrows, from any start to each box; raises `CyclicGraph` when arrows go in a circle."""
    size = len(picture.nodes)
    below: list[list[int]] = [[] for _ in range(size)]
    missing = [0] * size
    for arrow in picture.edges:
        below[arrow.source].append(arrow.target)
        missing[arrow.target] += 1
    found = [0] * size
    reached = [box for box in range(size) if not missing[box]]
    for box in reached:  # grows while it is read: the list is the queue
        beyond = found[box] + 1
        for target in below[box]:
            if found[target] < beyond:
                found[target] = beyond
            missing[target] -= 1
            if not missing[target]:
                reached.append(target)
    if len(reached) < size:
        raise CyclicGraph([picture.nodes[box].label for box in _circle(picture, missing)])
    return found


def _circle(picture: Picture, missing: Sequence[int]) -> list[int]:
    """One circle, its first box repeated at the end, among the boxes that still miss an input."""
    reads = {arrow.target: arrow.source for arrow in picture.edges if missing[arrow.source] and missing[arrow.target]}
    box = next(iter(reads))
    way: dict[int, None] = {}
    while box not in way:
        way[box] = None
        box = reads[box]
    walked = list(way)
    circle = [*walked[walked.index(box) :], box]
    return circle[::-1]


def condense(picture: Picture, limit: int = LIMIT, row: int = ROW) -> Picture:
    """The picture itself when it can be read as it is, else a smaller one that stands for it.

    Four groupings are tried, the one that hides least first: boxes of one name on a crowded level, on any level, the
    rare names of a level together, whole bands of levels together. Every grouping keeps levels apart or in order, so
    the result has no circles; counts of boxes always add up to the original's. At most `limit` boxes remain.
    O(boxes + arrows). Raises `CyclicGraph` when arrows go in a circle, `InvalidOption` for a limit below one.
    """
    if limit < 1:
        raise InvalidOption(f"a picture needs room for at least one box, not {limit}")
    level = levels(picture)
    smaller = picture
    for grouping in _GROUPINGS:
        smaller = _merge(picture, level, grouping(picture.nodes, level, limit, row))
        if len(smaller.nodes) <= limit and len(smaller.edges) <= ARROWS_PER_BOX * limit:
            break
    return smaller


def _by_name_where_crowded(nodes: Sequence[Box], level: Sequence[int], limit: int, row: int) -> list[Hashable]:
    crowd = Counter(level)
    return [
        (at, box.label, box.kind) if crowd[at] > row else (at, number)
        for number, (box, at) in enumerate(zip(nodes, level, strict=True))
    ]


def _by_name(nodes: Sequence[Box], level: Sequence[int], limit: int, row: int) -> list[Hashable]:
    return [(at, box.label, box.kind) for box, at in zip(nodes, level, strict=True)]


def _by_frequent_name(nodes: Sequence[Box], level: Sequence[int], limit: int, row: int) -> list[Hashable]:
    share = max(1, limit // (max(level, default=0) + 1))
    names: dict[int, Counter[tuple[str, BoxKind]]] = {}
    for box, at in zip(nodes, level, strict=True):
        names.setdefault(at, Counter())[box.label, box.kind] += 1
    kept = {
        at: {name for name, _ in count.most_common(share if len(count) <= share else share - 1)}
        for at, count in names.items()
    }
    return [
        (at, box.label, box.kind) if (box.label, box.kind) in kept[at] else (at,)
        for box, at in zip(nodes, level, strict=True)
    ]


def _by_band(nodes: Sequence[Box], level: Sequence[int], limit: int, row: int) -> list[Hashable]:
    depth = max(level, default=0) + 1
    bands = min(limit, BANDS, depth)
    return [at * bands // depth for at in level]


_GROUPINGS: tuple[Callable[[Sequence[Box], Sequence[int], int, int], list[Hashable]], ...] = (
    _by_name_where_crowded,
    _by_name,
    _by_frequent_name,
    _by_band,
)


def _merge(picture: Picture, level: Sequence[int], keys: Sequence[Hashable]) -> Picture:
    """One box for every key, in the order keys appear; arrows inside a box vanish, equal ones become one."""
    number: dict[Hashable, int] = {}
    group = [number.setdefault(key, len(number)) for key in keys]
    if len(number) == len(picture.nodes):
        return picture
    members: list[list[int]] = [[] for _ in number]
    for box, home in enumerate(group):
        members[home].append(box)
    lines: Counter[tuple[int, int, ArrowKind]] = Counter()
    for arrow in picture.edges:
        if group[arrow.source] != group[arrow.target]:
            lines[group[arrow.source], group[arrow.target], arrow.kind] += arrow.count
    return Picture(
        tuple(_stand_in([picture.nodes[box] for box in boxes], [level[box] for box in boxes]) for boxes in members),
        tuple(Arrow(source, target, kind, count) for (source, target, kind), count in lines.items()),
        picture.title,
    )


def _stand_in(boxes: Sequence[Box], at: Sequence[int]) -> Box:
    """The one box drawn for many."""
    if len(boxes) == 1:
        return boxes[0]
    names: Counter[str] = Counter()
    for box in boxes:
        names[box.label] += box.count
    kinds = {box.kind for box in boxes}
    first = names.most_common(1)[0][0]
    label = first if len(names) == 1 else f"{shorten(first, LONGEST_LABEL // 2)} and {_many(len(names) - 1, 'other')}"
    return Box(label, boxes[0].kind if len(kinds) == 1 else "group", _stand_in_note(names, at), names.total())


def _many(count: int, one: str) -> str:
    return f"{count} {one}" if count == 1 else f"{count} {one}s"


def _stand_in_note(names: Counter[str], at: Sequence[int]) -> str:
    first, last = min(at), max(at)
    where = f"level {first}" if first == last else f"levels {first} to {last}"
    lines = [f"{_many(names.total(), 'node')} on {where}"]
    lines += [f"{name} ×{count}" for name, count in names.most_common(NAMES_SHOWN)]
    if len(names) > NAMES_SHOWN:
        lines.append(f"and {_many(len(names) - NAMES_SHOWN, 'more name')}")
    return "\n".join(lines)
