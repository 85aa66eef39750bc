"""The scheduler's mind about tasks that become plans, and failures that somebody answers."""

from __future__ import annotations

from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster.records import Send, pack_shape
from lazygraph.language.promise import Delayed
from lazygraph.planning.plan import plan_of
from lazygraph.running.frontier import MAX_REPLACEMENTS
from lazygraph.values.graph import Shape
from lazygraph.values.node import NodeScope
from lazygraph.values.options import DEFAULT
from lazygraph.values.status import State
from tests.executors.cluster.talking import (
    CLIENT,
    FIRST,
    SECOND,
    TABLES,
    Elsewhere,
    Talk,
    chain,
    do,
    load,
    shape_of,
    step,
)


def becomes(shape: Shape, block: int = 0, task: int = 0, attempt: int = 1) -> m.Replaced:
    return m.Replaced(block, task, attempt, pack_shape(shape), TABLES)


def adopt(worker: int, owner: int, wanted: bool = True, attempt: int = 1, entry: int = 0) -> Send:
    return Send(worker, m.Adopt(0, 0, attempt, owner, entry, wanted))


def test_a_task_becomes_a_plan_and_takes_its_value_over_where_it_is() -> None:
    talk, one = Talk(FIRST), chain(1)
    talk.submit(one)

    assert talk.say(FIRST, becomes(one), b"tables") == [load(FIRST, one, block=1, label="1.0"), do(FIRST, [0], block=1)]
    assert talk.done(FIRST, [0], block=1) == [adopt(FIRST, owner=1)]
    assert talk.done(FIRST, [0]) == [
        Send(CLIENT, m.Succeeded(1, 0, m.ints([0]), b"", "at11", (1, 56, 0)), (b"",)),
        Send(FIRST, m.Forget(1)),
    ]
    assert list(talk.mind.records) == [0]


def test_who_has_not_got_the_value_says_so_and_it_is_made_again() -> None:
    talk, one = Talk(FIRST), chain(1)
    talk.submit(one)
    talk.say(FIRST, becomes(one))
    talk.done(FIRST, [0], block=1)

    missing = m.Returned(0, 1, m.ints([0]), [("", 1, m.ints([0]))])
    assert talk.say(FIRST, missing) == [do(FIRST, [0], block=1, attempt=2)]
    assert talk.done(FIRST, [0], block=1, attempt=2) == [adopt(FIRST, owner=1)]


def test_a_worker_that_dies_while_it_takes_a_value_over() -> None:
    talk, one = Talk(FIRST), chain(1)
    talk.submit(one)
    talk.say(FIRST, becomes(one), b"tables")
    talk.done(FIRST, [0], block=1)

    assert talk.lose(FIRST) == []
    assert talk.join(SECOND) == [load(SECOND, one, block=1, label="1.0"), do(SECOND, [0], block=1, attempt=2)]
    assert talk.done(SECOND, [0], block=1, attempt=2) == [load(SECOND, one), adopt(SECOND, owner=1, attempt=2)]


def test_what_comes_too_late_is_no_replacement() -> None:
    talk, one = Talk(FIRST, SECOND), chain(1)
    talk.submit(one)
    talk.say(CLIENT, m.Cancel(1, 1, -1))

    assert talk.say(FIRST, becomes(one)) == []
    assert talk.say(SECOND, becomes(one, block=7)) == []
    assert list(talk.mind.records) == [0]


def test_the_failure_of_a_replacement_is_remembered_as_long_as_its_run() -> None:
    talk, one, reads = Talk(FIRST), chain(1), shape_of(step(Elsewhere()))
    talk.submit(one, fail_fast=False)
    talk.say(FIRST, becomes(one))
    facts = ("step", "step-1.0-0", 1, "raised", "text", "w11", "here")
    ended = Send(CLIENT, m.Ended(1, m.ints([0]), State.FAILED, *facts), (b"error",))

    assert talk.say(FIRST, m.Broke(1, 0, 1, "step", "text", "here"), b"error") == [ended, Send(FIRST, m.Forget(1))]
    below = Send(CLIENT, m.Ended(2, m.ints([1]), State.UPSTREAM_FAILED, *facts), (b"error",))
    assert talk.submit(reads, run=2, bindings=(1, 0)) == [below]
    talk.say(CLIENT, m.Drop(2, m.ints([1])))
    talk.say(CLIENT, m.Drop(1, m.ints([0])))
    assert not talk.mind.records and not talk.mind.outlived


def test_a_client_that_leaves_takes_along_what_its_tasks_have_become() -> None:
    talk, node = Talk(FIRST), step()
    node._links = (step(node),)
    linked = plan_of([node], optimize_graph=False).shape
    talk.submit(chain(1))
    talk.say(FIRST, becomes(linked))

    talk.lose(CLIENT)
    assert not talk.mind.records and not talk.mind.frontier.blocks


def test_what_is_replaced_for_ever_has_failed() -> None:
    talk, one = Talk(FIRST), chain(1)
    talk.submit(one, fail_fast=False)
    for depth in range(MAX_REPLACEMENTS):
        talk.say(FIRST, becomes(one, block=depth))

    sent = talk.say(FIRST, becomes(one, block=MAX_REPLACEMENTS))
    assert isinstance(sent[0].message, m.Ended)
    assert (sent[0].message.kind, sent[0].message.node) == ("too deep", "step")
    assert list(talk.mind.records) == [0]


# -- scopes ----------------------------------------------------------------------------------------


def guarded(handled: bool = False) -> Shape:
    """Return the shape of a task in a scope, and of what answers its failure, which may be an output too."""
    scope = NodeScope(None)
    node = Delayed(step, (), None, DEFAULT, "here", (), scope)
    handler = step(scope.caught)
    scope.handlers.append(handler)
    return shape_of(node, handler) if handled else shape_of(node)


def caught(worker: int) -> Send:
    facts = ("step", "step-1-1", 1, "raised", "text", "w11", "here")
    return Send(worker, m.Caught(0, 0, *facts), (b"error",))


def test_a_worker_is_told_of_the_failure_that_it_is_to_answer() -> None:
    talk, shape = Talk(FIRST), guarded()

    assert talk.submit(shape, bindings=(-1, -1)) == [load(FIRST, shape, aliases=((0, 0),)), do(FIRST, [1], wanted=(1,))]
    sent = talk.say(FIRST, m.Broke(0, 1, 1, "step", "text", "here"), b"error")
    assert [type(send.message) for send in sent] == [m.Ended, m.Caught, m.Do]
    assert sent[1:] == [caught(FIRST), do(FIRST, [2])]
    assert talk.done(FIRST, [2]) == [Send(FIRST, m.Free(0, m.ints([0, 2])))]
    assert talk.say(CLIENT, m.Drop(1, m.ints([1]))) == [Send(FIRST, m.Forget(0))]


def test_a_worker_is_told_of_a_failure_once() -> None:
    talk = Talk(FIRST)
    scope = NodeScope(None)
    node = Delayed(step, (), None, DEFAULT, "here", (), scope)
    scope.handlers += [step(step(scope.caught, 1), 2), step(scope.caught, 3)]
    talk.submit(shape_of(node), bindings=(-1, -1))

    sent = talk.say(FIRST, m.Broke(0, 1, 1, "step", "text", "here"), b"error")
    assert [type(send.message) for send in sent] == [m.Ended, m.Caught, m.Do]
    assert len(m.from_ints(sent[2].message.tasks)) == 3  # type: ignore[attr-defined]


def test_whoever_answers_it_again_is_told_again() -> None:
    talk, shape = Talk(FIRST), guarded(handled=True)
    talk.submit(shape, bindings=(-1, -1), fail_fast=False)
    talk.say(FIRST, m.Broke(0, 1, 1, "step", "text", "here"), b"error")
    talk.done(FIRST, [2])  # and the failure is freed

    missing = m.Returned(-1, 0, b"", [("", 0, m.ints([2]))])
    assert talk.say(FIRST, missing) == [caught(FIRST), do(FIRST, [2], wanted=(2,), attempt=2)]
    talk.lose(FIRST)
    assert talk.join(SECOND)[1:] == [caught(SECOND), do(SECOND, [2], wanted=(2,), attempt=3, tell=True)]
