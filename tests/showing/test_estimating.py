"""How long a graph may take by earlier durations, against plain ways of counting it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lazygraph.showing.estimating import Estimate, Samples, estimate, longest_way
from lazygraph.values.graph import offsets_of

Dag = list[list[int]]


@st.composite
def dags(draw: st.DrawFn) -> Dag:
    size = draw(st.integers(0, 12))
    return [draw(st.lists(st.integers(0, node - 1), max_size=3)) if node else [] for node in range(size)]


def known(**seconds: float) -> Samples:
    samples = Samples()
    samples.add(seconds.items())
    return samples


def of(dag: Dag, functions: list[str], samples: Samples, slots: int = 2) -> Estimate:
    flat = [read for each in dag for read in each]
    return estimate(offsets_of([len(each) for each in dag]), flat, functions, functions, samples, "threads", slots)


@given(dags(), st.integers(1, 5), st.data())
def test_it_lies_between_what_cannot_be_beaten_and_one_after_the_other(
    dag: Dag, slots: int, data: st.DataObject
) -> None:
    functions = data.draw(st.lists(st.sampled_from("abc"), min_size=len(dag), max_size=len(dag)))
    found = of(dag, functions, known(a=0.5, b=1.0, c=4.0), slots)
    least = max(found.longest, found.work / slots)
    assert least - 1e-9 <= found.elapsed <= found.work + 1e-9
    assert of(dag, functions, known(a=0.5, b=1.0, c=4.0), 1).elapsed == pytest.approx(found.work)
    assert of(dag, functions, known(a=0.5, b=1.0, c=4.0), 100).elapsed == pytest.approx(found.longest)


@given(dags(), st.data())
def test_the_longest_way_is_the_longest_of_all_ways(dag: Dag, data: st.DataObject) -> None:
    seconds = data.draw(st.lists(st.floats(0, 9), min_size=len(dag), max_size=len(dag)))

    def ways(node: int) -> float:
        return seconds[node] + max(map(ways, dag[node]), default=0.0)

    flat = [read for each in dag for read in each]
    found = longest_way(offsets_of([len(each) for each in dag]), flat, seconds)
    assert found == pytest.approx(max(map(ways, range(len(dag))), default=0.0))


def test_a_sample_is_what_it_was_made_of() -> None:
    samples = Samples()
    samples.add([("f", 1.0), ("f", 3.0)])
    samples.add([("f", 5.0)])
    found = samples.of("f")
    assert found is not None
    assert (found.calls, found.mean, found.least, found.most, samples.runs) == (3, 3.0, 1.0, 5.0, 2)
    assert samples.of("g") is None


def test_a_copy_does_not_change() -> None:
    samples = known(f=1.0)
    before = samples.copy()
    samples.add([("f", 9.0), ("g", 1.0)])
    found = before.of("f")
    assert found is not None
    assert (found.calls, before.of("g"), before.runs) == (1, None, 1)


def test_it_says_what_it_rests_on() -> None:
    samples = known(load=1.0, sum=0.5)
    assert str(of([[], [], [0, 1]], ["load", "load", "sum"], samples)) == (
        "about 1.5 s on 2 slots: 2.5 s of work, 1.5 s on the longest way; "
        "from 2 calls in 1 observed run on 'threads' in this process"
    )


def test_what_was_never_measured_is_named() -> None:
    found = of([[], [0], [0], [2]], ["load", "train", "train", "plot"], known(load=2.0), slots=1)
    assert str(found) == (
        "about 2 s on 1 slot: 2 s of work, 2 s on the longest way; from 1 call in 1 observed run on 'threads' "
        "in this process; without 3 nodes never measured: train, plot"
    )
    assert (found.missing, found.unknown) == (3, ("train", "plot"))


def test_where_nothing_is_known_there_are_no_figures() -> None:
    found = of([[]], ["load"], Samples())
    assert str(found) == "unknown: no task of these functions has been measured on 'threads' in this process"
    plain = json.loads(json.dumps(found.to_dict()))
    assert (plain["elapsed"], plain["work"], plain["sample"]) == (None, None, {"calls": 0, "runs": 0})


def test_a_wide_and_deep_graph_takes_a_moment() -> None:
    size = 50_000
    dag: Dag = [[] if at < 1000 else [at - 1000] for at in range(size)]
    assert of(dag, ["f"] * size, known(f=1.0), 10).elapsed == size / 10
