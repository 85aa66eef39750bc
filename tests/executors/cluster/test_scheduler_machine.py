"""The scheduler's mind, one exchange at a time: what it says is compared whole."""

from __future__ import annotations

import pytest

from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster.records import Send, pack_shape
from lazygraph.executors.cluster.scheduler_machine import SchedulerMachine
from lazygraph.language.delayed import delayed
from lazygraph.language.promise import Delayed
from lazygraph.planning.plan import plan_of
from lazygraph.running.frontier import MAX_DEATHS, MAX_REPLACEMENTS
from lazygraph.values.graph import Shape
from lazygraph.values.node import External, NodeScope
from lazygraph.values.options import DEFAULT
from lazygraph.values.status import State

CLIENT, FIRST, SECOND, THIRD = 1, 11, 12, 13
TABLES = m.TablesOnWire([], 0)


class Elsewhere(External):
    """Stands for a value of another run."""


@delayed
def step(*inputs: object) -> int:
    return len(inputs)


def shape_of(*outputs: object) -> Shape:
    return plan_of(outputs, optimize_graph=False).shape  # type: ignore[arg-type]


def chain(length: int) -> Shape:
    node = step()
    for _ in range(length - 1):
        node = step(node)
    return shape_of(node)


class Talk:
    """A mind with a client and workers of one thread; `now` never matters here."""

    def __init__(self, *workers: int) -> None:
        self.mind = SchedulerMachine()
        self.mind.client_joined(CLIENT)
        for worker in workers:
            self.join(worker)

    def join(self, worker: int, threads: int = 1) -> list[Send]:
        return self.say(worker, m.Join(f"w{worker}", f"at{worker}", threads, 0))

    def say(self, peer: int, message: m.Message, body: bytes = b"") -> list[Send]:
        return [*self.mind.receive(peer, message, body, 0.0), *self.mind.decide(0.0)]

    def lose(self, peer: int) -> list[Send]:
        return [*self.mind.lost(peer, 0.0), *self.mind.decide(0.0)]

    def submit(self, shape: Shape, run: int = 1, bindings: tuple[int, ...] = (), fail_fast: bool = True) -> list[Send]:
        message = m.Submit(run, "", fail_fast, pack_shape(shape), TABLES, m.ints(bindings))
        return self.say(CLIENT, message, b"tables")

    def done(self, worker: int, tasks: list[int], block: int = 0, attempt: int = 1, size: int = 28) -> list[Send]:
        sizes = m.longs([size] * len(tasks))
        return self.say(worker, m.Done(block, attempt, m.ints(tasks), sizes, 0.1, b""))


def load(worker: int, shape: Shape, block: int = 0, aliases: tuple[tuple[int, int], ...] = ()) -> Send:
    return Send(worker, m.Load(block, pack_shape(shape), TABLES, list(aliases)), (b"tables",))


def do(
    worker: int,
    tasks: list[int],
    wanted: tuple[int, ...] = (),
    where: tuple[tuple[str, int, bytes], ...] = (),
    block: int = 0,
    attempt: int = 1,
) -> Send:
    return Send(worker, m.Do(block, attempt, m.ints(tasks), m.ints(wanted), list(where)))


def lost(run: int, entry: int, state: State, name: str, kind: str = "lost", origin: str = "") -> Send:
    key = f"{name}-{run}-{entry}"
    return Send(CLIENT, m.Ended(run, m.ints([entry]), state, name, key, 1, kind, "", "", origin), (b"",))


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
    assert talk.done(SECOND, [0], attempt=2) == [do(SECOND, [1], wanted=(1,), attempt=2)]


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
    record = ("step", "step-1-0", 4, "died", "", "w12", origin, MAX_DEATHS + 1)
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
    assert talk.done(FIRST, [0], attempt=2) == [do(SECOND, [2], wanted=(2,), where=where)]


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
    talk.join(FIRST)
    talk.submit(shape, run=2)
    assert talk.say(CLIENT, m.Cancel(6, 2, 0)) == [Send(CLIENT, m.Answer(6, False))]
    assert talk.say(CLIENT, m.Cancel(7, 9, 0)) == [Send(CLIENT, m.Answer(7, False))]


def test_a_run_bound_to_another_reads_its_value_where_it_is() -> None:
    talk, first = Talk(FIRST), chain(1)
    talk.submit(first)
    talk.done(FIRST, [0])
    reads = shape_of(step(Elsewhere()))

    sent = talk.submit(reads, run=2, bindings=(1, 0))
    assert sent == [load(FIRST, reads, block=1, aliases=((0, 0),)), do(FIRST, [1], wanted=(1,), block=1)]
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

    worker = {"name": "w11", "threads": 1, "outstanding": 0, "id": FIRST}
    assert talk.say(CLIENT, m.AskState(3, [(1, 0), (9, 0)])) == [
        Send(CLIENT, m.StateOf(3, {"at11": worker}, [["at11"], []])),
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


# -- replaced tasks --------------------------------------------------------------------------------


def becomes(shape: Shape, block: int = 0, task: int = 0, attempt: int = 1) -> m.Replaced:
    return m.Replaced(block, task, attempt, pack_shape(shape), TABLES)


def adopt(worker: int, owner: int, wanted: bool = True, attempt: int = 1, entry: int = 0) -> Send:
    return Send(worker, m.Adopt(0, 0, attempt, owner, entry, wanted))


def test_a_task_becomes_a_plan_and_takes_its_value_over_where_it_is() -> None:
    talk, one = Talk(FIRST), chain(1)
    talk.submit(one)

    assert talk.say(FIRST, becomes(one), b"tables") == [load(FIRST, one, block=1), do(FIRST, [0], block=1)]
    assert talk.done(FIRST, [0], block=1) == [adopt(FIRST, owner=1)]
    assert talk.done(FIRST, [0]) == [
        Send(CLIENT, m.Succeeded(1, 0, m.ints([0]), b"", "at11", (2, 56, 0)), (b"",)),
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
    assert talk.join(SECOND) == [load(SECOND, one, block=1), do(SECOND, [0], block=1, attempt=2)]
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
    assert talk.join(SECOND)[1:] == [caught(SECOND), do(SECOND, [2], wanted=(2,), attempt=3)]
