"""The account of a run as text, JSON, page and picture."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given

from lazygraph.errors import InvalidOption
from lazygraph.running.observing import WELL, Seen, Span
from lazygraph.showing.account import NOT_OBSERVED, Account
from lazygraph.showing.advice import Advice, advice_on
from lazygraph.showing.analysis import course_of
from lazygraph.showing.stream import ROWS_SHOWN, stream_of
from tests.showing.courses import Told, shape_of, sights_of, told

if TYPE_CHECKING:
    from pathlib import Path


NO_SLOT, NOTHING_ELSE = "0 waited for a slot", "; nothing else helps as much"


def account(run: Told) -> Account:
    course = course_of(run.shape, run.sights, run.elapsed, run.slots)
    return Account("run-1", "threads", run.ran, run.ran, run.elapsed, True, course, tuple(advice_on(course)))


@pytest.fixture
def simple() -> Account:
    shape = shape_of([[], [], [0, 1]], [0, 0, 2])
    sights = sights_of(shape)
    zero = sights.began
    for task, slot, began, ended in [(0, "a", 0.0, 1.0), (1, "b", 0.5, 1.5), (2, "b", 1.75, 4.0)]:
        span = Span(task, zero + began, zero + ended, WELL, slot)
        sights.told("", 1, {}, Seen("", zero + began, zero + began, zero + ended, [span]))
        sights.leases[-1].sent = [(zero + ended, zero + ended)]
    course = course_of(shape, sights, 4.0, 2)
    return Account("run-1", "threads", 3, 3, 4.0, True, course, tuple(advice_on(course)))


def test_the_text_as_it_stands(simple: Account) -> None:
    assert str(simple).splitlines() == [
        "run-1 on 'threads': 3 of 3 tasks done in 4 s",
        "  slots          2: running 53 % of the time, moving 0 %, idle 47 %",
        "  critical path  2 tasks: load 1 s → train 2.25 s; 3.25 s running, 750 ms waiting, 0 us moving; " + NO_SLOT,
        "  longest way    3.25 s with these durations, however many slots",
        "  by name    nodes  running in all  a call  expected  waited  moving",
        "    train        1          2.25 s  2.25 s         -  250 ms    0 us",
        "    load         2             2 s     1 s         -  250 ms    0 us",
        "  change first",
        "    one task `train` is 56 % of the critical path (2.25 s of 4 s): split it, or make it faster" + NOTHING_ELSE,
    ]


def test_what_was_not_measured_is_said() -> None:
    plain = Account("run-1", "threads", 2, 3, 1.5, False, waiting=("total-1-2: waits for 1 of its 2 inputs",))
    assert str(plain).splitlines() == [
        "run-1 on 'threads': 2 of 3 tasks done in 1.5 s, and goes on",
        f"  measured       {NOT_OBSERVED}",
        "total-1-2: waits for 1 of its 2 inputs",
    ]
    assert plain.to_dict()["observed"] is False
    with pytest.raises(InvalidOption, match="no picture of run-1"):
        plain.to_svg()


@given(told())
def test_json_says_what_the_course_says(run: Told) -> None:
    found = account(run)
    plain = json.loads(json.dumps(found.to_dict()))
    assert found.course is not None
    assert [step["name"] for step in plain["critical_path"]] == [step.attempt.name for step in found.course.path]
    assert sum(group["nodes"] for group in plain["groups"]) == run.ran
    slots = plain["slots"]
    assert slots["running"] + slots["moving"] + slots["idle"] == pytest.approx(slots["count"] * slots["elapsed"])


@given(told())
def test_the_picture_is_one_for_every_run(run: Told) -> None:
    drawn = ElementTree.fromstring(account(run).to_svg())
    texts = ["".join(text.itertext()) for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert "critical path" in texts
    assert {f"thread-{one.lane.thread[-1]}" in " ".join(texts) for one in account(run).course.attempts} == {True}  # type: ignore[union-attr]


def test_a_page_of_its_own(simple: Account, tmp_path: Path) -> None:
    simple.write(tmp_path / "run.html")
    page = (tmp_path / "run.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "<script" not in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "one task `train`" in page


def test_the_suffix_says_the_format(simple: Account, tmp_path: Path) -> None:
    for suffix in (".json", ".svg", ".txt"):
        simple.write(str(tmp_path / f"run{suffix}"))
    assert json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))["name"] == "run-1"
    assert (tmp_path / "run.svg").read_text(encoding="utf-8") == simple.to_svg()
    assert (tmp_path / "run.txt").read_text(encoding="utf-8") == f"{simple}\n"
    with pytest.raises(InvalidOption, match=r"the suffix says the format, one of \.html, \.json, \.svg, \.txt"):
        simple.write(tmp_path / "run.pdf")


def test_names_are_escaped(simple: Account) -> None:
    assert simple.course is not None
    odd = [one._replace(name="<b>&") for one in simple.course.attempts]
    groups = tuple(replace(group, name="<b>&") for group in simple.course.groups)
    course = replace(simple.course, attempts=tuple(odd), groups=groups)
    found = replace(simple, course=course, advice=(Advice("path", "about `<b>&`", 0.5),))
    assert "<b>" not in found.to_html()
    ElementTree.fromstring(found.to_svg())


def test_many_slots_and_short_tasks_make_a_small_picture() -> None:
    size = 20_000
    shape = shape_of([[] for _ in range(size)], [at % 3 for at in range(size)])
    sights = sights_of(shape)
    zero = sights.began
    for slot in range(100):
        spans = [
            Span(at, zero + at * 1e-4, zero + at * 1e-4 + 9e-5, WELL, f"thread-{slot}") for at in range(slot, size, 100)
        ]
        sights.told("", 1, {}, Seen("", zero, zero, zero + 2, spans))
        sights.leases[-1].sent = [(zero + 2, zero + 2)]
    drawn = stream_of(course_of(shape, sights, 2.0, 100))
    assert len(drawn) < 300 * 250 * ROWS_SHOWN
    assert f"and {101 - ROWS_SHOWN} more slots" in drawn
