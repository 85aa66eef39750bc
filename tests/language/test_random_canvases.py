"""Random canvases in random spellings mean on every executor what the interpreter says they mean."""

from __future__ import annotations

import pickle
import random
import re
from collections.abc import Iterator
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

import lazygraph
from lazygraph import Client, LocalCluster, Status, chain, chord, group
from lazygraph.executors.threads import ThreadExecutor
from lazygraph.testing.conformance import tasks
from tests.language.canvases import Described, Language, Same, Speller, Tasks, often
from tests.language.interpreter import Ended, Interpreter

WAIT = 30
"""Seconds after which something that should happen is given up; no test that passes waits so long."""

STATIC = Language(callbacks=True)
WHOLE = Language(callbacks=True, each=True, replace=True)
BROKEN = Language(failing=True, callbacks=True)
TURBULENT = Language(failing=True, callbacks=True, each=True, replace=True)
CHANCE = st.randoms(use_true_random=False)


@pytest.fixture(scope="module")
def threads() -> Iterator[ThreadExecutor]:
    with ThreadExecutor(3) as executor:
        yield executor


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with LocalCluster(n_workers=2) as cluster, Client(cluster, set_as_default=False) as client:
        yield client.executor


def meaning(said: Described, *args: Any, **kwargs: Any) -> tuple[Ended, Interpreter]:
    """What a description gives behind these arguments, and how the interpreter came to it."""
    interpreter = Interpreter(said.shared)
    return interpreter.end(said.canvas, tuple(map(Ended, args)), kwargs), interpreter


# -- values ------------------------------------------------------------------------------------------


@often(300)
@given(WHOLE.described(), CHANCE, st.booleans())
def test_sync_gives_what_the_interpreter_gives_and_makes_the_same_calls(
    said: Described, chance: random.Random, optimize_graph: bool
) -> None:
    end, interpreter = meaning(said)
    counted = Tasks()
    canvas = Speller(said, chance, using=counted).canvas()
    assert canvas.compute(executor="sync", optimize_graph=optimize_graph) == end.value
    assert counted.ran() == interpreter.ran
    assert canvas.compute(executor="sync", optimize_graph=not optimize_graph) == end.value
    assert counted.ran() == interpreter.ran + interpreter.ran


@often(100)
@given(said=WHOLE.described(), chance=CHANCE)
def test_threads_give_what_the_interpreter_gives_and_make_the_same_calls(
    threads: ThreadExecutor, said: Described, chance: random.Random
) -> None:
    end, interpreter = meaning(said)
    counted = Tasks()
    with lazygraph.use(threads):
        assert Speller(said, chance, using=counted).canvas().delay().get(WAIT) == end.value
    assert counted.wait(interpreter.ran.total()) == interpreter.ran


@often(25)
@given(said=WHOLE.described(), chance=CHANCE)
def test_a_cluster_gives_what_the_interpreter_gives(cluster: Any, said: Described, chance: random.Random) -> None:
    assert Speller(said, chance).canvas().compute(executor=cluster, timeout=WAIT) == meaning(said)[0].value


@often(100)
@given(
    WHOLE.open(),
    CHANCE,
    st.lists(st.integers(0, 9), max_size=2),
    st.dictionaries(st.sampled_from("kn"), st.integers(0, 9)),
)
def test_what_a_canvas_is_called_with_goes_to_what_comes_first(
    said: Described, chance: random.Random, args: list[int], kwargs: dict[str, int]
) -> None:
    canvas = Speller(said, chance).canvas()
    value = meaning(said, *args, **kwargs)[0].value
    assert canvas.delay(*args, **kwargs).get(WAIT) == value
    assert canvas.to_delayed(*args, **kwargs).compute() == value


# -- spellings ---------------------------------------------------------------------------------------


def drawn(canvas: Any) -> Any:
    """Everything about the graph of a canvas but where it was written."""
    graph = canvas.to_delayed().graph
    shape, tables = graph.shape, graph.tables
    rows = [
        (
            shape.name_of(at),
            list(shape.inputs_of(at)),
            bytes(shape.kinds[shape.input_offsets[at] : shape.input_offsets[at + 1]]),
            [
                n if n >= 0 else shown(tables.constants[~n])
                for n in shape.arguments[shape.argument_offsets[at] : shape.argument_offsets[at + 1]]
            ],
            tables.templates[shape.template[at]],
            shape.options[shape.option[at]],
        )
        for at in range(len(shape))
    ]
    return rows, list(shape.outputs), list(shape.callbacks)


def shown(constant: Any) -> str:
    """A constant as text, without the addresses of objects."""
    return re.sub("0x[0-9a-f]+", "", repr(constant))


@often(150)
@given(STATIC.described(), CHANCE)
def test_equivalent_spellings_have_one_normal_form(said: Described, chance: random.Random) -> None:
    plain, other = Speller(said), Speller(said, chance, Same.FORM)
    assert repr(other.canvas()) == repr(plain.canvas())
    assert drawn(other.canvas()) == drawn(plain.canvas())


@often(150)
@given(STATIC.described(), CHANCE)
def test_options_that_say_nothing_change_no_graph(said: Described, chance: random.Random) -> None:
    assert drawn(Speller(said, chance, Same.SHAPE).canvas()) == drawn(Speller(said).canvas())


@often(50)
@given(WHOLE.open(), WHOLE.open(), WHOLE.open(), CHANCE)
def test_composing_is_associative_and_changes_no_operand(
    first: Described, second: Described, third: Described, chance: random.Random
) -> None:
    operands = [Speller(said, chance).canvas() for said in (first, second, third)]
    before = [(repr(one), pickle.dumps(one), drawn(one)) for one in operands]
    a, b, c = operands
    assert repr((a | b) | c) == repr(a | (b | c)) == repr(chain(a, b, c))
    assert drawn((a | b) | c) == drawn(a | (b | c)) == drawn(chain(a, b, c))
    group(a, b, group(c)).compute()
    chord([a, b], c).set(pure=True).link(b)
    a.link(b).set(queue="io").delay
    c.to_delayed(a, b)
    a.apply_async(link=b)
    assert [(repr(one), pickle.dumps(one), drawn(one)) for one in operands] == before


@often(100)
@given(WHOLE.described(), CHANCE)
def test_applying_twice_makes_two_runs_with_fresh_keys(said: Described, chance: random.Random) -> None:
    canvas = Speller(said, chance).canvas()
    first, second = canvas.delay(), canvas.delay()
    assert first.get(WAIT) == second.get(WAIT) == meaning(said)[0].value
    assert not keys(first) & keys(second)


def keys(futures: Any) -> set[str]:
    return {futures.key} if isinstance(futures, lazygraph.Future) else set().union(*map(keys, futures))


@often(100)
@given(WHOLE.described(), CHANCE)
def test_a_pickled_canvas_means_the_same(said: Described, chance: random.Random) -> None:
    canvas = Speller(said, chance).canvas()
    again = pickle.loads(pickle.dumps(canvas))
    assert repr(again) == repr(canvas)
    assert again.compute() == meaning(said)[0].value


@often(100)
@given(WHOLE.described(), CHANCE)
def test_a_pickled_canvas_has_the_same_graph(said: Described, chance: random.Random) -> None:
    canvas = Speller(said, chance, Same.FORM).canvas()
    assert drawn(pickle.loads(pickle.dumps(canvas))) == drawn(canvas)


# -- failing -----------------------------------------------------------------------------------------


def nodes_of(promise: Any) -> list[Any]:
    """Every node above a promise, and the callbacks; each once, the promise first."""
    found: dict[Any, None] = {}
    stack = [promise]
    while stack:
        node = stack.pop()
        if node not in found:
            found[node] = None
            stack.extend(one for one in (*node._leaves, *node._after, *node._links) if hasattr(one, "_leaves"))
    return list(found)


def above(node: Any) -> list[Any]:
    """The nodes that a node reads or waits for."""
    return [one for one in (*node._leaves, *node._after) if hasattr(one, "_leaves")]


def check_endings(canvas: Any, end: Ended, executor: Any) -> None:
    """Every node has ended in a named state, with its cause; nothing else has failed."""
    nodes = nodes_of(canvas.to_delayed())
    run = lazygraph.start(*nodes, executor=executor, fail_fast=False)
    futures = dict(zip(nodes, run.futures, strict=True))
    for future in futures.values():
        future.exception(WAIT)
    by_key = {future.key: future for future in futures.values()}
    for node, future in futures.items():
        if any(futures[other].failed() for other in above(node)):
            assert future.status is Status.UPSTREAM_FAILED
            origin = by_key[future.cause]
            assert origin.status is Status.FAILED
            assert same_error(future.exception(), origin.exception())
        else:
            assert future.status in (Status.SUCCEEDED, Status.FAILED)
            assert future.cause is None
    whole = futures[nodes[0]]
    assert whole.failed() == bool(end.faults)
    assert numbers([future.exception() for future in futures.values() if future.failed()]) >= numbers_of(end)


def same_error(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one.args == other.args


def numbers(errors: list[Any]) -> set[int]:
    assert all(type(error) is tasks.Lasting for error in errors)
    return {error.code for error in errors}


def numbers_of(end: Ended) -> set[int]:
    return {number for _, number in end.faults}


def ends_as(canvas: Any, end: Ended, executor: Any) -> None:
    """Computing gives the value, or raises one of the failures as its task raised it."""
    if not end.faults:
        assert canvas.compute(executor=executor, timeout=WAIT) == end.value
        return
    with pytest.raises(tasks.Lasting) as caught:
        canvas.compute(executor=executor, timeout=WAIT)
    assert caught.value.args in {(number, "negative") for number in numbers_of(end)}


@often(200)
@given(BROKEN.described(), CHANCE)
def test_failing_anywhere_raises_the_original_exception(said: Described, chance: random.Random) -> None:
    ends_as(Speller(said, chance, Same.SHAPE).canvas(), meaning(said)[0], "sync")


@often(100)
@given(BROKEN.described(), CHANCE)
def test_every_node_ends_in_a_named_state_with_its_cause(said: Described, chance: random.Random) -> None:
    end, interpreter = meaning(said)
    counted = Tasks()
    check_endings(Speller(said, chance, Same.SHAPE, counted).canvas(), end, "sync")
    assert counted.ran() == interpreter.ran


def check_outputs(canvas: Any, end: Ended, executor: Any) -> None:
    """Every output has ended in a named state, with its cause, also one that has become something else meanwhile."""
    run = lazygraph.start(canvas, executor=executor, fail_fast=False)
    failures = [future.failure(WAIT) for future in run.futures]
    assert any(failures) == bool(end.faults)
    for future, failure in zip(run.futures, failures, strict=True):
        if failure is None:
            assert (future.status, future.cause) == (Status.SUCCEEDED, None)
        else:
            assert same_error(future.exception(), failure.exception)
            assert future.status in (Status.FAILED, Status.UPSTREAM_FAILED)
            assert (future.cause is None) == (future.status is Status.FAILED)
    assert numbers([failure.exception for failure in failures if failure]) <= numbers_of(end)


@often(100)
@given(TURBULENT.described(), CHANCE)
def test_what_fails_at_run_time_ends_what_it_was_part_of(said: Described, chance: random.Random) -> None:
    end, interpreter = meaning(said)
    counted = Tasks()
    canvas = Speller(said, chance, Same.SHAPE, counted).canvas()
    check_outputs(canvas, end, "sync")
    assert counted.ran() == interpreter.ran
    ends_as(canvas, end, "sync")


@often(75)
@given(said=BROKEN.described(), changing=TURBULENT.described(), chance=CHANCE)
def test_threads_fail_alike(
    threads: ThreadExecutor, said: Described, changing: Described, chance: random.Random
) -> None:
    check_endings(Speller(said, chance, Same.SHAPE).canvas(), meaning(said)[0], threads)
    canvas, end = Speller(changing, chance, Same.SHAPE).canvas(), meaning(changing)[0]
    check_outputs(canvas, end, threads)
    ends_as(canvas, end, threads)


@often(25)
@given(said=BROKEN.described(), changing=TURBULENT.described(), chance=CHANCE)
def test_a_cluster_fails_alike(cluster: Any, said: Described, changing: Described, chance: random.Random) -> None:
    check_endings(Speller(said, chance, Same.SHAPE).canvas(), meaning(said)[0], cluster)
    canvas, end = Speller(changing, chance, Same.SHAPE).canvas(), meaning(changing)[0]
    check_outputs(canvas, end, cluster)
    ends_as(canvas, end, cluster)
