"""Sentences about observed runs: when tasks began and ended, and where.

Covers: what workers tell the scheduler, and what it tells the client.
Does not cover: what is made of it (showing.analysis).
"""

from __future__ import annotations

from lazygraph.executors.cluster.wire import Message
from lazygraph.running.spans import Seen


class Watched(Message, tag=49, frozen=True):
    """Worker to scheduler: what was seen of a lease since this was last told; moments are by the worker's clock."""

    block: int
    attempt: int
    seen: Seen


class Sighted(Message, tag=28, frozen=True):
    """Scheduler to client: the same.  `part` is what of a run's label its own does not have: "" for the run itself.

    `names` are those of tasks that are not in the plan which the client knows.
    """

    run: int
    part: str
    attempt: int
    names: list[tuple[int, str]]
    seen: Seen
