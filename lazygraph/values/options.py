"""Task options: one frozen record, its defaults, and what is wrong with a value.

Covers: names, types, validation, merging.
Does not cover: what an option does (running.frontier) and which executor honours it (executors.base).
"""

from __future__ import annotations

import dataclasses
import re
from contextvars import ContextVar, Token
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from lazygraph.errors import InvalidOption, UnknownOption
from lazygraph.values.foreign import INSTEAD
from lazygraph.values.storing import is_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType

_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*/\s*(s|m|h|d)")
_MAX_DELAY = 600.0
_FOREVER = float("inf")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When and how often a failed attempt is made again.

    `delay` seconds before the first retry, multiplied by `backoff` for each further one, at most `max_delay` (default:
    600, or `delay` if that is more); `jitter` is a fraction of the delay.  `on` are the exceptions that are retried,
    `not_on` exceptions to that.  Raises `InvalidOption`.
    """

    max_retries: int = 3
    on: tuple[type[BaseException], ...] = (Exception,)
    not_on: tuple[type[BaseException], ...] = ()
    delay: float = 0.0
    backoff: float = 2.0
    max_delay: float = _MAX_DELAY
    jitter: float = 0.0

    def __post_init__(self) -> None:
        for name in ("max_retries", "delay", "backoff", "max_delay", "jitter"):
            if not _number(getattr(self, name)):
                raise InvalidOption(f"RetryPolicy({name}={getattr(self, name)!r}): a number of at least 0 is wanted")
        if self.delay == _FOREVER:
            raise InvalidOption(f"RetryPolicy(delay={self.delay!r}): a finite number of seconds is wanted")
        if self.jitter > 1:
            raise InvalidOption(f"RetryPolicy(jitter={self.jitter!r}): it is a fraction of the delay, at most 1")
        for name in ("on", "not_on"):
            if not _are_exceptions(getattr(self, name)):
                raise InvalidOption(
                    f"RetryPolicy({name}={getattr(self, name)!r}): a tuple of exception classes is wanted, "
                    f"for instance (ConnectionError, TimeoutError)"
                )
        if self.delay > self.max_delay:
            if self.max_delay != _MAX_DELAY:
                both = f"delay={self.delay!r}, max_delay={self.max_delay!r}"
                raise InvalidOption(f"RetryPolicy({both}): the first delay would be longer than the longest")
            object.__setattr__(self, "max_delay", self.delay)  # what was asked for holds


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `text` starts ("10/s", "1000/h") in any window of that length; `even=True` spaces them."""

    text: str
    even: bool = False

    def __post_init__(self) -> None:
        if not _RATE.fullmatch(self.text.strip()):
            raise InvalidOption(f"rate {self.text!r} is not of the form '10/s', '600/m', '1000/h' or '5000/d'")
        if not self.starts:
            raise InvalidOption(f"rate {self.text!r} would let nothing start, ever")

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
    """A limit that several tasks share by its name: a rate, a number at once, or both.

    The first task of an executor that names it says what it is; another rate or number under the same name is an error.
    """

    name: str
    rate: Rate | str | None = None
    concurrency: int | None = None

    def __post_init__(self) -> None:
        _check_text("Limit(name)", self.name)
        if isinstance(self.rate, str):
            Rate(self.rate)
        _check_concurrency("Limit(concurrency)", self.concurrency)
        if self.rate is None and self.concurrency is None:
            raise InvalidOption(f"Limit({self.name!r}) limits nothing; give it rate= or concurrency=")


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
    limited_as: str | None = None  # set in lowering, to values.limiting's name of the function

    def asked(self) -> tuple[str, ...]:
        """Return the names of the options that say something, in declared order."""
        return tuple(name for name, default in _DEFAULTS.items() if name in NAMES and getattr(self, name) != default)

    @property
    def is_pure(self) -> bool:
        """Whether equal calls give equal values; what is cached is."""
        return self.pure or self.cache is not False  # a store may be empty, and so count as false

    @property
    def plain(self) -> bool:
        """Whether the task may share a lease: nothing about it needs policy when it starts or ends."""
        return self is DEFAULT or not any(getattr(self, name) != _DEFAULTS[name] for name in _POLICY)


_DEFAULTS: Mapping[str, Any] = {field.name: field.default for field in fields(TaskOptions)}
LABELS = frozenset({"pure", "key", "nout", "name", "limited_as"})
"""Options that say something about a node and ask nothing of its executor."""
_POLICY = tuple(name for name in _DEFAULTS if name not in LABELS)
NAMES = frozenset(_DEFAULTS) - {"limited_as"}
DEFAULT = TaskOptions()


def _wrong(name: str, value: Any, wanted: str) -> InvalidOption:
    return InvalidOption(f"{name}={value!r}: {wanted} is wanted")


def _number(value: Any, least: float = 0) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= least


def _are_exceptions(classes: Any) -> bool:
    return isinstance(classes, tuple) and all(
        isinstance(one, type) and issubclass(one, BaseException) for one in classes
    )


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _check_seconds(name: str, value: Any) -> None:
    if value is not None and not (_number(value) and value < _FOREVER):
        raise _wrong(name, value, "a finite number of seconds, at least 0,")


def _check_retries(name: str, value: Any) -> None:
    if not isinstance(value, RetryPolicy) and not _whole(value, 0):
        raise _wrong(name, value, "an integer of at least 0 or a RetryPolicy")


def _check_text(name: str, value: Any) -> None:
    if value is not None and (not isinstance(value, str) or not value):
        raise _wrong(name, value, "a text that is not empty")


def _check_queue(name: str, value: Any) -> None:
    _check_text(name, value if value is not None else "")


def _check_flag(name: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise _wrong(name, value, "True or False")


def _check_nout(name: str, value: Any) -> None:
    if value is not None and not _whole(value, 0):
        raise _wrong(name, value, "an integer of at least 0")


def _check_concurrency(name: str, value: Any) -> None:
    if value is not None and not _whole(value, 1):
        raise _wrong(name, value, "an integer of at least 1")


def _check_priority(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong(name, value, "an integer, higher comes first,")


def _check_eta(name: str, value: Any) -> None:
    if value is not None and not isinstance(value, datetime):
        raise _wrong(name, value, "a datetime with a time zone")
    if value is not None and value.tzinfo is None:
        raise InvalidOption(f"{name}={value!r} has no time zone; for instance datetime.now(timezone.utc) has one")


def _check_expires(name: str, value: Any) -> None:
    (_check_eta if isinstance(value, datetime) else _check_seconds)(name, value)


def _check_rate(name: str, value: Any) -> None:
    for one in value if isinstance(value, tuple) else (value,):
        if isinstance(one, str):
            Rate(one)
        elif one is not None and not isinstance(one, Rate):
            raise _wrong(name, value, "a text like '10/s', a Rate or a list of them")


def _check_limit(name: str, value: Any) -> None:
    if value is not None and not isinstance(value, Limit):
        raise _wrong(name, value, "a Limit")


def _check_resources(name: str, value: Any) -> None:
    if not isinstance(value, tuple) or not all(isinstance(what, str) and _number(much) for what, much in value):
        raise _wrong(name, value, "a dict of names and amounts")


def _check_workers(name: str, value: Any) -> None:
    if not isinstance(value, tuple) or not all(isinstance(worker, str) for worker in value):
        raise _wrong(name, value, "a list of addresses or names")


def _check_cache(name: str, value: Any) -> None:
    if not isinstance(value, bool) and not is_store(value):
        raise _wrong(name, value, "True, False or a lazygraph.Store(path)")
    try:
        hash(value)
    except TypeError:
        raise _wrong(name, value, "a store that can be hashed") from None


_CHECKS: Mapping[str, Callable[[str, Any], None]] = {
    "retries": _check_retries,
    "rate_limit": _check_rate,
    "queue": _check_queue,
    "priority": _check_priority,
    "resources": _check_resources,
    "workers": _check_workers,
    "timeout": _check_seconds,
    "isolated": _check_flag,
    "limit": _check_limit,
    "concurrency": _check_concurrency,
    "at_most_once": _check_flag,
    "countdown": _check_seconds,
    "eta": _check_eta,
    "expires": _check_expires,
    "pure": _check_flag,
    "key": _check_text,
    "cache": _check_cache,
    "nout": _check_nout,
    "name": _check_text,
    "bind": _check_flag,
}


def _canonical(name: str, value: Any) -> Any:
    # Rows are compared and hashed, so what people write as lists and dicts is kept as tuples.
    if name == "resources" and isinstance(value, dict):
        return tuple(sorted(value.items()))
    if name in ("workers", "rate_limit", "resources") and isinstance(value, list):
        return tuple(tuple(one) if isinstance(one, list) else one for one in value)
    if name == "workers" and isinstance(value, str):
        return (value,)
    if isinstance(value, timedelta):
        return value.total_seconds()
    return value


Said = tuple[tuple[str, Any], ...]
"""Options that somebody has said, by name.  Not yet a row: a default can be said too, and then it holds."""


def said(where: str, given: Mapping[str, Any], base: Said = ()) -> Said:
    """Return `base` with the given options said over it; `where` names the call in errors."""
    options = dict(base)
    for name, value in given.items():
        if name not in NAMES:
            raise UnknownOption(where, name, NAMES, INSTEAD.get(name, ""))
        options[name] = _canonical(name, value)
        _CHECKS[name](name, options[name])
    return tuple(sorted(options.items(), key=lambda item: item[0]))


def changed(base: TaskOptions, where: str, given: Mapping[str, Any]) -> TaskOptions:
    """Return `base` with the given options set; `where` names the call in errors."""
    return over(base, said(where, given)) if given else base


@lru_cache(maxsize=1024)
def over(base: TaskOptions, top: Said) -> TaskOptions:
    """Return `base` with what `top` says set over it."""
    return replace(base, **dict(top))


def together(base: Said, top: Said) -> Said:
    """Return what both say; where they differ, `top` holds."""
    if not (base and top):
        return top or base
    return tuple(sorted({**dict(base), **dict(top)}.items(), key=lambda item: item[0]))


_context: ContextVar[Said] = ContextVar("lazygraph_options", default=())
ambient = _context.get
"""What `with lazygraph.options(...)` says here."""


def in_context(row: TaskOptions) -> TaskOptions:
    """Return `row` with what `with lazygraph.options(...)` says set over it."""
    here = ambient()
    return over(row, here) if here else row


class options:
    """`with lazygraph.options(queue="io"): ...` applies to the nodes and signatures built inside."""

    def __init__(self, **given: Any) -> None:
        for name in ("key", "name", "nout"):
            if name in given:
                raise InvalidOption(f"options({name}=...) would give many nodes one {name}; set it on the call")
        said("options()", given)
        self._given = given
        self._tokens: list[Token[Said]] = []

    def __enter__(self) -> None:
        self._tokens.append(_context.set(said("options()", self._given, _context.get())))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        _context.reset(self._tokens.pop())


@lru_cache(maxsize=1024)
def limited(row: TaskOptions, function: str) -> TaskOptions:
    """Return a row whose limits are those of all calls of one function."""
    return replace(row, limited_as=function)


def as_plain(row: TaskOptions) -> Iterator[tuple[str, Any]]:
    """Yield what a row asks for as names and plain data, for the wire; without the classes of a RetryPolicy."""
    for name in (*row.asked(), "limited_as"):
        value = getattr(row, name)
        if isinstance(value, datetime):
            value = value.isoformat()
        elif isinstance(value, RetryPolicy):
            value = {
                field.name: getattr(value, field.name) for field in fields(value) if field.name not in ("on", "not_on")
            }
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            value = dataclasses.asdict(value)
        if value is not None:
            yield name, value


def from_plain(given: Mapping[str, Any]) -> TaskOptions:
    """Return the row again that `as_plain` has made plain."""
    if not given:
        return DEFAULT
    return replace(DEFAULT, **{name: _AGAIN.get(name, _as_it_is)(value) for name, value in given.items()})


def _as_it_is(value: Any) -> Any:
    return tuple(tuple(one) if isinstance(one, list) else one for one in value) if isinstance(value, list) else value


def _rate(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(map(_rate, value))
    return Rate(**value) if isinstance(value, dict) else value


def _limit(value: Mapping[str, Any]) -> Limit:
    return Limit(**{**value, "rate": _rate(value.get("rate"))})


_AGAIN: Mapping[str, Callable[[Any], Any]] = {
    "retries": lambda value: RetryPolicy(**value) if isinstance(value, dict) else value,
    "rate_limit": _rate,
    "limit": _limit,
    "eta": datetime.fromisoformat,
    "expires": lambda value: datetime.fromisoformat(value) if isinstance(value, str) else value,
}
