"""`cache=` as a user meets it: a second run computes only what has changed."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from lazygraph import (
    Failure,
    Store,
    bind,
    chain,
    chord,
    compute,
    delayed,
    each,
    explain,
    from_json,
    group,
    quote,
    replace,
)
from lazygraph import options as lazy_options
from lazygraph.errors import CacheWarning, InvalidOption, Unkeyable
from lazygraph.executors import ThreadExecutor


@delayed
def say(folder: Path, name: str, value: Any = None) -> Any:
    mark(folder, name)
    return value


@delayed
def double(folder: Path, x: Any) -> Any:
    mark(folder, "double")
    return x * 2


def mark(folder: Path, name: str) -> None:
    with (folder / "ran").open("a") as file:
        file.write(name + "\n")


def ran(folder: Path) -> list[str]:
    """What has run since this was asked last."""
    place = folder / "ran"
    names = sorted(place.read_text().split()) if place.exists() else []
    place.unlink(missing_ok=True)
    return names


def made(source: str, folder: Path) -> Any:
    """The function `f` of a text, as a user's module would have it."""
    space: dict[str, Any] = {"__name__": "somebodys_module", "mark": mark, "folder": folder}
    exec(source, space)
    return delayed(space["f"], cache=True)


def test_a_second_run_computes_nothing(marks: Path) -> None:
    total = double.options(cache=True)(marks, say.options(cache=True)(marks, "say", 4))
    assert total.compute() == 8
    assert ran(marks) == ["double", "say"]
    assert total.compute() == 8
    assert ran(marks) == []


def test_a_changed_argument_is_made_again_and_what_is_below_it(marks: Path) -> None:
    def whole(n: int) -> Any:
        left = double.options(cache=True)(marks, say.options(cache=True)(marks, "left", n))
        right = say.options(cache=True)(marks, "right", 10)
        return double.options(cache=True)(marks, left + right)

    assert whole(1).compute() == 24
    assert ran(marks) == ["double", "double", "left", "right"]
    assert whole(2).compute() == 28
    assert ran(marks) == ["double", "double", "left"]
    assert whole(1).compute() == 24
    assert ran(marks) == []


@pytest.mark.parametrize(
    ("before", "after", "runs"),
    [
        (
            "def f(x, y=1):\n    mark(folder, 'f'); return x + y",
            "def f(x, y=1):\n    mark(folder, 'f'); return x - y",
            True,
        ),
        (
            "def f(x, y=1):\n    mark(folder, 'f'); return x + y",
            "def f(x, y=2):\n    mark(folder, 'f'); return x + y",
            True,
        ),
        (
            "K = 1\ndef f(x):\n    mark(folder, 'f'); return x + K",
            "K = 2\ndef f(x):\n    mark(folder, 'f'); return x + K",
            True,
        ),
        (
            "def f(x):\n    'Says.'\n    mark(folder, 'f'); return x",
            "\n\ndef f(x: int):\n    mark(folder, 'f'); return x",
            False,
        ),
    ],
    ids=["code", "default", "global", "docstring and lines"],
)
def test_a_function_is_its_content(before: str, after: str, runs: bool, marks: Path) -> None:
    made(before, marks)(5).compute()
    ran(marks)
    changed = made(after, marks)(5).compute()
    assert ran(marks) == (["f"] if runs else [])
    assert changed == made(after, marks).options(cache=False)(5).compute()


def test_everything_above_what_is_found_is_left_out(marks: Path) -> None:
    with lazy_options(pure=True):
        above = [say(marks, f"above-{n}", n) for n in range(5)]
        shared = say(marks, "shared", 1)
        total = double.options(cache=True)(marks, delayed(sum)([*above, shared]))
    assert total.compute() == 22
    ran(marks)
    assert compute(total, shared) == (22, 1)
    assert ran(marks) == ["shared"]


def test_below_an_impure_task_only_the_task_itself_is_saved(marks: Path) -> None:
    total = double.options(cache=True)(marks, say(marks, "impure", 4))
    assert [total.compute(), total.compute()] == [8, 8]
    assert ran(marks) == ["double", "impure", "impure"]
    # By the values of its inputs, whoever has made them.
    assert double.options(cache=True)(marks, say(marks, "another", 4)).compute() == 8
    assert ran(marks) == ["another"]
    assert double.options(cache=True)(marks, say(marks, "another", 5)).compute() == 10
    assert ran(marks) == ["another", "double"]


def test_what_waits_for_an_impure_task_without_reading_it_is_not_kept(marks: Path) -> None:
    steps = chain(say.s(marks, "prepare"), say.si(marks, "use", 1).set(cache=True))
    assert [steps.compute(), steps.compute()] == [1, 1]
    assert ran(marks) == ["prepare", "prepare", "use", "use"]
    assert "runs, and is not kept: it waits for what it does not read, and 'say' is not pure" in str(steps.explain())


def test_what_it_waits_for_is_part_of_a_key(marks: Path) -> None:
    def behind(n: int) -> Any:
        return bind(say.options(cache=True)(marks, "behind", 1), say.options(pure=True)(marks, "first", n))

    assert [behind(1).compute(), behind(1).compute()] == [1, 1]
    assert ran(marks) == ["behind", "first"]
    assert behind(2).compute() == 1
    assert ran(marks) == ["behind", "first"]


def test_a_canvas(marks: Path) -> None:
    header = chord([say.s(marks, f"member-{n}", n) for n in range(3)], delayed(sum).s()).set(cache=True)
    assert header.compute() == header.compute() == 3
    assert ran(marks) == ["member-0", "member-1", "member-2"]


def test_callbacks_get_the_value_that_was_kept(marks: Path) -> None:
    told: list[int] = []
    heard = threading.Event()

    @delayed
    def tell(value: int) -> None:
        told.append(value)
        heard.set()

    for _ in range(2):
        assert say.s(marks, "once", 3).set(cache=True).link(tell.s()).delay().get(30) == 3
        assert heard.wait(30)
        heard.clear()
    assert (told, ran(marks)) == ([3, 3], ["once"])


def test_a_handler_above_what_is_found_is_not_called(marks: Path) -> None:
    @delayed
    def handler(failure: Failure) -> None:
        mark(marks, failure.node)

    above = say.s(marks, "above", 3).set(pure=True).link_error(handler.s())
    steps = above | delayed(abs).s().set(cache=True)
    assert [steps.compute(), steps.compute()] == [3, 3]
    assert ran(marks) == ["above"]


def test_unpacked_items_attributes_and_operators_hide_nothing(marks: Path) -> None:
    first, second = delayed(divmod, nout=2, cache=True)(17, 5)
    number = say.options(pure=True)(marks, "number", 3 + 4j)
    total = double.options(cache=True)(marks, first + second * number.real)
    assert total.compute() == 18
    ran(marks)
    assert total.compute() == 18
    assert ran(marks) == []


def test_coroutines_are_kept(marks: Path) -> None:
    @delayed(cache=True)
    async def later(x: int) -> int:
        await asyncio.sleep(0)
        mark(marks, "later")
        return x + 1

    assert [later(1).compute(), later(1).compute()] == [2, 2]
    impure = later(say(marks, "say", 1))
    assert [impure.compute(), impure.compute()] == [2, 2]
    assert ran(marks) == ["later", "later", "say", "say"]


def test_what_a_task_was_replaced_by_is_its_value(marks: Path) -> None:
    @delayed(cache=True)
    def halved(n: int) -> Any:
        mark(marks, "halved")
        return n if n % 2 else replace(halved.s(n // 2))

    assert halved(12).compute() == 3
    assert ran(marks) == ["halved"] * 3
    assert halved(12).compute() == 3
    assert halved(6).compute() == 3
    assert ran(marks) == []


def test_a_bound_task_is_known_whatever_attempt_it_is(marks: Path) -> None:
    @delayed(bind=True, retries=2, cache=True)
    def moody(self: Any, folder: Path, x: int) -> int:
        mark(folder, f"attempt-{self.request.attempt}")
        if self.request.attempt < 2:
            raise ValueError(x)
        return x

    for _ in range(2):
        assert compute(moody(marks, 7), moody(marks, say(marks, "impure", 8))) == (7, 8)
    assert ran(marks) == ["attempt-1", "attempt-1", "attempt-2", "attempt-2", "impure", "impure"]


def test_many_calls_in_one_task(marks: Path) -> None:
    @delayed(bind=True)
    def seen(self: Any, folder: Path, x: int) -> int:
        mark(folder, "seen")
        return x + int(self.request.attempt)

    calls = seen.starmap([(marks, 1), (marks, 2)]).set(cache=True)
    assert [calls.compute(), calls.compute()] == [[2, 3], [2, 3]]
    assert ran(marks) == ["seen", "seen"]


def test_failures_are_not_kept(marks: Path) -> None:
    @delayed(cache=True)
    def fails(x: int) -> None:
        mark(marks, "fails")
        raise ValueError(x)

    for _ in range(2):
        with pytest.raises(ValueError, match="1"):
            fails(1).compute()
    assert ran(marks) == ["fails", "fails"]


def test_a_group_without_some_of_its_members_is_not_taken_for_the_whole(marks: Path) -> None:
    flag = marks / "broken"

    @delayed(pure=True)
    def sometimes(n: int) -> int:
        if n == 2 and flag.exists():
            raise ValueError(n)
        return n

    def total() -> Any:
        return (group((sometimes.s(n) for n in range(4)), on_error="skip") | delayed(sum, cache=True).s()).compute()

    flag.touch()
    assert total() == 4
    flag.unlink()
    assert total() == 6


def test_what_is_quoted_is_not_what_it_would_become(marks: Path) -> None:
    @delayed(cache=True)
    def kind(x: Any) -> str:
        return type(x).__name__

    inner = delayed(abs, pure=True)(-1)
    assert [kind(inner).compute(), kind(quote(inner)).compute()] == ["int", "Delayed"]
    assert [kind(inner).compute(), kind(quote(inner)).compute()] == ["int", "Delayed"]


@pytest.mark.parametrize("optimize_graph", [True, False, ["cull"], ["fuse", "order"]])
def test_however_it_is_optimized(optimize_graph: Any, marks: Path) -> None:
    node = say.options(pure=True)(marks, "first", 1)
    for n in range(3):
        node = double.options(pure=True, cache=n == 2)(marks, node)
    assert node.compute(optimize_graph=optimize_graph) == 8
    assert ran(marks) == ["double", "double", "double", "first"]
    assert node.compute() == node.compute(optimize_graph=False) == 8
    assert ran(marks) == []


def test_a_graph_and_its_plan_with_other_inputs(marks: Path) -> None:
    x = delayed(1, name="x")
    graph = double.options(cache=True)(marks, say.options(cache=True)(marks, "say", x)).graph
    assert [graph.compute(), graph.compute()] == [(2,), (2,)]
    assert ran(marks) == ["double", "say"]
    plan = graph.plan()
    assert [plan.compute(), plan.bind(x=5).compute(), plan.bind(x=1).compute()] == [(2,), (10,), (2,)]
    assert ran(marks) == ["double", "double", "say", "say"]
    assert plan.bind(x=5).compute() == (10,)
    assert ran(marks) == []


def test_a_future_is_known_by_its_value(marks: Path) -> None:
    future = say.delay(marks, "say", 3)
    total = double.options(cache=True)(marks, future)
    assert [total.compute(), total.compute()] == [6, 6]
    assert ran(marks) == ["double", "say"]


def test_a_store_of_ones_own_and_none(marks: Path, store: Store) -> None:
    mine = say.options(cache=store)(marks, "say", 1)
    assert [mine.compute(), mine.compute()] == [1, 1]
    assert ran(marks) == ["say"]
    assert [entry.name for entry in store.entries()] == ["say"]
    store.clear()
    assert (len(store), store.bytes) == (0, 0)
    mine.compute()
    assert ran(marks)[-1] == "say"


def test_what_is_no_store_is_refused() -> None:
    somewhere: Any = "results"
    with pytest.raises(InvalidOption, match=r"cache='results': True, False or a lazygraph.Store\(path\) is wanted"):
        delayed(cache=somewhere)


def test_an_argument_without_content_is_refused_before_anything_runs(marks: Path) -> None:
    with pytest.raises(Unkeyable, match="lock"):
        double.options(cache=True)(marks, threading.Lock()).compute()


def test_an_input_without_content_is_no_reason_to_fail(marks: Path) -> None:
    @delayed(cache=True)
    def held(lock: Any) -> bool:
        mark(marks, "held")
        return bool(lock.acquire(blocking=False))

    with pytest.warns(CacheWarning, match=r"the value of 'held' \(built at .*test_runs.py:\d+\) is not kept: .*lock"):
        assert held(delayed(threading.Lock)()).compute(executor="sync") is True
    assert ran(marks) == ["held"]


def test_a_value_that_cannot_be_pickled_is_given_all_the_same(marks: Path) -> None:
    lock = delayed(threading.Lock, cache=True)
    with pytest.warns(
        CacheWarning, match=r"the value of '.*ock' \(built at .*test_runs.py:\d+\) is not kept: TypeError"
    ):
        assert lock().compute(executor="sync").acquire(blocking=False)


def test_explain_says_of_each_node_what_becomes_of_it(marks: Path) -> None:
    kept = double.options(cache=True)(marks, say.options(pure=True, name="above")(marks, "above", 1))
    kept.compute()
    new = say.options(cache=True, name="new")(marks, "new", kept)
    below = double.options(cache=True, name="below")(marks, say.options(name="impure")(marks, "impure", 1))
    profile = explain(new, below)
    assert [(fate.node, fate.nodes, fate.sentence) for fate in profile.cache] == [
        ("double", 1, "found: is loaded"),
        ("above", 1, "does not run: what reads it was found"),
        ("new", 1, "not found: runs, and is kept"),
        ("below", 1, "runs unless its inputs' values were seen before, and is kept: 'impure' is not pure"),
        ("impure", 1, "runs: is not cached"),
    ]
    assert profile.nodes == 4
    assert "found: is loaded" in str(profile)
    assert ran(marks) == ["above", "double"]
    assert profile.to_dict()["cache"][0]["sentence"] == "found: is loaded"


def test_members_that_are_known_only_at_run_time(marks: Path) -> None:
    members = delayed(range).s(3) | each(noted.s(marks).set(cache=True))
    assert [members.compute(), members.compute()] == [[0, 1, 4], [0, 1, 4]]
    assert ran(marks) == ["noted"] * 3


@delayed
def noted(x: int, folder: Path) -> int:
    mark(folder, "noted")
    return x * x


def test_an_isolated_task_is_kept(marks: Path) -> None:
    apart = double.options(isolated=True, timeout=60.0, cache=True)(marks, 4)
    with ThreadExecutor(1):
        assert [apart.compute(), apart.compute()] == [8, 8]
    assert ran(marks) == ["double"]


def test_what_is_seen_of_a_plan_that_was_made_before_something_changed(marks: Path) -> None:
    space: dict[str, Any] = {"__name__": "somebodys_module", "factor": 2}
    exec("def scaled(x):\n    return x * factor", space)
    graph = delayed(space["scaled"], cache=True)(3).graph
    assert (graph.compute(), graph.plan().compute()) == ((6,), (6,))
    space["factor"] = 3
    assert (graph.compute(), graph.plan().compute()) == ((9,), (9,))


def test_a_store_is_not_written_as_json(store: Store) -> None:
    with pytest.raises(InvalidOption, match="cache="):
        delayed(abs).s(-1).set(cache=store).to_json()
    assert from_json(delayed(abs).s(-1).set(cache=True).to_json()).compute() == 1
