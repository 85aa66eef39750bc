"""What a task costs the scheduler does not grow with the plan, nor with the cluster: counted, not timed."""

from __future__ import annotations

import pytest

from benchmarks.simulate_plans import PLANS, shape_of
from benchmarks.simulate_zero import ZeroWorld, counting, operations
from lazygraph.executors.cluster.records import Send
from lazygraph.executors.cluster.scheduler_machine import SchedulerMachine
from lazygraph.values.graph import Shape

MOST = 1.2
"""Times as much as in the smaller case a task may cost."""


def each(shape: Shape, workers: int, mind: type[SchedulerMachine] = SchedulerMachine) -> float:
    """Return the instructions of the mind for each task."""
    return operations(shape, workers, mind) / len(shape)


@pytest.mark.parametrize("plan", PLANS)
def test_a_task_of_a_large_plan_costs_no_more(plan: str) -> None:
    assert each(shape_of(plan, 3_000), 10) < MOST * each(shape_of(plan, 300), 10)


@pytest.mark.parametrize("plan", PLANS)
def test_a_task_in_a_large_cluster_costs_no_more(plan: str) -> None:
    assert each(shape_of(plan, 3_000), 100) < MOST * each(shape_of(plan, 300), 10)


def test_workers_that_have_nothing_to_do_cost_nothing() -> None:
    chain = shape_of("chains", 300)

    assert each(chain, 1_000) < MOST * each(chain, 10)


@pytest.mark.parametrize("plan", PLANS)
def test_many_workers_cost_nothing_where_functions_are_known(plan: str) -> None:
    shape = shape_of(plan, 300)
    few, many = (operations(shape, workers, known=True) for workers in (10, 1_000))

    assert many < MOST * few


class LooksAtAll(SchedulerMachine):
    """A mind that looks at each worker whenever it decides."""

    def decide(self, now: float) -> list[Send]:
        assert all(worker.outstanding >= 0 for worker in self.workers.values())
        return super().decide(now)


def test_a_mind_that_looks_at_all_workers_is_found_out() -> None:
    chain = shape_of("chains", 300)

    assert each(chain, 1_000, LooksAtAll) > MOST * each(chain, 10, LooksAtAll)


def test_the_same_run_takes_the_same_number_of_instructions() -> None:
    layers = shape_of("layers", 200)

    assert operations(layers, 7) == operations(layers, 7)


def test_zero_workers_do_everything_and_nothing_is_left() -> None:
    for plan in PLANS:
        shape = shape_of(plan, 200)
        world = ZeroWorld(3, codec=True)
        for _ in range(2):
            cost = world.run(shape)

            assert cost.tasks == len(shape)
            assert 0 < cost.leases < cost.messages < cost.size


@pytest.mark.parametrize("plan", ["independent", "tree", "merge"])
def test_workers_get_of_a_large_plan_what_they_need(plan: str) -> None:
    shape = shape_of(plan, 20_000)
    whole = ZeroWorld(1, codec=True).run(shape).plan

    assert ZeroWorld(1, codec=True, grain=0).run(shape).plan >= whole / 2
    assert ZeroWorld(100, codec=True, grain=0).run(shape).plan > 50 * whole
    assert ZeroWorld(100, codec=True).run(shape).plan < 4 * whole


def test_portions_cost_next_to_nothing() -> None:
    tree = shape_of("tree", 3_000)

    def cost(grain: int, workers: int) -> float:
        world, count = ZeroWorld(workers, grain=grain), [0]
        with counting(count):
            world.run(tree)
        return count[0]

    assert cost(64, 2) < 1.05 * cost(0, 2)
    assert cost(64, 50) < 1.15 * cost(0, 50)
