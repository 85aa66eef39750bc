"""Success or failure as a value that can travel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn


@dataclass(slots=True)
class Value:
    """A task ended well.  Not frozen: one is made for every output, and that takes three times as long."""

    value: Any

    def unwrap(self) -> Any:
        """Return the value."""
        return self.value


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Failure:
    """A task ended badly: the record that callbacks, `on_error="collect"` and `Run` show.

    `node` is the display name, `key` the submission's key, `attempt` counts from 1, `exception` is the user's own,
    `traceback` its text, `worker` where it ran, `when` seconds since the epoch (0.0: not known), `origin` the
    file:line that built the node.
    """

    node: str
    key: str
    attempt: int
    exception: BaseException
    traceback: str = ""
    worker: str = ""
    when: float = 0.0
    origin: str = ""

    def unwrap(self) -> NoReturn:
        """Raise the user's exception."""
        raise self.exception


@dataclass(frozen=True, slots=True)
class Missed:
    """Stands where a member of a group has no value, for the task that puts the group's value together."""

    failure: Failure


Outcome = Value | Failure


def add_place(error: BaseException, node: str, key: str, attempt: int, worker: str, origin: str) -> None:
    """Add the note that says which node failed, where it ran and where it was built; for each node once.

    One exception has several when it passed through tasks that computed something themselves.
    """
    ran = f" on {worker}" if worker else ""
    try:
        noted = getattr(error, "_lazygraph_noted", ())
        if key not in noted:
            error.add_note(f"lazygraph: node {node!r} (key {key}, attempt {attempt}{ran}), built at {origin}")
            error._lazygraph_noted = (*noted, key)  # type: ignore[attr-defined]
    except Exception:  # an exception class with ideas of its own still must reach its caller
        return
