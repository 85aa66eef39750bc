"""One large value for many workers: each gives it to few others, those that wait for it are asked already."""

from __future__ import annotations

from math import log2

import pytest

from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster.equipping import BRANCHING, FANOUT
from lazygraph.executors.cluster.records import Send
from lazygraph.executors.cluster.worker_machine import Fetch, WorkerMachine
from tests.executors.cluster.talking import CLIENT, FIRST, Talk, shape_of, step

LARGE = 10 * BRANCHING


def spread(addresses: list[str], size: int = LARGE) -> dict[str, str]:
    """Make a value on the first worker, have one task read it on each; return who asked whom."""
    talk = Talk()
    value = step()
    talk.say(FIRST, m.Join("w0", addresses[0], 1, 0))
    talk.submit(shape_of(value, *[step(value) for _ in addresses]))
    for at, address in enumerate(addresses[1:], 1):
        talk.say(FIRST + at, m.Join(f"w{at}", address, 1, 0))
    asked: dict[str, str] = {}

    def look(sends: list[Send]) -> None:
        for peer, message, _ in sends:
            if isinstance(message, m.Do):
                for address, _, _ in message.where:
                    assert message.turn
                    asked[addresses[peer - FIRST]] = address
            elif isinstance(message, m.TakeBack):  # it gives all back that it has not begun
                look(talk.say(peer, m.Returned(0, 1, m.ints(range(2, len(addresses) + 1)), [], asked=True)))

    look(talk.done(FIRST, [0], size=size))
    return asked


def depth(asked: dict[str, str], address: str) -> int:
    return 1 + depth(asked, asked[address]) if address in asked else 0


@pytest.mark.parametrize("count", [2, 3, 10, 100])
def test_each_worker_gives_a_large_value_to_few_others(count: int) -> None:
    addresses = [f"tcp://host-{at}:1" for at in range(count)]
    asked = spread(addresses)

    assert set(asked) == set(addresses[1:])
    assert max([*asked.values()].count(giver) for giver in addresses) <= FANOUT
    assert max(depth(asked, address) for address in addresses) <= log2(count) + 1


def test_a_host_gets_it_from_another_once() -> None:
    addresses = [f"tcp://host-{at % 5}:{at}" for at in range(60)]
    asked = spread(addresses)

    across = [one for one, giver in asked.items() if one.rpartition(":")[0] != giver.rpartition(":")[0]]
    assert len(across) == 4
    assert max([*asked.values()].count(giver) for giver in addresses) <= 2 * FANOUT
    assert max(depth(asked, address) for address in addresses) <= log2(5) + 1 + log2(12) + 1


def test_what_is_small_comes_from_who_has_made_it() -> None:
    asked = spread([f"tcp://host-{at}:1" for at in range(20)], size=BRANCHING - 1)

    assert len(asked) == 19
    assert {*asked.values()} == {"tcp://host-0:1"}


# -- waiting for what is on its way ----------------------------------------------------------------


def lease(turn: int, where: str = "there") -> m.Do:
    return m.Do(7, 1, m.ints([2]), b"", [(where, 7, m.ints([1]))], False, turn)


def test_who_waits_for_a_value_is_waited_for_by_those_that_were_told_so_later() -> None:
    mind = WorkerMachine()
    mind.load(7, None, ())  # type: ignore[arg-type]
    mind._still_coming = lambda lease: {}  # type: ignore[method-assign]
    [fetch] = mind.receive(lease(turn=4))

    assert fetch == Fetch(1, "there", 7, m.ints([1]), 4)
    assert mind.coming(7, [1], turn=5) == 1
    assert mind.coming(7, [0, 1], turn=9) == 1
    assert mind.coming(7, [1], turn=4) is mind.coming(7, [1], turn=3) is None
    assert mind.coming(7, [1], turn=0) is None  # a client: it is told
    assert mind.coming(7, [0], turn=5) is mind.coming(8, [1], turn=5) is None
    mind.blocks[7].values[1] = "here"
    mind.receive(m.Free(7, m.ints([1])))
    assert mind.coming(7, [1], turn=5) is None


# -- values that clients put where they are to be --------------------------------------------------


def hold(at: list[tuple[str, str]], broadcast: bool = False) -> m.Hold:
    return m.Hold(1, [LARGE, 3], ["large", "small"], "1", at, broadcast)


def test_a_worker_is_told_what_a_client_has_put_there() -> None:
    talk = Talk(FIRST)

    assert talk.say(CLIENT, hold([("at11", "name"), ("", "")]), b"abc")[:2] == [
        Send(FIRST, m.Own(0, m.ints([0]), ["name"])),
        Send(FIRST, m.Store(0, m.ints([1]), [3]), (b"abc",)),
    ]
    assert talk.mind.records[0].holders(0) == talk.mind.records[0].holders(1) == [FIRST]


def test_what_was_put_on_a_worker_that_is_gone_is_lost() -> None:
    talk = Talk(FIRST)
    sent = talk.say(CLIENT, hold([("at99", "name"), ("", "")]), b"abc")

    ended = [message for _, message, _ in sent if isinstance(message, m.Ended)]
    assert [(m.from_ints(one.entries)[0], one.kind) for one in ended] == [(0, "lost")]


def test_every_worker_is_told_to_bring_what_is_for_all() -> None:
    talk = Talk(*range(FIRST, FIRST + 7))
    sent = talk.say(CLIENT, hold([("at11", "one"), ("at11", "two")], broadcast=True))

    brought = {peer: message.address for peer, message, _ in sent if isinstance(message, m.Bring)}
    assert set(brought) == set(range(FIRST + 1, FIRST + 7))
    assert max([*brought.values()].count(giver) for giver in brought.values()) <= FANOUT
