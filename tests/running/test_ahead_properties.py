"""Tasks that go before their inputs are made end as all others do, whatever happens to those inputs."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lazygraph.values.graph import Shape
from lazygraph.values.status import UNHAPPY, State
from tests.running.shapes import Recipe, recipes, shapes
from tests.running.test_frontier_properties import MOVES_OF, Wild, expected, lives_as_it_says, randoms
from tests.running.world_ahead import AheadWorld


@settings(max_examples=200)
@given(shapes(most=14), st.sets(st.integers(0, 13), max_size=2), randoms)
def test_every_task_ends_as_direct_evaluation_says(shape: Shape, bad: set[int], random: Random) -> None:
    world = AheadWorld(random)
    block = world.admit(shape, bad=sorted(bad))
    world.finish()
    for at, (state, _) in enumerate(expected(shape, bad)):
        if state in UNHAPPY:
            assert block.states()[at] is state
        else:
            assert block.states()[at] is (State.SUCCEEDED if at in set(shape.outputs) else State.RELEASED)
    for entry in shape.outputs:
        if block.states()[entry] is State.SUCCEEDED:
            assert world.store[block, entry][0] == world.worth[block][entry]
    world.let_everything_go()


@settings(max_examples=200)
@given(recipes(), randoms, st.booleans(), st.booleans(), st.integers(0, 3))
def test_replaced_tasks_and_handlers_end_as_direct_evaluation_says(
    recipe: Recipe, random: Random, lanes: bool, lineage: bool, deaths: int
) -> None:
    world = AheadWorld(random, lanes=lanes, lineage=lineage)
    lives_as_it_says(world, recipe, random, deaths if lineage else 0)


@pytest.mark.parametrize("kind", MOVES_OF)
@settings(max_examples=200)
@given(random=randoms, lanes=st.booleans(), steps=st.integers(5, 60))
def test_nothing_waits_for_ever_and_nothing_stays(kind: str, random: Random, lanes: bool, steps: int) -> None:
    world = AheadWorld(random, lanes=lanes)
    Wild(world, fail_fast=kind != "losses").live(steps, MOVES_OF[kind])
    world.finish()
    for (block, entry), (value, _) in world.store.items():
        assert value == world.worth[block][entry]
    if kind == "losses":
        tasks = [state for block in world.blocks for state in block.states()[block.shape.externals :]]
        assert State.CANCELLED not in tasks
    world.let_everything_go()
