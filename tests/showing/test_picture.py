"""Pictures as values: levels, and the grouping that keeps every node counted."""

from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lazygraph.errors import CyclicGraph, InvalidOption
from lazygraph.showing.picture import (
    ARROWS_PER_BOX,
    BANDS,
    LONGEST_LABEL,
    Arrow,
    Box,
    Picture,
    caption,
    condense,
    levels,
    printable,
    shorten,
    tooltip,
)

Shape = Callable[[int], Picture]


def brute_levels(picture: Picture) -> list[int]:
    """Relax every arrow as often as there are boxes: slow and plainly right."""
    level = [0] * len(picture.nodes)
    for _ in picture.nodes:
        for arrow in picture.edges:
            level[arrow.target] = max(level[arrow.target], level[arrow.source] + 1)
    return level


@given(st.from_type(Picture))
def test_levels_are_longest_paths(picture: Picture) -> None:
    assert levels(picture) == brute_levels(picture)


@given(st.from_type(Picture), st.integers(1, 20), st.integers(1, 8))
def test_condense_keeps_counts_and_order(picture: Picture, limit: int, row: int) -> None:
    small = condense(picture, limit, row)
    assert len(small.nodes) <= limit
    assert len(small.edges) <= ARROWS_PER_BOX * limit
    assert sum(box.count for box in small.nodes) == len(picture.nodes)
    assert sum(arrow.count for arrow in small.edges) <= len(picture.edges)
    assert small.title == picture.title
    if small is not picture:
        assert len({(arrow.source, arrow.target, arrow.kind) for arrow in small.edges}) == len(small.edges)
    levels(small)  # raises when grouping has made a circle


@given(st.from_type(Picture), st.integers(1, 8))
def test_grouping_by_name_keeps_every_name(picture: Picture, row: int) -> None:
    small = condense(picture, 300, row)
    counts: Counter[str] = Counter()
    for box in small.nodes:
        counts[box.label] += box.count
    assert counts == Counter(box.label for box in picture.nodes)
    assert max(levels(small), default=0) == max(levels(picture), default=0)


@given(st.from_type(Picture), st.integers(1, 20))
def test_condense_is_deterministic(picture: Picture, limit: int) -> None:
    assert condense(picture, limit) == condense(Picture(picture.nodes, picture.edges, picture.title), limit)


def test_a_picture_that_can_be_read_stays_as_it_is(fan: Shape) -> None:
    picture = fan(10)
    assert condense(picture) is picture


def test_a_wide_level_becomes_one_box_with_its_number(fan: Shape) -> None:
    small = condense(fan(1500))
    assert [caption(box) for box in small.nodes] == ["list", "parse ×1500", "report"]
    assert small.edges == (Arrow(0, 1, count=1500), Arrow(1, 2, count=1500))
    assert small.nodes[1].note == "1500 nodes on level 1\nparse ×1500"


def test_names_that_are_rare_on_their_level_share_a_box() -> None:
    names = ["common"] * 50 + [f"rare {number}" for number in range(40)]
    small = condense(Picture(tuple(map(Box, names)), ()), limit=3)
    assert [(box.label, box.count) for box in small.nodes] == [
        ("common", 50),
        ("rare 0", 1),
        ("rare 1 and 38 others", 39),
    ]
    assert small.nodes[2].note.splitlines()[-1] == "and 31 more names"


def test_a_chain_of_100_000_becomes_bands(chain: Shape) -> None:
    small = condense(chain(100_000))
    assert len(small.nodes) == BANDS
    assert sum(box.count for box in small.nodes) == 100_000
    assert [(arrow.source, arrow.target) for arrow in small.edges] == [(n, n + 1) for n in range(BANDS - 1)]
    assert small.nodes[0].note == "8334 nodes on levels 0 to 8333\ninc ×8334"


def test_too_many_arrows_are_grouped_too() -> None:
    boxes = tuple(Box("a") for _ in range(12)) + tuple(Box("b") for _ in range(12))
    arrows = tuple(Arrow(one, 12 + other) for one in range(12) for other in range(12))
    small = condense(Picture(boxes, arrows), limit=14)
    assert small.edges == (Arrow(0, 1, count=144),)


def test_boxes_of_two_kinds_in_one_make_a_group() -> None:
    small = condense(Picture((Box("a", "task"), Box("b", "output")), ()), limit=1)
    assert small.nodes == (Box("a and 1 other", "group", "2 nodes on level 0\na ×1\nb ×1", 2),)


def test_a_circle_is_named() -> None:
    boxes = tuple(map(Box, "abcd"))
    picture = Picture(boxes, (Arrow(0, 1), Arrow(1, 2), Arrow(2, 1), Arrow(2, 3)))
    with pytest.raises(CyclicGraph, match=r"b -> c -> b|c -> b -> c"):
        levels(picture)
    with pytest.raises(CyclicGraph, match="a -> a"):
        levels(Picture(boxes, (Arrow(0, 0),)))


def test_arrows_must_lead_somewhere() -> None:
    with pytest.raises(ValueError, match=r"0 -> 1 leaves a picture of 1 boxes"):
        Picture((Box("a"),), (Arrow(0, 1),))


def test_no_room_is_refused(fan: Shape) -> None:
    with pytest.raises(InvalidOption, match="at least one box, not 0"):
        condense(fan(3), limit=0)


@given(st.text(st.characters(codec=None), max_size=200), st.integers(4, 40))
def test_shortened_text_is_one_short_line(text: str, longest: int) -> None:
    short = shorten(text, longest)
    assert len(short) <= longest
    assert len(short.splitlines()) <= 1
    assert printable(short) == short
    if text.isascii() and text.isalnum():
        assert short == text if len(text) <= longest else short.startswith(text[0]) and short.endswith(text[-1])


def test_long_labels_are_whole_in_the_tooltip_only() -> None:
    box = Box("x" * 100, note="from here", count=3)
    assert len(caption(box)) == LONGEST_LABEL + len(" ×3")
    assert tooltip(box) == "x" * 100 + " ×3\nfrom here"
