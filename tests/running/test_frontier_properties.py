"""Whatever happens, in whatever order: the promises of the Frontier hold.  `World.check` looks after every call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lazygraph.running.block import Block
from lazygraph.running.events import CancelTask, Delivered, Dropped, Failed, Started, Wanted
from lazygraph.running.frontier import Frontier
from lazygraph.values.graph import Shape
from lazygraph.values.status import TERMINAL, UNHAPPY, State
from tests.running.checked import has_failed
from tests.running.paper import OnPaper
from tests.running.shapes import Recipe, random_recipe, random_shape, recipes, shape_of, shapes
from tests.running.world import World

randoms = st.integers(0, 2**32).map(Random)


def snapshot(frontier: Frontier, blocks: list[Block]) -> list[Any]:
    """Everything the Frontier knows, as values."""
    return [
        (bytes(block.state), list(block.pending), list(block.claims), block.open, dict(block.futures))
        for block in blocks
    ] + [sorted(frontier.blocks)]


# -- plain lives: the outcome is known beforehand --------------------------------------------------


def expected(shape: Shape, bad: set[int]) -> list[tuple[State, int | None]]:
    """Return for each entry how it ends, and the origin if it is unhappy (any of several)."""
    ends: list[tuple[State, int | None]] = []
    for at in range(len(shape)):
        origins = [ends[read][1] for read in shape.inputs_of(at) if ends[read][0] in UNHAPPY]
        if origins:
            ends.append((State.UPSTREAM_FAILED, origins[0]))
        elif at in bad:
            ends.append((State.FAILED, at))
        else:
            ends.append((State.SUCCEEDED, None))
    return ends


@given(shapes(most=14), st.sets(st.integers(0, 13), max_size=2), randoms, st.booleans())
def test_every_task_ends_as_direct_evaluation_says(shape: Shape, bad: set[int], random: Random, lanes: bool) -> None:
    world = World(random, lanes=lanes)
    block = world.admit(shape, bad=sorted(bad))
    world.finish()
    ends = expected(shape, bad)
    for at, (state, _) in enumerate(ends):
        found = block.states()[at]
        wanted = at in set(shape.outputs)
        alive = State.SUCCEEDED if wanted else State.RELEASED
        assert found is (alive if state is State.SUCCEEDED else state)
        if state in UNHAPPY:
            base, origin = block.causes[at]
            assert base == block.base
            assert ends[origin][0] is State.FAILED
            assert origin == at or origin in ancestors(shape, at)
    assert {
        entry: world.store[block, entry][0] for entry in set(shape.outputs) if ends[entry][0] is State.SUCCEEDED
    } == {entry: world.worth[block][entry] for entry in set(shape.outputs) if ends[entry][0] is State.SUCCEEDED}
    world.let_everything_go()


def ancestors(shape: Shape, entry: int) -> set[int]:
    """Return everything above an entry."""
    found: set[int] = set()
    stack = [entry]
    while stack:
        for read in shape.inputs_of(stack.pop()):
            if read not in found:
                found.add(read)
                stack.append(read)
    return found


@given(shapes(most=14), st.sets(st.integers(0, 13), max_size=2), randoms)
def test_fail_fast_ends_everything_with_the_first_unhappy_output(shape: Shape, bad: set[int], random: Random) -> None:
    world = World(random)
    block = world.admit(shape, fail_fast=True, bad=sorted(bad))
    world.finish()
    unhappy = [entry for entry in shape.outputs if block.states()[entry] in UNHAPPY]
    assert bool(unhappy) == any(expected(shape, bad)[entry][0] in UNHAPPY for entry in shape.outputs)
    for entry in range(len(shape)):
        if block.states()[entry] is State.CANCELLED:
            base, origin = block.causes[entry]
            assert (base, block.states()[origin]) == (block.base, State.FAILED)
    world.let_everything_go()


# -- replaced tasks and scopes ---------------------------------------------------------------------


def ended(world: World, block: Block) -> list[State | None]:
    """Return how every entry has ended; None: it waits for a failure that has not come."""
    kept = {State.RELEASED: State.SUCCEEDED, State.WAITING: None}
    return [kept.get(state, state) for state in block.states()]


def check_ends(world: World, block: Block) -> None:
    """Every entry of a run, and of what its tasks have become, has ended as direct evaluation says."""
    stack = [block]
    while stack:
        one = stack.pop()
        recipe = world.recipes[one]
        ends = recipe.ends()
        idle = {c for c in recipe.shape.catches if not recipe.shape.inputs.count(c)}
        for entry, (found, end) in enumerate(zip(ended(world, one), ends, strict=True)):
            if entry in recipe.shape.catches and (one, entry) not in world.caught:
                # Nobody waits for it, or all who did have ended before it could come.
                readers = {ends[reader] for reader in one.consumers_of(entry)}
                assert end is None or entry in idle or readers <= {State.UPSTREAM_FAILED}
            else:
                assert found is end, f"entry {entry} of {one}: {found} and not {end}"
            if found is State.FAILED:
                base, origin = one.causes[entry]
                home = next(other for other in world.blocks if other.base == base)
                assert has_failed(home, origin)
                assert world.label[home] == world.label[one] or entry in recipe.becomes
        stack.extend(world.stands[one, task] for task in recipe.becomes if (one, task) in world.stands)


def lives_as_it_says(
    world: World, recipe: Recipe, random: Random, deaths: int, then: Callable[[], object] = lambda: None
) -> None:
    """A run ends as direct evaluation says, however many runners die on the way; `then` is called after each step."""
    block = world.admit_recipe(recipe)
    for _ in range(deaths):
        for _ in range(random.randint(0, 12)):
            world.work()
            then()
        world.kill(random.choice(sorted(world.runners)), values_first=random.random() < 0.5)
    world.finish()
    check_ends(world, block)
    for entry in recipe.shape.outputs:
        if block.states()[entry] is State.SUCCEEDED:
            assert world.store[world.source[block][entry]][0] == world.worth[block][entry]
    world.let_everything_go()


@settings(max_examples=200)
@given(recipes(), randoms, st.booleans(), st.booleans(), st.integers(0, 3))
def test_replaced_tasks_and_handlers_end_as_direct_evaluation_says(
    recipe: Recipe, random: Random, lanes: bool, lineage: bool, deaths: int
) -> None:
    world = World(random, lanes=lanes, lineage=lineage)
    lives_as_it_says(world, recipe, random, deaths if lineage else 0)


@settings(max_examples=200)
@given(recipes(), randoms)
def test_failing_fast_ends_all_but_what_was_asked_to_answer(recipe: Recipe, random: Random) -> None:
    world = World(random, lineage=random.random() < 0.5)
    world.admit_recipe(recipe, fail_fast=True)
    world.finish()
    world.let_everything_go()


# -- wild lives ------------------------------------------------------------------------------------


class Wild:
    """A life in which everything happens that can."""

    def __init__(self, world: World, fail_fast: bool = True) -> None:
        self.world, self.random, self.fail_fast = world, world.random, fail_fast
        self.zombies: list[OnPaper] = []
        self.admitted = 0
        self.pinned: set[tuple[Block, int]] = set()

    def admit(self) -> None:
        if self.admitted >= 4:
            return
        self.admitted += 1
        known = sorted({(b.base, e) for b, e in self.world.futures})
        blocks = {block.base: block for block in self.world.blocks}
        count = self.random.randint(0, 3) if known and self.random.random() < 0.8 else 0
        chosen = [(blocks[base], entry) for base, entry in (self.random.choice(known) for _ in range(count))]
        fail_fast = self.fail_fast and self.random.random() < 0.3
        if not count and self.random.random() < 0.3:
            shape = random_shape(self.random, 8, 2)  # of two values that are held already
            bad = [task for task in range(2, len(shape)) if self.random.random() < 0.08]
            self.world.admit(shape, fail_fast=fail_fast, bad=bad)
        else:
            self.world.admit_recipe(self.reaching_out(random_recipe(self.random, 8, count)), chosen, fail_fast)

    def reaching_out(self, recipe: Recipe) -> Recipe:
        """Let some of what tasks become read from other runs, whose futures they hold so long."""
        becomes = dict(recipe.becomes)
        for task in becomes:
            if self.world.futures and self.random.random() < 0.4:
                bound = tuple(self.random.choice(self.world.futures) for _ in range(self.random.randint(1, 2)))
                inner = random_recipe(self.random, 4, len(bound), depth=1)
                if self.random.random() < 0.3:
                    inner = Recipe(shape_of([[] for _ in bound], outputs=[0], externals=len(bound)))
                self.pinned.update(bound)
                worths = tuple(self.world.worth[block][entry] for block, entry in bound)
                becomes[task] = replace(inner, bound=bound, worths=worths)
        return replace(recipe, becomes=becomes)

    def give_back(self) -> None:
        papers = [paper for papers in self.world.runners.values() for paper in papers]
        if papers:
            paper = self.random.choice(papers)
            self.world.give_back(paper, self.random.randint(1, len(paper.left)))

    def started(self) -> None:
        papers = [paper for papers in self.world.runners.values() for paper in papers]
        if papers:
            paper = self.random.choice(papers)
            self.world.tell(Started(paper.lease.block, paper.left[0], paper.lease.attempt))

    def kill(self) -> None:
        runner = self.random.choice(sorted(self.world.runners))
        self.zombies += self.world.kill(runner, values_first=self.random.random() < 0.5)

    def report_late(self) -> None:
        """What a dead runner has said before it died changes nothing any more."""
        if not self.zombies:
            return
        paper = self.random.choice(self.zombies)
        block, attempt = paper.lease.block, paper.lease.attempt
        before = snapshot(self.world.frontier, self.world.blocks)
        progress = self.world.frontier.succeeded(block, paper.left, attempt)
        assert (progress.outputs, progress.freed, progress.actions) == ([], [], [])
        assert progress.late == paper.left
        for task in paper.left:
            assert self.world.frontier.replaced(block, task, attempt, shape_of([[]], outputs=[0])) == (None, [])
            assert self.world.frontier.handle(Failed(block, task, attempt), 0.0) == []
            assert self.world.frontier.handle(Started(block, task, attempt), 0.0) == []
        assert snapshot(self.world.frontier, self.world.blocks) == before

    def drop(self) -> None:
        free = [future for future in self.world.futures if future not in self.pinned]
        if free:
            self.world.drop(*self.random.choice(free))

    def deliver(self) -> None:
        here = [(b, e) for b, e in self.world.futures if b.states()[e] is State.SUCCEEDED]
        if here:
            block, entry = self.random.choice(here)
            self.world.tell(Delivered(block, [entry]))

    def want(self) -> None:
        if self.world.futures:
            block, entry = self.random.choice(self.world.futures)
            self.world.tell(Wanted(block, entry))

    def cancel(self) -> None:
        if self.world.futures:
            self.world.cancel(*self.random.choice(self.world.futures))

    def cancel_run(self) -> None:
        runs = [block for block in self.world.blocks if block.within is None]
        if runs:
            self.world.cancel(self.random.choice(runs), None)

    def lose_held(self) -> None:
        held = [
            (block, entry)
            for (block, entry), (_, home) in self.world.store.items()
            if home == -1 and entry not in block.shape.catches
        ]
        if held:
            self.world.lose_held(*self.random.choice(held))

    def work(self) -> None:
        self.world.work()

    USUAL = ("admit", "work", "work", "work", "work", "give_back", "started")
    LOSSES = ("kill", "report_late", "deliver", "want")
    WISHES = ("drop", "cancel", "cancel_run")

    def live(self, steps: int, moves: tuple[str, ...]) -> None:
        self.admit()
        for _ in range(steps):
            getattr(self, self.random.choice(moves))()


MOVES_OF = {
    "losses": Wild.USUAL + Wild.LOSSES,
    "wishes": Wild.USUAL + Wild.WISHES,
    "everything": Wild.USUAL + Wild.LOSSES + Wild.WISHES + ("lose_held",),
}


@pytest.mark.parametrize("kind", MOVES_OF)
@settings(max_examples=200)
@given(random=randoms, lanes=st.booleans(), steps=st.integers(5, 60))
def test_nothing_waits_for_ever_and_nothing_stays(kind: str, random: Random, lanes: bool, steps: int) -> None:
    world = World(random, lanes=lanes)
    wild = Wild(world, fail_fast=kind != "losses")
    wild.live(steps, MOVES_OF[kind])
    world.finish()
    for (block, entry), (value, _) in world.store.items():
        assert value == world.worth[block][entry]
    if kind == "losses":  # what nobody has cancelled and no fail-fast run has ended is made, whatever was lost
        tasks = [state for block in world.blocks for state in block.states()[block.shape.externals :]]
        assert State.CANCELLED not in tasks
    for block, entry in list(world.futures):
        world.tell(Wanted(block, entry))
    world.finish()
    for block, entry in world.futures:
        sleeps = entry in block.dormant or entry in block.shape.catches
        if entry in block.futures and not sleeps:  # one that was cancelled wants nothing any more
            assert block.states()[entry] in TERMINAL - {State.RELEASED}, "somebody wants it, and it was not made again"
    world.let_everything_go()


@settings(max_examples=100)
@given(random=randoms, steps=st.integers(5, 60))
def test_without_lineage_runs_are_forgotten_as_soon_as_they_are_over(random: Random, steps: int) -> None:
    world = World(random, lineage=False)
    wild = Wild(world)
    wild.live(steps, Wild.USUAL + Wild.WISHES)
    world.finish()
    assert all(block.bound == 0 for block in world.blocks)
    world.let_everything_go()


# -- two doors -------------------------------------------------------------------------------------


@given(shapes(most=14), st.integers(1, 5), randoms)
def test_one_by_one_and_in_batches_is_the_same(shape: Shape, limit: int, random: Random) -> None:
    whole, single = Frontier(), Frontier()
    one, _ = whole.admit(shape, (), False)
    two, _ = single.admit(shape, (), False)
    while (lease := whole.lease(limit)) is not None:
        twin = single.lease(limit)
        assert twin is not None
        assert (twin.tasks, twin.attempt) == (lease.tasks, lease.attempt)
        tasks = list(lease.tasks)
        random.shuffle(tasks)
        progress = whole.succeeded(one, tasks, lease.attempt)
        parts = [single.succeeded(two, [task], twin.attempt) for task in lease.tasks]
        assert sorted(progress.outputs) == sorted(task for part in parts for task in part.outputs)
        assert sorted(progress.freed) == sorted(entry for part in parts for entry in part.freed)
        assert snapshot(whole, [one]) == snapshot(single, [two])
    assert single.lease(limit) is None
    assert one.open == 0


# -- depth -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("lineage", [True, False])
@pytest.mark.parametrize("ending", ["drop", "cancel", "fail", "succeed"])
def test_long_chains_of_runs_need_no_recursion(ending: str, lineage: bool) -> None:
    frontier = Frontier(lineage=lineage)
    link = shape_of([[], [0]], outputs=[1], externals=1)
    first, _ = frontier.admit(shape_of([[]], outputs=[0]), (), False)
    blocks = [first]
    for _ in range(3000):
        block, _ = frontier.admit(link, [(blocks[-1], len(blocks[-1]) - 1)], False)
        blocks.append(block)
    world_end(frontier, blocks, ending)
    assert frontier.blocks == {}


def world_end(frontier: Frontier, blocks: list[Block], ending: str) -> None:
    """Let go of all runs, after what `ending` says."""
    if ending == "cancel":
        frontier.handle(CancelTask(blocks[0], 0), 0.0)
    elif ending == "fail":
        lease = frontier.lease(1)
        assert lease is not None
        frontier.handle(Failed(lease.block, lease.tasks[0], 1), 0.0)
        assert all(block.states()[-1] is State.UPSTREAM_FAILED for block in blocks[1:])
    elif ending == "succeed":
        while (lease := frontier.lease(8)) is not None:
            frontier.succeeded(lease.block, lease.tasks, lease.attempt)
    for block in blocks[:-1]:
        frontier.handle(Dropped(block, [len(block) - 1]), 0.0)
    frontier.handle(Dropped(blocks[-1], [1]), 0.0)
