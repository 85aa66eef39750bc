"""What the tests of drivers share: tasks that stand still until they are let go, and a look at what is left."""

from __future__ import annotations

import gc
import threading
from typing import Any

from lazygraph import delayed
from lazygraph.executors.driver import Driver

WAIT = 30
"""Seconds after which something that should happen is given up; no test that passes waits so long."""


@delayed
def add(x: Any, y: Any) -> Any:
    return x + y


@delayed
def inverse(x: float) -> float:
    return 1 / x


class Gate:
    """A task that stands still until it is let go."""

    def __init__(self) -> None:
        self.entered, self.open = threading.Event(), threading.Event()

    def stand(self, value: Any = None, *ignored: Any) -> Any:
        self.entered.set()
        assert self.open.wait(WAIT)
        return value


def nothing_left(executor: Driver) -> bool:
    """Wait for what still runs although nobody wants it; say whether the driver has forgotten every run."""
    gc.collect()

    def idle() -> bool:
        with executor._lock:
            return not executor._busy

    assert executor._idle.wait_for(idle, WAIT)
    return not executor._courses and not executor._frontier.blocks
