"""What the demo prints. Text and JSON are made by functions of plain values; `say` and `Progress` put them out."""

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import zip_longest
from types import TracebackType
from typing import Any, Protocol, Self

import click

from lazygraph.cli.demo.facts import Problem
from lazygraph.cli.demo.report import Chain, Cycles, Ranking, Report

PLAIN = "plain loop"
PROBLEMS_SHOWN = 12
BAR = 30
LINES_WITHOUT_TERMINAL = 4
UNITS = ("B", "kB", "MB", "GB")


class Explanation(Protocol):
    """What `explain()` returns: readable as text, and as plain values for JSON."""

    def __str__(self) -> str: ...
    def to_dict(self) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Measured:
    """One run: where, what came out, seconds, how many tasks, and bytes (None: does not apply there)."""

    name: str
    report: Report
    elapsed: float
    tasks: int
    bytes_kept: int | None = None
    bytes_moved: int | None = None

    @property
    def tasks_per_second(self) -> float:
        """Tasks per second; 0 when the clock saw no time pass."""
        return self.tasks / self.elapsed if self.elapsed > 0 else 0.0


def say(text: str, err: bool = False) -> None:
    """Print lines; what the terminal's encoding lacks is escaped, as a file's name may be anything."""
    encoding = (sys.stderr if err else sys.stdout).encoding or "utf-8"
    click.echo(text.encode(encoding, "backslashreplace").decode(encoding), err=err)


class Progress:
    """Shows how far a run is, on standard error: one line rewritten on a terminal, a few lines elsewhere."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._terminal = sys.stderr.isatty()
        self._last = ""
        self._told = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._terminal and self._last:
            click.echo(err=True)

    def update(self, done: int, total: int) -> None:
        """Show that `done` of `total` are done."""
        if self._terminal:
            self._rewrite(done, total)
        elif (part := LINES_WITHOUT_TERMINAL * done // total if total else 0) > self._told:
            self._told = part
            say(f"{self._label}: {done:,} of {total:,}", err=True)

    def _rewrite(self, done: int, total: int) -> None:
        filled = BAR * done // total if total else BAR
        line = f"{self._label:<12}[{'=' * filled}{' ' * (BAR - filled)}] {done:,} of {total:,}"
        if line != self._last:
            self._last = line
            click.echo(f"\r{line}\x1b[K", nl=False, err=True)


def before(root: str, files: int, executors: Sequence[str], explanation: Explanation) -> str:
    """Say what will run, on what and where."""
    places = " and then ".join(executors)
    return f"{files:,} Python files below {printable(root)}, as one graph, on {places}\n\n{explanation}\n"


def report(found: Report, root: str) -> str:
    """Lay the report out for reading; paths are shown from `root`."""
    totals = found.totals
    counts = [
        (totals.files, "files"),
        (totals.lines, "lines"),
        (totals.functions, "functions"),
        (totals.classes, "classes"),
        (totals.identifiers, "names in code"),
        (found.identifiers.distinct, "different names"),
    ]
    sections = [
        ["", ", ".join(f"{count:,} {of_what}" for count, of_what in counts)],
        _rankings(found.identifiers, found.modules),
        _cycles(found.cycles),
        _chain(found.chain),
        _problems(totals.problems, root),
    ]
    return "\n\n".join("\n".join(section) for section in sections if section)


def after(measured: Sequence[Measured], expected: Measured) -> str:
    """Say how the runs went and whether they agree with the plain loop."""
    lines = [""]
    for each in measured:
        line = f"{each.name:<12}{each.tasks:>8,} tasks in {each.elapsed:7.2f} s  {each.tasks_per_second:>8,.0f} tasks/s"
        if each.bytes_kept is not None:
            line += f"   kept on workers {size(each.bytes_kept)}"
        if each.bytes_moved is not None:
            line += f"   moved {size(each.bytes_moved)}"
        lines.append(line)
    lines += [f"{expected.name:<12}{expected.tasks:>8,} files in {expected.elapsed:7.2f} s", ""]
    lines += [
        f"{each.name} DIFFERS from the {expected.name} in: {', '.join(differences(each.report, expected.report))}"
        for each in measured
        if each.report != expected.report
    ]
    equal = [each.name for each in measured if each.report == expected.report]
    if equal:
        lines.append(f"{' == '.join([*equal, expected.name])}: identical")
    return "\n".join(lines)


def document(
    root: str, explanation: Explanation, picture: str | None, measured: Sequence[Measured], expected: Measured
) -> str:
    """Return everything as one JSON document; times in seconds, sizes in bytes."""
    runs = [
        {
            "executor": each.name,
            "elapsed": each.elapsed,
            "tasks": each.tasks,
            "tasks_per_second": each.tasks_per_second,
            "bytes_kept": each.bytes_kept,
            "bytes_moved": each.bytes_moved,
            "identical": each.report == expected.report,
            "differences": differences(each.report, expected.report),
        }
        for each in measured
    ]
    found = {
        "directory": root,
        "graph": explanation.to_dict(),
        "picture": picture,
        "runs": runs,
        "plain": {"files": expected.tasks, "elapsed": expected.elapsed},
        "identical": all(run["identical"] for run in runs),
        "report": asdict(expected.report),
    }
    # ASCII, as a file's name may hold bytes that no Unicode text can.
    return json.dumps(found, indent=2)


def differences(one: Report, other: Report) -> list[str]:
    """Return the names of the sections that are not equal."""
    return [part.name for part in fields(Report) if getattr(one, part.name) != getattr(other, part.name)]


def size(count: int) -> str:
    """Write a number of bytes for reading, such as `1.7 MB`."""
    amount, unit = float(count), 0
    while amount >= 1000 and unit < len(UNITS) - 1:
        amount, unit = amount / 1000, unit + 1
    return f"{amount:.1f} {UNITS[unit]}" if unit else f"{count} B"


def printable(text: str) -> str:
    """Escape what a terminal would act on or cannot show."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii") for letter in text
    )


def _rankings(identifiers: Ranking, modules: Ranking) -> list[str]:
    if not identifiers.top:
        return []
    left = _table("most used names", "uses", identifiers.top)
    right = _table("most imported modules", "importers", modules.top)
    width = max(map(len, left))
    return [f"{a:<{width}}     {b}".rstrip() for a, b in zip_longest(left, right, fillvalue="")]


def _table(title: str, unit: str, rows: Iterable[tuple[str, int]]) -> list[str]:
    written = [(title, unit), *((printable(name), f"{count:,}") for name, count in rows)]
    widths = [max(len(cell) for cell in column) for column in zip(*written, strict=True)]
    return [f"{name:<{widths[0]}}  {count:>{widths[1]}}" for name, count in written]


def _cycles(found: Cycles) -> list[str]:
    if not found.count:
        return ["import cycles: none"]
    which = "" if found.count == len(found.largest) else f", the largest {len(found.largest)}"
    lines = [f"import cycles: {found.count}{which}"]
    for cycle in found.largest:
        more = f"  (of {len(cycle.modules)} modules)" if len(cycle.modules) > len(cycle.loop) else ""
        lines += _wrapped(f"{' → '.join([*cycle.loop, cycle.loop[0]])}{more}")
    return lines


def _chain(found: Chain) -> list[str]:
    if not found.links:
        return []
    names = [link[0] if len(link) == 1 else f"{link[0]} (in a cycle of {len(link)})" for link in found.links]
    return [f"longest import chain: {len(names)} links", *_wrapped(" → ".join(names))]


def _problems(problems: Sequence[Problem], root: str) -> list[str]:
    if not problems:
        return []
    lines = [f"files with a problem: {len(problems):,}"]
    lines += [
        f"  {printable(os.path.relpath(problem.path, root))} {printable(problem.sentence)}"
        for problem in problems[:PROBLEMS_SHOWN]
    ]
    if len(problems) > PROBLEMS_SHOWN:
        lines.append(f"  and {len(problems) - PROBLEMS_SHOWN:,} more (all of them: --json)")
    return lines


def _wrapped(text: str) -> list[str]:
    width = min(max(shutil.get_terminal_size().columns, 60), 120)
    return textwrap.wrap(
        printable(text),
        width,
        initial_indent="  ",
        subsequent_indent="    ",
        break_long_words=False,
        break_on_hyphens=False,
    )
