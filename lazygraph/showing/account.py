"""The account of a run: EXPLAIN ANALYZE as text, JSON, a table and a picture.

What was not measured is said, never guessed: single tasks are seen only in runs that were started to be observed.

Covers: the texts, the page.
Does not cover: the figures (showing.analysis), what to change (showing.advice), the picture (showing.stream).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from html import escape
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lazygraph.errors import InvalidOption
from lazygraph.showing.picture import printable, shorten
from lazygraph.showing.seconds import percent_text, seconds_text
from lazygraph.showing.stream import stream_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from lazygraph.showing.advice import Advice
    from lazygraph.showing.analysis import Course, Group, Step
    from lazygraph.showing.estimating import Estimate

GROUPS_SHOWN = 12
STEPS_SHOWN = 6
ADVICE_SHOWN = 5
LONGEST_NAME = 40
NOT_OBSERVED = (
    "only the whole: start it with observe=True, or use explain(..., analyze=True), to have each task measured"
)


@dataclass(frozen=True, slots=True)
class Account:
    """How a run went, or goes: `done` of `tasks` tasks have ended well in `elapsed` seconds.

    `course` is what was seen of single tasks (None: they were not observed), `advice` what to change first, the most
    important first.  `waiting` says of each output that has not ended what it waits for.  `expected` is what it would
    have taken by earlier runs.  `bytes_kept` and `bytes_moved` are known on a cluster.
    """

    name: str
    executor: str
    done: int
    tasks: int
    elapsed: float
    ended: bool
    course: Course | None = None
    advice: tuple[Advice, ...] = ()
    waiting: tuple[str, ...] = ()
    expected: Estimate | None = None
    bytes_kept: int | None = None
    bytes_moved: int | None = None

    def __str__(self) -> str:
        lines = [self._headline(), *(f"  {name:<14} {text}" for name, text in self._facts())]
        if self.course is not None:
            lines += _table(self.course.groups)
        if self.advice:
            lines += ["  change first", *(f"    {one.sentence}" for one in self.advice[:ADVICE_SHOWN])]
        elif self.course is not None and self.ended:
            lines.append("  change first   nothing stands out")
        return "\n".join([*lines, *self.waiting])

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values for JSON; seconds are since the run began."""
        course = self.course
        return {
            "name": self.name,
            "executor": self.executor,
            "done": self.done,
            "tasks": self.tasks,
            "elapsed": self.elapsed,
            "ended": self.ended,
            "observed": course is not None,
            "bytes_kept": self.bytes_kept,
            "bytes_moved": self.bytes_moved,
            "expected": self.expected.to_dict() if self.expected is not None else None,
            "slots": {**asdict(course.slots), "idle": course.slots.idle} if course is not None else None,
            "longest": course.longest if course is not None else None,
            "groups": [{**asdict(group), "mean": group.mean} for group in course.groups] if course is not None else [],
            "critical_path": [_plain_step(step) for step in course.path] if course is not None else [],
            "advice": [one._asdict() for one in self.advice],
            "waiting": list(self.waiting),
        }

    def to_svg(self) -> str:
        """Return a picture of what each slot did; of a run that was not observed there is none: `InvalidOption`."""
        if self.course is None:
            raise InvalidOption(f"there is no picture of {self.name}: it measured {NOT_OBSERVED}")
        return stream_of(self.course, self._headline())

    def _repr_html_(self) -> str:
        """The facts, a row for each name and the picture, for notebooks; colours are the page's."""
        parts = [f"<p>{escape(self._headline())}</p>", _html_rows(self._facts())]
        if self.course is not None:
            parts.append(self.to_svg())
            parts.append(_html_table(self.course.groups))
        if self.advice:
            parts.append("<p>Change first:</p><ol>")
            parts += [f"<li>{escape(one.sentence)}</li>" for one in self.advice]
            parts.append("</ol>")
        parts += [f"<p>{escape(line)}</p>" for line in self.waiting]
        return "\n".join(parts)

    def to_html(self) -> str:
        """Return a page of its own: no scripts, nothing from elsewhere."""
        title = escape(printable(self.name))
        return (
            f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{title}</title>\n'
            f"<style>{_PAGE}</style></head>\n<body>\n<h1>{title}</h1>\n{self._repr_html_()}\n</body>\n</html>\n"
        )

    def write(self, path: str | Path) -> None:
        """Write it as .html, .json, .svg or .txt; raises `InvalidOption` for any other suffix."""
        place = Path(path)
        make = _FORMATS.get(place.suffix.lower())
        if make is None:
            raise InvalidOption(f"report({str(path)!r}): the suffix says the format, one of {', '.join(_FORMATS)}")
        place.write_text(make(self), encoding="utf-8")

    def _headline(self) -> str:
        done = f"{self.done} of {self.tasks} tasks done in {seconds_text(self.elapsed)}"
        return f"{self.name} on {self.executor!r}: {done}" + ("" if self.ended else ", and goes on")

    def _facts(self) -> list[tuple[str, str]]:
        facts = self._measured() if self.course is not None else [("measured", NOT_OBSERVED)]
        if self.bytes_moved is not None:
            facts.append(("bytes", f"{_bytes(self.bytes_kept or 0)} kept, {_bytes(self.bytes_moved)} moved"))
        return facts

    def _measured(self) -> list[tuple[str, str]]:
        course = self.course
        assert course is not None
        slots, whole = course.slots, course.slots.count * course.slots.elapsed
        busy = f"running {percent_text(slots.running, whole)} of the time, moving {percent_text(slots.moving, whole)}"
        facts = [("slots", f"{slots.count}: {busy}, idle {percent_text(slots.idle, whole)}")]
        if course.awaited:
            facts.append(("awaited", f"{seconds_text(course.awaited)} in all, beside the slots"))
        failed = sum(group.failed for group in course.groups)
        if failed:
            facts.append(("failed", f"{failed} of {len(course.attempts)} attempts"))
        facts.append(("critical path", path_text(course.path)))
        facts.append(("longest way", f"{seconds_text(course.longest)} with these durations, however many slots"))
        if self.expected is not None:
            facts.append(("expected", str(self.expected)))
        return facts


def path_text(path: Sequence[Step]) -> str:
    """Return the critical path in a line: its tasks, what they took, and what was waited for between them."""
    if not path:
        return "nothing has ended yet"
    running = sum(step.attempt.running for step in path)
    moving = sum(step.moving for step in path)
    waiting = sum(step.after for step in path) - moving
    pieces = [_piece(name, list(steps)) for name, steps in groupby(path, key=_name_of)]
    if len(pieces) > STEPS_SHOWN:  # which names there are says more than their order
        by_name = [list(steps) for _, steps in groupby(sorted(path, key=_name_of), key=_name_of)]
        by_name.sort(key=lambda steps: -sum(step.attempt.running for step in steps))
        shown = [_piece(steps[0].attempt.name, steps) for steps in by_name[:STEPS_SHOWN]]
        said = ", ".join([*shown, *([f"and {len(by_name) - len(shown)} more names"] * (len(by_name) > len(shown)))])
    else:
        said = " → ".join(pieces)
    slots = sum(step.because == "slot" for step in path)
    return (
        f"{len(path)} task{'s' * (len(path) != 1)}: {said}; {seconds_text(running)} running, "
        f"{seconds_text(waiting)} waiting, {seconds_text(moving)} moving; {slots} waited for a slot"
    )


def _name_of(step: Step) -> str:
    return step.attempt.name


def _piece(name: str, steps: Sequence[Step]) -> str:
    times = f" ×{len(steps)}" if len(steps) > 1 else ""
    return f"{shorten(name, LONGEST_NAME)}{times} {seconds_text(sum(step.attempt.running for step in steps))}"


_COLUMNS = ("nodes", "running in all", "a call", "expected", "waited", "moving")
"""Of a table; the last four are about one call, on average."""


def _cells(group: Group) -> list[str]:
    expected = seconds_text(group.expected) if group.expected is not None else "-"
    waited, moving = (seconds_text(seconds / max(group.attempts, 1)) for seconds in (group.waiting, group.moving))
    return [str(group.nodes), seconds_text(group.running), seconds_text(group.mean), expected, waited, moving]


def _table(groups: Sequence[Group]) -> list[str]:
    if not groups:
        return []
    shown = groups[:GROUPS_SHOWN]
    names = [shorten(group.name, LONGEST_NAME) for group in shown]
    rows = [list(_COLUMNS), *map(_cells, shown)]
    wide = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    name_wide = max(map(len, [*names, "by name"]))
    lines: list[str] = []
    for name, row in zip(["by name", *names], rows, strict=True):
        cells = "  ".join(f"{cell:>{width}}" for cell, width in zip(row, wide, strict=True))
        indent = "  " if not lines else "    "
        lines.append(f"{indent}{name:<{name_wide + 4 - len(indent)}}  {cells}")
    if len(groups) > len(shown):
        lines.append(f"    and {len(groups) - len(shown)} more names")
    return lines


def _plain_step(step: Step) -> dict[str, Any]:
    one = step.attempt
    return {
        "name": one.name,
        "task": one.task,
        "part": one.part,
        "attempt": one.number,
        "worker": one.lane.worker,
        "thread": one.lane.thread,
        "because": step.because,
        "after": step.after,
        "moving": step.moving,
        "began": one.began,
        "ended": one.ended,
    }


def _html_rows(facts: Iterable[tuple[str, str]]) -> str:
    rows = "".join(
        f'<tr><th style="text-align:left">{escape(name)}</th><td style="text-align:left">{escape(text)}</td></tr>'
        for name, text in facts
    )
    return f"<table>{rows}</table>"


def _html_table(groups: Sequence[Group]) -> str:
    head = "".join(f"<th>{name}</th>" for name in ("name", *_COLUMNS))
    rows = [
        f'<tr><td style="text-align:left">{escape(shorten(group.name, LONGEST_NAME))}</td>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in _cells(group))
        + "</tr>"
        for group in groups[: 10 * GROUPS_SHOWN]
    ]
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"


def _bytes(number: int) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000 or unit == "GB":
            return f"{number:.3g} {unit}" if unit != "B" else f"{number} B"
        number /= 1000  # type: ignore[assignment]
    raise AssertionError("gigabytes take what is left")


_PAGE = (
    ":root{color-scheme:light dark}"
    "body{font-family:system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem}"
    "table{border-collapse:collapse;margin:1rem 0}th,td{padding:.2rem .8rem .2rem 0;text-align:right;"
    "vertical-align:top;font-variant-numeric:tabular-nums}"
)


def _as_json(account: Account) -> str:
    import json  # only those pay for it who want a file

    return json.dumps(account.to_dict(), indent=1) + "\n"


_FORMATS: dict[str, Callable[[Account], str]] = {
    ".html": Account.to_html,
    ".json": _as_json,
    ".svg": Account.to_svg,
    ".txt": lambda account: f"{account}\n",
}
