"""The scheduler's mind about runs that are observed: it passes on what workers have seen, and nothing else."""

from __future__ import annotations

import pytest

from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster.records import Send, pack_shape
from lazygraph.executors.cluster.scheduler_machine import FROM_CLIENTS, FROM_WORKERS
from lazygraph.running.observing import FAILED, WELL, Seen, Span
from tests.executors.cluster.talking import CLIENT, FIRST, TABLES, Talk, chain

SEEN = Seen("w11", 1.0, 1.5, 4.0, [Span(0, 2.0, 3.0, WELL, "thread-0")])


@pytest.fixture
def talk() -> Talk:
    return Talk(FIRST)


def submit(talk: Talk, observed: bool, label: str = "") -> list[Send]:
    shape = pack_shape(chain(2))
    message = m.Submit(1, "", True, shape, TABLES, b"", label=label, observed=observed)
    return talk.say(CLIENT, message, b"tables")


@pytest.mark.parametrize("observed", [False, True])
def test_a_worker_is_told_with_the_plan_whether_to_look(talk: Talk, observed: bool) -> None:
    loads = [sent.message for sent in submit(talk, observed) if isinstance(sent.message, m.Load)]
    assert [load.observed for load in loads] == [observed]


def test_what_a_worker_has_seen_is_passed_on(talk: Talk) -> None:
    submit(talk, True)
    assert talk.say(FIRST, m.Watched(0, 2, SEEN)) == [Send(CLIENT, m.Sighted(1, "", 2, [], SEEN))]


def test_of_what_stands_for_a_task_the_client_does_not_know_the_names(talk: Talk) -> None:
    submit(talk, True, label="abc.1")
    sent = talk.say(FIRST, m.Replaced(0, 0, 1, pack_shape(chain(1)), TABLES), b"tables")
    [load] = [one.message for one in sent if isinstance(one.message, m.Load)]
    assert load.observed
    assert talk.say(FIRST, m.Watched(load.block, 1, SEEN)) == [Send(CLIENT, m.Sighted(1, ".0", 1, [(0, "step")], SEEN))]


def test_of_a_run_that_is_over_nobody_wants_to_hear(talk: Talk) -> None:
    assert talk.say(FIRST, m.Watched(7, 1, SEEN)) == []
    submit(talk, True)
    talk.lose(CLIENT)
    assert talk.say(FIRST, m.Watched(0, 1, SEEN)) == []


def test_only_workers_say_so(talk: Talk) -> None:
    assert m.Watched in FROM_WORKERS
    assert m.Watched not in {*FROM_CLIENTS}


@pytest.mark.parametrize(
    "message",
    [
        m.Watched(3, 2, SEEN),
        m.Sighted(1, ".0", 2, [(0, "step")], SEEN._replace(spans=[Span(9, 0.1, 0.2, FAILED, "child")])),
    ],
    ids=lambda message: type(message).__name__,
)
def test_it_is_the_same_on_the_other_side(message: m.Message) -> None:
    again = m.decode(m.encode(message))
    assert isinstance(again, m.Watched | m.Sighted)
    assert again == message
    assert isinstance(again.seen.spans[0], Span)
