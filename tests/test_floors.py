"""The house stays as it was drawn: what pyproject.toml's import contracts say, and what they cannot say."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import lazygraph

ROOT = Path(__file__).resolve().parent.parent
HEAVY = frozenset({"tornado", "networkx", "graphviz", "msgspec", "cloudpickle"})
LATER = frozenset({"asyncio", "concurrent", "difflib", "logging", "numpy", "pickle", "subprocess", "tempfile"})
"""What somebody needs who runs something, or has mistyped it; not who only describes work."""
LONGEST_MODULE = 500
SLEEPING_IS_THE_TASK = "# sleeping is the task"
"""Marks the one legitimate sleep in a test: a task's own body that has to be busy when it is killed."""


def sources(*folders: str) -> list[Path]:
    """Every module under these folders of the checkout; the link lazygraph/executors is not followed."""
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    assert found, f"no modules under {folders}"
    return [path for path in found if path.relative_to(ROOT).parts[:2] != ("lazygraph", "executors")]


def imported_names(path: Path) -> Iterator[tuple[int, str]]:
    """Every import of the module at `path`: its line and the dotted name of the module it asks for."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, "." * node.level + (node.module or "")


def offences(paths: Iterable[Path], forbidden: frozenset[str]) -> list[str]:
    """Name, as file:line, every import of exactly one of the `forbidden` names."""
    return [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in paths
        for line, name in imported_names(path)
        if name in forbidden
    ]


@pytest.mark.timeout(180)
def test_imports_go_downwards() -> None:
    script = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"
    done = subprocess.run([sys.executable, "-c", script, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_no_module_bears_an_exported_name() -> None:
    # With a lazy root the import system would put the module in the place of the function.
    modules = {path.stem for path in (ROOT / "lazygraph").iterdir() if path.suffix == ".py" or path.is_dir()}
    assert modules & set(lazygraph.__all__) == set()


def test_every_exported_name_is_there() -> None:
    assert [name for name in lazygraph.__all__ if not hasattr(lazygraph, name)] == []
    assert set(lazygraph.__all__) <= set(dir(lazygraph))


def test_nobody_inside_imports_the_package_root() -> None:
    assert offences(sources("lazygraph", "executors"), frozenset({"lazygraph"})) == []


def test_nobody_imports_executors_by_its_bare_name() -> None:
    bare = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sources("lazygraph", "executors", "tests")
        for line, name in imported_names(path)
        if name.split(".")[0] == "executors"
    ]
    assert bare == []
    assert "executors" not in sys.modules


def test_executors_is_a_link_to_the_folder_beside() -> None:
    link = ROOT / "lazygraph" / "executors"
    assert link.is_symlink()
    assert link.readlink() == Path("../executors")


@pytest.mark.parametrize(
    "arguments",
    [["-c", "import lazygraph"], ["-m", "lazygraph.cli", "--version"]],
    ids=["import lazygraph", "lazygraph --version"],
)
def test_starting_loads_nothing_heavy(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments], capture_output=True, text=True, check=True, cwd=ROOT
    )
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "lazygraph" in loaded
    assert {name.partition(".")[0] for name in loaded} & HEAVY == set()


def test_making_functions_lazy_loads_little() -> None:
    command = [sys.executable, "-c", "import sys; from lazygraph import delayed; print(*sys.modules)"]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.split()
    assert "lazygraph.language.delayed" in loaded
    assert {name.partition(".")[0] for name in loaded} & (HEAVY | LATER) == set()


def test_version_is_said_once() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lazygraph.cli", "--version"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert lazygraph.__version__ in done.stdout.split()


def test_no_module_is_too_long() -> None:
    lengths = {
        path: len(path.read_text(encoding="utf-8").splitlines()) for path in sources("lazygraph", "executors", "tests")
    }
    assert {str(path.relative_to(ROOT)): n for path, n in lengths.items() if n > LONGEST_MODULE} == {}


def test_no_test_sleeps() -> None:
    texts = {path.relative_to(ROOT): path.read_text(encoding="utf-8") for path in sources("tests")}
    found = [
        f"{path}:{line}"
        for path, text in texts.items()
        for line in sleeps(text)
        if SLEEPING_IS_THE_TASK not in text.splitlines()[line - 1]
    ]
    assert found == [], f"wait for an event instead, or write {SLEEPING_IS_THE_TASK!r} beside a task's own sleep"


def test_the_search_for_sleeps_finds_them() -> None:
    assert sleeps("import time\ntime.sleep(1)\nawait asyncio.sleep(0)\nsleep(x)\n") == [2, 4]


def sleeps(text: str) -> list[int]:
    """The lines that call something named sleep with anything but a literal 0 (which only yields to the loop)."""
    lines = []
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Call(func=ast.Attribute(attr="sleep") | ast.Name(id="sleep"), args=[ast.Constant(value=0)]):
                continue
            case ast.Call(func=ast.Attribute(attr="sleep") | ast.Name(id="sleep"), lineno=line):
                lines.append(line)
    return lines
