"""Taking calls apart and putting them together again."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lazygraph.values.template import PLAIN, Op, Template, call, put_together, take_apart


class Lazy:
    """Stands for a promise."""


def is_lazy(value: Any) -> bool:
    return isinstance(value, Lazy)


def test_what_holds_nothing_lazy_is_one_leaf() -> None:
    values = [[1, [2, {"k": 3}]], "a", {4}]
    leaves, ops = take_apart(values, is_lazy)
    assert ops == [Op("leaf", 3)]
    assert all(leaf is value for leaf, value in zip(leaves, values, strict=True))


def test_only_containers_with_something_lazy_are_taken_apart() -> None:
    lazy = Lazy()
    leaves, ops = take_apart([[1, [2, 3]], [lazy, [4, 5]], 6], is_lazy)
    assert leaves == [[1, [2, 3]], lazy, [4, 5], 6]
    assert ops == [Op("leaf", 3), Op("list", 2), Op("leaf", 1)]
    assert put_together(ops, leaves) == [[1, [2, 3]], [lazy, [4, 5]], 6]


def test_calls_of_one_shape_have_equal_templates() -> None:
    shapes = set()
    for number in range(3):
        _, ops = take_apart([[Lazy(), number], {"k": Lazy()}], is_lazy)
        shapes.add(Template(tuple(ops), 1, ("key",)))
    assert len(shapes) == 1
    assert next(iter(shapes)).leaves == 4


def test_a_template_calls_with_positions_and_keywords() -> None:
    template = Template((Op("leaf", 2), Op("list", 1), Op("leaf", 1)), 2, ("k",))
    assert call(lambda *args, **kwargs: (args, kwargs), template, [1, 2, 3]) == ((1, [2]), {"k": 3})


def test_empty_containers_come_back() -> None:
    lazy = Lazy()
    leaves, ops = take_apart([[lazy, [], (), {}]], is_lazy)
    assert put_together(ops, leaves) == [[lazy, [], (), {}]]


LAZY = st.builds(Lazy)
VALUES = st.recursive(
    st.one_of(LAZY, st.integers(), st.text(max_size=2)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(st.integers(), inner, max_size=3),
    ),
    max_leaves=25,
)


@given(st.lists(VALUES, max_size=4))
def test_putting_together_undoes_taking_apart(values: list[Any]) -> None:
    leaves, ops = take_apart(values, is_lazy)
    assert put_together(ops, leaves) == values
    assert sum(op.size for op in ops if op.kind == "leaf") == len(leaves)
    assert not any(later.kind == op.kind == "leaf" for op, later in pairwise(ops))


@given(st.lists(VALUES, max_size=4))
def test_who_says_which_types_are_lazy_gets_the_same(values: list[Any]) -> None:
    assert take_apart(values, is_lazy, PLAIN | {Lazy}) == take_apart(values, is_lazy)
