"""Random canvases with options: retries, limits, delays, priorities, and groups that go on without some members."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

import lazygraph
from lazygraph import Client, Failure, LocalCluster, chain
from lazygraph.executors.threads import ThreadExecutor
from lazygraph.testing.conformance import tasks
from tests.language.canvases import Described, Language, Same, Speller, Tasks, often
from tests.language.interpreter import Ended, Interpreter

WAIT = 30
"""Seconds after which something that should happen is given up; no test that passes waits so long."""

SHAKY = Language(options=True, each=True, replace=True)
FAILING = Language(options=True, failing=True, callbacks=True)
FAST = Language(options=True, failing=True, fail_fast=True)
CHANCE = st.randoms(use_true_random=False)


@pytest.fixture(scope="module")
def threads() -> Iterator[ThreadExecutor]:
    with ThreadExecutor(3) as executor:
        yield executor


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with LocalCluster(n_workers=2) as cluster, Client(cluster, set_as_default=False) as client:
        yield client.executor


def meaning(said: Described) -> tuple[Ended, Interpreter]:
    """What a description gives, and how the interpreter came to it."""
    interpreter = Interpreter(said.shared)
    return interpreter.end(said.canvas), interpreter


def ends_as(canvas: Any, end: Ended, executor: Any) -> None:
    """Computing gives the value, or raises one of the failures as its task raised it."""
    if not end.faults:
        assert canvas.compute(executor=executor, timeout=WAIT) == end.value
        return
    with pytest.raises(tasks.Lasting) as caught:
        canvas.compute(executor=executor, timeout=WAIT)
    assert caught.value.code in {number for _, number in end.faults}


@often(100)
@given(SHAKY.described(), CHANCE)
def test_what_fails_at_first_is_tried_again_as_often_as_it_takes(said: Described, chance: random.Random) -> None:
    end, interpreter = meaning(said)
    counted = Tasks()
    assert Speller(said, chance, using=counted).canvas().compute(executor="sync") == end.value
    assert counted.ran() == interpreter.ran


@often(100)
@given(FAILING.described(), CHANCE)
def test_what_fails_for_good_is_tried_as_often_as_it_may_be_and_ends_what_does_not_go_on_without(
    said: Described, chance: random.Random
) -> None:
    end, interpreter = meaning(said)
    counted = Tasks()
    run = lazygraph.start(Speller(said, chance, Same.SHAPE, counted).canvas(), executor="sync", fail_fast=False)
    failures = [future.failure(WAIT) for future in run.futures]
    assert any(failures) == bool(end.faults)
    assert counted.ran() == interpreter.ran
    ends_as(Speller(said, chance, Same.SHAPE).canvas(), end, "sync")


@often(50)
@given(FAST.described(), CHANCE)
def test_groups_that_fail_as_one_raise_what_one_of_them_has_raised(said: Described, chance: random.Random) -> None:
    ends_as(Speller(said, chance, Same.SHAPE).canvas(), meaning(said)[0], "sync")


@often(50)
@given(said=FAST.described(), other=SHAKY.described(), chance=CHANCE)
def test_threads_agree(threads: ThreadExecutor, said: Described, other: Described, chance: random.Random) -> None:
    ends_as(Speller(said, chance, Same.SHAPE).canvas(), meaning(said)[0], threads)
    ends_as(Speller(other, chance).canvas(), meaning(other)[0], threads)


@often(10)
@given(said=FAST.described(), other=SHAKY.described(), chance=CHANCE)
def test_a_cluster_agrees(cluster: Any, said: Described, other: Described, chance: random.Random) -> None:
    ends_as(Speller(said, chance, Same.SHAPE).canvas(), meaning(said)[0], cluster)
    ends_as(Speller(other, chance).canvas(), meaning(other)[0], cluster)


@often(50)
@given(st.lists(FAILING.described(), max_size=3), CHANCE)
def test_compute_goes_on_without_what_has_failed(several: list[Described], chance: random.Random) -> None:
    """Each canvas, as one value."""
    ends = [meaning(said)[0] for said in several]
    canvases = [chain(Speller(said, chance, Same.SHAPE).canvas(), tasks.pack.s()) for said in several]
    [collected] = lazygraph.compute(canvases, on_error="collect", executor="sync")
    [skipped] = lazygraph.compute(canvases, on_error="skip", executor="sync")
    assert skipped == [[end.value] for end in ends if not end.faults]
    for got, end in zip(collected, ends, strict=True):
        if end.faults:
            assert isinstance(got, Failure) and isinstance(got.exception, tasks.Lasting)
            assert got.exception.code in {number for _, number in end.faults}
        else:
            assert got == [end.value]
