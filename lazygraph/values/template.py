"""Where the leaves of a call go: a call's arguments, with everything nested taken apart.

A call `f([a, 1], k=b)` has the leaves `a, 1, b` and the template "push two, make a list of two, push one; the last is
k".  Templates are postfix programs, so that no nesting is ever walked by recursion, and they are values, so that ten
thousand calls of one shape share one.

Covers: taking values apart (`take_apart`), putting them together again (`put_together`).
Does not cover: what counts as lazy inside a container (the caller says).
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict, defaultdict, deque
from functools import lru_cache
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


def _rebuild_object(items: list[Any], extra: tuple[type, tuple[str, ...]]) -> Any:
    # Not through __init__: fields with init=False and frozen classes keep exactly the values they had.
    cls, names = extra
    made: Any = object.__new__(cls)
    for name, item in zip(names, items, strict=True):
        object.__setattr__(made, name, item)
    return made


def _rebuild_mapping(items: list[Any], cls: Any) -> Any:
    # Item by item: what a subclass's constructor makes of pairs is its own affair (a Counter counts them).
    made = cls.__new__(cls)
    for key, value in _pairs(items):
        made[key] = value
    return made


def _pairs(items: list[Any]) -> Iterator[tuple[Any, Any]]:
    return zip(items[::2], items[1::2], strict=True)


BUILD: Mapping[str, Callable[[list[Any], Any], Any]] = {
    "list": lambda items, _: items,
    "tuple": lambda items, _: tuple(items),
    "set": lambda items, _: set(items),
    "frozenset": lambda items, _: frozenset(items),
    "dict": lambda items, _: dict(_pairs(items)),
    "mapping": _rebuild_mapping,
    "defaultdict": lambda items, extra: extra[0](extra[1], _pairs(items)),
    "deque": lambda items, maxlen: deque(items, maxlen),
    "slice": lambda items, _: slice(*items),
    "namedtuple": lambda items, cls: cls._make(items),
    "sequence": lambda items, cls: cls(items),
    "object": _rebuild_object,
}


def _take_dict(value: Any) -> tuple[str, list[Any], Any]:
    items = [part for pair in value.items() for part in pair]
    if isinstance(value, defaultdict):
        return "defaultdict", items, (type(value), value.default_factory)
    return ("dict", items, None) if type(value) is dict else ("mapping", items, type(value))


def _take_list(value: Any) -> tuple[str, list[Any], Any]:
    return "list", list(value), None


TAKE: Mapping[type, Callable[[Any], tuple[str, list[Any], Any]]] = {
    list: lambda value: ("list", value, None),
    tuple: lambda value: ("tuple", list(value), None),
    set: lambda value: ("set", list(value), None),
    frozenset: lambda value: ("frozenset", list(value), None),
    dict: _take_dict,
    OrderedDict: _take_dict,
    deque: lambda value: ("deque", list(value), value.maxlen),
    slice: lambda value: ("slice", [value.start, value.stop, value.step], None),
    type({}.keys()): _take_list,
    type({}.values()): _take_list,
    type({}.items()): _take_list,
}

ONCE: Mapping[type, Callable[[Any], Any]] = {
    type(iter([])): list,
    type(iter(())): tuple,
    type(iter(set())): set,
    type(iter({})): list,
    type(iter({}.values())): list,
    type(iter({}.items())): list,
    type(reversed([])): list,
    type(reversed({})): list,
    type(reversed({}.values())): list,
    type(reversed({}.items())): list,
}
"""Iterators that can be read only once, and what they become: a node may run more than once."""

PLAIN: frozenset[type] = frozenset({int, float, str, bytes, bool, complex, type(None)})
"""Types with nothing inside: a container of nothing else is not searched item by item."""


def _take(value: Any) -> tuple[str, list[Any], Any] | None:
    """Take one container apart, one level deep; None for everything that is not a container."""
    cls = type(value)
    take = TAKE.get(cls)
    if take is not None:
        return take(value)
    if isinstance(value, dict):
        return _take_dict(value)
    if isinstance(value, tuple) and hasattr(cls, "_make"):
        return "namedtuple", list(value), cls
    if isinstance(value, list | tuple | set | frozenset):
        return "sequence", list(value), cls
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _take_dataclass(value)
    return None


def _take_dataclass(value: Any) -> tuple[str, list[Any], Any]:
    names = [field.name for field in dataclasses.fields(value) if hasattr(value, field.name)]
    names.extend(name for name in getattr(value, "__dict__", ()) if name not in names)
    return "object", [getattr(value, name) for name in names], (type(value), tuple(names))


class _Open:
    """A container being taken apart."""

    __slots__ = ("extra", "first_leaf", "first_op", "items", "kind", "lazy", "size", "whole")

    def __init__(self, whole: Any, parts: tuple[str, list[Any], Any], first_leaf: int, first_op: int) -> None:
        self.kind, items, self.extra = parts
        self.size, self.items, self.whole = len(items), iter(items), whole
        self.first_leaf, self.first_op, self.lazy = first_leaf, first_op, False


def take_apart(
    values: Sequence[Any], is_lazy: Callable[[Any], bool], atoms: frozenset[type] = PLAIN
) -> tuple[list[Any], list[Op]]:
    """Return the leaves of `values` and the ops that put them together again.

    `atoms` are the types with nothing inside, and those of which everything is lazy, as far as they are known.
    A container with nothing lazy inside stays one leaf, itself; iterators, which could be read only once, become lists.
    A container that contains itself is not opened a second time.
    """
    leaves: list[Any] = []
    ops: list[Op | int] = []  # a number stands for so many leaves until the end
    open_ = [_Open(None, ("root", list(values), None), 0, 0)]
    inside: set[int] = set()  # the containers being taken apart, by id: one may contain itself
    while open_:
        top = open_[-1]
        first_op = top.first_op
        for item in top.items:
            if type(item) in PLAIN:
                pass
            elif is_lazy(item):
                top.lazy = True
            else:
                once = ONCE.get(type(item))
                whole = item if once is None else once(item)
                top.lazy = top.lazy or once is not None  # what held the iterator must not keep it, now that it is read
                parts = None if id(whole) in inside else _take(whole)
                if parts is not None and not PLAIN.issuperset(map(type, parts[1])):
                    if atoms.issuperset(map(type, parts[1])):  # as a whole, for whoever gives us 10,000
                        kind, items, extra = parts
                        leaves += items
                        ops += (len(items), Op(kind, len(items), extra))
                        top.lazy = True
                        continue
                    inside.add(id(whole))
                    open_.append(_Open(whole, parts, len(leaves), len(ops)))
                    break
                item = whole
            leaves.append(item)
            _count_leaf(ops, first_op)
        else:
            open_.pop()
            if open_:
                inside.discard(id(top.whole))
                _close(top, open_[-1], leaves, ops)
    return leaves, _merged(ops)


def _count_leaf(ops: list[Op | int], first_op: int) -> None:
    # Not into a number that stands before the open container: when this closes, its own are taken back.
    if len(ops) > first_op and type(ops[-1]) is int:
        ops[-1] += 1
    else:
        ops.append(1)


def _close(done: _Open, parent: _Open, leaves: list[Any], ops: list[Op | int]) -> None:
    if done.lazy:
        parent.lazy = True
        ops.append(Op(done.kind, done.size, done.extra))
        return
    del leaves[done.first_leaf :], ops[done.first_op :]
    leaves.append(done.whole)
    _count_leaf(ops, parent.first_op)


def _merged(ops: list[Op | int]) -> list[Op]:
    merged: list[Op] = []
    run = 0
    for op in ops:
        if isinstance(op, int):
            run += op
            continue
        if run:
            merged.append(Op("leaf", run))
            run = 0
        merged.append(op)
    if run:
        merged.append(Op("leaf", run))
    return merged


@lru_cache(maxsize=4096)
def template_of(ops: tuple[Op, ...], positional: int, keywords: tuple[str, ...]) -> Template | None:
    """Return the template of a call, the same one for every call of its shape; None when all leaves are positional."""
    if not keywords and all(op.kind == "leaf" for op in ops):
        return None
    return Template(ops, positional, keywords)


def put_together(ops: Sequence[Op], leaves: Sequence[Any]) -> list[Any]:
    """Run the ops over the leaves; return what is on the stack at the end."""
    stack: list[Any] = []
    at = 0
    for kind, size, extra in ops:
        if kind == "leaf":
            stack.extend(leaves[at : at + size])
            at += size
        else:
            first = len(stack) - size
            items = stack[first:]
            del stack[first:]
            stack.append(BUILD[kind](items, extra))
    return stack


def put_together_without(ops: Sequence[Op], leaves: Sequence[Any], gone: Any) -> list[Any]:
    """Run the ops over the leaves, leaving out those that are `gone`: of a dict the whole pair.

    What must have all its members (a namedtuple, a dataclass, a slice) has None in their places.
    """
    stack: list[Any] = []
    at = 0
    for kind, size, extra in ops:
        if kind == "leaf":
            stack.extend(leaves[at : at + size])
            at += size
            continue
        first = len(stack) - size
        items = stack[first:]
        del stack[first:]
        if kind in _PAIRS:
            items = [part for pair in _pairs(items) if not any(part is gone for part in pair) for part in pair]
        elif kind in _FIXED:
            items = [None if item is gone else item for item in items]
        else:
            items = [item for item in items if item is not gone]
        stack.append(BUILD[kind](items, extra))
    return [item for item in stack if item is not gone]


_PAIRS = frozenset({"dict", "mapping", "defaultdict"})
_FIXED = frozenset({"slice", "namedtuple", "object"})


def call(function: Callable[..., Any], template: Template, leaves: Sequence[Any]) -> Any:
    """Call `function` with the leaves where the template wants them."""
    stack = put_together(template.ops, leaves)
    if not template.keywords:
        return function(*stack)
    at = template.positional
    return function(*stack[:at], **dict(zip(template.keywords, stack[at:], strict=True)))
