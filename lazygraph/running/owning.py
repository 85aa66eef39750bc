"""Who stands behind a future: its run, and whoever computes that.

Covers: what futures and runs ask of them.
Does not cover: who they are (running.run, executors).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lazygraph.values.outcome import Outcome
    from lazygraph.values.status import Status


class RunOf(Protocol):
    """What a future needs of its run."""

    @property
    def id(self) -> str:
        """The run's name."""
        ...

    def key_of(self, place: int) -> str:
        """Return the key of one output."""
        ...

    def dropped(self, place: int) -> None:
        """Note that a future is gone."""
        ...


class Owner(Protocol):
    """What a future needs of whoever computes it."""

    @property
    def detached(self) -> set[Any]:
        """Runs and futures that go on although nobody may hold them; each leaves when it has ended."""
        ...

    @property
    def prefix(self) -> str:
        """What the labels of its runs begin with, so that no other process has the same keys."""
        ...

    def keep(self, run: Any) -> None:
        """A run is not this process's any more, if it can be somebody else's: it goes on when this one ends."""
        ...

    def accepted(self, run: Any, timeout: float | None) -> None:
        """Return when whoever computes a run has it; raises TimeoutError."""
        ...

    def forget(self, run: Any, output: int) -> None:
        """Drop a future, and give up its value whoever else keeps it."""
        ...

    def reference(self, future: Any) -> tuple[Any, ...]:
        """Return what a future pickles to (as `__reduce__` does); TypeError where it cannot."""
        ...

    def fetch(self, run: Any, output: int, timeout: float | None) -> Outcome:
        """Bring the value of a settled output here; raises TimeoutError."""
        ...

    def cancel(self, run: Any, output: int, force: bool) -> bool:
        """Withdraw one claim; return whether nothing that has not started will be started for it."""
        ...

    def status_of(self, run: Any, output: int) -> Status | None:
        """Return how far an output is that has not ended, None when that is not known; never waits."""
        ...

    def why(self, run: Any, outputs: Sequence[int]) -> list[str]:
        """Say of outputs what they wait for."""
        ...

    def look(self, run: Any) -> None:
        """Somebody asks how far a run is: bring what is known up to date, without waiting."""
        ...

    def drop_all(self, run: Any) -> None:
        """Nobody holds any future of a run any more."""
        ...

    def drop(self, run: Any, output: int) -> None:
        """Nobody holds the future any more (-1: any of the run).  Called by the collector: must not block or lock."""
        ...
