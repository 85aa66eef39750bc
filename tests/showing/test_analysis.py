"""What an observed run has come to: times add up, and the critical path is one."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given

from lazygraph.running.observing import AWAITED, REPLACED, WELL, Seen, Span
from lazygraph.showing.analysis import Course, course_of
from lazygraph.showing.estimating import Samples
from tests.showing.courses import NAMES, Told, scheduled, shape_of, sights_of, told

SLIGHTLY = 1e-6


def course(run: Told) -> Course:
    return course_of(run.shape, run.sights, run.elapsed, run.slots)


@given(told())
def test_of_every_attempt_the_times_add_up(run: Told) -> None:
    found = course(run)
    assert len(found.attempts) == run.ran + run.failed
    for one in found.attempts:
        parts = (one.due, one.handed, one.ready, one.began, one.ended, found.elapsed)
        assert list(parts) == sorted(parts)
        assert one.due + one.waiting + one.moving + one.running == pytest.approx(one.ended)


@given(told())
def test_what_slots_do_adds_up_to_their_time(run: Told) -> None:
    slots = course(run).slots
    assert slots.count >= 1
    assert slots.running + slots.moving <= slots.count * slots.elapsed + SLIGHTLY
    assert slots.running + slots.moving + slots.idle == pytest.approx(slots.count * slots.elapsed)
    assert min(slots.running, slots.moving, slots.idle) >= 0


@given(told())
def test_the_groups_are_the_nodes_that_ran(run: Told) -> None:
    found = course(run)
    names = Counter(run.shape.name_of(at) for at in range(len(run.shape)))
    assert {group.name: group.nodes for group in found.groups} == dict(names)
    assert sum(group.attempts for group in found.groups) == run.ran + run.failed
    assert sum(group.failed for group in found.groups) == run.failed
    assert sum(group.running for group in found.groups) == pytest.approx(sum(o.running for o in found.attempts))
    assert all(group.least <= group.mean + SLIGHTLY and group.mean <= group.most + SLIGHTLY for group in found.groups)


@given(told())
def test_the_critical_path_leads_from_the_beginning_to_the_end(run: Told) -> None:
    found = course(run)
    path = found.path
    assert path[-1].attempt == found.attempts[-1]
    assert path[0].because == "start"
    assert all(step.after >= 0 and 0 <= step.moving <= step.after for step in path)
    took = sum(step.after + step.attempt.running for step in path)
    assert took == pytest.approx(path[-1].attempt.ended)
    for step, after in pairwise(path):
        one, other = step.attempt, after.attempt
        assert one.ended <= other.began
        if after.because == "input":
            assert one.task in run.shape.inputs_of(other.task)
        elif after.because == "slot":
            assert one.lane == other.lane
        else:
            assert after.because == "retry"
            assert one.task == other.task


@given(told())
def test_nothing_that_it_waited_for_came_later(run: Told) -> None:
    found = course(run)
    last = {one.task: one for one in found.attempts if not one.failed}
    for step, after in pairwise(found.path):
        read = [last[at].ended for at in run.shape.inputs_of(after.attempt.task)]
        assert step.attempt.ended >= max(read, default=0.0)


@given(told())
def test_no_number_of_slots_is_faster_than_the_longest_way(run: Told) -> None:
    found = course(run)
    assert found.longest <= found.elapsed + SLIGHTLY


@given(told())
def test_moments_are_those_of_one_clock_whatever_the_clocks_of_workers_say(run: Told) -> None:
    for one in course(run).attempts:
        assert (one.handed, one.ready, one.began, one.ended) == pytest.approx(run.truth[one.task, one.number], abs=1e-6)


def test_a_chain_is_its_own_critical_path() -> None:
    run = scheduled(shape_of([[], [0], [1], []], [0, 1, 2, 0]), 2, random.Random(1))
    assert [step.attempt.name for step in course(run).path] == list(NAMES)


def test_what_is_awaited_holds_no_slot() -> None:
    shape = shape_of([[], []], [0, 1])
    sights = sights_of(shape)
    zero = sights.began
    spans = [Span(0, zero, zero + 4, WELL, AWAITED), Span(1, zero, zero + 1, WELL, "thread-0")]
    sights.told("", 1, {}, Seen("w", zero, zero, zero + 4, spans))
    sights.leases[0].sent = [(zero + 4, zero + 4)]
    found = course_of(shape, sights, 4.0, None)
    assert (found.awaited, found.slots.count, found.slots.running) == pytest.approx((4.0, 1, 1.0))


def test_what_stands_for_a_task_counts_and_is_on_the_path() -> None:
    shape = shape_of([[], [0]], [0, 1])
    sights = sights_of(shape)
    zero = sights.began

    def lease(part: str, span: Span, names: dict[int, str]) -> None:
        sights.told(part, 1, names, Seen("w", span.began, span.began, span.ended, [span]))
        sights.leases[-1].sent = [(span.ended, span.ended)]

    lease("", Span(0, zero, zero + 1, REPLACED, "a"), {})
    lease(".0", Span(0, zero + 1.5, zero + 3, WELL, "b"), {0: "inner"})
    lease("", Span(1, zero + 3.25, zero + 4, WELL, "a"), {})
    found = course_of(shape, sights, 4.0, 2)
    assert [(step.attempt.name, step.because) for step in found.path] == [
        ("load", "start"),
        ("inner", "input"),
        ("parse", "input"),
    ]
    assert found.nodes == 3
    assert {group.name: group.nodes for group in found.groups} == {"load": 1, "inner": 1, "parse": 1}
    assert found.longest == pytest.approx(3.75)


def test_what_is_expected_comes_from_what_was_known_before() -> None:
    run = scheduled(shape_of([[]], [0]), 1, random.Random(0))
    assert course(run).groups[0].expected is None
    run.sights.known = samples = Samples()
    samples.add([(run.sights.functions[0], 2.0), (run.sights.functions[0], 4.0)])
    assert course(run).groups[0].expected == pytest.approx(3.0)


def test_of_a_run_that_has_not_begun_there_is_nothing() -> None:
    shape = shape_of([[]], [0])
    found = course_of(shape, sights_of(shape), 0.5, 2)
    assert (found.nodes, found.of, found.attempts, found.groups, found.path) == (0, 1, (), (), ())
    assert found.slots.idle == pytest.approx(1.0)
