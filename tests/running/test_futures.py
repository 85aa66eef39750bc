"""One future: a concurrent.futures.Future whose condition is made on the first wait."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import pickle
import threading
import traceback
import weakref
from typing import Any

import pytest

from lazygraph.errors import UsedAfterFork
from lazygraph.planning.plan import Plan
from lazygraph.running.completing import as_completed, wait
from lazygraph.running.futures import Future
from lazygraph.running.group_result import GroupResult
from lazygraph.running.run import Run
from lazygraph.values.graph import Tables
from lazygraph.values.outcome import Value
from lazygraph.values.status import Status
from tests.running.owners import Owner, raised, run_of
from tests.running.shapes import shape_of


@pytest.fixture
def future(run: Run) -> Future[Any]:
    return run.futures[0]


class TestAsTheStandardOne:
    def test_is_one(self, future: Future[Any]) -> None:
        assert isinstance(future, concurrent.futures.Future)
        assert not future.done()
        assert not future.running()
        assert not future.cancelled()

    def test_a_value(self, run: Run, future: Future[Any]) -> None:
        run.settle(0, Status.SUCCEEDED, Value(5))
        assert (future.done(), future.result(), future.exception(), future.status) == (True, 5, None, Status.SUCCEEDED)

    @pytest.mark.parametrize("value", [None, False, 0, "", [], ()])
    def test_falsy_values_are_values(self, run: Run, future: Future[Any], value: Any) -> None:
        run.settle(0, Status.SUCCEEDED, Value(value))
        assert future.result() is value

    def test_an_exception(self, run: Run, future: Future[Any]) -> None:
        failure = raised(KeyError("k"))
        run.settle(0, Status.FAILED, failure)
        assert future.exception() is failure.exception
        assert future.failure() is failure
        with pytest.raises(KeyError) as caught:
            future.result()
        assert caught.value is failure.exception

    def test_a_cancellation(self, run: Run, future: Future[Any]) -> None:
        run.settle(0, Status.CANCELLED, raised(concurrent.futures.CancelledError("'task' was cancelled")))
        assert future.cancelled()
        for ask in (future.result, future.exception):
            with pytest.raises(concurrent.futures.CancelledError, match="'task' was cancelled"):
                ask()

    def test_cancelled_because_something_failed(self, run: Run, future: Future[Any]) -> None:
        run.settle(0, Status.CANCELLED, raised(ValueError("bad")))
        with pytest.raises(concurrent.futures.CancelledError, match="because 'task' raised ValueError: bad"):
            future.result()

    def test_a_timeout(self, future: Future[Any]) -> None:
        for ask in (future.result, future.exception, future.get, future.failure):
            with pytest.raises(TimeoutError, match="has not ended within 0"):
                ask(timeout=0)

    def test_it_ends_once(self, run: Run, future: Future[Any]) -> None:
        run.settle(0, Status.SUCCEEDED, Value(1))
        run.settle(0, Status.FAILED, raised(ValueError()))
        future.settle(Status.FAILED, raised(ValueError()))
        assert (future.result(), future.status) == (1, Status.SUCCEEDED)

    def test_only_its_run_settles_it(self, future: Future[Any]) -> None:
        with pytest.raises(TypeError, match="settled by its run"):
            future.set_result(1)
        with pytest.raises(TypeError, match="settled by its run"):
            future.set_exception(ValueError())

    def test_wait(self, run: Run) -> None:
        futures = run.futures
        run.settle(1, Status.SUCCEEDED, Value(1))
        assert concurrent.futures.wait(futures, timeout=0) == ({futures[1]}, {futures[0], futures[2]})
        thread = threading.Thread(target=lambda: [run.settle(at, Status.SUCCEEDED, Value(at)) for at in (0, 2)])
        thread.start()
        assert wait(futures) == (set(futures), set())
        thread.join()

    def test_wait_for_the_first_exception(self, run: Run) -> None:
        futures = run.futures
        run.settle(2, Status.FAILED, raised(ValueError()))
        done, _ = concurrent.futures.wait(futures, return_when="FIRST_EXCEPTION")
        assert done == {futures[2]}

    def test_standard_as_completed(self, run: Run) -> None:
        found = concurrent.futures.as_completed(run.futures)
        run.settle(1, Status.SUCCEEDED, Value(1))
        assert next(found) is run.futures[1]
        run.settle(0, Status.CANCELLED, raised(concurrent.futures.CancelledError()))
        assert next(found) is run.futures[0]

    def test_two_threads_that_wait_for_settled_and_open_futures_in_two_orders(self) -> None:
        run = run_of(200)
        futures = run.futures
        for at in range(0, 200, 2):
            run.settle(at, Status.SUCCEEDED, Value(at))
        threads = [
            threading.Thread(target=concurrent.futures.wait, args=(part,)) for part in (futures, futures[::-1]) * 4
        ]
        for thread in threads:
            thread.start()
        for at in range(1, 200, 2):
            run.settle(at, Status.SUCCEEDED, Value(at))
        for thread in threads:
            thread.join()

    def test_celery_s_words(self, run: Run, future: Future[Any], owner: Owner) -> None:
        assert (future.state, future.ready(), future.successful(), future.failed()) == ("PENDING", False, False, False)
        future.revoke()
        assert owner.cancelled == [0]
        run.settle(0, Status.SUCCEEDED, Value(3))
        assert (future.state, future.ready(), future.successful(), future.failed()) == ("SUCCESS", True, True, False)
        assert future.get() == 3
        bad = run.futures[1]
        run.settle(1, Status.FAILED, raised(ValueError()))
        assert (bad.state, bad.successful(), bad.failed()) == ("FAILURE", False, True)

    def test_outside_a_canvas_nothing_comes_before_or_next(self, future: Future[Any]) -> None:
        assert (future.parent, future.inputs, future.children) == (None, [], [])


class TestCallbacks:
    def test_before_and_after(self, run: Run, future: Future[Any]) -> None:
        seen: list[Any] = []
        future.add_done_callback(lambda f: seen.append(("before", f.result())))
        run.settle(0, Status.SUCCEEDED, Value(7))
        future.add_done_callback(lambda f: seen.append(("after", f.result())))
        assert seen == [("before", 7), ("after", 7)]

    def test_one_that_raises_hurts_nobody(
        self, run: Run, future: Future[Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        seen: list[Any] = []
        future.add_done_callback(lambda f: 1 / 0)
        future.add_done_callback(seen.append)
        run.settle(0, Status.SUCCEEDED, Value(7))
        future.add_done_callback(lambda f: 1 / 0)
        assert seen == [future]
        assert caplog.text.count("ZeroDivisionError") >= 2

    def test_no_lock_is_held_while_they_run(self, run: Run, future: Future[Any]) -> None:
        answers: list[Any] = []

        def ask(_: Any) -> None:
            thread = threading.Thread(target=lambda: answers.append((future.result(), run.done())))
            thread.start()
            thread.join()

        future.add_done_callback(ask)
        run.settle(0, Status.SUCCEEDED, Value(7))
        assert answers == [(7, False)]

    def test_a_value_that_is_elsewhere_is_fetched_by_another_thread_first(self, run: Run, owner: Owner) -> None:
        future, called = run.futures[0], threading.Event()
        run.settle(0, Status.SUCCEEDED, None)
        owner.gate.clear()
        future.add_done_callback(lambda f: called.set())
        assert not called.is_set()
        owner.gate.set()
        assert called.wait(30)
        assert (future.result(), owner.fetched) == ("fetched", [0])


class TestAwaiting:
    def test_await(self, run: Run) -> None:
        async def main() -> list[Any]:
            asyncio.get_running_loop().call_soon(run.settle, 1, Status.SUCCEEDED, Value(2))
            run.settle(0, Status.SUCCEEDED, Value(1))
            return [await run.futures[0], await run.futures[1], await asyncio.wrap_future(run.futures[0])]

        assert asyncio.run(main()) == [1, 2, 1]

    def test_awaiting_a_failure(self, run: Run) -> None:
        async def main() -> None:
            run.settle(0, Status.FAILED, raised(KeyError("k")))
            await run.futures[0]

        with pytest.raises(KeyError):
            asyncio.run(main())

    def test_awaiting_a_group(self, run: Run) -> None:
        async def main() -> list[Any]:
            for at in range(3):
                run.settle(at, Status.SUCCEEDED, Value(at))
            return await GroupResult([run.futures[0], GroupResult(run.futures[1:])])

        assert asyncio.run(main()) == [0, [1, 2]]


class TestFetching:
    def test_once(self, run: Run, owner: Owner) -> None:
        future = run.futures[0]
        run.settle(0, Status.SUCCEEDED, None)
        assert (future.done(), owner.fetched) == (True, [])
        assert (future.result(), future.result(), owner.fetched) == ("fetched", "fetched", [0])

    def test_what_is_gone(self, run: Run, owner: Owner) -> None:
        owner.value = raised(LookupError("gone"))
        run.settle(0, Status.SUCCEEDED, None)
        with pytest.raises(LookupError):
            run.futures[0].result()
        assert run.futures[0].status is Status.LOST

    def test_a_timeout_is_for_both_waits_together(self, run: Run, owner: Owner) -> None:
        run.settle(0, Status.SUCCEEDED, None)
        owner.gate.clear()
        with pytest.raises(TimeoutError):
            run.futures[0].result(timeout=0.001)


class TestErrors:
    def test_raising_again_starts_from_the_original_traceback(self, run: Run, future: Future[Any]) -> None:
        run.settle(0, Status.FAILED, raised(ValueError("x")))
        lengths, notes = set(), set()
        for _ in range(5):
            with pytest.raises(ValueError, match="x") as caught:
                future.result()
            lengths.add(len(traceback.extract_tb(caught.value.__traceback__)))
            notes.add(tuple(caught.value.__notes__))
        assert len(lengths) == 1
        assert notes == {("lazygraph: node 'task' (key task-1-0, attempt 1), built at somewhere:1",)}

    def test_an_exception_that_takes_no_attributes(self, run: Run, future: Future[Any]) -> None:
        class Strict(Exception):
            def __setattr__(self, name: str, value: Any) -> None:
                raise AttributeError(name)

        run.settle(0, Status.FAILED, raised(Strict("s")))
        with pytest.raises(Strict):
            future.result()

    def test_a_future_that_has_raised_goes_with_its_last_reference(self, owner: Owner) -> None:
        (future,) = run_of(1, owner).let_go()
        future.run.settle(0, Status.FAILED, raised(ValueError("x")))
        gc.disable()
        try:
            with pytest.raises(ValueError, match="x"):
                future.result()
            del future
            assert owner.dropped == [0]
        finally:
            gc.enable()

    def test_cause(self, run: Run) -> None:
        failure = raised(ValueError())
        run.settle(0, Status.FAILED, failure)
        run.settle(1, Status.UPSTREAM_FAILED, failure)
        run.settle(2, Status.SUCCEEDED, Value(1))
        assert [future.cause for future in run.futures] == [None, "task-1-0", None]


class TestDropping:
    def test_the_claim_goes_with_the_future(self, owner: Owner) -> None:
        futures = run_of(3, owner).let_go()
        del futures[1]
        assert owner.dropped == [1]
        futures.clear()
        assert sorted(owner.dropped) == [0, 1, 2]

    def test_a_run_holds_its_futures_until_it_lets_go(self, owner: Owner) -> None:
        run = run_of(2, owner)
        run.futures
        assert owner.dropped == []
        run.let_go()
        assert sorted(owner.dropped) == [0, 1]

    def test_all_at_once(self, owner: Owner) -> None:
        run_of(3, owner).release()
        assert owner.dropped == [0, 1, 2]

    def test_detached_futures_stay_until_all_have_ended(self, owner: Owner) -> None:
        run = run_of(2, owner)
        run.detach()
        run.settle(0, Status.SUCCEEDED, Value(1))
        assert owner.dropped == []
        run.settle(1, Status.SUCCEEDED, Value(1))
        assert sorted(owner.dropped) == [0, 1]
        assert owner.detached == set()

    def test_a_chain_of_futures_does_not_keep_its_first_ones(self, owner: Owner) -> None:
        (first,) = run_of(1, owner).let_go()
        shape = shape_of([[], [0]], outputs=[1], externals=1)
        run = Run(Plan(shape, Tables((len,), ()), externals=(first,)), owner)
        gone = weakref.ref(first)
        del first
        assert gone() is None
        assert len(run.plan) == 1

    def test_a_future_does_not_travel(self, future: Future[Any]) -> None:
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(future)

    def test_waiting_for_it_and_cancelling_it_in_a_forked_child_are_errors(self, future: Future[Any]) -> None:
        future.run.pid = -1  # as it looks from there
        for ask in (future.result, future.exception, future.cancel, future.run.result, future.run.cancel):
            with pytest.raises(UsedAfterFork):
                ask()


def test_waiters_and_setters_that_meet(owner: Owner) -> None:
    """Many threads wait, poll and add callbacks while others settle: nobody is forgotten."""
    count, threads_of_each = 400, 4
    run = run_of(count, owner)
    futures = run.futures
    called = [threading.Semaphore(0) for _ in range(count)]
    start = threading.Barrier(4 * threads_of_each)
    wrong: list[Any] = []

    def waiter() -> None:
        start.wait()
        wrong.extend(at for at, future in enumerate(futures) if future.result(30) != at)

    def caller() -> None:
        start.wait()
        for at, future in enumerate(futures):
            future.add_done_callback(lambda f, at=at: called[at].release())  # type: ignore[misc]

    def gatherer() -> None:
        start.wait()
        wrong.extend(concurrent.futures.wait(futures, timeout=30).not_done)
        wrong.extend(set(futures) - set(as_completed(futures, timeout=30)))

    def setter(first: int) -> None:
        start.wait()
        for at in range(first, count, threads_of_each):
            run.settle(at, Status.SUCCEEDED, Value(at))

    threads = [threading.Thread(target=job) for job in (waiter, caller, gatherer) for _ in range(threads_of_each)]
    threads += [threading.Thread(target=setter, args=(first,)) for first in range(threads_of_each)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert all(one.acquire(timeout=30) for one in called for _ in range(threads_of_each))
    assert run.result(0) == tuple(range(count))


class TestWhileTheCollectorRuns:
    def test_nobody_has_a_dict_made_of_a_future(self, run: Run) -> None:
        """While CPython 3.11 makes one, finalizers may have another made of the same memory."""
        future, other = run.futures[:2]
        assert wait([future, other], 0).not_done == {future, other}  # one after the other
        assert concurrent.futures.wait([future, other], 0).not_done == {future, other}  # with its condition
        assert (future.done(), future.cancelled(), future.wants_value) == (False, False, False)
        run.settle(0, Status.SUCCEEDED, Value(1))
        future.add_done_callback(lambda _: None)
        assert (future.result(0), future.status, future.exception(0)) == (1, Status.SUCCEEDED, None)
        made_late = [one for one in gc.get_referents(future) if isinstance(one, dict)]
        assert made_late == []
