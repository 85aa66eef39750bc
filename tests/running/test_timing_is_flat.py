"""What options cost does not grow with how many tasks wait: lines of the mind that run are counted, not seconds."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable
from dataclasses import replace
from types import FrameType
from typing import Any

import pytest

from lazygraph.running.block import Block
from lazygraph.running.events import CancelTask, Failed, Started
from lazygraph.running.frontier import Frontier
from lazygraph.values.graph import Scope, Shape
from lazygraph.values.options import Limit, Rate, RetryPolicy, TaskOptions
from tests.running.shapes import shape_of

FEW, MANY = 1_100, 10_000  # more than what rows mean is remembered of


def lines_of(work: Callable[[], None]) -> int:
    """Return how many lines of the mind run while something is done."""
    count = 0

    def line(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal count
        count += event == "line"
        return line

    def call(frame: FrameType, event: str, arg: Any) -> Any:
        return line if "lazygraph" in frame.f_globals.get("__name__", "").partition(".")[0] else None

    before = sys.gettrace()
    sys.settrace(call)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def rows_of(row: TaskOptions, count: int) -> Shape:
    """Return so many independent tasks with the same options."""
    return shape_of([[]] * count, outputs=range(count), said=dict.fromkeys(range(count), row))


def run(frontier: Frontier, block: Block, slots: int = 4, fail: bool = False) -> None:
    """Run everything, `slots` at a time; every first attempt fails if it is to `fail`."""
    busy: list[tuple[list[int], int]] = []
    while block.open:
        while len(busy) < slots and (lease := frontier.lease(8)):
            busy.append((lease.tasks, lease.attempt))
            frontier.handle(Started(block, lease.tasks[0], lease.attempt), frontier.now)
        if busy:
            tasks, attempt = busy.pop(0)
            if fail and attempt == 1:
                for task in tasks:
                    frontier.handle(Failed(block, task, 1, retry=True), frontier.now)
            else:
                frontier.succeeded(block, tasks, attempt, frontier.now)
        else:
            due = frontier.next_time()
            assert due is not None
            frontier.tick(due)


LIMITED = {
    "one rate": TaskOptions(rate_limit="100/s"),
    "several rates": TaskOptions(rate_limit=("100/s", "9000/h")),
    "an even rate": TaskOptions(rate_limit=Rate("100/s", even=True)),
    "one at once": TaskOptions(concurrency=1),
    "two limits": TaskOptions(rate_limit="100/s", limit=Limit("api", concurrency=2)),
    "more at once than slots": TaskOptions(concurrency=100),
}


def check_flat(work: Callable[[int], Callable[[], None]]) -> None:
    """What it costs a task is the same for few and for many."""
    few, many = lines_of(work(FEW)) / FEW, lines_of(work(MANY)) / MANY
    assert many < few * 1.1


@pytest.mark.parametrize("name", LIMITED)
def test_tasks_behind_a_limit(name: str) -> None:
    def work(count: int) -> Callable[[], None]:
        frontier = Frontier()
        block, _ = frontier.admit(rows_of(LIMITED[name], count), (), False)
        return lambda: run(frontier, block)

    check_flat(work)


@pytest.mark.parametrize("delay", [0.0, 5.0])
def test_tasks_that_are_tried_again(delay: float) -> None:
    def work(count: int) -> Callable[[], None]:
        frontier = Frontier()
        row = TaskOptions(retries=RetryPolicy(max_retries=1, delay=delay, jitter=0.5))
        block, _ = frontier.admit(rows_of(row, count), (), False)
        return lambda: run(frontier, block, fail=True)

    check_flat(work)


@pytest.mark.parametrize("same", [True, False])
def test_tasks_that_expire(same: bool) -> None:
    def work(count: int) -> Callable[[], None]:
        shape = rows_of(TaskOptions(expires=5.0), count)
        if not same:
            rows = tuple(TaskOptions(expires=5.0 + task) for task in range(count))
            shape = replace(shape, option=array("i", range(count)), options=rows)

        def life() -> None:
            frontier = Frontier()
            block, _ = frontier.admit(shape, (), False)
            while (due := frontier.next_time()) is not None:
                frontier.tick(due)
            assert not block.open

        return life

    check_flat(work)


@pytest.mark.parametrize("row", [TaskOptions(countdown=60.0), TaskOptions(concurrency=1)], ids=["countdown", "limit"])
def test_tasks_that_are_cancelled_while_they_wait(row: TaskOptions) -> None:
    def work(count: int) -> Callable[[], None]:
        frontier = Frontier()
        block, _ = frontier.admit(rows_of(row, count), (), False)
        while frontier.lease(8):
            pass

        def life() -> None:
            for task in range(count):
                frontier.handle(CancelTask(block, task), 1.0)
                frontier.next_time()
            if block.open:
                frontier.succeeded(block, [0], 1, 2.0)
            assert frontier.next_time() is None

        return life

    check_flat(work)


def test_ready_tasks_that_find_no_slot_cost_nothing_however_often_it_is_looked() -> None:
    frontier = Frontier()
    block, _ = frontier.admit(rows_of(TaskOptions(rate_limit="10/s"), MANY), (), False)
    while lease := frontier.lease(8):
        frontier.succeeded(block, lease.tasks, 1, 0.0)
    assert frontier.next_time() == 1.0
    frontier.tick(1.0)  # ten may go; the slots are taken by others
    looks = 0
    while (due := frontier.next_time()) is not None and due < 1000.0:
        frontier.tick(due)
        looks += 1
    assert looks == 0


def test_scopes_that_fail_one_after_another() -> None:
    def work(count: int) -> Callable[[], None]:
        scopes = [Scope(0, fail_fast=True) for _ in range(count)]
        rows = {at: at // 2 + 1 for at in range(2 * count)}
        block, _ = (frontier := Frontier()).admit(
            shape_of([[]] * (2 * count), outputs=range(2 * count), scopes=scopes, scope=rows), (), False
        )
        assert frontier.lease(2 * count) is not None

        def life() -> None:
            for first in range(0, 2 * count, 2):
                frontier.handle(Failed(block, first, 1), 0.0)
            assert not block.open

        return life

    check_flat(work)
