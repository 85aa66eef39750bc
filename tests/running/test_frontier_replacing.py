"""The Frontier by example: tasks that become plans."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lazygraph.running.block import Block
from lazygraph.running.events import (
    Adopted,
    CancelRun,
    CancelTask,
    Dropped,
    Ended,
    Event,
    Failed,
    Freed,
    Recall,
    Returned,
    RunnerLost,
    Settled,
    ValuesLost,
)
from lazygraph.running.frontier import MAX_DEATHS, Frontier
from lazygraph.running.lease import Lease
from lazygraph.values.status import State
from tests.running.shapes import shape_of
from tests.running.telling import CHAIN, DIAMOND, ONE, PAIR, admitted, leased, replaced, states

LINKED = shape_of([[], [0], [1]], outputs=[1], callbacks=[2])


@pytest.fixture
def frontier() -> Frontier:
    return Frontier()


class TestReplacements:
    """What stands for a task ends, and so does the task."""

    def test_the_value_is_taken_over_and_what_made_it_is_forgotten(self, frontier: Frontier) -> None:
        block = admitted(frontier, shape_of([[], [0]], outputs=[0, 1]))
        assert leased(frontier) == [0]
        new = replaced(frontier, block, 0, DIAMOND)
        assert states(block) == ["WAITING", "WAITING"]
        assert leased(frontier) == [0]
        frontier.succeeded(new, [0])
        assert leased(frontier, 2) == [1, 2]
        frontier.succeeded(new, [1, 2])
        assert leased(frontier) == [3]
        end = frontier.succeeded(new, [3])
        assert (end.outputs, end.freed) == ([], [1, 2])
        assert end.actions == [Adopted(block, 0, 1, new, 3)]
        assert (states(block), leased(frontier)) == (["LEASED", "WAITING"], [])
        taken = frontier.succeeded(block, [0])
        assert (taken.outputs, taken.freed) == ([0], [])
        assert taken.actions == [Freed(new, [3]), Ended(new)]
        assert leased(frontier) == [1]

    def test_nobody_waits_for_an_attempt_that_is_over(self, frontier: Frontier) -> None:
        block = admitted(frontier, PAIR)
        assert frontier.replaced(block, 0, 1, ONE) == (None, [])
        assert leased(frontier) == [0]
        frontier.handle(RunnerLost([(block, [0])]), 0.0)
        assert leased(frontier) == [0]
        assert frontier.replaced(block, 0, 1, ONE) == (None, [])
        assert len(frontier.blocks) == 1

    def test_a_replacement_may_be_replaced(self, frontier: Frontier) -> None:
        block = admitted(frontier, ONE)
        leased(frontier)
        first = replaced(frontier, block, 0, ONE)
        leased(frontier)
        second = replaced(frontier, first, 0, ONE)
        leased(frontier)
        assert frontier.succeeded(second, [0]).actions == [Adopted(first, 0, 1, second, 0)]
        assert frontier.succeeded(first, [0]).actions == [
            Adopted(block, 0, 1, first, 0),
            Freed(second, [0]),
            Ended(second),
        ]

    def test_its_failure_is_the_task_s(self, frontier: Frontier) -> None:
        block = admitted(frontier, shape_of([[], [0]], outputs=[0, 1]))
        leased(frontier)
        new = replaced(frontier, block, 0, CHAIN)
        leased(frontier)
        assert frontier.handle(Failed(new, 0, 1), 0.0) == [
            Settled(block, [0], State.FAILED),
            Settled(block, [1], State.UPSTREAM_FAILED),
            Ended(new),
        ]
        assert block.causes == dict.fromkeys((0, 1), (new.base, 0))

    def test_who_dies_while_taking_over_leaves_it_to_another(self, frontier: Frontier) -> None:
        block = admitted(frontier, ONE)
        leased(frontier)
        new = replaced(frontier, block, 0, ONE)
        leased(frontier)
        frontier.succeeded(new, [0])
        for deaths in range(MAX_DEATHS + 1):  # nothing was running, so nothing is to blame
            assert frontier.handle(RunnerLost([(block, [0])], [(block, 0)]), 0.0) == [
                Adopted(block, 0, deaths + 2, new, 0)
            ]

    def test_a_value_that_is_lost_before_it_was_taken_over_is_made_again(self, frontier: Frontier) -> None:
        block = admitted(frontier, ONE)
        leased(frontier)
        new = replaced(frontier, block, 0, ONE)
        leased(frontier)
        frontier.succeeded(new, [0])
        assert frontier.handle(ValuesLost([(new, [0])]), 0.0) == []
        assert frontier.handle(Returned(block, [0], 1), 0.0) == []
        assert states(block) == ["WAITING"]
        assert frontier.lease(1) == Lease(new, [0], attempt=2)
        assert frontier.succeeded(new, [0], 2).actions == [Adopted(block, 0, 1, new, 0)]

    def test_what_has_become_something_else_does_not_need_its_inputs(self, frontier: Frontier) -> None:
        block = admitted(frontier, shape_of([[], [0]], outputs=[1]))
        leased(frontier)
        frontier.succeeded(block, [0])
        leased(frontier)
        new = replaced(frontier, block, 1, ONE)
        assert frontier.handle(ValuesLost([(block, [0])]), 0.0) == []
        assert (frontier.lease(1), frontier.lease(1)) == (Lease(new, [0]), None)

    def test_nor_does_it_fail_with_them(self, frontier: Frontier) -> None:
        block = admitted(frontier, shape_of([[], [0], [0]], outputs=[1, 2]))
        leased(frontier)
        frontier.succeeded(block, [0])
        leased(frontier, 2)
        replaced(frontier, block, 1, ONE)
        frontier.handle(ValuesLost([(block, [0])]), 0.0)
        assert leased(frontier) == [0]
        assert frontier.handle(Failed(block, 0, 2), 0.0) == [
            Recall(block, [2]),
            Settled(block, [2], State.UPSTREAM_FAILED),
        ]
        assert states(block) == ["FAILED", "WAITING", "UPSTREAM_FAILED"]

    def test_but_it_is_cancelled_with_them(self, frontier: Frontier) -> None:
        block = admitted(frontier, shape_of([[], [0]], outputs=[0, 1]))
        leased(frontier)
        frontier.succeeded(block, [0])
        leased(frontier)
        replaced(frontier, block, 1, ONE)
        frontier.handle(ValuesLost([(block, [0])]), 0.0)
        assert frontier.handle(CancelTask(block, 0), 0.0)[0] == Settled(block, [0, 1], State.CANCELLED)

    def test_with_the_run_all_that_stands_in_it_is_cancelled(self, frontier: Frontier) -> None:
        block = admitted(frontier, ONE)
        leased(frontier)
        new = replaced(frontier, block, 0, LINKED)
        assert frontier.handle(CancelRun(block), 0.0) == [Settled(block, [0], State.CANCELLED), Ended(new)]
        assert states(new) == ["CANCELLED", "CANCELLED", "CANCELLED"]
        assert frontier.handle(Dropped(block, [0]), 0.0) == [Ended(block)]
        assert frontier.handle(CancelRun(block), 0.0) == []

    def test_with_a_task_all_that_stands_for_it_is_cancelled(self, frontier: Frontier) -> None:
        block = admitted(frontier, PAIR)
        leased(frontier)
        new = replaced(frontier, block, 0, LINKED)
        assert leased(frontier) == [1]
        assert leased(frontier) == [0]
        inner = replaced(frontier, new, 0, LINKED)
        assert frontier.handle(CancelTask(block, 0), 0.0)[0] == Settled(block, [0], State.CANCELLED)
        assert states(new) == states(inner) == ["CANCELLED", "CANCELLED", "CANCELLED"]
        assert states(block) == ["CANCELLED", "LEASED"]

    def test_failing_fast_starts_nothing_more_of_it(self, frontier: Frontier) -> None:
        block, _ = frontier.admit(ONE, (), True)
        leased(frontier)
        new = replaced(frontier, block, 0, shape_of([[], [], [0, 1]], outputs=[2]))
        leased(frontier)
        assert frontier.handle(Failed(new, 0, 1), 0.0) == [Settled(block, [0], State.FAILED), Ended(new)]
        assert states(new) == ["FAILED", "CANCELLED", "UPSTREAM_FAILED"]

    def test_without_failing_fast_its_siblings_run_on(self, frontier: Frontier) -> None:
        block = admitted(frontier, ONE)
        leased(frontier)
        new = replaced(frontier, block, 0, shape_of([[], [], [0, 1]], outputs=[2]))
        leased(frontier)
        assert frontier.handle(Failed(new, 0, 1), 0.0) == [Settled(block, [0], State.FAILED)]
        assert frontier.handle(Dropped(block, [0]), 0.0) == []  # a run is over when all that stood in it is
        assert frontier.lease(1) == Lease(new, [1])
        end = frontier.succeeded(new, [1])
        assert (end.freed, end.actions) == ([1], [Ended(new), Ended(block)])

    def test_until_the_run_is_cancelled(self, frontier: Frontier) -> None:
        block = admitted(frontier, ONE)
        leased(frontier)
        outer = replaced(frontier, block, 0, ONE)
        leased(frontier)
        inner = replaced(frontier, outer, 0, shape_of([[], [], [0, 1]], outputs=[2]))
        leased(frontier)
        frontier.handle(Failed(inner, 0, 1), 0.0)
        assert (states(block), states(outer)) == (["FAILED"], ["FAILED"])
        assert frontier.handle(CancelRun(block), 0.0) == [Ended(inner)]
        assert leased(frontier) == []

    def test_what_nobody_wants_any_more_is_not_begun(self, frontier: Frontier) -> None:
        block = admitted(frontier, ONE)
        leased(frontier)
        assert frontier.handle(Dropped(block, [0]), 0.0) == []
        new, actions = frontier.replaced(block, 0, 1, ONE)
        assert new is not None
        assert set(map(repr, actions)) == {repr(Ended(new)), repr(Ended(block))}
        assert leased(frontier) == []

    def test_nor_begun_again(self, frontier: Frontier) -> None:
        block = admitted(frontier, ONE)
        leased(frontier)
        frontier.handle(Dropped(block, [0]), 0.0)
        assert frontier.handle(Returned(block, [0], 1), 0.0) == [Ended(block)]

    def test_it_may_read_what_another_run_makes(self, frontier: Frontier) -> None:
        one = admitted(frontier, ONE)
        block = admitted(frontier, ONE)
        assert leased(frontier) == [0]
        assert leased(frontier) == [0]
        new, actions = frontier.replaced(block, 0, 1, shape_of([[]], outputs=[0], externals=1), [(one, 0)])
        assert new is not None
        assert actions == [Ended(new)]  # there is nothing to do in it
        assert frontier.succeeded(one, [0]).actions == [Adopted(block, 0, 1, one, 0)]
        assert frontier.succeeded(block, [0]).outputs == [0]

    def test_what_has_failed_there_before_fails_the_task(self, frontier: Frontier) -> None:
        one = admitted(frontier, ONE)
        block = admitted(frontier, shape_of([[], [0]], outputs=[1]))
        leased(frontier)
        frontier.handle(Failed(one, 0, 1), 0.0)
        assert leased(frontier) == [0]
        new, actions = frontier.replaced(block, 0, 1, shape_of([[]], outputs=[0], externals=1), [(one, 0)])
        assert new is not None
        assert actions == [Settled(block, [1], State.UPSTREAM_FAILED), Ended(new)]
        assert states(block) == ["FAILED", "UPSTREAM_FAILED"]

    @pytest.mark.parametrize("event", [lambda block: CancelTask(block, 0), CancelRun])
    def test_and_that_run_goes_on_without_it(self, frontier: Frontier, event: Callable[[Block], Event]) -> None:
        one = admitted(frontier, PAIR)
        block = admitted(frontier, ONE)
        assert leased(frontier) == [0]
        assert frontier.lease(1) == Lease(one, [1])
        assert frontier.lease(1) == Lease(block, [0])
        frontier.handle(Returned(one, [1], 1), 0.0)
        frontier.replaced(block, 0, 1, shape_of([[]], outputs=[0], externals=1), [(one, 1)])
        assert frontier.handle(event(block), 0.0) == [Settled(block, [0], State.CANCELLED)]
        assert states(one) == ["LEASED", "QUEUED"]

    @pytest.mark.parametrize("ending", ["succeed", "fail", "cancel run", "cancel task", "drop"])
    def test_however_deep_it_goes(self, frontier: Frontier, ending: str) -> None:
        blocks = [admitted(frontier, ONE)]
        for _ in range(1000):
            leased(frontier)
            blocks.append(replaced(frontier, blocks[-1], 0, ONE))
        if ending == "succeed":
            leased(frontier)
            for block in reversed(blocks):
                frontier.succeeded(block, [0])
        elif ending == "fail":
            leased(frontier)
            frontier.handle(Failed(blocks[-1], 0, 1), 0.0)
            assert blocks[0].causes[0] == (blocks[-1].base, 0)
        elif ending == "cancel run":
            frontier.handle(CancelRun(blocks[0]), 0.0)
        elif ending == "cancel task":
            frontier.handle(CancelTask(blocks[0], 0), 0.0)
        frontier.handle(Dropped(blocks[0], [0]), 0.0)
        assert frontier.blocks == {}
