"""Which executor it is: by name, by context, by what is open."""

from __future__ import annotations

import concurrent.futures
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import lazygraph
from lazygraph import compute, delayed
from lazygraph.errors import InvalidOption, NotImplementedYet, UnknownExecutor, UnknownOption
from lazygraph.executors import ProcessExecutor, SyncExecutor, ThreadExecutor, current
from lazygraph.executors.registry import resolve

where = delayed(lambda: threading.current_thread() is threading.main_thread())


@pytest.fixture
def threads() -> Iterator[ThreadExecutor]:
    with ThreadExecutor(1) as executor:
        current.leave(executor)
        yield executor


class TestDefault:
    def test_threads_when_nothing_is_said(self) -> None:
        assert resolve().name == "threads"

    @pytest.mark.parametrize("kind", [ThreadExecutor, ProcessExecutor])
    def test_as_many_slots_as_there_are_processors(self, kind: Any) -> None:
        with kind() as executor:
            assert executor.n_slots == os.cpu_count()
        assert resolve() is resolve("threads")

    def test_said_beats_context_beats_client(self, threads: ThreadExecutor) -> None:
        with SyncExecutor() as client:
            current.leave(client)
            current.opened(client)
            try:
                assert resolve() is client
                with lazygraph.use(threads):
                    assert resolve() is threads
                    assert resolve("sync").name == "sync"
                assert resolve() is client
            finally:
                current.closed(client)
        assert resolve().name == "threads"
        current.closed(client)

    def test_the_innermost_counts(self, threads: ThreadExecutor) -> None:
        with lazygraph.use("sync") as outer:
            assert where().compute() is True
            with threads as inner:
                assert resolve() is inner
                with lazygraph.use("sync"):
                    assert where().compute() is True
            assert resolve() is outer

    def test_the_same_executor_twice(self, threads: ThreadExecutor) -> None:
        with lazygraph.use(threads):
            with lazygraph.use(threads):
                pass
            assert resolve() is threads
        assert resolve() is not threads

    def test_other_threads_have_their_own_context(self) -> None:
        names: list[str] = []
        with lazygraph.use("sync"):
            thread = threading.Thread(target=lambda: names.append(resolve().name))
            thread.start()
            thread.join()
        assert names == ["threads"]

    def test_a_with_statement_closes(self) -> None:
        with ThreadExecutor(2) as executor:
            assert where().compute() is False
        with pytest.raises(lazygraph.LazyGraphError, match="closed"):
            where().compute(executor=executor)


class TestNames:
    @pytest.mark.parametrize("name", ["sync", "synchronous", "single-threaded"])
    def test_sync(self, name: str) -> None:
        assert where().compute(executor=name) is True
        assert compute(where(), scheduler=name) == (True,)

    @pytest.mark.parametrize("name", ["threads", "threading"])
    def test_threads(self, name: str) -> None:
        assert compute(where(), scheduler=name) == (False,)

    def test_a_wrong_name_has_a_suggestion(self) -> None:
        with pytest.raises(UnknownExecutor, match="did you mean 'threads'"):
            where().compute(executor="thread")
        with pytest.raises(ValueError, match="no executor 5"):
            where().compute(executor=5)

    def test_a_standard_executor_is_taken_as_it_is(self) -> None:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            assert where().compute(executor=pool) is False

    @pytest.mark.parametrize("count", [0, -1])
    def test_no_threads(self, count: int) -> None:
        with pytest.raises(InvalidOption, match="at least one"):
            ThreadExecutor(count)


class TestKeywords:
    @pytest.mark.parametrize(
        ("name", "near"), [("fail_fas", "fail_fast"), ("timeut", "timeout"), ("exekutor", "executor")]
    )
    def test_an_unknown_one_has_a_suggestion(self, name: str, near: str) -> None:
        with pytest.raises(UnknownOption, match=rf"compute\(\) has no option '{name}'; did you mean '{near}'"):
            compute(where(), **{name: 1})

    @pytest.mark.parametrize("said", [{"progress": True}, {"pdb": True}])
    def test_those_that_are_not_built_yet(self, said: dict[str, Any]) -> None:
        with pytest.raises(NotImplementedYet):
            compute(where(), **said)

    def test_so_many_threads_for_this_once(self) -> None:
        name, together = delayed(lambda met: met.wait(60) and threading.current_thread().name), threading.Barrier(3)
        met = [delayed(lambda: together.wait(60) is not None)() for _ in range(3)]  # three at once, or never
        assert all(compute(*met, num_workers=3))
        ready = threading.Event()
        ready.set()
        assert compute(name(ready), num_workers=2, scheduler="sync") == ("MainThread",)

    def test_a_number_of_threads_is_for_threads(self) -> None:
        with SyncExecutor() as elsewhere:
            elsewhere.name = "elsewhere"
            with pytest.raises(InvalidOption, match="num_workers=2: executor 'elsewhere' has as many slots"):
                compute(where(), num_workers=2)

    def test_nothing_lazy(self) -> None:
        assert compute() == ()
        assert compute(1, [2]) == (1, [2])
        assert compute([where()], traverse=False, executor="sync")[0][0] is not True

    def test_a_name_for_the_run(self) -> None:
        assert lazygraph.start(where(), run_name="nightly", executor="sync").id == "nightly"
