"""The simulated executor: virtual time, an order made of a seed, and only orders that real executors may have."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from lazygraph import Limit, RetryPolicy, Status, chain, compute, delayed, group
from lazygraph.errors import InvalidOption, NestingTooDeep, TaskTimeout, WorkerDied
from lazygraph.testing.rigs import SimRig, simulated

HOUR = 3600.0


@delayed
def give(value, *after):
    return value


@delayed
def add(x, y):
    return x + y


@pytest.fixture
def rig() -> Iterator[SimRig]:
    with simulated(seed=7) as rig:
        yield rig


def order(seed: int, slots: int = 8) -> list[int]:
    """The order in which twenty tasks run that could run in any."""
    with simulated(seed, slots) as rig:
        group(give.s(n) for n in range(20)).compute()
        return [call.args[0] for call in rig.calls]


def test_a_seed_gives_one_order_and_another_seed_another():
    assert order(1) == order(1)
    assert len({tuple(order(seed)) for seed in range(10)}) == 10
    assert sorted(order(1)) == list(range(20))


def test_with_one_slot_the_order_is_that_of_the_graph():
    assert order(1, slots=1) == order(2, slots=1) == list(range(20))


def test_no_slot_is_an_error():
    with pytest.raises(InvalidOption, match="slots=0"):
        order(1, slots=0)


@pytest.mark.parametrize("seed", range(10))
def test_priority_holds_in_every_order(seed: int):
    with simulated(seed, slots=1) as rig:
        first = give(0)
        compute(*(give.options(priority=p)(p, first) for p in (1, 3, 2)))
        assert [call.args[0] for call in rig.calls] == [0, 3, 2, 1]


def test_a_task_takes_no_time_unless_somebody_says_so(rig: SimRig):
    chain(give.s(1), add.s(2), add.s(3)).compute()
    assert rig.now == 0.0
    rig.lasts("give", 5.0)
    assert give(1).compute() == 1
    assert rig.now == 5.0


def test_tasks_that_last_overlap_as_far_as_there_are_slots():
    for slots, seconds in ((1, 80.0), (4, 20.0), (8, 10.0)):
        with simulated(3, slots) as rig:
            rig.lasts("give", 10.0)
            group(give.s(n) for n in range(8)).compute()
            assert rig.now == seconds


def test_at_most_so_many_at_once_on_virtual_time(rig: SimRig):
    rig.lasts("give", 10.0)
    limited = give.options(limit=Limit("door", concurrency=2))
    compute(*(limited(n) for n in range(6)))
    assert rig.now == 30.0
    assert sorted(call.began for call in rig.calls) == [0.0, 0.0, 10.0, 10.0, 20.0, 20.0]


def test_a_rate_on_virtual_time(rig: SimRig):
    compute(*(give.options(rate_limit="2/h")(n) for n in range(6)))
    began = [call.began for call in rig.calls]
    assert all(later - earlier >= HOUR for earlier, later in zip(began, began[2:], strict=False))
    assert 2 * HOUR <= rig.now < 2 * HOUR + 1


def test_delays_of_retries_and_countdowns_pass_at_once(rig: SimRig):
    rig.fail("give", attempt=(1, 2))
    policy = RetryPolicy(max_retries=2, delay=HOUR, backoff=2.0, max_delay=24 * HOUR)
    assert give.options(retries=policy, countdown=24 * HOUR)(1).compute() == 1
    assert [call.began for call in rig.calls] == [24 * HOUR, 25 * HOUR, 27 * HOUR]


def test_a_timeout_is_of_virtual_time(rig: SimRig):
    rig.lasts("give", 100.0)
    with pytest.raises(TaskTimeout):
        give.options(timeout=30.0)(1).compute()
    assert rig.now == 30.0
    assert give.options(timeout=101.0)(1).compute() == 1
    assert rig.now == 130.0


def test_what_is_held_runs_when_time_is_let_pass(rig: SimRig):
    with rig.held():
        soon, late = give.apply_async((1,), countdown=10), give.apply_async((2,), countdown=100)
        assert not soon.done()
        rig.advance(50)
        assert (soon.result(0), late.done(), rig.now) == (1, False, 50.0)
        assert late.cancel() is True
        with pytest.raises(InvalidOption, match="forwards"):
            rig.advance(-1)
    assert late.status == Status.CANCELLED
    assert rig.now == 50.0


def test_what_runs_can_be_made_to_leave(rig: SimRig):
    rig.lasts("give", 100.0)
    with rig.held():
        future = give.delay(1)
        rig.advance(50)
        assert future.cancel(force=True) is True
    assert future.status == Status.CANCELLED
    assert add(1, 2).compute() == 3
    assert rig.now == 50.0


def test_a_worker_that_dies_is_replaced_and_one_that_always_dies_is_blamed(rig: SimRig):
    rig.kill_worker("give", attempt=(1, 2))
    assert add(give(1), 1).compute() == 2
    assert [call.attempt for call in rig.calls.of("give")] == [1, 2, 3]
    rig.kill_worker("doomed", attempt=tuple(range(1, 10)))
    with pytest.raises(WorkerDied, match="doomed"):
        give.options(name="doomed")(1).compute()


def test_what_is_at_most_once_is_not_run_again_when_its_worker_dies(rig: SimRig):
    rig.kill_worker("give")
    with pytest.raises(WorkerDied):
        give.options(at_most_once=True)(1).compute()
    assert rig.calls.count("give") == 1


def test_what_a_task_computes_is_seen_and_takes_virtual_time(rig: SimRig):
    @delayed
    def outer(n):
        return add.options(countdown=HOUR)(n, 1).compute()

    assert group(outer.s(n) for n in range(12)).compute() == list(range(1, 13))
    assert (rig.calls.count("add"), rig.now) == (12, 12 * HOUR)


def test_nesting_has_an_end(rig: SimRig):
    @delayed
    def deeper(n):
        return 1 + deeper(n - 1).compute() if n else 0

    assert deeper(20).compute() == 20
    with pytest.raises(NestingTooDeep):
        deeper(200).compute()


def test_threads_take_turns(rig: SimRig):
    answers: list[int] = []

    def work(n: int) -> None:
        answers.append(chain(give.s(n), add.s(1)).compute(executor=rig.executor))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(answers) == list(range(1, 9))
