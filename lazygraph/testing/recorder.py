"""What ran: every call of a task's function, in the order in which they began.

Covers: the record, and what tests ask of it.
Does not cover: how calls are seen (testing.watching in this process, testing.reporting on a cluster).
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(slots=True, eq=False)
class Call:
    """One call of a task's function: its name, what it was given, and what came of it.

    `attempt` counts from 1.  `began` and `ended` are seconds of the executor's clock, `ended` None while it runs.
    `exception` is None unless it raised.
    """

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    attempt: int
    key: str
    began: float
    ended: float | None = None
    value: Any = None
    exception: BaseException | None = None

    def __repr__(self) -> str:
        given = ", ".join([*map(repr, self.args), *(f"{name}={value!r}" for name, value in self.kwargs.items())])
        again = f", attempt {self.attempt}" if self.attempt > 1 else ""
        came = f"raised {self.exception!r}" if self.exception is not None else repr(self.value)
        return f"<{self.name}({given}){again}: {came if self.ended is not None else 'runs'}>"


@dataclass(slots=True, eq=False)
class FarCall:
    """One task that a cluster's worker ran: what it can tell of it.  Arguments and values stay on the worker.

    `began` and `ended` are seconds since 1970 of the worker's clock; `exception` is its type's name.
    """

    name: str
    attempt: int
    key: str
    worker: str
    began: float
    ended: float | None = None
    exception: str | None = None

    def __getattr__(self, name: str) -> Any:
        if name in ("args", "kwargs", "value"):
            raise AttributeError(
                f"a worker does not tell the {name} of {self.key!r}; record it on lazygraph_sim or lazygraph_sync"
            )
        raise AttributeError(name)

    def __repr__(self) -> str:
        came = f"raised {self.exception}" if self.exception else "done" if self.ended is not None else "runs"
        return f"<{self.name}, attempt {self.attempt}, on {self.worker}: {came}>"


class Recorder:
    """All calls since the test began; `calls` is in the order in which they began."""

    def __init__(self) -> None:
        self._calls: list[Any] = []

    @property
    def calls(self) -> list[Any]:
        """The calls; a `Call` each, on a cluster a `FarCall`."""
        return self._calls

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self.calls))

    def __len__(self) -> int:
        return len(self.calls)

    def __repr__(self) -> str:
        return f"<Recorder of {len(self)}: {', '.join(self.names)}>"

    @property
    def names(self) -> list[str]:
        """The names of all calls, in order."""
        return [call.name for call in self]

    def of(self, name: str) -> list[Any]:
        """Return the calls of one task, in order."""
        return [call for call in self if call.name == name]

    def count(self, name: str) -> int:
        """Return how often a task was called, attempts that failed included."""
        return len(self.of(name))

    def given(self, name: str) -> list[tuple[Any, ...]]:
        """Return the positional arguments of each call of a task, in order."""
        return [call.args for call in self.of(name)]

    def ran_before(self, *names: str) -> bool:
        """Whether all calls of each of these tasks had ended before any of the next began; all must have run."""
        calls = self.calls
        rows = [[(at, call) for at, call in enumerate(calls) if call.name == name] for name in names]
        if not all(rows):
            return False
        for row, ((first, next_call), *_) in pairwise(rows):
            if any(at > first or call.ended is None or call.ended > next_call.began for at, call in row):
                return False
        return True

    def clear(self) -> None:
        """Forget what has run so far."""
        self._calls.clear()


class FarRecorder(Recorder):
    """What the workers of a local cluster have noted in a file since the test began."""

    def __init__(self, notes: Path) -> None:
        super().__init__()
        self._notes = notes
        self._from = self._size()

    def _size(self) -> int:
        return os.path.getsize(self._notes) if self._notes.exists() else 0

    @property
    def calls(self) -> list[Any]:
        """The tasks that workers have begun, each a `FarCall`, in the order of their notes."""
        found: dict[tuple[str, int], FarCall] = {}
        if not self._notes.exists():
            return []
        for line in self._notes.read_bytes()[self._from :].splitlines():
            note = json.loads(line)
            which = (note["key"], note["attempt"])
            if note["what"] == "begins":
                found[which] = FarCall(note["name"], note["attempt"], note["key"], note["worker"], note["when"])
            elif which in found:
                found[which].ended, found[which].exception = note["when"], note["exception"]
        return list(found.values())

    def clear(self) -> None:
        """Forget what has run so far."""
        self._from = self._size()
