"""Which worker takes what: queues, resources, names, priorities; on workers that are processes."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from lazygraph import Client, compute, delayed, group, options, start
from lazygraph.errors import TaskExpired
from lazygraph.executors import LocalCluster
from lazygraph.executors.cluster import messages as m
from lazygraph.values.options import Limit

if TYPE_CHECKING:
    from collections.abc import Iterator

WAIT = 60


@delayed(bind=True)
def where(self: Any, at: int = 0) -> str:
    name: str = self.request.worker
    return name


@delayed(bind=True)
def held(self: Any, at: int) -> tuple[str, float, float]:
    began = time.time()
    _spin(0.02)
    return self.request.worker, began, time.time()


def _spin(seconds: float) -> None:
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        os.getpid()


def at_once(spans: list[tuple[str, float, float]]) -> int:
    """Return how many of the spans overlapped at most."""
    moments = sorted([(began, 1) for _, began, _ in spans] + [(ended, -1) for _, _, ended in spans])
    most = now = 0
    for _, step in moments:
        now += step
        most = max(most, now)
    return most


@pytest.fixture(scope="module")
def lanes() -> Iterator[Client]:
    """The express lane: one worker takes only what has a high priority, three take that too."""
    queues = [["high-priority"], *[["default", "high-priority"]] * 3]
    with LocalCluster(4, queues=queues) as cluster, Client(cluster) as client:
        client.wait_for_workers(4)
        yield client


@pytest.fixture(scope="module")
def two() -> Iterator[Client]:
    with LocalCluster(2, resources=[{"gpu": 2}, {}]) as cluster, Client(cluster) as client:
        client.wait_for_workers(2)
        yield client


class TestTheExpressLane:
    def test_the_exclusive_worker_takes_only_its_queue(self, lanes: Client) -> None:
        found = set(compute(*[where(at) for at in range(300)], executor=lanes.executor))
        assert found
        assert "worker-1" not in found

    def test_what_is_for_its_queue_goes_to_all_that_take_it(self, lanes: Client) -> None:
        spans = compute(*[held.options(queue="high-priority")(at) for at in range(40)], executor=lanes.executor)
        assert {name for name, *_ in spans} == {"worker-1", "worker-2", "worker-3", "worker-4"}

    def test_while_others_are_busy_with_what_is_slow_it_is_free(self, lanes: Client) -> None:
        slow = start(*[held(at) for at in range(60)], executor=lanes.executor)
        urgent = where.options(queue="high-priority")().compute(executor=lanes.executor)
        assert slow.progress()[0] < 60
        assert urgent.startswith("worker-")
        slow.result(WAIT)

    def test_said_on_a_call_a_canvas_a_context_and_a_submission(self, lanes: Client) -> None:
        lanes.add_queue("only", ["worker-1"])
        try:
            with options(queue="only"):
                inside = where()
            asked = [
                inside,
                where.options(queue="only")(),
                group(where.s(at) for at in range(3)).set(queue="only"),
            ]
            assert compute(*asked, executor=lanes.executor) == ("worker-1", "worker-1", ["worker-1"] * 3)
            assert lanes.submit(where, 1, queue="only").result(WAIT) == "worker-1"
            assert where.apply_async(queue="only").get(WAIT) == "worker-1"
        finally:
            lanes.remove_queue("only", ["worker-1"])

    def test_workers_take_and_leave_queues_while_they_run(self, lanes: Client) -> None:
        waiting = start(where.options(queue="late")(), executor=lanes.executor)
        assert not waiting.done()
        lanes.add_queue("late", ["worker-3"])
        assert waiting.result(WAIT) == ("worker-3",)
        lanes.remove_queue("late")
        with pytest.raises(TaskExpired):
            where.options(queue="late", expires=0.05)().compute(executor=lanes.executor)

    def test_what_nobody_takes_waits_until_it_expires(self, lanes: Client) -> None:
        with pytest.raises(TaskExpired, match="'where' had not started when it expired"):
            where.options(queue="nobody's", expires=0.05)().compute(executor=lanes.executor)


class TestPlaces:
    def test_a_name_or_an_address(self, two: Client) -> None:
        (address,) = [at for at, found in two.scheduler_info()["workers"].items() if found["name"] == "worker-2"]
        asked = [where.options(workers=["worker-1"])(), where.options(workers=address)()]
        assert compute(*asked, executor=two.executor) == ("worker-1", "worker-2")

    def test_resources_are_free_amounts(self, two: Client) -> None:
        spans = list(compute(*[held.options(resources={"gpu": 1})(at) for at in range(6)], executor=two.executor))
        assert {name for name, *_ in spans} == {"worker-1"}

    def test_what_needs_more_than_there_is_waits(self, two: Client) -> None:
        with pytest.raises(TaskExpired):
            where.options(resources={"gpu": 3}, expires=0.05)().compute(executor=two.executor)

    def test_they_are_given_back_whatever_happened(self, two: Client) -> None:
        @delayed(resources={"gpu": 2}, retries=1)
        def fails() -> None:
            raise ValueError

        for _ in range(3):
            with pytest.raises(ValueError):
                fails().compute(executor=two.executor)
        assert where.options(resources={"gpu": 2})().compute(executor=two.executor) == "worker-1"
        (found,) = [w for w in two.scheduler_info()["workers"].values() if w["name"] == "worker-1"]
        assert found["free"] == found["resources"] == {"gpu": 2}


def test_resources_bound_what_runs_at_once_on_a_worker_with_many_threads() -> None:
    with LocalCluster(1, 4, resources={"gpu": 2}) as cluster, Client(cluster) as client:
        spans = compute(*[held.options(resources={"gpu": 1})(at) for at in range(12)], executor=client.executor)
        assert at_once(list(spans)) <= 2
        spans = compute(*[held.options(resources={"gpu": 2})(at) for at in range(4)], executor=client.executor)
        assert at_once(list(spans)) == 1


class TestLimits:
    def test_a_number_at_once_over_all_workers(self, two: Client) -> None:
        spans = compute(*[held.options(concurrency=1)(at) for at in range(8)], executor=two.executor)
        assert at_once(list(spans)) == 1

    def test_a_shared_limit(self, two: Client) -> None:
        other = delayed(held.__wrapped__, bind=True)
        api = Limit("api", concurrency=1)
        calls = [task.options(limit=api)(at) for at in range(4) for task in (held, other)]
        assert at_once(list(compute(*calls, executor=two.executor))) == 1

    def test_a_rate_over_all_workers(self, two: Client) -> None:
        spans = compute(*[held.options(rate_limit="5/s")(at) for at in range(12)], executor=two.executor)
        starts = sorted(began for _, began, _ in spans)
        # One machine, one clock: the sixth after each start is more than a second later.
        assert all(later - sooner >= 1.0 for sooner, later in zip(starts, starts[5:], strict=False))

    def test_others_are_not_held_back(self, two: Client) -> None:
        slow = start(*[held.options(rate_limit="1/h")(at) for at in range(50)], executor=two.executor)
        assert len(compute(*[where(at) for at in range(50)], executor=two.executor)) == 50
        assert not slow.done()
        slow.cancel()


def test_more_urgent_goes_first_on_one_worker() -> None:
    @delayed
    def at_time(at: int) -> tuple[float, int]:
        _spin(0.02)
        return time.time(), at

    with LocalCluster(1) as cluster, Client(cluster) as client:
        first = start(at_time(-1), executor=client.executor)
        calls = [at_time.options(priority=at % 3)(at) for at in range(60)]
        ran = [at for _, at in sorted(compute(*calls, executor=client.executor))]
        first.result(WAIT)
    wanted = sorted(range(60), key=lambda at: (-(at % 3), at))
    # What was handed out before the rest was there keeps its place; all else comes as it should.
    handed = [at for at in ran if ran.index(at) < 8]
    assert [at for at in ran if at not in handed] == [at for at in wanted if at not in handed]


def test_the_words_on_the_wire_have_usual_answers() -> None:
    assert m.Join("w", "at", 1, 2).queues == ["default"]
    assert m.Join("w", "at", 1, 2).resources == {}
