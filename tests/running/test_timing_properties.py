"""Whatever happens, in whatever order, whenever: what options say holds.  `TimedWorld` looks after every call."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lazygraph.running.frontier import Frontier
from lazygraph.values.graph import Shape
from tests.running.shapes import Recipe, recipes, shapes
from tests.running.test_frontier_properties import MOVES_OF, Wild, lives_as_it_says, snapshot
from tests.running.timed import TimedWorld, dressed

randoms = st.integers(0, 2**32).map(Random)


class Timed(Wild):
    """A life in which everything happens that can, while time passes."""

    world: TimedWorld

    def time(self) -> None:
        self.world.pass_time(jump=self.random.random() < 0.5)


@settings(max_examples=200)
@given(recipes(), randoms, st.booleans(), st.booleans(), st.integers(0, 3))
def test_options_change_when_and_how_often_and_never_what(
    recipe: Recipe, random: Random, lanes: bool, lineage: bool, deaths: int
) -> None:
    world = TimedWorld(random, lanes=lanes, lineage=lineage, once=False)
    lives_as_it_says(
        world,
        recipe,
        random,
        deaths if lineage else 0,
        lambda: world.pass_time(jump=random.random() < 0.2),
    )


@pytest.mark.parametrize("kind", MOVES_OF)
@settings(max_examples=200)
@given(random=randoms, lanes=st.booleans(), once=st.booleans(), steps=st.integers(5, 60))
def test_no_limit_is_passed_and_nothing_waits_for_ever(
    kind: str, random: Random, lanes: bool, once: bool, steps: int
) -> None:
    world = TimedWorld(random, lanes=lanes, once=once)
    Timed(world, fail_fast=kind != "losses").live(steps, (*MOVES_OF[kind], "time", "time"))
    world.finish()
    for (block, entry), (value, _) in world.store.items():
        assert value == world.worth[block][entry]
    world.let_everything_go()


@settings(max_examples=50)
@given(seed=st.integers(0, 2**32), steps=st.integers(5, 60))
def test_one_seed_is_one_history(seed: int, steps: int) -> None:
    logs = []
    for _ in range(2):
        world = TimedWorld(Random(seed))
        Timed(world).live(steps, (*MOVES_OF["everything"], "time", "time"))
        world.finish()
        logs.append(world.log)
    assert logs[0] == logs[1]


@given(shapes(most=14), st.integers(1, 5), randoms)
def test_one_by_one_and_in_batches_is_the_same(shape: Shape, limit: int, random: Random) -> None:
    shape = dressed(random, Recipe(shape), 0.0, once=False).shape
    whole, single = Frontier(), Frontier()
    one, _ = whole.admit(shape, (), False)
    two, _ = single.admit(shape, (), False)
    while one.open:
        lease, twin = whole.lease(limit), single.lease(limit)
        if lease is None or twin is None:
            assert lease is twin
            due = whole.next_time()
            assert due is not None
            assert due == single.next_time()
            assert whole.tick(due) == single.tick(due) == []
            continue
        assert (twin.tasks, twin.attempt) == (lease.tasks, lease.attempt)
        now = whole.now + random.choice((0.0, 0.25, 2.0))
        tasks = list(lease.tasks)
        random.shuffle(tasks)
        whole.succeeded(one, tasks, lease.attempt, now)
        for task in lease.tasks:
            single.succeeded(two, [task], twin.attempt, now)
        assert snapshot(whole, [one]) == snapshot(single, [two])
        assert whole.next_time() == single.next_time()
