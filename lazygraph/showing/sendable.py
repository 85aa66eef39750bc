"""Could this travel to another process, how big would it be, and if not: what inside it is to blame?

A value is pickled into nowhere: nothing is kept, only counted, and large buffers are not even copied.

Covers: pickling attempts, the path to the culprit, the variables that a function takes along.
Does not cover: what is said about it (showing.check), pickling for real (executors.cluster.net.codec).
"""

from __future__ import annotations

import functools
import io
import pickle
import socket
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from types import (
    AsyncGeneratorType,
    BuiltinFunctionType,
    CodeType,
    CoroutineType,
    FunctionType,
    GeneratorType,
    MethodType,
)
from typing import TYPE_CHECKING, Any, NamedTuple

from lazygraph.values.references import portable
from lazygraph.values.template import PLAIN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

LARGE = 10_000_000
"""Bytes above which a value should not be part of a graph."""
_ENOUGH = 10 * LARGE
"""Bytes after which counting stops: it is large, and how large exactly does not matter."""
_DEEPEST = 64
"""So many levels a culprit is looked for."""

RESOURCES: tuple[tuple[tuple[type, ...], str, str], ...] = (
    (
        (type(threading.Lock()), type(threading.RLock()), threading.Condition, threading.Event, threading.Semaphore),
        "lock",
        "make it inside the task",
    ),
    ((socket.socket,), "socket", "open it inside the task"),
    ((io.IOBase,), "file", "pass its path and open it inside the task"),
    ((GeneratorType, AsyncGeneratorType, CoroutineType), "generator", "make a list of it first"),
    ((threading.Thread,), "thread", "start it inside the task"),
)
"""What belongs to one process: the types, what people call them, what to do instead."""


def resource(value: Any) -> tuple[str, str] | None:
    """Return what people call a thing that belongs to one process, and what to do instead; else None."""
    return next(((word, hint) for types, word, hint in RESOURCES if isinstance(value, types)), None)


class Attempt(NamedTuple):
    """How pickling went: `size` in bytes, as far as it was counted; `error` is None when it can travel."""

    size: int
    error: Exception | None = None


class _Enough(Exception):
    """Counting has gone on for long enough."""


class _Nowhere:
    """A file that counts what is written and keeps nothing."""

    __slots__ = ("size",)

    def __init__(self) -> None:
        self.size = 0

    def write(self, data: Any) -> int:
        self.add(len(data))
        return len(data)

    def buffer(self, buffer: pickle.PickleBuffer) -> None:
        self.add(buffer.raw().nbytes)

    def add(self, size: int) -> None:
        self.size += size
        if self.size > _ENOUGH:
            raise _Enough


def attempt(value: Any) -> Attempt:
    """Pickle a value into nowhere, as it would be for another process."""
    if type(value) in PLAIN:  # no need to encode a long text to know its size
        return Attempt(sys.getsizeof(value))
    # Heavy, and those who never check have no use for it.
    import cloudpickle

    nowhere = _Nowhere()
    try:
        cloudpickle.Pickler(nowhere, protocol=5, buffer_callback=nowhere.buffer).dump(value)
    except _Enough:
        pass
    except Exception as error:
        # cloudpickle wraps what pickle says of something that is nested too deeply.
        return Attempt(nowhere.size, error.__cause__ if isinstance(error.__cause__, RecursionError) else error)
    return Attempt(nowhere.size)


def attempts(values: Sequence[Any]) -> dict[int, Attempt]:
    """Return how it went for those, by position, that cannot travel or are large.

    All of them are tried in one go first; only when that fails or is large each is tried alone.
    """
    suspects = [at for at, value in enumerate(values) if type(value) not in PLAIN or sys.getsizeof(value) > LARGE]
    whole = attempt([values[at] for at in suspects])
    if whole.error is None and whole.size <= LARGE:
        return {}
    tried = ((at, attempt(values[at])) for at in suspects)
    return {at: how for at, how in tried if how.error is not None or how.size > LARGE}


# -- looking inside --------------------------------------------------------------------------------


class Culprit(NamedTuple):
    """Where inside a value pickling fails, and on what."""

    path: str
    thing: Any
    error: Exception


def culprit(value: Any, error: Exception) -> Culprit:
    """Follow what cannot be pickled inwards, as far as it goes."""
    path = ""
    if isinstance(error, RecursionError):  # every level of it fails, down to the last
        return Culprit(path, value, error)
    seen = {id(value)}
    for _ in range(_DEEPEST):
        inner = _first_failing(value, seen)
        if inner is None:
            break
        path, value, error = path + inner.path, inner.thing, inner.error
        seen.add(id(value))
    return Culprit(path, value, error)


def _first_failing(value: Any, seen: set[int]) -> Culprit | None:
    for label, part in parts_of(value):
        if id(part) in seen or type(part) in PLAIN:
            continue
        how = attempt(part)
        if how.error is not None:
            return Culprit(label, part, how.error)
    return None


def parts_of(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield what pickling a value takes along, one level deep, each with the text that leads to it."""
    for types, parts in _PARTS:
        if isinstance(value, types):
            yield from parts(value)
            return
    yield from _reduced(value)


def _items(value: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    return ((f"[{at}]", part) for at, part in enumerate(value))


def _entries(value: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    for key, part in value.items():
        yield f"[{_short(key)}]", part
        yield f" key {_short(key)}", key


def _partial(value: functools.partial[Any]) -> Iterator[tuple[str, Any]]:
    yield ".func", value.func
    yield from ((f".args[{at}]", part) for at, part in enumerate(value.args))
    yield from ((f".keywords[{name!r}]", part) for name, part in value.keywords.items())


def _function(value: FunctionType) -> Iterator[tuple[str, Any]]:
    return ((f" {variable.kind} {variable.name!r}", variable.value) for variable in variables(value))


def _reduced(value: Any) -> Iterator[tuple[str, Any]]:
    """Ask a value what it is made again from, as pickle does."""
    if isinstance(value, type | BuiltinFunctionType):
        return
    try:
        made = value.__reduce_ex__(5)
    except Exception:
        return
    if not isinstance(made, tuple):
        return
    given, state, listed, entries = (*made[1:], None, None, None)[:4]
    # A part of the state is an attribute; `(None, {...})` is the state of slots.
    for one in state if isinstance(state, tuple) else (state,):
        if isinstance(one, dict):
            yield from ((f".{name}", part) for name, part in one.items())
        elif one is not None:
            yield ".__getstate__()", one
    yield from ((f" (to be rebuilt from it: [{at}])", part) for at, part in enumerate(given or ()))
    yield from _items(listed or ())
    yield from ((f"[{_short(key)}]", part) for key, part in entries or ())


_PARTS: tuple[tuple[Any, Callable[[Any], Iterator[tuple[str, Any]]]], ...] = (
    (dict, _entries),
    ((list, tuple, set, frozenset), _items),
    (functools.partial, _partial),
    (FunctionType, _function),
    (MethodType, lambda value: iter([(".__self__", value.__self__), (".__func__", value.__func__)])),
)


def _short(key: Any) -> str:
    text = repr(key) if type(key) in PLAIN else f"<{type(key).__name__}>"
    return text if len(text) <= 40 else f"{text[:36]}…'"


# -- functions -------------------------------------------------------------------------------------


class Variable(NamedTuple):
    """Something that a function takes along when it travels by value."""

    kind: str
    name: str
    value: Any


def variables(function: Any) -> list[Variable]:
    """Return what a function takes along: nothing when it travels by its name."""
    if not isinstance(function, FunctionType) or travels_by_name(function):
        return []
    code = function.__code__
    found = _closed_over(function)
    found.extend(
        Variable("global variable", name, function.__globals__[name])
        for name in _names_in(code)
        if name in function.__globals__
    )
    with_default = code.co_varnames[: code.co_argcount][-len(function.__defaults__ or ()) :]
    found.extend(Variable("default of", *pair) for pair in zip(with_default, function.__defaults__ or (), strict=False))
    found.extend(Variable("default of", *pair) for pair in (function.__kwdefaults__ or {}).items())
    return found


def _closed_over(function: FunctionType) -> list[Variable]:
    found: list[Variable] = []
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found.append(Variable("closure variable", name, cell.cell_contents))
        except ValueError:  # not assigned yet
            continue
    return found


def without_repeats(functions: Sequence[Any]) -> list[Any]:
    """Return the functions; of those made from one piece of code (in a loop) the first, for the others what differs."""
    seen: set[tuple[int, int]] = set()
    found: list[Any] = []
    for function in functions:
        made_from = (id(function.__code__), id(function.__globals__)) if isinstance(function, FunctionType) else None
        if made_from in seen:
            cells = [variable.value for variable in _closed_over(function)]
            found.append((cells, function.__defaults__, function.__kwdefaults__, vars(function)))
        else:
            found.append(portable(function))
        if made_from is not None:
            seen.add(made_from)
    return found


def _names_in(code: CodeType) -> list[str]:
    """Return the names that code, and code nested in it, may take from its module.  Attributes are among them."""
    names: dict[str, None] = {}
    waiting = [code]
    while waiting:
        top = waiting.pop()
        names.update(dict.fromkeys(top.co_names))
        waiting.extend(constant for constant in top.co_consts if isinstance(constant, CodeType))
    return list(names)


def travels_by_name(function: Any) -> bool:
    """Whether another process finds a function under its own name, so that nothing of it is sent."""
    if portable(function) is not function:
        return True
    module, qualname = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(qualname, str) or module == "__main__":
        return False
    found: Any = sys.modules.get(module)
    for name in qualname.split("."):
        found = getattr(found, name, None)
    return found is function
