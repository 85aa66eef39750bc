"""Ten tests of a little workflow, as a user of the plugin writes them."""

import random

import pytest

from lazygraph import RetryPolicy, chord, delayed, group

HOUR = 3600.0


@delayed(retries=RetryPolicy(max_retries=2, on=(OSError,), delay=HOUR, max_delay=24 * HOUR))
def load(name):
    return [len(name), len(name) + 1]


@delayed
def clean(numbers):
    return [number for number in numbers if number % 2]


@delayed
def total(parts):
    return sum(sum(part) for part in parts)


@delayed
def shuffle(numbers):
    return random.sample(numbers, len(numbers))


def report(*names):
    return chord((load.s(name) | clean.s() for name in names), total.s())


def test_the_report_is_right():  # on whichever executor the suite runs
    assert report("ab", "abc").compute() == 6


def test_what_ran_and_with_which_arguments(lazygraph_sync):
    assert report("ab").compute() == 3
    assert lazygraph_sync.calls.names == ["load", "clean", "total"]
    assert lazygraph_sync.calls.given("clean") == [([2, 3],)]


def test_every_file_is_loaded_once(lazygraph_sync):
    names = ("a", "bb", "ccc")
    report(*names).compute()
    assert lazygraph_sync.calls.given("load") == [(name,) for name in names]


@pytest.mark.lazygraph(seed=range(5))
def test_no_total_before_all_is_clean_in_any_order(lazygraph_sim):
    assert report("a", "bb", "ccc").compute() == 7
    assert lazygraph_sim.calls.ran_before("clean", "total")


def test_loading_is_tried_again_after_an_hour(lazygraph_sim):
    lazygraph_sim.fail("load", attempt=1, exception=OSError("the disk is away"))
    assert load("ab").compute() == [2, 3]
    assert [call.attempt for call in lazygraph_sim.calls.of("load")] == [1, 2]
    assert lazygraph_sim.now == HOUR


def test_after_three_attempts_the_error_is_seen(lazygraph_sim):
    lazygraph_sim.fail("load", attempt=(1, 2, 3), exception=OSError("the disk is gone"))
    with pytest.raises(OSError, match="the disk is gone"):
        report("ab").compute()
    assert "total" not in lazygraph_sim.calls.names


def test_what_waits_for_its_time_can_be_cancelled(lazygraph_sim):
    with lazygraph_sim.held():
        future = load.apply_async(("ab",), countdown=HOUR)
        lazygraph_sim.advance(HOUR - 1)
        assert future.cancel()
    assert lazygraph_sim.calls.names == []


def test_a_worker_that_dies_loses_nothing(lazygraph_sim):
    lazygraph_sim.kill_worker("clean", attempt=1)
    assert report("ab", "abc").compute() == 6


@pytest.mark.lazygraph(executor=["sync", "threads"])
def test_members_keep_their_order(lazygraph_recorder):
    assert group(load.s(name) for name in ("ccc", "a")).compute() == [[3, 4], [1, 2]]
    assert lazygraph_recorder.calls.count("load") == 2


def test_on_real_processes(lazygraph_cluster):
    lazygraph_cluster.kill_worker("total")
    assert report("ab", "abc").compute() == 6
    assert lazygraph_cluster.calls.count("total") == 2


if __name__ == "__main__":  # or, as always: python -m pytest
    pytest.main([__file__, "-q", "-p", "no:cacheprovider"])
