"""Canvases are values, and what is no value of ours is not passed on in silence."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

import lazygraph
from lazygraph import chain, compute, delayed, each, group
from lazygraph.errors import WrongCall, WrongCanvas

dask = pytest.importorskip("dask")


@delayed
def add(x: Any, y: Any) -> Any:
    return x + y


inc = delayed(lambda x: x + 1, name="inc")
listed = delayed(list)


@pytest.mark.parametrize(("name", "value"), [("args", (1,)), ("kwargs", {}), ("immutable", True), ("anything", 1)])
def test_a_signature_cannot_be_changed(name: str, value: Any) -> None:
    signature = add.s(1, y=2)
    with pytest.raises(AttributeError, match=r"add\.s\(1, y=2\) is a value .*; \.clone\(\) and \.set\(\)"):
        setattr(signature, name, value)
    assert repr(signature) == "add.s(1, y=2)"


def test_nor_can_its_keywords() -> None:
    signature = add.s(1, y=2)
    with pytest.raises(TypeError):
        signature.set(priority=0).kwargs["y"] = 9
    assert signature.compute() == 3


def test_a_hole_in_a_fan_out_is_found_before_it_runs() -> None:
    with pytest.raises(WrongCall, match=rf"missing a required argument: 'y' \(written at {__file__}"):
        (listed.s([]) | each(add.s())).to_delayed()
    assert (listed.s([1]) | each(add.s(y=2))).compute() == [3]


def test_the_result_of_a_started_group_is_an_argument_like_any_other() -> None:
    started = group(inc.s(1), inc.s(4) | group(inc.s(), inc.s()), inc.s(3)).delay()
    assert compute(started, delayed(len)(started)) == ([2, [6, 6], 4], 3)
    assert compute({"k": started}) == ({"k": [2, [6, 6], 4]},)


def test_a_future_in_a_canvas_is_told_how() -> None:
    with pytest.raises(WrongCanvas, match=r"has no place in a chain; write delayed\(future\)"):
        chain(inc.delay(1), inc.s())
    assert chain(delayed(inc.delay(1)), inc.s()).compute() == 3


def test_a_canvas_that_holds_a_future_cannot_be_pickled_and_says_so() -> None:
    with pytest.raises(TypeError, match="cannot be pickled; give it to a call"):
        pickle.dumps(inc.s(inc.delay(1)))


def test_many_calls_need_a_list_that_is_known() -> None:
    for verb in (inc.map, add.starmap, lambda rows: add.chunks(rows, 2)):
        with pytest.raises(WrongCanvas, match=r"takes a list that is known now.*use each\(\)"):
            verb(listed([1]))
        with pytest.raises(WrongCanvas, match="takes a list, not 5"):
            verb(5)


@pytest.mark.parametrize("callback", [inc, 5, [inc]])
def test_a_callback_is_a_canvas(callback: Any) -> None:
    with pytest.raises(WrongCanvas, match="a callback is a signature or a canvas"):
        inc.s(1).apply_async(link=callback)


def test_a_promise_of_dask_is_taken_for_its_value_wherever_it_stands() -> None:
    theirs = dask.delayed(abs)(-1)
    assert compute(theirs) == (1,)
    assert compute([{"k": theirs}]) == ([{"k": 1}],)
    assert inc(theirs).compute() == 2
    assert listed([theirs, 2]).compute() == [1, 2]
    assert inc.s(theirs).compute() == 2
    assert lazygraph.persist(theirs)[0].compute() == 1
