"""A picture as one self-contained SVG: no scripts, no ids, no outside references; reads well on light and dark pages.

Colours are plain CSS rules below the class `lazygraph`, so that several pictures in one notebook share a page. Arrow
heads are drawn, not `<marker>`s: ids of inlined pictures would clash.
"""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from xml.sax.saxutils import escape, quoteattr

from lazygraph.showing.layout import BOX_HEIGHT, Layout, Point, Rect, lay_out
from lazygraph.showing.picture import (
    LIMIT,
    Arrow,
    ArrowKind,
    Box,
    BoxKind,
    Picture,
    caption,
    condense,
    printable,
    shorten,
    tooltip,
)

MARGIN = 28.0
PADDING = 18.0  # inside a box, left and right of its text
TITLE_HEIGHT = 40.0
LEGEND_ROW = 24.0
LEGEND_WIDEST = 420.0  # a narrow picture may grow to this width for its legend before the legend wraps
FONT_SIZE = 13.0
HEAD_LENGTH = 8.0
HEAD_HALF = 3.6

# fill, stroke, text
Palette = Mapping[BoxKind, tuple[str, str, str]]
LIGHT: Palette = {
    "task": ("#e9f1fe", "#7ba4e4", "#1a3a6c"),
    "constant": ("#f3f4f6", "#b4bcc7", "#434b57"),
    "output": ("#e3f6e9", "#5fb381", "#14522d"),
    "group": ("#f2ecfd", "#a78fdc", "#442b7c"),
    "fused": ("#fff2df", "#e2a95f", "#6a3f08"),
    "external": ("#e0f5f4", "#5cb2b0", "#114c4b"),
}
DARK: Palette = {
    "task": ("#1c2c47", "#5686cf", "#d3e3ff"),
    "constant": ("#272b33", "#616b7a", "#ccd3dd"),
    "output": ("#163322", "#4f9f6d", "#c9f2d6"),
    "group": ("#2b2243", "#8a6dca", "#e5daff"),
    "fused": ("#3a2a15", "#bd8743", "#ffe5c2"),
    "external": ("#133130", "#439a98", "#c8f1f0"),
}
# page, frame, headline, small print, arrows, arrows of failures
LIGHT_PAGE = ("#ffffff", "#e5e8ee", "#1f2733", "#5f6b7c", "#98a4b6", "#c4520a")
DARK_PAGE = ("#15181e", "#2c323d", "#e8ecf3", "#9ba6b7", "#6f7c91", "#f0985a")

MEANING: Mapping[BoxKind, str] = {
    "task": "task",
    "constant": "value",
    "output": "output",
    "group": "group",
    "fused": "fused tasks",
    "external": "held value",
}
LINES: Mapping[ArrowKind, str] = {"order": "order only", "failure": "on failure"}

_FONT = "system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,'DejaVu Sans',sans-serif"
_NARROW = frozenset("iljtfrI.,:;'|!()[]{} -")
_BROAD = frozenset("mwMWOQGD@%&→")


def to_svg(picture: Picture, limit: int = LIMIT) -> str:
    """The picture as SVG text, condensed to at most `limit` boxes; raises `CyclicGraph` when arrows go in a circle."""
    drawn = condense(picture, limit)
    layout = lay_out(drawn, [_box_width(box) for box in drawn.nodes])
    legend = _legend(drawn, max(layout.width, LEGEND_WIDEST))
    summary = _summary(picture, drawn)
    title = shorten(picture.title, 80) or ("" if picture.nodes else "nothing to draw")
    inner = max(
        layout.width,
        text_width(title, 16),
        text_width(summary, 12),
        *(x + text_width(text, 12) for x, _, _, text in legend),
    )
    head = (TITLE_HEIGHT if title else 0.0) + (LEGEND_ROW if summary else 0.0)
    legend_height = LEGEND_ROW * (legend[-1][1] + 1) if legend else 0.0
    width, height = inner + 2 * MARGIN, head + layout.height + legend_height + 2 * MARGIN
    parts = [
        opening(_spoken(picture), px(width), px(height)),
        f"<style>{style()}</style>",
        f'<rect class="page" x="0.5" y="0.5" width="{px(width - 1)}" height="{px(height - 1)}" rx="12"/>',
    ]
    if title:
        parts.append(f'<text class="title" x="{px(MARGIN)}" y="{px(MARGIN + 14)}">{escape(title)}</text>')
    if summary:
        parts.append(
            f'<text class="small" x="{px(MARGIN)}" y="{px(MARGIN + head - LEGEND_ROW)}">{escape(summary)}</text>'
        )
    parts.append(f'<g transform="translate({px(MARGIN + (inner - layout.width) / 2)} {px(MARGIN + head)})">')
    parts += _arrows(drawn.edges, layout)
    parts += [_box(box, place) for box, place in zip(drawn.nodes, layout.boxes, strict=True)]
    parts.append("</g>")
    parts += _drawn_legend(legend, MARGIN + head + layout.height + 24)
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def opening(spoken: str, width: str, height: str) -> str:
    """The beginning of every drawing; `spoken` is what a screen reader says."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="lazygraph" role="img" aria-label={quoteattr(spoken)}'
        f' width="{width}" height="{height}" viewBox="0 0 {width} {height}" style="max-width:100%;height:auto">'
    )


def text_width(text: str, size: float) -> float:
    """About how many pixels a text takes in a usual sans serif of the given size; errs to the wide side."""
    units = 0.0
    for letter in text:
        if letter in _NARROW:
            units += 0.38
        elif letter in _BROAD:
            units += 0.92
        elif unicodedata.east_asian_width(letter) in "WF":
            units += 1.05
        else:
            units += 0.68 if letter.isupper() else 0.6
    return units * size


def _box_width(box: Box) -> float:
    return max(64.0, text_width(caption(box), FONT_SIZE) + 2 * PADDING)


def _summary(picture: Picture, drawn: Picture) -> str:
    if drawn is picture:
        return ""
    return f"{sum(box.count for box in picture.nodes)} nodes drawn as {len(drawn.nodes)}; ×n stands for n nodes"


def _spoken(picture: Picture) -> str:
    """What a screen reader says."""
    subject = printable(picture.title) or "Graph"
    return f"{subject}: {sum(box.count for box in picture.nodes)} nodes, {len(picture.edges)} arrows"


def _arrows(edges: Sequence[Arrow], layout: Layout) -> list[str]:
    """All lines of one kind and thickness as one path, their heads as another: small, and quick to draw."""
    lines: dict[tuple[ArrowKind, str], list[str]] = {}
    heads: list[str] = []
    tips: set[Point] = set()
    for arrow, route in zip(edges, layout.routes, strict=True):
        thickness = "thick" if arrow.count > 1 else "thin"
        lines.setdefault((arrow.kind, thickness), []).append(_line(route))
        if route[-1] not in tips:
            tips.add(route[-1])
            heads.append(_head(*route[-1]))
    parts = [f'<path class="line {kind} {thick}" d="{"".join(paths)}"/>' for (kind, thick), paths in lines.items()]
    return [*parts, f'<path class="head" d="{"".join(heads)}"/>'] if heads else parts


def _line(route: Sequence[Point]) -> str:
    """Down through every gap in a soft curve, straight past the rows between."""
    steps = [f"M{px(route[0][0])} {px(route[0][1])}"]
    for number in range(0, len(route), 2):
        (x, y), (to_x, to_y) = route[number : number + 2]
        if number:
            steps.append(f"V{px(y)}")
        if number + 2 == len(route):
            to_y -= HEAD_LENGTH - 1
        if abs(x - to_x) < 0.05:
            steps.append(f"V{px(to_y)}")
        else:
            bend = (to_y - y) * 0.55
            steps.append(f"C{px(x)} {px(y + bend)} {px(to_x)} {px(to_y - bend)} {px(to_x)} {px(to_y)}")
    return "".join(steps)


def _head(x: float, y: float) -> str:
    top = px(y - HEAD_LENGTH)
    return f"M{px(x)} {px(y - 0.5)}L{px(x - HEAD_HALF)} {top}L{px(x + HEAD_HALF)} {top}Z"


def _box(box: Box, place: Rect) -> str:
    shapes = _shape(place, 9.0 if box.kind != "constant" else BOX_HEIGHT / 2)
    if box.count > 1:
        behind = Rect(place.x + 4, place.y + 4, place.width, place.height)
        shapes = _shape(behind, 9.0) + shapes
    x, y = place.x + place.width / 2, place.y + place.height / 2 + FONT_SIZE * 0.35
    return (
        f'<g class="box {box.kind}"><title>{escape(tooltip(box))}</title>{shapes}'
        f'<text x="{px(x)}" y="{px(y)}">{escape(caption(box))}</text></g>'
    )


def _shape(place: Rect, round_: float) -> str:
    return (
        f'<rect x="{px(place.x)}" y="{px(place.y)}" width="{px(place.width)}" height="{px(place.height)}"'
        f' rx="{px(round_)}"/>'
    )


_Entry = tuple[float, int, str, str]  # x of the text, row, kind of a box or a line, text


def _legend(picture: Picture, widest: float) -> list[_Entry]:
    """What the colours mean, for those that occur; nothing when all boxes are tasks."""
    kinds = {box.kind for box in picture.nodes}
    words: list[tuple[str, str]] = [(kind, word) for kind, word in MEANING.items() if kind in kinds]
    if kinds <= {"task"}:
        words = []
    lines = {arrow.kind for arrow in picture.edges}
    words.extend((kind, word) for kind, word in LINES.items() if kind in lines)
    entries: list[_Entry] = []
    x, row = 0.0, 0
    for kind, word in words:
        room = 22 + text_width(word, 12)
        if x and x + room > widest:
            x, row = 0.0, row + 1
        entries.append((x + 22, row, kind, word))
        x += room + 18
    return entries


def _drawn_legend(entries: Iterable[_Entry], top: float) -> list[str]:
    parts: list[str] = []
    for x, row, kind, word in entries:
        left, middle = MARGIN + x - 22, top + row * LEGEND_ROW
        sample = f'<path class="line {kind} thin" d="M{px(left)} {px(middle)}h16"/>'
        if kind not in LINES:
            sample = f'<g class="box {kind}">{_shape(Rect(left, middle - 6, 16, 12), 4.0)}</g>'
        parts.append(f'{sample}<text class="small" x="{px(left + 22)}" y="{px(middle + 4)}">{word}</text>')
    return parts


def style() -> str:
    """The base, then colours: light, dark where the reader's system is, and as the notebook around it says."""
    base = (
        f".lazygraph text{{font-family:{_FONT};font-size:{px(FONT_SIZE)}px}}"
        ".lazygraph .title{font-size:16px;font-weight:600}"
        ".lazygraph .small{font-size:12px}"
        ".lazygraph .box text{text-anchor:middle}"
        ".lazygraph .box rect{stroke-width:1.2px}"
        ".lazygraph .output rect{stroke-width:2px}"
        ".lazygraph .external rect{stroke-dasharray:5 3}"
        ".lazygraph .box:hover rect{stroke-width:2.4px}"
        ".lazygraph .line{fill:none;stroke-width:1.4px;stroke-linecap:round}"
        ".lazygraph .thick{stroke-width:2.2px}"
        ".lazygraph .order{stroke-dasharray:4 4}"
        ".lazygraph .failure{stroke-dasharray:1 4}"
    )
    light, dark = (LIGHT, LIGHT_PAGE), (DARK, DARK_PAGE)
    return (
        base
        + _colours(".lazygraph", *light)
        + f"@media (prefers-color-scheme:dark){{{_colours('.lazygraph', *dark)}}}"
        + _colours("[data-jp-theme-light=true] .lazygraph", *light)
        + _colours("[data-jp-theme-light=false] .lazygraph", *dark)
    )


def _colours(scope: str, palette: Palette, page: tuple[str, str, str, str, str, str]) -> str:
    sheet, frame, headline, small, arrows, failures = page
    rules = [
        f"{scope} .page{{fill:{sheet};stroke:{frame}}}",
        f"{scope} .title{{fill:{headline}}}",
        f"{scope} .small{{fill:{small}}}",
        f"{scope} .line{{stroke:{arrows}}}",
        f"{scope} .failure{{stroke:{failures}}}",
        f"{scope} .head{{fill:{arrows}}}",
    ]
    for kind, (fill, stroke, text) in palette.items():
        rules += [f"{scope} .{kind} rect{{fill:{fill};stroke:{stroke}}}", f"{scope} .{kind} text{{fill:{text}}}"]
    return "".join(rules)


def px(number: float) -> str:
    """A coordinate with a tenth of a pixel, without trailing zeros."""
    return f"{number:.1f}".removesuffix(".0")
