"""What once made a caller wait for ever, or one call spoil others: on real processes, with users' words."""

from __future__ import annotations

import asyncio
import os
import pickle
import queue
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

import pytest

import lazygraph
from lazygraph import Client, LocalCluster, delayed
from lazygraph.errors import ConnectionLost, InvalidOption, RemoteError, Unserializable
from lazygraph.executors.cluster.net import link
from lazygraph.values.options import Limit

WAIT = 30


def one(x: Any) -> Any:
    return x


def _spin(seconds: float) -> None:
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        os.getpid()


class Held(Exception):
    """Has a lock, as errors of HTTP clients do: it cannot be pickled."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


class OpensOnlyAtHome:
    """Cannot be opened in another process than that of the test."""

    def __reduce__(self) -> Any:
        return _at_home, (os.getpid(),)


def _at_home(pid: int) -> OpensOnlyAtHome:
    if os.getpid() != pid:
        raise ValueError("cannot be opened here")
    return OpensOnlyAtHome()


class Box:
    """Something whose inside nobody looks into."""

    def __init__(self, inside: Any) -> None:
        self.inside = inside


class TestOddFailures:
    def test_a_task_group_whose_error_cannot_be_pickled(self, client: Client) -> None:
        async def fails() -> None:
            raise Held

        async def several() -> None:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(fails())

        with pytest.raises(RemoteError, match="unhandled errors in a TaskGroup"):
            client.submit(several).result(WAIT)

    def test_a_failure_many_calls_deep(self, client: Client) -> None:
        def deep(n: int) -> Any:
            if not n:
                raise ValueError("bottom")
            return delayed(deep)(n - 1).compute()

        with pytest.raises(ValueError, match="bottom") as caught:
            client.submit(deep, 12).result(WAIT)
        assert len("".join(caught.value.__notes__)) < 100_000

    def test_words_that_are_no_text(self, client: Client) -> None:
        def fails() -> None:
            raise ValueError(os.fsdecode(b"caf\xe9"))

        with pytest.raises(ValueError, match="caf"):
            client.submit(fails).result(WAIT)
        with pytest.raises(Unserializable):
            client.submit(one, 1, key="caf\udce9").result(WAIT)
        with pytest.raises(Unserializable):
            client.future("caf\udce9")
        assert client.submit(one, 2).result(WAIT) == 2

    def test_progress_that_is_no_number_is_the_tasks_own_error(self, client: Client) -> None:
        @delayed(bind=True)
        def says(self: Any) -> int:
            self.progress("half")
            return 1

        with pytest.raises(ValueError, match="half"):
            client.submit(says).result(WAIT)

    def test_a_plan_too_long_for_a_message(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(link, "MAX_HEADER", 10_000)
        total = delayed(one)(0)
        for _ in range(1000):
            total = delayed(one)(total)

        with pytest.raises(Unserializable, match="send the work in several parts"):
            total.compute(optimize_graph=False)
        assert client.submit(one, 1).result(WAIT) == 1


class TestOneOfMany:
    def test_a_limit_said_otherwise_is_refused_alone(self, client: Client) -> None:
        def slow() -> int:
            return 1

        calls = [delayed(slow).options(limit=Limit("odd one out", concurrency=n)) for n in (1, 2)]
        first, second, other = client.submit(calls[0]), client.submit(calls[1]), client.submit(one, 3)
        ended = {type(future.exception(WAIT)) for future in (first, second)}
        assert ended <= {InvalidOption, type(None)}
        assert other.result(WAIT) == 3

    def test_an_argument_that_cannot_be_opened_fails_its_call_alone(self, client: Client) -> None:
        futures = [client.submit(one, 1), client.submit(one, [OpensOnlyAtHome()]), client.submit(one, 3)]
        below = client.submit(one, futures[2])

        assert futures[0].result(WAIT) == 1 and below.result(WAIT) == 3
        with pytest.raises(Unserializable, match="cannot be opened here"):
            futures[1].result(WAIT)

    def test_a_replacement_that_contradicts_a_limit(self, client: Client, cluster: LocalCluster) -> None:
        def becomes() -> Any:
            return lazygraph.replace(delayed(one).options(limit=Limit("of two minds", concurrency=2))(3))

        workers = dict(cluster.workers)
        limited = delayed(one).options(limit=Limit("of two minds", concurrency=1), queue="later on")
        held = [client.submit(limited, at) for at in range(2)]
        with pytest.raises(InvalidOption, match="of two minds"):
            client.submit(becomes).result(WAIT)
        client.add_queue("later on")
        assert [future.result(WAIT) for future in held] == [0, 1]
        client.remove_queue("later on")
        assert dict(cluster.workers) == workers

    def test_items_of_a_queue(self, client: Client) -> None:
        end, items = object(), queue.Queue[Any]()
        foreign = lazygraph.start(delayed(divmod)(1, 0), executor="threads")
        futures = client.map(one, items, sentinel=end)
        for item in (1, delayed(one)(threading.Lock()), foreign.futures[0], 3, end):
            items.put(item)

        got = list(iter(lambda: futures.get(timeout=WAIT), end))
        assert (got[0].result(WAIT), got[3].result(WAIT)) == (1, 3)
        assert [type(future.exception(WAIT)) for future in got[1:3]] == [Unserializable, ZeroDivisionError]


class TestFuturesInsideOfThings:
    def test_a_value_with_a_future_in_it(self, client: Client) -> None:
        inner = client.submit(one, 7, key="inner")

        box = client.submit(one, Box(inner)).result(WAIT)
        assert box.inside.result(WAIT) == 7

    def test_in_an_object_a_pickle_and_a_closure(self, client: Client) -> None:
        inner = client.submit(one, 7)

        def unbox(box: Box) -> int:
            return int(box.inside.result(WAIT))

        def opens(pickled: bytes) -> int:
            return int(pickle.loads(pickled).result(WAIT))

        def closes() -> int:
            return int(inner.result(WAIT))

        asked = [client.submit(unbox, Box(inner)), client.submit(opens, pickle.dumps(inner)), client.submit(closes)]
        assert client.gather(asked) == [7, 7, 7]


class TestCallbacks:
    def test_one_may_wait_for_another_future_that_has_one(self, client: Client, tmp_path: Path) -> None:
        gate, got, over, called = str(tmp_path / "gate"), [], threading.Event(), threading.Event()

        def when_open(x: int) -> int:
            while not os.path.exists(gate):
                _spin(0.001)
            return x

        first, second = client.submit(one, 1), client.submit(when_open, 2)

        def waits(_: Any) -> None:
            got.append(second.result(WAIT))
            over.set()

        second.add_done_callback(lambda _: called.set())
        first.add_done_callback(waits)
        open(gate, "w").close()
        assert over.wait(WAIT) and called.wait(WAIT)
        assert got == [2]

    def test_they_all_come(self, client: Client) -> None:
        futures, got, over = client.map(one, range(50)), [], threading.Event()

        def note(done: Any) -> None:
            got.append(done.result())
            if len(got) == 50:
                over.set()

        for future in futures:
            future.add_done_callback(note)
        assert over.wait(WAIT) and sorted(got) == list(range(50))


class TestWhatIsKnown:
    def test_a_future_knows_that_its_call_runs(self, client: Client) -> None:
        def waits() -> int:
            _spin(0.5)
            return 1

        future = client.submit(waits)
        deadline = time.monotonic() + WAIT
        while not future.done() and not future.running():
            assert time.monotonic() < deadline
        assert future.running() and future.status == "running"

    def test_urgent_work_overtakes_what_has_not_begun(self, client: Client) -> None:
        def slow(at: int) -> float:
            _spin(0.1)
            return time.time()

        many = client.map(slow, range(16), workers=["worker-1"])
        lazygraph.wait(many, return_when="FIRST_COMPLETED")  # others have been handed out by now
        urgent = client.submit(slow, 99, priority=10, workers=["worker-1"]).result(WAIT)
        assert sum(ended < urgent for ended in client.gather(many)) <= 5


def test_a_connection_whose_thread_is_ended_is_lost(cluster: LocalCluster) -> None:
    def ends() -> None:
        raise SystemExit

    with Client(cluster, set_as_default=False) as client:
        future = client.submit(one, client.submit(one, 1, queue="nobody's"))
        assert not future.done()
        client.flush()
        client.executor.post(ends)
        with pytest.raises(ConnectionLost, match="was ended by SystemExit"):
            future.result(WAIT)


def test_futures_that_go_while_others_are_let_go_of_are_let_go_of_too(client: Client) -> None:
    executor, sent = client.executor, threading.Event()
    first, second = (client.submit(one, at) for at in range(2))
    lazygraph.wait([first, second])

    class Late(deque[tuple[int, int]]):
        """Takes the second future only when the connection's thread has just looked."""

        def append(self, item: tuple[int, int]) -> None:
            if self:
                executor._send_drops()
            super().append(item)

    executor._dropped = Late()
    del first
    del second
    executor._connection.post_later(sent.set)
    assert sent.wait(WAIT) and not executor._dropped
