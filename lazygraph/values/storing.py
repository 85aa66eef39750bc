"""What keeps results: the few things that a task and a planner want of a store.

Covers: the interface, what counts as a store in `cache=`.
Does not cover: the store of files (executors.files.store), keys (planning.caching).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from lazygraph.values.outcome import Value


class ResultStore(Protocol):
    """Keeps values under content keys.  It is hashed, compared and pickled with the options of tasks."""

    def find(self, key: str) -> bool:
        """Whether there is a value under a key.  Asked once for each cached task before a run: it must be cheap."""
        ...

    def load(self, key: str) -> Value | None:
        """Return what is under a key, or None.  What cannot be trusted is warned of, and is not there."""
        ...

    def keep(self, key: str, value: Any, name: str = "") -> None:
        """Put a value under a key, for everybody at once or not at all; `name` is for people.  Raises what it likes."""
        ...


def is_store(value: Any) -> bool:
    """Whether a value can be what `cache=` names."""
    return not isinstance(value, type) and all(
        callable(getattr(value, name, None)) for name in ("find", "load", "keep")
    )
