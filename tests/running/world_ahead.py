"""The engine on paper, as one that takes tasks before their inputs are made: it reports late, and in any order."""

from __future__ import annotations

from collections import Counter
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

from lazygraph.running.ahead import AheadFrontier
from lazygraph.values.graph import MEMBER
from lazygraph.values.status import State
from tests.running.checked import CheckedFrontier
from tests.running.world import World

if TYPE_CHECKING:
    from collections.abc import Callable

    from lazygraph.running.lease import Lease
    from tests.running.paper import OnPaper

HANDED_OUT = (State.LEASED, State.RUNNING)


class CheckedAhead(CheckedFrontier, AheadFrontier):
    """An AheadFrontier whose blocks have checked states."""


class AheadWorld(World):
    """One whose runners are given tasks that wait there for others."""

    mind = CheckedAhead
    frontier: CheckedAhead

    def __init__(self, random: Random, runners: int = 3, lanes: bool = False, lineage: bool = True) -> None:
        super().__init__(random, runners, lanes, lineage)
        self.untold: list[OnPaper] = []  # leases that the mind was not told of yet
        self.reports: list[tuple[int, Callable[[], object]]] = []  # on their way, from which runner
        self.dead: set[OnPaper] = set()
        self.followed = 0

    def take(self, runner: int, lease: Lease) -> OnPaper:
        paper = super().take(runner, lease)
        self.untold.append(paper)
        return paper

    def tell_of(self, paper: OnPaper) -> None:
        """The mind hears that a lease is under way, maybe after it has ended."""
        self.untold.remove(paper)
        lease = paper.lease
        tasks = [task for task in lease.tasks if self.random.random() < 0.9]
        self.frontier.under_way(lease.block, tasks, lease.attempt, paper)
        self.check()

    def follow(self, runner: int, limit: int, most: int) -> bool:
        """A runner is given what waits for others; says whether there was any."""
        lease = self.frontier.lease_following(limit, most)
        if lease is None:
            return False
        block, first = lease.block, lease.tasks[0]
        assert lease.awaits, "what waits for nothing is ready"
        names = {lease.awaits[read] for read in block.inputs_of(first) if read in lease.awaits}
        assert names == set(lease.awaits.values())
        for task in lease.tasks:
            assert block.plain[block.shape.option[task]]
            assert task not in block.replaced
            waits = {read for read in block.inputs_of(task) if State(block.state[read]) in HANDED_OUT}
            assert waits <= {*lease.awaits, *lease.tasks}
            assert waits - {*lease.tasks} <= {read for paper in names for read in paper.lease.tasks}
            assert task in block.remade or not any(block.kind(task, read) == MEMBER for read in waits - {*lease.tasks})
        self.take(runner, lease)
        self.followed += 1
        return True

    def run(self, runner: int, paper: OnPaper, count: int) -> None:
        """Run tasks of a lease whose inputs are there; without one of them it comes back as it is."""
        awaited: dict[int, Any] = dict(paper.lease.awaits or {})
        if any(other.left and other not in self.dead for other in awaited.values()):
            return
        if any(read not in other.values or other in self.dead for read, other in awaited.items()):
            parts: Any = [], [], [], list(paper.left)
            paper.left.clear()
        else:
            paper.values.update({read: other.values[read] for read, other in awaited.items()})
            parts = self.done(paper, count)
        self.reports.append((runner, partial(self.hear, runner, paper.lease, *parts)))
        self._forget_empty()

    def kill(self, runner: int, values_first: bool) -> list[OnPaper]:
        """A runner dies after it has reported."""
        for at in [at for at, (home, _) in enumerate(self.reports) if home == runner][::-1]:
            self.reports.pop(at)[1]()
        self.dead.update(self.runners[runner])
        return super().kill(runner, values_first)

    def work(self) -> bool:
        """Like any other, and sometimes somebody reports, or is given what waits."""
        if self.reports and self.random.random() < 0.4:
            self.reports.pop(self.random.randrange(len(self.reports)))[1]()
            return True
        if self.untold and self.random.random() < 0.7:
            self.tell_of(self.random.choice(self.untold))
            return True
        limit = self.random.randint(1, 4)
        if self.random.random() < 0.5 and self.follow(self.random.choice(sorted(self.runners)), limit, limit + 3):
            return True
        return super().work() or bool(self.reports or self.untold)

    # -- what must be true after every call --------------------------------------------------------

    def check(self) -> None:
        """Look also at who is under way and who waits for it."""
        super().check()
        blocks, mind = self.frontier.blocks, self.frontier
        numbers = {block.base + at: (block, at) for block in blocks.values() for at in range(len(block))}
        coming = Counter[int]()
        for number in mind._under_way:
            block, at = numbers[number]
            assert State(block.state[at]) in HANDED_OUT
            coming.update(block.base + reader for reader in block.consumers_of(at))
        assert coming == Counter(mind._coming)
        for number, count in coming.items():
            block, at = numbers[number]
            if State(block.state[at]) is State.WAITING and at not in block.replaced:
                assert count <= block.pending[at]

    def check_over(self) -> None:
        """Look also that nothing is kept for anybody."""
        super().check_over()
        assert not self.frontier._under_way
        assert not self.frontier._coming
        assert self.frontier.next_following() is None
