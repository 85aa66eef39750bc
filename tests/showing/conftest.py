"""Pictures for the tests of this floor: random ones by `st.from_type(Picture)`, two shapes by fixture."""

from collections.abc import Callable

import pytest
from hypothesis import strategies as st

from lazygraph.showing.picture import Arrow, Box, Picture

KINDS = st.sampled_from(["task", "task", "constant", "output", "group", "fused", "external"])
NAMES = st.sampled_from(["parse", "merge", "add", "report"])
ANY_TEXT = st.text(st.characters(codec=None), max_size=50)  # control characters, quotes, lone surrogates and all


@st.composite
def _pictures(draw: st.DrawFn) -> Picture:
    """Any acyclic picture: the numbers of boxes say nothing about their order, arrows may repeat, labels may be odd."""
    size = draw(st.integers(0, 24))
    order = draw(st.permutations(range(size)))
    pairs = [(order[low], order[high]) for high in range(size) for low in range(high)]
    chosen = draw(st.lists(st.sampled_from(pairs), max_size=3 * size)) if pairs else []
    label = draw(st.sampled_from([NAMES, NAMES | ANY_TEXT]))
    box = st.builds(Box, label, KINDS, st.just("") | label)
    arrow_kind = st.sampled_from(["data", "data", "order"])
    return Picture(
        tuple(draw(st.lists(box, min_size=size, max_size=size))),
        tuple(Arrow(one, other, draw(arrow_kind)) for one, other in chosen),
        draw(label),
    )


st.register_type_strategy(Picture, _pictures())


@pytest.fixture(scope="session")
def fan() -> Callable[[int], Picture]:
    """One box, many of one name that read it, one output that reads them."""

    def make(width: int) -> Picture:
        boxes = (Box("list"), *[Box("parse")] * width, Box("report", "output"))
        down = [Arrow(0, member) for member in range(1, width + 1)]
        return Picture(boxes, (*down, *[Arrow(member, width + 1) for member in range(1, width + 1)]), "a fan")

    return make


@pytest.fixture(scope="session")
def chain() -> Callable[[int], Picture]:
    """Boxes of one name, each reading the one before."""

    def make(length: int) -> Picture:
        return Picture((Box("inc"),) * length, tuple(Arrow(at, at + 1) for at in range(length - 1)), "a chain")

    return make
