"""Functions by name, where the name is taken by their decorated form.

`@delayed def add` leaves `add` in its module as a DelayedFunction, so pickle cannot find the plain function under its
own name (and cloudpickle would copy it, globals and all).  It is found as what that DelayedFunction wraps.

Covers: a picklable stand-in for such functions, and back.
Does not cover: functions that cannot be imported where they arrive: those stay as they are, for cloudpickle to copy.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from importlib import import_module
from importlib.machinery import PathFinder
from typing import Any, NamedTuple


class Wrapped(NamedTuple):
    """Stands for the function that `module.qualname` wraps."""

    module: str
    qualname: str

    def restore(self) -> Any:
        """Import it.  Raises ImportError or AttributeError where it is not."""
        found: Any = import_module(self.module)
        for name in self.qualname.split("."):
            found = getattr(found, name)
        return found.__wrapped__


@lru_cache(maxsize=1024)
def _importable(module: str) -> bool:
    """Whether another process with the same path could import a module."""
    return PathFinder.find_spec(module.partition(".")[0]) is not None


def portable(function: Any) -> Any:
    """Return a stand-in if the function's name is taken by its decorated form, else the function itself."""
    module, qualname = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(qualname, str):
        return function
    if module == "__main__" or not _importable(module):
        return function
    found: Any = sys.modules.get(module)
    for name in qualname.split("."):
        found = getattr(found, name, None)
    taken = found is not function and getattr(found, "__wrapped__", None) is function
    return Wrapped(module, qualname) if taken else function


def restored(function: Any) -> Any:
    """Return what a stand-in stands for, or the function itself."""
    return function.restore() if isinstance(function, Wrapped) else function
