"""What every slot did from the beginning of a run to its end, as an SVG: a row a slot, the critical path on top.

The same colours and rules as other drawings (showing.draw).  What would be narrower than a pixel is drawn together.

Covers: the picture of a course.
Does not cover: its figures (showing.analysis), graphs (showing.draw).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from xml.sax.saxutils import escape

from lazygraph.running.observing import AWAITED
from lazygraph.showing.draw import FONT_SIZE, MARGIN, opening, px, style, text_width
from lazygraph.showing.picture import printable, shorten
from lazygraph.showing.seconds import seconds_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from lazygraph.showing.analysis import Course, Lane

WIDTH = 860.0
ROW = 26.0
BAR = 18.0
ROWS_SHOWN = 24
NARROW = 3.0
"""Pixels: what is narrower than that joins what stands close before it."""
TICKS = 5
COLOURS = ("task", "output", "fused", "group", "external")
REST = "constant"
"""The colour of names that are not among the first few."""

_RULES = (
    ".lazygraph .stream rect{stroke-width:.6px;rx:2px}"
    ".lazygraph .stream.box:hover rect{stroke-width:2px}"
    ".lazygraph .stream text{font-size:11px}"
)


class Bar(NamedTuple):
    """A stretch of a row: from where to where in pixels, names, how many attempts, from when to when."""

    left: float
    right: float
    name: str
    others: bool
    many: int
    began: float
    ended: float


def stream_of(course: Course, title: str = "") -> str:
    """Return the picture of a course as SVG text."""
    scale = WIDTH / course.elapsed if course.elapsed > 0 else 0.0
    rows = _rows(course)
    shown = rows[:ROWS_SHOWN]
    label = max((text_width(name, 12) for name, _ in shown), default=0.0) + 12
    colours = {group.name: COLOURS[at] if at < len(COLOURS) else REST for at, group in enumerate(course.groups)}
    legend = _legend(course, colours)
    head = 34.0 if title else 0.0
    below = MARGIN + head + ROW * len(shown)
    more = f"and {len(rows) - len(shown)} more slots" if len(rows) > len(shown) else ""
    width = label + WIDTH + 2 * MARGIN
    height = below + 30 + (20 if more else 0) + 22 * len(legend) + MARGIN
    parts = [
        opening(printable(title) or "What each slot did", px(width), px(height)),
        f"<style>{style()}{_RULES}</style>",
        f'<rect class="page" x="0.5" y="0.5" width="{px(width - 1)}" height="{px(height - 1)}" rx="12"/>',
    ]
    if title:
        parts.append(_text("title", MARGIN, MARGIN + 12, shorten(title, 90)))
    for at, (name, spans) in enumerate(shown):
        top = MARGIN + head + ROW * at
        parts.append(_text("small", MARGIN, top + BAR * 0.5 + FONT_SIZE * 0.35, name))
        parts += [_bar(bar, MARGIN + label, top, colours) for bar in _joined(spans, scale)]
    parts += _axis(course.elapsed, MARGIN + label, below + 4, scale)
    if more:
        parts.append(_text("small", MARGIN, below + 42, more))
    parts += _drawn_legend(legend, below + 46 + (20 if more else 0))
    return "\n".join([*parts, "</svg>"]) + "\n"


_Spans = list[tuple[float, float, str]]


def _rows(course: Course) -> list[tuple[str, _Spans]]:
    """Return what stands in each row: the critical path, then every slot, then what was awaited."""
    lanes: dict[Lane, _Spans] = {}
    for one in course.attempts:
        lanes.setdefault(one.lane, []).append((one.began, one.ended, one.name))
    path = [(step.attempt.began, step.attempt.ended, step.attempt.name) for step in course.path]
    ordered = sorted(lanes, key=lambda lane: (lane.thread == AWAITED, lane.worker, len(lane.thread), lane.thread))
    return [("critical path", path), *((_lane_name(lane), sorted(lanes[lane])) for lane in ordered)]


def _lane_name(lane: Lane) -> str:
    name = f"{lane.worker} {lane.thread}" if lane.worker and lane.thread != "MainThread" else lane.worker or lane.thread
    return shorten(name, 28)


def _joined(spans: Iterable[tuple[float, float, str]], scale: float) -> list[Bar]:
    bars: list[Bar] = []
    for began, ended, name in spans:
        left, right = began * scale, ended * scale
        last = bars[-1] if bars else None
        if last is not None and left - last.right < NARROW and min(right - left, last.right - last.left) < NARROW:
            others = last.others or name != last.name
            bars[-1] = last._replace(
                right=max(right, last.right), others=others, many=last.many + 1, ended=max(ended, last.ended)
            )
        else:
            bars.append(Bar(left, right, name, False, 1, began, ended))
    return bars


def _bar(bar: Bar, left: float, top: float, colours: Mapping[str, str]) -> str:
    wide = max(bar.right - bar.left, 0.8)
    name = f"{bar.name} and others" if bar.others else bar.name
    said = f"{name}{f' ×{bar.many}' if bar.many > 1 else ''}\n{seconds_text(bar.ended - bar.began)}, "
    said += f"from {seconds_text(bar.began)} to {seconds_text(bar.ended)}"
    text = ""
    if bar.many == 1 and text_width(bar.name, 11) + 8 < wide:
        at, line = px(left + bar.left + wide / 2), px(top + BAR / 2 + 4)
        text = f'<text x="{at}" y="{line}">{escape(shorten(bar.name, 40))}</text>'
    return (
        f'<g class="box stream {REST if bar.others else colours.get(bar.name, REST)}">'
        f"<title>{escape(printable(said))}</title>"
        f'<rect x="{px(left + bar.left)}" y="{px(top)}" width="{px(wide)}" height="{px(BAR)}"/>'
        f"{text}</g>"
    )


def _axis(elapsed: float, left: float, top: float, scale: float) -> list[str]:
    parts = [f'<path class="line data thin" d="M{px(left)} {px(top)}h{px(WIDTH)}"/>']
    for tick in range(TICKS + 1):
        moment = elapsed * tick / TICKS
        text = seconds_text(moment) if tick else "0"
        at = left + moment * scale
        start = at - (text_width(text, 12) if tick == TICKS else text_width(text, 12) / 2 if tick else 0.0)
        parts.append(f'<path class="line data thin" d="M{px(at)} {px(top)}v5"/>')
        parts.append(_text("small", start, top + 20, text))
    return parts


def _legend(course: Course, colours: Mapping[str, str]) -> list[list[tuple[str, str]]]:
    """Return rows of (colour, words): the names that took longest, and the rest."""
    words = [(colours[group.name], shorten(group.name, 36)) for group in course.groups[: len(COLOURS)]]
    if len(course.groups) > len(COLOURS):
        words.append((REST, "others"))
    rows: list[list[tuple[str, str]]] = []
    room = 0.0
    for colour, word in words:
        wide = 40 + text_width(word, 12)
        if not rows or room + wide > WIDTH:
            rows.append([])
            room = 0.0
        rows[-1].append((colour, word))
        room += wide
    return rows


def _drawn_legend(rows: Sequence[Sequence[tuple[str, str]]], top: float) -> list[str]:
    parts: list[str] = []
    for at, row in enumerate(rows):
        x = MARGIN
        for colour, word in row:
            y = top + 22 * at
            sample = f'<rect x="{px(x)}" y="{px(y - 2)}" width="16" height="12"/>'
            parts.append(f'<g class="box stream {colour}">{sample}</g>')
            parts.append(_text("small", x + 22, y + 8, word))
            x += 40 + text_width(word, 12)
    return parts


def _text(kind: str, x: float, y: float, text: str) -> str:
    return f'<text class="{kind}" x="{px(x)}" y="{px(y)}">{escape(printable(text))}</text>'
