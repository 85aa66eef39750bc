"""Can a value of this annotated type be what that annotated parameter wants?

Only what is certain counts: two classes neither of which is the other's subclass.  `Any`, type variables, protocols,
and whatever cannot be understood are no answer, and no answer is no complaint.  Annotations that are texts are read,
never evaluated: no code of the user's runs.

Covers: annotations of functions, the comparison.
Does not cover: which argument goes where (showing.check).
"""

from __future__ import annotations

import ast
import builtins
import inspect
import types
import typing
from numbers import Number
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

UNKNOWN: Any = typing.Any
"""The annotation that says nothing."""

_BYTES = frozenset({bytes, bytearray, memoryview})
"""Classes that stand in for each other by convention, although none is a subclass of the other; so do all numbers."""
_ABSTRACT = frozenset({"collections.abc", "numbers"})
_ELEMENTS = frozenset({list, set, frozenset})
"""Containers whose one type argument is that of each element."""


class Annotated:
    """What a function says of its parameters and its value."""

    __slots__ = ("_any_keyword", "_any_position", "_by_name", "_positions", "returns")

    def __init__(self, function: Callable[..., Any], bound: int = 0) -> None:
        self._positions: list[Any] = []
        self._by_name: dict[str, Any] = {}
        self._any_position = self._any_keyword = self.returns = UNKNOWN
        try:
            signature = inspect.signature(function)
        except (TypeError, ValueError):  # a builtin that does not tell
            signature = inspect.Signature()
        names = _namespace(function)
        for parameter in signature.parameters.values():
            self._note(parameter, _meaning(parameter.annotation, names))
        del self._positions[:bound]
        self.returns = _returned(function, signature, names)

    def _note(self, parameter: inspect.Parameter, wanted: Any) -> None:
        if parameter.kind is parameter.VAR_POSITIONAL:
            self._any_position = wanted
        elif parameter.kind is parameter.VAR_KEYWORD:
            self._any_keyword = wanted
        else:
            if parameter.kind is not parameter.KEYWORD_ONLY:
                self._positions.append(wanted)
            if parameter.kind is not parameter.POSITIONAL_ONLY:
                self._by_name[parameter.name] = wanted

    def wants(self, place: int | str) -> Any:
        """Return what the parameter at a position or of a name wants."""
        if isinstance(place, str):
            return self._by_name.get(place, self._any_keyword)
        return self._positions[place] if place < len(self._positions) else self._any_position


def _returned(function: Any, signature: inspect.Signature, names: Mapping[str, Any]) -> Any:
    if isinstance(function, type):
        # A class gives its instances, unless it has a `__new__` that could give anything.
        plain = type(function) is type and (function.__module__ == "builtins" or _has_plain_new(function))
        return function if plain else UNKNOWN
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        return UNKNOWN
    return _meaning(signature.return_annotation, names)


def _has_plain_new(cls: type) -> bool:
    return next(base for base in cls.__mro__ if "__new__" in vars(base)) is object


def _namespace(function: Any) -> Mapping[str, Any]:
    plain = inspect.unwrap(function) if isinstance(function, types.FunctionType) else function
    found = getattr(plain, "__globals__", None)
    return found if isinstance(found, dict) else {}


# -- texts -----------------------------------------------------------------------------------------


class _Unclear(Exception):
    """An annotation that cannot be understood without running it."""


def _meaning(annotation: Any, names: Mapping[str, Any]) -> Any:
    if annotation is inspect.Parameter.empty:
        return UNKNOWN
    if not isinstance(annotation, str):
        return type(None) if annotation is None else annotation
    try:
        return _read(ast.parse(annotation, mode="eval").body, names)
    except (_Unclear, SyntaxError, ValueError, TypeError, RecursionError):
        return UNKNOWN


def _read(tree: ast.expr, names: Mapping[str, Any]) -> Any:
    reader = _READERS.get(type(tree))
    if reader is None:
        raise _Unclear
    return reader(tree, names)


def _read_name(tree: ast.Name, names: Mapping[str, Any]) -> Any:
    found = names.get(tree.id, getattr(builtins, tree.id, None))
    if found is None:
        raise _Unclear
    return found


def _read_attribute(tree: ast.Attribute, names: Mapping[str, Any]) -> Any:
    owner = _read(tree.value, names)
    if not isinstance(owner, types.ModuleType) or tree.attr not in vars(owner):
        raise _Unclear
    return vars(owner)[tree.attr]


def _read_constant(tree: ast.Constant, names: Mapping[str, Any]) -> Any:
    if tree.value is None:
        return type(None)
    if isinstance(tree.value, str):
        return _meaning(tree.value, names)
    raise _Unclear


def _read_union(tree: ast.BinOp, names: Mapping[str, Any]) -> Any:
    if not isinstance(tree.op, ast.BitOr):
        raise _Unclear
    return _union([_read(tree.left, names), _read(tree.right, names)])


def _union(members: list[Any]) -> Any:
    return typing.Union[tuple(members)]  # noqa: UP007 - `|` takes no texts and no bare functions


def _read_subscript(tree: ast.Subscript, names: Mapping[str, Any]) -> Any:
    base = _read(tree.value, names)
    inner = tree.slice.elts if isinstance(tree.slice, ast.Tuple) else [tree.slice]
    if base is typing.Optional or base is typing.Union:
        members = [_read(one, names) for one in inner]
        return _union([*members, type(None)] if base is typing.Optional else members)
    if base in _ELEMENTS and len(inner) == 1:
        return base[_read(inner[0], names)]
    # What is inside does not matter for the others, only which container it is.
    return base if isinstance(base, type) else typing.get_origin(base) or UNKNOWN


_READERS: Mapping[type, Callable[[Any, Mapping[str, Any]], Any]] = {
    ast.Name: _read_name,
    ast.Attribute: _read_attribute,
    ast.Constant: _read_constant,
    ast.BinOp: _read_union,
    ast.Subscript: _read_subscript,
}


# -- comparing -------------------------------------------------------------------------------------


def never_fits(given: Any, wanted: Any) -> bool:
    """Whether no value of type `given` can be one of type `wanted`, for certain."""
    if given is UNKNOWN or wanted is UNKNOWN:
        return False
    return all(_disjoint(one, other) for one in _alternatives(given) for other in _alternatives(wanted))


def element_of(wanted: Any) -> Any:
    """Return what a parameter that wants a list wants of each item."""
    arguments = typing.get_args(wanted)
    origin = typing.get_origin(wanted)
    return arguments[0] if origin in _ELEMENTS and len(arguments) == 1 else UNKNOWN


def shown(annotation: Any) -> str:
    """Return an annotation as people write it."""
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return "None" if annotation is type(None) else annotation.__qualname__
    if typing.get_origin(annotation) in _UNIONS:
        return " | ".join(map(shown, typing.get_args(annotation)))
    return str(annotation)


_UNIONS = (typing.Union, types.UnionType)


def _alternatives(annotation: Any) -> list[Any]:
    found: list[Any] = []
    waiting = [annotation]
    while waiting:
        top = waiting.pop()
        origin = typing.get_origin(top)
        if origin in _UNIONS:
            waiting.extend(typing.get_args(top))
        elif origin is typing.Annotated:
            waiting.append(typing.get_args(top)[0])
        elif isinstance(top, typing.NewType):
            waiting.append(top.__supertype__)
        else:
            found.append(top)
    return found


def _disjoint(given: Any, wanted: Any) -> bool:
    one, other = typing.get_origin(given) or given, typing.get_origin(wanted) or wanted
    if not (_is_plain(one) and _is_plain(other)):
        return False
    if one is other and one in _ELEMENTS:
        return never_fits(element_of(given), element_of(wanted))
    if _BYTES.issuperset((one, other)) or (issubclass(one, Number) and issubclass(other, Number)):
        return False
    # What a class of the user's lacks for being iterable, a subclass of it may have.
    if {one.__module__, other.__module__} & _ABSTRACT and "builtins" not in (one.__module__, other.__module__):
        return False
    return not (issubclass(one, other) or issubclass(other, one))


def _is_plain(cls: Any) -> bool:
    """Whether asking a class for its subclasses runs nobody's code and says the truth."""
    if not isinstance(cls, type) or cls is UNKNOWN or cls.__module__.partition(".")[0] == "lazygraph":
        return False  # what stands for a value (a replacement, a promise) has the type of that value
    return cls.__module__ in _ABSTRACT or type(cls).__subclasscheck__ is type.__subclasscheck__
