"""`get_executor()` of every executor and of a client, beside CPython's own pool: one body for all of them."""

from __future__ import annotations

import concurrent.futures
import gc
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lazygraph import Client, LocalCluster, delayed
from lazygraph.errors import UnknownOption
from lazygraph.executors import PoolExecutor, ProcessExecutor, SyncExecutor, ThreadExecutor
from lazygraph.executors.registry import resolve

WAIT = 30.0
Make = Callable[..., concurrent.futures.Executor]
OURS = ["threads", "processes", "pool", "client", "cluster"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(n_workers=1) as cluster:
        yield cluster


def made(kind: str, request: pytest.FixtureRequest, stack: ExitStack) -> Make:
    """What makes pools of one slot; everything else that it opens is closed with the stack."""
    if kind == "cpython":
        return partial(ThreadPoolExecutor, 1)
    if kind in ("client", "cluster"):
        client = stack.enter_context(Client(request.getfixturevalue("cluster")))
        return client.get_executor if kind == "client" else client.executor.get_executor
    if kind == "pool":
        return stack.enter_context(PoolExecutor(stack.enter_context(ThreadPoolExecutor(1)))).get_executor
    one: dict[str, Callable[[], Any]] = {
        "sync": SyncExecutor,
        "threads": lambda: ThreadExecutor(1),
        "processes": lambda: ProcessExecutor(1),
    }
    executor = stack.enter_context(one[kind]())
    return executor.get_executor  # type: ignore[no-any-return]


@pytest.fixture(params=["cpython", *OURS])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Every pool that runs its calls beside the program."""
    with ExitStack() as stack:
        yield made(request.param, request, stack)


@pytest.fixture(params=["cpython", "sync", *OURS])
def make_any(request: pytest.FixtureRequest) -> Iterator[Make]:
    """These, and the one that makes its calls at once."""
    with ExitStack() as stack:
        yield made(request.param, request, stack)


@pytest.fixture(params=["sync", *OURS])
def make_ours(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Ours, for what CPython's pool of threads does not do."""
    with ExitStack() as stack:
        yield made(request.param, request, stack)


class Gate:
    """Calls that come to it say so, and stay until it is opened; it works across processes."""

    def __init__(self, folder: Path) -> None:
        self.ins, self.outs = folder / "in", folder / "out"
        os.mkfifo(self.ins)
        os.mkfifo(self.outs)

    def __call__(self, value: Any = None) -> Any:
        self.ins.write_text("here")
        self.outs.read_text()
        return value

    def reached(self) -> None:
        assert self.ins.read_text() == "here"

    def open(self) -> None:
        self.outs.write_text("go")

    def __enter__(self) -> None:
        """The pool's block waits for its calls: a test that fails inside must not leave one here."""

    def __exit__(self, kind: Any, *rest: object) -> None:
        if kind is not None:
            for pipe in (self.ins, self.outs):
                end = os.open(pipe, os.O_RDWR)
                os.write(end, b"go")
                os.close(end)


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path)


def fail(message: str) -> None:
    raise KeyError(message)


def add(a: int, b: int = 10) -> int:
    return a + b


class TestSubmit:
    def test_every_keyword_is_the_functions(self, make_any: Make) -> None:
        with make_any() as pool:
            assert isinstance(pool, concurrent.futures.Executor)
            assert pool.submit(add, 1, b=2).result(WAIT) == 3
            kept = pool.submit(dict, fn=1, self=2, priority=3, key=4, timeout=5).result(WAIT)
        assert kept == {"fn": 1, "self": 2, "priority": 3, "key": 4, "timeout": 5}

    def test_the_original_exception(self, make_any: Make) -> None:
        with make_any() as pool:
            future = pool.submit(fail, "no such thing")
            with pytest.raises(KeyError, match="no such thing") as caught:
                future.result(WAIT)
            assert future.exception(WAIT) is caught.value
            assert future.done() and not future.cancelled() and not future.running()

    def test_also_one_that_ends_programs(self, make_any: Make) -> None:
        with make_any() as pool:
            ended = pool.submit(sys.exit, 3).exception(WAIT)
            assert isinstance(ended, SystemExit) and ended.code == 3
            assert pool.submit(add, 1).result(WAIT) == 11

    def test_after_shutdown_it_is_refused(self, make_any: Make) -> None:
        pool = make_any()
        pool.shutdown()
        with pytest.raises(RuntimeError):
            pool.submit(add, 1)
        with pytest.raises(RuntimeError):
            pool.map(add, [1])
        pool.shutdown()

    def test_waiting_for_some(self, make: Make, gate: Gate) -> None:
        with make() as pool, gate:
            first, second = pool.submit(add, 1), pool.submit(gate, 2)
            done, waiting = concurrent.futures.wait([first, second], WAIT, concurrent.futures.FIRST_COMPLETED)
            assert (done, waiting) == ({first}, {second})
            gate.reached()
            gate.open()
            assert [f.result() for f in concurrent.futures.as_completed([second], WAIT)] == [2]

    def test_too_late(self, make: Make, gate: Gate) -> None:
        with make() as pool, gate:
            future = pool.submit(gate)
            gate.reached()
            with pytest.raises(TimeoutError):
                future.result(0.001)
            gate.open()
            assert future.result(WAIT) is None


class TestCancel:
    def test_what_runs_cannot_be_and_what_waits_can(self, make: Make, gate: Gate) -> None:
        with make() as pool, gate:
            runs, waits = pool.submit(gate, "ran"), pool.submit(add, 1)
            gate.reached()
            assert not runs.cancel() and not runs.cancelled()
            assert waits.cancel() and waits.cancelled() and waits.done()
            with pytest.raises(CancelledError):
                waits.result(WAIT)
            gate.open()
            assert runs.result(WAIT) == "ran"
            assert not runs.cancel()


class TestMap:
    def test_in_order_until_the_shortest_ends(self, make_any: Make) -> None:
        with make_any() as pool:
            assert list(pool.map(add, [3, 1, 2], [10, 20, 30, 40])) == [13, 21, 32]
            assert list(pool.map(add, [])) == []

    @pytest.mark.parametrize("chunksize", [1, 3, 100])
    def test_chunks_do_not_show(self, make_any: Make, chunksize: int) -> None:
        with make_any() as pool:
            assert list(pool.map(abs, range(-5, 5), chunksize=chunksize, timeout=WAIT)) == [
                5,
                4,
                3,
                2,
                1,
                0,
                1,
                2,
                3,
                4,
            ]

    def test_calls_are_made_although_nobody_asks(self, make_any: Make, tmp_path: Path) -> None:
        with make_any() as pool:
            pool.map(Path.touch, [tmp_path / "a", tmp_path / "b"])
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]

    def test_too_late(self, make: Make, gate: Gate) -> None:
        with make() as pool, gate:
            values = pool.map(gate, [1], timeout=0.001)
            gate.reached()
            with pytest.raises(TimeoutError):
                next(values)
            gate.open()

    def test_after_a_failure_nothing_more_is_started(self, make: Make, gate: Gate, tmp_path: Path) -> None:
        with make() as pool, gate:
            jobs = [partial(fail, "first"), gate, (tmp_path / "never").touch]
            values = pool.map(call, jobs)
            gate.reached()
            with pytest.raises(KeyError, match="first"):
                next(values)
            assert list(values) == []
            gate.open()
        assert not (tmp_path / "never").exists()

    def test_nor_when_its_values_are_not_wanted(self, make: Make, gate: Gate, tmp_path: Path) -> None:
        with make() as pool, gate:
            values = pool.map(call, [partial(add, 1), gate, (tmp_path / "never").touch])
            assert next(values) == 11
            gate.reached()
            del values
            gc.collect()
            gate.open()
        assert not (tmp_path / "never").exists()

    def test_iterables_are_read_at_once(self, make: Make, gate: Gate) -> None:
        with make() as pool, gate:
            source = iter([gate, gate])
            values = pool.map(call, source)
            assert list(source) == []
            for _ in range(2):
                gate.reached()
                gate.open()
            assert list(values) == [None, None]

    def test_or_only_so_far(self, make_ours: Make) -> None:
        with make_ours() as pool:
            source = iter(range(10))
            values = pool.map(abs, source, buffersize=2)  # type: ignore[call-arg]
            assert next(source) == 2
            assert next(values) == 0
            assert next(source) == 4  # one more was begun for the one that was given
            assert list(values) == [1, 3, 5, 6, 7, 8, 9]

    @pytest.mark.skipif(sys.version_info < (3, 14), reason="CPython has buffersize from 3.14 on")
    def test_as_cpython_does(self) -> None:
        with ThreadPoolExecutor(1) as pool:
            source = iter(range(10))
            values = pool.map(abs, source, buffersize=2)  # type: ignore[call-arg]
            assert (next(source), next(values), next(source)) == (2, 0, 4)

    def test_wrong_sizes(self, make_ours: Make) -> None:
        with make_ours() as pool:
            with pytest.raises(ValueError, match="chunksize=0"):
                pool.map(abs, [1], chunksize=0)
            with pytest.raises(ValueError, match="buffersize=0"):
                pool.map(abs, [1], buffersize=0)  # type: ignore[call-arg]
            with pytest.raises(TypeError, match=r"buffersize=1\.5"):
                pool.map(abs, [1], buffersize=1.5)  # type: ignore[call-arg]


def call(job: Callable[[], Any]) -> Any:
    return job()


class TestShutdown:
    def test_the_block_waits(self, make_any: Make, tmp_path: Path) -> None:
        with make_any() as pool:
            for at in range(5):
                pool.submit((tmp_path / str(at)).touch)
        assert len(list(tmp_path.iterdir())) == 5

    def test_and_for_what_is_called_then(self, make_any: Make) -> None:
        seen = []
        with make_any() as pool:
            for at in range(5):
                pool.submit(add, at).add_done_callback(lambda future: seen.append(future.result()))
        assert sorted(seen) == [10, 11, 12, 13, 14]

    def test_without_waiting_the_work_goes_on(self, make: Make, gate: Gate) -> None:
        pool = make()
        runs, waits = pool.submit(gate, 1), pool.submit(add, 1)
        gate.reached()
        pool.shutdown(wait=False)
        assert not runs.done()
        gate.open()
        assert (runs.result(WAIT), waits.result(WAIT)) == (1, 11)

    def test_cancelling_what_has_not_started(self, make: Make, gate: Gate) -> None:
        pool = make()
        runs, waits = pool.submit(gate, 1), [pool.submit(add, at) for at in range(5)]
        gate.reached()
        pool.shutdown(wait=False, cancel_futures=True)
        assert all(future.cancelled() for future in waits)
        gate.open()
        pool.shutdown()
        assert runs.result(WAIT) == 1

    def test_dropping_everything_loses_nothing(self, make: Make, gate: Gate, tmp_path: Path) -> None:
        pool = make()
        pool.submit(gate)
        done = threading.Event()
        pool.submit((tmp_path / "done").touch).add_done_callback(lambda _: done.set())
        del pool
        gc.collect()
        gate.reached()
        gate.open()
        assert done.wait(WAIT)
        assert (tmp_path / "done").exists()

    @pytest.mark.parametrize(
        "pool", ["concurrent.futures.ThreadPoolExecutor(1)", "lazygraph.executors.ThreadExecutor(1).get_executor()"]
    )
    def test_a_program_ends_after_its_calls(self, pool: str) -> None:
        program = f"import concurrent.futures, lazygraph.executors; list(map({pool}.submit, [print] * 100, range(100)))"
        ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=WAIT)
        assert ended.stderr == ""
        assert ended.stdout.split() == [str(at) for at in range(100)]

    @pytest.mark.parametrize("kind", ["cpython", "sync", "threads"])
    def test_values_that_nobody_holds_go(self, kind: str, request: pytest.FixtureRequest) -> None:
        with ExitStack() as stack:
            pool = stack.enter_context(made(kind, request, stack)())
            future = pool.submit(set, [1])
            ref = weakref.ref(future.result(WAIT))
            pool.submit(add, 1).result(WAIT)  # CPython's threads hold their last one until there is another
            del future
            gc.collect()
            assert ref() is None


initialized: list[tuple[str, str]] = []


def note(word: str) -> None:
    initialized.append((word, threading.current_thread().name))


def noted(word: str) -> list[tuple[str, str]]:
    return [entry for entry in initialized if entry[0] == word]


class TestInitializer:
    def test_it_is_called_once_before_the_first_call(self, make_any: Make, tmp_path: Path) -> None:
        word = str(tmp_path)  # some of them share this process
        with make_any(initializer=note, initargs=(word,)) as pool:
            assert [len(found) for found in pool.map(noted, [word] * 5)] == [1] * 5

    def test_in_each_thread(self) -> None:
        meeting = threading.Barrier(2)

        def meets() -> str:
            meeting.wait(WAIT)
            return threading.current_thread().name

        with ThreadExecutor(2) as executor, executor.get_executor(note, ("each",)) as pool:
            names = {future.result(WAIT) for future in [pool.submit(meets), pool.submit(meets)]}
        assert {name for _, name in noted("each")} == names
        assert len(names) == 2

    def test_one_that_fails_breaks_the_pool(self, make_any: Make, caplog: pytest.LogCaptureFixture) -> None:
        pool = make_any(initializer=fail, initargs=("no model",))
        with pytest.raises(BrokenExecutor):
            pool.submit(add, 1).result(WAIT)
        with pytest.raises(BrokenExecutor):
            pool.submit(add, 1).result(WAIT)
        pool.shutdown()

    def test_the_error_says_which_and_why(self, make_ours: Make) -> None:
        with make_ours(initializer=fail, initargs=("no model",)) as pool:
            with pytest.raises(BrokenExecutor, match=r"the initializer fail has failed, .*KeyError: 'no model'"):
                pool.submit(add, 1).result(WAIT)

    def test_it_can_be_called(self, make_any: Make) -> None:
        with pytest.raises(TypeError):
            make_any(initializer=3)


class TestBeyondCPython:
    def test_an_option_that_is_none(self, make_ours: Make) -> None:
        with pytest.raises(UnknownOption, match="retires"):
            make_ours(retires=3)

    def test_options_are_those_of_every_call(self, make_ours: Make, tmp_path: Path) -> None:
        with make_ours(retries=2) as pool:
            assert pool.submit(at_the_third, tmp_path).result(WAIT) == 3

    def test_futures_and_decorated_functions_are_taken(self, make_ours: Make) -> None:
        with make_ours() as pool:
            first = pool.submit(add, 1)
            assert pool.submit(sum, [first, 2]).result(WAIT) == 13
            assert pool.submit(delayed(add), 1).result(WAIT) == 11

    @pytest.mark.parametrize("kind", ["threads", "client"])
    def test_a_call_may_wait_for_another_of_the_same_slot(self, kind: str, request: pytest.FixtureRequest) -> None:
        with ExitStack() as stack:
            pool = stack.enter_context(made(kind, request, stack)())
            assert pool.submit(nests, 3).result(WAIT) == 3

    @pytest.mark.parametrize("kind", ["cpython", "sync", "threads", "pool"])
    def test_threads_may_fill_what_they_share(self, kind: str, request: pytest.FixtureRequest) -> None:
        shared = [0, 0, 0]
        with ExitStack() as stack:
            pool = stack.enter_context(made(kind, request, stack)())
            for at in range(3):
                pool.submit(shared.__setitem__, at, at)
                pool.submit(lambda items: items.append(1), shared)
        assert shared == [0, 1, 2, 1, 1, 1]

    def test_shutting_it_down_closes_nothing_else(self, make_ours: Make) -> None:
        with make_ours() as pool:
            assert pool.submit(add, 1).result(WAIT) == 11
        with make_ours() as pool:
            assert pool.submit(add, 2).result(WAIT) == 12

    def test_an_executor_of_an_executor(self) -> None:
        with ThreadExecutor(1) as executor, executor.get_executor() as pool:
            assert delayed(add)(1).compute(executor=pool) == 11


def at_the_third(folder: Path) -> int:
    (folder / str(len(list(folder.iterdir())))).touch()
    if (count := len(list(folder.iterdir()))) < 3:
        raise OSError(count)
    return count


def nests(depth: int) -> int:
    if not depth:
        return 0
    with resolve().get_executor() as pool:
        return 1 + pool.submit(nests, depth - 1).result()
