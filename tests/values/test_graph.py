"""What can be read off a graph's columns."""

from __future__ import annotations

import operator
import pickle
from array import array
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from lazygraph import delayed
from lazygraph.planning.lower import lower
from lazygraph.values.graph import consumers_of, offsets_of
from lazygraph.values.node import Site
from lazygraph.values.status import MOVES, TERMINAL, UNHAPPY, State, Status, can_move, in_states

plus = delayed(operator.add)


@given(st.lists(st.integers(0, 5)))
def test_offsets_are_running_sums(lengths: list[int]) -> None:
    offsets = offsets_of(lengths)
    assert [end - start for start, end in pairwise(offsets)] == lengths
    assert offsets[0] == 0


@given(st.data())
def test_consumers_are_inputs_the_other_way_round(data: st.DataObject) -> None:
    made = [plus(0, 0)]
    for _ in range(data.draw(st.integers(0, 12))):
        made.append(plus(data.draw(st.sampled_from(made)), data.draw(st.sampled_from(made))))
    graph = lower(made)
    offsets, consumers = consumers_of(graph.shape)
    found = [(at, by) for at in range(len(graph.shape)) for by in consumers[offsets[at] : offsets[at + 1]]]
    assert sorted(found) == sorted(graph.edges())
    assert found == sorted(found)


def test_a_graph_says_what_it_is() -> None:
    graph = lower([plus(plus(1, 2), 3)])
    assert repr(graph) == "<Graph: 2 nodes, 1 edges, 1 outputs>"
    assert [graph.shape.name_of(at) for at in graph.tasks()] == ["add", "add"]
    assert __file__ in graph.shape.origin_of(0)
    assert graph.shape.inputs_of(1) == array("i", [0])


def test_a_graph_travels() -> None:
    graph = pickle.loads(pickle.dumps(lower([plus(plus(1, 2), 3)])))
    assert graph.tables.functions == (operator.add,)
    assert __file__ in graph.shape.origin_of(0)


def test_a_site_is_a_file_and_a_line() -> None:
    site = plus(1, 2)._site
    assert isinstance(site, Site)
    assert str(site).startswith(f"{__file__}:")
    assert pickle.loads(pickle.dumps(site)) == str(site)


# -- the table of moves ----------------------------------------------------------------------------


def test_the_table_knows_every_state_and_endings_stay() -> None:
    assert set(MOVES) == set(State)
    assert all(not MOVES[state] for state in UNHAPPY)
    assert {state for state in State if state.status in {Status.SUCCEEDED}} == TERMINAL - UNHAPPY


def test_every_state_is_reached_and_leads_to_an_ending() -> None:
    reached = {State.WAITING}
    while more := {after for state in reached for after in MOVES[state]} - reached:
        reached |= more
    assert reached == set(State)
    for state in State:
        ahead, found = {state}, set[State]()
        while ahead - found:
            found |= ahead
            ahead = {after for one in found for after in MOVES[one]}
        assert found & TERMINAL


def test_the_table_as_bytes() -> None:
    for target in State:
        assert [bool(flag) for flag in can_move(target)] == [target in MOVES[state] for state in State]
    assert [bool(flag) for flag in in_states(UNHAPPY)] == [state in UNHAPPY for state in State]


def test_celerys_words() -> None:
    assert [Status(word).celery for word in ("waiting", "running", "succeeded", "upstream_failed", "cancelled")] == [
        "PENDING", "STARTED", "SUCCESS", "FAILURE", "REVOKED",
    ]  # fmt: skip
