"""What an option row means to the mind: when a task may start, how often it is tried, where it may run.

Covers: rows made ready to be asked, delays of retries.
Does not cover: what is done about it (running.timing, running.limits), names and checks of options (values.options).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from lazygraph.values.options import Rate, RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lazygraph.values.options import TaskOptions

ASKED = RetryPolicy(max_retries=3, delay=1.0, backoff=2.0)
"""What `self.retry()` means where no policy was set: three more attempts, after 1, 2 and 4 seconds."""

_GOLDEN = 0x9E3779B97F4A7C15
_64 = (1 << 64) - 1


class Where(NamedTuple):
    """Who may take a task: workers of this queue, with these names or addresses, that have so much left."""

    queue: str
    workers: tuple[str, ...]
    resources: tuple[tuple[str, float], ...]


class Window(NamedTuple):
    """At most `starts` in any `seconds`."""

    starts: int
    seconds: float


class LimitOf(NamedTuple):
    """One limit of a task: `key` says with whom it is shared."""

    key: tuple[str, ...]
    windows: tuple[Window, ...]
    most: int | None


@dataclass(frozen=True, slots=True)
class Policy:
    """One option row.  `alone`: its tasks share no lease; `eta` and `expires_at` are seconds of the wall clock."""

    retries: RetryPolicy
    priority: int
    countdown: float
    eta: float | None
    expires: float | None
    expires_at: float | None
    where: Where | None
    limits: tuple[LimitOf, ...]
    at_most_once: bool
    isolated: bool
    timeout: float | None
    alone: bool


@lru_cache(maxsize=1024)
def policy_of(row: TaskOptions) -> Policy:
    """Return what a row means."""
    retries = row.retries if isinstance(row.retries, RetryPolicy) else RetryPolicy(max_retries=row.retries)
    limits = tuple(_limits(row))
    isolated = row.isolated or row.timeout is not None
    expires = row.expires
    where = Where(row.queue, row.workers, row.resources)
    return Policy(
        retries=retries,
        priority=row.priority,
        countdown=row.countdown or 0.0,
        eta=row.eta.timestamp() if row.eta is not None else None,
        expires=expires if isinstance(expires, int | float) else None,
        expires_at=expires.timestamp() if isinstance(expires, datetime) else None,
        where=None if where == _ANYBODY else where,
        limits=limits,
        at_most_once=row.at_most_once,
        isolated=isolated,
        timeout=row.timeout,
        alone=bool(limits or isolated or row.resources or row.at_most_once or expires is not None),
    )


_ANYBODY = Where("default", (), ())


def _limits(row: TaskOptions) -> Iterable[LimitOf]:
    own = row.rate_limit if isinstance(row.rate_limit, tuple) else (row.rate_limit,)
    windows = tuple(window for rate in own if rate is not None for window in windows_of(rate))
    if windows or row.concurrency is not None:
        spelled = tuple(f"{window.starts} in {window.seconds!r}" for window in windows)
        yield LimitOf(("task", row.limited_as or "", *spelled, str(row.concurrency)), windows, row.concurrency)
    shared = row.limit
    if shared is not None:
        yield LimitOf(
            ("named", shared.name), windows_of(shared.rate) if shared.rate is not None else (), shared.concurrency
        )


def windows_of(rate: Rate | str) -> tuple[Window, ...]:
    """Return the windows of a rate: "0.5/s" is one start in two seconds, an even rate spaces its starts besides."""
    rate = Rate(rate) if isinstance(rate, str) else rate
    if rate.starts < 1:
        return (Window(1, rate.window / rate.starts),)
    whole = Window(math.floor(rate.starts), rate.window)
    return (whole, Window(1, rate.window / rate.starts)) if rate.even and whole.starts > 1 else (whole,)


def delay_of(policy: RetryPolicy, before: int, seed: int) -> float:
    """Return the seconds before a retry; `before` retries came before it.

    `jitter` takes up to that fraction of the delay away, by a number made of `seed`: 1.0 spreads retries over the whole
    delay ("full jitter" in https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
    """
    if not policy.delay:
        return 0.0
    try:
        delay = min(policy.delay * float(policy.backoff) ** before, policy.max_delay)
    except OverflowError:
        delay = policy.max_delay
    return max(0.0, delay * (1.0 - policy.jitter * _fraction(seed))) if policy.jitter else delay


def _fraction(seed: int) -> float:
    """Return a number from 0 to 1 that looks random (SplitMix64: Steele, Lea and Flood, OOPSLA 2014)."""
    mixed = (seed + _GOLDEN) & _64
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _64
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _64
    return ((mixed ^ (mixed >> 31)) >> 11) / (1 << 53)
