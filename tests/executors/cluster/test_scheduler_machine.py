"""The scheduler's mind, one exchange at a time: what it says is compared whole."""

from __future__ import annotations

import gc
import weakref

import pytest

from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster.records import Send
from lazygraph.running.frontier import MAX_DEATHS
from lazygraph.values.status import State
from tests.executors.cluster.talking import (
    CLIENT,
    FIRST,
    SECOND,
    THIRD,
    Elsewhere,
    Talk,
    chain,
    do,
    load,
    lost,
    shape_of,
    step,
)


def test_one_task_there_and_back() -> None:
    talk, shape = Talk(FIRST), chain(1)

    assert talk.submit(shape) == [load(FIRST, shape), do(FIRST, [0], wanted=(0,))]
    done = m.Done(0, 1, m.ints([0]), m.longs([28]), 0.1, m.ints([0]))
    assert talk.say(FIRST, done, b"value") == [
        Send(CLIENT, m.Succeeded(1, 0, m.ints([0]), m.ints([0]), "at11", (1, 28, 0)), (b"value",)),
    ]
    assert talk.say(CLIENT, m.Drop(1, m.ints([0]))) == [Send(FIRST, m.Forget(0))]
    assert not talk.mind.records and not talk.mind.frontier.blocks


def test_a_plan_waits_for_a_worker_and_goes_to_it_once() -> None:
    talk, shape = Talk(), shape_of(step(), step())

    assert talk.submit(shape) == []
    assert talk.join(FIRST) == [load(FIRST, shape), do(FIRST, [0, 1], wanted=(0, 1))]


def test_a_consumer_goes_to_the_worker_that_has_most_bytes_and_fetches_the_rest() -> None:
    talk, shape = Talk(FIRST, SECOND), shape_of(step(step(), step()))
    sent = talk.submit(shape)
    assert sent == [load(FIRST, shape), do(FIRST, [0]), load(SECOND, shape), do(SECOND, [1])]

    assert talk.done(FIRST, [0], size=10) == []
    assert talk.done(SECOND, [1], size=1000) == [do(SECOND, [2], wanted=(2,), where=(("at11", 0, m.ints([0])),))]
    assert talk.mind.records[0].holders(0) == [FIRST, SECOND]


def test_values_that_nobody_reads_any_more_are_freed_where_they_are() -> None:
    talk = Talk(FIRST)
    talk.submit(chain(2))

    assert talk.done(FIRST, [0, 1]) == [
        Send(CLIENT, m.Succeeded(1, 0, m.ints([1]), b"", "at11", (2, 56, 0)), (b"",)),
        Send(FIRST, m.Free(0, m.ints([0]))),
    ]


def test_a_failure_reaches_what_is_below_with_its_record() -> None:
    talk, node = Talk(FIRST), step()
    talk.submit(shape_of(node, step(node)), fail_fast=False)

    ended = [
        Send(CLIENT, m.Ended(1, m.ints([e]), s, "step", "step-1-0", 1, "raised", "text", "w11", "here"), (b"error",))
        for e, s in ((0, State.FAILED), (1, State.UPSTREAM_FAILED))
    ]
    assert talk.say(FIRST, m.Broke(0, 0, 1, "step", "text", "here"), b"error") == [
        Send(FIRST, m.TakeBack(0, m.ints([1]))),
        *ended,
    ]


# -- losing ----------------------------------------------------------------------------------------


def test_what_a_lost_worker_had_is_made_again_as_another_attempt() -> None:
    talk, shape = Talk(FIRST), chain(2)
    talk.submit(shape)
    talk.done(FIRST, [0])

    assert talk.lose(FIRST) == []
    assert talk.join(SECOND) == [load(SECOND, shape), do(SECOND, [0], attempt=2)]
    # What the lost one may have been running shares no lease, and its start is told at once.
    assert talk.done(SECOND, [0], attempt=2) == [do(SECOND, [1], wanted=(1,), attempt=2, tell=True)]


def test_a_late_answer_of_another_attempt_changes_nothing() -> None:
    talk = Talk(FIRST)
    talk.submit(chain(1))
    talk.lose(FIRST)
    talk.join(SECOND)

    assert talk.done(SECOND, [0], attempt=1) == []
    assert talk.mind.frontier.blocks[0].states() == [State.LEASED]
    assert talk.say(SECOND, m.Broke(0, 0, 1, "step", "", ""), b"late") == []
    assert talk.mind.records[0].failures == {}


def test_a_task_that_takes_workers_down_with_it_is_given_up() -> None:
    talk, shape = Talk(), chain(1)
    talk.submit(shape)
    for worker in range(20, 20 + MAX_DEATHS):
        talk.join(worker)
        assert talk.lose(worker) == []
    talk.join(SECOND)

    origin = shape.origin_of(0)
    ends = [f"w{worker} (at{worker}, process 0): its connection ended" for worker in (20, 21, 22, SECOND)]
    record = ("step", "step-1-0", 4, "died", "\n".join(ends), "w12", origin, MAX_DEATHS + 1)
    assert talk.lose(SECOND) == [Send(CLIENT, m.Ended(1, m.ints([0]), State.FAILED, *record), (b"",))]


def test_a_value_that_was_delivered_is_made_again_when_it_is_wanted() -> None:
    talk, shape = Talk(FIRST), chain(1)
    talk.submit(shape)
    talk.say(FIRST, m.Done(0, 1, m.ints([0]), m.longs([28]), 0.1, m.ints([0])), b"value")
    assert talk.lose(FIRST) == []
    assert talk.join(SECOND) == []

    assert talk.say(CLIENT, m.Want(7, 1, 0)) == [load(SECOND, shape), do(SECOND, [0], wanted=(0,), attempt=2)]
    assert talk.done(SECOND, [0], attempt=2) == [
        Send(CLIENT, m.Succeeded(1, 0, m.ints([0]), b"", "at12", (2, 56, 0)), (b"",)),
        Send(CLIENT, m.Located(7, "at12", 0, 0)),
    ]


def test_what_was_not_found_where_the_scheduler_said_is_made_again() -> None:
    talk, shape = Talk(FIRST, SECOND), shape_of(step(step(), step()))
    talk.submit(shape)
    talk.done(FIRST, [0], size=10)
    talk.done(SECOND, [1], size=1000)

    missing = m.Returned(-1, 0, b"", [("at11", 0, m.ints([0]))])
    assert talk.say(SECOND, missing) == [do(FIRST, [0], attempt=2)]
    assert talk.say(SECOND, m.Returned(0, 1, m.ints([2]), [])) == []
    where = (("at11", 0, m.ints([0])),)
    assert talk.done(FIRST, [0], attempt=2) == [do(SECOND, [2], wanted=(2,), where=where, turn=2)]


# -- giving back -----------------------------------------------------------------------------------


def test_an_idle_worker_gets_what_a_busy_one_gives_back() -> None:
    talk = Talk(FIRST)
    shape = shape_of(*[step() for _ in range(6)])
    outputs = (0, 1, 2, 3, 4, 5)
    assert talk.submit(shape) == [load(FIRST, shape), do(FIRST, [*outputs], wanted=outputs)]

    assert talk.join(SECOND) == [Send(FIRST, m.TakeBack(-1, b"", 3))]
    # Tasks that take no one knows how long go out in fair shares: two for the idle one, one for who has three.
    assert talk.say(FIRST, m.Returned(0, 1, m.ints([3, 4, 5]), [], asked=True)) == [
        load(SECOND, shape),
        do(SECOND, [3, 4], wanted=(3, 4)),
        do(FIRST, [5], wanted=(5,)),
    ]


def test_what_was_given_back_goes_to_the_idle_one_and_not_back() -> None:
    talk = Talk(FIRST)
    root = step()
    shape = shape_of(step(root), step(root))
    talk.submit(shape)
    assert talk.done(FIRST, [0]) == [do(FIRST, [1], wanted=(1,)), do(FIRST, [2], wanted=(2,))]
    assert talk.join(SECOND) == [Send(FIRST, m.TakeBack(-1, b"", 1))]

    assert talk.say(FIRST, m.Returned(0, 1, m.ints([2]), [], asked=True)) == [
        load(SECOND, shape),
        do(SECOND, [2], wanted=(2,), where=(("at11", 0, m.ints([0])),)),
    ]


def test_a_worker_with_nothing_to_give_back_is_not_asked_again_until_it_has_done_something() -> None:
    talk = Talk(FIRST)
    talk.submit(chain(8))
    assert talk.join(SECOND) == [Send(FIRST, m.TakeBack(-1, b"", 4))]

    assert talk.say(FIRST, m.Returned(-1, 0, b"", [], asked=True)) == []
    assert talk.join(THIRD) == []


# -- clients ---------------------------------------------------------------------------------------


def test_a_lost_client_leaves_nothing() -> None:
    talk, shape = Talk(FIRST), chain(2)
    talk.submit(shape)

    assert talk.lose(CLIENT) == [Send(FIRST, m.TakeBack(0, m.ints([0, 1]))), Send(FIRST, m.Forget(0))]
    assert talk.say(FIRST, m.Returned(0, 1, m.ints([0, 1]), [])) == []
    assert not talk.mind.records and not talk.mind.frontier.blocks and not talk.mind.clients
    assert talk.mind.workers[FIRST].outstanding == 0


def test_cancelling_what_has_not_started_and_what_has() -> None:
    talk, shape = Talk(), chain(1)
    talk.submit(shape)
    cancelled = lost(1, 0, State.CANCELLED, "step", "cancelled", shape.origin_of(0))

    assert talk.say(CLIENT, m.Cancel(5, 1, 0)) == [cancelled, Send(CLIENT, m.Answer(5, True))]
    assert talk.say(CLIENT, m.Cancel(7, 9, 0)) == [Send(CLIENT, m.Answer(7, False))]


def test_cancelling_what_a_worker_was_given_asks_that_worker() -> None:
    talk, shape = Talk(FIRST), chain(1)
    talk.submit(shape)

    assert talk.say(CLIENT, m.Cancel(6, 1, 0)) == [Send(FIRST, m.Stop(1, 0, 0, 1, False))]
    assert talk.say(FIRST, m.Stopped(1, False)) == [Send(CLIENT, m.Answer(6, False))]
    assert talk.say(CLIENT, m.Cancel(7, 1, 0, force=True)) == [Send(FIRST, m.Stop(2, 0, 0, 1, True))]
    assert talk.say(FIRST, m.Stopped(2, True)) == [Send(CLIENT, m.Answer(7, True))]


def test_what_is_known_to_have_begun_is_not_asked_for() -> None:
    talk = Talk(FIRST)
    talk.submit(chain(1))
    talk.say(FIRST, m.Began(0, 0, 1))

    assert talk.say(CLIENT, m.Cancel(6, 1, 0)) == [Send(CLIENT, m.Answer(6, False))]


def test_what_comes_back_while_its_worker_is_asked_is_cancelled() -> None:
    talk, shape = Talk(FIRST), chain(1)
    talk.submit(shape)
    talk.say(CLIENT, m.Cancel(6, 1, 0))
    cancelled = lost(1, 0, State.CANCELLED, "step", "cancelled", shape.origin_of(0))

    assert cancelled in talk.say(FIRST, m.Returned(0, 1, m.ints([0]), []))
    assert talk.say(FIRST, m.Stopped(1, False)) == [Send(CLIENT, m.Answer(6, True))]


def test_what_is_asked_of_a_worker_that_dies_is_cancelled() -> None:
    talk, shape = Talk(FIRST), chain(1)
    talk.submit(shape)
    talk.say(CLIENT, m.Cancel(6, 1, 0))
    cancelled = lost(1, 0, State.CANCELLED, "step", "cancelled", shape.origin_of(0))

    assert talk.lose(FIRST) == [Send(CLIENT, m.Answer(6, True)), cancelled]
    assert talk.join(SECOND) == []


def test_a_run_bound_to_another_reads_its_value_where_it_is() -> None:
    talk, first = Talk(FIRST), chain(1)
    talk.submit(first)
    talk.done(FIRST, [0])
    reads = shape_of(step(Elsewhere()))

    sent = talk.submit(reads, run=2, bindings=(1, 0))
    assert sent == [load(FIRST, reads, block=1, aliases=((0, 0),), label="2"), do(FIRST, [1], wanted=(1,), block=1)]
    assert talk.say(CLIENT, m.Drop(1, m.ints([0]))) == []
    assert talk.done(FIRST, [1], block=1) == [
        Send(CLIENT, m.Succeeded(2, 1, m.ints([1]), b"", "at11", (1, 28, 0)), (b"",)),
        Send(FIRST, m.Free(1, m.ints([0]))),
        Send(FIRST, m.Free(0, m.ints([0]))),
    ]


# -- values sent ahead -----------------------------------------------------------------------------


def test_scattered_values_are_spread_and_told_of() -> None:
    talk = Talk(FIRST, SECOND)

    assert talk.say(CLIENT, m.Hold(1, [1, 2, 3], ["a", "b", "c"]), b"122333") == [
        Send(FIRST, m.Store(0, m.ints([0, 1]), [1, 2]), (b"1", b"22")),
        Send(SECOND, m.Store(0, m.ints([2]), [3]), (b"333",)),
        *(
            Send(CLIENT, m.Succeeded(1, 0, m.ints([e]), b"", where, (0, 0, 6)), (b"",))
            for e, where in ((0, "at11"), (1, "at11"), (2, "at12"))
        ),
    ]


def test_a_scattered_value_of_a_lost_worker_is_lost() -> None:
    talk = Talk(FIRST)
    talk.say(CLIENT, m.Hold(1, [1], ["a"]), b"1")

    assert talk.lose(FIRST) == [lost(1, 0, State.LOST, "a")]
    assert talk.say(CLIENT, m.Want(7, 1, 0)) == [Send(CLIENT, m.Located(7, "", 0, 0, m.LOST_FOR_GOOD))]


def test_scattered_values_wait_for_a_worker_and_only_those_still_wanted_go_there() -> None:
    talk = Talk()
    talk.say(CLIENT, m.Hold(1, [1, 2], ["a", "b"]), b"122")
    talk.say(CLIENT, m.Drop(1, m.ints([0])))
    assert talk.say(CLIENT, m.Want(7, 1, 1)) == []

    assert talk.join(FIRST) == [
        Send(FIRST, m.Store(0, m.ints([1]), [2]), (b"22",)),
        Send(CLIENT, m.Located(7, "at11", 0, 1)),
    ]


def test_a_scattered_value_that_is_still_on_its_way_is_not_lost() -> None:
    talk = Talk(FIRST, SECOND)
    talk.say(CLIENT, m.Hold(1, [1], ["a"]), b"1")

    assert talk.say(SECOND, m.Returned(-1, 0, b"", [("at11", 0, m.ints([0]))])) == []
    assert talk.mind.records[0].holders(0) == [FIRST]


# -- questions -------------------------------------------------------------------------------------


def test_who_is_there_and_who_has_what() -> None:
    talk = Talk(FIRST)
    talk.submit(chain(1))
    talk.done(FIRST, [0])

    worker = {"name": "w11", "threads": 1, "outstanding": 0, "id": FIRST, "queues": ["default"]}
    worker |= {"resources": {}, "free": {}, "pid": 0, "memory": 0}
    worker |= {"managed": 0, "spilled": 0, "memory_limit": 0, "state": ""}
    assert talk.say(CLIENT, m.AskState(3, [(1, 0), (9, 0)])) == [
        Send(CLIENT, m.StateOf(3, {"at11": worker}, [["at11"], []], [(State.SUCCEEDED, "succeeded"), (-1, "")])),
    ]
    assert talk.say(CLIENT, m.AskStats(1)) == [Send(CLIENT, m.Stats(1, (1, 28, 0)))]


def test_a_run_that_was_forgotten_is_said_to_be_over() -> None:
    over = Send(CLIENT, m.Located(7, "", 0, 0, "its run is over and was forgotten"))

    assert Talk(FIRST).say(CLIENT, m.Want(7, 1, 0)) == [over]


@pytest.mark.parametrize("message", [m.Done(99, 1, m.ints([0]), m.longs([1]), 0.1, b""), m.Began(99, 0, 1)])
def test_news_of_a_run_that_is_over_is_not_news(message: m.Message) -> None:
    talk = Talk(FIRST)
    talk.mind.workers[FIRST].outstanding = 1

    assert talk.say(FIRST, message) == []


def test_futures_of_several_runs_are_dropped_in_one_message() -> None:
    talk = Talk(FIRST)
    for run in (1, 2, 3):
        talk.submit(chain(1), run=run)
        talk.say(FIRST, m.Done(run - 1, 1, m.ints([0]), m.longs([28]), 0.1, m.ints([0])), b"value")

    unknown = (7, m.ints([0]))
    gone = m.Drop(1, m.ints([0]), [(3, m.ints([0])), unknown])
    assert talk.say(CLIENT, gone) == [Send(FIRST, m.Forget(0)), Send(FIRST, m.Forget(2))]
    assert [*talk.mind.records] == [1]


def test_a_run_that_is_over_is_gone_without_a_look_for_cycles() -> None:
    # Its arrays are no containers, so that collections are rare; and it may have a million tasks.
    talk = Talk(FIRST)
    gc.collect()
    gc.disable()
    try:
        talk.submit(chain(1))
        talk.done(FIRST, [0])
        record = talk.mind.records[0]
        arrays = weakref.ref(record.home), weakref.ref(record.sizes)
        del record
        talk.say(CLIENT, m.Drop(1, m.ints([0])))
        assert [array() for array in arrays] == [None, None]
    finally:
        gc.enable()
