"""What a worker's mind remembers: of a run the plan and the values that are here, of a lease how far it is.

Covers: the records.
Does not cover: what is done with them (worker_machine).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lazygraph.executors.cluster.wire import ints, longs
from lazygraph.running.policy import policy_of
from lazygraph.running.stand_ins import StandIns

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lazygraph.running.policy import Policy
    from lazygraph.running.program import Program


class Spilled:
    """A value that is not in memory, of `size` bytes; the hand says how it is brought."""

    __slots__ = ("size",)

    def __init__(self, size: int) -> None:
        self.size = size

    def value(self) -> Any:
        """Bring it."""
        raise NotImplementedError


class Values(dict[int, Any]):
    """Values by entry.  What was spilled is read where it lies, each time that it is asked for; what is here is read
    as fast as from any dict.
    """

    __slots__ = ("spilled",)

    def __init__(self) -> None:
        super().__init__()
        self.spilled: dict[int, Spilled] = {}

    def __missing__(self, entry: int) -> Any:
        return self.spilled[entry].value()

    def __contains__(self, entry: object) -> bool:
        return dict.__contains__(self, entry) or entry in self.spilled

    def held(self, entry: int, missing: Any) -> Any:
        """Return a value, or what stands for it while it is not in memory."""
        found = self.get(entry, missing)
        return self.spilled.get(entry, missing) if found is missing else found

    def hold(self, entry: int, held: Any) -> None:
        """Keep what `held` has given of another entry, or of other values."""
        if isinstance(held, Spilled):
            self.spilled[entry] = held
        else:
            self[entry] = held

    def drop(self, entry: int) -> None:
        """Let go of a value."""
        self.pop(entry, None)
        if self.spilled:
            self.spilled.pop(entry, None)


@dataclass(slots=True, eq=False)
class WorkerBlock:
    """What a worker has of one run: the plan, once a lease of it has come, and values by entry."""

    program: Program | None = None
    aliases: Sequence[tuple[int, int]] = ()
    values: Values = field(default_factory=Values)
    stand_ins: dict[int, Any] = field(default_factory=dict)  # as long as its run
    shared: dict[int, Any] = field(default_factory=dict)  # of values, the segments that they stand in (the hand's)
    observed: bool = False


@dataclass(slots=True, eq=False)
class WorkLease:
    """A lease here.  A runner takes tasks from the left of `tasks`, the mind may take them from the right."""

    base: int
    attempt: int
    tasks: deque[int]
    wanted: frozenset[int]
    block: WorkerBlock
    order: tuple[int, ...]
    fetching: int = 0
    answered: int = 0  # tasks the scheduler has been told of
    told: list[Sequence[int]] = field(default_factory=list)  # which
    returned: int = 0  # of those, the ones given back
    starved: bool = False  # an input was not where the scheduler said
    unsendable: dict[tuple[int, int], str] = field(default_factory=dict)
    tell: bool = False  # whether the start of its task is to be told at once
    said: int = 0  # how many had been started when `tick` last spoke
    seen: int = 0  # how many tasks had been started at the last `tick`
    watch: Any = None  # of an observed run: what is seen of it (running.observing), the hand's

    @property
    def program(self) -> Program:
        """What to call."""
        assert self.block.program is not None
        return self.block.program

    @property
    def policy(self) -> Policy | None:
        """What was said of its first task besides its call; tasks of another mind share no lease with it."""
        shape = self.program.shape
        row = shape.options[shape.option[self.order[0]]]
        return None if row.plain else policy_of(row)

    @property
    def isolated(self) -> bool:
        """Whether its one task must run in a child process of its own."""
        policy = self.policy
        return policy is not None and policy.isolated

    @property
    def timeout(self) -> float | None:
        """Seconds after which its one task is to be ended; only isolated ones have it."""
        policy = self.policy
        return policy.timeout if policy is not None else None

    @property
    def values(self) -> Any:
        """Where inputs are and results go, by entry."""
        block = self.block
        return StandIns(block.stand_ins, block.values) if block.stand_ins else block.values


def taken_from(lease: WorkLease, task: int) -> list[int]:
    """Take a task out of a lease, with all that stands behind it; only the latter when it has begun."""
    taken: list[int] = []
    while task in lease.order and (not taken or taken[-1] != task):
        try:
            taken.append(lease.tasks.pop())
        except IndexError:
            break
    taken.reverse()
    return taken


def handed(leases: Sequence[WorkLease]) -> list[tuple[int, int, bytes]]:
    """Return the tasks that the scheduler has not been told of, by block and attempt."""
    left = []
    for lease in leases:
        told = {task for tasks in lease.told for task in tasks}
        left.append((lease.base, lease.attempt, ints(task for task in lease.order if task not in told)))
    return left


def values_here(blocks: Mapping[int, WorkerBlock], size_of: Callable[[Any], int]) -> list[tuple[int, bytes, bytes]]:
    """Return which values are here, and how large they are, by block."""
    sizes = []
    for base, block in blocks.items():
        here = {entry: size_of(value) for entry, value in dict.copy(block.values).items()}
        here.update({entry: spilled.size for entry, spilled in block.values.spilled.copy().items()})
        sizes.append((base, ints(here), longs(here.values())))
    return sizes
