"""An engine that exists only on paper: it leases, runs, reports, dies and lies late, and looks into the Frontier after
every call.

Every choice comes from one random source, so that hypothesis can shrink a history.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from lazygraph.running.arena import ANYWHERE
from lazygraph.running.block import Block
from lazygraph.running.events import (
    Action,
    CancelRun,
    CancelTask,
    Dropped,
    Ended,
    Event,
    Failed,
    Freed,
    Poisoned,
    Returned,
    RunnerLost,
    Settled,
    ValuesLost,
)
from lazygraph.running.frontier import Frontier
from lazygraph.running.lease import Lease
from lazygraph.values.graph import ORDER, Shape
from lazygraph.values.status import MOVES, TERMINAL, UNHAPPY, State

_ALLOWED = {(int(before), int(after)) for before, targets in MOVES.items() for after in targets}


class CheckedStates(bytearray):
    """States that may only move as the table says, whoever moves them."""

    def __setitem__(self, at: Any, target: Any) -> None:
        if (self[at], target) not in _ALLOWED:
            raise AssertionError(f"entry {at}: {State(self[at]).name} -> {State(target).name} is not in the table")
        super().__setitem__(at, target)


def takes(block: Block, task: int, read: int) -> bool:
    """Say whether a task takes the value of what it reads."""
    return block.shape.kinds[block.bounds[task] + list(block.inputs_of(task)).index(read)] != ORDER


class CheckedFrontier(Frontier):
    """A Frontier whose blocks have checked states."""

    def _new_block(self, shape: Shape, fail_fast: bool, depth: int = 0) -> Block:
        block = super()._new_block(shape, fail_fast, depth)
        block.state = CheckedStates(block.state)
        return block


@dataclass(eq=False)
class OnPaper:
    """A lease on a runner: what it has not run yet, and the values it has at hand."""

    lease: Lease
    left: list[int]
    values: dict[int, int]
    done: list[int] = field(default_factory=list)
    gone: set[int] = field(default_factory=set)


class World:
    """One Frontier, some runners, some runs."""

    def __init__(self, random: Random, runners: int = 3, lanes: bool = False, lineage: bool = True) -> None:
        self.random = random
        self.frontier = CheckedFrontier(self._place if lanes else None, lineage)
        self.runners: dict[int, list[OnPaper]] = {number: [] for number in range(runners)}
        self.blocks: list[Block] = []  # every block there ever was
        self.worth: dict[Block, list[int]] = {}  # what its entries come to, by direct evaluation
        self.source: dict[Block, list[tuple[Block, int]]] = {}  # whose value an entry is
        self.bad: dict[Block, set[int]] = {}
        self.store: dict[tuple[Block, int], tuple[int, int]] = {}  # value and the runner that has it (-1: all)
        self.told: dict[tuple[Block, int], State] = {}
        self.futures: list[tuple[Block, int]] = []  # those still held, one a place
        self.over: set[Block] = set()
        self.poisoned: set[tuple[Block, int]] = set()
        self.cancelled: set[Block] = set()  # runs of which something was cancelled

    def _place(self, block: Block, task: int) -> int:
        return [ANYWHERE, *sorted(self.runners)][(block.base + task) % (len(self.runners) + 1)]

    # -- what happens ------------------------------------------------------------------------------

    def admit(
        self, shape: Shape, bindings: Sequence[tuple[Block, int]] = (), fail_fast: bool = False, bad: Sequence[int] = ()
    ) -> Block:
        """A plan comes in; tasks in `bad` raise."""
        block, actions = self.frontier.admit(shape, bindings, fail_fast)
        self.blocks.append(block)
        self.worth[block] = [self.worth[owner][entry] for owner, entry in bindings]
        self.source[block] = [self.source[owner][entry] for owner, entry in bindings]
        for entry in range(len(bindings), len(block)):
            inputs = [self.worth[block][read] for read in block.inputs_of(entry)]
            self.worth[block].append(hash((block.base, entry, *inputs)))
            self.source[block].append((block, entry))
        self.bad[block] = set(bad)
        self.futures += [(block, entry) for entry in shape.outputs]
        if not bindings:
            for entry in range(shape.externals):
                self.store[block, entry] = (self.worth[block][entry], -1)
        self._act(actions)
        return block

    def tell(self, event: Event) -> list[Action]:
        """Something rare happens."""
        actions = self.frontier.handle(event, 0.0)
        self._act(actions)
        return actions

    def lease(self, runner: int, limit: int, most: int = 0) -> bool:
        """A runner asks for work; says whether it got some."""
        own = runner if self.frontier.next_block(runner) is not None else ANYWHERE
        lanes = [own, *self.frontier.lanes()]
        lease = next((found for lane in lanes if (found := self.frontier.lease(limit, lane, most))), None)
        if lease is None:
            return False
        block, made = lease.block, set()
        values: dict[int, int] = {}
        for task in lease.tasks:
            assert block.state[task] == State.LEASED
            assert block.attempt(task) == lease.attempt
            for at, read in enumerate(block.inputs_of(task), block.bounds[task]):
                if block.shape.kinds[at] == ORDER or read in made:
                    continue
                values[read] = self.store[block.owner(read)][0]  # a KeyError here: leased without its input
            made.add(task)
        if len(lease.tasks) > 1:
            assert all(block.plain[block.shape.option[task]] for task in lease.tasks)
        self.runners[runner].append(OnPaper(lease, list(lease.tasks), values))
        self.check()
        return True

    def run(self, runner: int, paper: OnPaper, count: int) -> None:
        """A runner runs tasks of a lease, and reports."""
        block, lease = paper.lease.block, paper.lease
        broken, skipped, done = [], [], []
        for task in paper.left[:count]:
            if not paper.gone.isdisjoint(block.inputs_of(task)):
                paper.gone.add(task)
                skipped.append(task)
            elif task in self.bad[block]:
                paper.gone.add(task)
                broken.append(task)
            else:
                reads = enumerate(block.inputs_of(task), block.bounds[task])
                inputs = [read for at, read in reads if block.shape.kinds[at] != ORDER]
                assert [paper.values[read] for read in inputs] == [self.worth[block][read] for read in inputs]
                paper.values[task] = self.worth[block][task]
                done.append(task)
        del paper.left[:count]
        self.report(runner, lease, done)
        for task in broken:
            self.tell(Failed(block, task, lease.attempt))
        if skipped:
            self.tell(Returned(block, skipped, lease.attempt))
        self._forget_empty()

    def report(self, runner: int, lease: Lease, done: list[int]) -> None:
        """Successes reach the mind."""
        block = lease.block
        self.random.shuffle(done)
        open_before = {task for task in done if State(block.state[task]) in (State.LEASED, State.RUNNING)}
        accepted = {task for task in open_before if block.attempt(task) == lease.attempt}
        for task in accepted:
            self.store[block, task] = (self.worth[block][task], runner)
        progress = self.frontier.succeeded(block, done, lease.attempt)
        assert set(progress.late) == set(done) - accepted
        for task in progress.outputs:
            self._told(block, task, State.SUCCEEDED)
        self._free(block, progress.freed)
        self._act(progress.actions)

    def give_back(self, paper: OnPaper, count: int) -> None:
        """A runner gives back the tail of a lease."""
        tail = paper.left[-count:]
        del paper.left[-count:]
        self.tell(Returned(paper.lease.block, tail, paper.lease.attempt))
        self._forget_empty()

    def kill(self, runner: int, values_first: bool) -> list[OnPaper]:
        """A runner dies with what it was doing and what only it had; returns its leases, for late reports."""
        papers, self.runners[runner] = self.runners[runner], []
        lost: dict[Block, list[int]] = {}
        for (block, entry), (_, home) in list(self.store.items()):
            if home == runner:
                lost.setdefault(block, []).append(entry)
        events: list[Event] = [
            ValuesLost(list(lost.items())),
            RunnerLost(
                [(paper.lease.block, paper.left) for paper in papers],
                [(paper.lease.block, paper.left[0]) for paper in papers if paper.left],
            ),
        ]
        for event in events if values_first else reversed(events):
            self._act(self.frontier.handle(event, 0.0), check=False)
        for block, entries in lost.items():
            for entry in entries:
                self.store.pop((block, entry), None)
        self.check()
        return papers

    def lose_held(self, block: Block, entry: int) -> None:
        """A value that was never computed is gone."""
        del self.store[block, entry]
        self.tell(ValuesLost([(block, [entry])]))

    def drop(self, block: Block, entry: int) -> None:
        """A future is collected."""
        self.futures.remove((block, entry))
        self.tell(Dropped(block, [entry]))

    def cancel(self, block: Block, entry: int | None) -> None:
        """Somebody cancels a future, or (None) a run."""
        self.cancelled.add(block)
        self.tell(CancelRun(block) if entry is None else CancelTask(block, entry))

    def _forget_empty(self) -> None:
        for papers in self.runners.values():
            papers[:] = [paper for paper in papers if paper.left]

    # -- what the mind answers ---------------------------------------------------------------------

    def _act(self, actions: Sequence[Action], check: bool = True) -> None:
        for action in actions:
            assert action.block not in self.over, f"{action} after its block was forgotten"
            if isinstance(action, Settled):
                for entry in action.tasks:
                    self._told(action.block, entry, action.state)
            elif isinstance(action, Freed):
                self._free(action.block, action.tasks)
            elif isinstance(action, Poisoned):
                self.poisoned.add((action.block, action.task))
            elif isinstance(action, Ended):
                self.over.add(action.block)
        if check:
            self.check()

    def _told(self, block: Block, entry: int, state: State) -> None:
        assert state in TERMINAL
        self.told.setdefault((block, entry), state)  # a future sees one ending, the first

    def _free(self, block: Block, entries: Sequence[int]) -> None:
        for entry in entries:
            assert block.claims[entry] == 0, f"{block} {entry} was freed although it is claimed"
            if (block, entry) == self.source[block][entry]:
                del self.store[block, entry]  # a KeyError here: freed twice, or never made

    # -- what must be true after every call --------------------------------------------------------

    def check(self) -> None:
        """Look at everything."""
        for block in self.frontier.blocks.values():
            self._check_block(block)
        assert not self.over & set(self.frontier.blocks.values())
        for block in self.blocks:
            assert (block in self.over) == (block.base not in self.frontier.blocks)
        alive = {
            (block, entry)
            for block in self.blocks
            for entry in range(len(block))
            if block.state[entry] == State.SUCCEEDED and self.source[block][entry] == (block, entry)
        }
        assert set(self.store) == alive

    def _check_block(self, block: Block) -> None:
        state, k = block.states(), block.shape.externals
        ready = {number for lane in self.frontier.lanes() for number in self.frontier._lanes[lane]}
        for entry in range(len(block)):
            readers = [reader for reader in block.consumers_of(entry) if state[reader] not in TERMINAL]
            claims = len(readers) + block.futures.get(entry, 0) + len(block.watchers.get(entry, ()))
            assert block.claims[entry] == claims, f"entry {entry} of {block}"
            if state[entry] is State.SUCCEEDED:
                assert claims, f"entry {entry} of {block} is kept for nobody"
            if state[entry] in UNHAPPY:
                assert entry in block.causes
                # What is made again does not wait again for what it only waited for.
                waits = [r for r in block.consumers_of(entry) if r not in block.remade or takes(block, r, entry)]
                assert all(state[reader] in TERMINAL for reader in waits)
            if entry >= k and state[entry] not in TERMINAL:
                assert block.pending[entry] == sum(state[read] not in TERMINAL for read in block.inputs_of(entry))
            if state[entry] is State.QUEUED:
                assert not block.pending[entry]
                assert block.base + entry in ready
            if state[entry] is State.WAITING and entry >= k:
                assert block.pending[entry]
        assert block.open == sum(one not in TERMINAL for one in state[k:])
        claimed = block.futures or block.given_up or block.watchers or block.bound
        assert block.open or claimed, f"{block} should be forgotten"

    def check_over(self) -> None:
        """Nothing runs and nothing is ready: nobody may still be waiting."""
        for block in self.frontier.blocks.values():
            assert block.open == 0, f"{block} waits for ever: {block.states()}"
            assert all(state in TERMINAL for state in block.states())
            for entry in block.futures:
                assert (block, entry) in self.told, f"the future of {block} {entry} was never told"
        for block in self.blocks:
            for entry, state in enumerate(block.states()):
                if state is State.FAILED:
                    assert entry in self.bad[block] or (block, entry) in self.poisoned
                if state in UNHAPPY:
                    self._check_cause(block, entry, state)

    def _check_cause(self, block: Block, entry: int, state: State) -> None:
        base, origin = block.causes[entry]
        home = next(one for one in self.blocks if one.base == base)
        if state is State.UPSTREAM_FAILED:
            assert home.states()[origin] in (State.FAILED, State.LOST)
        elif state is State.CANCELLED and origin >= 0:
            assert origin in home.causes or home.states()[origin] in (State.FAILED, State.UPSTREAM_FAILED)

    # -- a whole life ------------------------------------------------------------------------------

    def work(self) -> bool:
        """One runner does one thing, if there is anything to do."""
        busy = [(number, paper) for number, papers in self.runners.items() for paper in papers]
        if busy and self.random.random() < 0.6:
            runner, paper = self.random.choice(busy)
            self.run(runner, paper, self.random.randint(1, len(paper.left)))
            return True
        runner = self.random.choice(sorted(self.runners))
        limit = self.random.randint(1, 6)
        if self.lease(runner, limit, self.random.choice([0, limit + 3])):
            return True
        return bool(busy)

    def finish(self) -> None:
        """Do all work there is; then look whether everybody has been told, and whether everything can go."""
        for _ in range(10_000):
            if not self.work():
                break
        else:
            raise AssertionError("there is no end to it")
        self.check_over()

    def let_everything_go(self) -> None:
        """Nobody holds a future any more."""
        while self.futures:
            self.drop(*self.futures[-1])
        self.finish()
        assert self.frontier.blocks == {}
        assert self.store == {}
        assert all(self.frontier.next_block(lane) is None for lane in self.frontier.lanes())
