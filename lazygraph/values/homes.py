"""Where code comes from: the standard library, an installed distribution, or the user's own files.

What is installed is known by its name and version and never looked into; the user's own code is known by its content.

Covers: which of the three a module is, the version that stands for it, where a module would be imported from.
Does not cover: functions and classes (values.functions).
"""

from __future__ import annotations

import sys
import sysconfig
from functools import lru_cache
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

PYTHON = f"python {sys.version_info[0]}.{sys.version_info[1]}"
OURS = "lazygraph"
_INSTALLED = frozenset({"site-packages", "dist-packages"})


@lru_cache(maxsize=4096)
def version_of(module: str) -> str | None:
    """Return what stands for the code of an installed module; None when it is the user's own.

    That is "python 3.11" for the standard library, "name 1.2" for a distribution.  The functions of this package keep
    their meaning, so it stands for itself: a new version of it must not make every cached value a stranger.
    """
    top = module.partition(".")[0]
    if top == OURS:
        return OURS
    if top == "__main__":
        return None
    if top in sys.builtin_module_names:
        return PYTHON
    place = _place_of(module)
    if place is None:
        return None
    if _INSTALLED.intersection(Path(place).parts):
        return _distribution(top)
    return PYTHON if place == "frozen" or _is_within(place, "stdlib", "platstdlib") else None


def _place_of(module: str) -> str | None:
    """Return the file of a module, "frozen", or None when it is not known to have one."""
    loaded = sys.modules.get(module)
    file = getattr(loaded, "__file__", None)
    if isinstance(file, str):
        return file
    spec = getattr(loaded, "__spec__", None) if loaded is not None else find(module)
    origin = getattr(spec, "origin", None)
    if isinstance(origin, str):
        return "frozen" if origin in ("frozen", "built-in") else origin
    for folder in getattr(spec, "submodule_search_locations", None) or ():
        return str(folder)  # a namespace package
    return None


def _is_within(place: str, *paths: str) -> bool:
    real = Path(place).resolve()
    return any(real.is_relative_to(Path(sysconfig.get_path(path)).resolve()) for path in paths)


def _distribution(top: str) -> str | None:
    """Return name and version of what brought a package; None when nothing says so: then it is the user's own."""
    # Loaded when it is needed: it brings in a parser of mail headers, and most programs never ask.
    from importlib import metadata

    try:
        return f"{top} {metadata.version(top)}"
    except metadata.PackageNotFoundError:
        pass
    version = getattr(sys.modules.get(top), "__version__", None)
    if isinstance(version, str):
        return f"{top} {version}"
    names = sorted(set(metadata.packages_distributions().get(top, ())))  # reads every installed file list
    return ", ".join(f"{name} {metadata.version(name)}" for name in names) or None


def find(module: str) -> ModuleSpec | None:
    """Return where a module would be imported from.  Nothing is imported, its packages neither."""
    spec: ModuleSpec | None = None
    path: Any = None
    name = ""
    for part in module.split("."):
        name = f"{name}.{part}" if name else part
        try:
            # Only the first part may ask finders of other makes: they would import the packages of the others.
            spec = PathFinder.find_spec(name, path) if path is not None else find_spec(name)
        except (ImportError, ValueError):
            return None
        if spec is None:
            return None
        path = spec.submodule_search_locations or []
    return spec


def absolute(name: str, level: int, package: str) -> str:
    """Return the full name of a module that is named from within `package`, `level` dots before its name."""
    if level == 0:
        return name
    parts = package.split(".") if package else []
    base = parts[: len(parts) - (level - 1)]
    return ".".join([*base, *([name] if name else [])])
