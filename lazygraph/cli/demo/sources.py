"""Finding Python source files and reading the facts out of one of them.

A file that cannot be used (unreadable, not in its declared encoding, not Python) is a `Problem` in the facts, never
an exception: one bad file in a thousand must not end a run. Nothing here imports or executes what it reads.
"""

import ast
import os
import re
import stat
import sysconfig
import threading
import tokenize
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lazygraph.cli.demo.facts import Facts, Problem

SKIPPED_DIRECTORIES = frozenset({"site-packages", "dist-packages", "__pycache__"})
"""Directories that are never entered, beside those whose name starts with a dot."""

IDENTIFIER_FIELDS = frozenset({"id", "attr", "arg", "name", "rest"})
"""Fields of syntax nodes that hold one identifier as a string; other strings are values."""

NEVER_VISITED = frozenset({"ctx", "op", "ops", "kind", "type_comment", "type_ignores"})
"""Fields without a name or a statement below them: looking at them costs time only."""

_PARSED_AS = "<source read by lazygraph demo>"
_FILTERS_CHANGING = threading.Lock()


def standard_library() -> str:
    """Return the directory of the running interpreter's own standard library."""
    return sysconfig.get_paths()["stdlib"]


def list_files(root: str, limit: int = 0) -> list[str]:
    """Return the paths of the Python files below `root` in a fixed order, at most `limit` of them (0: all).

    Links to directories are not followed. A directory below `root` that cannot be listed is returned like a file, so
    that `parse` reports it; `root` itself raises the `OSError`.
    """
    with os.scandir(root):  # os.walk would turn a missing root into an empty list
        pass
    unlisted: list[OSError] = []
    paths: list[str] = []
    for folder, folders, names in os.walk(root, onerror=unlisted.append):
        folders[:] = [name for name in folders if name not in SKIPPED_DIRECTORIES and not name.startswith(".")]
        paths += [os.path.join(folder, name) for name in names if name.endswith(".py")]
    paths = sorted([*paths, *(error.filename for error in unlisted)])
    return paths[:limit] if limit > 0 else paths


def module_name(path: str, root: str) -> str:
    """Return the dotted name under which the file at `path` would be imported.

    A file of a package is named from the outermost folder that has an `__init__.py`, so `src/app/main.py` is
    `app.main`; any other file by its place below `root`. A package is named without `__init__`.
    """
    folder, name = os.path.split(path)
    parts = [] if name == "__init__.py" else [name.removesuffix(".py")]
    if os.path.exists(os.path.join(folder, "__init__.py")):
        while os.path.exists(os.path.join(folder, "__init__.py")) and os.path.basename(folder):
            folder, package = os.path.split(folder)
            parts.insert(0, package)
    else:
        parts = [*(part for part in os.path.relpath(folder, root).split(os.sep) if part != "."), *parts]
    return ".".join(parts)


def parse(path: str, root: str) -> Facts:
    """Return the facts about one file of the tree at `root`; what is wrong with it is in `.problems`."""
    try:
        text = _read(path)
        tree = _syntax_tree(text)
    except (OSError, SyntaxError, LookupError, ValueError, RecursionError, MemoryError) as error:
        return Facts(files=1, problems=(Problem(path, _sentence(error, path)),))
    module = module_name(path, root)
    findings = _Findings(package=_package_of(module, path))
    findings.walk(tree)
    return Facts(
        files=1,
        lines=text.count("\n") + (not text.endswith("\n") and text != ""),
        functions=findings.functions,
        classes=findings.classes,
        identifiers=dict(findings.identifiers),
        imports={module: tuple(sorted(findings.imports))},
        deferred={module: tuple(sorted(findings.deferred - findings.imports))},
    )


def _read(path: str) -> str:
    """Return the text of a file, decoded as its coding cookie, its byte order mark or else UTF-8 says."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(None, "it is not a regular file")  # opening a pipe would wait for its writer
    with tokenize.open(path) as file:
        return file.read()


def _syntax_tree(text: str) -> ast.Module:
    """Parse without a warning about the source reaching this process's output (or, with -W error, the result)."""
    # Not warnings.catch_warnings: it swaps a list of the whole process, and threads that overlap in it restore each
    # other's. A filter for one made-up file name concerns nobody else, and is there again after someone restored.
    with _FILTERS_CHANGING:
        if ("ignore", None, Warning, re.compile(re.escape(_PARSED_AS)), 0) not in warnings.filters:
            warnings.filterwarnings("ignore", module=re.escape(_PARSED_AS))
    return ast.parse(text, _PARSED_AS)


def _sentence(error: BaseException, path: str) -> str:
    """Say what is wrong with a file in words that are the same in every process and thread."""
    match error:
        case OSError():
            return f"cannot be read: {error.strerror or error}"
        case SyntaxError(lineno=None):
            return f"cannot be parsed: {error.msg}".replace(f" for {path!r}", "")
        case SyntaxError():
            return f"cannot be parsed: {error.msg} (line {error.lineno})"
        case UnicodeDecodeError():
            return f"is not {error.encoding} text: {error.reason} (byte {error.start})"
        case RecursionError() | MemoryError():
            return "cannot be parsed: it is nested too deeply or too large"
        case _:
            return f"cannot be decoded or parsed: {error}"


def _package_of(module: str, path: str) -> str:
    """Return the package that a relative import in this module starts from."""
    return module if os.path.basename(path) == "__init__.py" else module.rpartition(".")[0]


@dataclass(slots=True)
class _Findings:
    """Collects what one walk over a syntax tree finds; `package` is what relative imports start from."""

    package: str
    functions: int = 0
    classes: int = 0
    identifiers: Counter[str] = field(default_factory=Counter)
    imports: set[str] = field(default_factory=set)
    deferred: set[str] = field(default_factory=set)
    importing: bool = True
    now: list[object] = field(default_factory=list)
    later: list[object] = field(default_factory=list)

    def walk(self, tree: ast.Module) -> None:
        """Visit every node once: first what runs while the module is imported, then the rest."""
        self.now.append(tree)
        self._visit_now()
        self.importing = False
        while self.later:
            self.now, self.later = self.later, []
            self._visit_now()

    def _visit_now(self) -> None:
        # A loop over a stack, not ast.NodeVisitor: several times as fast, and depth costs no Python frames.
        now = self.now
        found: list[str] = []
        while now:
            node = now.pop()
            kind = type(node)
            if isinstance(node, str):  # in a list: the names of a global statement or of a class pattern
                found.append(node)
            elif kind in _ACTIONS:
                _ACTIONS[kind](self, node)
            for name in _VISITED.get(kind, ()):
                value: Any = getattr(node, name, None)
                if value.__class__ is list:
                    now.extend(value)
                elif value.__class__ is str:
                    if name in IDENTIFIER_FIELDS:
                        found.append(value)
                elif value is not None:
                    now.append(value)
        self.identifiers.update(found)

    def enter_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.functions += 1
        self.later += node.body

    def enter_class(self, node: ast.ClassDef) -> None:
        self.classes += 1

    def enter_if(self, node: ast.If) -> None:
        (self.later if _is_false_on_import(node.test) else self.now).extend(node.body)

    def enter_import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._imported(alias.name)
            self.identifiers.update(_words(alias.name, alias.asname))

    def enter_import_from(self, node: ast.ImportFrom) -> None:
        origin = self._absolute(node.level, node.module or "")
        self.identifiers.update(_words(node.module))
        for alias in node.names:
            self._imported(origin if alias.name == "*" else f"{origin}:{alias.name}")
            self.identifiers.update(_words(alias.name, alias.asname))

    def _imported(self, name: str) -> None:
        (self.imports if self.importing else self.deferred).add(name)

    def _absolute(self, level: int, module: str) -> str:
        """Return the full name for a relative one; one that leaves the tree keeps its dots, and names nothing."""
        if level == 0:
            return module
        parts = self.package.split(".") if self.package else []
        if level > len(parts):
            return "." * level + module
        return ".".join([*parts[: len(parts) - level + 1], *([module] if module else [])])


def _is_false_on_import(test: ast.expr) -> bool:
    """Tell whether this is `TYPE_CHECKING`, `typing.TYPE_CHECKING` or `__name__ == ...`."""
    if isinstance(test, ast.Compare):
        return getattr(test.left, "id", None) == "__name__" and isinstance(test.ops[0], ast.Eq)
    return "TYPE_CHECKING" in (getattr(test, "id", None), getattr(test, "attr", None))


def _words(*names: str | None) -> list[str]:
    """Return the identifiers in dotted names."""
    return [word for name in names if name and name != "*" for word in name.split(".")]


_ACTIONS: Mapping[type, Callable[[_Findings, Any], None]] = {
    ast.FunctionDef: _Findings.enter_function,
    ast.AsyncFunctionDef: _Findings.enter_function,
    ast.ClassDef: _Findings.enter_class,
    ast.If: _Findings.enter_if,
    ast.Import: _Findings.enter_import,
    ast.ImportFrom: _Findings.enter_import_from,
}

_TAKEN_BY_ACTION: Mapping[type, frozenset[str]] = {
    ast.FunctionDef: frozenset({"body"}),
    ast.AsyncFunctionDef: frozenset({"body"}),
    ast.If: frozenset({"body"}),
    ast.Import: frozenset({"names"}),
    ast.ImportFrom: frozenset({"module", "names", "level"}),
    ast.Constant: frozenset({"value"}),
}

_VISITED: Mapping[type, tuple[str, ...]] = {
    kind: tuple(
        name for name in kind._fields if name not in NEVER_VISITED and name not in _TAKEN_BY_ACTION.get(kind, ())
    )
    for kind in vars(ast).values()
    if isinstance(kind, type) and issubclass(kind, ast.AST)
}
