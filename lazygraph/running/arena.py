"""The arena: the blocks of all runs, the lanes of ready tasks, and the one function that assigns a state.

Covers: finding blocks by number, lanes, moves.
Does not cover: what follows from a move (running.frontier).
"""

from __future__ import annotations

from bisect import bisect_right
from heapq import heapify, heappop, heappush
from itertools import islice
from typing import TYPE_CHECKING

from lazygraph.running.block import Block
from lazygraph.values.status import State, can_move

if TYPE_CHECKING:
    from collections.abc import Callable

    from lazygraph.values.graph import Shape

RANK_SHIFT = 54
NUMBER = (1 << RANK_SHIFT) - 1
"""In a lane an entry is its task's number, less its rank above this many bits: the smallest comes first."""

PRIORITY_SHIFT = 8
INNERMOST = (1 << PRIORITY_SHIFT) - 1
"""A rank is a task's priority, and below so many bits how far inside other tasks its run was started, up to this.

What somebody waits for comes before what nobody has begun: or each slot that a waiting task lends would be taken by
another such task.
"""

ANYWHERE = -1
"""The lane of tasks that no runner is better for than another."""


def entry_of(block: Block, task: int) -> int:
    """Return what stands for a task in a lane."""
    entry = block.first + task
    return entry - (block.priority(task) << RANK_SHIFT + PRIORITY_SHIFT) if block.special else entry


_QUEUED = int(State.QUEUED)
_ALLOWED = [can_move(target) for target in State]


class Arena:
    """All runs of one executor.  `place(block, task)` names the lane a ready task goes to (default: ANYWHERE)."""

    def __init__(self, place: Callable[[Block, int], int] | None = None, rows: int = 0) -> None:
        """Make an empty one; plans of so many entries begin as `rows` (0: none does), see running.row."""
        self.blocks: dict[int, Block] = {}
        self._bases: list[int] = []
        self._next = 0
        self._place = place
        self._lanes: dict[int, list[int]] = {ANYWHERE: []}
        self._waiting_roots = 0  # roots that are not in a lane yet, because others of their plan come first
        self._rows = rows

    def _new_block(self, shape: Shape, fail_fast: bool, task_of: Block | None = None) -> Block:
        lane = self._lanes[ANYWHERE] if self._rows and len(shape) >= self._rows else None
        block = Block(self._next, shape, fail_fast, task_of, lane)
        if block.within is not None:
            block.within.stands[block.base] = block
        self._next += max(len(block), 1)
        self.blocks[block.base] = block
        self._bases.append(block.base)
        return block

    def begin_at(self, base: int) -> int:
        """Give numbers from this one on, which is above all that there are; return which would have been next."""
        before, self._next = self._next, base
        return before

    def _forget(self, block: Block) -> None:
        self._waiting_roots -= len(block.roots)
        block.roots = []
        del self.blocks[block.base]
        del self._bases[bisect_right(self._bases, block.base) - 1]

    def _block_of(self, number: int) -> Block | None:
        at = bisect_right(self._bases, number) - 1
        if at < 0:
            return None
        block = self.blocks[self._bases[at]]
        return block if number < block.end else None

    def ready(self, lane: int = ANYWHERE) -> int:
        """Return how many tasks at most wait in a lane (entries that went stale are counted until they surface)."""
        heap = self._lanes.get(lane)
        return (len(heap) if heap else 0) + (self._waiting_roots if lane == ANYWHERE else 0)

    def next_block(self, lane: int = ANYWHERE) -> Block | None:
        """Return the run whose task is next in a lane, or None when nothing in it is ready."""
        heap = self._lanes.get(lane)
        while heap:
            number = heap[0] & NUMBER
            block = self._block_of(number)
            if block is not None:
                # Of a row what is next is queued, or, while something is handed out, known when it is asked for.
                if block.row is not None:
                    return block
                if block.state[number - block.base] == _QUEUED and self._may_go(block, number):
                    return block
            self._pop(heap, block, number)
        if lane != ANYWHERE:
            self._lanes.pop(lane, None)  # an empty lane is made again when something comes
        return None

    def _pop(self, heap: list[int], block: Block | None, number: int) -> None:
        """Take the first number out of a lane; of a plan's roots the next one comes in.

        They are ready from the beginning, and in order: all at once they would make a lane long that needs not be.
        """
        heappop(heap)
        if block is not None and number == block.base + block.root:
            self._waiting_roots -= len(block.roots) > 0
            self._next_root(heap, block)

    def _next_root(self, heap: list[int], block: Block) -> None:
        block.root = block.roots.pop() if block.roots else -1
        if block.root >= 0:
            heappush(heap, block.first + block.root)

    def _may_go(self, block: Block, number: int) -> bool:
        """Whether a queued task may be handed out now; what may not is not queued any more."""
        return True

    def next_row(self, lane: int, block: Block) -> int:
        """Return the row of the function of what is next in a lane: a task of `next_block`."""
        return block.shape.function[(self._lanes[lane][0] & NUMBER) - block.base]

    def urgency(self, lane: int) -> int:
        """Return the priority of what is next in a lane that is not empty."""
        return -(self._lanes[lane][0] >> RANK_SHIFT) >> PRIORITY_SHIFT

    def has_lanes(self) -> bool:
        """Whether there is any lane besides ANYWHERE."""
        return len(self._lanes) > 1

    def some_lanes(self, count: int) -> list[int]:
        """Return up to so many lanes, those that have been there longest."""
        return list(islice(self._lanes, count))

    def lanes(self) -> list[int]:
        """Return the lanes that exist, in the order they came to be."""
        return list(self._lanes)

    def _move(self, block: Block, entry: int, target: State) -> None:
        """Assign a state, if the table of moves allows it."""
        if not _ALLOWED[target][block.state[entry]]:
            state = State(block.state[entry])
            raise AssertionError(f"entry {entry} of {block!r} cannot move from {state.name} to {target.name}")
        block.state[entry] = target

    def _requeue(self, block: Block, task: int) -> None:
        """A task that was handed out is free again: ready if its inputs are there, else waiting for them."""
        if block.pending[task]:
            self._move(block, task, State.WAITING)
        else:
            self._queue(block, task)

    def _ready(self, block: Block, task: int) -> None:
        """All that a task waits for is there."""
        self._queue(block, task)

    def _queue(self, block: Block, task: int) -> None:
        self._move(block, task, State.QUEUED)
        lane = ANYWHERE if self._place is None else self._place(block, task)
        heappush(self._lane(lane), entry_of(block, task))

    def _lane(self, lane: int) -> list[int]:
        heap = self._lanes.get(lane)
        if heap is None:
            heap = self._lanes[lane] = []
        return heap

    def close_lane(self, lane: int) -> None:
        """A runner is gone: what waited for it may go anywhere."""
        heap = self._lanes.pop(lane, None)
        if heap:
            anywhere = self._lanes[ANYWHERE]
            anywhere.extend(heap)
            heapify(anywhere)
