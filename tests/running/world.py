"""An engine that exists only on paper: it leases, runs, reports, dies and lies late, and looks into the Frontier after
every call.

Every choice comes from one random source, so that hypothesis can shrink a history.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from lazygraph.running.arena import ANYWHERE, NUMBER
from lazygraph.running.block import Block
from lazygraph.running.events import (
    Action,
    Adopted,
    CancelRun,
    CancelTask,
    Caught,
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
from lazygraph.running.lease import Lease
from lazygraph.values.graph import MEMBER, ORDER, Shape
from lazygraph.values.status import TERMINAL, UNHAPPY, State
from tests.running.checked import (
    CheckedFrontier,
    check_handler,
    check_replaced,
    check_scopes,
    does_without,
    has_failed,
    root_of,
    takes,
)
from tests.running.paper import OnPaper
from tests.running.shapes import Recipe, rows_of


class World:
    """One Frontier, some runners, some runs."""

    mind: type[CheckedFrontier] = CheckedFrontier

    def __init__(self, random: Random, runners: int = 3, lanes: bool = False, lineage: bool = True) -> None:
        self.random = random
        self.now = 0.0
        self.frontier = self.mind(self._place if lanes else None, lineage)
        self.runners: dict[int, list[OnPaper]] = {number: [] for number in range(runners)}
        self.blocks: list[Block] = []  # every block there ever was
        self.worth: dict[Block, list[int]] = {}  # what its entries come to, by direct evaluation
        self.source: dict[Block, list[tuple[Block, int]]] = {}  # whose value an entry is
        self.recipes: dict[Block, Recipe] = {}
        self.label: dict[Block, Any] = {}  # what is the same of a block when its task returns it again
        self.stands: dict[tuple[Block, int], Block] = {}  # task -> what it has become, last
        self.parent: dict[Block, tuple[Block, int]] = {}
        self.adopting: list[tuple[int, Adopted]] = []  # runners that are about to take a value over
        self.caught: set[tuple[Block, int]] = set()  # failures of scopes that have come
        self.store: dict[tuple[Block, int], tuple[int, int]] = {}  # value and the runner that has it (-1: all)
        self.told: dict[tuple[Block, int], State] = {}
        self.futures: list[tuple[Block, int]] = []  # those still held, one a place
        self.over: set[Block] = set()
        self.poisoned: set[tuple[Block, int]] = set()
        self.cancelled: set[Block] = set()  # runs of which something was cancelled
        self.broken: set[Block] = set()  # runs of which nothing more is to start: cancelled, or fail-fast and failed
        self.failing_fast: set[Block] = set()
        self.dying = -1
        self.deaths = 0

    def _place(self, block: Block, task: int) -> int:
        return [ANYWHERE, *sorted(self.runners)][(block.base + task) % (len(self.runners) + 1)]

    # -- what happens ------------------------------------------------------------------------------

    def admit(
        self, shape: Shape, bindings: Sequence[tuple[Block, int]] = (), fail_fast: bool = False, bad: Sequence[int] = ()
    ) -> Block:
        """A plan comes in; tasks in `bad` raise."""
        return self.admit_recipe(Recipe(shape, frozenset(bad)), bindings, fail_fast)

    def admit_recipe(
        self, recipe: Recipe, bindings: Sequence[tuple[Block, int]] = (), fail_fast: bool = False
    ) -> Block:
        """A plan comes in, whose tasks may become other plans."""
        bound = self._bound(recipe, bindings)
        block, actions = self.frontier.admit(recipe.shape, bound, fail_fast, now=self.now)
        self.label[block] = block.base
        if fail_fast:
            self.failing_fast.add(block)
        self.futures += [(block, entry) for entry in recipe.shape.outputs]
        self._enter(block, recipe, bindings)
        if not bound:
            for entry in range(recipe.shape.externals):
                self.store[block, entry] = (self.worth[block][entry], -1)
        self._act(actions)
        return block

    def _bound(self, recipe: Recipe, bindings: Sequence[tuple[Block, int]]) -> list[tuple[Block, int] | None]:
        failures = len(recipe.shape.catches)
        assert not failures or len(bindings) + failures == recipe.shape.externals
        return [*bindings, *[None] * failures]

    def _enter(self, block: Block, recipe: Recipe, bindings: Sequence[tuple[Block, int]]) -> None:
        self.blocks.append(block)
        self.recipes[block] = recipe
        self.worth[block] = recipe.worth(self.label[block], [self.worth[owner][entry] for owner, entry in bindings])
        sources = [self.source[owner][entry] for owner, entry in bindings]
        self.source[block] = [*sources, *((block, entry) for entry in range(len(bindings), len(block)))]

    def replace(self, block: Block, task: int, attempt: int) -> None:
        """A task returns what is to be done in its place."""
        recipe = self.recipes[block].becomes[task]
        current = block.state[task] in (State.LEASED, State.RUNNING) and block.attempt(task) == attempt
        bound = self._bound(recipe, recipe.bound)
        new, actions = self.frontier.replaced(block, task, attempt, recipe.shape, bound, self.now)
        assert (new is not None) == current
        if new is None:
            assert actions == []
            return
        self.label[new] = (self.label[block], task)
        self.stands[block, task] = new
        self.parent[new] = block, task
        self._enter(new, recipe, recipe.bound)
        self._act(actions)

    def tell(self, event: Event) -> list[Action]:
        """Something rare happens."""
        actions = self.frontier.handle(event, self.now)
        self._act(actions)
        return actions

    def lease(self, runner: int, limit: int, most: int = 0) -> bool:
        """A runner asks for work; says whether it got some."""
        own = runner if self.frontier.next_block(runner) is not None else ANYWHERE
        lanes = [own, *self.frontier.lanes()]
        lease = next((found for lane in lanes if (found := self.frontier.lease(limit, lane, most))), None)
        if lease is not None:
            self.take(runner, lease)
        return lease is not None

    def take(self, runner: int, lease: Lease) -> OnPaper:
        """A runner gets a lease, with whatever its tasks read and nobody else is to make first."""
        block, made = lease.block, {*(lease.awaits or ())}
        values: dict[int, int] = {}
        for task in lease.tasks:
            goes_on = task in block.remade or self._for_a_handler(block, task)
            assert goes_on or root_of(block) not in self.broken, "nothing more is to start"
            assert block.state[task] == State.LEASED
            assert block.attempt(task) == lease.attempt
            for at, read in enumerate(block.inputs_of(task), block.bounds[task]):
                if block.shape.kinds[at] == ORDER or read in made or does_without(block, at, read):
                    continue
                if read in block.shape.catches:
                    assert (block, read) in self.caught, "a handler was leased before the failure had come"
                    values[read] = self.worth[block][read]
                    continue
                values[read] = self.store[block.owner(read)][0]  # a KeyError here: leased without its input
            made.add(task)
        if len(lease.tasks) > 1:
            assert not any(policy.alone for task in lease.tasks if (policy := block.policy(task)))
        paper = OnPaper(lease, list(lease.tasks), values, granted=self.now)
        self.runners[runner].append(paper)
        self.check()
        return paper

    def run(self, runner: int, paper: OnPaper, count: int) -> None:
        """A runner runs tasks of a lease, and reports."""
        self.hear(runner, paper.lease, *self.done(paper, count))
        self._forget_empty()

    def done(self, paper: OnPaper, count: int) -> tuple[list[int], list[int], list[int], list[int]]:
        """Run tasks of a lease; return what is done, what has failed, what was replaced and what has not begun."""
        block = paper.lease.block
        broken, skipped, done, replaced = list[int](), list[int](), list[int](), list[int]()
        for task in paper.left[:count]:
            if not paper.gone.isdisjoint(block.inputs_of(task)):
                paper.gone.add(task)
                skipped.append(task)
            elif self._raises(block, task):
                paper.gone.add(task)
                broken.append(task)
            elif task in self.recipes[block].becomes:
                paper.gone.add(task)
                replaced.append(task)
            else:
                reads = enumerate(block.inputs_of(task), block.bounds[task])
                inputs = [read for at, read in reads if block.shape.kinds[at] not in (ORDER, MEMBER)]
                assert [paper.values[read] for read in inputs] == [self.worth[block][read] for read in inputs]
                paper.values[task] = self.worth[block][task]
                done.append(task)
        del paper.left[:count]
        return done, broken, replaced, skipped

    def hear(
        self, runner: int, lease: Lease, done: list[int], broken: list[int], replaced: list[int], skipped: list[int]
    ) -> None:
        """What a runner has done reaches the mind."""
        block = lease.block
        if done:
            self.report(runner, lease, done)
        for task in broken:
            self.tell(self._failure(block, task, lease.attempt))
        for task in replaced:
            self.replace(block, task, lease.attempt)
        if skipped:
            self.tell(Returned(block, skipped, lease.attempt))

    def _raises(self, block: Block, task: int) -> bool:
        return task in self.recipes[block].bad

    def _failure(self, block: Block, task: int, attempt: int) -> Failed:
        return Failed(block, task, attempt, task in self.recipes[block].above)

    def report(self, runner: int, lease: Lease, done: list[int]) -> None:
        """Successes reach the mind."""
        block = lease.block
        self.random.shuffle(done)
        open_before = {task for task in done if State(block.state[task]) in (State.LEASED, State.RUNNING)}
        accepted = {task for task in open_before if block.attempt(task) == lease.attempt}
        for task in accepted:
            self.store[block, task] = (self.worth[block][task], runner)
        progress = self.frontier.succeeded(block, done, lease.attempt, self.now)
        assert set(progress.late) == set(done) - accepted
        for task in progress.outputs:
            self._told(block, task, State.SUCCEEDED)
        self._free(block, progress.freed)
        self._act(progress.actions)

    def adopt(self, at: int, well: bool) -> None:
        """A runner takes a value over, or (not `well`) finds that it has not got it."""
        runner, action = self.adopting.pop(at)
        block, task = action.block, action.task
        if not well:
            self.tell(Returned(block, [task], action.attempt))
            return
        if block.state[task] in (State.LEASED, State.RUNNING) and block.attempt(task) == action.attempt:
            source, made = self.source[action.owner][action.entry], self.worth[block][task]
            if source not in self.store:
                assert self.deaths, "it was freed although it was to be taken over"
                self.tell(Returned(block, [task], action.attempt))
                return
            assert self.store[source][0] == made
        self.report(runner, Lease(block, [task], action.attempt), [task])

    def give_back(self, paper: OnPaper, count: int) -> None:
        """A runner gives back the tail of a lease."""
        tail = paper.left[-count:]
        del paper.left[-count:]
        self.tell(Returned(paper.lease.block, tail, paper.lease.attempt))
        self._forget_empty()

    def kill(self, runner: int, values_first: bool) -> list[OnPaper]:
        """A runner dies with what it was doing and what only it had; returns its leases, for late reports."""
        self.deaths += 1
        papers, self.runners[runner] = self.runners[runner], []
        taking = [action for home, action in self.adopting if home == runner]
        self.adopting = [(home, action) for home, action in self.adopting if home != runner]
        papers += [OnPaper(Lease(one.block, [one.task], one.attempt), [one.task], {}) for one in taking]
        self.dying = runner if values_first else -1
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
            self._act(self.frontier.handle(event, self.now), check=False)
        for block, entries in lost.items():
            for entry in entries:
                self.store.pop((block, entry), None)
        self.dying = -1
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
        if entry is None:
            self.broken.add(block)
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
                assert action.task not in action.block.replaced, "taking over a value kills nobody"
                self.poisoned.add((action.block, action.task))
            elif isinstance(action, Caught):
                self._catch(action)
            elif isinstance(action, Adopted):
                home = self.store[self.source[action.owner][action.entry]][1]
                self.adopting.append((home if home >= 0 else self.random.choice(sorted(self.runners)), action))
                assert home != self.dying or home < 0, "nobody has the value that is to be taken over"
            elif isinstance(action, Ended):
                self._over(action.block)
        if check:
            self.check()

    def _catch(self, action: Caught) -> None:
        block, entry = action.block, action.entry
        if action.member:
            assert State(block.state[entry]) in UNHAPPY
            return
        assert (block, entry) not in self.caught, "a scope was said twice to have failed"
        self.caught.add((block, entry))
        row = block.shape.catches[entry]
        inside = [at for at in range(len(block)) if row in rows_of(block.shape, at)]
        assert any(has_failed(block, at) for at in inside), "a scope was said to have failed, and none in it has"
        base, origin = action.cause
        home = next(one for one in self.blocks if one.base == base)
        assert has_failed(home, origin) or home.state[origin] == State.LOST

    def _over(self, block: Block) -> None:
        assert block not in self.over, f"{block} was forgotten twice"
        self.over.add(block)
        for at in [at for at in self.store if at[0] is block]:
            del self.store[at]  # what waited for a failure may have claimed it
        left = [one for one in self.frontier.blocks.values() if root_of(one) is block]
        assert not left, f"{block} is over, and {left} still stand for tasks of it"

    def _told(self, block: Block, entry: int, state: State) -> None:
        assert state in TERMINAL
        if State(block.state[entry]) in UNHAPPY and entry in block.futures and block in self.failing_fast:
            self.broken.add(block)
        self.told.setdefault((block, entry), state)  # a future sees one ending, the first

    def _free(self, block: Block, entries: Sequence[int]) -> None:
        for entry in entries:
            assert block.claims[entry] == 0, f"{block} {entry} was freed although it is claimed"
            if (block, entry) == self.source[block][entry] and entry not in block.shape.catches:
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
            if block not in self.over
            for entry in range(len(block))
            if block.state[entry] == State.SUCCEEDED and self.source[block][entry] == (block, entry)
            if entry not in block.shape.catches
        }
        assert set(self.store) == alive

    def _check_block(self, block: Block) -> None:
        state, k = block.states(), block.shape.externals
        ready = {number & NUMBER for lane in self.frontier.lanes() for number in self.frontier._lanes[lane]}
        ready |= {block.base + root for block in self.frontier.blocks.values() for root in block.roots}
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
                waits = [r for r in waits if r not in block.replaced and block.kind(r, entry) != MEMBER]
                assert all(state[reader] in TERMINAL for reader in waits)
            if entry >= k and state[entry] not in TERMINAL:
                waits = [read for read in block.inputs_of(entry) if state[read] not in TERMINAL]
                # One that was replaced waits for its replacement; when that has come, only to be told that it is done.
                if entry in block.replaced:
                    waits += [entry] * (state[entry] is State.WAITING)
                    past = sum(state[read] in UNHAPPY for read in block.inputs_of(entry))  # ended after being read
                    assert 0 <= block.pending[entry] - len(waits) <= past, f"entry {entry} of {block}"
                else:
                    assert block.pending[entry] == len(waits), f"entry {entry} of {block}"
            if state[entry] is State.QUEUED:
                assert not block.pending[entry]
                assert block.base + entry in ready
            if state[entry] is State.WAITING and entry >= k:
                assert block.pending[entry]
        assert block.open == sum(one not in TERMINAL for one in state[k:]) - len(block.dormant)
        claimed = block.futures or block.given_up or block.watchers or block.bound or block.stands
        assert block.open or claimed, f"{block} should be forgotten"
        check_scopes(block, state, self.caught)
        check_replaced(block, state)

    def check_over(self) -> None:
        """Nothing runs and nothing is ready: nobody may still be waiting."""
        assert not self.adopting
        for block in self.frontier.blocks.values():
            assert block.open == 0, f"{block} waits for ever: {block.states()}"
            assert not block.replaced
            sleeping = {*block.dormant, *(catch for catch in block.shape.catches if (block, catch) not in self.caught)}
            assert all(state in TERMINAL or entry in sleeping for entry, state in enumerate(block.states()))
            for entry in block.futures:
                told = (block, entry) in self.told
                assert told or entry in sleeping, f"the future of {block} {entry} was never told"
        for block in self.blocks:
            for entry, state in enumerate(block.states()):
                if state is State.FAILED:
                    own = self._may_have_failed(block, entry)
                    assert own or entry in self.recipes[block].becomes
                if state in UNHAPPY:
                    self._check_cause(block, entry, state)
            for catch in block.shape.catches:
                if (block, catch) in self.caught:
                    for handler in block.consumers_of(catch):
                        check_handler(block, handler, self.cancelled, self.blocks)

    def _may_have_failed(self, block: Block, task: int) -> bool:
        return task in self.recipes[block].bad or (block, task) in self.poisoned

    def _for_a_handler(self, block: Block, task: int) -> bool:
        """Whether a task is a handler whose failure has come, or something that one needs."""
        if task in block.handling:
            return True
        parent = self.parent.get(block)
        if parent is not None and self._for_a_handler(*parent):
            return True
        return any(self._for_a_handler(block, reader) for reader in block.consumers_of(task))

    def _check_cause(self, block: Block, entry: int, state: State) -> None:
        base, origin = block.causes[entry]
        home = next(one for one in self.blocks if one.base == base)
        if state is State.UPSTREAM_FAILED:
            assert has_failed(home, origin) or home.states()[origin] is State.LOST
        elif state is State.CANCELLED and origin >= 0:
            assert origin in home.causes or home.states()[origin] in (State.FAILED, State.UPSTREAM_FAILED)

    # -- a whole life ------------------------------------------------------------------------------

    def work(self) -> bool:
        """One runner does one thing, if there is anything to do."""
        busy = [(number, paper) for number, papers in self.runners.items() for paper in papers]
        if self.adopting and self.random.random() < 0.3:
            self.adopt(self.random.randrange(len(self.adopting)), self.random.random() < 0.9)
            return True
        if busy and self.random.random() < 0.6:
            runner, paper = self.random.choice(busy)
            self.run(runner, paper, self.random.randint(1, len(paper.left)))
            return True
        runner = self.random.choice(sorted(self.runners))
        limit = self.random.randint(1, 6)
        if self.lease(runner, limit, self.random.choice([0, limit + 3])):
            return True
        return bool(busy or self.adopting)

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
        assert self.frontier.blocks == {}, self.frontier.blocks
        assert self.store == {}
        assert all(self.frontier.next_block(lane) is None for lane in self.frontier.lanes())
