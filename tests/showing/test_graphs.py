"""Graphs as pictures and figures: what runs only on failure stands apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lazygraph import chain, delayed, each, group
from lazygraph.showing.graphs import picture_of, profile_of


@delayed
def step(*args: Any) -> Any:
    """Return what was given."""
    return args


note = delayed(lambda failure: None, name="note")
tell = delayed(lambda *args: None, name="tell")
load = step.options(name="load")
last = step.options(name="last")


def arrows(canvas: Any) -> set[tuple[str, str, str]]:
    """Return (from, to, kind) of every arrow."""
    picture = picture_of(canvas.graph)
    return {(picture.nodes[a.source].label, picture.nodes[a.target].label, a.kind) for a in picture.edges}


def test_an_arrow_leads_from_where_a_scope_ends_to_its_handler() -> None:
    canvas = chain(load.s(1), last.s()).link_error(note.s())
    assert arrows(canvas) == {("load", "last", "data"), ("last", "note", "failure")}


def test_every_end_of_a_group_leads_to_its_handler() -> None:
    canvas = group(load.s(1), last.s(2)).link_error(note.s()) | step.s()
    assert {arrow for arrow in arrows(canvas) if arrow[2] == "failure"} == {
        ("load", "note", "failure"),
        ("last", "note", "failure"),
    }


@pytest.mark.parametrize("handler", [lambda: note.si(1), lambda: note.s(), lambda: note.s() | tell.s()])
def test_only_the_first_of_a_handlers_nodes_hangs_on_the_scope(handler: Callable[[], Any]) -> None:
    found = [arrow for arrow in arrows(load.s(1).link_error(handler())) if arrow[2] == "failure"]
    assert found == [("load", "note", "failure")]


def test_a_promise_made_elsewhere_stands_in_every_scope() -> None:
    shared = load(1)
    canvas = group(chain(shared, last.s()).link_error(note.s()), shared).link_error(tell.s())
    assert {("last", "note", "failure"), ("last", "tell", "failure")} <= arrows(canvas)


def test_the_figures_leave_out_what_runs_only_on_failure() -> None:
    canvas = chain(load.s(1), each(last.s())).link_error(note.s() | tell.s())
    found = profile_of(canvas.graph)
    assert (found.nodes, found.edges, found.roots) == (2, 1, 1)
    assert found.on_failure == ("note", "tell")
    assert "on failure     note, tell" in str(found)


def test_the_picture_says_what_its_dotted_lines_mean() -> None:
    assert "on failure" in load.s(1).link_error(note.s())._repr_svg_()
    assert "on failure" not in load.s(1)._repr_svg_()
