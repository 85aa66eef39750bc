"""Words of dask's that a script uses besides `delayed` and its verbs, so that only its import line has to change.

Covers: `annotate` (dask's word for `options`), `config.set(scheduler=...)` (dask's word for `use`).
Does not cover: dask's other settings, which are refused by name; running dask's graphs (interop.dask).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lazygraph.door import use
from lazygraph.errors import UnknownOption
from lazygraph.executors.current import innermost
from lazygraph.values.options import options

if TYPE_CHECKING:
    from collections.abc import Mapping

annotate = options

_INSTEAD = {
    "num_workers": "write use(lazygraph.executors.ThreadExecutor(4))",
    "pool": "write use(pool): any concurrent.futures.Executor is an executor",
    "delayed_pure": "write with lazygraph.options(pure=True): ...",
    "delayed_optimize": "write compute(..., optimize_graph=False) where you want none; else all graphs are optimized",
    "cache": "write cache=True on the tasks whose values are to be kept",
}


class Setting:
    """`config.set(scheduler="sync")`: the default executor of this context, until the end of a `with` or for good."""

    def __init__(self, given: Mapping[str, Any] | None = None, /, **settings: Any) -> None:
        wanted = {**(given or {}), **settings}
        for name in wanted:
            if name != "scheduler":
                raise UnknownOption("config.set()", name, ["scheduler"], _INSTEAD.get(name.replace("-", "_"), ""))
        self._use = use(wanted.get("scheduler"))
        self._use.__enter__()

    def __enter__(self) -> None:
        """Do nothing: it holds since it was said, as in dask."""

    def __exit__(self, *exc_info: object) -> None:
        self._use.__exit__(*exc_info)


class _Config:
    """What `dask.config` is to a script."""

    set = Setting

    @staticmethod
    def get(name: str, default: Any = None) -> Any:
        """Return a setting: "scheduler" is the name of this context's executor."""
        chosen = innermost() if name == "scheduler" else None
        return default if chosen is None else getattr(chosen, "name", chosen)


config = _Config()
