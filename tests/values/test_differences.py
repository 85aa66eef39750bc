"""Why two keys differ: the places, and an account that can be written down."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lazygraph import delayed
from lazygraph.errors import Unkeyable
from lazygraph.values.differences import Difference, NoAccount, diff_keys, explain_key, from_json
from lazygraph.values.keys import key_of


def said(left: Any, right: Any) -> list[str]:
    return [str(difference) for difference in diff_keys(left, right)]


def adding(n: int) -> Any:
    def helper(x: int) -> int:
        return x + n

    return lambda x: helper(x) * 2


def multiplied(x: int) -> int:
    return x * 2


@pytest.mark.parametrize(
    ("left", "right", "sentences"),
    [
        ([1, 2], [1, 2], []),
        (0.0, -0.0, ["all of it: 0.0 | -0.0"]),
        (1, True, ["all of it: 1 | True"]),
        ([1, 2], [1, 3], ["[1]: 2 | 3"]),
        ([1], [1, 2], ["[1]: nothing | 2"]),
        ([], [1], ["all of it: list of 0 | list of 1"]),
        ((1,), [1], ["all of it: tuple of 1 | list of 1"]),
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}, ["['a'], [1], ['b']: 2 | 3"]),
        ({"a": 1}, {"b": 1}, ["['a']: 1 | nothing", "['b']: nothing | 1"]),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, ["all of it: dict of 2 | dict of 2, the same parts in another order"]),
        ({1, 2}, {1, 3}, ["a member: 2 | 3"]),
        ({1, 2}, {1}, ["a member: 2 | nothing"]),
        (adding(1), adding(1), []),
        (adding(1), adding(2), ["closure helper, closure n: 1 | 2"]),
        (
            multiplied,
            adding(1),
            [
                "closure helper: nothing | function adding.<locals>.helper",
                "code: code of multiplied | code of <lambda>",
            ],
        ),
        (lambda x: x + 1, lambda x: x + 2, ["code, constant: 1 | 2"]),
        (lambda x: x + 1, lambda x: x - 1, ["code: code of <lambda> on either side, with other content"]),
    ],
)
def test_differences(left: Any, right: Any, sentences: list[str]) -> None:
    assert said(left, right) == sentences


def test_promises_are_followed_to_the_literal_that_differs() -> None:
    add = delayed(lambda x, y: x + y)
    assert said(add(add(1, 2), 3), add(add(1, 5), 3)) == ["argument 1, argument 2: 2 | 5"]


def test_values_that_contain_themselves() -> None:
    def ring(item: Any) -> list[Any]:
        made = [item]
        made.append(made)
        return made

    assert said(ring(1), ring(1)) == []
    assert said(ring(1), ring(2)) == ["[0]: 1 | 2"]


def test_only_so_many_are_named() -> None:
    assert len(diff_keys(list(range(100)), list(range(100, 200)), most=7)) == 7


VALUES = st.recursive(
    st.none() | st.integers(0, 3) | st.text(max_size=1),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3)
        | st.sets(st.integers(0, 5), max_size=3)
        | st.tuples(inner, inner)
    ),
    max_leaves=10,
)


@given(VALUES, VALUES)
def test_there_are_differences_exactly_when_keys_differ(left: Any, right: Any) -> None:
    assert bool(diff_keys(left, right)) == (key_of(left) != key_of(right))
    turned = [Difference(path, theirs, ours) for path, ours, theirs in diff_keys(right, left)]
    if not any("another order" in difference.right + difference.left for difference in turned):
        assert set(turned) == set(diff_keys(left, right))


@given(VALUES)
def test_an_account_survives_being_written_down(value: Any) -> None:
    account = explain_key([value, value])
    assert from_json(account.to_json()) == account
    assert account.key == key_of([value, value])
    assert diff_keys(from_json(account.to_json()), [value, value]) == []


def test_an_account_in_lines() -> None:
    shared = [1]
    lines = list(explain_key({"a": shared, "b": [shared, 2]}).lines())
    assert [line.lstrip().partition("  ")[2] for line in lines] == [
        "dict of 2",
        "['a']: list of 1",
        "[0]: 1",
        "['b']: list of 2",
        "[0]: list of 1 (as above)",
        "[1]: 2",
    ]
    assert list(explain_key(list(range(100))).lines(most=2))[-1] == "  ... and 98 more"


def test_nesting_and_size() -> None:
    deep: Any = 0
    for _ in range(20_000):
        deep = [deep]
    assert len(list(explain_key(deep).lines())) == 20_001
    assert diff_keys(deep, [deep])[0].path == ("[0]",) * 20_000


def test_what_has_no_key_has_no_account() -> None:
    with pytest.raises(Unkeyable, match=r"\[0\]: <lock>"):
        explain_key([threading.Lock()])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "nonsense",
        '{"lazygraph keys": 2, "entries": []}',
        '{"lazygraph keys": 1, "entries": []}',
        '{"lazygraph keys": 1, "entries": [1]}',
        '{"lazygraph keys": 1, "entries": [["a", "b", "c", true, [["d", 7]]]]}',
    ],
)
def test_what_is_no_account(text: str) -> None:
    with pytest.raises(NoAccount, match="lazygraph keys save") as caught:
        from_json(text)
    assert isinstance(caught.value, ValueError)
