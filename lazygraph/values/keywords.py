"""The keywords of calls, as type checkers see them.  Never imported when a program runs.

Covers: what `compute` and its kind take, task options by name.
Does not cover: what an option means and what is wrong with a value (values.options).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, Required, TypedDict

from lazygraph.values.graph import Graph
from lazygraph.values.options import Limit, Rate, RetryPolicy
from lazygraph.values.storing import ResultStore


class HowToStart(TypedDict, total=False):
    """Keywords of `start`; see `lazygraph.compute`."""

    executor: Any
    traverse: bool
    optimize_graph: bool | Sequence[str | Callable[[Graph], Graph]]
    on_error: Literal["raise", "collect", "skip"]
    fail_fast: bool
    run_name: str | None
    progress: bool
    pdb: bool
    scheduler: Any
    num_workers: int | None


class HowToRun(HowToStart, total=False):
    """Keywords of `compute`."""

    timeout: float | None


class HowToPersist(TypedDict, total=False):
    """Keywords of `persist`."""

    executor: Any
    traverse: bool
    optimize_graph: bool | Sequence[str | Callable[[Graph], Graph]]
    scheduler: Any


class Options(TypedDict, total=False):
    """Task options that say nothing of names; see `TaskOptions`."""

    retries: int | RetryPolicy
    rate_limit: str | Rate | list[str | Rate] | tuple[str | Rate, ...] | None
    queue: str
    priority: int
    resources: dict[str, float]
    workers: str | list[str] | tuple[str, ...]
    timeout: float | timedelta | None
    isolated: bool
    limit: Limit | None
    concurrency: int | None
    at_most_once: bool
    countdown: float | timedelta | None
    eta: datetime | None
    expires: float | timedelta | datetime | None
    cache: bool | ResultStore
    key: str | None
    pure: bool | None
    nout: int | None


class OfCalls(Options, total=False):
    """Keywords of `signature.set(...)`, `apply_async(...)` and the like."""

    name: str | None


class OfFunctions(OfCalls, total=False):
    """Keywords of `f.options(...)`."""

    bind: bool


class Plain(Options, total=False):
    """Keywords of `delayed(...)` without a context for the function."""

    traverse: bool
    bind: Literal[False]


class Binding(Options, total=False):
    """Keywords of `delayed(...)` for a function that takes a context first."""

    traverse: bool
    bind: Required[Literal[True]]
