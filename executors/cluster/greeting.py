"""The sentences of the greeting: nothing else is read before it has succeeded, and nothing in it is ever unpickled.

Covers: what the two sides say.  Does not cover: their order and what is checked (net.hello).
"""

from __future__ import annotations

from lazygraph.executors.cluster.wire import Message


class Hello(Message, tag=1, frozen=True):
    """The first frame of whoever connects."""

    protocol: int
    role: str  # "client", "worker" or "peer"
    lazygraph: str
    python: str
    byteorder: str
    nonce: bytes


class Challenge(Message, tag=2, frozen=True):
    """The answer: prove that you know the token."""

    protocol: int
    lazygraph: str
    python: str
    nonce: bytes


class Proof(Message, tag=3, frozen=True):
    """HMAC over both nonces and the role, with the token as key."""

    proof: bytes


class Welcome(Message, tag=4, frozen=True):
    """The other side's proof that it knows the token too.

    `journal`: which one it keeps; when it has ended it may come back on that, and is waited for `patience`
    seconds.
    """

    proof: bytes
    journal: str = ""
    patience: float = 0.0


class Refusal(Message, tag=5, frozen=True):
    """Why not; the connection is closed after it."""

    sentence: str
