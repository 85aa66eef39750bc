"""Time by example: retries, countdowns, etas, expiries, priorities.  Time comes in with every call."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from lazygraph.running.arena import ANYWHERE
from lazygraph.running.block import Block
from lazygraph.running.events import (
    CancelRun,
    CancelTask,
    Delivered,
    Dropped,
    Ended,
    Failed,
    Freed,
    Poisoned,
    Recall,
    Retried,
    Returned,
    RunnerLost,
    Settled,
    Started,
    ValuesLost,
)
from lazygraph.running.frontier import Frontier
from lazygraph.running.lease import Lease
from lazygraph.values.options import RetryPolicy, TaskOptions
from lazygraph.values.status import State
from tests.running.shapes import shape_of
from tests.running.telling import ONE, admitted, leased, replaced, states

TWICE = TaskOptions(retries=RetryPolicy(max_retries=2, delay=10.0, backoff=3.0))
SOON = TaskOptions(countdown=5.0)


def one(frontier: Frontier, row: TaskOptions) -> Block:
    """Admit one task with these options, and a reader of it."""
    return admitted(frontier, shape_of([[], [0]], outputs=[1], said={0: row}))


def eta(wall: float) -> TaskOptions:
    """Not before a moment of the wall clock."""
    return TaskOptions(eta=datetime.fromtimestamp(wall, UTC))


@pytest.fixture
def frontier() -> Frontier:
    return Frontier()


class TestRetries:
    def test_an_attempt_that_fails_is_made_again_after_its_delay(self, frontier: Frontier) -> None:
        block = one(frontier, TWICE)
        assert frontier.lease(8) == Lease(block, [0], attempt=1)
        assert frontier.handle(Failed(block, 0, 1, retry=True), 100.0) == [Retried(block, 0, 1, 10.0)]
        assert (states(block)[0], frontier.next_time(), frontier.lease(8)) == ("RETRYING", 110.0, None)
        assert frontier.tick(109.0) == []
        assert frontier.lease(8) is None
        assert frontier.tick(110.0) == []
        assert frontier.lease(8) == Lease(block, [0], attempt=2)
        assert frontier.next_time() is None
        assert frontier.handle(Failed(block, 0, 2, retry=True), 120.0) == [Retried(block, 0, 2, 30.0)]
        assert frontier.tick(150.0) == []
        assert frontier.lease(8) == Lease(block, [0], attempt=3)
        assert frontier.handle(Failed(block, 0, 3, retry=True), 160.0) == [Settled(block, [1], State.UPSTREAM_FAILED)]
        assert states(block) == ["FAILED", "UPSTREAM_FAILED"]

    def test_without_a_delay_it_is_ready_at_once(self, frontier: Frontier) -> None:
        block = one(frontier, TaskOptions(retries=1))
        assert leased(frontier) == [0]
        assert frontier.handle(Failed(block, 0, 1, retry=True), 3.0) == [Retried(block, 0, 1, 0.0)]
        assert frontier.lease(8) == Lease(block, [0], attempt=2)

    def test_what_was_cancelled_while_it_ran_is_not_made_again(self, frontier: Frontier) -> None:
        block = one(frontier, TWICE)
        assert leased(frontier) == [0]
        frontier.handle(CancelTask(block, 0), 1.0)
        assert states(block)[0] == "LEASED"
        frontier.handle(Failed(block, 0, 1, retry=True), 2.0)
        assert states(block) == ["CANCELLED", "CANCELLED"]
        assert frontier.next_time() is None

    def test_what_does_not_match_fails_at_once(self, frontier: Frontier) -> None:
        block = one(frontier, TWICE)
        assert leased(frontier) == [0]
        assert frontier.handle(Failed(block, 0, 1), 0.0) == [Settled(block, [1], State.UPSTREAM_FAILED)]

    def test_a_node_above_in_the_same_task_is_not_tried_again(self, frontier: Frontier) -> None:
        block = one(frontier, TWICE)
        assert leased(frontier) == [0]
        actions = frontier.handle(Failed(block, 0, 1, above=True, retry=True), 0.0)
        assert not any(isinstance(action, Retried) for action in actions)
        assert states(block)[0] == "UPSTREAM_FAILED"

    def test_the_reader_runs_when_a_retry_has_succeeded(self, frontier: Frontier) -> None:
        block = one(frontier, TaskOptions(retries=1))
        assert leased(frontier) == [0]
        frontier.handle(Failed(block, 0, 1, retry=True), 0.0)
        assert leased(frontier) == [0]
        assert frontier.succeeded(block, [0], 1).late == [0]
        assert frontier.succeeded(block, [0], 2).late == []
        assert leased(frontier) == [1]

    def test_a_task_may_ask_and_say_after_how_long(self, frontier: Frontier) -> None:
        block = one(frontier, TaskOptions(bind=True))
        assert leased(frontier) == [0]
        asked = Failed(block, 0, 1, retry=True, asked=True, countdown=77.0)
        assert frontier.handle(asked, 0.0) == [Retried(block, 0, 1, 77.0)]
        assert frontier.next_time() == 77.0

    def test_after_no_time_is_after_no_time_whatever_the_policy_says(self, frontier: Frontier) -> None:
        block = one(frontier, TWICE)
        assert leased(frontier) == [0]
        asked = Failed(block, 0, 1, retry=True, asked=True, countdown=0.0)
        assert frontier.handle(asked, 0.0) == [Retried(block, 0, 1, 0.0)]
        assert leased(frontier) == [0]

    def test_one_that_asks_without_a_policy_gets_three_more(self, frontier: Frontier) -> None:
        block = one(frontier, TaskOptions(bind=True))
        delays = []
        for attempt in range(1, 5):
            assert leased(frontier) == [0]
            actions = frontier.handle(Failed(block, 0, attempt, retry=True, asked=True), frontier.now)
            delays += [action.delay for action in actions if isinstance(action, Retried)]
            frontier.tick(frontier.now + 100.0)
        assert delays == [1.0, 2.0, 4.0]
        assert states(block)[0] == "FAILED"

    def test_one_that_asks_with_a_policy_has_that_many(self, frontier: Frontier) -> None:
        block = one(frontier, TaskOptions(bind=True, retries=RetryPolicy(max_retries=1, delay=9.0)))
        assert leased(frontier) == [0]
        asked = Failed(block, 0, 1, retry=True, asked=True)
        assert frontier.handle(asked, 0.0) == [Retried(block, 0, 1, 9.0)]
        frontier.tick(9.0)
        assert leased(frontier) == [0]
        assert not any(
            isinstance(a, Retried) for a in frontier.handle(Failed(block, 0, 2, retry=True, asked=True), 9.0)
        )

    @pytest.mark.parametrize(("most", "again"), [(0, False), (5, True)])
    def test_one_that_asks_may_say_how_often(self, frontier: Frontier, most: int, again: bool) -> None:
        block = one(frontier, TWICE)
        assert leased(frontier) == [0]
        frontier.handle(Failed(block, 0, 1, retry=True, asked=True, max_retries=most), 0.0)
        assert states(block)[0] == ("RETRYING" if again else "FAILED")

    def test_lost_runners_use_up_no_retries(self, frontier: Frontier) -> None:
        block = one(frontier, TaskOptions(retries=1))
        assert leased(frontier) == [0]
        frontier.handle(RunnerLost([(block, [0])]), 0.0)
        assert frontier.lease(1) == Lease(block, [0], attempt=2)
        assert frontier.handle(Failed(block, 0, 2, retry=True), 0.0) == [Retried(block, 0, 2, 0.0)]
        assert frontier.lease(1) == Lease(block, [0], attempt=3)
        frontier.handle(Failed(block, 0, 3, retry=True), 0.0)
        assert states(block)[0] == "FAILED"

    def test_jitter_comes_from_the_seed(self) -> None:
        def delays(seed: int) -> list[float]:
            frontier = Frontier(seed=seed)
            row = TaskOptions(retries=RetryPolicy(max_retries=2, delay=8.0, backoff=1.0, jitter=1.0))
            block = admitted(frontier, shape_of([[], []], outputs=[0, 1], said={0: row, 1: row}))
            found = []
            for attempt in (1, 2):
                for _ in range(2):
                    (task,) = leased(frontier)
                    (retried,) = frontier.handle(Failed(block, task, attempt, retry=True), frontier.now)
                    assert isinstance(retried, Retried)
                    found.append(retried.delay)
                frontier.tick(frontier.now + 8.0)
            return found

        assert delays(1) == delays(1)
        assert len({*delays(1), *delays(2)}) == 8

    def test_a_retry_that_waits_can_be_cancelled(self, frontier: Frontier) -> None:
        block = one(frontier, TWICE)
        assert leased(frontier) == [0]
        frontier.handle(Failed(block, 0, 1, retry=True), 0.0)
        assert frontier.handle(CancelTask(block, 0), 1.0) == [Settled(block, [1], State.CANCELLED)]
        assert frontier.next_time() is None

    def test_nobody_wants_it_any_more_so_it_is_not_tried_again(self, frontier: Frontier) -> None:
        block = admitted(frontier, shape_of([[]], outputs=[0], said={0: TWICE}))
        assert leased(frontier) == [0]
        assert frontier.handle(Dropped(block, [0]), 0.0) == []
        actions = frontier.handle(Failed(block, 0, 1, retry=True), 1.0)
        assert actions == [Retried(block, 0, 1, 10.0), Ended(block)]
        assert frontier.next_time() is None

    def test_an_input_that_was_lost_while_it_waited_is_waited_for(self, frontier: Frontier) -> None:
        block = admitted(frontier, shape_of([[], [0]], outputs=[1], said={1: TWICE}))
        assert leased(frontier) == [0]
        frontier.succeeded(block, [0])
        assert leased(frontier) == [1]
        frontier.handle(Failed(block, 1, 1, retry=True), 0.0)
        frontier.handle(ValuesLost([(block, [0])]), 5.0)
        assert states(block) == ["QUEUED", "RETRYING"]
        frontier.tick(10.0)
        assert states(block) == ["QUEUED", "WAITING"]
        assert leased(frontier) == [0]
        frontier.succeeded(block, [0], 2)
        assert frontier.lease(1) == Lease(block, [1], attempt=2)

    def test_attempts_do_not_share_a_lease(self, frontier: Frontier) -> None:
        row = TaskOptions(retries=1)
        block = admitted(frontier, shape_of([[]] * 3, outputs=range(3), said=dict.fromkeys(range(3), row)))
        assert leased(frontier, 8) == [0, 1, 2]
        frontier.succeeded(block, [2])
        frontier.handle(Failed(block, 1, 1, retry=True), 0.0)
        more = admitted(frontier, shape_of([[]], outputs=[0], said={0: row}))
        assert [frontier.lease(8), frontier.lease(8)] == [Lease(block, [1], 2), Lease(more, [0], 1)]


class TestCountdownAndEta:
    def test_a_countdown_counts_from_when_the_inputs_are_there(self, frontier: Frontier) -> None:
        block = admitted(frontier, shape_of([[], [0]], outputs=[1], said={1: SOON}))
        assert leased(frontier, 8) == [0]
        frontier.succeeded(block, [0], 1, 20.0)
        assert (states(block)[1], frontier.next_time()) == ("SCHEDULED", 25.0)
        frontier.tick(24.9)
        assert leased(frontier) == []
        frontier.tick(25.0)
        assert leased(frontier) == [1]
        assert (frontier.next_time(), block.wakes) == (None, {})

    def test_without_inputs_it_counts_from_submission(self, frontier: Frontier) -> None:
        block, _ = frontier.admit(shape_of([[]], outputs=[0], said={0: SOON}), (), False, 100.0)
        assert (states(block), frontier.next_time()) == (["SCHEDULED"], 105.0)

    def test_an_eta_is_a_moment_of_the_wall_clock(self, frontier: Frontier) -> None:
        frontier.wall_ahead = 1_000_000.0
        block = one(frontier, eta(1_000_050.0))
        assert (states(block)[0], frontier.next_time()) == ("SCHEDULED", 50.0)
        frontier.tick(50.0)
        assert leased(frontier) == [0]

    def test_an_eta_that_is_over_holds_nobody_back(self, frontier: Frontier) -> None:
        frontier.wall_ahead = 1_000_000.0
        one(frontier, eta(999_999.0))
        assert leased(frontier) == [0]

    @pytest.mark.parametrize(("moment", "due"), [(3.0, 5.0), (9.0, 9.0)])
    def test_of_both_the_later_holds(self, frontier: Frontier, moment: float, due: float) -> None:
        at = datetime.fromtimestamp(moment, UTC)
        one(frontier, TaskOptions(countdown=5.0, eta=at))
        assert frontier.next_time() == due

    def test_others_go_past(self, frontier: Frontier) -> None:
        admitted(frontier, shape_of([[], [], []], outputs=[0, 1, 2], said={1: SOON}))
        assert leased(frontier, 8) == [0, 2]

    def test_time_never_runs_backwards(self, frontier: Frontier) -> None:
        one(frontier, SOON)
        frontier.tick(5.0)
        frontier.tick(1.0)
        assert frontier.now == 5.0
        assert leased(frontier) == [0]

    def test_cancelled_it_is_not_waited_for(self, frontier: Frontier) -> None:
        block = one(frontier, SOON)
        assert frontier.handle(CancelRun(block), 1.0) == [Settled(block, [1], State.CANCELLED)]
        assert frontier.next_time() is None
        assert frontier.tick(5.0) == []

    @pytest.mark.parametrize("looked", [True, False])
    def test_a_lost_input_takes_it_back_and_the_old_timer_means_nothing(self, frontier: Frontier, looked: bool) -> None:
        block = admitted(frontier, shape_of([[], [0]], outputs=[1], said={1: SOON}))
        leased(frontier)
        frontier.succeeded(block, [0], 1, 0.0)
        frontier.handle(ValuesLost([(block, [0])]), 3.0)
        assert states(block) == ["QUEUED", "WAITING"]
        leased(frontier)
        frontier.succeeded(block, [0], 2, 4.0)
        if looked:
            assert frontier.next_time() == 9.0
        frontier.tick(5.0)
        assert (states(block)[1], frontier.next_time()) == ("SCHEDULED", 9.0)
        frontier.tick(9.0)
        assert leased(frontier) == [1]


class TestExpiry:
    def test_what_has_not_started_ends_expired_and_its_readers_with_it(self, frontier: Frontier) -> None:
        block = one(frontier, TaskOptions(expires=5.0))
        assert frontier.next_time() == 5.0
        assert frontier.tick(4.9) == []
        assert frontier.tick(5.0) == [Settled(block, [1], State.UPSTREAM_FAILED)]
        assert states(block) == ["EXPIRED", "UPSTREAM_FAILED"]
        assert block.causes == {0: (block.base, 0), 1: (block.base, 0)}
        assert (leased(frontier), frontier.next_time()) == ([], None)

    def test_it_counts_from_submission(self, frontier: Frontier) -> None:
        frontier.admit(shape_of([[]], outputs=[0], said={0: TaskOptions(expires=5.0)}), (), False, 100.0)
        assert frontier.next_time() == 105.0

    def test_what_has_become_something_else_has_started(self, frontier: Frontier) -> None:
        block = one(frontier, TaskOptions(expires=5.0))
        assert leased(frontier) == [0]
        replaced(frontier, block, 0, ONE)
        assert frontier.tick(5.0) == []
        assert states(block) == ["WAITING", "WAITING"]

    @pytest.mark.parametrize("reported", [True, False])
    def test_what_has_started_goes_on(self, frontier: Frontier, reported: bool) -> None:
        block = one(frontier, TaskOptions(expires=5.0))
        assert leased(frontier) == [0]
        if reported:
            frontier.handle(Started(block, 0, 1), 1.0)
        assert frontier.tick(5.0) == []
        assert frontier.succeeded(block, [0], 1, 6.0).late == []
        assert leased(frontier) == [1]

    def test_a_date_is_of_the_wall_clock(self, frontier: Frontier) -> None:
        frontier.wall_ahead = 1_000_000.0
        block = one(frontier, TaskOptions(expires=datetime.fromtimestamp(1_000_005.0, UTC)))
        assert frontier.next_time() == 5.0
        assert frontier.tick(5.0) == [Settled(block, [1], State.UPSTREAM_FAILED)]

    @pytest.mark.parametrize("row", [TaskOptions(expires=0.0), TaskOptions(expires=datetime.fromtimestamp(7.0, UTC))])
    def test_what_has_expired_before_it_came_never_starts(self, frontier: Frontier, row: TaskOptions) -> None:
        block, actions = frontier.admit(shape_of([[]], outputs=[0], said={0: row}), (), False, 8.0)
        assert actions == [Settled(block, [0], State.EXPIRED)]
        assert leased(frontier) == []

    @pytest.mark.parametrize("how", ["countdown", "retry", "limit", "inputs"])
    def test_whatever_it_waits_for(self, frontier: Frontier, how: str) -> None:
        more = {"countdown": {"countdown": 9.0}, "limit": {"concurrency": 1}, "retry": {"retries": 1}}.get(how, {})
        row = TaskOptions(expires=5.0, **more)  # type: ignore[arg-type]
        reads = [[], [0]] if how == "inputs" else [[], []]
        other = {0: TaskOptions(concurrency=1)} if how == "limit" else {}
        block = admitted(frontier, shape_of(reads, outputs=[1], callbacks=[0], said={1: row, **other}))
        while leased(frontier):
            pass
        if how == "retry":
            frontier.handle(Failed(block, 1, 1, retry=True, countdown=60.0), 1.0)
        before = {"countdown": "SCHEDULED", "retry": "RETRYING", "limit": "SCHEDULED", "inputs": "WAITING"}[how]
        assert states(block)[1] == before
        assert Settled(block, [1], State.EXPIRED) in frontier.tick(5.0)
        assert states(block)[1] == "EXPIRED"

    @pytest.mark.parametrize("how", ["given back", "lost"])
    def test_it_is_not_handed_out_again_when_it_is_over(self, frontier: Frontier, how: str) -> None:
        block = one(frontier, TaskOptions(expires=5.0))
        assert leased(frontier) == [0]
        frontier.tick(5.0)
        event = Returned(block, [0], 1) if how == "given back" else RunnerLost([(block, [0])])
        assert frontier.handle(event, 6.0) == [Settled(block, [1], State.UPSTREAM_FAILED)]
        assert states(block)[0] == "EXPIRED"

    def test_it_is_not_tried_again_either_and_fails_with_what_it_raised(self, frontier: Frontier) -> None:
        block = one(frontier, TaskOptions(expires=5.0, retries=3))
        assert leased(frontier) == [0]
        assert frontier.handle(Failed(block, 0, 1, retry=True), 5.0) == [Settled(block, [1], State.UPSTREAM_FAILED)]
        assert states(block)[0] == "FAILED"

    def test_only_what_says_so_expires(self, frontier: Frontier) -> None:
        row = TaskOptions(expires=5.0)
        shape = shape_of([[], [], [], []], outputs=range(4), said={0: row, 2: row, 3: TaskOptions(expires=8.0)})
        block = admitted(frontier, shape)
        assert frontier.tick(5.0) == [Settled(block, [0, 2], State.EXPIRED)]
        assert states(block) == ["EXPIRED", "QUEUED", "EXPIRED", "QUEUED"]
        assert frontier.next_time() == 8.0

    def test_a_value_that_was_lost_is_made_again_after_its_expiry(self, frontier: Frontier) -> None:
        block = one(frontier, TaskOptions(expires=5.0))
        assert leased(frontier) == [0]
        frontier.succeeded(block, [0], 1, 1.0)
        frontier.tick(5.0)
        frontier.handle(ValuesLost([(block, [0])]), 6.0)
        assert frontier.lease(1) == Lease(block, [0], attempt=2)

    def test_a_run_that_is_over_expires_no_more(self, frontier: Frontier) -> None:
        block = admitted(frontier, shape_of([[]], outputs=[0], said={0: TaskOptions(expires=5.0)}))
        assert leased(frontier) == [0]
        frontier.succeeded(block, [0], 1, 1.0)
        assert frontier.handle(Dropped(block, [0]), 2.0) == [Freed(block, [0]), Ended(block)]
        assert frontier.next_time() is None


class TestAtMostOnce:
    ROW = TaskOptions(at_most_once=True)

    def test_its_runner_is_lost_and_so_is_it(self, frontier: Frontier) -> None:
        block = one(frontier, self.ROW)
        assert leased(frontier) == [0]
        assert frontier.handle(RunnerLost([(block, [0])], [(block, 0)]), 0.0) == [
            Poisoned(block, 0, 1),
            Settled(block, [1], State.UPSTREAM_FAILED),
        ]
        assert states(block)[0] == "FAILED"

    def test_given_back_it_goes_again(self, frontier: Frontier) -> None:
        block = one(frontier, self.ROW)
        assert leased(frontier) == [0]
        frontier.handle(Returned(block, [0], 1), 0.0)
        assert leased(frontier) == [0]

    def test_a_value_that_is_lost_is_not_made_again(self, frontier: Frontier) -> None:
        block = one(frontier, self.ROW)
        assert leased(frontier) == [0]
        frontier.succeeded(block, [0])
        frontier.handle(ValuesLost([(block, [0])]), 0.0)
        assert leased(frontier) == []
        assert states(block)[1] == "UPSTREAM_FAILED"

    def test_what_somebody_has_got_may_be_lost(self, frontier: Frontier) -> None:
        block = admitted(frontier, shape_of([[]], outputs=[0], said={0: self.ROW}))
        assert leased(frontier) == [0]
        frontier.succeeded(block, [0])
        frontier.handle(Delivered(block, [0]), 0.0)
        assert frontier.handle(ValuesLost([(block, [0])]), 0.0) == []


class TestPriorities:
    def rows(self, *priorities: int) -> dict[int, TaskOptions]:
        return {task: TaskOptions(priority=priority) for task, priority in enumerate(priorities)}

    def test_the_higher_come_first_then_the_order_of_the_graph(self, frontier: Frontier) -> None:
        admitted(frontier, shape_of([[]] * 6, outputs=range(6), said=self.rows(0, 5, -3, 5, 1, 0)))
        order: list[int] = []
        while tasks := leased(frontier, 1):
            order += tasks
        assert order == [1, 3, 4, 0, 5, 2]

    def test_over_all_runs(self, frontier: Frontier) -> None:
        low = admitted(frontier, shape_of([[]] * 2, outputs=[0, 1], said=self.rows(0, -1)))
        high = admitted(frontier, shape_of([[]] * 2, outputs=[0, 1], said=self.rows(1, 0)))
        found = [frontier.lease(1) for _ in range(4)]
        assert found == [Lease(high, [0]), Lease(low, [0]), Lease(high, [1]), Lease(low, [1])]

    def test_different_ones_share_no_lease(self, frontier: Frontier) -> None:
        admitted(frontier, shape_of([[]] * 5, outputs=range(5), said=self.rows(2, 2, 1, 1, 1)))
        assert [leased(frontier, 8), leased(frontier, 8)] == [[0, 1], [2, 3, 4]]

    def test_of_equal_ones_what_was_started_further_inside_comes_first(self, frontier: Frontier) -> None:
        two = shape_of([[]] * 2, outputs=[0, 1], said=self.rows(0, 1))
        blocks = [frontier.admit(two, inside=inside)[0] for inside in (0, 1, 1000, 2)]
        found = [frontier.lease(1) for _ in range(8)]
        order = [blocks[at] for at in (2, 3, 1, 0)]
        assert found == [Lease(block, [task]) for task in (1, 0) for block in order]

    def test_and_so_does_what_becomes_ready_there_later(self, frontier: Frontier) -> None:
        outer = admitted(frontier, shape_of([[]], outputs=[0]))
        inner = frontier.admit(shape_of([[], [0]], outputs=[1]), inside=1)[0]
        assert (frontier.lease(1, most=1), frontier.urgency(ANYWHERE)) == (Lease(inner, [0]), 0)
        frontier.succeeded(inner, [0])
        assert [frontier.lease(1), frontier.lease(1)] == [Lease(inner, [1]), Lease(outer, [0])]

    def test_huge_ones_do_not_hurt(self, frontier: Frontier) -> None:
        admitted(frontier, shape_of([[]] * 3, outputs=range(3), said=self.rows(-(10**30), 0, 10**30)))
        assert [leased(frontier, 1) for _ in range(3)] == [[2], [1], [0]]

    def test_one_that_becomes_ready_later_goes_first(self, frontier: Frontier) -> None:
        shape = shape_of([[], [], [0]], outputs=[1, 2], said={2: TaskOptions(priority=1)})
        block = admitted(frontier, shape)
        assert leased(frontier, 1) == [0]
        frontier.succeeded(block, [0])
        assert [leased(frontier, 1), leased(frontier, 1)] == [[2], [1]]

    def test_what_is_said_in_a_lane_that_is_closed_is_kept(self) -> None:
        frontier = Frontier(lambda block, task: 7)
        admitted(frontier, shape_of([[]] * 3, outputs=range(3), said=self.rows(1, 2, 3)))
        frontier.close_lane(7)
        assert [leased(frontier, 1) for _ in range(3)] == [[2], [1], [0]]

    def test_a_task_that_was_recalled_for_a_more_urgent_one_goes_after_it(self, frontier: Frontier) -> None:
        block = admitted(frontier, shape_of([[]] * 2, outputs=[0, 1]))
        assert leased(frontier, 2) == [0, 1]
        urgent = admitted(frontier, shape_of([[]], outputs=[0], said=self.rows(1)))
        assert frontier.handle(Returned(block, [1], 1), 0.0) == []
        assert [frontier.lease(8), frontier.lease(8)] == [Lease(urgent, [0]), Lease(block, [1])]

    def test_cancelling_what_runs_recalls_it(self, frontier: Frontier) -> None:
        block = admitted(frontier, shape_of([[]], outputs=[0], said=self.rows(1)))
        assert leased(frontier) == [0]
        assert frontier.handle(CancelRun(block), 0.0) == [Recall(block, [0]), Settled(block, [0], State.CANCELLED)]
