"""Task options: one frozen record, its defaults, and what is wrong with a value.

Covers: names, types, validation, merging.
Does not cover: what an option does (running.frontier) and which executor honours it (executors.base).
"""

from __future__ import annotations

import dataclasses
import re
from contextvars import ContextVar
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from lazygraph.errors import InvalidOption, UnknownOption

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType

_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*/\s*(s|m|h|d)")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When and how often a failed attempt is made again.

    `delay` seconds before the first retry, multiplied by `backoff` for each further one, at most `max_delay`;
    `jitter` is a fraction of the delay.  `on` are the exceptions that are retried, `not_on` exceptions to that.
    """

    max_retries: int = 3
    on: tuple[type[BaseException], ...] = (Exception,)
    not_on: tuple[type[BaseException], ...] = ()
    delay: float = 0.0
    backoff: float = 2.0
    max_delay: float = 600.0
    jitter: float = 0.0

    def __post_init__(self) -> None:
        for name in ("max_retries", "delay", "backoff", "max_delay", "jitter"):
            if getattr(self, name) < 0:
                raise InvalidOption(f"RetryPolicy({name}={getattr(self, name)!r}): it cannot be negative")


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `text` starts ("10/s", "1000/h") in any window of that length; `even=True` spaces them."""

    text: str
    even: bool = False

    def __post_init__(self) -> None:
        if not _RATE.fullmatch(self.text.strip()):
            raise InvalidOption(f"rate {self.text!r} is not of the form '10/s', '600/m', '1000/h' or '5000/d'")

    @property
    def starts(self) -> float:
        """How many starts a window may hold."""
        return float(_RATE.fullmatch(self.text.strip())[1])  # type: ignore[index]

    @property
    def window(self) -> float:
        """The window's length in seconds."""
        return _SECONDS[_RATE.fullmatch(self.text.strip())[2]]  # type: ignore[index]


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit that several tasks share by its name: a rate, a number at once, or both."""

    name: str
    rate: Rate | str | None = None
    concurrency: int | None = None


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """Everything that can be said of a task besides its call.  The defaults say nothing."""

    retries: int | RetryPolicy = 0
    rate_limit: str | Rate | tuple[str | Rate, ...] | None = None
    queue: str = "default"
    priority: int = 0
    resources: tuple[tuple[str, float], ...] = ()
    workers: tuple[str, ...] = ()
    timeout: float | None = None
    isolated: bool = False
    limit: Limit | None = None
    concurrency: int | None = None
    at_most_once: bool = False
    countdown: float | None = None
    eta: datetime | None = None
    expires: float | datetime | None = None
    pure: bool = False
    key: str | None = None
    cache: Any = False
    nout: int | None = None
    name: str | None = None
    bind: bool = False

    def asked(self) -> tuple[str, ...]:
        """Return the names of the options that say something, in declared order."""
        return tuple(name for name, default in _DEFAULTS.items() if getattr(self, name) != default)

    @property
    def plain(self) -> bool:
        """Whether the task may share a lease: nothing about it needs policy when it starts or ends."""
        return not any(getattr(self, name) != _DEFAULTS[name] for name in _POLICY)


_DEFAULTS: Mapping[str, Any] = {field.name: field.default for field in fields(TaskOptions)}
_LABELS = frozenset({"pure", "key", "nout", "name"})
_POLICY = tuple(name for name in _DEFAULTS if name not in _LABELS)
NAMES = frozenset(_DEFAULTS)
DEFAULT = TaskOptions()


def _check_positive(name: str, value: Any) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or value < 0):
        raise InvalidOption(f"{name}={value!r}: a number of at least 0 is wanted")


def _check_retries(name: str, value: Any) -> None:
    if not isinstance(value, RetryPolicy):
        _check_positive(name, value)


def _check_text(name: str, value: Any) -> None:
    if value is not None and (not isinstance(value, str) or not value):
        raise InvalidOption(f"{name}={value!r}: a text that is not empty is wanted")


def _check_nout(name: str, value: Any) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        raise InvalidOption(f"{name}={value!r}: an integer of at least 0 is wanted")


def _check_priority(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidOption(f"{name}={value!r}: an integer is wanted, higher comes first")


def _check_eta(name: str, value: Any) -> None:
    if isinstance(value, datetime) and value.tzinfo is None:
        raise InvalidOption(f"{name}={value!r} has no time zone; for instance datetime.now(timezone.utc) has one")


def _check_rate(name: str, value: Any) -> None:
    for one in value if isinstance(value, tuple) else (value,):
        if isinstance(one, str):
            Rate(one)


_CHECKS: Mapping[str, Callable[[str, Any], None]] = {
    "retries": _check_retries,
    "rate_limit": _check_rate,
    "queue": _check_text,
    "name": _check_text,
    "key": _check_text,
    "priority": _check_priority,
    "nout": _check_nout,
    "timeout": _check_positive,
    "countdown": _check_positive,
    "concurrency": _check_positive,
    "eta": _check_eta,
    "expires": _check_eta,
}


def _canonical(name: str, value: Any) -> Any:
    # Rows are compared and hashed, so what people write as lists and dicts is kept as tuples.
    if name == "resources" and isinstance(value, dict):
        return tuple(sorted(value.items()))
    if name in ("workers", "rate_limit") and isinstance(value, list):
        return tuple(value)
    if name == "workers" and isinstance(value, str):
        return (value,)
    if isinstance(value, timedelta):
        return value.total_seconds()
    return value


def changed(base: TaskOptions, where: str, given: Mapping[str, Any]) -> TaskOptions:
    """Return `base` with the given options set; `where` names the call in errors."""
    if not given:
        return base
    canonical = {}
    for name, value in given.items():
        if name not in NAMES:
            raise UnknownOption(where, name, NAMES)
        canonical[name] = _canonical(name, value)
        if name in _CHECKS:
            _CHECKS[name](name, canonical[name])
    return replace(base, **canonical)


@lru_cache(maxsize=1024)
def over(base: TaskOptions, top: TaskOptions) -> TaskOptions:
    """Return `base` with what `top` asks for set over it."""
    return replace(base, **{name: getattr(top, name) for name in top.asked()})


_context: ContextVar[TaskOptions] = ContextVar("lazygraph_options", default=DEFAULT)


def in_context(options: TaskOptions) -> TaskOptions:
    """Return `options` with what `with lazygraph.options(...)` says set over it."""
    ambient = _context.get()
    return options if ambient is DEFAULT else over(options, ambient)


class options:
    """`with lazygraph.options(queue="io"): ...` applies to the nodes and signatures built inside."""

    def __init__(self, **given: Any) -> None:
        for name in ("key", "name", "nout"):
            if name in given:
                raise InvalidOption(f"options({name}=...) would give many nodes one {name}; set it on the call")
        changed(DEFAULT, "options()", given)
        self._given = given
        self._tokens: list[Any] = []

    def __enter__(self) -> None:
        self._tokens.append(_context.set(changed(_context.get(), "options()", self._given)))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        _context.reset(self._tokens.pop())


def as_plain(row: TaskOptions) -> Iterator[tuple[str, Any]]:
    """Yield what a row asks for as names and plain data (for the wire and for JSON)."""
    for name in row.asked():
        value = getattr(row, name)
        if isinstance(value, datetime):
            value = value.isoformat()
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            value = dataclasses.asdict(value)
        yield name, value
