"""The content of code: functions, classes, modules.

A function is what it does: its instructions and constants, its defaults and closure, and the functions and values
behind the global names that it reads, all the way down.  Its file, its line numbers, docstring and annotations are not
part of it.  A class is its full name besides, because `isinstance` goes by that.  What is installed is known by name
and version (values.homes).

Not seen, because no instruction names it: what is found by `globals()`, `getattr` with a computed name, `eval`, and
what a user's own module does when its function imports it, beyond the text of the files.

Covers: one level of code as a `Form`.
Does not cover: everything else (values.canonical).
"""

from __future__ import annotations

import builtins
import functools
import sys
from operator import itemgetter
from pathlib import Path
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MappingProxyType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import TYPE_CHECKING, Any, NamedTuple

from lazygraph.values.forms import UNORDERED, Absent, Form, Sentinel, words
from lazygraph.values.homes import PYTHON, absolute, find, version_of
from lazygraph.values.instructions import code_form, reads_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from lazygraph.values.instructions import Reads

_MADE_IN_PYTHON = 1 << 9
"""The flag of a class that is made while a program runs (or might be)."""
_ABSENT: Any = object()

_NOT_CONTENT = frozenset(
    """__module__ __qualname__ __doc__ __dict__ __weakref__ __firstlineno__ __static_attributes__ __slotnames__
    __annotations__ __annotate__ __annotate_func__ __annotations_cache__ __conditional_annotations__
    __orig_bases__ __parameters__ __abstractmethods__ _abc_impl
    __pydantic_core_schema__ __pydantic_validator__ __pydantic_serializer__ __pydantic_parent_namespace__""".split()
)
"""What a class holds besides what its author wrote: where it stands, notes for readers, what was made of the rest."""


class Imported(NamedTuple):
    """Stands for a module as a whole."""

    name: str


# -- functions -------------------------------------------------------------------------------------


def function_form(function: FunctionType) -> Form:
    """Return the form of a Python function: by name if it is installed, else by content."""
    space = function.__globals__
    named = _installed(space.get("__name__"), function.__qualname__, function)
    if named is not None:
        return Form("function", named, text=f"function {function.__qualname__} of {version_of(space['__name__'])}")
    if function.__code__ is _DISPATCHING:
        return _dispatching_form(function)
    reads = reads_of(function.__code__)
    parts: dict[str, Any] = {"code": function.__code__}
    defaults = function.__defaults__ or ()
    first = function.__code__.co_argcount - len(defaults)
    for at, value in enumerate(defaults, first):
        parts[f"default of {function.__code__.co_varnames[at]}"] = value
    for name, value in sorted((function.__kwdefaults__ or {}).items()):
        parts[f"default of {name}"] = value
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            parts[f"closure {name}"] = cell.cell_contents
        except ValueError:
            parts[f"closure {name}"] = Absent(name)
    for chain in sorted(reads.names):
        name, value = _resolve(chain, space)
        parts[f"global {name}"] = value
    for name in sorted(_imported(reads, space.get("__package__") or "")):
        parts[f"import {name}"] = Imported(name)
    for name, value in sorted(vars(function).items()):
        if name != "__wrapped__":  # what is wrapped counts where the wrapper's closure holds it
            parts[f"attribute {name}"] = value
    return _labelled("function", "", parts, f"function {function.__qualname__}")


def _labelled(kind: str, data: str, parts: Mapping[str, Any], text: str) -> Form:
    """Return a form whose parts are known by their labels."""
    return Form(kind, words([data, *parts]), _numbered(list(parts.values())), labels=list(parts), text=text)


def _numbered(parts: list[Any]) -> list[Any]:
    """Replace bare objects by their number of first appearance: which of them are the same is all they can tell."""
    numbers: dict[int, Sentinel] = {}
    return [numbers.setdefault(id(part), Sentinel(len(numbers))) if type(part) is object else part for part in parts]


def _resolve(chain: tuple[str, ...], space: Mapping[str, Any]) -> tuple[str, Any]:
    """Return how far a chain of names leads through the user's own modules, and what is there."""
    value = space.get(chain[0], _ABSENT)
    if value is _ABSENT:
        value = getattr(builtins, chain[0], Absent(chain[0]))
    used = 1
    while used < len(chain) and isinstance(value, ModuleType) and version_of(value.__name__) is None:
        value = getattr(value, chain[used], Absent(chain[used]))
        used += 1
    return ".".join(chain[:used]), value


def _imported(reads: Reads, package: str) -> set[str]:
    """Return the full names of the modules that code imports: of `from x import y` also y, if it is a module."""
    names: set[str] = set()
    for name, level, things in reads.imports:
        home = absolute(name, level, package)
        if home:
            names.add(home)
            if version_of(home) is None:
                names.update(f"{home}.{thing}" for thing in things if find(f"{home}.{thing}") is not None)
    return names


def _installed(module: Any, qualname: str, thing: Any) -> bytes | None:
    """Return name and version of something installed, if it is what is found under that name."""
    version = version_of(module) if isinstance(module, str) else None
    if version is None:
        return None
    found: Any = sys.modules.get(module)
    for name in qualname.split("."):
        found = getattr(found, name, None)
    while found is not thing and found is not None:
        found = getattr(found, "__wrapped__", None)
    return words([module, qualname, version]) if found is thing else None


def builtin_form(function: BuiltinFunctionType) -> Form:
    """Return the form of a function written in C: its name, or the method and what it is bound to."""
    owner = function.__self__
    if owner is None or isinstance(owner, ModuleType):
        return by_name("function", function.__module__ or "builtins", function.__qualname__)
    labels = ("name", "owner")
    return Form("method", b"", (function.__name__, owner), labels=labels, text=f"method {function.__name__}")


def by_name(kind: str, module: str, name: str, *more: Any) -> Form:
    """Return the form of what can be known by its name only: of the user's own, with all that its module holds."""
    version = version_of(module)
    unknown = (Imported(module),) if version is None else ()
    named = words([module, name, "" if version in (None, PYTHON) else str(version)])
    labels = ("class",) * len(more) + ("module",) * len(unknown)
    return Form(kind, named, (*more, *unknown), labels=labels, text=f"{kind} {module}.{name}")


def method_form(method: MethodType) -> Form:
    """Return the form of a bound method: its function and its owner."""
    labels = ("function", "owner")
    return Form("method", b"", (method.__func__, method.__self__), labels=labels, text=f"method {method.__name__}")


def _dispatching_form(function: Any) -> Form:
    """Return the form of a function of functools.singledispatch: what it does with which class."""
    return Form(
        "function by class", b"", list(function.registry.items()), UNORDERED, text=f"function {function.__name__}"
    )


_DISPATCHING: CodeType = vars(functools)["singledispatch"](len).__code__


def cached_form(function: Any) -> Form:
    """Return the form of a function behind functools.lru_cache: what it calls."""
    parts = (function.__wrapped__, function.cache_parameters())
    return Form("cached function", b"", parts, labels=("function", "parameters"))


# -- classes and modules ---------------------------------------------------------------------------


def class_form(cls: type) -> Form:
    """Return the form of a class: by name if it is installed or built in, else by name and content."""
    named = _installed_class(cls)
    if named is not None:
        return Form("class", named, text=f"class {cls.__qualname__}")
    parts: dict[str, Any] = {}
    if not cls.__flags__ & _MADE_IN_PYTHON:
        parts["module"] = Imported(cls.__module__)  # made in C: its methods show names and no code
    if type(cls) is not type:
        parts["metaclass"] = type(cls)
    for at, base in enumerate(cls.__bases__, 1):
        parts[f"base {at}"] = base
    for name, value in sorted(_namespace(cls), key=itemgetter(0)):
        parts[f"attribute {name}"] = value
    return _labelled("class", f"{cls.__module__}:{cls.__qualname__}", parts, f"class {cls.__qualname__}")


def _installed_class(cls: type) -> bytes | None:
    named = _installed(cls.__module__, cls.__qualname__, cls)
    if named is None and not cls.__flags__ & _MADE_IN_PYTHON and version_of(cls.__module__) is not None:
        named = words([cls.__module__, cls.__qualname__, str(version_of(cls.__module__))])  # made in C, without a name
    if named is not None and version_of(cls.__module__) == PYTHON:
        return words([cls.__module__, cls.__qualname__])  # values of its classes mean the same in every Python
    return named


def _namespace(cls: type) -> Iterator[tuple[str, Any]]:
    members = getattr(cls, "__members__", None) if hasattr(cls, "_member_map_") else None
    for name, value in vars(cls).items():
        if name in _NOT_CONTENT or isinstance(value, GetSetDescriptorType):
            continue
        if isinstance(value, MemberDescriptorType):
            yield name, "slot"
        elif members is None or isinstance(value, _WRITTEN):
            yield name, value
    if members is not None:  # an enum: what its metaclass keeps about them is made from these
        yield "(members)", {name: member.value for name, member in members.items()}


def _wrapper_form(*names: str) -> Callable[[Any], Form]:
    def form(value: Any) -> Form:
        return Form(type(value).__name__, b"", [getattr(value, name, None) for name in names], labels=names)

    return form


_WRITTEN = (FunctionType, classmethod, staticmethod, property)


def module_form(module: ModuleType) -> Form:
    """Return the form of a module that is used as a value."""
    return imported_form(Imported(module.__name__))


def imported_form(module: Imported) -> Form:
    """Return the form of a module by name: name and version if it is installed, else the user's files it brings in."""
    version = version_of(module.name)
    if version is not None:
        top = module.name if version != PYTHON else module.name.partition(".")[0]
        return Form("module", words([top, version]), text=f"module {module.name} of {version}")
    files = sorted(_files_of(module.name).items())
    labels = [f"file of {name}" for name, _ in files]
    data = words(name for name, _ in files)
    return Form("module", data, [content for _, content in files], labels=labels, text=f"module {module.name}")


def _files_of(module: str) -> dict[str, CodeType | bytes]:
    """Return, by module, the content of a module of the user's own and of all of his that it imports in its turn.

    Found and compiled, never imported.
    """
    found: dict[str, CodeType | bytes] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in found or version_of(name) is not None:
            continue
        spec = find(name)
        place = spec.origin if spec is not None else getattr(sys.modules.get(name), "__file__", None)
        content = found[name] = _content_of(place)
        waiting.extend(name[:at] for at, letter in enumerate(name) if letter == ".")
        if isinstance(content, CodeType):
            package = name if spec is not None and spec.submodule_search_locations else name.rpartition(".")[0]
            waiting.extend(_imported(reads_of(content), package))
    return found


def _content_of(place: str | None) -> CodeType | bytes:
    try:
        content = Path(place).read_bytes() if place else b""
        return compile(content, "", "exec", dont_inherit=True) if place and place.endswith(".py") else content
    except OSError:
        return b""
    except (SyntaxError, ValueError, RecursionError):
        return Path(str(place)).read_bytes()


def proxy_form(proxy: MappingProxyType[Any, Any]) -> Form:
    """Return the form of a read-only view of a dict."""
    return Form("mappingproxy", b"", (dict(proxy),), labels=("dict",))


CODE_FORMS: Mapping[type, Callable[[Any], Form]] = {
    FunctionType: function_form,
    CodeType: code_form,
    BuiltinFunctionType: builtin_form,
    MethodType: method_form,
    functools._lru_cache_wrapper: cached_form,
    ModuleType: module_form,
    Imported: imported_form,
    MappingProxyType: proxy_form,
    property: _wrapper_form("fget", "fset", "fdel"),
    classmethod: _wrapper_form("__func__"),
    staticmethod: _wrapper_form("__func__"),
    functools.cached_property: _wrapper_form("func", "attrname"),
    functools.partialmethod: _wrapper_form("func", "args", "keywords"),
}
"""Code, and what a class wraps it in, by exact type.  Classes have as many types as there are metaclasses."""
