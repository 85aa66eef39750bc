"""Where the leaves of a call go: a call's arguments, with everything nested taken apart.

A call `f([a, 1], k=b)` has the leaves `a, 1, b` and the template "push two, make a list of two, push one; the last is
k".  Templates are postfix programs, so that no nesting is ever walked by recursion, and they are values, so that ten
thousand calls of one shape share one.

Covers: taking values apart (`take_apart`), putting them together again (`put_together`).
Does not cover: what counts as lazy inside a container (the caller says).
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence


class Op(NamedTuple):
    """One step: push `size` leaves (kind "leaf"), or replace the last `size` things by one container of `kind`."""

    kind: str
    size: int
    extra: Any = None


class Template(NamedTuple):
    """The shape of a call.  After `ops` the stack holds `positional` arguments, then one value for each keyword."""

    ops: tuple[Op, ...]
    positional: int
    keywords: tuple[str, ...] = ()

    @property
    def leaves(self) -> int:
        """How many leaves the call takes."""
        return sum(op.size for op in self.ops if op.kind == "leaf")


def _rebuild_dataclass(items: list[Any], extra: tuple[type, tuple[str, ...]]) -> Any:
    # Not through __init__: fields with init=False and frozen classes keep exactly the values they had.
    cls, names = extra
    made: Any = object.__new__(cls)
    for name, item in zip(names, items, strict=True):
        object.__setattr__(made, name, item)
    return made


def _pairs(items: list[Any]) -> Iterator[tuple[Any, Any]]:
    return zip(items[::2], items[1::2], strict=True)


BUILD: Mapping[str, Callable[[list[Any], Any], Any]] = {
    "list": lambda items, _: items,
    "tuple": lambda items, _: tuple(items),
    "set": lambda items, _: set(items),
    "frozenset": lambda items, _: frozenset(items),
    "dict": lambda items, _: dict(_pairs(items)),
    "mapping": lambda items, cls: cls(_pairs(items)),
    "defaultdict": lambda items, extra: extra[0](extra[1], _pairs(items)),
    "deque": lambda items, maxlen: deque(items, maxlen),
    "slice": lambda items, _: slice(*items),
    "namedtuple": lambda items, cls: cls._make(items),
    "dataclass": _rebuild_dataclass,
}


def _take_dict(value: Any) -> tuple[str, list[Any], Any]:
    items = [part for pair in value.items() for part in pair]
    if hasattr(value, "default_factory"):
        return "defaultdict", items, (type(value), value.default_factory)
    return ("dict", items, None) if type(value) is dict else ("mapping", items, type(value))


TAKE: Mapping[type, Callable[[Any], tuple[str, list[Any], Any]]] = {
    list: lambda value: ("list", value, None),
    tuple: lambda value: ("tuple", list(value), None),
    set: lambda value: ("set", list(value), None),
    frozenset: lambda value: ("frozenset", list(value), None),
    dict: _take_dict,
    OrderedDict: _take_dict,
    deque: lambda value: ("deque", list(value), value.maxlen),
    slice: lambda value: ("slice", [value.start, value.stop, value.step], None),
    type(iter([])): lambda value: ("list", list(value), None),
    type(iter(())): lambda value: ("list", list(value), None),
}


def _take(value: Any) -> tuple[str, list[Any], Any] | None:
    """Take one container apart, one level deep; None for everything that is not a container."""
    cls = type(value)
    take = TAKE.get(cls)
    if take is not None:
        return take(value)
    if isinstance(value, type):
        return None
    if isinstance(value, dict):
        return _take_dict(value)
    if isinstance(value, tuple) and hasattr(cls, "_make"):
        return "namedtuple", list(value), cls
    if dataclasses.is_dataclass(value):
        names = tuple(field.name for field in dataclasses.fields(value) if hasattr(value, field.name))
        return "dataclass", [getattr(value, name) for name in names], (cls, names)
    return None


class _Open:
    """A container being taken apart."""

    __slots__ = ("count", "extra", "first_leaf", "first_op", "items", "kind", "lazy", "whole")

    def __init__(self, whole: Any, parts: tuple[str, list[Any], Any], first_leaf: int, first_op: int) -> None:
        self.kind, items, self.extra = parts
        self.count, self.items, self.whole = len(items), iter(items), whole
        self.first_leaf, self.first_op, self.lazy = first_leaf, first_op, False


def take_apart(values: Sequence[Any], is_lazy: Callable[[Any], bool]) -> tuple[list[Any], list[Op]]:
    """Return the leaves of `values` and the ops that put them together again.

    A container with nothing lazy inside stays one leaf, itself; iterators, which could be read only once, become lists.
    """
    leaves: list[Any] = []
    ops: list[Op] = []
    root = _Open(None, ("root", list(values), None), 0, 0)
    open_ = [root]
    while open_:
        top = open_[-1]
        for item in top.items:
            if is_lazy(item):
                top.lazy = True
            else:
                parts = _take(item)
                if parts is not None:
                    open_.append(_Open(item, parts, len(leaves), len(ops)))
                    break
            leaves.append(item)
            ops.append(Op("leaf", 1))
        else:
            open_.pop()
            if open_:
                _close(top, open_[-1], leaves, ops)
    return leaves, _merged(ops)


def _close(done: _Open, parent: _Open, leaves: list[Any], ops: list[Op]) -> None:
    if done.lazy:
        parent.lazy = True
        ops.append(Op(done.kind, done.count, done.extra))
        return
    whole = done.whole if type(done.whole).__name__ not in _ITERATORS else leaves[done.first_leaf :]
    del leaves[done.first_leaf :], ops[done.first_op :]
    leaves.append(whole)
    ops.append(Op("leaf", 1))


_ITERATORS = frozenset({"list_iterator", "tuple_iterator"})


def _merged(ops: list[Op]) -> list[Op]:
    merged: list[Op] = []
    for op in ops:
        if op.kind == "leaf" and merged and merged[-1].kind == "leaf":
            merged[-1] = Op("leaf", merged[-1].size + 1)
        else:
            merged.append(op)
    return merged


def put_together(ops: Sequence[Op], leaves: Sequence[Any]) -> list[Any]:
    """Run the ops over the leaves; return what is on the stack at the end."""
    stack: list[Any] = []
    at = 0
    for kind, count, extra in ops:
        if kind == "leaf":
            stack.extend(leaves[at : at + count])
            at += count
        else:
            items = stack[len(stack) - count :] if count else []
            if count:
                del stack[-count:]
            stack.append(BUILD[kind](items, extra))
    return stack


def call(function: Callable[..., Any], template: Template, leaves: Sequence[Any]) -> Any:
    """Call `function` with the leaves where the template wants them."""
    stack = put_together(template.ops, leaves)
    if not template.keywords:
        return function(*stack)
    at = template.positional
    return function(*stack[:at], **dict(zip(template.keywords, stack[at:], strict=True)))
