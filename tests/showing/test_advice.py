"""What to change first: each rule speaks where its figures say so, and only there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given

from lazygraph.running.observing import FAILED, WELL, Seen, Span
from lazygraph.showing.advice import Advice, advice_on
from lazygraph.showing.analysis import Course, course_of
from lazygraph.showing.estimating import Samples
from tests.showing.courses import Told, shape_of, sights_of, told

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lazygraph.values.graph import Shape

Ran = tuple[int, str, float, float]
"""A task, the slot, when it began and when it ended."""


def seen(
    shape: Shape,
    ran: Sequence[Ran],
    slots: int,
    moving: float = 0.0,
    failed: Sequence[int] = (),
    known: Samples | None = None,
) -> Course:
    """Return the course of a run in which tasks ran so; before each its inputs were moving for `moving` seconds."""
    sights = sights_of(shape)
    sights.known = known
    zero = sights.began
    for at, (task, slot, began, ended) in enumerate(ran):
        span = Span(task, zero + began, zero + ended, FAILED if at in failed else WELL, slot)
        sights.told("", 1, {}, Seen("", zero + began - moving, zero + began, zero + ended, [span]))
        sights.leases[-1].sent = [(zero + ended, zero + ended)]
    return course_of(shape, sights, max(row[3] for row in ran), slots)


def first(course: Course, held_back: Sequence[str] = ()) -> Advice:
    return advice_on(course, held_back)[0]


LOAD, PARSE, TRAIN = range(3)


def test_one_task_is_most_of_the_critical_path() -> None:
    shape = shape_of([[], [], [0, 1]], [LOAD, LOAD, TRAIN])
    found = first(seen(shape, [(0, "a", 0, 1), (1, "b", 0, 1), (2, "a", 1, 8)], 2))
    assert found.rule == "path"
    assert found.sentence.startswith("one task `train` is 88 % of the critical path (7 s of 8 s): split it")


def test_a_row_of_tasks_is_most_of_it() -> None:
    shape = shape_of([[], [0], [1], [2]], [PARSE] * 4)
    found = first(seen(shape, [(at, "a", at, at + 1) for at in range(4)], 8))
    assert (found.rule, found.sentence[:43]) == ("path", "4 tasks `parse`, one after the other, are 1")


def test_more_slots_would_help() -> None:
    shape = shape_of([[] for _ in range(8)], [LOAD] * 8)
    found = first(seen(shape, [(at, "a", at, at + 1) for at in range(8)], 1))
    assert found.rule == "slots"
    assert found.sentence.startswith(
        "tasks waited for the only slot for most of the critical path: twice as many could"
    )
    assert "4 s instead of 8 s" in found.sentence


def test_the_slots_were_idle_because_the_graph_is_narrow() -> None:
    shape = shape_of([[], [0], [1], [2]], [LOAD, PARSE, TRAIN, LOAD])
    found = seen(shape, [(at, "a", at, at + 1) for at in range(4)], 8)
    idle = next(advice for advice in advice_on(found) if advice.rule == "idle")
    assert "idle 88 % of the time: 1.0 of 8 were busy" in idle.sentence
    assert "more slots do not help" in idle.sentence


def test_most_tasks_are_too_short() -> None:
    shape = shape_of([[] for _ in range(2000)], [LOAD] * 2000)
    found = first(seen(shape, [(at, "a", at * 1e-4, at * 1e-4 + 1e-5) for at in range(2000)], 1))
    assert found.rule == "short"
    assert found.sentence.startswith("2000 of 2000 tasks took less than 50 us (10 us on average), and slots spent 90 %")


def test_much_was_moving() -> None:
    shape = shape_of([[], [0]], [LOAD, PARSE])
    found = first(seen(shape, [(0, "a", 2, 3), (1, "a", 5, 6)], 1, moving=2.0))
    assert found.rule == "moving"
    assert "the critical path 67 %" in found.sentence


def test_attempts_that_failed_took_much() -> None:
    shape = shape_of([[], []], [LOAD, PARSE])
    found = seen(shape, [(0, "a", 0, 1), (0, "a", 1, 2), (1, "b", 0, 2)], 2, failed=[0])
    assert any(one.sentence.startswith("1 attempt, most of `load`, failed and took 25 %") for one in advice_on(found))


def test_options_held_it_back() -> None:
    shape = shape_of([[], []], [LOAD, LOAD])
    found = seen(shape, [(0, "a", 0, 0.1), (1, "a", 9, 9.1)], 4)
    assert first(found, ["load"]).rule == "held back"
    assert "`load` was held back 8.9 s" in first(found, ["load"]).sentence
    assert all(advice.rule != "held back" for advice in advice_on(found))


def test_it_took_longer_than_before() -> None:
    shape, samples = shape_of([[], []], [LOAD, LOAD]), Samples()
    samples.add([(function, 0.5) for function in set(sights_of(shape).functions)])
    found = seen(shape, [(0, "a", 0, 2), (1, "b", 0, 2)], 2, known=samples)
    slower = next(advice for advice in advice_on(found) if advice.rule == "slower")
    assert slower.sentence == "`load` took 2 s a call, 4.0 times what earlier runs took (500 ms)"


def test_of_a_run_in_which_all_was_well_nothing_is_said() -> None:
    shape = shape_of([[] for _ in range(4)], [LOAD, PARSE, TRAIN, LOAD])
    ran: list[Ran] = [(0, "a", 0, 1), (1, "b", 0, 1), (2, "a", 1, 2), (3, "b", 1, 2)]
    assert [advice.rule for advice in advice_on(seen(shape, ran, 2))] == ["slots"]
    assert advice_on(seen(shape, [(at, slot, 0, 1) for at, slot in enumerate("abcd")], 4)) == []


@given(told())
def test_every_advice_is_about_a_part_of_the_time(run: Told) -> None:
    found = advice_on(course_of(run.shape, run.sights, run.elapsed, run.slots), ["load"])
    assert [advice.part for advice in found] == sorted((advice.part for advice in found), reverse=True)
    assert all(0 < advice.part <= 1 + 1e-9 for advice in found)


def test_of_nothing_nothing_is_said() -> None:
    shape = shape_of([[]], [LOAD])
    assert advice_on(course_of(shape, sights_of(shape), 1.0, 2)) == []


@pytest.mark.parametrize("slots", [1, 2, 8])
def test_one_task_alone_is_the_whole_path(slots: int) -> None:
    assert first(seen(shape_of([[]], [TRAIN]), [(0, "a", 0, 1)], slots)).sentence.startswith(
        "one task `train` is 100 %"
    )
