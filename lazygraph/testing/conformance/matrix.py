"""Which executor honours which option: the table that the suite proves."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from lazygraph.values.options import Limit, RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from lazygraph.executors.base import Executor

SAMPLES: Mapping[str, Any] = {
    "retries": RetryPolicy(max_retries=2),
    "rate_limit": "1000/s",
    "queue": "other",
    "priority": 5,
    "resources": {"gpu": 1},
    "workers": ["nobody"],
    "timeout": 30.0,
    "isolated": True,
    "limit": Limit("api", concurrency=4),
    "concurrency": 4,
    "at_most_once": True,
    "countdown": 0.0,
    "eta": datetime(2020, 1, 1, tzinfo=UTC),
    "expires": 3600.0,
    "cache": True,
    "bind": True,
}
"""For each option that asks something of an executor, a value that asks it."""


def matrix(executors: Iterable[Executor]) -> dict[str, dict[str, str]]:
    """Return for each option what each executor does with it: "honoured" or "refused"."""
    chosen = list(executors)
    return {
        option: {e.name: "honoured" if option in e.capabilities else "refused" for e in chosen} for option in SAMPLES
    }
