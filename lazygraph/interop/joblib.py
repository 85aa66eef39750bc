"""lazygraph as a joblib backend: after `register()`, `with joblib.parallel_config(backend="lazygraph", executor=...)`.

Covers: registering.
Does not cover: the backend itself, which needs joblib (interop.joblib_backend).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lazygraph.errors import MissingExtra
from lazygraph.executors.registry import resolve

if TYPE_CHECKING:
    from types import ModuleType


def register(executor: Any = None, *, name: str = "lazygraph", make_default: bool = False, **options: Any) -> None:
    """Make lazygraph known to joblib, as the backend `name`.

    `executor` (a name, an address, an instance or a client) and `options` (those of every batch of calls, as in
    `get_executor`) hold where `parallel_config` says nothing else; without an executor it is the default of the place
    where `Parallel` is called.  `make_default`: joblib takes it wherever nothing is said.  Calling it again replaces
    what was said before.
    Raises `MissingExtra` without joblib, `UnknownExecutor` for an executor that is none.
    """
    backend = _backend_module()
    if executor is not None:
        resolve(executor)

    def make(**given: Any) -> Any:
        return backend.LazygraphBackend(**{"executor": executor, **options, **given})

    backend.register_parallel_backend(name, make, make_default=make_default)


def _backend_module() -> ModuleType:
    try:
        import joblib as joblib  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtra("the joblib backend", "joblib") from error
    import lazygraph.interop.joblib_backend as backend

    return backend
