"""SVG that any reader of XML takes, whatever the labels are, and that needs nothing but itself."""

import re
from collections.abc import Callable
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lazygraph.showing.draw import DARK, DARK_PAGE, LIGHT, LIGHT_PAGE, text_width, to_svg
from lazygraph.showing.picture import Arrow, Box, Picture, caption, condense, tooltip

Shape = Callable[[int], Picture]
SVG = "{http://www.w3.org/2000/svg}"


def boxes_of(root: ElementTree.Element) -> list[ElementTree.Element]:
    return [group for group in root.iter(f"{SVG}g") if group.find(f"{SVG}title") is not None]


def lines_of(text: str | None) -> str:
    """XML readers turn every kind of line end into one."""
    return (text or "").replace("\r\n", "\n").replace("\r", "\n")


@given(st.from_type(Picture))
def test_it_parses_and_says_every_label(picture: Picture) -> None:
    root = ElementTree.fromstring(to_svg(picture))
    drawn = condense(picture)
    boxes = boxes_of(root)
    assert root.tag == f"{SVG}svg"
    assert root.get("role") == "img"
    assert [lines_of(box.findtext(f"{SVG}title")) for box in boxes] == [lines_of(tooltip(box)) for box in drawn.nodes]
    assert [box.findtext(f"{SVG}text") or "" for box in boxes] == [caption(box) for box in drawn.nodes]
    assert [box.get("class") for box in boxes] == [f"box {box.kind}" for box in drawn.nodes]


@given(st.from_type(Picture))
def test_it_can_be_written_and_is_always_the_same(picture: Picture) -> None:
    svg = to_svg(picture)
    assert svg.encode("utf-8").decode("utf-8") == svg
    assert to_svg(Picture(picture.nodes, picture.edges, picture.title)) == svg


@given(st.from_type(Picture))
def test_every_arrow_is_one_line(picture: Picture) -> None:
    root = ElementTree.fromstring(to_svg(picture))
    for kind in ("data", "order"):
        lines = [path.get("d", "") for path in root.iter(f"{SVG}path") if f"line {kind}" in path.get("class", "")]
        legend = any(arrow.kind == "order" for arrow in picture.edges) if kind == "order" else False
        expected = sum(arrow.kind == kind for arrow in condense(picture).edges)
        assert sum(line.count("M") for line in lines) == expected + legend


def test_markup_in_labels_stays_text() -> None:
    nasty = "</text><script>alert('1')</script> & \"quoted\" ]]>"
    svg = to_svg(Picture((Box(nasty, note=nasty),), (), title=nasty))
    assert "<script" not in svg
    root = ElementTree.fromstring(svg)
    assert root.get("aria-label") == f"{nasty}: 1 nodes, 0 arrows"
    assert root.find(f".//{SVG}title").text == f"{nasty}\n{nasty}"  # type: ignore[union-attr]


def test_it_needs_nothing_but_itself(fan: Shape) -> None:
    svg = to_svg(fan(5)).replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert not re.search(r"https?:|href|url\(|@import|<script|<image|<foreignObject|\bid=|\bon[a-z]+=", svg)


def test_kinds_and_order_are_explained_when_they_occur() -> None:
    def words(picture: Picture) -> list[str]:
        root = ElementTree.fromstring(to_svg(picture))
        return [text.text or "" for text in root.iter(f"{SVG}text") if text.get("class") == "small"]

    assert words(Picture((Box("a"), Box("b")), (Arrow(0, 1),))) == []
    assert words(Picture((Box("a"), Box("b")), (Arrow(0, 1, "order"),))) == ["order only"]
    assert words(Picture((Box("1", "constant"), Box("a"), Box("b", "output")), ())) == ["task", "value", "output"]


def test_a_large_graph_says_what_it_hides(fan: Shape) -> None:
    svg = to_svg(fan(1500))
    assert "1502 nodes drawn as 3; ×n stands for n nodes" in svg
    assert "a fan: 1502 nodes, 3000 arrows" in svg
    assert "parse ×1500" in svg
    assert len(svg) < 10_000


def test_a_chain_of_100_000_is_a_small_picture(chain: Shape) -> None:
    assert len(to_svg(chain(100_000))) < 20_000


def test_nothing_is_drawn_as_a_sentence() -> None:
    assert "nothing to draw" in to_svg(Picture((), ()))


def test_everything_fits_the_card() -> None:
    """Also a title and a legend that are wider than the graph."""
    kinds = ("task", "constant", "output", "group", "fused", "external")
    picture = Picture(tuple(Box("x", kind) for kind in kinds), tuple(Arrow(n, n + 1) for n in range(5)), "t" * 70)
    root = ElementTree.fromstring(to_svg(picture))
    width, height = float(root.get("width", "0")), float(root.get("height", "0"))
    for text in root.iter(f"{SVG}text"):
        if text.get("class"):  # the others stand inside a shifted group
            size = 16 if text.get("class") == "title" else 12
            assert float(text.get("x", "0")) + text_width(text.text or "", size) <= width
            assert float(text.get("y", "0")) <= height


@pytest.mark.parametrize(("palette", "page"), [(LIGHT, LIGHT_PAGE), (DARK, DARK_PAGE)], ids=["light", "dark"])
def test_texts_can_be_read_on_their_grounds(
    palette: dict[str, tuple[str, str, str]], page: tuple[str, str, str, str, str, str]
) -> None:
    """WCAG's contrast for normal text is 4.5, for lines 3 at best and 2 for what only decorates."""
    for fill, stroke, text in palette.values():
        assert contrast(text, fill) >= 4.5
        assert contrast(stroke, page[0]) >= 1.8
    sheet, _, headline, small, arrows, failures = page
    assert contrast(headline, sheet) >= 4.5
    assert contrast(small, sheet) >= 4.5
    assert contrast(arrows, sheet) >= 2.0
    assert contrast(failures, sheet) >= 3.0


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
