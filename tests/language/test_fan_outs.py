"""What a fan-out says of failures goes with it wherever it is written, shown and sent."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from lazygraph import delayed, each, from_json
from lazygraph.errors import InvalidOption


@delayed
def inverse(x: float) -> float:
    return 1 / x


@delayed
def listed(*values: Any) -> list[Any]:
    return list(values)


SKIPPING = listed.s(1, 0, 2) | each(inverse.s(), on_error="skip")


def test_it_is_shown() -> None:
    assert repr(each(inverse.s())) == "each(inverse.s())"
    assert repr(each(inverse.s(), on_error="skip", fail_fast=True)) == (
        "each(inverse.s(), on_error='skip', fail_fast=True)"
    )


def test_it_stays_when_something_else_is_said() -> None:
    said = each(inverse.s(), on_error="skip").set(queue="io").link(listed.s())
    assert (listed.s(1, 0) | said).compute() == [1.0]


def test_it_is_pickled() -> None:
    again = pickle.loads(pickle.dumps(SKIPPING))
    assert repr(again) == repr(SKIPPING)
    assert again.compute() == [1.0, 0.5]
    assert pickle.loads(pickle.dumps(SKIPPING.to_delayed())).compute() == [1.0, 0.5]


def test_it_is_written_as_json() -> None:
    assert from_json(SKIPPING.to_json()).compute() == [1.0, 0.5]
    fast = from_json(each(inverse.s(), on_error="collect", fail_fast=True).to_json())
    assert repr(fast) == "each(inverse.s(), on_error='collect', fail_fast=True)"
    assert from_json(SKIPPING.graph.to_json()).compute() == ([1.0, 0.5],)


def test_it_holds_around_promises_of_the_graph() -> None:
    zero = listed(0)[0]
    member = inverse.s() | listed.s(inverse(2.0))
    assert (listed.s(1, 0) | each(member, on_error="skip")).compute() == [[1.0, 0.5]]
    assert (listed.s(1, zero) | each(inverse.s(), on_error="skip")).compute() == [1.0]


def test_another_word_is_an_error() -> None:
    with pytest.raises(InvalidOption, match=r"each\(on_error='skipp'\): .* did you mean 'skip'"):
        each(inverse.s(), on_error="skipp")


def test_what_is_no_list_is_an_error_whatever_is_said() -> None:
    with pytest.raises(TypeError, match="fans out over a list"):
        (delayed(int).s(3) | each(inverse.s(), on_error="skip")).compute()
