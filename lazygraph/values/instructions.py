"""Code objects: what they do, and what they refer to.

File, lines, docstrings and the names of local variables are no part of what code does; names that callers or other
code can use are.

Covers: the form of a code object, the names and modules it reads.
Does not cover: what those names stand for (values.functions).
"""

from __future__ import annotations

import dis
from functools import lru_cache
from types import CodeType
from typing import Any, NamedTuple

from lazygraph.values.forms import Form, words

_READS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_ATTRIBUTES = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
_SEES_LOCALS = frozenset({"locals", "vars", "dir", "eval", "exec"})
_BEHAVIOUR = 0x04 | 0x08 | 0x20 | 0x80 | 0x100 | 0x200
"""Code flags that change what a call does: *args, **kwargs, generator, coroutine, asynchronous generator."""


class Reads(NamedTuple):
    """What a code object refers to outside of itself: chains of global names, and modules it imports."""

    names: dict[tuple[str, ...], None]
    imports: dict[tuple[str, int, tuple[str, ...]], None]


@lru_cache(maxsize=1024)
def code_form(code: CodeType) -> Form:
    """Return the form of a code object: instructions, with constants as parts and names as texts."""
    arguments = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & 0x04) + bool(code.co_flags & 0x08)
    steps: list[str] = [
        code.co_name,
        f"{code.co_argcount} {code.co_posonlyargcount} {code.co_kwonlyargcount} {code.co_flags & _BEHAVIOUR}",
        code.co_exceptiontable.hex(),
        *code.co_varnames[: None if _SEES_LOCALS.intersection(code.co_names) else arguments],
        "",
    ]
    constants: list[Any] = []
    for step in dis.get_instructions(code):
        if step.opcode in dis.hasconst:
            steps.append(step.opname)
            constants.append(step.argval)
        else:
            steps.append(f"{step.opname} {step.argval if step.opcode in dis.hasname else step.arg}")
    labels = [f"code of {constant.co_name}" if isinstance(constant, CodeType) else "constant" for constant in constants]
    return Form("code", words(steps), constants, labels=labels, text=f"code of {code.co_name}")


@lru_cache(maxsize=1024)
def reads_of(code: CodeType) -> Reads:
    """Return what a code object and those inside it refer to."""
    found = Reads({}, {})
    waiting = [code]
    while waiting:
        one = waiting.pop()
        waiting.extend(constant for constant in one.co_consts if isinstance(constant, CodeType))
        _scan(one, found)
    return found


def _scan(code: CodeType, found: Reads) -> None:
    chain: tuple[str, ...] = ()
    constants: list[Any] = []
    for step in dis.get_instructions(code):
        if chain and step.opname in _ATTRIBUTES:
            chain = (*chain, step.argval)
            continue
        if chain:
            found.names[chain] = None
            chain = ()
        if step.opname in _READS:
            # A class body reads `__name__` only to say where it stands.
            chain = () if step.opname == "LOAD_NAME" and step.argval == "__name__" else (step.argval,)
        elif step.opname == "IMPORT_NAME":
            level, names = constants[-2:]
            found.imports[step.argval, level, tuple(names or ())] = None
        elif step.opcode in dis.hasconst:
            constants.append(step.argval)
        elif step.opname == "LOAD_SMALL_INT":  # Python 3.14: the level of an import
            constants.append(step.arg)
    if chain:
        found.names[chain] = None
