"""What a worker answers: each value once in a segment, whoever asks and how often, and sent where that cannot be."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster.net.giving import Giver
from lazygraph.executors.cluster.net.peers import Brought
from lazygraph.executors.cluster.net.segments import CannotShare, Kept, Mapped, Segments, this_host
from lazygraph.executors.cluster.worker_machine import MISSING, WorkerMachine

pytestmark = pytest.mark.skipif(not this_host(), reason="memory is shared through /proc, which Linux has")

LARGE = np.arange(500_000)


class Counting(Segments):
    """Segments that note what is put."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.puts: list[int] = []

    def put(self, pieces: Sequence[memoryview], length: int) -> Kept | None:
        self.puts.append(length)
        return super().put(pieces, length)


class Asker:
    """The other end of a link: what it was answered."""

    def __init__(self) -> None:
        self.answers: list[tuple[m.Values, bytes]] = []
        self._more = asyncio.Event()

    def send(self, message: m.Values, *pieces: memoryview) -> None:
        self.answers.append((message, b"".join(pieces)))
        self._more.set()

    async def until(self, count: int) -> None:
        while len(self.answers) < count:
            self._more.clear()
            await self._more.wait()

    def opened(self) -> list[list[Any]]:
        """Open the answers, in the order of the questions."""
        found = []
        for message, body in sorted(self.answers, key=lambda one: one[0].question):
            mapped = [Mapped(place, False) for place in message.places]
            found.append(Brought(message, body, mapped, False).opened(MISSING)[0])
        return found

    @property
    def inodes(self) -> list[int]:
        return [place.inode for message, _ in self.answers for place in message.places]


class Table:
    """A worker's mind with values, and what gives them."""

    def __init__(self, *values: Any, **options: Any) -> None:
        self.mind = WorkerMachine()
        self.mind.store(0, range(len(values)), values)
        self.segments = Counting(**options)
        self.giver = Giver(self.mind, self.segments)
        self.asker = Asker()
        self._asked = 0

    def ask(self, *entries: int, host: str | None = None, turn: int = 0) -> None:
        self._asked += 1
        question = m.Get(self._asked, 0, m.ints(entries), this_host() if host is None else host, turn)
        self.giver.asked(self.asker, question)  # type: ignore[arg-type]


@pytest.fixture
def tables() -> Iterator[Any]:
    """Make tables."""
    made: list[Table] = []

    def make(*values: Any, **options: Any) -> Table:
        made.append(Table(*values, **options))
        return made[-1]

    yield make
    for table in made:
        table.giver.close()


async def test_a_small_value_is_answered_at_once(tables: Any) -> None:
    table = tables(1, "two")
    table.ask(1, 0, 7)
    assert table.asker.opened() == [["two", 1, MISSING]]
    assert table.segments.puts == []


async def test_whoever_asks_while_it_is_copied_waits_for_the_same_copy(tables: Any) -> None:
    table = tables(LARGE, "two")
    for _ in range(4):
        table.ask(0)
    table.ask(1, 0)
    assert table.asker.answers == []
    await table.asker.until(5)
    table.ask(0)
    assert (len(table.segments.puts), len(set(table.asker.inodes)), len(table.asker.inodes)) == (1, 1, 6)
    for [*_, array] in table.asker.opened():
        np.testing.assert_array_equal(array, LARGE)


async def test_nobody_waits_for_what_others_have_asked_for(tables: Any) -> None:
    table = tables(LARGE, "two")
    table.ask(0)
    table.ask(1)
    assert table.asker.opened() == [["two"]]
    await table.asker.until(2)


@pytest.mark.parametrize("comes", [True, False])
async def test_what_is_on_its_way_is_given_when_it_comes(tables: Any, comes: bool) -> None:
    table = tables("here")
    mind, giver = table.mind, table.giver
    [fetch] = mind.receive(m.Carry("there", 0, m.ints([1])))
    table.ask(0, 1, turn=3)
    table.ask(1, turn=4)
    table.ask(0, 1)  # a client, which is told
    table.ask(0, turn=5)
    assert [message.question for message, _ in table.asker.answers] == [3, 4]

    mind.fetched(fetch.question, ["come"] if comes else None, {})
    giver.settled(m.Get(fetch.question, 0, fetch.entries))
    value = "come" if comes else MISSING
    assert table.asker.opened() == [["here", value], [value], ["here", MISSING], ["here"]]


async def test_what_another_host_asks_for_is_sent(tables: Any) -> None:
    table = tables(LARGE)
    table.ask(0, host="elsewhere")
    table.ask(0, host="")
    assert (table.segments.puts, table.asker.inodes) == ([], [])
    for [array] in table.asker.opened():
        np.testing.assert_array_equal(array, LARGE)


async def test_where_there_is_no_room_it_is_sent(tables: Any, tmp_path: Path) -> None:
    table = tables(LARGE, available=lambda: 0, folder=str(tmp_path / "gone"))
    table.ask(0)
    table.ask(0)
    await table.asker.until(2)
    assert table.asker.inodes == []
    for [array] in table.asker.opened():
        np.testing.assert_array_equal(array, LARGE)


async def test_what_is_freed_while_it_is_copied_is_given_all_the_same(tables: Any) -> None:
    table = tables(LARGE)
    table.ask(0)
    table.mind.receive(m.Free(0, m.ints([0])))
    await table.asker.until(1)
    [[array]] = table.asker.opened()
    np.testing.assert_array_equal(array, LARGE)
    table.ask(0)
    assert table.asker.opened()[1] == [MISSING]


async def test_another_value_of_the_same_task_is_copied_anew(tables: Any) -> None:
    table = tables(LARGE)
    table.ask(0)
    await table.asker.until(1)
    [[first]] = table.asker.opened()
    table.mind.store(0, [0], [LARGE + 1])
    table.ask(0)
    await table.asker.until(2)
    table.asker.answers.pop(0)
    [[second]] = table.asker.opened()
    np.testing.assert_array_equal(first, LARGE)
    np.testing.assert_array_equal(second, LARGE + 1)


async def test_whoever_has_it_mapped_gives_the_same_segment(tables: Any) -> None:
    first, second = tables(LARGE), tables()
    first.ask(0)
    await first.asker.until(1)
    [(message, body)] = first.asker.answers
    brought = Brought(message, body, [Mapped(message.places[0], False)], False)
    values, _ = brought.opened(MISSING)
    second.mind.store(0, [0], values)
    second.giver.came(m.Get(1, 0, m.ints([0])), values, brought)
    first.mind.receive(m.Forget(0))
    second.ask(0)
    assert (second.segments.puts, second.asker.inodes) == ([], first.asker.inodes)
    np.testing.assert_array_equal(second.asker.opened()[0][0], LARGE)


async def test_a_value_that_cannot_be_pickled_says_why(tables: Any) -> None:
    table = tables((one for one in ()), LARGE)
    table.ask(0, 1)
    await table.asker.until(1)
    [(message, _)] = table.asker.answers
    assert (message.lengths, len(message.places)) == ([-2, -3], 1)
    assert message.problems[0].startswith("a generator: TypeError")


async def test_when_nothing_is_needed_any_more_nothing_is_open(tables: Any) -> None:
    table = tables(LARGE)
    table.ask(0)
    await table.asker.until(1)
    [(message, _)] = table.asker.answers
    Mapped(message.places[0], own=False)
    table.mind.receive(m.Forget(0))
    table.giver.close()
    with pytest.raises(CannotShare):
        Mapped(message.places[0], own=False)
