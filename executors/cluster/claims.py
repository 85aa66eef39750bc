"""Sentences about claims that outlast those who made them: keeping, finding again, giving up, making again.

Covers: what clients say of work that belongs to the scheduler, and what it answers.
Does not cover: everything else on the wire (messages), what the scheduler does about them (keeping).
"""

from __future__ import annotations

from lazygraph.executors.cluster.wire import Message


class Keep(Message, tag=60, frozen=True):
    """Client to scheduler: these entries are yours from now on, also when I am gone.

    Their values are kept for `seconds` after all of them have ended, or until `Forgo`.
    """

    run: int
    entries: bytes
    seconds: float


class Forgo(Message, tag=61, frozen=True):
    """Client to scheduler: nobody needs the values of these any more, whoever asked that they be kept."""

    run: int
    entries: bytes


class AskAccepted(Message, tag=62, frozen=True):
    """Client to scheduler: have you got this run?  Answered by `Answer`."""

    question: int
    run: int


class Open(Message, tag=63, frozen=True):
    """Client to scheduler: let my `run` stand for what is known by this key, or for the run of this name.

    Answered by `Opened`, and then as a run of the client's own.
    """

    question: int
    run: int
    key: str
    name: str = ""


class Opened(Message, tag=64, frozen=True):
    """The answer to an `Open`: what the run is called, the keys and nodes' names of its entries; none if not known."""

    question: int
    run: int
    name: str
    keys: list[str]
    names: list[str]


class Again(Message, tag=65, frozen=True):
    """Client to scheduler: let my `run` make these entries of my run `of` again, with whatever they need."""

    run: int
    label: str
    of: int
    entries: bytes
