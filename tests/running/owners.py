"""A run without an executor: the test says how it goes."""

from __future__ import annotations

import threading
from typing import Any

from lazygraph.planning.plan import Plan
from lazygraph.running.run import Run
from lazygraph.values.graph import Tables
from lazygraph.values.outcome import Failure, Outcome, Value
from tests.running.shapes import shape_of


class Owner:
    """Computes nothing; remembers what it was asked."""

    name = "nobody"

    def __init__(self) -> None:
        self.prefix = ""
        self.detached: set[Any] = set()
        self.dropped: list[int] = []
        self.cancelled: list[int] = []
        self.fetched: list[int] = []
        self.value: Outcome = Value("fetched")
        self.gate = threading.Event()
        self.gate.set()

    def fetch(self, run: Any, output: int, timeout: float | None) -> Outcome:
        self.fetched.append(output)
        if not self.gate.wait(timeout):
            raise TimeoutError("not here yet")
        return self.value

    def cancel(self, run: Any, output: int, force: bool) -> bool:
        self.cancelled.append(output)
        return True

    def look(self, run: Any) -> None:
        return

    def status_of(self, run: Any, output: int) -> None:
        return

    def why(self, run: Any, outputs: Any) -> list[str]:
        return ["nobody knows" for _ in outputs]

    def keep(self, run: Any) -> None:
        return

    def accepted(self, run: Any, timeout: float | None) -> None:
        return

    def reference(self, future: Any) -> tuple[Any, ...]:
        raise TypeError("cannot be pickled")

    def drop(self, run: Any, output: int) -> None:
        self.dropped.append(output)

    forget = drop

    def drop_all(self, run: Any) -> None:
        self.dropped += range(len(run.plan.shape.outputs))


def run_of(count: int, owner: Owner | None = None, fail_fast: bool = False) -> Run:
    """Return a run of `count` tasks, all of them outputs."""
    shape = shape_of([[]] * count, outputs=range(count))
    return Run(Plan(shape, Tables((len,), ()), fail_fast=fail_fast), owner or Owner())


def raised(error: BaseException) -> Failure:
    """Return the failure of a task that raised `error`."""
    try:
        raise error
    except BaseException as caught:
        return Failure("task", "task-1-0", 1, caught, origin="somewhere:1")
