"""What a worker does before it joins: import modules, collect their hooks, set itself up.

Covers: `-A`, `--preload`, the set-up functions of preloaded modules and of LocalCluster.
Does not cover: the hooks around tasks (running.hooks), joining (cli.serving).
"""

from __future__ import annotations

import base64
import importlib
import os
import sys
import traceback
from typing import TYPE_CHECKING

from lazygraph.running.hooks import Hooks

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType, TracebackType


class CannotPrepare(Exception):
    """What a worker cannot begin without has failed; the text says what, with the user's part of the traceback."""


def prepared(modules: Sequence[tuple[str, str]], setup: str | None = None) -> Hooks:
    """Import modules, each given as (option, its name), then call their set-up functions and `setup`, in that order.

    `setup` is a pickled function, as `LocalCluster` sends it.  Returns the hooks of the modules.  Raises
    `CannotPrepare`.
    """
    hooks = Hooks()
    for option, name in modules:
        hooks.collect(_imported(option, name))
    for function in hooks.setups:
        _call(f"worker_setup {function.__module__}.{function.__qualname__}", function)
    if setup is not None:
        from lazygraph.executors.cluster.net.codec import loads
        from lazygraph.values.references import restored

        _call("LocalCluster(setup=...)", lambda: restored(loads(base64.b64decode(setup)))())
    return hooks


def working_directory_first() -> None:
    """Let modules beside which the command was started be found, before all others."""
    here = os.getcwd()
    if sys.path[:1] not in ([""], [here]):
        sys.path.insert(0, here)


def _imported(option: str, name: str) -> ModuleType:
    """Import a module; of `module:attribute` see that it has that too."""
    module, _, attribute = name.partition(":")
    try:
        found = importlib.import_module(module)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{module}.".startswith(f"{error.name}."):
            raise CannotPrepare(
                f"{option} {name}: there is no module {error.name!r} in {os.getcwd()}, nor anywhere else on sys.path"
            ) from None
        raise CannotPrepare(f"{option} {name} could not be imported:\n{_text(error)}") from error
    if attribute and not hasattr(found, attribute):
        raise CannotPrepare(f"{option} {name}: the module {module!r} has no {attribute!r}")
    return found


def _call(what: str, function: object) -> None:
    assert callable(function)
    try:
        function()
    except (Exception, SystemExit) as error:
        raise CannotPrepare(f"{what} failed:\n{_text(error)}") from error


def _text(error: BaseException) -> str:
    """Return the traceback without our own frames, and those of the import system, at its top."""
    tb: TracebackType | None = error.__traceback__
    while tb is not None and (_ours(tb) or "importlib" in tb.tb_frame.f_code.co_filename):
        tb = tb.tb_next
    return "".join(traceback.format_exception(type(error), error, tb)).rstrip()


def _ours(tb: TracebackType) -> bool:
    return tb.tb_frame.f_globals.get("__name__") == __name__
