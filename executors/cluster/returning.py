"""Sentences about coming back: a scheduler that was started again on its journal meets those whom it knew.

Covers: what workers and clients say when they are back, and what the scheduler answers.
Does not cover: who they are (messages.Join), what the scheduler does about it (recovering).
"""

from __future__ import annotations

from lazygraph.executors.cluster.wire import Message


class Back(Message, tag=70, frozen=True):
    """A worker's word after its `Join`, when it was there before.

    `values`: by block, entries that it has, and their sizes (64 bits each); `handed`: by block and attempt, tasks that
    it had been given and had not answered for when the connection ended (the answers follow).
    """

    values: list[tuple[int, bytes, bytes]]
    handed: list[tuple[int, int, bytes]]


class Present(Message, tag=71, frozen=True):
    """A client's first word to a scheduler with a journal: who it is, and the runs that it has already.

    Answered by `Known`, and by the ends of whatever of these runs has ended.
    """

    ident: str
    runs: list[int]


class Known(Message, tag=72, frozen=True):
    """The answer to a `Present`: of those runs the ones that the scheduler does not know."""

    unknown: list[int]
