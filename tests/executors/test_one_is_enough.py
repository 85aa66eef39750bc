"""Large plans on threads begin with one thread, and have the others as soon as that is worth it."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from lazygraph import compute, delayed, start
from lazygraph.executors.threads import ThreadEngine, ThreadExecutor

WAIT = 30
MANY = ThreadEngine.rows + 50


@delayed
def tiny(at: Any) -> Any:
    return at


@pytest.mark.parametrize("place", [0, 3, 200, MANY - 1])
def test_who_waits_for_a_later_task_of_the_same_plan_is_not_left_alone(place: int) -> None:
    gate = threading.Event()

    def stand() -> bool:
        return gate.wait(WAIT)

    def opens() -> int:
        gate.set()
        return place

    with ThreadExecutor(2) as executor:
        before = [tiny(at) for at in range(place)]
        after = [tiny(at) for at in range(MANY - place)]
        values = compute(*before, delayed(stand)(), *after, delayed(opens)(), executor=executor, optimize_graph=False)
    assert values == (*range(place), True, *range(MANY - place), place)


def test_tasks_that_wait_for_each_other_run_side_by_side() -> None:
    meeting = threading.Barrier(2, timeout=WAIT)
    names: set[str] = set()

    def meet(at: int) -> int:
        meeting.wait()
        names.add(threading.current_thread().name)
        return at

    with ThreadExecutor(2) as executor:
        calls = [delayed(meet)(at) for at in range(MANY - MANY % 2)]
        assert compute(*calls, executor=executor) == tuple(range(MANY - MANY % 2))
    assert len(names) == 2


def test_another_run_goes_on_beside_one_that_is_stuck() -> None:
    gate = threading.Event()
    with ThreadExecutor(2) as executor:

        def both(at: int) -> int:
            if at == 5:
                assert gate.wait(WAIT)
            return at

        calls = [delayed(both)(at) for at in range(MANY)]
        run = start(*calls, executor=executor)
        assert compute(*[tiny(at) for at in range(MANY)], executor=executor) == tuple(range(MANY))
        gate.set()
        assert run.result(WAIT) == tuple(range(MANY))


def test_what_fails_among_tiny_tasks_fails_alone() -> None:
    def odd(at: int) -> int:
        if at % 100 == 7:
            raise LookupError(at)
        return at

    with ThreadExecutor(2) as executor:
        calls = [delayed(odd)(at) for at in range(1000)]
        values = compute(*calls, executor=executor, on_error="collect")
    assert [getattr(value, "exception", value).__class__ for value in values] == [
        LookupError if at % 100 == 7 else int for at in range(1000)
    ]
