"""Limits by example: permits of one limit, and who may go when several tasks share them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from lazygraph.errors import InvalidOption
from lazygraph.running.arena import ANYWHERE
from lazygraph.running.block import Block
from lazygraph.running.events import CancelRun, CancelTask, Failed, Returned, RunnerLost, Started, ValuesLost
from lazygraph.running.frontier import Frontier
from lazygraph.running.limits import NEVER
from lazygraph.running.limits import Limit as Permits
from lazygraph.running.policy import LimitOf, Window
from lazygraph.values.options import Limit, Rate, TaskOptions
from tests.running.shapes import shape_of
from tests.running.telling import leased, states


def permits(*windows: tuple[int, float], most: int | None = None) -> Permits:
    """A limit of so many starts in so many seconds, and of `most` at once."""
    return Permits(LimitOf(("named", "api"), tuple(Window(*window) for window in windows), most))


def taken(limit: Permits, count: int, now: float) -> None:
    """Give permits to attempts that start at once."""
    for _ in range(count):
        limit.take()
        limit.started(now)


class TestPermits:
    def test_a_window_holds_so_many_starts(self) -> None:
        limit = permits((3, 10.0))
        assert limit.free(0.0) == 3
        taken(limit, 2, 1.0)
        taken(limit, 1, 4.0)
        assert (limit.free(4.0), limit.free_at(4.0)) == (0, 11.0)
        assert (limit.free(10.9), limit.free(11.0), limit.free(14.0)) == (0, 2, 3)

    def test_a_permit_whose_start_is_not_known_comes_free_at_no_time(self) -> None:
        limit = permits((1, 10.0))
        limit.take()
        assert (limit.free(100.0), limit.free_at(100.0)) == (0, NEVER)
        limit.started(100.0)
        assert (limit.free(100.0), limit.free_at(100.0)) == (0, 110.0)
        assert limit.free(110.0) == 1

    def test_the_report_counts_and_not_the_grant(self) -> None:
        limit = permits((2, 10.0))
        limit.take()
        limit.take()
        limit.started(3.0)
        assert limit.free_at(3.0) == 13.0
        limit.started(8.0)
        assert (limit.free(13.0), limit.free_at(13.0)) == (1, 13.0)
        limit.take()
        assert (limit.free(13.0), limit.free_at(13.0)) == (0, 18.0)

    @pytest.mark.parametrize("windows", [((2, 1.0), (3, 60.0)), ((3, 60.0), (2, 1.0))])
    def test_the_slowest_of_several_windows_decides(self, windows: tuple[tuple[int, float], ...]) -> None:
        limit = permits(*windows)
        taken(limit, 2, 0.0)
        assert (limit.free(0.5), limit.free_at(0.5)) == (0, 1.0)
        taken(limit, 1, 1.0)
        assert (limit.free(1.5), limit.free_at(1.5)) == (0, 60.0)
        assert limit.free(60.0) == 2

    def test_a_permit_that_somebody_was_called_for_is_not_the_next(self) -> None:
        limit = permits((2, 10.0))
        taken(limit, 1, 0.0)
        taken(limit, 1, 4.0)
        assert limit.free_at(5.0, called=1) == 14.0
        assert limit.free_at(5.0, called=2) == NEVER

    def test_an_even_rate_spaces_its_starts(self) -> None:
        limit = permits((4, 1.0), (1, 0.25))
        taken(limit, 1, 0.0)
        assert (limit.free(0.1), limit.free_at(0.1), limit.free(0.25)) == (0, 0.25, 1)

    def test_so_many_at_once(self) -> None:
        limit = permits(most=2)
        taken(limit, 2, 0.0)
        assert (limit.free(5.0), limit.free_at(5.0)) == (0, NEVER)
        limit.ended()
        assert (limit.free(5.0), limit.free_at(5.0)) == (1, 5.0)

    def test_so_many_at_once_and_so_many_a_window(self) -> None:
        limit = permits((3, 10.0), most=1)
        taken(limit, 1, 0.0)
        assert (limit.free(1.0), limit.free_at(1.0)) == (0, NEVER)
        limit.ended()
        assert limit.free(1.0) == 1
        for now in (1.0, 2.0):
            taken(limit, 1, now)
            limit.ended()
        assert (limit.free(2.0), limit.free_at(2.0)) == (0, 10.0)

    def test_a_permit_that_was_not_used_is_as_if_it_had_not_been_given(self) -> None:
        limit = permits((1, 10.0), most=1)
        limit.take()
        limit.given_back()
        assert (limit.free(0.0), limit.free_at(0.0), limit.idle(0.0)) == (1, 0.0, True)

    def test_it_is_idle_when_nothing_counts_any_more(self) -> None:
        limit = permits((2, 10.0))
        assert limit.idle(0.0)
        limit.take()
        assert not limit.idle(0.0)
        limit.started(1.0)
        limit.ended()
        assert (limit.idle(10.9), limit.idle(11.0)) == (False, True)


# -- tasks ---------------------------------------------------------------------------------------------

ONE_A_SECOND = TaskOptions(rate_limit="1/s", limited_as="fetch")
TWO_A_SECOND = TaskOptions(rate_limit="2/s", limited_as="fetch")
ONE_AT_ONCE = TaskOptions(concurrency=1, limited_as="fetch")


def admitted(frontier: Frontier, said: Mapping[int, TaskOptions], tasks: int = 0, now: float = 0.0) -> Block:
    """Admit independent tasks of which these have options."""
    tasks = tasks or max(said) + 1
    shape = shape_of([[]] * tasks, outputs=range(tasks), said=said)
    block, actions = frontier.admit(shape, (), False, now)
    assert actions == []
    return block


def begun(frontier: Frontier, block: Block, task: int, now: float, attempt: int = 1) -> None:
    """A runner reports that it has begun."""
    assert frontier.handle(Started(block, task, attempt), now) == []


def done(frontier: Frontier, block: Block, task: int, now: float, attempt: int = 1) -> None:
    """A runner reports that it is done."""
    assert frontier.succeeded(block, [task], attempt, now).outputs == [task]


def granted(frontier: Frontier) -> list[int]:
    """Lease until nothing is left; return all the tasks."""
    tasks: list[int] = []
    while lease := frontier.lease(8):
        tasks += lease.tasks
    return tasks


@pytest.fixture
def frontier() -> Frontier:
    return Frontier()


class TestRates:
    def test_a_burst_goes_and_the_rest_waits_without_a_lease(self, frontier: Frontier) -> None:
        block = admitted(frontier, dict.fromkeys(range(4), TWO_A_SECOND))
        assert granted(frontier) == [0, 1]
        assert states(block) == ["LEASED", "LEASED", "SCHEDULED", "SCHEDULED"]
        assert frontier.next_time() is None  # it is not known when they began
        begun(frontier, block, 0, 0.25)
        begun(frontier, block, 1, 0.5)
        assert frontier.next_time() == 1.25
        assert frontier.tick(1.0) == []
        assert granted(frontier) == []
        assert frontier.tick(1.25) == []
        assert granted(frontier) == [2]
        assert frontier.next_time() == 1.5
        assert frontier.tick(1.5) == []
        assert granted(frontier) == [3]
        assert frontier.next_time() is None

    def test_a_start_nobody_reported_counts_from_the_end(self, frontier: Frontier) -> None:
        block = admitted(frontier, dict.fromkeys(range(2), ONE_A_SECOND))
        assert granted(frontier) == [0]
        done(frontier, block, 0, 5.0)
        assert (granted(frontier), frontier.next_time()) == ([], 6.0)
        frontier.tick(6.0)
        assert granted(frontier) == [1]

    def test_a_start_counts_once_however_often_it_is_reported(self, frontier: Frontier) -> None:
        block = admitted(frontier, dict.fromkeys(range(3), TWO_A_SECOND))
        assert granted(frontier) == [0, 1]
        for now in (0.0, 0.5, 0.75):
            begun(frontier, block, 0, now)
        done(frontier, block, 0, 0.9)
        assert frontier.next_time() == 1.0
        frontier.tick(1.0)
        assert granted(frontier) == [2]

    def test_an_attempt_that_fails_counts_too(self, frontier: Frontier) -> None:
        block = admitted(frontier, dict.fromkeys(range(2), ONE_A_SECOND))
        assert granted(frontier) == [0]
        begun(frontier, block, 0, 0.0)
        frontier.handle(Failed(block, 0, 1), 0.5)
        assert (granted(frontier), frontier.next_time()) == ([], 1.0)

    def test_retries_count_too(self, frontier: Frontier) -> None:
        block = admitted(frontier, {0: TaskOptions(retries=1, rate_limit="1/s")})
        assert granted(frontier) == [0]
        begun(frontier, block, 0, 0.0)
        frontier.handle(Failed(block, 0, 1, retry=True), 0.25)
        assert (granted(frontier), states(block), frontier.next_time()) == ([], ["SCHEDULED"], 1.0)
        frontier.tick(1.0)
        assert granted(frontier) == [0]
        assert block.attempt(0) == 2

    def test_what_is_given_back_does_not_count(self, frontier: Frontier) -> None:
        block = admitted(frontier, dict.fromkeys(range(2), ONE_A_SECOND))
        assert granted(frontier) == [0]
        frontier.handle(Returned(block, [0], 1), 0.5)
        assert granted(frontier) == [0]

    def test_what_is_given_back_although_it_had_begun_counts(self, frontier: Frontier) -> None:
        block = admitted(frontier, dict.fromkeys(range(2), TWO_A_SECOND))
        assert granted(frontier) == [0, 1]
        begun(frontier, block, 0, 0.25)
        frontier.handle(Returned(block, [0], 1), 0.5)
        begun(frontier, block, 1, 0.5)
        assert (granted(frontier), frontier.next_time()) == ([], 1.25)

    def test_what_a_dead_runner_had_counts_for_one_window_more(self, frontier: Frontier) -> None:
        block = admitted(frontier, {0: ONE_A_SECOND})
        assert granted(frontier) == [0]
        frontier.handle(RunnerLost([(block, [0])]), 7.0)
        assert (granted(frontier), frontier.next_time()) == ([], 8.0)
        frontier.tick(8.0)
        assert granted(frontier) == [0]

    def test_several_rates_hold_together(self, frontier: Frontier) -> None:
        row = TaskOptions(rate_limit=("2/s", "3/m"))
        block = admitted(frontier, dict.fromkeys(range(5), row))
        starts: list[float] = []
        while len(starts) < 5:
            for task in granted(frontier):
                starts.append(frontier.now)
                begun(frontier, block, task, frontier.now)
                done(frontier, block, task, frontier.now)
            due = frontier.next_time()
            if due is not None:
                frontier.tick(due)
        assert starts == [0.0, 0.0, 1.0, 60.0, 60.0]

    def test_an_even_rate_has_no_bursts(self, frontier: Frontier) -> None:
        row = TaskOptions(rate_limit=Rate("4/s", even=True))
        block = admitted(frontier, dict.fromkeys(range(3), row))
        assert granted(frontier) == [0]
        begun(frontier, block, 0, 0.0)
        assert frontier.next_time() == 0.25

    def test_tasks_without_a_limit_go_past(self, frontier: Frontier) -> None:
        block = admitted(frontier, dict.fromkeys((0, 1, 2), ONE_A_SECOND), tasks=5)
        assert [leased(frontier, 8) for _ in range(3)] == [[0], [3, 4], []]
        assert states(block) == ["LEASED", "SCHEDULED", "SCHEDULED", "LEASED", "LEASED"]

    def test_one_rate_holds_over_all_runs(self, frontier: Frontier) -> None:
        first, second = admitted(frontier, {0: ONE_A_SECOND}), admitted(frontier, {0: ONE_A_SECOND})
        assert frontier.lease(8) is not None
        assert frontier.lease(8) is None
        begun(frontier, first, 0, 0.0)
        frontier.tick(1.0)
        lease = frontier.lease(8)
        assert lease is not None
        assert lease.block is second

    def test_those_who_wait_go_by_priority_then_in_order(self, frontier: Frontier) -> None:
        urgent = TaskOptions(rate_limit="1/s", limited_as="fetch", priority=1)
        block = admitted(frontier, {0: ONE_A_SECOND, 1: ONE_A_SECOND, 2: ONE_A_SECOND, 3: urgent})
        assert granted(frontier) == [3]
        begun(frontier, block, 3, 0.0)
        last = admitted(frontier, {0: urgent})
        assert granted(frontier) == []
        order = []
        for second in (1.0, 2.0, 3.0, 4.0):
            frontier.tick(second)
            lease = frontier.lease(8)
            assert lease is not None
            begun(frontier, lease.block, lease.tasks[0], second)
            order.append((lease.block, lease.tasks[0]))
        assert order == [(last, 0), (block, 0), (block, 1), (block, 2)]


class TestAtOnce:
    def test_so_many_run_and_the_rest_waits_without_a_lease(self, frontier: Frontier) -> None:
        row = TaskOptions(concurrency=2)
        block = admitted(frontier, dict.fromkeys(range(4), row))
        assert granted(frontier) == [0, 1]
        assert states(block)[2:] == ["SCHEDULED", "SCHEDULED"]
        done(frontier, block, 1, 1.0)
        assert granted(frontier) == [2]
        done(frontier, block, 0, 2.0)
        assert granted(frontier) == [3]
        assert (frontier.next_time(), block.parked) == (None, {})

    @pytest.mark.parametrize("ending", ["fails", "is given back", "is lost"])
    def test_whatever_becomes_of_an_attempt_its_place_is_free(self, frontier: Frontier, ending: str) -> None:
        block = admitted(frontier, dict.fromkeys(range(2), ONE_AT_ONCE))
        assert granted(frontier) == [0]
        begun(frontier, block, 0, 0.0)
        if ending == "fails":
            frontier.handle(Failed(block, 0, 1), 1.0)
            assert granted(frontier) == [1]
        else:
            event = Returned(block, [0], 1) if ending == "is given back" else RunnerLost([(block, [0])])
            frontier.handle(event, 1.0)
            assert granted(frontier) == [0]
            done(frontier, block, 0, 2.0, block.attempt(0))
            assert granted(frontier) == [1]

    def test_what_was_cancelled_has_its_place_until_it_has_left(self, frontier: Frontier) -> None:
        block = admitted(frontier, dict.fromkeys(range(2), ONE_AT_ONCE))
        other = admitted(frontier, {0: ONE_AT_ONCE})
        assert granted(frontier) == [0]
        frontier.handle(CancelRun(block), 0.0)
        assert granted(frontier) == []
        assert frontier.succeeded(block, [0], 1, 1.0).late == [0]
        lease = frontier.lease(1)
        assert lease is not None
        assert lease.block is other

    def test_a_retry_that_waits_has_no_place(self, frontier: Frontier) -> None:
        block = admitted(frontier, {0: TaskOptions(retries=1, concurrency=1, limited_as="f"), 1: TaskOptions()})
        assert granted(frontier) == [0, 1]
        frontier.handle(Failed(block, 0, 1, retry=True, countdown=60.0), 0.0)
        more = admitted(frontier, {0: TaskOptions(concurrency=1, limited_as="f")})
        lease = frontier.lease(1)
        assert lease is not None
        assert lease.block is more

    def test_a_place_whose_task_is_cancelled_before_it_is_handed_out_goes_to_the_next(self, frontier: Frontier) -> None:
        block = admitted(frontier, dict.fromkeys(range(3), ONE_AT_ONCE))
        assert granted(frontier) == [0]
        done(frontier, block, 0, 0.0)  # now 1 may go
        frontier.handle(CancelTask(block, 1), 0.0)
        assert granted(frontier) == [2]

    def test_nobody_is_woken_for_a_place_that_another_was_woken_for(self, frontier: Frontier) -> None:
        block = admitted(frontier, dict.fromkeys(range(4), ONE_AT_ONCE))
        assert granted(frontier) == [0]
        done(frontier, block, 0, 0.0)
        assert states(block) == ["SUCCEEDED", "QUEUED", "SCHEDULED", "SCHEDULED"]
        assert frontier.next_time() is None


class TestSeveralLimits:
    def test_a_task_waits_for_all_of_its_limits(self, frontier: Frontier) -> None:
        api = Limit("api", concurrency=1)
        both = TaskOptions(limit=api, rate_limit="1/s", limited_as="f")
        block = admitted(frontier, {0: both, 1: both})
        assert granted(frontier) == [0]
        begun(frontier, block, 0, 0.0)
        frontier.tick(5.0)
        assert granted(frontier) == []  # the rate would let it go
        done(frontier, block, 0, 5.0)
        assert granted(frontier) == [1]

    def test_a_place_that_one_cannot_use_goes_to_another_who_can(self, frontier: Frontier) -> None:
        api, disk = Limit("api", concurrency=1), Limit("disk", concurrency=1)
        both, only = TaskOptions(concurrency=1, limited_as="f", limit=api), TaskOptions(limit=api)
        block = admitted(frontier, {0: only, 1: TaskOptions(concurrency=1, limited_as="f"), 2: both, 3: only})
        assert granted(frontier) == [0, 1]  # 2 waits for f, 3 for api
        done(frontier, block, 0, 1.0)
        assert granted(frontier) == [3]
        done(frontier, block, 1, 1.0)
        assert granted(frontier) == []
        done(frontier, block, 3, 1.0)
        assert granted(frontier) == [2]
        del disk

    def test_a_place_that_was_kept_for_one_who_must_wait_elsewhere_is_passed_on(self, frontier: Frontier) -> None:
        api, disk = Limit("api", concurrency=1), Limit("disk", concurrency=1)
        both = TaskOptions(concurrency=1, limited_as="f", limit=api)
        rows = {0: both, 1: both, 2: TaskOptions(concurrency=1, limited_as="f"), 3: TaskOptions(limit=disk)}
        block = admitted(frontier, rows)
        assert granted(frontier) == [0, 3]
        taker = admitted(frontier, {0: TaskOptions(limit=api)})
        assert granted(frontier) == []
        done(frontier, block, 0, 1.0)  # f and api are free: 1 may go, and whoever waits for api
        first = frontier.lease(1)
        second = frontier.lease(1)
        assert first is not None
        assert (first.block, first.tasks) == (block, [1])
        assert second is None
        frontier.handle(Failed(block, 1, 1), 2.0)
        assert [frontier.lease(1), frontier.lease(1)] != [None, None]
        assert states(taker) == ["LEASED"]
        assert states(block)[2] == "LEASED"

    @pytest.mark.parametrize("taken", ["f", "api"])
    def test_when_one_of_them_is_snatched_away_the_other_is_passed_on(self, frontier: Frontier, taken: str) -> None:
        api = Limit("api", concurrency=1)
        both = TaskOptions(concurrency=1, limited_as="f", limit=api)
        rows = {"f": TaskOptions(concurrency=1, limited_as="f"), "api": TaskOptions(limit=api)}
        block = admitted(frontier, {0: both, 1: both, 2: rows["api" if taken == "f" else "f"]})
        assert granted(frontier) == [0]
        done(frontier, block, 0, 1.0)  # 1 is called
        urgent = admitted(frontier, {0: replace(rows[taken], priority=9)})
        lease = frontier.lease(8)
        assert lease is not None
        assert lease.block is urgent
        assert granted(frontier) == [2]  # 1 waits again, and so does not need the other

    def test_of_several_lines_the_most_urgent_goes_first(self, frontier: Frontier) -> None:
        api = Limit("api", concurrency=1)
        only = TaskOptions(limit=api)
        block = admitted(frontier, {0: only, 1: TaskOptions(concurrency=1, limited_as="f", limit=api)})
        assert granted(frontier) == [0]
        urgent = admitted(frontier, {0: replace(only, priority=9)})
        assert granted(frontier) == []
        done(frontier, block, 0, 1.0)
        assert getattr(frontier.lease(8), "block", None) is urgent
        assert granted(frontier) == []

    def test_whom_nobody_takes_holds_up_no_other(self) -> None:
        frontier = Frontier(lambda block, task: 7 if block.shape.option[task] == 2 else ANYWHERE)
        api = Limit("api", concurrency=1)
        rows = [TaskOptions(limit=api), TaskOptions(limit=api, queue="rare"), TaskOptions(limit=api)]
        block = admitted(frontier, dict(enumerate(rows)))
        assert granted(frontier) == [0]
        done(frontier, block, 0, 1.0)
        assert granted(frontier) == [2]

    def test_limits_that_are_due_together_are_seen_to_together(self, frontier: Frontier) -> None:
        rows = [TaskOptions(rate_limit="1/s", limited_as=name) for name in ("f", "f", "g", "g")]
        block = admitted(frontier, dict(enumerate(rows)))
        assert granted(frontier) == [0, 2]
        begun(frontier, block, 0, 0.0)
        begun(frontier, block, 2, 0.0)
        frontier.tick(1.0)
        assert states(block) == ["RUNNING", "QUEUED", "RUNNING", "QUEUED"]

    def test_permits_that_come_together_are_given_together(self, frontier: Frontier) -> None:
        block = admitted(frontier, dict.fromkeys(range(5), TWO_A_SECOND))
        assert granted(frontier) == [0, 1]
        begun(frontier, block, 0, 0.0)
        begun(frontier, block, 1, 0.0)
        frontier.tick(1.0)
        assert states(block) == ["RUNNING", "RUNNING", "QUEUED", "QUEUED", "SCHEDULED"]

    def test_a_named_limit_is_shared_by_different_functions_and_runs(self, frontier: Frontier) -> None:
        api = Limit("api", rate="1/s")
        first = admitted(frontier, {0: TaskOptions(limit=api, limited_as="read")})
        second = admitted(frontier, {0: TaskOptions(limit=api, limited_as="write")})
        assert granted(frontier) == [0]
        assert (states(first), states(second)) == (["LEASED"], ["SCHEDULED"])


class TestNames:
    SLOW, FAST = Limit("api", rate="1/s"), Limit("api", rate="9/s", concurrency=4)

    def test_one_name_is_one_limit(self, frontier: Frontier) -> None:
        admitted(frontier, {0: TaskOptions(limit=self.SLOW)})
        assert granted(frontier) == [0]
        with pytest.raises(InvalidOption, match=r"Limit\('api'\) is 9 in 1 s and 4 at once here, and 1 in 1 s for"):
            admitted(frontier, {0: TaskOptions(limit=self.FAST)})

    def test_also_within_one_plan(self, frontier: Frontier) -> None:
        with pytest.raises(InvalidOption, match=r"Limit\('api'\)"):
            admitted(frontier, {0: TaskOptions(limit=self.SLOW), 1: TaskOptions(limit=self.FAST)})

    def test_also_while_nothing_that_names_it_has_begun(self, frontier: Frontier) -> None:
        shape = shape_of([[], [0]], outputs=[1], said={1: TaskOptions(limit=self.SLOW)})
        frontier.admit(shape, (), False, 0.0)
        with pytest.raises(InvalidOption, match=r"Limit\('api'\)"):
            admitted(frontier, {0: TaskOptions(limit=self.FAST)})

    def test_a_plan_that_was_refused_leaves_nothing_behind(self, frontier: Frontier) -> None:
        with pytest.raises(InvalidOption):
            admitted(frontier, {0: TaskOptions(limit=self.SLOW), 1: TaskOptions(limit=self.FAST)})
        assert frontier.blocks == {}
        admitted(frontier, {0: TaskOptions(limit=self.FAST)})
        assert granted(frontier) == [0]

    def test_when_its_last_window_is_over_a_name_may_mean_something_else(self, frontier: Frontier) -> None:
        block = admitted(frontier, {0: TaskOptions(limit=self.SLOW)})
        assert granted(frontier) == [0]
        done(frontier, block, 0, 1.0)
        with pytest.raises(InvalidOption):
            admitted(frontier, {0: TaskOptions(limit=self.FAST)}, now=1.9)
        admitted(frontier, dict.fromkeys(range(5), TaskOptions(limit=self.FAST)), now=2.0)
        assert granted(frontier) == [0, 1, 2, 3]


def test_who_stood_in_a_line_before_an_input_was_lost_does_not_skip_a_countdown(frontier: Frontier) -> None:
    rows = {0: ONE_AT_ONCE, 2: replace(ONE_AT_ONCE, countdown=5.0)}
    block, _ = frontier.admit(shape_of([[], [], [1]], outputs=[0, 2], said=rows), (), False, 0.0)
    assert granted(frontier) == [0, 1]
    frontier.succeeded(block, [1], 1, 0.0)
    frontier.tick(5.0)
    assert granted(frontier) == []  # it waits for the permit
    frontier.handle(ValuesLost([(block, [1])]), 5.0)
    assert granted(frontier) == [1]
    frontier.succeeded(block, [1], 2, 6.0)
    done(frontier, block, 0, 7.0)
    assert (states(block)[2], granted(frontier)) == ("SCHEDULED", [])
    frontier.tick(11.0)
    assert granted(frontier) == [2]
