"""Workers that are silent, workers that die, and who is blamed: what the scheduler's mind does about them."""

from __future__ import annotations

from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster.losing import SUSPECT_AFTER
from lazygraph.executors.cluster.records import Send
from lazygraph.running.frontier import MAX_DEATHS
from lazygraph.values.status import State
from tests.executors.cluster.talking import CLIENT, FIRST, SECOND, Talk, chain, do, load, shape_of, step

TTL = 60.0


def take_back(worker: int, count: int = 1) -> Send:
    return Send(worker, m.TakeBack(-1, b"", count))


def beat(worker: int) -> Send:
    return Send(worker, m.Beat(SUSPECT_AFTER / 5))


class TestASilentWorker:
    def test_is_given_nothing_more_and_is_asked_for_what_has_not_begun(self) -> None:
        talk = Talk(worker_ttl=TTL)
        assert talk.join(FIRST) == [beat(FIRST)]
        talk.submit(chain(1))
        assert talk.wait(SUSPECT_AFTER - 1) == []
        assert talk.wait(1) == [take_back(FIRST)]
        assert talk.submit(chain(1), run=2) == []  # it has to wait: it may not be given to that one
        assert talk.join(SECOND)[1:] == [load(SECOND, chain(1), block=1, label="2"), do(SECOND, [0], (0,), block=1)]

    def test_keeps_what_it_runs_until_it_is_given_up(self) -> None:
        talk = Talk(FIRST, worker_ttl=TTL)
        talk.submit(chain(1))
        talk.say(FIRST, m.Began(0, 0, 1))
        talk.join(SECOND)
        assert talk.wait(TTL - 1, SECOND) == [take_back(FIRST)]
        assert talk.done(FIRST, [0])[0].message == m.Succeeded(1, 0, m.ints([0]), b"", f"at{FIRST}", (1, 28, 0))

    def test_is_as_before_when_it_speaks(self) -> None:
        talk = Talk(FIRST, worker_ttl=TTL)
        talk.wait(SUSPECT_AFTER + 1)
        assert talk.submit(chain(1)) == []
        assert talk.say(FIRST, m.Alive(0)) == [load(FIRST, chain(1)), do(FIRST, [0], (0,))]

    def test_is_given_up_after_a_time_and_what_it_says_late_changes_nothing(self) -> None:
        talk = Talk(FIRST, SECOND, worker_ttl=TTL)
        shape = chain(1)
        (asked,) = (send for send in talk.submit(shape) if isinstance(send.message, m.Do))
        frozen, other = (FIRST, SECOND) if asked.peer == FIRST else (SECOND, FIRST)
        talk.say(frozen, m.Began(0, 0, 1))
        assert talk.wait(TTL, other)[1:] == [
            Send(frozen, m.Forget(0)),
            Send(other, m.Away(f"at{frozen}")),
            Send(CLIENT, m.Away(f"at{frozen}")),
            load(other, shape),
            do(other, [0], (0,), attempt=2, tell=True),
        ]
        assert talk.done(frozen, [0]) == []  # of the first attempt
        [told] = talk.done(other, [0], attempt=2)
        assert told.message == m.Succeeded(1, 0, m.ints([0]), b"", f"at{other}", (1, 28, 0))
        assert talk.mind.workers[frozen].outstanding == 0
        second = talk.submit(chain(2), run=2)  # both take part again
        assert {send.peer for send in second} <= {frozen, other}

    def test_what_it_gives_back_late_is_not_taken_from_who_has_it_now(self) -> None:
        talk = Talk(worker_ttl=TTL)
        talk.join(FIRST, threads=2)
        talk.submit(chain(1))
        talk.wait(TTL)
        assert talk.say(FIRST, m.Alive(0))[-1] == do(FIRST, [0], (0,), attempt=2, tell=True)
        talk.say(FIRST, m.Returned(0, 1, m.ints([0]), []))  # what it was asked for when it was silent
        [told] = talk.done(FIRST, [0], attempt=2)
        assert isinstance(told.message, m.Succeeded)

    def test_values_with_another_copy_are_not_made_again(self) -> None:
        talk = Talk(FIRST, SECOND, worker_ttl=TTL)
        first, second = step(), step()
        talk.submit(shape_of(first, second, step(first, second)))
        talk.done(FIRST, [0])
        sent = talk.done(SECOND, [1])
        [fetching] = [send for send in sent if isinstance(send.message, m.Do)]
        reader, holder = fetching.peer, FIRST if fetching.peer == SECOND else SECOND
        talk.done(reader, [2])
        assert not [send for send in talk.wait(TTL, reader) if isinstance(send.message, m.Do)]
        [answer] = talk.say(CLIENT, m.Want(5, 1, 0 if holder == FIRST else 1))
        assert answer.message == m.Located(5, f"at{reader}", 0, 0 if holder == FIRST else 1)


class TestWhoIsBlamed:
    def test_nobody_of_those_that_shared_a_lease(self) -> None:
        talk = Talk()
        talk.submit(shape_of(step(), step(), step()))
        for worker in range(20, 20 + 2):
            talk.join(worker)
            assert talk.lose(worker) == []
        [shared] = [send.message for send in talk.join(FIRST) if isinstance(send.message, m.Do)]
        assert m.from_ints(shared.tasks).tolist() == [0]  # from now on each of them alone
        assert shared.tell

    def test_only_the_one_that_kills(self) -> None:
        talk = Talk()
        talk.submit(shape_of(step(), step()), fail_fast=False)  # the second kills whoever runs it, at once
        ended: list[Send] = []
        worker = 20
        while not ended:
            worker += 1
            sent = talk.join(worker)
            [given] = [send.message for send in sent if isinstance(send.message, m.Do)]
            tasks = m.from_ints(given.tasks).tolist()
            if tasks == [0]:
                sent = talk.done(worker, [0], attempt=given.attempt)
                assert [send for send in sent if isinstance(send.message, m.Do)]
            ended = [send for send in talk.lose(worker) if isinstance(send.message, m.Ended)]
        [end] = [send.message for send in ended]
        assert isinstance(end, m.Ended)
        assert (m.from_ints(end.entries).tolist(), end.kind, end.times) == ([1], "died", MAX_DEATHS + 1)
        assert len(end.text.splitlines()) == MAX_DEATHS + 1

    def test_what_is_known_of_the_end_is_said(self) -> None:
        talk = Talk(worker_ttl=TTL)
        once = shape_of(step.options(at_most_once=True)())
        talk.submit(once)
        talk.join(FIRST)
        talk.say(FIRST, m.Alive(123_000_000))
        talk.now += 2
        [end] = talk.mind.lost(FIRST, talk.now, "it was killed by SIGKILL\nthe last word")
        assert isinstance(end.message, m.Ended)
        assert end.message.text == (
            f"w{FIRST} (at{FIRST}, process 0): it was killed by SIGKILL; 123 MB of memory 2.0 s before\n"
            f"    | the last word"
        )
        assert (end.message.state, end.message.times) == (State.FAILED, 1)


class TestDraining:
    def test_hands_over_finishes_gives_its_values_away_and_ends(self) -> None:
        talk, shape = Talk(FIRST), chain(2)
        talk.submit(shape_of(step(), step()))
        assert talk.say(FIRST, m.Leaving()) == [take_back(FIRST, 2)]
        talk.say(FIRST, m.Returned(0, 1, m.ints([1]), [], asked=True))
        assert talk.join(SECOND)[-1] == do(SECOND, [1], (1,))
        sent = talk.done(FIRST, [0])
        assert sent[1:] == [Send(SECOND, m.Carry(f"at{FIRST}", 0, m.ints([0])))]
        assert talk.submit(shape, run=2) == []  # the other one is busy
        assert talk.say(SECOND, m.Carried(0, m.ints([0]))) == [Send(FIRST, m.Leave())]
        assert talk.lose(FIRST) == []  # nothing is lost
        assert talk.say(CLIENT, m.Want(5, 1, 0)) == [Send(CLIENT, m.Located(5, f"at{SECOND}", 0, 0))]

    def test_who_asked_is_told_when_they_have_left(self) -> None:
        talk = Talk(FIRST, SECOND)
        assert talk.say(CLIENT, m.Drain(1, ["w0"])) == [Send(CLIENT, m.Answer(1, False))]
        assert talk.say(CLIENT, m.Drain(2, [f"w{FIRST}", f"at{SECOND}"])) == [
            Send(FIRST, m.Leave()),
            Send(SECOND, m.Leave()),
        ]
        assert talk.lose(FIRST) == []
        assert talk.lose(SECOND) == [Send(CLIENT, m.Answer(2, True))]

    def test_what_cannot_be_sent_keeps_nobody(self) -> None:
        talk = Talk(FIRST)
        talk.submit(chain(1))
        talk.done(FIRST, [0])
        talk.join(SECOND)
        assert talk.say(FIRST, m.Leaving()) == [Send(SECOND, m.Carry(f"at{FIRST}", 0, m.ints([0])))]
        cannot = m.Returned(-1, 0, b"", [("", 0, m.ints([0]))])
        assert talk.say(SECOND, cannot) == [Send(FIRST, m.Leave())]

    def test_scattered_values_go_to_who_stays(self) -> None:
        talk = Talk(FIRST, SECOND)
        talk.say(FIRST, m.Leaving())
        sent = talk.say(CLIENT, m.Hold(1, [1, 1], ["a", "b"]), b"ab")
        assert (sent[0].peer, sent[0].message) == (SECOND, m.Store(0, m.ints([0, 1]), [1, 1]))
