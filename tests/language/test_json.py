"""Canvases as JSON texts, and back."""

from __future__ import annotations

import json
import operator
import random
import statistics
import subprocess
import sys
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from lazygraph import Graph, chain, chord, delayed, each, from_json, group, quote
from lazygraph.errors import InvalidOption, WrongCall
from lazygraph.testing.conformance import tasks
from tests.language.canvases import Described, Language, Speller, often

plus = delayed(operator.add)
total = delayed(sum)
WHOLE = Language(failing=False, callbacks=True, each=True, replace=True)


def again(canvas: Any) -> Any:
    return from_json(canvas.to_json())


@often(200)
@given(WHOLE.described(), st.randoms(use_true_random=False))
def test_any_canvas_is_read_as_it_was_written(said: Described, chance: random.Random) -> None:
    canvas = Speller(said, chance).canvas()
    read = again(canvas)
    assert repr(read) == repr(canvas)
    assert read.to_json() == canvas.to_json()
    assert read.compute(executor="sync") == canvas.compute(executor="sync")


@often(100)
@given(Language(failing=True, callbacks=True, each=True, replace=True).open())
def test_also_with_what_answers_for_failures(said: Described) -> None:
    canvas = Speller(said).canvas()
    read = again(canvas)
    assert repr(read) == repr(canvas)
    assert read.to_json() == canvas.to_json()


def test_every_kind_of_canvas() -> None:
    for canvas in (
        plus.s(1, 2),
        plus.si(1, 2) | plus.s(3) | group(plus.s(4), plus.s(5)) | total.s(),
        chord((plus.s(i, i) for i in range(3)), total.s()),
        delayed(range).s(3) | each(plus.s(10)) | total.s(),
        plus.map([]) | delayed(len).s(),
        tasks.call.starmap([(1,), (2,)]),
        plus.chunks([(1, 2), (3, 4), (5, 6)], 2),
        group(),
        tasks.describe.s(1, k=[plus.s(1, 2), {"in": total.s([plus.s(3, 4)])}]),
        tasks.describe.s(int, plus, key=operator.mul),
    ):
        read = again(canvas)
        assert repr(read) == repr(canvas)
        assert read.compute() == canvas.compute()


def test_options_callbacks_and_places_are_kept() -> None:
    first = plus.options(queue="io").s(1, 2).set(name="First")
    canvas = chain(first.link(plus.s(3)), group(plus.s(1), plus.si(1, 2)).set(priority=2).link_error(tasks.give.s()))
    read = again(canvas)
    shape, before = read.graph.shape, canvas.graph.shape
    assert [shape.name_of(at) for at in range(len(shape))] == [before.name_of(at) for at in range(len(before))]
    assert [shape.origin_of(at) for at in range(len(shape))] == [before.origin_of(at) for at in range(len(before))]
    assert (shape.options, shape.scopes, list(shape.callbacks)) == (
        before.options,
        before.scopes,
        list(before.callbacks),
    )
    assert shape.options[1].queue == "io"


def test_a_promise_in_a_canvas_travels_as_its_graph_and_stays_one_node() -> None:
    shared = plus(plus(1, 2), 3)
    canvas = shared | group(plus.s(shared), plus.s(shared)) | total.s()
    read = again(canvas)
    assert read.compute() == canvas.compute() == 24
    assert len(read.graph) == len(canvas.graph)


def test_what_is_quoted_stays_quoted() -> None:
    canvas = tasks.call.s(1) | tasks.become.s(by=quote(plus.s(1) | plus.s(2)))
    assert again(canvas).graph.to_json() == canvas.graph.to_json()
    boxed = delayed(len).s(quote([plus.s(1), plus(1, 2)]))
    assert again(boxed).compute() == 2


def test_ten_thousand_deep() -> None:
    deep, inner, listed = plus.s(1, 2), plus.s(0, 0), [0]
    for _ in range(10_000):
        deep = plus.s(deep, 1)
        inner = chain(group(inner), total.s())
        listed = [listed]
    assert again(deep).compute() == 10_003
    assert again(inner).compute() == 0
    read = again(delayed(len).s(listed)).compute()
    assert read == 1


def test_ten_thousand_wide() -> None:
    canvas = group(plus.s(i, 1) for i in range(10_000)) | total.s()
    assert again(canvas).compute() == canvas.compute()


def test_it_runs_in_another_process() -> None:
    canvas = chord([plus.s(n, plus(1, 1)) for n in range(4)], delayed(statistics.mean).s())
    code = "import sys, lazygraph; print(lazygraph.from_json(sys.stdin.read()).compute())"
    done = subprocess.run(
        [sys.executable, "-c", code], input=canvas.to_json(), capture_output=True, text=True, check=True
    )
    assert done.stdout == "3.5\n"


# -- what cannot be written ------------------------------------------------------------------------


def test_a_function_without_a_name_is_named() -> None:
    canvas = group(plus.s(1, 2), delayed(lambda x: x).s(1))
    with pytest.raises(InvalidOption, match=rf"^'<lambda>' \({__file__}:\d+\): .* cannot be found as"):
        canvas.to_json()


def test_an_argument_without_json_is_named_with_its_place_and_type() -> None:
    with pytest.raises(InvalidOption, match=rf"'add' \({__file__}:\d+\), argument 2 is or contains a object, which"):
        plus.s(1, [object()]).to_json()
    with pytest.raises(InvalidOption, match="argument key= is or contains a object"):
        tasks.describe.s(key=object()).to_json()
    own = plus.options(priority=1)
    with pytest.raises(InvalidOption, match="has options of its own and no name that leads to it"):
        tasks.describe.s(own).to_json()
    itself: list[Any] = []
    itself.append(itself)
    with pytest.raises(InvalidOption, match="argument 1 contains itself"):
        tasks.describe.s(itself).to_json()


# -- what cannot be read ---------------------------------------------------------------------------


def text(*parts: Any, **more: Any) -> str:
    return json.dumps({"lazygraph": "canvas", "version": 1, "parts": parts, **more})


ADD = {"signature": "operator:add", "args": [1, 2]}


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ("[1", "this is no JSON: "),
        ("{}", "not the text of a graph or canvas"),
        ('{"lazygraph": "canvas", "version": 2}', "of version 2, and this lazygraph reads version 1"),
        (text(), "the canvas has no parts"),
        (text({"chian": []}), "part 0 is none of signature, chain, group, header, each"),
        (
            text({**ADD, "immutabel": True}),
            "part 0 has 'immutabel', which means nothing .* 'immutable'",
        ),
        (text({"signature": "no.such:thing"}), "part 0: function 'no.such:thing' is unknown here: No module named"),
        (text({"signature": "operator:addd"}), "part 0: function 'operator:addd' is unknown here: .* no attribute"),
        (text({"signature": "operator"}), "'operator' is no function; its name is written 'module:name'"),
        (text({"signature": "math:pi"}), "part 0: 'math:pi' is float, and cannot be called"),
        (text({"chain": [{"$part": 1}]}, ADD), "part 0: there is no part or promise 1 before it"),
        (text(ADD, {"chain": [7]}), "a chain is made of signatures"),
        (text({**ADD, "links": [0]}), "part 0, links: there is no part or promise 0 before it"),
        (text({**ADD, "args": [{"$tupel": []}]}), r"part 0, argument 1: \$tupel is no tag that is known here"),
        (text({**ADD, "args": [{"$bytes": "?"}]}), "part 0, argument 1 is not well written: "),
        (text({**ADD, "args": [{"$value": 0}]}), "part 0, argument 1 names value 0, and there are 0"),
        (text({**ADD, "args": [{"$value": 0}]}, values=[[{"$value": 0}]]), "value 0 contains itself"),
        (text({**ADD, "args": 1}), "part 0: 'args' is int, and a list is wanted"),
        (
            text({**ADD, "set": {"quewe": "io"}}),
            "part 0, set has 'quewe', which .*; did you mean 'queue'",
        ),
        (text({**ADD, "set": {"priority": "high"}}), "priority='high': an integer"),
        (text({"each": [1]}), "part 0: each is of a canvas, not of"),
    ],
)
def test_a_text_that_is_wrong_says_where(written: str, sentence: str) -> None:
    with pytest.raises(InvalidOption, match=sentence):
        from_json(written)


def test_a_call_that_cannot_be_is_found_when_it_is_read() -> None:
    with pytest.raises(WrongCall, match=r"mean.* cannot be called like this: too many .* \(written at there.py:3\)"):
        from_json(text({"signature": "statistics:mean", "args": [1, 2], "origin": "there.py:3"}))


def test_the_text_of_a_canvas_is_no_graph() -> None:
    with pytest.raises(InvalidOption, match=r"the text of a canvas, not of a graph; use lazygraph\.from_json"):
        Graph.from_json(plus.s(1, 2).to_json())
