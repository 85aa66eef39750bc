"""What a future costs as long as somebody holds it, in bytes and not in time."""

from __future__ import annotations

import concurrent.futures
import tracemalloc
from array import array

from lazygraph import wait
from lazygraph.running.places import Places
from lazygraph.values.outcome import Value
from lazygraph.values.status import Status
from tests.running.owners import run_of
from tests.running.test_settling import in_thread

COUNT = 2000


def test_one_that_has_ended_and_was_waited_for_costs_little() -> None:
    wait(run_of(10).futures, 0)
    tracemalloc.start()
    try:
        run = run_of(COUNT)
        futures = run.let_go()
        before = tracemalloc.get_traced_memory()[0]

        def settle() -> None:
            for entry in range(COUNT):
                run.settle(entry, Status.SUCCEEDED, None)

        settling = in_thread(settle)
        assert not wait(futures, 30).not_done
        settling.join(30)
        assert (tracemalloc.get_traced_memory()[0] - before) / COUNT < 16
    finally:
        tracemalloc.stop()


def test_what_it_costs_from_the_first() -> None:
    wait(run_of(10).futures, 0)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        run = run_of(COUNT)
        futures = run.let_go()
        run.settle_all([(run, entry, Status.SUCCEEDED, Value(None)) for entry in range(COUNT)])
        assert len(wait(futures, 30).done) == COUNT
        assert (tracemalloc.get_traced_memory()[0] - before) / COUNT < 500
    finally:
        tracemalloc.stop()


def test_ours_and_others_are_waited_for_together() -> None:
    run, other = run_of(2), concurrent.futures.Future[int]()
    ours = run.futures
    run.settle(0, Status.SUCCEEDED, Value(1))
    assert wait([*ours, other], 0) == ({ours[0]}, {ours[1], other})
    run.settle(1, Status.SUCCEEDED, Value(2))
    other.set_result(3)
    assert wait([*ours, other], 30) == ({*ours, other}, set())


def test_places_of_outputs_that_are_neighbours_are_those_of_any_others() -> None:
    neighbours, others = Places(array("i", [3, 4, 5])), Places(array("i", [5, 3, 5]))
    assert [[*neighbours.of(entry)] for entry in (2, 3, 5, 6)] == [[], [0], [2], []]
    assert [[*others.of(entry)] for entry in (2, 3, 4, 5)] == [[], [1], [], [0, 2]]
    assert [*Places(array("i")).of(0)] == []
    others.give_up(5, 0)
    assert [*others.of(5)] == [2]
    assert [[*Places(array("i", [7])).of(entry)] for entry in (6, 7, 8)] == [[], [0], []]
