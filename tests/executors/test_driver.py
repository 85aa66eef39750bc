"""The driver over its two engines: running, failing, persisting, and tasks that compute and wait."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import pytest

import lazygraph
from lazygraph import compute, delayed, persist, start
from lazygraph.errors import NestingTooDeep, UnsupportedByExecutor
from lazygraph.executors.driver import Driver
from lazygraph.executors.sync import SyncExecutor
from lazygraph.executors.threads import ThreadExecutor
from lazygraph.running.context import MAX_NESTING
from lazygraph.values.status import Status
from tests.executors.driven import WAIT, add, inverse, nothing_left


class TestRunning:
    def test_a_run_leaves_nothing_behind(self, executor: Driver) -> None:
        assert compute(add(add(1, 2), 3), {"k": [add(1, 1)]}, executor=executor) == (6, {"k": [2]})
        executor.close()
        assert nothing_left(executor)

    def test_from_many_threads(self, executor: Driver) -> None:
        answers: list[Any] = [None] * 8

        def many(at: int) -> None:
            answers[at] = [compute(*[add(i, at) for i in range(20)], executor=executor) for _ in range(5)]

        pool = [threading.Thread(target=many, args=(at,)) for at in range(8)]
        for thread in pool:
            thread.start()
        for thread in pool:
            thread.join()
        assert answers == [[tuple(i + at for i in range(20))] * 5 for at in range(8)]

    def test_callbacks_that_submit(self, executor: Driver) -> None:
        results: list[Any] = []
        done = threading.Event()

        def more(future: Any) -> None:
            if len(results) < 50:
                results.append(future.result())
                start(add(future.result(), 1), executor=executor).futures[0].add_done_callback(more)
            else:
                done.set()

        run = start(add(0, 0), executor=executor)
        run.futures[0].add_done_callback(more)
        assert done.wait(WAIT)
        assert results == list(range(50))

    def test_futures_as_inputs_of_later_graphs(self, executor: Driver) -> None:
        with lazygraph.use(executor):
            x = add.delay(0, 1)
            for _ in range(300):
                x = add.delay(x, 1)
            assert x.result(WAIT) == 301
            assert add(x, x).compute() == 602

    def test_a_failure_of_another_run_keeps_its_exception(self, executor: Driver) -> None:
        with lazygraph.use(executor):
            bad = inverse.delay(0)
            below = add.delay(bad, 1)
            with pytest.raises(ZeroDivisionError) as caught:
                below.result(WAIT)
            assert caught.value is bad.exception(WAIT)
            del bad
            further = add.delay(below, 1)
            assert further.exception(WAIT) is caught.value
            assert (below.status, further.status) == (Status.UPSTREAM_FAILED, Status.UPSTREAM_FAILED)
            assert below.cause == further.cause
            assert str(below.cause).startswith("inverse-")

    def test_not_fail_fast_runs_siblings(self, executor: Driver) -> None:
        ran: list[int] = []
        run = start(inverse(0), delayed(ran.append)(1), executor=executor, fail_fast=False)
        with pytest.raises(ZeroDivisionError):
            run.result(WAIT)
        assert ran == [1]
        assert [future.status for future in run.futures] == [Status.FAILED, Status.SUCCEEDED]

    def test_persist_keeps_and_del_frees(self, executor: Driver) -> None:
        class Big:
            pass

        (kept,) = persist(delayed(Big)(), executor=executor)
        value = weakref.ref(compute(kept, executor=executor)[0])
        assert value() is not None
        del kept
        executor.close()
        gc.collect()
        assert value() is None
        assert nothing_left(executor)

    def test_values_go_when_their_last_reader_has_run(self, executor: Driver) -> None:
        class Big:
            pass

        made = delayed(weakref.ref)(delayed(Big)())
        for _ in range(20):  # further than the first lease reaches: values go when a lease is reported
            made = delayed(lambda ref: ref)(made)
        gone = delayed(lambda ref: (gc.collect(), ref())[1])(made)
        assert compute(gone, executor=executor, optimize_graph=False) == (None,)

    def test_a_future_alone_keeps_only_its_own_value(self, executor: Driver) -> None:
        constant = type("Constant", (), {})()
        gone = weakref.ref(constant)
        (future,) = start(delayed(lambda thing: 5)(constant), executor=executor, fail_fast=False).let_go()
        assert future.result(WAIT) == 5
        del constant
        executor.close()
        assert not nothing_left(executor)
        gc.collect()
        assert gone() is None

    def test_an_option_nobody_honours_is_refused_before_anything_runs(self, executor: Driver) -> None:
        ran: list[int] = []
        first = delayed(ran.append)(1)
        second = add.options(workers=["w"])(first, 1)
        with pytest.raises(UnsupportedByExecutor, match=r"workers=.*'add'.*test_driver\.py:\d+"):
            compute(second, executor=executor)
        assert ran == []

    def test_keys_match_the_record_of_a_failure(self, executor: Driver) -> None:
        run = start(add(1, 1), inverse(0), executor=executor, fail_fast=False)
        with pytest.raises(ZeroDivisionError):
            run.result(WAIT)
        failure = run.futures[1].failure()
        assert failure is not None
        assert (failure.key, failure.node, failure.attempt) == (run.futures[1].key, "inverse", 1)
        assert failure.when > 0
        assert "test_driver.py" in failure.origin


class TestInsideTasks:
    def test_computing_on_the_same_executor(self, executor: Driver) -> None:
        @delayed
        def outer(x: int) -> int:
            return compute(add(x, 1), executor=executor)[0]  # type: ignore[no-any-return]

        assert compute(*[outer(x) for x in range(8)], executor=executor) == tuple(range(1, 9))

    def test_deep(self, executor: Driver) -> None:
        @delayed
        def down(depth: int) -> int:
            return depth if not depth else down(depth - 1).compute(executor=executor)  # type: ignore[no-any-return]

        assert down(20).compute(executor=executor) == 0

    def test_waiting_for_a_future_of_the_same_executor(self) -> None:
        with ThreadExecutor(1) as executor:
            late: list[Any] = []
            submitted = threading.Event()

            @delayed
            def waits() -> Any:
                assert submitted.wait(WAIT)
                return late[0].result(WAIT), next(lazygraph.as_completed(late)), lazygraph.wait(late)[0]

            run = start(waits(), executor=executor)
            late.append(start(add(1, 1), executor=executor).futures[0])
            submitted.set()
            assert run.result(WAIT) == ((2, late[0], {late[0]}),)

    def test_too_deep_is_an_error(self) -> None:
        with ThreadExecutor(1) as executor:

            @delayed
            def down(depth: int) -> Any:
                return down(depth + 1).compute(executor=executor)

            with pytest.raises(NestingTooDeep, match=str(MAX_NESTING)):
                down(0).compute(executor=executor)
            assert add(1, 1).compute(executor=executor) == 2

    def test_threads_that_share_a_sync_executor_take_turns(self) -> None:
        with SyncExecutor() as executor:
            seen: list[tuple[Any, int]] = []

            def one(at: int) -> None:
                mine = threading.get_ident()
                who = delayed(lambda: threading.get_ident() == mine)
                seen.append((compute(*[who() for _ in range(50)], executor=executor), at))

            pool = [threading.Thread(target=one, args=(at,)) for at in range(6)]
            for thread in pool:
                thread.start()
            for thread in pool:
                thread.join(WAIT)
            assert sorted(at for _, at in seen) == list(range(6))
            assert all(all(answer) for answer, _ in seen)
