"""What the scheduler's mind keeps for those to come, by a clock that only the test moves."""

from __future__ import annotations

import pytest

from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster.records import Send, last_name, pack_shape
from lazygraph.values.graph import Shape
from lazygraph.values.status import State
from tests.executors.cluster.talking import CLIENT, FIRST, Elsewhere, Talk, chain, do, shape_of, step

OTHER = 2
TTL = 100.0


class Kept(Talk):
    """A talk in which time passes."""

    now = 0.0

    def say(self, peer: int, message: m.Message, body: bytes = b"") -> list[Send]:
        return [*self.mind.receive(peer, message, body, self.now), *self.mind.decide(self.now)]

    def lose(self, peer: int) -> list[Send]:
        return [*self.mind.lost(peer, self.now), *self.mind.decide(self.now)]

    def wait_until(self, now: float) -> list[Send]:
        self.now = now
        return self.mind.decide(now)

    def keep(self, *entries: int, run: int = 1, seconds: float = TTL) -> list[Send]:
        return self.say(CLIENT, m.Keep(run, m.ints(entries), seconds))

    def open(self, key: str = "", name: str = "", run: int = 7) -> list[Send]:
        if OTHER not in self.mind.clients:
            self.mind.client_joined(OTHER)
        return self.say(OTHER, m.Open(1, run, key, name))

    @property
    def empty(self) -> bool:
        mind = self.mind
        return not (mind.records or mind.frontier.blocks or mind._labels or mind._named) and mind.next_time() is None


def started(shape: Shape, *entries: int) -> Kept:
    talk = Kept(FIRST)
    talk.submit(shape, fail_fast=False)
    talk.keep(*entries)
    return talk


def opened(key: str, node: str = "step", run: int = 7) -> Send:
    return Send(OTHER, m.Opened(1, run, "", [key], [node]))


def here(block: int = 1) -> Send:
    return Send(OTHER, m.Succeeded(7, block, m.ints([0]), b"", "", (0, 0, 0)), (b"",))


# -- going on --------------------------------------------------------------------------------------


def test_it_goes_on_when_its_client_ends_and_is_kept_for_its_time_after_that() -> None:
    talk = started(chain(2), 1)
    assert talk.lose(CLIENT) == []

    talk.now = 50.0
    assert talk.done(FIRST, [0, 1]) == [Send(FIRST, m.Free(0, m.ints([0])))]
    assert talk.mind.next_time() == 150.0
    assert talk.wait_until(149.9) == []
    assert talk.wait_until(150.0) == [Send(FIRST, m.Forget(0))]
    assert talk.mind.next_time() is None
    assert talk.empty


def test_what_is_not_kept_is_cancelled_when_its_client_ends() -> None:
    talk = started(chain(1), 0)
    talk.submit(chain(1), run=2)

    assert talk.lose(CLIENT) == []
    assert list(talk.mind.frontier.blocks) == [0]


def test_a_client_that_stays_holds_it_longer_than_the_scheduler() -> None:
    talk = started(chain(1), 0)
    talk.done(FIRST, [0])

    assert talk.wait_until(TTL) == []
    assert not talk.mind.records[0].lasting
    assert talk.say(CLIENT, m.Drop(1, m.ints([0]))) == [Send(FIRST, m.Forget(0))]
    assert talk.empty


def test_the_time_begins_when_all_that_is_kept_has_ended_and_badly_counts_too() -> None:
    a, b = step(), step()
    talk = started(shape_of(a, b), 0, 1)
    talk.lose(CLIENT)

    talk.now = 10.0
    talk.done(FIRST, [0])
    assert talk.mind.next_time() is None
    talk.now = 20.0
    talk.say(FIRST, m.Broke(0, 1, 1, "step", "text", "here"), b"error")
    assert talk.mind.next_time() == 20.0 + TTL
    assert talk.wait_until(20.0 + TTL) == [Send(FIRST, m.Forget(0))]
    assert talk.empty


def test_a_failure_is_kept_for_whoever_opens_it() -> None:
    talk = started(chain(1), 0)
    talk.lose(CLIENT)
    talk.say(FIRST, m.Broke(0, 0, 1, "step", "text", "here"), b"error")

    ended = m.Ended(7, m.ints([0]), State.FAILED, "step", "step-1-0", 1, "raised", "text", "w11", "here")
    assert talk.open("step-1-0") == [opened("step-1-0"), Send(OTHER, ended, (b"error",))]


def test_a_delivered_value_that_is_kept_is_made_again_when_its_worker_ends() -> None:
    talk = started(chain(1), 0)
    done = m.Done(0, 1, m.ints([0]), m.longs([28]), 0.1, m.ints([0]))
    talk.say(FIRST, done, b"value")
    talk.lose(CLIENT)

    talk.lose(FIRST)
    assert talk.join(12)[-1] == do(12, [0], wanted=(0,), attempt=2)


def test_kept_for_no_time_it_goes_as_soon_as_it_has_ended() -> None:
    talk = Kept(FIRST)
    talk.submit(chain(1))
    talk.keep(0, seconds=0.0)
    talk.lose(CLIENT)

    talk.now = 3.0
    assert talk.done(FIRST, [0]) == [Send(FIRST, m.Forget(0))]
    assert talk.empty


def test_kept_twice_is_kept_once_for_the_longer_time() -> None:
    talk = started(chain(1), 0)
    talk.keep(0, seconds=5.0)
    talk.lose(CLIENT)
    talk.done(FIRST, [0])

    assert talk.mind.next_time() == TTL
    talk.wait_until(TTL)
    assert talk.empty


def test_a_scheduler_says_what_it_has() -> None:
    talk = started(chain(1), 0)

    assert talk.say(CLIENT, m.AskAccepted(5, 1)) == [Send(CLIENT, m.Answer(5, True))]
    assert talk.say(CLIENT, m.AskAccepted(6, 2)) == [Send(CLIENT, m.Answer(6, False))]


# -- finding it again ------------------------------------------------------------------------------


def test_a_future_of_a_key_ends_as_what_it_stands_for_and_holds_it() -> None:
    talk = started(chain(1), 0)
    talk.lose(CLIENT)

    assert talk.open("step-1-0") == [opened("step-1-0")]
    assert talk.done(FIRST, [0]) == [here()]
    assert talk.wait_until(TTL) == []
    assert talk.say(OTHER, m.Want(9, 7, 0)) == [Send(OTHER, m.Located(9, "at11", 0, 0, ""))]
    assert talk.say(OTHER, m.Drop(7, m.ints([0]))) == [Send(FIRST, m.Forget(0))]
    assert talk.empty


def test_an_opened_future_holds_what_was_not_kept_when_its_client_ends() -> None:
    node = step()
    talk = Kept(FIRST)
    talk.submit(shape_of(node, step(node)), fail_fast=False)
    talk.open("step-1-0")

    talk.lose(CLIENT)
    assert talk.done(FIRST, [0])[0] == here(block=2)


def test_what_only_a_chain_of_runs_still_wants_goes_on() -> None:
    talk = Kept(FIRST)
    talk.submit(chain(1), fail_fast=False)
    talk.submit(shape_of(step(Elsewhere())), run=2, bindings=(1, 0), fail_fast=False)
    talk.open("step-2-1")

    talk.lose(CLIENT)
    assert do(FIRST, [1], block=1) in talk.done(FIRST, [0])


@pytest.mark.parametrize("key", ["", "step", "step-1", "step-1-1", "step-2-0", "other-1-0", "step-1-x", "step-1--1"])
def test_an_unknown_key_is_said_to_be_one(key: str) -> None:
    talk = started(chain(1), 0)

    assert talk.open(key or "-") == [Send(OTHER, m.Opened(1, 7, "", [], []))]


def test_a_run_is_found_by_its_name_with_everything_that_is_held() -> None:
    node = step()
    shape = shape_of(node, step(node))
    talk = Kept(FIRST)
    talk.say(CLIENT, m.Submit(1, "nightly", False, pack_shape(shape), m.TablesOnWire([], 0), b"", label="abc.1"))

    found = Send(OTHER, m.Opened(1, 7, "nightly", ["step-abc.1-0", "step-abc.1-1"], ["step", "step"]))
    assert talk.open(name="nightly") == [found]
    assert talk.open(name="daily", run=8) == [Send(OTHER, m.Opened(1, 8, "", [], []))]


def test_cancelling_an_attached_run_cancels_the_run() -> None:
    talk = Kept()
    talk.say(CLIENT, m.Submit(1, "nightly", False, pack_shape(chain(1)), m.TablesOnWire([], 0), b""))
    talk.keep(0)
    talk.open(name="nightly")

    told = [send.message for send in talk.say(OTHER, m.Cancel(3, 7, -1))]
    assert [(type(message), getattr(message, "run", None)) for message in told] == [
        (m.Ended, 1),
        (m.Ended, 7),
        (m.Answer, None),
    ]
    assert told[-1] == m.Answer(3, True)


def test_cancelling_an_opened_future_withdraws_what_keeps_it_but_not_its_clients_claim() -> None:
    talk = Kept()
    talk.submit(chain(1))
    talk.keep(0)
    talk.open("step-1-0")

    assert talk.say(OTHER, m.Cancel(3, 7, 0))[-1] == Send(OTHER, m.Answer(3, True))
    assert talk.mind.frontier.blocks[0].states() == [State.QUEUED]
    talk.lose(CLIENT)
    talk.lose(OTHER)
    assert talk.empty


def test_what_runs_is_not_cancelled_through_an_opened_future() -> None:
    talk = started(chain(1), 0)
    talk.open("step-1-0")

    assert talk.say(OTHER, m.Cancel(3, 7, 0)) == [Send(OTHER, m.Answer(3, False))]
    talk.lose(CLIENT)
    assert talk.done(FIRST, [0]) == [here()]


def test_a_forgotten_value_goes_at_once_and_is_not_found_again() -> None:
    talk = started(chain(1), 0)
    talk.lose(CLIENT)
    talk.open("step-1-0")
    talk.done(FIRST, [0])

    talk.say(OTHER, m.Forgo(7, m.ints([0])))
    assert talk.say(OTHER, m.Drop(7, m.ints([0]))) == [Send(FIRST, m.Forget(0))]
    assert talk.open("step-1-0", run=8) == [Send(OTHER, m.Opened(1, 8, "", [], []))]
    assert talk.empty


def test_names_of_fused_tasks() -> None:
    assert last_name("load") == "load"
    assert last_name("load → parse → total") == "total"
    assert last_name("a → b → … → total (7 calls)") == "total"
    assert last_name("inc ×8 → add ×7") == "add"
    assert last_name("add ×15") == "add"
    assert last_name("two × two") == "two × two"


# -- making again ----------------------------------------------------------------------------------


def test_what_failed_is_made_again_and_nothing_else() -> None:
    bad, good = step(), step()
    talk = Kept(FIRST)
    talk.submit(shape_of(bad, good, step(bad)), fail_fast=False)
    talk.done(FIRST, [1])
    talk.say(FIRST, m.Broke(0, 0, 1, "step", "text", "here"), b"error")

    talk.say(FIRST, m.Returned(0, 1, m.ints([2]), []))

    sent = talk.say(CLIENT, m.Again(2, "x.2", 1, m.ints([2])))
    assert sent[-1] == do(FIRST, [0, 2], wanted=(2,), block=3)
    told = talk.done(FIRST, [0, 2], block=3)
    assert [send.message.run for send in told if isinstance(send.message, m.Succeeded)] == [2]
    talk.say(CLIENT, m.Drop(2, m.ints([2])))
    talk.say(CLIENT, m.Drop(1, m.ints([0, 1, 2])))
    assert talk.empty


def test_what_failed_above_in_another_run_is_made_again_too() -> None:
    talk = Kept(FIRST)
    talk.submit(chain(1), fail_fast=False)
    talk.submit(shape_of(step(Elsewhere())), run=2, bindings=(1, 0), fail_fast=False)
    talk.say(FIRST, m.Broke(0, 0, 1, "step", "text", "here"), b"error")
    talk.say(CLIENT, m.Drop(1, m.ints([0])))

    assert talk.say(CLIENT, m.Again(3, "x.3", 2, m.ints([1])))[-1] == do(FIRST, [0], block=3)
    assert do(FIRST, [1], wanted=(1,), block=4) in talk.done(FIRST, [0], block=3)
    talk.done(FIRST, [1], block=4)
    talk.say(CLIENT, m.Drop(3, m.ints([1])))
    talk.say(CLIENT, m.Drop(2, m.ints([1])))
    assert talk.empty


def test_what_is_forgotten_cannot_be_made_again() -> None:
    talk = Kept(FIRST)

    sent = talk.say(CLIENT, m.Again(3, "x.3", 2, m.ints([1])))
    assert [(type(send.message), send.message.kind) for send in sent] == [(m.Ended, "refused")]  # type: ignore[attr-defined]
