"""What leases say while they run somewhere else, and how it comes here in datagrams."""

from __future__ import annotations

import socket
from queue import SimpleQueue
from typing import Any

import pytest

from lazygraph.executors.datagrams import WORD, Ear
from lazygraph.executors.saying import TELLING, Heard, Progress, Speaker

WAIT = 30


class Lease:
    """A lease that notes what is heard of it."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def began(self, task: int) -> None:
        self.heard.append(task)

    def told(self, task: int, done: float, total: float | None) -> None:
        self.heard.append((task, done, total))


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def lease() -> Lease:
    return Lease()


@pytest.fixture
def speaker(heard: Heard, lease: Lease) -> Speaker:
    return Speaker(heard.expect(lease))


def test_a_task_has_begun_when_it_is_seen_twice(heard: Heard, lease: Lease, speaker: Speaker) -> None:
    assert speaker.news(1.0) is None
    for task in (5, 6, 7):  # the first two are short
        speaker.began(task)
        assert speaker.news(1.0) is None
    said = speaker.news(1.0)
    assert said is not None
    heard.hear(said)
    assert lease.heard == [7]
    assert speaker.news(2.0) is None
    assert heard.over(lease) == {7}


def test_of_much_that_is_said_the_last_is_told_now_and_then(heard: Heard, lease: Lease, speaker: Speaker) -> None:
    speaker.told(5, 1, 10)
    said = [speaker.news(1.0)]
    for done in (2, 3):
        speaker.told(5, done, 10)
        assert speaker.news(1.0 + TELLING / 2) is None
    said += [speaker.news(1.0 + 2 * TELLING), speaker.news(1.0 + 4 * TELLING)]
    for message in filter(None, said):
        heard.hear(message)
    assert lease.heard == [5, (5, 1.0, 10.0), (5, 3.0, 10.0)]
    assert speaker.all_told() == [Progress(5, 3.0, 10.0)]


def test_of_a_lease_that_is_over_nothing_is_heard(heard: Heard, lease: Lease, speaker: Speaker) -> None:
    speaker.told(5, 1, None)
    said = speaker.news(1.0)
    assert said is not None
    assert heard.over(lease) == set()
    heard.hear(said)
    assert lease.heard == []


def test_an_ear_hears_those_only_who_know_the_word() -> None:
    heard: SimpleQueue[bytes] = SimpleQueue()
    ear = Ear("127.0.0.1", heard.put, "ear")
    port = int(ear.where[WORD:].split()[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for message in (b"", b"x" * WORD, b"x" * WORD + b"hello", ear.where[:WORD] + b"mine"):
            stranger.sendto(message, ("127.0.0.1", port))
    assert heard.get(timeout=WAIT) == b"mine"
    assert heard.empty()
    ear.close()


def test_an_ear_is_only_at_an_address_of_this_host() -> None:
    with pytest.raises(OSError, match="assign"):
        Ear("192.0.2.1", print, "ear")
