"""A future that ends while others look at it, wait for it, or hold its condition."""

from __future__ import annotations

import concurrent.futures
import threading
from typing import Any

from lazygraph.running.completing import wait
from lazygraph.running.run import Run
from lazygraph.values.outcome import Value
from lazygraph.values.status import Status
from tests.running.owners import raised, run_of

WAIT = 30
"""Seconds after which something that should happen is given up; no test that passes waits so long."""


class Door(threading.Condition):
    """A condition that says when somebody is at it."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = threading.Event()

    def __enter__(self) -> bool:
        self.reached.set()
        return super().__enter__()


class Bench(list[Any]):
    """Waiters of a future; says when one has sat down."""

    def __init__(self) -> None:
        super().__init__()
        self.taken = threading.Event()

    def append(self, waiter: Any) -> None:
        super().append(waiter)
        self.taken.set()


def in_thread(job: Any, *args: Any) -> threading.Thread:
    thread = threading.Thread(target=job, args=args, daemon=True)
    thread.start()
    return thread


def test_nobody_who_holds_the_condition_sees_the_end_before_it_is_told(run: Run) -> None:
    # Whoever sees it counts it as done, and would count it again when told: `wait` would come back too early.
    (future,) = run.futures[:1]
    door = future._opened().condition = Door()
    with door:
        door.reached.clear()
        settling = in_thread(run.settle, 0, Status.SUCCEEDED, Value(1))
        assert door.reached.wait(WAIT)
        assert (future.done(), future._state) == (False, "PENDING")
    settling.join(WAIT)
    assert (future.done(), future.result(0)) == (True, 1)


def test_wait_comes_back_with_the_first_exception_though_others_run(run: Run) -> None:
    bench = run.futures[1]._opened().waiters = Bench()
    found: list[Any] = []
    waiting = in_thread(lambda: found.append(wait(run.futures, None, "FIRST_EXCEPTION")))
    assert bench.taken.wait(WAIT)
    run.settle(1, Status.FAILED, raised(ValueError("bad")))
    waiting.join(WAIT)
    assert not waiting.is_alive()
    assert found[0].done == {run.futures[1]}


def test_those_who_wait_for_all_are_woken_when_all_have_ended() -> None:
    # Settled while a door is being made: each round ends, and none before its last.
    for _ in range(300):
        run = run_of(2)
        rounds = [in_thread(run.settle, at, Status.SUCCEEDED, Value(at)) for at in (0, 1)]
        assert not concurrent.futures.wait(run.futures, WAIT).not_done
        assert set(concurrent.futures.as_completed(run.futures, WAIT)) == set(run.futures)
        for thread in rounds:
            thread.join(WAIT)
