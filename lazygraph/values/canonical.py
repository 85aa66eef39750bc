"""Which form a value has: by its type, by what its class says, or by what pickle would be told of it.

Covers: one level of any value that is no code and no array.
Does not cover: code (values.functions), numpy and pandas (values.arrays), walking (values.keys).
"""

from __future__ import annotations

import copyreg
import re
from collections import OrderedDict
from enum import Enum
from operator import itemgetter
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from lazygraph.errors import Unkeyable
from lazygraph.values.arrays import array_form
from lazygraph.values.forms import UNORDERED, Absent, Form, Sentinel, short, words
from lazygraph.values.functions import CODE_FORMS, by_name, class_form
from lazygraph.values.node import External, Node

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

_NEW: Any = vars(copyreg)["__newobj__"]  # what pickle calls to make an object without calling its class
_SLOTS = 2


def form_of(value: Any) -> Form:
    """Return one level of a value.  Raises `Unkeyable` when there is nothing that a key can be made of."""
    cls = type(value)
    form = _FORMS.get(cls)
    if form is not None:
        return form(value)
    for kind, make in _LAZY.items():  # before anything they could say of themselves: they speak dask's protocol too
        if isinstance(value, kind):
            return make(value)
    for name in ("__lazygraph_key__", "__dask_tokenize__"):
        method = getattr(cls, name, None)
        if method is not None:
            return Form("declared", b"", (cls, method(value)), labels=("class", f"{name}()"), text=short(value))
    if isinstance(value, type):
        return class_form(value)
    found = array_form(value)
    if found is not None:
        return found
    for kind, make in _KINDS.items():
        if isinstance(value, kind):
            return make(value)
    return _reduced(value)


# -- containers ------------------------------------------------------------------------------------


def _sequence(kind: str) -> Callable[[Any], Form]:
    return lambda value: Form(kind, b"", value, text=f"{kind} of {len(value)}")


def _set(kind: str) -> Callable[[Any], Form]:
    return lambda value: Form(kind, b"", list(value), UNORDERED, text=f"{kind} of {len(value)}")


def _mapping(kind: str) -> Callable[[Any], Form]:
    # In the order of insertion, because a function can see it: list(d), DataFrame(d).  Equal calls may be told apart
    # by it and run twice; different ones must never be taken for the same.
    def form(value: Any) -> Form:
        parts = [part for pair in value.items() for part in pair]
        return Form(kind, b"", parts, labels=_Pairs(parts), text=f"{kind} of {len(value)}")

    return form


class _Pairs(list[Any]):
    """The labels of keys and values one after another, put into words only when somebody asks."""

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return [self[one] for one in range(*at.indices(len(self)))]
        name = f"[{short(super().__getitem__(at - at % 2))}]"
        return name if at % 2 else f"key {name}"

    def __iter__(self) -> Iterator[str]:
        return (self[at] for at in range(len(self)))


def _bytearray(value: bytearray) -> Form:
    return Form("bytearray", bytes(value))


def _memoryview(value: memoryview) -> Form:
    return Form("memoryview", words([value.format, str(value.shape)]) + value.tobytes())


# -- values of the standard library whose pickles would say too much or too little ---------------------


def _path(value: PurePath) -> Form:
    cls = type(value)
    named = words([cls.__name__, str(value)])
    if cls.__module__.partition(".")[0] == "pathlib":  # where exactly it lives there has changed
        return Form("path", named, text=f"path {str(value)!r}")
    return Form("path", named, (cls, _attributes(value)), labels=("class", "attributes"), text=f"path {str(value)!r}")


def _enum(value: Enum) -> Form:
    parts = (type(value), value.name, value.value)
    return Form("enum", b"", parts, labels=("class", "name", "value"), text=f"{type(value).__name__}.{value.name}")


def _pattern(value: re.Pattern[Any]) -> Form:
    return Form("pattern", b"", (value.pattern, value.flags), labels=("pattern", "flags"))


_OF_SETS: Sequence[Any] = (set.__reduce__, frozenset.__reduce__)


def _set_subclass(value: Any) -> Form:
    told = _told(value)
    if type(value).__reduce__ not in _OF_SETS:
        return _reduced(value)  # it says itself what it is
    parts = (type(value), frozenset(value), told[2])
    return Form("set", b"", parts, labels=("class", "items", "attributes"), text=short(value))


def _property(value: property) -> Form:
    parts = (type(value), value.fget, value.fset, value.fdel, _attributes(value))
    return Form("property", b"", parts, labels=("class", "fget", "fset", "fdel", "attributes"))


def _attributes(value: Any) -> Any:
    return sorted(getattr(value, "__dict__", {}).items(), key=itemgetter(0))


def _sentinel(value: Sentinel) -> Form:
    return Form("object", words([str(value.number)]), text="an object() of its own")


def _absent(value: Absent) -> Form:
    return Form("absent", words([value.name]), text=f"nothing by the name of {value.name}")


# -- what is lazy ----------------------------------------------------------------------------------


def node_form(node: Node) -> Form:
    """Return the form of a promise: the call, and the calls that it reads."""
    after: tuple[Any, ...] = node._after
    labels = ("function", "template", *(f"argument {at}" for at in range(1, len(node._leaves) + 1)))
    parts = (node._function, node._template, *node._leaves, *after)
    return Form(CALL, b"", parts, labels=(*labels, *("after",) * len(after)), text=f"call of {short(node._function)}")


CALL = "call"
"""The kind of a call, as planning.sharing writes it too."""


def _external(value: External) -> Form:
    raise Unkeyable(short(value), "its value is held by an executor, and not known here")


# -- everything else: what pickle would be told -------------------------------------------------------


def _reduced(value: Any) -> Form:
    cls = type(value)
    told = _told(value)
    if isinstance(told, str):
        return by_name("global", getattr(value, "__module__", None) or cls.__module__, told, cls)
    make, arguments, state, items, pairs = told
    if make is _NEW:
        parts = {"class": arguments[0], **{f"argument {at}": one for at, one in enumerate(arguments[1:], 1)}}
    else:
        parts = {"class": cls, "maker": make, "arguments": arguments}
    parts.update(_state(state))
    for at, item in enumerate(items or ()):
        parts[f"[{at}]"] = item
    told_pairs: Iterable[tuple[Any, Any]] = pairs or ()
    for at, (key, item) in enumerate(told_pairs):
        parts[f"key {at}"], parts[f"value {at}"] = key, item
    return Form("object", words(parts), list(parts.values()), labels=list(parts), text=short(value))


def _state(state: Any) -> Iterator[tuple[str, Any]]:
    """Yield the attributes that a state stands for, by name; a state of another form as a whole."""
    states = state if isinstance(state, tuple) and len(state) == _SLOTS else (state,)
    if not all(one is None or (type(one) is dict and all(type(name) is str for name in one)) for one in states):
        yield "state", state
        return
    for kind, one in zip(("attribute", "slot"), states, strict=False):
        for name in sorted(one or ()):
            yield f"{kind} {name}", one[name]


def _told(value: Any) -> Any:
    """Return what pickle would be told of a value: a name, or maker, arguments, state, items and pairs."""
    cls = type(value)
    if cls is object:
        raise Unkeyable("an object()", "nothing but its identity tells it from others")
    reducer = copyreg.dispatch_table.get(cls)
    try:
        told = reducer(value) if reducer is not None else value.__reduce_ex__(4)
    except Exception as error:
        raise Unkeyable(f"<{cls.__qualname__}>", str(error) or type(error).__name__) from None
    return told if isinstance(told, str) else (*told, None, None, None)[:5]


_FORMS: Mapping[type, Callable[[Any], Form]] = {
    list: _sequence("list"),
    tuple: _sequence("tuple"),
    set: _set("set"),
    frozenset: _set("frozenset"),
    dict: _mapping("dict"),
    OrderedDict: _mapping("OrderedDict"),
    bytearray: _bytearray,
    memoryview: _memoryview,
    re.Pattern: _pattern,
    Sentinel: _sentinel,
    Absent: _absent,
    **CODE_FORMS,
}
"""By exact type; subclasses are told apart."""

_LAZY: Mapping[type, Callable[[Any], Form]] = {Node: node_form, External: _external}
_KINDS: Mapping[type, Callable[[Any], Form]] = {
    PurePath: _path,
    property: _property,
    Enum: _enum,
    set: _set_subclass,
    frozenset: _set_subclass,
}
"""By class, subclasses among them."""
