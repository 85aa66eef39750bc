"""Where boxes and arrows go: nothing overlaps, everything points down, the same picture is laid out the same."""

from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lazygraph.errors import CyclicGraph
from lazygraph.showing.layout import BOX_GAP, BOX_HEIGHT, PORT_GAP, ROW_GAP, Layout, Rect, lay_out
from lazygraph.showing.picture import Arrow, Box, Picture, levels

Shape = Callable[[int], Picture]
WIDTHS = st.integers(64, 300).map(float)


@st.composite
def _laid_out(draw: st.DrawFn) -> tuple[Picture, list[float], Layout]:
    picture = draw(st.from_type(Picture))
    size = len(picture.nodes)
    widths = draw(st.lists(WIDTHS, min_size=size, max_size=size))
    return picture, widths, lay_out(picture, widths)


@given(_laid_out())
def test_boxes_of_a_row_stand_apart(drawn: tuple[Picture, list[float], Layout]) -> None:
    _, widths, layout = drawn
    rows: dict[float, list[Rect]] = defaultdict(list)
    for box, width in zip(layout.boxes, widths, strict=True):
        assert (box.width, box.height) == (width, BOX_HEIGHT)
        rows[box.y].append(box)
    for row in rows.values():
        for one, other in pairwise(sorted(row, key=lambda box: box.x)):
            assert other.x - (one.x + one.width) > BOX_GAP - 1e-6
    for upper, lower in pairwise(sorted(rows)):
        assert lower - upper > BOX_HEIGHT + ROW_GAP - 1e-6


@given(_laid_out())
def test_everything_is_on_the_canvas(drawn: tuple[Picture, list[float], Layout]) -> None:
    _, _, layout = drawn
    for box in layout.boxes:
        assert box.x >= -1e-6
        assert box.y >= 0
        assert box.x + box.width <= layout.width + 1e-6
        assert box.y + box.height <= layout.height + 1e-6
    for route in layout.routes:
        for x, y in route:
            assert -1e-6 <= x <= layout.width + 1e-6
            assert 0 <= y <= layout.height


@given(_laid_out())
def test_arrows_go_down_from_box_to_box(drawn: tuple[Picture, list[float], Layout]) -> None:
    picture, _, layout = drawn
    for arrow, route in zip(picture.edges, layout.routes, strict=True):
        source, target = layout.boxes[arrow.source], layout.boxes[arrow.target]
        assert layout.rows[arrow.source] < layout.rows[arrow.target]
        assert len(route) % 2 == 0
        assert all(upper[1] < lower[1] for upper, lower in pairwise(route))
        assert route[0][1] == source.y + BOX_HEIGHT
        assert route[-1][1] == target.y
        assert source.x < route[0][0] < source.x + source.width
        assert target.x < route[-1][0] < target.x + target.width


@given(_laid_out())
def test_arrows_pass_between_boxes(drawn: tuple[Picture, list[float], Layout]) -> None:
    """Curves stay in the gaps between rows; where an arrow passes a row it runs straight and touches no box."""
    _, _, layout = drawn
    for route in layout.routes:
        for (x, top), (to_x, bottom) in zip(route[1:-1:2], route[2:-1:2], strict=True):
            assert x == to_x
            for box in layout.boxes:
                if top <= box.y < bottom:
                    assert not box.x < x < box.x + box.width


@given(_laid_out())
def test_no_only_arrow_is_almost_straight(drawn: tuple[Picture, list[float], Layout]) -> None:
    picture, _, layout = drawn
    leaving = Counter(arrow.source for arrow in picture.edges)
    for arrow, route in zip(picture.edges, layout.routes, strict=True):
        if leaving[arrow.source] == 1:
            aside = abs(route[0][0] - route[1][0])
            assert aside == 0 or aside > PORT_GAP


@given(_laid_out())
def test_rows_are_levels_except_for_values(drawn: tuple[Picture, list[float], Layout]) -> None:
    picture, _, layout = drawn
    level = levels(picture)
    values = [box.kind in ("constant", "external") for box in picture.nodes]
    lift = {at - row for at, row, value in zip(level, layout.rows, values, strict=True) if not value}
    assert len(lift) <= 1  # one shift for all, when the values were the whole of the top row


@given(_laid_out())
def test_the_same_picture_is_laid_out_the_same(drawn: tuple[Picture, list[float], Layout]) -> None:
    picture, widths, layout = drawn
    assert lay_out(picture, widths) == layout


def test_a_value_stands_above_its_first_reader(chain: Shape) -> None:
    line = chain(6)
    picture = Picture((*line.nodes, Box("5", "constant")), (*line.edges, Arrow(6, 5), Arrow(6, 4)))
    assert lay_out(picture, [64.0] * 7).rows == (0, 1, 2, 3, 4, 5, 3)


def test_a_tree_is_symmetrical() -> None:
    arrows = [(0, 4), (1, 4), (2, 5), (3, 5), (4, 6), (5, 6)]
    layout = lay_out(Picture((Box("x"),) * 7, tuple(Arrow(*pair) for pair in arrows)), [64.0] * 7)
    middle = [box.x + 32 for box in layout.boxes]
    assert middle[4] == pytest.approx((middle[0] + middle[1]) / 2)
    assert middle[5] == pytest.approx((middle[2] + middle[3]) / 2)
    assert middle[6] == pytest.approx((middle[4] + middle[5]) / 2)


def test_crossed_lines_are_uncrossed() -> None:
    picture = Picture((Box("x"),) * 6, (Arrow(0, 5), Arrow(1, 4), Arrow(2, 3)))
    layout = lay_out(picture, [64.0] * 6)
    assert all(route[0][0] == route[-1][0] for route in layout.routes)


def test_a_chain_is_one_straight_line(chain: Shape) -> None:
    layout = lay_out(chain(50), [64.0 + 4 * (number % 7) for number in range(50)])
    assert len({round(x, 6) for route in layout.routes for x, _ in route}) == 1


def test_no_chain_is_too_deep(chain: Shape) -> None:
    layout = lay_out(chain(20_000), [64.0] * 20_000)
    assert layout.rows == tuple(range(20_000))


def test_waypoints_stay_linear_in_the_picture(chain: Shape) -> None:
    """Every box of a long chain read by the last one: the longest arrows run straight over the rows."""
    line = chain(2000)
    picture = Picture(line.nodes, (*line.edges, *[Arrow(at, 1999) for at in range(1998)]))
    layout = lay_out(picture, [64.0] * 2000)
    assert sum(map(len, layout.routes)) < 20 * (len(picture.nodes) + len(picture.edges))


def test_nothing_is_laid_out_as_nothing() -> None:
    assert lay_out(Picture((), ()), []) == Layout((), (), (), 0.0, 0.0)


def test_a_circle_is_refused() -> None:
    with pytest.raises(CyclicGraph):
        lay_out(Picture((Box("a"), Box("b")), (Arrow(0, 1), Arrow(1, 0))), [64.0, 64.0])
