"""Values as JSON that keeps their types.

What JSON has is written as it is; all else is an object with one tag, `{"$tuple": [1, 2]}`, `{"$bytes": "AAE="}`.
Functions and classes are written by name, `"module:qualname"`.  What is nested deeper than `HIGHEST` is put into a list
of its own, the document's `values`, and referred to, so that no nesting is ever walked by recursion, here or in the
json module.

Covers: plain values, containers, dates, functions by name, both ways.
Does not cover: promises and canvases (planning.writing, planning.reading give the tags for those).
"""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import enum
import math
import sys
from collections import OrderedDict, defaultdict, deque
from decimal import Decimal
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodDescriptorType, MethodType
from typing import TYPE_CHECKING, Any
from uuid import UUID
from zoneinfo import ZoneInfo

from lazygraph.errors import InvalidOption
from lazygraph.values.node import Quoted, Recipe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

HIGHEST = 24
"""So many levels of nesting are written in place."""
LONG = 100
"""Texts and bytes that are longer are written apart, each once."""
_SAFE = 2**53
"""Whole numbers up to here mean the same to every reader of JSON."""


# -- functions by name -----------------------------------------------------------------------------


def name_for(function: Any) -> str:
    """Return "module:qualname".  Raises `InvalidOption` when no other process would find it under that name."""
    home = getattr(function, "__objclass__", function)
    module, qualname = getattr(home, "__module__", None), getattr(function, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(qualname, str):
        raise InvalidOption(f"{_kind(function)} has no name that leads to it; wrap it in a function of a module")
    what = f"function {qualname!r}"
    if module == "__main__":
        raise InvalidOption(
            f"{what} is of __main__, which is another module elsewhere; define it in a module of its own"
        )
    found: Any = sys.modules.get(module)
    for name in qualname.split("."):
        found = getattr(found, name, None)
    if found is function or (isinstance(found, Recipe) and getattr(found, "__wrapped__", None) is function):
        return f"{module}:{qualname}"
    if isinstance(function, MethodType | BuiltinFunctionType) and found == function:  # a new one each time
        return f"{module}:{qualname}"
    raise InvalidOption(f"{what} cannot be found as {module}.{qualname}; define it with `def` at the top of a module")


def by_name(text: Any) -> Any:
    """Return what "module:qualname" names.  Raises `InvalidOption` saying what is not there."""
    module, colon, qualname = text.partition(":") if isinstance(text, str) else ("", "", "")
    if not colon or not module or not qualname:
        raise InvalidOption(f"{text!r} is no function; its name is written 'module:name'")
    try:
        found: Any = import_module(module)
    except ImportError as error:
        raise InvalidOption(f"function {text!r} is unknown here: {error}") from error
    for name in qualname.split("."):
        try:
            found = getattr(found, name)
        except AttributeError as error:
            raise InvalidOption(f"function {text!r} is unknown here: {error}") from error
    return found


def plain(function: Any) -> Any:
    """Return the function itself where its name leads to its decorated form."""
    return getattr(function, "__wrapped__", function) if isinstance(function, Recipe) else function


def _kind(value: Any) -> str:
    cls = type(value)
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


# -- writing ---------------------------------------------------------------------------------------


def _float(value: float) -> Any:
    return value if math.isfinite(value) else {"$float": repr(value)}


def _moment(value: dt.datetime | dt.time) -> dict[str, Any]:
    zone = value.tzinfo
    said: dict[str, Any] = {f"${type(value).__name__}": value.replace(tzinfo=None).isoformat()}
    if isinstance(zone, ZoneInfo) and zone.key:
        said["zone"] = zone.key
    elif type(zone) is dt.timezone:
        offset = zone.utcoffset(None)
        said["offset"] = [offset.days, offset.seconds, offset.microseconds]
    elif zone is not None:
        raise InvalidOption(
            f"time zones of type {_kind(zone)} have no JSON; use zoneinfo.ZoneInfo or datetime.timezone"
        )
    return {**said, "fold": 1} if value.fold else said


def _function(value: Any) -> dict[str, Any]:
    return {"$function": name_for(value)}


_ATOMS: Mapping[type, Callable[[Any], Any]] = {
    type(None): lambda value: value,
    bool: lambda value: value,
    str: lambda value: value,
    int: lambda value: value if -_SAFE <= value <= _SAFE else {"$int": hex(value)},
    float: _float,
    complex: lambda value: {"$complex": [repr(value.real), repr(value.imag)]},
    bytes: lambda value: {"$bytes": base64.b64encode(value).decode()},
    bytearray: lambda value: {"$bytearray": base64.b64encode(value).decode()},
    range: lambda value: {"$range": [value.start, value.stop, value.step]},
    Decimal: lambda value: {"$decimal": str(value)},
    Fraction: lambda value: {"$fraction": [str(value.numerator), str(value.denominator)]},
    UUID: lambda value: {"$uuid": str(value)},
    type(Path()): lambda value: {"$path": str(value)},
    type(...): lambda _: {"$ellipsis": True},
    dt.datetime: _moment,
    dt.time: _moment,
    dt.date: lambda value: {"$date": value.isoformat()},
    dt.timedelta: lambda value: {"$timedelta": [value.days, value.seconds, value.microseconds]},
    ZoneInfo: lambda value: {"$zone": value.key},
    **dict.fromkeys((FunctionType, BuiltinFunctionType, MethodDescriptorType, MethodType, type), _function),
}

Parts = tuple["Callable[[list[Any]], Any]", "Sequence[Any]"]
"""A container, one level deep: what makes its JSON of that of its parts, and the parts."""


def _listed(tag: str, **rest: Any) -> Callable[[list[Any]], Any]:
    return lambda parts: {f"${tag}": parts, **rest}


def _unordered(tag: str) -> Callable[[list[Any]], Any]:
    return lambda parts: {f"${tag}": sorted(parts, key=repr)}  # the same text every time


def _mapped(parts: list[Any]) -> Any:
    keys, values = parts[::2], parts[1::2]
    if all(isinstance(key, str) and not key.startswith("$") for key in keys):
        return dict(zip(keys, values, strict=True))
    return {"$dict": _pairs(parts)}


def _pairs(parts: list[Any]) -> list[list[Any]]:
    return [list(pair) for pair in zip(parts[::2], parts[1::2], strict=True)]


def _flat(value: Mapping[Any, Any]) -> list[Any]:
    return [part for pair in value.items() for part in pair]


def _with_default(value: defaultdict[Any, Any]) -> Parts:
    factory = value.default_factory
    default = None if factory is None else name_for(factory)
    return lambda parts: {"$defaultdict": _pairs(parts), "default": default}, _flat(value)


_CONTAINERS: Mapping[type, Callable[[Any], Parts]] = {
    list: lambda value: (lambda parts: parts, value),
    tuple: lambda value: (_listed("tuple"), value),
    set: lambda value: (_unordered("set"), list(value)),
    frozenset: lambda value: (_unordered("frozenset"), list(value)),
    deque: lambda value: (_listed("deque", maxlen=value.maxlen), list(value)),
    slice: lambda value: (_listed("slice"), [value.start, value.stop, value.step]),
    dict: lambda value: (_mapped, _flat(value)),
    OrderedDict: lambda value: (lambda parts: {"$ordered": _pairs(parts)}, _flat(value)),
    defaultdict: _with_default,
    Quoted: lambda value: (lambda parts: {"$quote": parts[0]}, [value.value]),
}


def _opened(value: Any) -> Parts | None:
    """Take a container apart; None for what is none."""
    cls = type(value)
    opener = _CONTAINERS.get(cls)
    if opener is not None:
        return opener(value)
    if isinstance(value, tuple) and hasattr(cls, "_make"):
        return _listed("named", **{"class": name_for(cls)}), list(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value) if hasattr(value, field.name)]
        home = name_for(cls)
        made = lambda parts: {"$object": dict(zip(names, parts, strict=True)), "class": home}  # noqa: E731
        return made, [getattr(value, name) for name in names]
    return None


class _Open:
    """A container being written."""

    __slots__ = ("height", "make", "parts", "value", "written")

    def __init__(self, value: Any, opened: Parts) -> None:
        self.value = value
        self.make, parts = opened
        self.parts = iter(parts)
        self.written: list[Any] = []
        self.height = 0


class Writer:
    """Writes values; `special` says what stands for promises and the like, or returns None.

    `values` collects what is written apart.
    """

    def __init__(self, special: Callable[[Any], Any]) -> None:
        self.special = special
        self.values: list[Any] = []
        self._long: dict[int, tuple[Any, Any]] = {}  # by id; the value stays, so that its id stays its own

    def apart(self, written: Any) -> dict[str, Any]:
        """Put something into the list of values; return what refers to it."""
        self.values.append(written)
        return {"$value": len(self.values) - 1}

    def write(self, value: Any, where: str) -> Any:
        """Return the JSON of a value.  Raises `InvalidOption`, naming `where`, for what has none."""
        stack = [_Open(None, (lambda parts: parts[0], [value]))]
        inside: set[int] = set()
        while True:
            top = stack[-1]
            for part in top.parts:
                opened = self._one(part, top, where)
                if opened is None:
                    continue
                if id(part) in inside:
                    raise InvalidOption(f"{where} contains itself (a {type(part).__name__}), and JSON cannot say that")
                inside.add(id(part))
                stack.append(_Open(part, opened))
                break
            else:
                stack.pop()
                made = top.make(top.written)
                if not stack:
                    return made
                inside.discard(id(top.value))
                if top.height >= HIGHEST:
                    made, top.height = self.apart(made), 0
                stack[-1].written.append(made)
                stack[-1].height = max(stack[-1].height, top.height + 1)

    def _one(self, part: Any, top: _Open, where: str) -> Parts | None:
        """Write a part that is no container, or return what is in it."""
        try:
            atom = _ATOMS.get(type(part))
            if atom is None and isinstance(part, type):
                atom = _function  # of a metaclass
            if atom is not None:
                is_long = isinstance(part, str | bytes | bytearray) and len(part) > LONG
                top.written.append(self._once(part, atom) if is_long else atom(part))
                return None
            special = self.special(part)
            if special is not None:
                top.written.append(special)
                return None
            if isinstance(part, enum.Enum):
                top.written.append({"$enum": part.name, "class": name_for(type(part))})
                return None
            opened = _opened(part)
        except InvalidOption as error:
            said = str(error)  # what is written within it may have said where already
            raise InvalidOption(said if said.startswith(where) else f"{where}: {said}") from None
        if opened is None:
            raise InvalidOption(
                f"{where} is or contains a {_kind(part)}, which has no JSON; load or make it in a task of its own"
            )
        return opened

    def _once(self, value: Any, atom: Callable[[Any], Any]) -> Any:
        if id(value) not in self._long:
            self._long[id(value)] = (value, self.apart(atom(value)))
        return self._long[id(value)][1]


# -- reading ---------------------------------------------------------------------------------------


def _moment_of(cls: Any) -> Callable[[Any, Mapping[str, Any]], Any]:
    def read(body: Any, rest: Mapping[str, Any]) -> Any:
        zone: dt.tzinfo | None = ZoneInfo(rest["zone"]) if "zone" in rest else None
        if "offset" in rest:
            zone = dt.timezone(dt.timedelta(*rest["offset"]))
        return cls.fromisoformat(body).replace(tzinfo=zone, fold=rest.get("fold", 0))

    return read


_MADE: Mapping[str, Callable[[Any, Mapping[str, Any]], Any]] = {
    "$int": lambda body, _: int(body, 16),
    "$float": lambda body, _: float(body),
    "$complex": lambda body, _: complex(float(body[0]), float(body[1])),
    "$bytes": lambda body, _: base64.b64decode(body, validate=True),
    "$bytearray": lambda body, _: bytearray(base64.b64decode(body, validate=True)),
    "$range": lambda body, _: range(*body),
    "$decimal": lambda body, _: Decimal(body),
    "$fraction": lambda body, _: Fraction(int(body[0]), int(body[1])),
    "$uuid": lambda body, _: UUID(body),
    "$path": lambda body, _: Path(body),
    "$ellipsis": lambda body, _: ...,
    "$datetime": _moment_of(dt.datetime),
    "$time": _moment_of(dt.time),
    "$date": lambda body, _: dt.date.fromisoformat(body),
    "$timedelta": lambda body, _: dt.timedelta(*body),
    "$zone": lambda body, _: ZoneInfo(body),
    "$function": lambda body, _: plain(by_name(body)),
    "$enum": lambda body, rest: by_name(rest["class"])[body],
}
"""Tags of values without parts."""


def _rebuilt(parts: list[Any], rest: Mapping[str, Any]) -> Any:
    cls = by_name(rest["class"])
    if not isinstance(cls, type) or not dataclasses.is_dataclass(cls):
        raise InvalidOption(f"{rest['class']!r} is no dataclass")
    # Not through __init__: fields with init=False and frozen classes get exactly the values they had.
    made: Any = object.__new__(cls)
    for name, part in zip(parts[::2], parts[1::2], strict=True):
        object.__setattr__(made, name, part)
    return made


def _dict_of(parts: list[Any]) -> dict[Any, Any]:
    return dict(zip(parts[::2], parts[1::2], strict=True))


_FROM_PARTS: Mapping[str, Callable[[list[Any], Mapping[str, Any]], Any]] = {
    "$tuple": lambda parts, _: tuple(parts),
    "$set": lambda parts, _: set(parts),
    "$frozenset": lambda parts, _: frozenset(parts),
    "$deque": lambda parts, rest: deque(parts, rest.get("maxlen")),
    "$slice": lambda parts, _: slice(*parts),
    "$named": lambda parts, rest: by_name(rest["class"])._make(parts),
    "$quote": lambda parts, _: Quoted(parts[0]),
    "$dict": lambda parts, _: _dict_of(parts),
    "$ordered": lambda parts, _: OrderedDict(_dict_of(parts)),
    "$defaultdict": lambda parts, rest: defaultdict(
        by_name(rest["default"]) if rest.get("default") else None, _dict_of(parts)
    ),
    "$object": _rebuilt,
}
"""Tags of containers: what makes one of its parts."""


def _parts_in(tag: str, body: Any) -> list[Any]:
    if tag == "$quote":
        return [body]
    if tag == "$object":
        return [part for pair in body.items() for part in pair]
    if tag in ("$dict", "$ordered", "$defaultdict"):
        return [part for key, value in body for part in (key, value)]
    return list(body)


class _Opened:
    """A container being read."""

    __slots__ = ("made", "make", "parts")

    def __init__(self, make: Callable[[list[Any]], Any], parts: Sequence[Any]) -> None:
        self.make, self.parts = make, iter(parts)
        self.made: list[Any] = []


class Reader:
    """Reads values; `special` says what stands for tags that are not of this module, by tag.

    `values` are those that were written apart; each is read when it is first needed, and there is one of it.
    """

    def __init__(self, special: Mapping[str, Callable[[Any], Any]], values: Sequence[Any]) -> None:
        self.special, self.values = special, values
        self._read: dict[int, Any] = {}

    def read(self, said: Any, where: str) -> Any:
        """Return the value of some JSON.  Raises `InvalidOption`, naming `where`, for what is none of ours."""
        for number in self._needed(said, where):
            self._read[number] = self._made(self.values[number], f"value {number}")
        return self._made(said, where)

    def _needed(self, said: Any, where: str) -> list[int]:
        """Return the values that are to be read before some JSON can be, in order."""
        found: dict[int, None] = {}
        open_: dict[int, None] = {}
        waiting = [*mentioned(said, "$value")]
        while waiting:
            number = waiting[-1]
            if not isinstance(number, int) or not 0 <= number < len(self.values):
                raise InvalidOption(f"{where} names value {number!r}, and there are {len(self.values)}")
            if number in self._read or number in found:
                waiting.pop()
                continue
            missing = [] if number in open_ else [*mentioned(self.values[number], "$value")]
            missing = [one for one in missing if one not in self._read]
            if number in missing or any(one in open_ for one in missing):
                raise InvalidOption(f"value {number} contains itself")
            if missing:
                open_[number] = None
                waiting.extend(missing)
                continue
            open_.pop(number, None)
            waiting.pop()
            found[number] = None
        return list(found)

    def _made(self, said: Any, where: str) -> Any:
        stack = [_Opened(lambda parts: parts[0], [said])]
        while True:
            top = stack[-1]
            for part in top.parts:
                if not isinstance(part, list | dict):
                    top.made.append(part)
                    continue
                opened = self._guarded(where, lambda part=part: self._open(part))  # type: ignore[misc]
                if isinstance(opened, _Opened):
                    stack.append(opened)
                    break
                top.made.append(opened[0])
            else:
                stack.pop()
                made = self._guarded(where, lambda top=top: top.make(top.made))  # type: ignore[misc]
                if not stack:
                    return made
                stack[-1].made.append(made)

    def _guarded(self, where: str, act: Callable[[], Any]) -> Any:
        try:
            return act()
        except InvalidOption as error:
            raise InvalidOption(f"{where}: {error}") from None
        except (TypeError, ValueError, KeyError, AttributeError, IndexError) as error:
            raise InvalidOption(f"{where} is not well written: {type(error).__name__}: {error}") from error

    def _open(self, said: Any) -> _Opened | tuple[Any]:
        if isinstance(said, list):
            return _Opened(lambda parts: parts, said)
        tags = [name for name in said if name.startswith("$")]
        if not tags:
            return _Opened(lambda parts: dict(zip(said, parts, strict=True)), list(said.values()))
        tag, body = tags[0], said[tags[0]]
        if tag == "$value":
            return (self._read[body],)
        if tag in self.special:
            return (self.special[tag](body),)
        if tag in _MADE:
            return (_MADE[tag](body, said),)
        make = _FROM_PARTS.get(tag)
        if make is None or len(tags) > 1:
            raise InvalidOption(f"{', '.join(tags)} is no tag that is known here")
        return _Opened(lambda parts: make(parts, said), _parts_in(tag, body))


def mentioned(said: Any, tag: str) -> Iterator[Any]:
    """Yield what stands under a tag anywhere in some JSON, in order.  Documents within it are not looked into."""
    waiting = [said]
    while waiting:
        top = waiting.pop()
        if isinstance(top, list):
            waiting.extend(reversed(top))
        elif isinstance(top, dict):
            if tag in top:
                yield top[tag]
            elif "$canvas" not in top and "$graph" not in top:
                waiting.extend(reversed(top.values()))
