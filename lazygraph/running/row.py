"""A block whose tasks run one after another, by rank: what stands before a point has been done, and that is all.

Where one runner does everything, in rank order, nothing has to be counted to know what is next, or which values nobody
reads any more.  So a plain block begins as a row.  With the first event that is none of "the next ones have been done"
and "a future is gone" (a failure, a cancellation, a second runner) it is spread: the columns that every other block has
are made, as they would be by now, and it is a block like any other.

Covers: who begins as a row, the two events it knows, spreading.
Does not cover: everything else that can happen to a block (running.frontier and the floors below it).
"""

from __future__ import annotations

from bisect import bisect_left
from heapq import heappush
from itertools import chain, repeat
from operator import sub
from typing import TYPE_CHECKING, Any

from lazygraph.values.graph import MEMBER, consumers_of
from lazygraph.values.status import State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lazygraph.values.graph import Shape

_QUEUED, _LEASED = int(State.QUEUED), int(State.LEASED)


def can_be_a_row(shape: Shape) -> bool:
    """Whether everything in a plan is plain, and nothing of it waits for anything but values made in it."""
    scope = shape.scopes[0]
    odd = shape.externals or shape.callbacks or len(shape.scopes) > 1 or MEMBER in shape.kinds
    return not odd and all(row.plain for row in shape.options) and not scope.fail_fast and scope.catch < 0


class Row:
    """How far a block is: its entries below `done` have been done, those below `leased` are handed out.

    `last` says of each entry who reads it last (itself, if nobody does).
    """

    __slots__ = ("_futures", "_lane", "_outputs", "_shape", "done", "last", "leased")

    def __init__(self, shape: Shape, futures: dict[int, int], lane: list[int]) -> None:
        """Make it of a plan; `futures` are its block's.  What is ready when it is spread goes to `lane`."""
        self._shape, self._futures, self._lane = shape, futures, lane
        self.done = self.leased = 0
        self._outputs = sorted(futures)
        bounds = shape.input_offsets
        last = self.last = list(range(len(shape)))
        readers = chain.from_iterable(map(repeat, last[:], map(sub, bounds[1:], bounds)))
        for read, reader in zip(shape.inputs, readers, strict=True):
            last[read] = reader

    def state_of(self, entry: int) -> State:
        """Return the state of one entry."""
        if entry >= self.leased:
            ready = all(read < self.done for read in self._shape.inputs_of(entry))
            return State.QUEUED if ready else State.WAITING
        if entry >= self.done:
            return State.LEASED
        return State.SUCCEEDED if entry in self._futures or self.last[entry] >= self.done else State.RELEASED

    def lease(self, most: int) -> list[int]:
        """Hand out the next `most` tasks.  Only when nothing is handed out."""
        first = self.leased
        self.leased = min(first + most, len(self._shape))
        return list(range(first, self.leased))

    def succeeded(self, tasks: Sequence[int]) -> tuple[list[int], list[int]] | None:
        """Note that tasks have been done; return which are outputs, and whose values nobody needs any more.

        None when these are not the next ones that were handed out.
        """
        first, done = self.done, self.done + len(tasks)
        if not tasks or done > self.leased or list(tasks) != list(range(first, done)):
            return None
        self.done = done
        last, futures, bounds = self.last, self._futures, self._shape.input_offsets
        read = dict.fromkeys(self._shape.inputs[bounds[first] : bounds[done]])
        freed = [entry for entry in read if last[entry] < done and entry not in futures]
        freed += [task for task in tasks if last[task] == task and task not in futures]
        outputs = self._outputs
        return [at for at in outputs[bisect_left(outputs, first) : bisect_left(outputs, done)] if at in futures], freed

    def dropped(self, entries: Sequence[int]) -> list[int] | None:
        """Note for each of these that a future is gone; return whose values nobody needs any more.

        None when one of them has not been done: then it may be that it need not be.
        """
        futures = self._futures
        if any(entry >= self.done or entry not in futures for entry in entries):
            return None
        freed = []
        for entry in entries:
            left = futures.get(entry, 0) - 1
            if left > 0:
                futures[entry] = left
            elif not left:
                del futures[entry]
                if self.last[entry] < self.done:
                    freed.append(entry)
        return freed

    def columns(self, first: int) -> dict[str, Any]:
        """Spread: return what a block is made of that is no row, and queue what is ready (`first` is its entry 0)."""
        bounds, done = self._shape.input_offsets, self.done
        n = len(self._shape)
        starts, consumers = consumers_of(self._shape)
        state = bytearray(n)
        for entry in range(done):
            state[entry] = self.state_of(entry)
        state[done : self.leased] = bytes([_LEASED]) * (self.leased - done)
        pending: list[int] = list(map(sub, bounds[1:], bounds))
        claims: list[int] = list(map(sub, starts[1:], starts))
        for entry in range(done):
            pending[entry] = 0
            for reader in consumers[starts[entry] : starts[entry + 1]]:
                if reader < done:
                    claims[entry] -= 1
                else:
                    pending[reader] -= 1
        for entry, times in self._futures.items():
            claims[entry] += times
        ready = [task for task, left in enumerate(pending) if not left and task >= self.leased]
        for task in ready:
            state[task] = _QUEUED
            heappush(self._lane, first + task)
        return {"state": state, "starts": starts, "consumers": consumers, "pending": pending, "claims": claims}
