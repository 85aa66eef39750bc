"""The Frontier by example: what it answers, whole lists at a time."""

from __future__ import annotations

import pytest

from lazygraph.running.events import (
    CancelRun,
    CancelTask,
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
from lazygraph.values.status import State
from tests.running.shapes import shape_of
from tests.running.telling import CHAIN, DIAMOND, ON_TOP, PAIR, admitted, leased, states


@pytest.fixture
def frontier() -> Frontier:
    return Frontier()


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

    def test_roots_that_wait_for_their_turn_are_counted(self, frontier: Frontier) -> None:
        first, _ = frontier.admit(shape_of([[]] * 5, outputs=range(5)), (), False)
        frontier.admit(shape_of([[]] * 3, outputs=range(3)), (), False)
        counts = [frontier.ready()]
        while leased(frontier, 2):
            counts.append(frontier.ready())
            if len(counts) == 2:
                frontier.handle(CancelRun(first), 0.0)
        assert counts[0] == 8 and counts[-1] == 0
        assert counts == sorted(counts, reverse=True)

    def test_tasks_that_are_not_plain_go_alone(self, frontier: Frontier) -> None:
        admitted(frontier, shape_of([[], [0], [], []], outputs=[1, 2, 3], alone=[2]))
        assert [leased(frontier, 8) for _ in range(4)] == [[0, 1], [2], [3], []]

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

    def test_who_has_dear_leases_may_have_longer_ones(self) -> None:
        assert fitting(1e-6, 10_000, 2, highest=1024) == (1024, 1024)
        assert fitting(1e-6, 1000, 2, highest=1024) == (500, 1024)
        assert fitting(1e-3, 10_000, 2, highest=1024) == (5, 5)


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
