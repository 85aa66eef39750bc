"""Which of what a lease has made can be told while it goes on, and which values nothing in it will read any more.

Covers: that decision, by who reads what in the lease.
Does not cover: how it is told (executors.remote).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence, Set

    from lazygraph.running.runner import Report
    from lazygraph.values.graph import Shape


class Tellable:
    """The tasks of a lease, and which of them have been told."""

    def __init__(self, shape: Shape, tasks: Sequence[int]) -> None:
        self._inputs_of = shape.inputs_of
        self._readers: dict[int, list[int]] = {task: [] for task in tasks}
        self._unread: Counter[int] = Counter()  # by how many tasks of the lease that have not been told
        self._over: set[int] = set()  # has been told
        for task in tasks:
            reads = set(self._inputs_of(task))
            self._unread.update(reads)
            for read in reads.intersection(self._readers):
                self._readers[read].append(task)

    def now(self, new: Report, wanted: Set[int]) -> set[int]:
        """Return what can be told now of what is new.

        A value that only tasks of the lease read, and nobody has `wanted`, stays here: whoever made it is told with the
        last of them.  Nothing is told before what it has read.
        """
        inputs_of, readers, over = self._inputs_of, self._readers, self._over
        ended = [*new.done, *(task for task, _ in new.replaced)]
        kept = {task for task in new.done if task not in wanted}
        told = {*ended, *new.skipped}
        before = 0
        while before != len(told):
            before = len(told)
            for task in reversed(ended):
                if task in kept and any(one not in told and one not in over for one in readers.get(task, ())):
                    told.discard(task)
            for task in ended:
                if any(read in readers and read not in told and read not in over for read in inputs_of(task)):
                    told.discard(task)
        return told

    def tell(self, told: set[int]) -> list[int]:
        """Note what is told; return the entries whose values nothing here will read any more."""
        self._over |= told
        for task in told:
            self._unread.subtract(set(self._inputs_of(task)))
        seen = {entry for task in told for entry in (task, *self._inputs_of(task))}
        return [
            entry for entry in seen if not self._unread[entry] and (entry in self._over or entry not in self._readers)
        ]
