"""What a future has for those who come through its condition: the base class's way of waiting for several.

Covers: the condition, who waits, who is called.
Does not cover: when it is made, and when it opens (running.futures).
"""

from __future__ import annotations

from typing import Any


class OpenDoor:
    """The condition of a future that was settled before anybody waited: nobody ever waits in it.

    Not a lock: one that futures share could be taken in two orders by two threads that wait for several.
    """

    def acquire(self, *args: Any) -> bool:
        """Go through."""
        return True

    def release(self) -> None:
        """Go through."""

    def __enter__(self) -> bool:
        return True

    def __exit__(self, *exc_info: object) -> None:
        return

    def notify_all(self) -> None:
        """Nobody waits."""


OPEN_DOOR: Any = OpenDoor()


class ForOthers:
    """What the base class has of every future: for whoever waits for several, or is to be called."""

    __slots__ = ("callbacks", "condition", "waiters")

    def __init__(self, condition: Any) -> None:
        self.condition = condition
        self.waiters: list[Any] = []
        self.callbacks: list[Any] = []
