"""Where a task should run, and how much a worker should have."""

from __future__ import annotations

import pytest

from lazygraph.executors.cluster.placement import (
    AHEAD_SECONDS,
    MOST_AHEAD,
    UNMEASURED,
    best_lane,
    room,
    target,
    to_give_back,
)
from lazygraph.executors.cluster.records import NOWHERE, WorkerRecord
from lazygraph.running.arena import ANYWHERE


def worker(threads: int, outstanding: int) -> WorkerRecord:
    record = WorkerRecord(1, "w", "at", threads)
    record.outstanding = outstanding
    return record


@pytest.mark.parametrize(
    ("holders", "best"),
    [
        ([], ANYWHERE),
        ([(NOWHERE, 1000)], ANYWHERE),
        ([(1, 10), (2, 20)], 2),
        ([(1, 10), (2, 20), (1, 11)], 1),
        ([(2, 10), (1, 10)], 2),
        ([(1, 0)], 1),
        ([(NOWHERE, 1000), (3, 1)], 3),
    ],
)
def test_a_task_goes_where_most_of_its_bytes_are(holders: list[tuple[int, int]], best: int) -> None:
    assert best_lane(holders) == best


def test_a_worker_has_what_runs_and_a_little_ahead() -> None:
    assert target(2, None) == 2 * UNMEASURED
    assert target(2, 10.0) == 4  # one running and one waiting for each thread
    assert target(1, AHEAD_SECONDS / 5) == 6
    assert target(1, 0.0) == 1 + MOST_AHEAD


def test_a_worker_is_given_more_when_half_of_it_is_done() -> None:
    assert room(worker(1, 0), 10.0) == 2
    assert room(worker(1, 1), 10.0) == 1
    assert room(worker(1, 2), 10.0) == 0


@pytest.mark.parametrize(("outstanding", "back"), [(2, 0), (3, 1), (4, 1), (10, 4)])
def test_half_of_what_waits_is_asked_back(outstanding: int, back: int) -> None:
    assert to_give_back(worker(2, outstanding)) == back
