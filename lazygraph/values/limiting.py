"""Whose calls share `rate_limit=` and `concurrency=`: one limit for each function that somebody has decorated.

A function of a module goes by its name, so that all processes and clients mean the same limit.  Lambdas, functions in
functions, methods of one object, partials and the like have names that others have too: each gets one of its own, which
goes with it where it is pickled.

Covers: the name of a function's limit.
Does not cover: counting (running.limits), pickling (language.travel).
"""

from __future__ import annotations

import os
import weakref
from contextlib import suppress
from types import MethodType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

_HERE = os.urandom(6).hex()
_own: dict[tuple[int, ...], _Own] = {}  # by the identity of what they are of, as long as that is alive


class _Own(NamedTuple):
    """The name of something, and what it is of."""

    name: str
    of: tuple[weakref.ref[Any], ...]


def limit_of(function: Callable[..., Any]) -> str:
    """Return the name under which all calls of a function share their limits."""
    function = _decorated(function)
    return _known_name(function) or _own_name(function)


def own_limit_of(function: Callable[..., Any]) -> str | None:
    """Return the name that has to go with a function; None where the function's name leads to it."""
    function = _decorated(function)
    return None if _known_name(function) else _own_name(function)


def limit_as(function: Callable[..., Any], name: str) -> None:
    """Have a function, which was somewhere else before, be limited by the name that it had there."""
    things = _things(_decorated(function))
    with suppress(TypeError):
        _own[tuple(map(id, things))] = _owned(things, name)


def _decorated(function: Any) -> Any:
    """Return what was decorated: of a delayed function in a class that is the function, whatever object it is of."""
    return function if isinstance(function, MethodType) else getattr(function, "__func__", function)


def _known_name(function: Any) -> str | None:
    """Return the full name of a function, None where others may have the same."""
    owner, name = None, getattr(function, "__qualname__", None)
    if isinstance(function, MethodType):
        owner = function.__self__
        if not isinstance(owner, type):
            return None
        name = f"{owner.__qualname__}.{function.__name__}"
    module = getattr(owner or function, "__module__", None)
    if not isinstance(module, str) or not isinstance(name, str) or "<" in name:
        return None
    return f"{module}.{name}"


def _things(function: Any) -> tuple[Any, ...]:
    """Return what a function is known by: a method is a new object each time that it is asked for."""
    return (function.__self__, function.__func__) if isinstance(function, MethodType) else (function,)


def _own_name(function: Any) -> str:
    things = _things(function)
    key = tuple(map(id, things))
    known = _own.get(key)
    if known is not None:
        return known.name
    called = f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', type(function).__name__)}"
    try:
        return _own.setdefault(key, _owned(things, f"{called}~{os.urandom(6).hex()}")).name
    except TypeError:
        # What nothing can refer to weakly goes by its place: another in that place, later, shares the limit.
        return f"{called}~{_HERE}.{'.'.join(f'{id(thing):x}' for thing in things)}"


def _owned(things: tuple[Any, ...], name: str) -> _Own:
    """Return a name that is forgotten with what it is of.  Raises TypeError where that cannot be noticed."""
    key = tuple(map(id, things))
    return _Own(name, tuple([weakref.ref(thing, lambda _: _own.pop(key, None)) for thing in things]))
