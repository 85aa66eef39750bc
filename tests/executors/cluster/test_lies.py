"""A peer that knows the token and says what cannot be: its message is refused whole, and others go on."""

from __future__ import annotations

import mmap

import pytest

from lazygraph.executors.cluster import messages as m
from tests.executors.cluster.talking import CLIENT, FIRST, Talk, chain

OTHER = 2


def held(*lengths: int, names: int = 1, at: tuple[tuple[str, str], ...] = ()) -> m.Hold:
    return m.Hold(9, list(lengths), ["value"] * names, at=list(at))


@pytest.mark.parametrize(
    "lie",
    [
        held(-1),
        held(4, -1, names=2),
        held(2**62),
        held(2**40, 2**40, names=2),
        held(3, names=2),
        held(3, 1),
        held(2),
        held(3, at=(("at11", "a"), ("at11", "b"))),
    ],
)
def test_scattered_values_are_as_long_as_is_said(lie: m.Hold) -> None:
    talk = Talk(FIRST)
    talk.mind.client_joined(OTHER)
    with pytest.raises(ValueError, match=r"a Hold"):
        talk.say(OTHER, lie, b"abc")
    talk.lose(OTHER)
    assert talk.mind.records == {}
    talk.submit(chain(1))
    assert [type(send.message) for send in talk.done(FIRST, [0])][:1] == [m.Succeeded]


def test_more_than_two_gigabytes_can_be_scattered_at_once() -> None:
    """Offsets in the body were numbers of 32 bits; after that the scheduler decided nothing any more."""
    talk = Talk(FIRST)
    half = 1_500_000_000
    room = mmap.mmap(-1, 2 * half)  # never touched
    body = memoryview(room)
    sent = talk.say(CLIENT, held(half, half, names=2), body)  # type: ignore[arg-type]
    [store] = [send for send in sent if isinstance(send.message, m.Store)]
    assert [len(piece) for piece in store.body] == [half, half]


@pytest.mark.parametrize("entry", [-1, 1, 2**31 - 1])
def test_only_what_a_run_has_can_be_kept(entry: int) -> None:
    talk = Talk()
    talk.submit(chain(1))
    with pytest.raises(ValueError, match=r"a Keep names entries"):
        talk.say(CLIENT, m.Keep(1, m.ints([entry]), 1.0))
    assert talk.mind.records[0].lasting == set()
    talk.lose(CLIENT)
    assert talk.mind.records == {}
