"""What a command is about: the text of a plan, or something lazy of a module.

A plan is what `Graph.to_json()` and `canvas.to_json()` have written.  Reading it imports the modules that it names, as
`lazygraph.from_json` does, and runs nothing else of them.

Covers: `-A` and `--preload`, finding what TARGET names, sentences for what is not there.
Does not cover: running it (cli.running), showing it (cli.looking).
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any

import click

from lazygraph.cli.preparing import working_directory_first
from lazygraph.errors import LazyGraphError
from lazygraph.language.delayed import DelayedFunction
from lazygraph.language.promise import is_lazy
from lazygraph.planning.exchange import from_networkx
from lazygraph.planning.lower import lift
from lazygraph.planning.reading import from_json
from lazygraph.values.graph import Graph
from lazygraph.values.template import take_apart

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

STANDARD_INPUT = "-"


def imports(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options `-A` and `--preload`, as `app` and `preload`."""
    preload = click.option(
        "--preload", multiple=True, help="Module to import before the plan is read; may be repeated."
    )
    app = click.option("-A", "--app", help="Module with the tasks, to import before the plan is read.")
    return app(preload(command))


def lazy_at(target: str, app: str | None, preload: tuple[str, ...]) -> list[Any]:
    """Import modules, find what TARGET names, and return it as what `compute` takes: of a graph a promise an output.

    Raises `click.UsageError`, with the user's traceback where code of the user's has failed.
    """
    working_directory_first()
    for option, module in [*([("-A", app)] if app else []), *(("--preload", one) for one in preload)]:
        module_at(module, f"{option} {module}")
    try:
        found = _found(target)
    except (LazyGraphError, OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{target}: {error}") from None
    return lift(found) if isinstance(found, Graph) else [found]


def _found(target: str) -> Any:
    module, colon, path = target.partition(":")
    if target == STANDARD_INPUT:
        return _plan(sys.stdin.read(), target)
    if Path(target).is_file():
        return _plan(Path(target).read_text(encoding="utf-8"), target)
    if not colon or not module or not path:
        raise click.UsageError(f"{target!r} is neither the file of a plan nor of the form MODULE:attr")
    value = attribute_at(module_at(module, target), path)
    if isinstance(value, FunctionType):
        value = _by_users(value, f"{target} was called, and raised")
    return _lazy(value, target)


def _plan(text: str, target: str) -> Any:
    return _by_users(lambda: from_json(text), f"{target} names a module that cannot be imported")


def _lazy(value: Any, target: str) -> Any:
    """Return something that can be computed.  Raises `click.UsageError` when there is nothing to compute in it."""
    if isinstance(value, DelayedFunction):
        raise click.UsageError(f"{target} is {value!r}, and nothing calls it; name a call of it, or a canvas")
    if isinstance(value, Graph):
        return value
    if hasattr(type(value), "is_directed"):  # as it is in `check`: networkx need not be there
        return from_networkx(value, target)
    if not any(map(is_lazy, take_apart([value], is_lazy)[0])):
        raise click.UsageError(
            f"{target} is {type(value).__name__}, and nothing in it is lazy; name a promise, a canvas, a graph, "
            f"a collection of those, or a function without arguments that returns one"
        )
    return value


def module_at(name: str, what: str) -> ModuleType:
    """Import a module.  Raises `click.UsageError`, with the user's traceback where the module itself has failed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}."):
            raise click.UsageError(
                f"{what}: there is no module {error.name!r} in {os.getcwd()}, nor anywhere else on sys.path"
            ) from None
        raise _failed(f"{what} could not be imported", error) from None
    except (Exception, SystemExit) as error:
        raise _failed(f"{what} could not be imported", error) from None


def attribute_at(module: ModuleType, path: str) -> Any:
    """Return what a dotted path leads to.  Raises `click.UsageError` where it does not."""
    value: Any = module
    walked = module.__name__
    for name in path.split("."):
        try:
            value = getattr(value, name)
        except AttributeError:
            raise click.UsageError(f"{walked} has no attribute {name!r}") from None
        walked = f"{walked}.{name}"
    return value


def _by_users(act: Callable[[], Any], what: str) -> Any:
    """Do what runs code of the user's; what that raises is told with its traceback."""
    try:
        return act()
    except LazyGraphError:
        raise
    except (Exception, SystemExit) as error:
        raise _failed(what, error) from None


def _failed(what: str, error: BaseException) -> click.UsageError:
    return click.UsageError(f"{what}:\n{text_of(error)}")


def text_of(error: BaseException) -> str:
    """Return the text of a traceback without what stands above the user's code: our frames, those of the imports."""
    shown = error.__traceback__
    while shown is not None and _above(shown.tb_frame.f_globals.get("__name__", "")):
        shown = shown.tb_next
    # Of an error that is ours alone nothing is left: its sentence says what is wrong.
    return "".join(traceback.format_exception(type(error), error, shown)).rstrip()


def _above(module: str) -> bool:
    return module.partition(".")[0] in ("lazygraph", "importlib")
