"""A mind for engines that take a task before its inputs are made, with the names that those will have.

Readers of what such an engine has been given may be given to it too: it runs them when their inputs are there, and
nobody is asked in between.  The mind only notes how they end.  Should an input have no value after all, its readers
come back as they are, and go the way of all others.

Covers: who may follow, leases of those.
Does not cover: what may run (running.frontier), names of values, who takes them back (the driver).
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

from lazygraph.running.arena import NUMBER
from lazygraph.running.endings import ENDED, HANDED_OUT
from lazygraph.running.frontier import Frontier
from lazygraph.running.lease import Lease
from lazygraph.values.graph import MEMBER
from lazygraph.values.status import State

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lazygraph.running.block import Block
    from lazygraph.running.events import Progress

_WAITING, _LEASED = int(State.WAITING), int(State.LEASED)


class AheadFrontier(Frontier):
    """A Frontier that knows which tasks wait for nothing but what is under way.

    Kept for tasks that are under way and those that read them, by number, and only for leases that it was told of: the
    others cost nothing.
    """

    def __init__(self, place: Callable[[Block, int], int] | None = None, lineage: bool = True, seed: int = 0) -> None:
        super().__init__(place, lineage, seed)
        self._under_way: dict[int, Any] = {}  # task -> by what name its readers can wait for it
        self._coming: dict[int, int] = {}  # task -> how many of its inputs are under way
        self._followers: list[int] = []  # a lane of tasks that may follow, or may have been able to

    def under_way(self, block: Block, tasks: Sequence[int], attempt: int, name: Any) -> None:
        """An engine has these tasks, and others can wait there for them by a name: those of one lease have the same.

        What is not plain is not waited for: it may be a long way, and is told when it is there.
        """
        state, plain, option, base = block.state, block.plain, block.shape.option, block.base
        attempts, pending, coming = block.attempts, block.pending, self._coming
        for task in tasks:
            number = base + task
            if not HANDED_OUT[state[task]] or attempts.get(task, 1) != attempt or number in self._under_way:
                continue
            if not plain[option[task]] or task in block.replaced:
                continue
            self._under_way[number] = name
            for reader in block.consumers_of(task):
                count = coming[base + reader] = coming.get(base + reader, 0) + 1
                if count == pending[reader]:
                    heappush(self._followers, block.first + reader)

    def succeeded(self, block: Block, tasks: Sequence[int], attempt: int = 1, now: float = 0.0) -> Progress:
        """Note that tasks have ended well, and that they are not under way any more."""
        progress = super().succeeded(block, tasks, attempt, now)
        if self._under_way:
            state, base, coming = block.state, block.base, self._coming
            for task in tasks:
                if not ENDED[state[task]]:
                    continue  # told too late: another attempt is under way
                if base + task in self._under_way:
                    self._arrive(block, task)
                    continue
                for reader in block.consumers_of(task):
                    if coming.get(base + reader) == block.pending[reader]:
                        heappush(self._followers, block.first + reader)
        return progress

    def _arrive(self, block: Block, task: int) -> None:
        """A task is not under way any more, however it has ended."""
        del self._under_way[block.base + task]
        coming = self._coming
        for reader in block.consumers_of(task):
            number = block.base + reader
            coming[number] -= 1
            if not coming[number]:
                del coming[number]

    def _move(self, block: Block, entry: int, target: State) -> None:
        super()._move(block, entry, target)
        if self._under_way and not HANDED_OUT[target] and block.base + entry in self._under_way:
            self._arrive(block, entry)

    # -- leases ------------------------------------------------------------------------------------

    def followers(self) -> int:
        """Return how many tasks at most may follow."""
        return len(self._followers)

    def next_following(self) -> Block | None:
        """Return the run whose task is the next to follow, or None when none may."""
        heap = self._followers
        while heap:
            number = heap[0] & NUMBER
            block = self._block_of(number)
            if block is not None and self._may_follow(block, number - block.base):
                return block
            heappop(heap)
        return None

    def _may_follow(self, block: Block, task: int) -> bool:
        """Whether all that a plain task waits for is under way; one that goes on without a value must know of which."""
        coming = self._coming.get(block.base + task)
        if coming is None or coming != block.pending[task] or block.state[task] != _WAITING:
            return False
        if not block.plain[block.shape.option[task]]:
            return False
        return not block.tolerant or MEMBER not in block.shape.kinds[block.bounds[task] : block.bounds[task + 1]]

    def lease_following(self, limit: int, most: int = 0) -> Lease | None:
        """Hand out up to `limit` tasks of one run that may follow, with tasks that only they feed up to `most` in all.

        Those wait for the same leases: none is held up by what only another one reads.  None when none may follow.
        """
        most = max(most, limit)
        block = self.next_following()
        if block is None:
            return None
        tasks: list[int] = []
        awaited: dict[int, Any] = {}
        inside: dict[int, int] = {}
        names: set[Any] = set()
        attempt = block.attempt((self._followers[0] & NUMBER) - block.base)
        for _ in range(limit):
            if len(tasks) >= most or self.next_following() is not block:
                break
            task = (self._followers[0] & NUMBER) - block.base
            waits = self._waits_of(block, task)
            if block.attempt(task) != attempt or (tasks and names != set(waits.values())):
                break
            heappop(self._followers)
            self._move(block, task, State.LEASED)
            tasks.append(task)
            awaited.update(waits)
            names = set(waits.values())
            send_ahead(block, task, tasks, inside, most, attempt)
        return Lease(block, tasks, attempt, awaited)

    def _waits_of(self, block: Block, task: int) -> dict[int, Any]:
        base, under_way = block.base, self._under_way
        return {read: under_way[base + read] for read in block.inputs_of(task) if base + read in under_way}


def send_ahead(block: Block, at: int, tasks: list[int], ahead: dict[int, int], limit: int, attempt: int) -> None:
    """Add to a lease the tasks that only it feeds: following single readers takes no parallelism from anybody."""
    state, pending, starts, consumers = block.state, block.pending, block.starts, block.consumers
    while len(tasks) < limit and starts[at + 1] - starts[at] == 1:
        reader = consumers[starts[at]]
        if state[reader] != _WAITING or not block.plain[block.shape.option[reader]]:
            return
        if block.tolerant and block.kind(reader, at) == MEMBER:
            return  # it goes on when this one is taken back, and would not find what stands in its place
        seen = ahead.get(reader, 0) + 1
        if seen < pending[reader]:
            ahead[reader] = seen
            return
        if block.attempt(reader) != attempt:
            return
        state[reader] = _LEASED
        tasks.append(reader)
        at = reader
