"""Did a task change what it was given?  Looked for on sync and threads where `LAZYGRAPH_CHECK_MUTATION=1`.

Inputs are shared: a task that sorts its list in place changes it for every other reader, and only on executors where
they share memory.  A content key of each argument, before and after the call, tells.  What has none (a lock, an open
file) is not looked at.

Covers: functions that watch their arguments.
Does not cover: content keys (values.keys).
"""

from __future__ import annotations

import os
from collections.abc import Coroutine
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

from lazygraph.errors import InputChanged
from lazygraph.language.calls import name_of
from lazygraph.planning.keeping import Found, Kept
from lazygraph.values.canonical import form_of
from lazygraph.values.forms import Form
from lazygraph.values.graph import Fused, Tables
from lazygraph.values.keys import Keys, Unkeyable
from lazygraph.values.node import identity
from lazygraph.values.template import PLAIN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VARIABLE = "LAZYGRAPH_CHECK_MUTATION"


def watched(tables: Tables) -> Tables:
    """Return the tables with functions that raise `InputChanged`, if the environment asks for it."""
    if os.environ.get(VARIABLE, "0") in ("", "0"):
        return tables
    return Tables(tuple(map(_watched, tables.functions)), tables.constants, tables.templates)


def _watched(function: Any) -> Any:
    if type(function) is Kept:
        return function.around(_watched(function.function))
    return function if isinstance(function, Fused | Found) or function is identity else _Watching(function)


def unwatched(function: Any) -> Any:
    """Return a function as it was before it was watched."""
    return function.function if type(function) is _Watching else function


def innermost(function: Any) -> Any:
    """Return the function that a task was made of, whatever watches it or keeps its value."""
    while isinstance(function, _Watching | Kept):
        function = function.function
    return function


def give_up(coroutine: Coroutine[Any, Any, Any]) -> None:
    """Close a coroutine that will not be awaited; with one that awaits another that one, which it has not begun."""
    frame = getattr(coroutine, "cr_frame", None)
    name = _AWAITING.get(frame.f_code) if frame is not None else None
    inner = frame.f_locals[name] if frame is not None and name is not None else None
    coroutine.close()
    if inner is not None:
        give_up(inner)


class _Watching:
    """Calls a function and sees that its arguments are afterwards what they were before."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        before = list(_marks(args, kwargs))
        value = self.function(*args, **kwargs)
        if isinstance(value, Coroutine):
            return self._awaited(value, args, kwargs, before)
        self._compare(args, kwargs, before)
        return value

    async def _awaited(self, value: Coroutine[Any, Any, Any], args: Any, kwargs: Any, before: list[Any]) -> Any:
        ended = await value
        self._compare(args, kwargs, before)
        return ended

    def _compare(self, args: tuple[Any, ...], kwargs: dict[str, Any], before: list[Any]) -> None:
        for (name, kind, was), (_, _, is_) in zip(before, _marks(args, kwargs), strict=True):
            if was != is_:
                raise InputChanged(name_of(self.function), name, kind)


_AWAITING = {_Watching._awaited.__code__: "value", Kept._awaited.__code__: "coroutine"}
"""Coroutines that await another, and what they call it."""


def _marks(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[tuple[str, str, bytes | None]]:
    """Yield each argument's name, its type, and its content key (None: it has none, or cannot change)."""
    named = [(f"argument {at}", value) for at, value in enumerate(args, 1)]
    for name, value in (*named, *((f"{name}=", value) for name, value in kwargs.items())):
        yield name, type(value).__name__, None if type(value) in PLAIN else _mark(value)


def _mark(value: Any) -> bytes | None:
    if hasattr(type(value), "__next__"):
        return None  # reading an iterator changes it; whoever is given one is to read it
    try:
        return Keys(form=_form).token(value)
    except Unkeyable:
        return None


def _form(value: Any) -> Form:
    """A function is itself: what it refers to is not what the task was given."""
    return Form("function", str(id(value)).encode()) if isinstance(value, FunctionType | MethodType) else form_of(value)
