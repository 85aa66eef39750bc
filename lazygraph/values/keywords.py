"""The keywords of calls, as type checkers see them.  Never imported when a program runs.

Covers: what `compute` and its kind take, task options by name.
Does not cover: what an option means and what is wrong with a value (values.options).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Literal, TypedDict

from lazygraph.values.options import Limit, Rate, RetryPolicy


class HowToRun(TypedDict, total=False):
    """Keywords of `compute` and `start`; see `lazygraph.compute`."""

    executor: Any
    traverse: bool
    optimize_graph: bool
    on_error: Literal["raise", "collect", "skip"]
    fail_fast: bool
    timeout: float | None
    run_name: str | None
    progress: bool
    pdb: bool
    scheduler: Any
    num_workers: int | None


class HowToPersist(TypedDict, total=False):
    """Keywords of `persist`."""

    executor: Any
    traverse: bool
    optimize_graph: bool
    scheduler: Any


class Said(TypedDict, total=False):
    """Task options that may be said wherever options may be said; see `TaskOptions`."""

    retries: int | RetryPolicy
    rate_limit: str | Rate | list[str | Rate] | tuple[str | Rate, ...] | None
    queue: str
    priority: int
    resources: dict[str, float] | None
    workers: str | list[str] | tuple[str, ...]
    timeout: float | None
    isolated: bool
    limit: Limit | None
    concurrency: int | None
    at_most_once: bool
    countdown: float | timedelta | None
    eta: datetime | None
    expires: float | timedelta | datetime | None
    cache: Any
    key: str | None


class OfCalls(Said, total=False):
    """Task options of `f.options(...)` and `signature.set(...)`: those that make labels among them."""

    name: str | None
    nout: int | None
    pure: bool | None
