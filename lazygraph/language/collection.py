"""A promise as one of dask's collections: `dask.compute(promise)`, `dask.delayed(f)(promise)`, `dask.persist(promise)`.

Covers: dask's collection protocol, without importing dask until dask asks.
Does not cover: how the graph is written (planning.to_dask), dask's collections as our inputs (planning.from_dask).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lazygraph.values.verbs import dask_graph_of, dasks_own, thawed_from_dask

if TYPE_CHECKING:
    from collections.abc import Callable


class AsCollection:
    """Mixed into `Delayed`: one key, whose value is the promise's."""

    __slots__ = ()

    if TYPE_CHECKING:

        @property
        def key(self) -> str: ...

    def __dask_graph__(self) -> dict[Any, Any]:
        """The tasks that this needs, by key."""
        graph: dict[Any, Any] = dask_graph_of(self)
        return graph

    def __dask_keys__(self) -> list[str]:
        return [self.key]

    def __dask_tokenize__(self) -> str:
        return self.key

    @staticmethod
    def __dask_optimize__(graph: Any, keys: Any, **keywords: Any) -> Any:
        """Leave the graph as it is: what no output needs is not in it, and chains are for whoever runs them."""
        return graph

    @property
    def __dask_scheduler__(self) -> Callable[..., Any]:
        """What runs this where dask is told of no scheduler: what runs dask's own promises, arrays and tables there."""
        return dasks_own("threaded", "get")  # type: ignore[no-any-return]

    def __dask_postcompute__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return dasks_own("delayed", "single_key"), ()

    def __dask_postpersist__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return thawed_from_dask, (self.key,)
