"""What an option row means: windows of rates, delays of retries, who goes alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from lazygraph.running.policy import LimitOf, Where, Window, delay_of, policy_of, windows_of
from lazygraph.values.options import DEFAULT, Limit, Rate, RetryPolicy, TaskOptions

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


class TestWindows:
    @pytest.mark.parametrize(
        ("rate", "windows"),
        [
            ("10/s", (Window(10, 1.0),)),
            ("600/m", (Window(600, 60.0),)),
            ("1000/h", (Window(1000, 3600.0),)),
            ("5000/d", (Window(5000, 86400.0),)),
            ("1/s", (Window(1, 1.0),)),
            ("2.5/s", (Window(2, 1.0),)),  # never more than is said
            ("0.5/s", (Window(1, 2.0),)),
            ("0.5/m", (Window(1, 120.0),)),
            (Rate("10/s"), (Window(10, 1.0),)),
            (Rate("4/s", even=True), (Window(4, 1.0), Window(1, 0.25))),
            (Rate("2.5/s", even=True), (Window(2, 1.0), Window(1, 0.4))),
            (Rate("1/s", even=True), (Window(1, 1.0),)),
            (Rate("1.5/s", even=True), (Window(1, 1.0),)),
            (Rate("0.5/s", even=True), (Window(1, 2.0),)),
        ],
    )
    def test_of_a_rate(self, rate: Rate | str, windows: tuple[Window, ...]) -> None:
        assert windows_of(rate) == windows

    def test_several_rates_are_one_limit_of_several_windows(self) -> None:
        row = TaskOptions(rate_limit=("10/s", "1000/h"), limited_as="app.fetch")
        (limit,) = policy_of(row).limits
        assert limit == LimitOf(limit.key, (Window(10, 1.0), Window(1000, 3600.0)), None)

    def test_a_rate_and_a_number_at_once_are_one_limit(self) -> None:
        (limit,) = policy_of(TaskOptions(rate_limit="10/s", concurrency=4)).limits
        assert (limit.windows, limit.most) == ((Window(10, 1.0),), 4)

    def test_the_calls_of_one_function_share_its_limit_and_others_do_not(self) -> None:
        rows = [
            TaskOptions(concurrency=4, limited_as="app.fetch"),
            TaskOptions(concurrency=4, limited_as="app.fetch", priority=3),
            TaskOptions(concurrency=4, limited_as="app.store"),
            TaskOptions(rate_limit="4/s", limited_as="app.fetch"),
            TaskOptions(rate_limit="5/s", limited_as="app.fetch"),
            TaskOptions(concurrency=5, limited_as="app.fetch"),
        ]
        first, same, *others = [policy_of(row).limits[0].key for row in rows]
        assert first == same
        assert len({first, *others}) == 5

    def test_a_named_limit_is_shared_by_its_name_and_comes_on_top(self) -> None:
        api = Limit("api", rate="10/s", concurrency=4)
        (named,) = policy_of(TaskOptions(limit=api, limited_as="app.fetch")).limits
        assert named == LimitOf(("named", "api"), (Window(10, 1.0),), 4)
        own, shared = policy_of(TaskOptions(limit=api, concurrency=2)).limits
        assert (own.most, own.windows, shared) == (2, (), named)

    def test_a_named_limit_may_be_a_number_only(self) -> None:
        assert policy_of(TaskOptions(limit=Limit("api", concurrency=4))).limits == (LimitOf(("named", "api"), (), 4),)


class TestDelays:
    def test_nothing_said_is_no_delay(self) -> None:
        assert delay_of(RetryPolicy(), 0, 0) == 0.0
        assert delay_of(RetryPolicy(jitter=1.0), 5, 7) == 0.0
        assert delay_of(RetryPolicy(backoff=1e200), 9, 0) == 0.0

    def test_each_delay_is_the_one_before_times_the_backoff(self) -> None:
        policy = RetryPolicy(delay=1.0, backoff=2.0)
        assert [delay_of(policy, before, 0) for before in range(5)] == [1.0, 2.0, 4.0, 8.0, 16.0]

    def test_a_backoff_of_one_keeps_the_delay(self) -> None:
        assert [delay_of(RetryPolicy(delay=3.0, backoff=1.0), before, 0) for before in (0, 1, 100)] == [3.0, 3.0, 3.0]

    def test_no_delay_is_longer_than_the_longest(self) -> None:
        policy = RetryPolicy(delay=1.0, backoff=10.0, max_delay=50.0)
        assert [delay_of(policy, before, 0) for before in range(4)] == [1.0, 10.0, 50.0, 50.0]

    @pytest.mark.parametrize("backoff", [2.0, 3, 1e6, 1e200])
    def test_after_a_thousand_retries_it_is_the_longest(self, backoff: float) -> None:
        assert delay_of(RetryPolicy(max_retries=2000, delay=1.0, backoff=backoff), 1000, 0) == 600.0

    def test_a_slow_backoff_reaches_the_longest_too(self) -> None:
        policy = RetryPolicy(delay=1.0, backoff=1.1, max_delay=600.0)
        assert delay_of(policy, 66, 0) < 600.0
        assert delay_of(policy, 68, 0) == 600.0

    def test_jitter_takes_a_part_of_the_delay_away(self) -> None:
        policy = RetryPolicy(delay=8.0, backoff=1.0, jitter=0.25)
        delays = [delay_of(policy, 0, seed) for seed in range(2000)]
        assert all(6.0 <= delay <= 8.0 for delay in delays)
        assert min(delays) < 6.05
        assert max(delays) > 7.95
        assert abs(sum(delays) / len(delays) - 7.0) < 0.05

    def test_full_jitter_spreads_over_the_whole_delay(self) -> None:
        delays = [delay_of(RetryPolicy(delay=1.0, jitter=1.0), 0, seed) for seed in range(2000)]
        tenths = [sum(one <= delay * 10 < one + 1 for delay in delays) for one in range(10)]
        assert all(140 < count < 260 for count in tenths)

    def test_one_seed_is_one_delay(self) -> None:
        policy = RetryPolicy(delay=1.0, jitter=0.5)
        assert delay_of(policy, 2, 41) == delay_of(policy, 2, 41)
        assert delay_of(policy, 2, 41) != delay_of(policy, 2, 42)

    @pytest.mark.parametrize("seed", [0, -1, 2**63, -(2**63), 2**64 - 1])
    def test_any_seed_will_do(self, seed: int) -> None:
        assert 0.0 < delay_of(RetryPolicy(delay=1.0, jitter=1.0), 0, seed) <= 1.0


class TestPolicies:
    def test_the_row_that_says_nothing(self) -> None:
        policy = policy_of(DEFAULT)
        assert policy.retries.max_retries == 0
        assert (policy.priority, policy.countdown, policy.eta) == (0, 0.0, None)
        assert (policy.expires, policy.expires_at, policy.where, policy.limits) == (None, None, None, ())
        assert (policy.at_most_once, policy.isolated, policy.timeout, policy.alone) == (False, False, None, False)

    def test_a_number_of_retries_is_a_policy_without_delay(self) -> None:
        assert policy_of(TaskOptions(retries=3)).retries == RetryPolicy(max_retries=3, delay=0.0)
        kept = RetryPolicy(max_retries=7, on=(OSError,), delay=2.0)
        assert policy_of(TaskOptions(retries=kept)).retries is kept

    @pytest.mark.parametrize(
        "row",
        [
            TaskOptions(rate_limit="1/s"),
            TaskOptions(concurrency=1),
            TaskOptions(limit=Limit("api", concurrency=1)),
            TaskOptions(isolated=True),
            TaskOptions(timeout=3.0),
            TaskOptions(resources=(("gpu", 1.0),)),
            TaskOptions(at_most_once=True),
            TaskOptions(expires=10.0),
            TaskOptions(expires=NOON),
        ],
        ids=lambda row: ", ".join(row.asked()),
    )
    def test_who_shares_no_lease(self, row: TaskOptions) -> None:
        assert policy_of(row).alone

    @pytest.mark.parametrize(
        "row",
        [
            TaskOptions(retries=3),
            TaskOptions(priority=1),
            TaskOptions(countdown=1.0),
            TaskOptions(eta=NOON),
            TaskOptions(queue="high"),
            TaskOptions(workers=("one",)),
            TaskOptions(bind=True),
        ],
        ids=lambda row: ", ".join(row.asked()),
    )
    def test_who_may_share_a_lease(self, row: TaskOptions) -> None:
        assert not policy_of(row).alone

    def test_a_timeout_needs_a_process_of_its_own(self) -> None:
        assert policy_of(TaskOptions(timeout=3.0)).isolated
        assert policy_of(TaskOptions(isolated=True)).timeout is None

    def test_times_are_seconds(self) -> None:
        policy = policy_of(TaskOptions(countdown=2, eta=NOON, expires=7))
        assert (policy.countdown, policy.eta, policy.expires, policy.expires_at) == (2, NOON.timestamp(), 7, None)
        dated = policy_of(TaskOptions(expires=NOON + timedelta(seconds=1)))
        assert (dated.expires, dated.expires_at) == (None, NOON.timestamp() + 1)

    def test_a_place_is_a_queue_or_workers_or_resources(self) -> None:
        assert policy_of(TaskOptions(queue="high")).where == Where("high", (), ())
        assert policy_of(TaskOptions(workers=("one",))).where == Where("default", ("one",), ())
        assert policy_of(TaskOptions(resources=(("gpu", 1.0),))).where == Where("default", (), (("gpu", 1.0),))
        assert policy_of(TaskOptions(priority=3)).where is None
