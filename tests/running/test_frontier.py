"""The Frontier by example: what it answers, whole lists at a time."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lazygraph.running.block import Block
from lazygraph.running.events import (
    Adopted,
    CancelRun,
    CancelTask,
    Caught,
    Delivered,
    Dropped,
    Ended,
    Event,
    Failed,
    Freed,
    Poisoned,
    Recall,
    Returned,
    RunnerLost,
    Settled,
    Started,
    ValuesLost,
    Wanted,
)
from lazygraph.running.frontier import MAX_DEATHS, WHOLE_RUN, Frontier
from lazygraph.running.lease import Lease, fitting
from lazygraph.values.graph import ORDER, Scope, Shape
from lazygraph.values.status import State
from tests.running.shapes import shape_of

CHAIN = shape_of([[], [0], [1]], outputs=[2])
DIAMOND = shape_of([[], [0], [0], [1, 2]], outputs=[3])
PAIR = shape_of([[], []], outputs=[0, 1])
ON_TOP = shape_of([[], [0]], outputs=[1], externals=1)


@pytest.fixture
def frontier() -> Frontier:
    return Frontier()


def admitted(frontier: Frontier, shape: Shape, bindings: list[tuple[Block, int]] | None = None) -> Block:
    """Admit a plan that is not fail-fast and has nothing to say at once."""
    block, actions = frontier.admit(shape, bindings or [], False)
    assert actions == []
    return block


def leased(frontier: Frontier, limit: int = 1, most: int = 0) -> list[int]:
    """Lease, and return the tasks."""
    lease = frontier.lease(limit, most=most)
    return lease.tasks if lease else []


def states(block: Block) -> list[str]:
    """Return the states as words."""
    return [state.name for state in block.states()]


class TestLeases:
    def test_ready_tasks_come_lowest_rank_first(self, frontier: Frontier) -> None:
        block = admitted(frontier, shape_of([[], [], [], []], outputs=[0, 1, 2, 3]))
        assert frontier.lease(3) == Lease(block, [0, 1, 2])
        assert frontier.lease(3) == Lease(block, [3])
        assert frontier.lease(3) is None

    def test_only_readers_are_sent_ahead(self, frontier: Frontier) -> None:
        admitted(frontier, CHAIN)
        assert leased(frontier, 8) == [0, 1, 2]

    def test_a_reader_of_several_goes_ahead_when_all_of_them_are_in_the_lease(self, frontier: Frontier) -> None:
        admitted(frontier, shape_of([[], [], [0, 1], [2]], outputs=[3]))
        assert leased(frontier, 2, most=4) == [0, 1, 2, 3]

    def test_what_others_might_run_is_not_sent_ahead(self, frontier: Frontier) -> None:
        admitted(frontier, DIAMOND)
        assert leased(frontier, 8) == [0]

    def test_a_lease_holds_one_run(self, frontier: Frontier) -> None:
        one, two = admitted(frontier, PAIR), admitted(frontier, PAIR)
        assert frontier.lease(8) == Lease(one, [0, 1])
        assert frontier.lease(8) == Lease(two, [0, 1])

    def test_tasks_that_are_not_plain_go_alone(self, frontier: Frontier) -> None:
        admitted(frontier, shape_of([[], [], [], [0]], outputs=[1, 2, 3], alone=[1]))
        assert [leased(frontier, 8) for _ in range(4)] == [[0, 3], [1], [2], []]

    def test_attempts_are_not_mixed(self, frontier: Frontier) -> None:
        block = admitted(frontier, shape_of([[], [], []], outputs=[0, 1, 2]))
        assert leased(frontier, 1) == [0]
        assert frontier.handle(RunnerLost([(block, [0])]), 0.0) == []
        assert frontier.lease(8) == Lease(block, [0], attempt=2)
        assert frontier.lease(8) == Lease(block, [1, 2], attempt=1)

    @pytest.mark.parametrize(
        ("seconds", "ready", "runners", "answer"),
        [
            (None, 100, 2, (8, 8)),
            (None, 4, 2, (2, 8)),
            (1e-6, 1000, 2, (256, 256)),
            (0.001, 1000, 2, (5, 5)),
            (1.0, 1000, 2, (1, 1)),
            (0.0, 3, 1, (3, 256)),
            (0.001, 0, 0, (1, 5)),
        ],
    )
    def test_how_many(self, seconds: float | None, ready: int, runners: int, answer: tuple[int, int]) -> None:
        assert fitting(seconds, ready, runners) == answer


class TestEndings:
    def test_success_frees_what_nobody_reads_any_more(self, frontier: Frontier) -> None:
        block = admitted(frontier, DIAMOND)
        assert leased(frontier) == [0]
        first = frontier.succeeded(block, [0])
        assert (first.outputs, first.freed, first.actions) == ([], [], [])
        assert leased(frontier, 2) == [1, 2]
        assert frontier.succeeded(block, [1]).freed == []
        assert frontier.succeeded(block, [2]).freed == [0]
        assert leased(frontier) == [3]
        last = frontier.succeeded(block, [3])
        assert (last.outputs, last.freed, last.actions) == ([3], [1, 2], [])
        assert states(block) == ["RELEASED", "RELEASED", "RELEASED", "SUCCEEDED"]
        assert frontier.handle(Dropped(block, [3]), 0.0) == [Freed(block, [3]), Ended(block)]
        assert frontier.blocks == {}

    def test_failure_reaches_every_descendant_and_names_itself(self, frontier: Frontier) -> None:
        block = admitted(frontier, shape_of([[], [], [0], [1, 2], [1]], outputs=[3, 4]))
        assert leased(frontier) == [0]
        assert frontier.handle(Failed(block, 0, 1), 0.0) == [Settled(block, [3], State.UPSTREAM_FAILED)]
        assert states(block) == ["FAILED", "QUEUED", "UPSTREAM_FAILED", "UPSTREAM_FAILED", "WAITING"]
        assert block.causes == dict.fromkeys((0, 2, 3), (block.base, 0))

    def test_siblings_of_a_failure_run_on(self, frontier: Frontier) -> None:
        block = admitted(frontier, shape_of([[], [], [0, 1]], outputs=[2]))
        assert leased(frontier) == [0]
        assert frontier.handle(Failed(block, 0, 1), 0.0) == [Settled(block, [2], State.UPSTREAM_FAILED)]
        assert leased(frontier) == [1]
        assert frontier.succeeded(block, [1]).freed == [1]

    def test_fail_fast_starts_nothing_more(self, frontier: Frontier) -> None:
        block, _ = frontier.admit(PAIR, (), True)
        assert leased(frontier) == [0]
        assert frontier.handle(Failed(block, 0, 1), 0.0) == [
            Settled(block, [0], State.FAILED),
            Settled(block, [1], State.CANCELLED),
        ]
        assert leased(frontier) == []
        assert block.causes == {0: (block.base, 0), 1: (block.base, 0)}

    def test_what_is_handed_out_is_recalled(self, frontier: Frontier) -> None:
        block = admitted(frontier, PAIR)
        assert leased(frontier, 2) == [0, 1]
        assert frontier.handle(CancelRun(block), 0.0) == [
            Recall(block, [0]),
            Settled(block, [0], State.CANCELLED),
            Recall(block, [1]),
            Settled(block, [1], State.CANCELLED),
        ]
        assert block.causes == {0: (block.base, WHOLE_RUN), 1: (block.base, WHOLE_RUN)}
        late = frontier.succeeded(block, [0, 1])
        assert (late.outputs, late.freed, late.late, late.actions) == ([], [], [0, 1], [])

    def test_cancelling_a_task_ends_what_is_below_and_drops_what_only_it_wanted(self, frontier: Frontier) -> None:
        block = admitted(frontier, shape_of([[], [], [0, 1], [2], [1]], outputs=[2, 3, 4]))
        assert frontier.handle(CancelTask(block, 2), 0.0) == [Settled(block, [2, 3], State.CANCELLED)]
        assert states(block) == ["CANCELLED", "QUEUED", "CANCELLED", "CANCELLED", "WAITING"]
        assert block.causes[3] == (block.base, 2)

    def test_cancelling_what_has_started_changes_nothing(self, frontier: Frontier) -> None:
        block = admitted(frontier, PAIR)
        leased(frontier)
        assert frontier.handle(Started(block, 0, 1), 0.0) == []
        assert frontier.handle(CancelTask(block, 0), 0.0) == []
        assert states(block) == ["RUNNING", "QUEUED"]

    def test_dropping_the_last_future_drops_what_has_not_started(self, frontier: Frontier) -> None:
        block = admitted(frontier, shape_of([[], [0], [0]], outputs=[1, 2]))
        assert frontier.handle(Dropped(block, [1]), 0.0) == []
        assert states(block) == ["QUEUED", "CANCELLED", "WAITING"]
        assert frontier.handle(Dropped(block, [2]), 0.0) == [Ended(block)]
        assert states(block) == ["CANCELLED", "CANCELLED", "CANCELLED"]

    def test_an_output_asked_for_twice_has_two_claims(self, frontier: Frontier) -> None:
        block = admitted(frontier, shape_of([[]], outputs=[0, 0]))
        assert frontier.handle(Dropped(block, [0]), 0.0) == []
        assert frontier.handle(Dropped(block, [0]), 0.0) == [Ended(block)]

    def test_callbacks_run_although_nobody_waits(self, frontier: Frontier) -> None:
        block = admitted(frontier, shape_of([[], [0]], outputs=[0], callbacks=[1]))
        leased(frontier)
        assert frontier.succeeded(block, [0]).outputs == [0]
        assert frontier.handle(Dropped(block, [0]), 0.0) == []
        assert leased(frontier) == [1]
        end = frontier.succeeded(block, [1])
        assert sorted(end.freed) == [0, 1]
        assert end.actions == [Ended(block)]


class TestAcrossRuns:
    def test_a_value_that_is_there(self, frontier: Frontier) -> None:
        one = admitted(frontier, shape_of([[]], outputs=[0]))
        leased(frontier)
        frontier.succeeded(one, [0])
        two = admitted(frontier, ON_TOP, [(one, 0)])
        assert states(two) == ["SUCCEEDED", "QUEUED"]
        assert frontier.handle(Dropped(one, [0]), 0.0) == []  # the second run still reads it
        assert leased(frontier) == [1]
        end = frontier.succeeded(two, [1])
        assert (end.outputs, end.freed) == ([1], [0])
        assert end.actions == [Freed(one, [0])]  # kept as a recipe, as long as the second run may want it again
        assert frontier.handle(Dropped(two, [1]), 0.0) == [Freed(two, [1]), Ended(two), Ended(one)]

    def test_without_lineage_a_run_goes_at_once(self) -> None:
        frontier = Frontier(lineage=False)
        one = admitted(frontier, shape_of([[]], outputs=[0]))
        two = admitted(frontier, ON_TOP, [(one, 0)])
        leased(frontier)
        frontier.succeeded(one, [0])
        leased(frontier)
        frontier.handle(Dropped(one, [0]), 0.0)
        assert frontier.succeeded(two, [1]).actions == [Freed(one, [0]), Ended(one)]
        assert two.bindings == [None]

    def test_a_value_that_is_on_its_way(self, frontier: Frontier) -> None:
        one = admitted(frontier, shape_of([[]], outputs=[0]))
        two = admitted(frontier, shape_of([[]], outputs=[0], externals=1), [(one, 0)])
        leased(frontier)
        end = frontier.succeeded(one, [0])
        assert end.outputs == [0]
        assert end.actions == [Settled(two, [0], State.SUCCEEDED)]

    def test_a_failure_goes_on_into_other_runs(self, frontier: Frontier) -> None:
        one = admitted(frontier, shape_of([[]], outputs=[0]))
        two = admitted(frontier, ON_TOP, [(one, 0)])
        leased(frontier)
        assert frontier.handle(Failed(one, 0, 1), 0.0) == [
            Settled(one, [0], State.FAILED),
            Settled(two, [1], State.UPSTREAM_FAILED),
        ]
        three, actions = frontier.admit(ON_TOP, [(two, 1)], False)
        assert actions == [Settled(three, [1], State.UPSTREAM_FAILED)]
        assert two.causes[1] == three.causes[1] == (one.base, 0)

    def test_a_cancelled_future_does_not_stop_another_run(self, frontier: Frontier) -> None:
        one = admitted(frontier, shape_of([[], [0]], outputs=[0, 1]))
        two = admitted(frontier, ON_TOP, [(one, 0)])
        assert frontier.handle(CancelTask(one, 0), 0.0) == [Settled(one, [0, 1], State.CANCELLED)]
        assert states(one) == ["QUEUED", "CANCELLED"]
        assert leased(frontier) == [0]
        frontier.succeeded(one, [0])
        assert states(two) == ["SUCCEEDED", "QUEUED"]
        three, actions = frontier.admit(ON_TOP, [(one, 0)], False)
        assert actions == [Settled(three, [1], State.CANCELLED)]

    def test_cancelling_a_run_ends_what_reads_from_it(self, frontier: Frontier) -> None:
        one = admitted(frontier, shape_of([[]], outputs=[0]))
        two = admitted(frontier, ON_TOP, [(one, 0)])
        assert frontier.handle(CancelRun(one), 0.0) == [
            Settled(one, [0], State.CANCELLED),
            Settled(two, [1], State.CANCELLED),
        ]

    def test_values_held_already_need_no_binding(self, frontier: Frontier) -> None:
        block, actions = frontier.admit(shape_of([[], [], [0]], outputs=[2], externals=2), (), False)
        assert actions == [Freed(block, [1])]
        assert states(block) == ["SUCCEEDED", "RELEASED", "QUEUED"]


class TestLosses:
    def test_a_dead_runner_s_tasks_are_done_again_by_another_attempt(self, frontier: Frontier) -> None:
        block = admitted(frontier, CHAIN)
        assert leased(frontier, 3) == [0, 1, 2]
        assert frontier.handle(RunnerLost([(block, [0, 1, 2])]), 0.0) == []
        assert states(block) == ["QUEUED", "WAITING", "WAITING"]
        assert frontier.succeeded(block, [0], attempt=1).late == [0]
        assert frontier.lease(3) == Lease(block, [0, 1, 2], attempt=2)

    def test_what_kills_its_runners_fails(self, frontier: Frontier) -> None:
        block = admitted(frontier, shape_of([[], [0]], outputs=[1]))
        for _ in range(MAX_DEATHS):
            assert leased(frontier) == [0]
            assert frontier.handle(RunnerLost([(block, [0])], [(block, 0)]), 0.0) == []
        assert leased(frontier) == [0]
        assert frontier.handle(RunnerLost([(block, [0])], [(block, 0)]), 0.0) == [
            Poisoned(block, 0, MAX_DEATHS + 1),
            Settled(block, [1], State.UPSTREAM_FAILED),
        ]

    def test_what_was_not_started_comes_back(self, frontier: Frontier) -> None:
        block = admitted(frontier, CHAIN)
        leased(frontier, 3)
        frontier.succeeded(block, [0])
        assert frontier.handle(Returned(block, [1, 2], 1), 0.0) == []
        assert states(block) == ["SUCCEEDED", "QUEUED", "WAITING"]
        assert frontier.handle(Returned(block, [1, 2], 1), 0.0) == []
        assert leased(frontier, 3) == [1, 2]

    def test_a_lost_value_is_made_again_with_what_it_needs(self, frontier: Frontier) -> None:
        block = admitted(frontier, CHAIN)
        leased(frontier, 3)
        frontier.succeeded(block, [0, 1, 2])
        assert states(block) == ["RELEASED", "RELEASED", "SUCCEEDED"]
        assert frontier.handle(ValuesLost([(block, [2])]), 0.0) == []
        assert states(block) == ["QUEUED", "WAITING", "WAITING"]
        assert frontier.lease(3) == Lease(block, [0, 1, 2], attempt=2)

    def test_a_value_that_was_delivered_is_not_missed_until_it_is_wanted(self, frontier: Frontier) -> None:
        block = admitted(frontier, shape_of([[]], outputs=[0]))
        leased(frontier)
        frontier.succeeded(block, [0])
        frontier.handle(Delivered(block, [0]), 0.0)
        assert frontier.handle(ValuesLost([(block, [0])]), 0.0) == []
        assert states(block) == ["RELEASED"]
        assert frontier.handle(Wanted(block, 0), 0.0) == []
        assert frontier.lease(1) == Lease(block, [0], attempt=2)

    def test_a_value_without_a_recipe_is_lost(self, frontier: Frontier) -> None:
        held, _ = frontier.admit(shape_of([[]], outputs=[0], externals=1), (), False)
        block = admitted(frontier, ON_TOP, [(held, 0)])
        assert frontier.handle(ValuesLost([(held, [0])]), 0.0) == [
            Settled(held, [0], State.LOST),
            Settled(block, [1], State.UPSTREAM_FAILED),
        ]
        assert block.causes[1] == (held.base, 0)

    def test_a_run_is_kept_while_another_may_want_its_value_made_again(self, frontier: Frontier) -> None:
        one = admitted(frontier, shape_of([[]], outputs=[0]))
        two = admitted(frontier, ON_TOP, [(one, 0)])
        leased(frontier)
        frontier.succeeded(one, [0])
        leased(frontier)
        frontier.succeeded(two, [1])
        assert frontier.handle(Dropped(one, [0]), 0.0) == [Freed(one, [0])]
        assert frontier.handle(ValuesLost([(two, [1])]), 0.0) == []
        assert (states(one), states(two)) == (["QUEUED"], ["WAITING", "WAITING"])


ONE = shape_of([[]], outputs=[0])
LINKED = shape_of([[], [0], [1]], outputs=[1], callbacks=[2])


def replaced(frontier: Frontier, block: Block, task: int, shape: Shape, attempt: int = 1) -> Block:
    """Let a task become a plan that has nothing to say at once."""
    new, actions = frontier.replaced(block, task, attempt, shape)
    assert new is not None
    assert actions == []
    return new


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


# The failure of the scope of 1 is 0, which 2 and 3 answer one after the other; 4 is beside all that.
GUARDED = shape_of([[], [], [0], [0, 2], []], [1, 4], 1, [3], scopes=[Scope(0, catch=0)], scope={1: 1})


def guarded(frontier: Frontier, shape: Shape = GUARDED, fail_fast: bool = False) -> Block:
    """Admit a plan whose externals are failures."""
    block, actions = frontier.admit(shape, [None] * shape.externals, fail_fast)
    assert actions == []
    return block


class TestScopes:
    """What answers the failure of a scope runs when it fails, and only then."""

    def test_it_runs_when_the_scope_fails(self, frontier: Frontier) -> None:
        block = guarded(frontier)
        assert leased(frontier, 2) == [1, 4]
        assert block.open == 2
        assert frontier.handle(Failed(block, 1, 1), 0.0) == [
            Settled(block, [1], State.FAILED),
            Caught(block, 0, (block.base, 1)),
        ]
        assert block.open == 3
        assert leased(frontier, 2) == [2, 3]
        assert frontier.succeeded(block, [2, 3]).freed == [0, 2, 3]

    def test_it_keeps_no_run_alive(self, frontier: Frontier) -> None:
        block = guarded(frontier)
        assert leased(frontier, 2) == [1, 4]
        frontier.succeeded(block, [1, 4])
        assert (block.open, block.states()[2]) == (0, State.WAITING)
        assert frontier.handle(Dropped(block, [1, 4]), 0.0) == [Freed(block, [4, 1]), Ended(block)]
        assert frontier.handle(CancelRun(block), 0.0) == []

    def test_a_scope_fails_once(self, frontier: Frontier) -> None:
        both = shape_of([[], [], [], [0]], [1, 2], 1, [3], scopes=[Scope(0, catch=0)], scope={1: 1, 2: 1})
        block = guarded(frontier, both)
        assert leased(frontier, 2) == [1, 2]
        frontier.handle(Failed(block, 1, 1), 0.0)
        assert frontier.handle(Failed(block, 2, 1), 0.0) == [Settled(block, [2], State.FAILED)]
        assert (leased(frontier, 2), block.open) == ([3], 1)

    def test_a_scope_around_it_fails_too_the_inner_one_first(self, frontier: Frontier) -> None:
        scopes = [Scope(0, catch=0), Scope(1, catch=1)]
        block = guarded(frontier, shape_of([[], [], [], [0], [1]], [2], 2, [3, 4], scopes=scopes, scope={2: 2}))
        leased(frontier)
        cause = (block.base, 2)
        assert frontier.handle(Failed(block, 2, 1), 0.0) == [
            Settled(block, [2], State.FAILED),
            Caught(block, 1, cause),
            Caught(block, 0, cause),
        ]
        assert leased(frontier, 2) == [3, 4]

    def test_what_stands_in_several_scopes_fails_them_all(self, frontier: Frontier) -> None:
        scopes = [Scope(0, catch=0), Scope(0, catch=1, given=(2,))]
        block = guarded(frontier, shape_of([[], [], [], [0], [1]], [2], 2, [3, 4], scopes=scopes, scope={2: 1}))
        leased(frontier)
        caught = [action for action in frontier.handle(Failed(block, 2, 1), 0.0) if isinstance(action, Caught)]
        assert [action.entry for action in caught] == [0, 1]

    @pytest.mark.parametrize("end", ["failed above", "cancelled", "run cancelled", "lost"])
    def test_what_ends_otherwise_has_not_failed(self, frontier: Frontier, end: str) -> None:
        held, _ = frontier.admit(shape_of([[]], outputs=[0], externals=1), (), False)
        shape = shape_of([[], [], [], [2], [0, 3], [1]], [4], 2, [5], scopes=[Scope(0, catch=1)], scope={3: 1, 4: 1})
        block, _ = frontier.admit(shape, [(held, 0), None], False)
        assert leased(frontier) == [2]
        if end == "failed above":
            frontier.handle(Failed(block, 2, 1), 0.0)
        elif end == "cancelled":
            frontier.handle(CancelTask(block, 3), 0.0)
        elif end == "run cancelled":
            frontier.handle(CancelRun(block), 0.0)
        else:
            frontier.handle(ValuesLost([(held, [0])]), 0.0)
        assert block.states()[4] in (State.UPSTREAM_FAILED, State.CANCELLED)
        assert block.states()[1] in (State.WAITING, State.CANCELLED)
        assert block.states()[5] in (State.WAITING, State.CANCELLED)

    def test_the_failure_of_what_a_task_has_become_is_its_own(self, frontier: Frontier) -> None:
        block = guarded(frontier)
        leased(frontier, 2)
        new = replaced(frontier, block, 1, ONE)
        leased(frontier)
        assert Caught(block, 0, (new.base, 0)) in frontier.handle(Failed(new, 0, 1), 0.0)
        assert leased(frontier, 2) == [2, 3]

    def test_what_kills_its_runners_fails_its_scope(self, frontier: Frontier) -> None:
        block = guarded(frontier)
        for _ in range(MAX_DEATHS):
            leased(frontier)
            frontier.handle(RunnerLost([(block, [1])], [(block, 1)]), 0.0)
        leased(frontier)
        assert frontier.handle(RunnerLost([(block, [1])], [(block, 1)]), 0.0) == [
            Poisoned(block, 1, MAX_DEATHS + 1),
            Settled(block, [1], State.FAILED),
            Caught(block, 0, (block.base, 1)),
        ]

    def test_it_runs_although_the_run_has_failed_fast(self, frontier: Frontier) -> None:
        block = guarded(frontier, fail_fast=True)
        leased(frontier)
        frontier.handle(Failed(block, 1, 1), 0.0)
        assert states(block) == ["SUCCEEDED", "FAILED", "QUEUED", "WAITING", "CANCELLED"]
        assert leased(frontier, 2) == [2, 3]
        frontier.succeeded(block, [2, 3])
        assert block.open == 0

    def test_and_so_does_what_it_needs(self, frontier: Frontier) -> None:
        needy = shape_of([[], [], [], [2], [], [0, 3]], [1, 3, 4], 1, [5], scopes=[Scope(0, catch=0)], scope={1: 1})
        block = guarded(frontier, needy, fail_fast=True)
        assert leased(frontier) == [1]
        frontier.handle(Failed(block, 1, 1), 0.0)
        assert states(block) == ["SUCCEEDED", "FAILED", "QUEUED", "WAITING", "CANCELLED", "WAITING"]
        assert leased(frontier, 8) == [2, 3, 5]

    def test_one_that_has_not_been_asked_ends_with_what_it_reads(self, frontier: Frontier) -> None:
        scopes = [Scope(0, catch=0)]
        block = guarded(frontier, shape_of([[], [], [], [], [0, 3]], [1, 2], 1, [4], scopes=scopes, scope={2: 1}), True)
        assert leased(frontier) == [1]
        frontier.handle(Failed(block, 1, 1), 0.0)
        assert states(block) == ["CANCELLED", "FAILED", "CANCELLED", "CANCELLED", "CANCELLED"]
        assert block.open == 0

    def test_the_failure_of_a_handler_is_answered_too(self, frontier: Frontier) -> None:
        scopes = [Scope(0, catch=0), Scope(0, catch=1)]
        block = guarded(
            frontier, shape_of([[], [], [], [0], [1]], [2], 2, [3, 4], scopes=scopes, scope={2: 1, 3: 2}), True
        )
        assert leased(frontier) == [2]
        frontier.handle(Failed(block, 2, 1), 0.0)
        assert leased(frontier) == [3]
        assert frontier.handle(Failed(block, 3, 1), 0.0) == [Caught(block, 1, (block.base, 3)), Freed(block, [0])]
        assert leased(frontier) == [4]

    def test_what_a_handler_has_become_runs_on_too(self, frontier: Frontier) -> None:
        block = guarded(frontier, fail_fast=True)
        assert leased(frontier, 2) == [1, 4]
        replaced(frontier, block, 4, ONE)
        frontier.handle(Failed(block, 1, 1), 0.0)
        assert leased(frontier) == [2]
        new = replaced(frontier, block, 2, ONE)
        assert frontier.lease(1) == Lease(new, [0])

    def test_but_not_what_it_would_have_needed(self, frontier: Frontier) -> None:
        reads: list[list[int]] = [[], [], [], [], [], [0, 2, 3]]
        scopes = [Scope(0, catch=0)]
        block = guarded(frontier, shape_of(reads, [4], 1, [1, 2, 3, 5], scopes=scopes, scope={1: 1}), fail_fast=True)
        assert leased(frontier, 2) == [1, 2]
        frontier.handle(Failed(block, 1, 1), 0.0)
        frontier.handle(Failed(block, 2, 1), 0.0)
        assert block.states()[5] is State.UPSTREAM_FAILED
        frontier.handle(Returned(block, leased(frontier), 1), 0.0)
        frontier.handle(CancelTask(block, 4), 0.0)
        assert block.states()[3] is State.CANCELLED

    def test_and_what_it_had_become_before(self, frontier: Frontier) -> None:
        shape = shape_of([[], [], [], [0], []], [1], 1, [2, 3, 4], scopes=[Scope(0, catch=0)], scope={2: 1})
        block = guarded(frontier, shape, fail_fast=True)
        assert leased(frontier, 3) == [1, 2, 4]
        frontier.handle(Failed(block, 2, 1), 0.0)  # nobody has asked for it, so the run goes on
        assert leased(frontier) == [3]
        new = replaced(frontier, block, 3, ONE)
        frontier.handle(Failed(block, 1, 1), 0.0)
        assert states(block) == ["SUCCEEDED", "FAILED", "FAILED", "WAITING", "CANCELLED"]
        assert frontier.lease(1) == Lease(new, [0])

    def test_one_that_waits_for_two_failures_waits_for_both(self, frontier: Frontier) -> None:
        scopes = [Scope(0, catch=0), Scope(0, catch=1)]
        shape = shape_of([[], [], [], [], [0, 1]], [2, 3], 2, [4], scopes=scopes, scope={2: 1, 3: 2})
        block = guarded(frontier, shape)
        assert leased(frontier, 2) == [2, 3]
        frontier.handle(Failed(block, 2, 1), 0.0)
        assert (block.open, leased(frontier)) == (1, [])
        frontier.handle(Failed(block, 3, 1), 0.0)
        assert (block.open, leased(frontier)) == (1, [4])

    def test_one_that_only_waits_for_the_failure(self, frontier: Frontier) -> None:
        shape = shape_of([[], [], [0]], [1], 1, [2], {2: [0]}, scopes=[Scope(0, catch=0)], scope={1: 1})
        assert shape.kinds == bytes([ORDER])
        block = guarded(frontier, shape)
        leased(frontier)
        frontier.handle(Failed(block, 1, 1), 0.0)
        assert leased(frontier) == [2]

    def test_a_failure_is_kept_as_long_as_its_run(self, frontier: Frontier) -> None:
        shape = shape_of([[], [], [0]], [1, 2], 1, [2], scopes=[Scope(0, catch=0)], scope={1: 1})
        block = guarded(frontier, shape)
        leased(frontier)
        frontier.handle(Failed(block, 1, 1), 0.0)
        leased(frontier)
        assert frontier.succeeded(block, [2]).freed == [0]
        frontier.handle(ValuesLost([(block, [2])]), 0.0)
        assert frontier.lease(1) == Lease(block, [2], attempt=2)
        assert frontier.succeeded(block, [2], 2).freed == [0]

    def test_a_failure_that_nobody_asks_for_is_let_go_of(self, frontier: Frontier) -> None:
        block = guarded(frontier, shape_of([[], []], [1], 1, scopes=[Scope(0, catch=0)], scope={1: 1}))
        assert states(block) == ["CANCELLED", "QUEUED"]
        leased(frontier)
        assert frontier.handle(Failed(block, 1, 1), 0.0) == [Settled(block, [1], State.FAILED)]


@pytest.mark.parametrize(
    "late",
    [
        lambda block: Failed(block, 0, 1),
        lambda block: Started(block, 0, 1),
        lambda block: Returned(block, [0], 1),
        lambda block: CancelTask(block, 0),
        lambda block: Wanted(block, 0),
        lambda block: RunnerLost([(block, [0])], [(block, 0)]),
    ],
)
def test_what_comes_too_late_changes_nothing(frontier: Frontier, late: object) -> None:
    block = admitted(frontier, PAIR)
    leased(frontier)
    frontier.succeeded(block, [0])
    event: Event = late(block)  # type: ignore[operator]
    assert frontier.handle(event, 0.0) == []
    assert states(block) == ["SUCCEEDED", "QUEUED"]
    assert frontier.succeeded(block, [0]).late == [0]


def test_lanes_of_lost_runners_go_anywhere() -> None:
    frontier = Frontier(place=lambda block, task: 7)
    block = admitted(frontier, CHAIN)
    leased(frontier)
    frontier.succeeded(block, [0])
    assert (frontier.lease(1), frontier.ready(7), frontier.lanes()) == (None, 1, [-1, 7])
    frontier.close_lane(7)
    assert (leased(frontier, 1), frontier.lanes()) == ([1], [-1])
