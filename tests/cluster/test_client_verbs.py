"""The client's further verbs: again, on every worker, as a standard executor, over what has no end."""

from __future__ import annotations

import concurrent.futures
import os
import queue
import threading
from collections.abc import Iterator
from operator import add, neg
from pathlib import Path
from typing import Any

import pytest

from lazygraph import Client, LocalCluster, Status, as_completed, delayed, start, wait
from lazygraph.errors import Closed, InvalidOption
from lazygraph.executors import ThreadExecutor

WAIT = 60


class Flaky:
    """Fails as long as a file is missing."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, value: Any = 1) -> Any:
        if not self.path.exists():
            raise FileNotFoundError(self.path)
        return value


class TestRetry:
    def test_what_failed_is_made_again_as_new_futures(self, client: Client, tmp_path: Path) -> None:
        bad, good = client.submit(Flaky(tmp_path / "there")), client.submit(add, 1, 2)
        wait([bad, good])
        (tmp_path / "there").touch()
        again, same = client.retry([bad, good])
        assert again.result(WAIT) == 1
        assert same is good
        assert again.key != bad.key
        assert bad.status is Status.FAILED

    def test_with_what_has_failed_above_it_in_other_submissions(self, client: Client, tmp_path: Path) -> None:
        bad = client.submit(Flaky(tmp_path / "there"), 7)
        wait([bad])
        below = client.submit(add, bad, 1)
        further = client.submit(neg, below)
        wait([below, further])
        (tmp_path / "there").touch()
        assert client.retry(further).result(WAIT) == -8

    def test_what_has_succeeded_above_it_is_used_or_made_again(self, client: Client, tmp_path: Path) -> None:
        whole = client.compute(delayed(add)(delayed(add)(1, 2), delayed(Flaky(tmp_path / "there"))(10)))
        wait([whole])
        assert client.retry(whole).exception(WAIT) is not None
        (tmp_path / "there").touch()
        assert client.retry(whole).result(WAIT) == 13

    def test_again_and_again(self, client: Client, tmp_path: Path) -> None:
        future = client.submit(Flaky(tmp_path / "there"), "here")
        for _ in range(3):
            future = client.retry(future)
            assert isinstance(future.exception(WAIT), FileNotFoundError)
            wait([future])
        (tmp_path / "there").touch()
        assert client.retry([future])[0].result(WAIT) == "here"

    def test_what_was_cancelled(self, client: Client) -> None:
        future = client.submit(add, 1, 2, workers=["nobody"])
        assert future.cancel()
        again = client.retry(future)
        assert not again.done()
        assert again.cancel()

    def test_one_found_by_its_key(self, client: Client, tmp_path: Path) -> None:
        bad = client.submit(Flaky(tmp_path / "there"), 3)
        found = client.future(bad.key)
        wait([found])
        (tmp_path / "there").touch()
        assert client.retry(found).result(WAIT) == 3

    def test_one_of_another_executor(self, client: Client) -> None:
        with ThreadExecutor(1) as threads:
            [future] = start(delayed(neg)(1), executor=threads).futures
            with pytest.raises(InvalidOption, match="is not this client's"):
                client.retry(future)


class TestRun:
    def test_on_every_worker(self, cluster: LocalCluster, client: Client) -> None:
        found = client.run(os.getpid)
        assert set(found) == set(client.scheduler_info()["workers"])
        assert set(found.values()) == set(cluster.workers.values())

    def test_on_some(self, cluster: LocalCluster, client: Client) -> None:
        name, pid = next(iter(cluster.workers.items()))
        assert list(client.run(os.getpid, workers=name).values()) == [pid]
        assert client.run(os.getpid, workers=[]) == {}
        with pytest.raises(InvalidOption, match="no worker is called somebody"):
            client.run(os.getpid, workers=["somebody", name])

    def test_arguments_and_the_exception_of_one(self, client: Client) -> None:
        assert set(client.run(int, "ff", base=16).values()) == {255}
        with pytest.raises(ZeroDivisionError):
            client.run(divmod, 1, 0)


class TestQueues:
    def test_nobody_of_that_name(self, client: Client) -> None:
        with pytest.raises(InvalidOption, match=r"no worker is called nobody; those that are there: .*worker-1"):
            client.add_queue("io", "nobody")

    def test_a_queue_more_and_less(self, client: Client) -> None:
        name = next(iter(client.scheduler_info()["workers"].values()))["name"]
        waiting = client.submit(add, 1, 2, queue="io")
        client.add_queue("io", name)
        assert waiting.result(WAIT) == 3
        client.remove_queue("io")
        assert all(worker["queues"] == ["default"] for worker in client.scheduler_info()["workers"].values())


class TestStandardExecutor:
    def test_it_is_one(self, client: Client) -> None:
        with client.get_executor() as pool:
            assert isinstance(pool, concurrent.futures.Executor)
            assert list(pool.map(add, [1, 2], [3, 4])) == [4, 6]
            assert pool.submit(int, "ff", base=16).result(WAIT) == 255
            assert pool.submit(dict, priority=1, workers=2).result(WAIT) == {"priority": 1, "workers": 2}
        with pytest.raises(Closed, match="executor of <Client"):
            pool.submit(add, 1, 2)

    def test_dropping_a_future_cancels_nothing(self, client: Client, tmp_path: Path) -> None:
        with client.get_executor() as pool:
            for at in range(5):
                pool.submit((tmp_path / str(at)).touch)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "2", "3", "4"]

    def test_shutdown_may_cancel_what_has_not_started(self, client: Client) -> None:
        pool = client.get_executor(workers=["nobody"])
        future = pool.submit(add, 1, 2)
        pool.shutdown(cancel_futures=True)
        assert future.cancelled()


class TestMapOverIterators:
    def test_the_source_is_read_as_calls_end(self, client: Client, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "gate")
        taken: list[int] = []

        def source() -> Iterator[int]:
            for at in range(1000):
                taken.append(at)
                yield at

        def waits(at: int) -> int:
            if at == 0:
                (tmp_path / "gate").read_text()
            return at

        futures = client.map(waits, source(), queue="default")
        first = next(futures)
        assert taken == list(range(8))  # four for each of two threads
        (tmp_path / "gate").write_text("go")
        assert first.result(WAIT) == 0
        assert client.gather(futures) == list(range(1, 1000))

    def test_what_the_source_raises(self, client: Client) -> None:
        futures = client.map(neg, (1 // at for at in (1, 0)))
        with pytest.raises(ZeroDivisionError):
            list(futures)

    def test_with_a_list_beside_it(self, client: Client) -> None:
        assert client.gather(client.map(add, iter([1, 2, 3]), [10, 20])) == [11, 22]


class TestMapOverQueues:
    def test_to_the_sentinel(self, client: Client) -> None:
        numbers: queue.Queue[Any] = queue.Queue(3)
        futures = client.map(neg, numbers, sentinel=None)
        assert futures.maxsize == 3

        def feed() -> None:
            for at in [*range(20), None]:
                numbers.put(at, timeout=WAIT)

        threading.Thread(target=feed, daemon=True).start()
        found = []
        while (future := futures.get(timeout=WAIT)) is not None:
            found.append(future.result(WAIT))
        assert found == [-at for at in range(20)]

    def test_queues_behind_queues(self, client: Client) -> None:
        numbers: queue.Queue[Any] = queue.Queue()
        others: queue.Queue[Any] = queue.Queue()
        futures = client.map(add, client.map(neg, numbers, sentinel="end"), others, sentinel="end")
        for item in (1, 2, "end"):
            numbers.put(item)
            others.put(100)
        assert [futures.get(timeout=WAIT).result(WAIT) for _ in range(2)] == [99, 98]
        assert futures.get(timeout=WAIT) == "end"

    def test_it_ends_when_the_client_closes(self, cluster: LocalCluster) -> None:
        client = Client(cluster, set_as_default=False)
        futures = client.map(neg, queue.Queue(), sentinel="end")
        client.close()
        assert futures.get(timeout=WAIT) == "end"

    def test_queues_and_lists_do_not_mix(self, client: Client) -> None:
        with pytest.raises(InvalidOption, match="either all of what it reads are queues"):
            client.map(add, queue.Queue(), [1])
        with pytest.raises(InvalidOption, match="ends by one"):
            client.map(neg, [1], sentinel=None)

    def test_a_sentinel_may_be_the_functions(self, client: Client) -> None:
        def told(item: int, sentinel: str) -> str:
            return f"{item} {sentinel}"

        assert client.gather(client.map(told, [1], sentinel="end")) == ["1 end"]


class TestWaiting:
    def test_as_completed_and_wait_are_the_packages(self, client: Client) -> None:
        futures = client.map(neg, range(3))
        assert {future.result() for future in client.as_completed(futures)} == {0, -1, -2}
        assert client.wait(futures, timeout=WAIT).done == set(futures)
        assert list(as_completed([])) == []
