"""Tasks that run in a child process of their own, on executors whose other tasks run here.

`timeout=` and `isolated=True` ask for it: such an attempt can be killed at once.  The children are kept warm; the
first is started, and all that it needs imported, when the first such task comes.

Covers: which tasks those are, their plan packed before anything runs, their leases.
Does not cover: the children (executors.warm, executors.children).
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from lazygraph.executors.driver import Driver

if TYPE_CHECKING:
    from lazygraph.executors.warm import Children, Lease
    from lazygraph.planning.plan import Plan
    from lazygraph.running.program import Program


class Isolation:
    """What an engine holds to run isolated tasks; it costs nothing before there is one.

    `replace`: a child that was killed is replaced at once, not only when the next such task comes.
    """

    def __init__(self, replace: bool = True) -> None:
        self._replaces = replace
        self._children: Children | None = None
        self._closed = False
        self._making = threading.Lock()

    def run(self, lease: Lease) -> None:
        """Run the one task of a lease in a child, and report; returns when it has ended, however it ended."""
        self._get().run_isolated(lease)

    def _get(self) -> Children:
        with self._making:
            if self._children is None:
                from lazygraph.executors.warm import Children  # with all that travels between processes

                self._children = Children(self._replaces)
                if self._closed:  # what is still running ends first
                    self._children.close()
            return self._children

    def stop(self, lease: Lease, task: int, timeout: float) -> bool:
        """Kill a task that runs in a child; return whether it has left within `timeout` seconds."""
        children = self._children
        return children is None or children.stop(lease, task, timeout)

    def close(self) -> None:
        """End the children; one that is at a task ends after it.  Safe to call twice."""
        with self._making:
            self._closed, children = True, self._children
        if children is not None:
            children.close()


class IsolatingDriver(Driver):
    """A driver whose engine runs isolated tasks in children, all others here."""

    capabilities = Driver.capabilities | {"timeout", "isolated"}

    def _program(self, plan: Plan) -> Program:
        program = super()._program(plan)
        if any(row.isolated or row.timeout is not None for row in plan.shape.options):
            from lazygraph.executors.warm import packed_isolated  # with all that travels between processes

            program.packed = packed_isolated(plan.shape, plan.tables)
        return program
