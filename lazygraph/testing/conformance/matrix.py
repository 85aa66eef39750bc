"""Which executor honours which option: the table that the suite proves, and that README shows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from lazygraph.executors.base import CAPABILITIES
from lazygraph.values.options import Limit, RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from lazygraph.executors.base import Executor

SAMPLES: Mapping[str, Any] = {
    "retries": RetryPolicy(max_retries=2),
    "bind": True,
    "rate_limit": "1000/s",
    "limit": Limit("api", concurrency=4),
    "concurrency": 4,
    "queue": "other",
    "priority": 5,
    "resources": {"gpu": 1},
    "workers": ["worker-1"],
    "timeout": 30.0,
    "isolated": True,
    "at_most_once": True,
    "countdown": 0.0,
    "eta": datetime(2020, 1, 1, tzinfo=UTC),
    "expires": 3600.0,
    "cache": True,
}
"""For each option that asks something of an executor, a value that asks it.

An executor that honours `queue`, `resources` or `workers` is proved with places that offer what is asked here.
"""

_OTHERS = ("pool", "dask", "ray", "celery")

REASONS: Mapping[str, Mapping[str, str]] = {
    "resources": {
        "": "there is one place only, and nothing that it could run out of",
        "processes": "its children are all alike",
        "pool": "nothing is known of the pool's workers",
        "celery": "Celery's workers have none",
    },
    "workers": {
        "": "there is one place only",
        "processes": "its children have no names",
        "pool": "the pool's workers have no names",
        "ray": "Ray places tasks by what they need",
        "celery": "Celery places tasks by queue",
    },
    "timeout": dict.fromkeys(_OTHERS, "what runs in other people's workers cannot be killed one by one"),
    "isolated": dict.fromkeys(_OTHERS, "what runs in other people's workers has no process of its own"),
    "at_most_once": {"dask": "Dask runs what a lost worker has not finished again by itself"},
}
"""Why an option is refused, by executor; "" stands for all others."""

UNKNOWN = "its capabilities do not name it"


def reason(option: str, executor: str) -> str:
    """Return why an executor refuses an option."""
    known = REASONS.get(option, {})
    return known.get(executor) or known.get("") or UNKNOWN


def matrix(executors: Iterable[Executor]) -> dict[str, dict[str, str]]:
    """Return for each option what each executor says that it does with it: "honoured" or "refused"."""
    chosen = list(executors)
    return {
        option: {e.name: "honoured" if option in e.capabilities else "refused" for e in chosen} for option in SAMPLES
    }


def table(capabilities: Mapping[str, frozenset[str]] = CAPABILITIES) -> str:
    """Return README's table of executors and options, in Markdown: a row an option, a note for each refusal."""
    names = list(capabilities)
    notes: list[str] = []
    rows = [f"| option | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    for option in SAMPLES:
        cells = [_cell(option, name, option in capabilities[name], notes) for name in names]
        rows.append(f"| `{option}` | {' | '.join(cells)} |")
    rows.append("")
    rows += [f"{at}. {note}" for at, note in enumerate(notes, 1)]
    return "\n".join(rows) + "\n"


def _cell(option: str, name: str, honoured: bool, notes: list[str]) -> str:
    if honoured:
        return "yes"
    note = f"refused: {reason(option, name)}"
    if note not in notes:
        notes.append(note)
    return f"({notes.index(note) + 1})"
