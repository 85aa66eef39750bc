"""What is said of one attempt of a task that somebody observes, and of a lease of them.

Covers: the words, which travel.  Apart from who notes them, because a scheduler only passes them on.
Does not cover: noting them (running.observing).
"""

from __future__ import annotations

from typing import NamedTuple


class Span(NamedTuple):
    """One attempt of one task: from when to when it ran, how it ended, in which thread."""

    task: int
    began: float
    ended: float
    how: int
    thread: str


Row = tuple[int, float, float, int, str]
"""A `Span` as it is noted: a plain tuple costs a third of a named one."""


class Seen(NamedTuple):
    """What is told of a lease from where it runs: when it came there, and had its inputs; when this was sent."""

    worker: str
    arrived: float
    ready: float
    sent: float
    spans: list[Span]
