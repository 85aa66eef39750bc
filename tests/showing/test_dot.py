"""Graphviz text and files, with and without graphviz installed."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lazygraph.errors import InvalidOption, MissingExtra, MissingProgram
from lazygraph.showing.dot import has_graphviz, quoted, render, to_dot
from lazygraph.showing.draw import to_svg
from lazygraph.showing.picture import Arrow, Box, Picture

Shape = Callable[[int], Picture]
needs_graphviz = pytest.mark.skipif(not has_graphviz(), reason="graphviz's package or program is not installed")


@pytest.fixture
def no_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As on a machine without the program `dot`."""
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture
def no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in an environment without the package graphviz."""
    monkeypatch.setitem(sys.modules, "graphviz", None)


def unquoted(text: str) -> str:
    """What dot reads from a quoted string of a label."""
    assert text[0] == text[-1] == '"'
    shown: list[str] = []
    letters = iter(text[1:-1])
    for letter in letters:
        assert letter not in '"\n'
        if letter == "\\":
            letter = {"n": "\n", "\\": "\\", '"': '"'}[next(letters)]
        shown.append(letter)
    return "".join(shown).replace("&amp;", "&")


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from('\\"&\n;{}<>lNG')))
def test_a_quoted_text_is_read_as_it_was(text: str) -> None:
    assert unquoted(quoted(text)) == text.replace("\ufffe", "\ufffd").replace("\uffff", "\ufffd")


@given(st.from_type(Picture))
def test_one_line_for_each_box_and_arrow(picture: Picture) -> None:
    lines = to_dot(picture).splitlines()
    assert lines[0] == "digraph lazygraph {"
    assert lines[-1] == "}"
    assert [line.split(" ", 3)[2] for line in lines if line.startswith("  n") and " [label=" in line] == [
        f"n{number}" for number in range(len(picture.nodes))
    ]
    assert [
        line.strip().rstrip(";").split(" [")[0] for line in lines if line.startswith("  n") and " -> n" in line
    ] == [f"n{arrow.source} -> n{arrow.target}" for arrow in picture.edges]
    to_dot(picture).encode()


def test_kinds_order_and_counts_are_seen() -> None:
    boxes = (Box("1", "constant"), Box("add", note="line 3"), Box("sum", "output", count=4))
    text = to_dot(Picture(boxes, (Arrow(0, 1), Arrow(1, 2, "order", 4)), "t"))
    assert 'n1 [label="add", tooltip="add\\nline 3", style="rounded,filled",' in text
    assert 'n2 [label="sum ×4", tooltip="sum ×4", style="rounded,filled,bold",' in text
    assert text.count("peripheries=2") == 1
    assert "  n0 -> n1;" in text
    assert "  n1 -> n2 [style=dashed, penwidth=1.8];" in text


@needs_graphviz
@pytest.mark.parametrize(("format", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("jpg", b"\xff\xd8")])
def test_graphviz_takes_it(format: str, start: bytes, fan: Shape) -> None:
    assert render(fan(3), format=format).startswith(start)


@needs_graphviz
def test_graphviz_shows_odd_labels_as_they_are() -> None:
    odd = ['\\N "q" \\', "a &lt; b", "<b>x</b>", "{a|b}", "é → 漢", "two\nlines", ""]
    content = render(Picture(tuple(map(Box, odd)), ()), format="svg")
    texts = [text.text or "" for text in ElementTree.fromstring(content).iter("{http://www.w3.org/2000/svg}text")]
    assert [text.replace("\N{NO-BREAK SPACE}", " ") for text in texts] == [
        '\\N "q" \\',
        "a &lt; b",
        "<b>x</b>",
        "{a|b}",
        "é → 漢",
        "two lines",
    ]


@pytest.mark.usefixtures("no_program")
def test_svg_needs_no_program(fan: Shape, tmp_path: Path) -> None:
    picture = fan(3)
    assert render(picture) == to_svg(picture).encode()
    assert render(picture, tmp_path / "graph.svg") == (tmp_path / "graph.svg").read_bytes() == to_svg(picture).encode()


@pytest.mark.usefixtures("no_package")
def test_svg_needs_no_package(fan: Shape) -> None:
    assert render(fan(3)) == to_svg(fan(3)).encode()


@pytest.mark.usefixtures("no_program")
def test_other_formats_say_which_program_is_missing(fan: Shape, tmp_path: Path) -> None:
    pytest.importorskip("graphviz")
    with pytest.raises(MissingProgram, match="a picture as png needs the program 'dot', which was not found; install"):
        render(fan(3), tmp_path / "graph.png")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_package")
def test_other_formats_say_which_extra_is_missing(fan: Shape, tmp_path: Path) -> None:
    with pytest.raises(MissingExtra, match=r"a picture as pdf needs .*: pip install 'lazygraph\[viz\]'"):
        render(fan(3), tmp_path / "graph.pdf")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_package", "no_program")
def test_dot_text_needs_neither(fan: Shape, tmp_path: Path) -> None:
    render(fan(3), str(tmp_path / "graph.dot"))
    assert (tmp_path / "graph.dot").read_text(encoding="utf-8") == to_dot(fan(3))


def test_the_given_format_is_stronger_than_the_suffix(fan: Shape, tmp_path: Path) -> None:
    assert render(fan(3), tmp_path / "graph.png", "dot") == to_dot(fan(3)).encode()


def test_an_unknown_format_is_refused_with_a_suggestion(fan: Shape, tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match="no format 'pgn'; did you mean 'png'"):
        render(fan(3), tmp_path / "graph.pgn")


def test_a_large_picture_is_condensed_first(fan: Shape) -> None:
    assert b"parse \xc3\x971500" in render(fan(1500), format="dot")


def test_importing_loads_no_graphviz() -> None:
    code = "import sys, lazygraph.showing.dot, lazygraph.showing.explain; print('graphviz' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
