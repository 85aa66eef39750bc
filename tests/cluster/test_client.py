"""The client's verbs, futures and values, on two real worker processes.

What is not here: errors (test_errors), processes that die (test_faults), commands (test_cli_serving).
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
import weakref
from collections.abc import Callable
from operator import add, mul, neg
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

import lazygraph
from lazygraph import Client, Delayed, LocalCluster, Status, compute, delayed

BIG = 20_000_000


class Gate:
    """Two named pipes: a task says at one that it has come, and waits at the other until the test opens it."""

    def __init__(self, path: Path) -> None:
        self.path, self.bell = path, path.with_name(f"{path.name}-bell")
        os.mkfifo(self.path)
        os.mkfifo(self.bell)

    def waits(self) -> Callable[..., str]:
        """Return the function of a task that comes to the gate."""
        path, bell = self.path, self.bell

        def waits(*_: Any) -> str:
            bell.write_text("here")
            return path.read_text()

        return waits

    def reached(self) -> None:
        """Return when a task has come."""
        assert self.bell.read_text() == "here"

    def open(self) -> None:
        """Let the task through; returns once it is there."""
        self.reached()
        self.path.write_text("through")


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "gate")


class TestSubmit:
    def test_futures_anywhere_in_the_arguments(self, client: Client) -> None:
        x, y = client.submit(add, 1, 2), client.submit(add, 3, 4)
        x.result()  # one that is held on a worker, one that has not been sent yet

        def shape(data: Any, *, more: Any) -> Any:
            return data, more

        got = client.submit(shape, [x, {"y": (y, 5)}], more={"x": x}).result()
        assert got == ([3, {"y": (7, 5)}], {"x": 3})

    def test_keyword_arguments(self, client: Client) -> None:
        assert client.submit(int, "ff", base=16).result() == 255

    def test_an_option_is_the_functions_if_it_has_a_parameter_of_that_name(self, client: Client) -> None:
        def f(x: int, priority: int = 0) -> tuple[int, int]:
            return x, priority

        assert client.submit(f, 1, priority=7).result() == (1, 7)
        with pytest.raises(lazygraph.LazyGraphError, match="queue=5"):
            client.submit(f, 1, queue=5).result()
        assert client.submit(f, 1, retries=3).result() == (1, 0)

    def test_key_is_the_keys_beginning(self, client: Client) -> None:
        future = client.submit(add, 1, 2, key="three")
        assert future.result() == 3
        assert future.key.startswith("three-")

    def test_delayed_and_canvas_as_arguments(self, client: Client) -> None:
        assert client.submit(add, delayed(add)(1, 2), 4).result() == 7
        assert client.submit(add, delayed(add).s(1, 2) | delayed(neg).s(), 4).result() == 1

    def test_a_graph_over_a_future_that_is_not_sent_yet(self, client: Client) -> None:
        x = client.submit(add, 1, 2)
        assert client.submit(add, delayed(neg)(x), 1).result() == -2

    def test_a_delayed_function_is_submitted_as_its_function(self, client: Client) -> None:
        assert client.submit(delayed(add), 1, 2).result() == 3

    def test_every_submission_has_a_key_of_its_own(self, client: Client) -> None:
        futures = [client.submit(add, 1, 1) for _ in range(50)]
        assert len({future.key for future in futures}) == 50

    def test_from_eight_threads(self, client: Client) -> None:
        def many(first: int) -> list[int]:
            futures = [client.submit(add, first, i) for i in range(200)]
            return [future.result() for future in futures]

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(many, range(8)))
        assert answers == [[first + i for i in range(200)] for first in range(8)]

    def test_arguments_of_another_batch_in_flight(self, client: Client) -> None:
        total = client.submit(add, 0, 0)
        for i in range(300):
            total = client.submit(add, total, i)
        assert total.result() == sum(range(300))

    def test_one_that_cannot_be_sent_does_not_disturb_the_others(self, client: Client, tmp_path: Path) -> None:
        ran = tmp_path / "ran"

        def note(x: int) -> int:
            with ran.open("a") as file:
                file.write(f"{x} ")
            return x

        first = client.submit(note, 1)
        bad = client.submit(note, threading.Lock())
        below_bad = client.submit(add, bad, 1)
        second = client.submit(add, first, 1)
        assert client.gather([first, second]) == [1, 2]
        with pytest.raises(TypeError, match="argument lock of 'note' cannot be sent"):
            bad.result()
        with pytest.raises(TypeError, match="argument lock of 'note' cannot be sent"):
            below_bad.result()
        assert ran.read_text() == "1 "

    def test_one_that_could_not_be_sent_as_an_argument(self, client: Client) -> None:
        bad = client.submit(len, threading.Lock())
        lazygraph.wait([bad])
        good, below = client.submit(add, 1, 2), client.submit(add, bad, 1)
        with pytest.raises(TypeError, match="argument lock of 'len' cannot be sent"):
            below.result()
        with pytest.raises(TypeError, match="argument lock of 'len' cannot be sent"):
            delayed(add)(bad, 1).compute()
        assert good.result() == 3


class TestMap:
    def test_one_iterable(self, client: Client) -> None:
        assert client.gather(client.map(neg, range(10))) == [-i for i in range(10)]

    def test_several_iterables_end_with_the_shortest(self, client: Client) -> None:
        assert client.gather(client.map(mul, range(5), iter([1, 2, 3]))) == [0, 2, 6]

    def test_keyword_arguments_for_every_call(self, client: Client) -> None:
        assert client.gather(client.map(int, ["11", "a"], base=16)) == [17, 10]

    def test_nothing(self, client: Client) -> None:
        assert client.map(neg, []) == []

    def test_futures_among_the_items(self, client: Client) -> None:
        first = client.map(neg, range(3))
        assert client.gather(client.map(add, first, [10, 10, 10])) == [10, 9, 8]


class TestGather:
    def test_nested(self, client: Client) -> None:
        a, b = client.submit(add, 1, 1), client.submit(add, 2, 2)
        assert client.gather({"a": [a, (b, 5)]}) == {"a": [2, (4, 5)]}

    def test_one(self, client: Client) -> None:
        assert client.gather(client.submit(add, 1, 1)) == 2

    def test_errors(self, client: Client, gate: Gate) -> None:
        futures = client.map(lambda x: 1 // x, [1, 0, 1])
        with pytest.raises(ZeroDivisionError):
            client.gather(futures)
        assert client.gather(futures, errors="skip") == [1, 1]
        blocked = client.submit(gate.waits())
        cancelled = client.submit(add, blocked, "")
        assert cancelled.cancel()
        assert client.gather([cancelled, futures[0], 5], errors="skip") == [1, 5]
        gate.open()
        with pytest.raises(ValueError, match="'raise' or 'skip'"):
            client.gather(futures, errors="ignore")


class TestScatter:
    def test_list_dict_and_one(self, client: Client) -> None:
        listed = client.scatter([1, 2])
        assert [future.result() for future in listed] == [1, 2]
        named = client.scatter({"a": 1, "b": [2]})
        assert {name: future.result() for name, future in named.items()} == {"a": 1, "b": [2]}
        assert client.scatter("one").result() == "one"

    def test_as_arguments(self, client: Client) -> None:
        listed, one = client.scatter([1, 2, 3]), client.scatter(10)
        assert client.submit(sum, listed).result() == 6
        assert client.submit(add, one, listed[2]).result() == 13
        assert delayed(sum)([*listed, one]).compute() == 16

    def test_after_close_it_is_lost(self, cluster: LocalCluster) -> None:
        with Client(cluster, set_as_default=False) as client:
            future = client.scatter(bytes(1000))
        with pytest.raises((lazygraph.LazyGraphError,), match="closed"):
            future.result()


class TestComputeAndPersist:
    def test_client_compute_gives_futures(self, client: Client) -> None:
        dadd = delayed(add)
        assert client.compute(dadd(1, 2)).result() == 3
        assert client.gather(client.compute([dadd(1, 2), dadd(3, 4)])) == [3, 7]

    def test_the_client_is_the_default_executor(self, client: Client) -> None:
        here, there = os.getpid(), compute(delayed(os.getpid)())[0]
        assert there != here

    def test_persist_computes_once(self, client: Client, tmp_path: Path) -> None:
        ran = tmp_path / "ran"

        @delayed
        def make() -> list[int]:
            with ran.open("a") as file:
                file.write("x")
            return [1, 2, 3]

        kept = client.persist(make())
        assert isinstance(kept, Delayed)
        assert (delayed(sum)(kept).compute(), kept.compute()) == (6, [1, 2, 3])
        assert ran.read_text() == "x"

    def test_a_held_value_is_an_input_elsewhere(self, client: Client) -> None:
        (kept,) = lazygraph.persist(delayed(add)(1, 2))
        assert (kept + 1).compute(executor="threads") == 4
        assert (kept + 1).compute(executor="sync") == 4

    def test_a_future_is_an_input_of_delayed(self, client: Client) -> None:
        future = client.submit(add, 1, 2)
        assert delayed(add)(future, [future][0]).compute() == 6

    def test_a_chain_of_a_hundred_thousand(self, client: Client) -> None:
        x, dadd = delayed(add)(0, 0), delayed(add)
        for _ in range(100_000):
            x = dadd(x, 1)
        assert x.compute() == 100_000
        assert x.compute(optimize_graph=False) == 100_000

    def test_a_hundred_thousand_side_by_side(self, client: Client) -> None:
        dadd = delayed(add)
        assert delayed(sum)([dadd(i, 1) for i in range(100_000)]).compute() == sum(range(100_001))


class TestFutures:
    def test_wait_and_as_completed_of_the_package(self, client: Client) -> None:
        futures = client.map(neg, range(20))
        done, not_done = lazygraph.wait(futures, timeout=30)
        assert (len(done), not_done) == (20, set())
        pairs = list(lazygraph.as_completed(futures, with_results=True))
        assert sorted(value for _, value in pairs) == sorted(-i for i in range(20))
        assert {future for future, _ in pairs} == set(futures)

    def test_wait_of_the_standard_library(self, client: Client, gate: Gate) -> None:
        blocked, quick = client.submit(gate.waits()), client.submit(add, 1, 1)
        done, not_done = concurrent.futures.wait([blocked, quick], return_when="FIRST_COMPLETED", timeout=30)
        assert (done, not_done) == ({quick}, {blocked})
        gate.open()
        assert list(concurrent.futures.as_completed(list[Any]([blocked]), timeout=30)) == [blocked]
        assert (blocked.result(), blocked.status) == ("through", Status.SUCCEEDED)

    def test_await_and_wrap_future(self, client: Client) -> None:
        async def both() -> tuple[int, int, list[bytes]]:
            one = await client.submit(add, 1, 2)
            other = await asyncio.wrap_future(client.submit(add, 3, 4))
            many = await asyncio.gather(*(asyncio.wrap_future(f) for f in client.map(bytes, [1, 2_000_000])))
            return one, other, many

        assert asyncio.run(both()) == (3, 7, [bytes(1), bytes(2_000_000)])

    def test_an_awaited_failure(self, client: Client) -> None:
        async def fails() -> None:
            await client.submit(lambda: 1 // 0)

        with pytest.raises(ZeroDivisionError):
            asyncio.run(fails())

    def test_a_callback_may_call_the_client(self, client: Client, gate: Gate) -> None:
        blocked, never = client.submit(gate.waits()), client.submit(add, 1, 1)
        told: list[Any] = []
        ended = threading.Event()

        def callback(future: Any) -> None:
            again = client.submit(add, future.result(), " and on")
            big = client.submit(bytes, 1_000_000)
            told.extend([again.result(30), len(big.result(30)), never.cancel(), client.gather(client.map(neg, [1]))])
            ended.set()

        blocked.add_done_callback(callback)
        gate.open()
        assert ended.wait(30)
        assert told[:2] == ["through and on", 1_000_000]
        assert told[3] == [-1]

    def test_a_callback_of_a_future_that_is_done(self, client: Client) -> None:
        future = client.submit(bytes, 1_000_000)
        lazygraph.wait([future])
        told: SimpleQueue[int] = SimpleQueue()
        # The value is fetched first, and the caller, who may be an event loop, does not wait for that.
        future.add_done_callback(lambda future: told.put(len(future.result())))
        assert told.get(timeout=30) == 1_000_000

    def test_timeout(self, client: Client, gate: Gate) -> None:
        future = client.submit(gate.waits())
        with pytest.raises(TimeoutError, match="has not ended within 0"):
            future.result(0)
        with pytest.raises(TimeoutError):
            future.exception(timeout=0)
        gate.open()
        assert future.result(30) == "through"

    def test_cancel_what_waits(self, client: Client, tmp_path: Path) -> None:
        gates = [Gate(tmp_path / str(number)) for number in range(2)]
        blocked = [client.submit(gate.waits()) for gate in gates]
        waiting = client.submit(add, blocked[0], "!")
        below = client.submit(add, waiting, "!")
        assert waiting.cancel() is True
        assert (waiting.cancelled(), waiting.status) == (True, Status.CANCELLED)
        with pytest.raises(concurrent.futures.CancelledError):
            waiting.result()
        with pytest.raises(concurrent.futures.CancelledError):
            below.result(30)
        for gate in gates:
            gate.open()
        assert client.gather(blocked) == ["through"] * 2
        assert blocked[0].cancel() is False  # it is over

    def test_a_compute_that_runs_out_of_time_is_cancelled(self, client: Client, gate: Gate, tmp_path: Path) -> None:
        blocked = client.submit(gate.waits())
        with pytest.raises(TimeoutError):
            compute(delayed(touch)(tmp_path / "ran", blocked), timeout=0)
        gate.open()
        assert blocked.result(30) == "through"
        assert client.gather(client.map(neg, range(10))) == [-i for i in range(10)]
        assert not (tmp_path / "ran").exists()


class TestWhereValuesAre:
    def test_who_has_and_has_what(self, client: Client) -> None:
        futures = client.map(bytes, [100_000] * 8)
        lazygraph.wait(futures)
        who, what = client.who_has(futures), client.has_what(futures)
        workers = set(client.scheduler_info()["workers"])
        assert set(who) == {future.key for future in futures}
        assert all(len(holders) == 1 and set(holders) <= workers for holders in who.values())
        assert set(what) == workers
        assert {(key, address) for key, held in who.items() for address in held} == {
            (key, address) for address, keys in what.items() for key in keys
        }

    def test_big_values_to_the_client_and_between_workers(self, client: Client, tmp_path: Path) -> None:
        gates = [Gate(tmp_path / str(number)) for number in range(2)]

        def make(letter: bytes, wait: Callable[[], str]) -> tuple[int, bytes]:
            wait()
            return os.getpid(), letter * BIG

        made = [client.submit(make, letter, gate.waits()) for letter, gate in zip((b"a", b"b"), gates, strict=True)]
        for gate in gates:
            gate.reached()  # both run at once, so on different workers
        for gate in gates:
            gate.path.write_text("go")
        lazygraph.wait(made)
        assert len({holder for held in client.who_has(made).values() for holder in held}) == 2

        def compare(a: tuple[int, bytes], b: tuple[int, bytes]) -> tuple[bool, int, bytes]:
            return a[0] != b[0], len(a[1]) + len(b[1]), a[1][:1] + b[1][-1:]

        assert client.submit(compare, *made).result() == (True, 2 * BIG, b"ab")
        assert made[0].result()[1] == b"a" * BIG

    def test_a_dropped_future_frees_its_value(self, client: Client, tmp_path: Path) -> None:
        told = tmp_path / "told"
        os.mkfifo(told)

        class Value:
            """A value that says when it is freed where it was made."""

            def __init__(self) -> None:
                weakref.finalize(self, told.write_text, "freed").atexit = False

        future = client.submit(lambda: Value())
        lazygraph.wait([future])
        del future
        assert told.read_text() == "freed"


def touch(path: Path, *_: Any) -> None:
    path.touch()


class TestClients:
    def test_two_at_once(self, cluster: LocalCluster, client: Client) -> None:
        with Client(cluster) as other:
            mine, its = client.submit(add, 1, 2), other.submit(add, 3, 4)
            assert (mine.result(), its.result()) == (3, 7)
            assert other.submit(add, mine, its).result() == 10  # fetched once, and sent as a constant
            assert client.gather(client.map(add, [its, mine], [1, 1])) == [8, 4]
            assert delayed(add)(mine, its).compute() == 10
            assert compute(delayed(neg)(1)) == (-1,)
        assert client.submit(add, 5, 6).result() == 11

    def test_closed(self, cluster: LocalCluster) -> None:
        client = Client(cluster, set_as_default=False)
        future = client.submit(add, 1, 2)
        client.close()
        client.close()
        with pytest.raises(lazygraph.LazyGraphError, match="is closed"):
            client.submit(add, 1, 2)
        with pytest.raises(lazygraph.LazyGraphError, match="is closed"):
            client.map(neg, [1])
        with pytest.raises(lazygraph.LazyGraphError, match="is closed"):
            client.scatter([1])
        assert future.done()
        assert "closed" in repr(client)

    def test_closing_ends_what_waits(self, cluster: LocalCluster, gate: Gate) -> None:
        client = Client(cluster, set_as_default=False)
        future = client.submit(gate.waits())
        gate.reached()
        client.close()
        with pytest.raises(lazygraph.LazyGraphError, match="is closed"):
            future.result(30)
        gate.path.write_text("")  # the task has run on: a thread cannot be stopped


def test_a_large_plan_goes_to_workers_in_portions(client: Client) -> None:
    assert client.gather(client.map(neg, range(20_000))) == [-n for n in range(20_000)]
    texts = [str(n) * 50_000 for n in range(20)]
    assert client.gather(client.map(len, texts)) == [len(text) for text in texts]


def test_ten_thousand_futures_that_are_dropped_at_once_are_released_in_one_message(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: SimpleQueue[Any] = SimpleQueue()
    connection = client.executor._connection
    tell = connection.send_later

    def noting(message: Any) -> None:
        told.put(message)
        tell(message)

    some = client.map(abs, range(8_000)) + [client.submit(abs, i) for i in range(2_000)]
    lazygraph.wait(some)
    runs = {future.run.number for future in some}
    monkeypatch.setattr(connection, "send_later", noting)
    held = threading.Event()
    client.executor.post(held.wait)  # the connection's thread has something else to do while they go
    some.clear()
    held.set()
    dropped: list[tuple[int, bytes]] = []
    messages = 0
    while sum(len(entries) for _, entries in dropped) < 4 * 10_000:
        message = told.get(timeout=30)
        new = [(run, entries) for run, entries in ((message.run, message.entries), *message.more) if run in runs]
        dropped += new
        messages += bool(new)
    assert (messages, {run for run, _ in dropped}) == (1, runs)
