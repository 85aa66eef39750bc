"""The clock of a driver: everything that depends on time asks it, so that tests can have a time of their own."""

from __future__ import annotations

import time


class Clock:
    """The real time."""

    def now(self) -> float:
        """Return seconds that only ever grow, from an arbitrary beginning."""
        return time.monotonic()

    def wall(self) -> float:
        """Return the seconds since 1970, UTC, as the system has them."""
        return time.time()

    def sleep_until(self, moment: float) -> None:
        """Return when `now()` has reached `moment`."""
        time.sleep(max(0.0, moment - self.now()))
