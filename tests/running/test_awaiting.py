"""`async def` tasks: many at a time on one loop, no slot held, endings like any other task's."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import gc
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

import lazygraph
from lazygraph import chain, compute, delayed, group, start
from lazygraph.errors import InputChanged, ReturnedPromise, WouldDeadlock
from lazygraph.executors import SyncExecutor, ThreadExecutor
from lazygraph.executors.driver import Driver
from lazygraph.running import awaiting
from lazygraph.running.awaiting import MOST
from lazygraph.running.context import inside_task

WAIT = 30
COLOUR: contextvars.ContextVar[str] = contextvars.ContextVar("colour", default="none")


@pytest.fixture(params=[SyncExecutor, lambda: ThreadExecutor(1), lambda: ThreadExecutor(3)], ids=["sync", "1", "3"])
def executor(request: pytest.FixtureRequest) -> Iterator[Driver]:
    with request.param() as executor:
        yield executor


@delayed
async def twice(x: int) -> int:
    await asyncio.sleep(0)
    return 2 * x


@delayed
def add(*xs: int) -> int:
    return sum(xs)


class Meeting:
    """Coroutines that end only when so many of them have come."""

    def __init__(self, size: int) -> None:
        self.size, self.here = size, 0
        self.full: asyncio.Event | None = None

    async def join(self, name: Any) -> Any:
        self.full = self.full or asyncio.Event()
        self.here += 1
        if self.here == self.size:
            self.full.set()
        await self.full.wait()
        return name


class TestMany:
    @pytest.mark.parametrize("count", [2, 300])
    def test_at_a_time(self, executor: Driver, count: int) -> None:
        join = delayed(Meeting(count).join)
        assert compute(*[join(at) for at in range(count)], executor=executor, timeout=WAIT) == tuple(range(count))

    def test_on_one_loop_and_outside_of_slots(self, executor: Driver) -> None:
        async def where() -> Any:
            return id(asyncio.get_running_loop()), threading.current_thread().name

        found = compute(*[delayed(where)() for _ in range(20)], executor=executor)
        assert len(set(found)) == 1
        assert found[0][1] == "lazygraph-awaits"

    def test_no_slot_is_held_meanwhile(self) -> None:
        gate = threading.Event()

        async def stands() -> bool:
            return await asyncio.to_thread(gate.wait, WAIT)

        with ThreadExecutor(1) as executor:
            run = start(delayed(stands)(), executor=executor)
            assert add(1, 2).compute(executor=executor, timeout=WAIT) == 3
            assert not run.done()
            gate.set()
            assert run.result(WAIT) == (True,)

    def test_not_more_than_a_bound(self, executor: Driver) -> None:
        meeting, running, most = Meeting(MOST), 0, 0

        async def counted() -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await meeting.join(None)
            running -= 1

        task = delayed(counted)
        compute(*[task() for _ in range(MOST + 500)], executor=executor, timeout=WAIT)
        assert (running, most) == (0, MOST)

    @pytest.mark.parametrize("slots", [1, 3])
    def test_those_that_await_others_of_their_kind_do_not_keep_them_out(
        self, slots: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(awaiting, "MOST", 5)
        with ThreadExecutor(slots) as executor:

            async def awaits(x: int) -> int:
                both = [start(twice(y), executor=executor).futures[0] for y in (x, 1)]
                return sum(await asyncio.gather(*both))

            asked = [delayed(awaits)(x) for x in range(20)]
            assert compute(asked, executor=executor, timeout=WAIT) == ([2 * x + 2 for x in range(20)],)


class TestEndings:
    def test_what_reads_it_comes_after_it(self, executor: Driver) -> None:
        chained = twice(twice(twice(1)))
        assert compute(chained, add(chained, twice(1), 1), executor=executor) == (8, 11)

    def test_in_canvases(self, executor: Driver) -> None:
        assert chain(twice.s(1), group(twice.s(), add.s(1)), add.s(0).set(name="sum")).graph is not None
        assert (group(twice.s(x) for x in range(5)) | delayed(sum).s()).compute(executor=executor) == 20
        assert twice.map([1, 2]).compute(executor=executor) == [2, 4]

    def test_what_it_raises(self, executor: Driver) -> None:
        async def fails() -> None:
            await asyncio.sleep(0)
            raise ValueError("in the middle")

        with pytest.raises(ValueError, match="in the middle") as caught:
            add(delayed(fails)()).compute(executor=executor)
        assert [entry.name for entry in caught.traceback][-1] == "fails"
        assert "node 'fails'" in caught.value.__notes__[0]

    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
    def test_whatever_it_raises_is_its_own(self, error: type[BaseException]) -> None:
        async def leaves() -> None:
            await asyncio.sleep(0)
            raise error

        with ThreadExecutor(1) as executor:
            future = start(delayed(leaves)(), executor=executor).futures[0]
            assert isinstance(future.exception(WAIT), error)
            assert twice(4).compute(executor=executor, timeout=WAIT) == 8

    def test_it_may_be_replaced(self, executor: Driver) -> None:
        async def becomes() -> Any:
            await asyncio.sleep(0)
            return lazygraph.replace(add(twice(3), 1))

        assert add(delayed(becomes)(), 1).compute(executor=executor) == 8

    def test_a_bare_promise_is_refused(self, executor: Driver) -> None:
        async def promises() -> Any:
            return add(1)

        with pytest.raises(ReturnedPromise):
            delayed(promises)().compute(executor=executor)

    def test_retries(self, executor: Driver) -> None:
        attempts: list[int] = []

        async def flaky() -> int:
            attempts.append(1)
            await asyncio.sleep(0)
            if len(attempts) < 3:
                raise OSError
            return len(attempts)

        assert delayed(flaky, retries=2)().compute(executor=executor) == 3

    def test_changed_inputs_are_told(self, executor: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LAZYGRAPH_CHECK_MUTATION", "1")

        async def changes(items: list[int]) -> None:
            await asyncio.sleep(0)
            items.append(1)

        with pytest.raises(InputChanged):
            delayed(changes)(delayed([2])).compute(executor=executor)


class TestInside:
    def test_context_variables_are_the_tasks_own(self, executor: Driver) -> None:
        async def colours(name: str) -> Any:
            COLOUR.set(name)
            await asyncio.sleep(0)
            return COLOUR.get(), inside_task.get() is executor

        found = compute(*[delayed(colours)(name) for name in "abc"], executor=executor)
        assert found == (("a", True), ("b", True), ("c", True))
        assert (COLOUR.get(), inside_task.get()) == ("none", None)

    def test_compute_runs_inline(self, executor: Driver) -> None:
        async def nests() -> Any:
            return add(twice(2), 1).compute(executor="sync")

        assert delayed(nests)().compute(executor=executor, timeout=WAIT) == 5

    def test_futures_of_its_executor_are_awaited(self) -> None:
        with ThreadExecutor(1) as executor:

            async def waits() -> int:
                future = start(twice(2), executor=executor).futures[0]
                return 1 + await future

            assert delayed(waits)().compute(executor=executor, timeout=WAIT) == 5

    def test_waiting_without_await_would_hold_up_the_others(self) -> None:
        with ThreadExecutor(1) as executor:

            async def waits() -> Any:
                return start(twice(2), executor=executor).result(WAIT)

            with pytest.raises(WouldDeadlock, match="write `await future`"):
                delayed(waits)().compute(executor=executor, timeout=WAIT)

    def test_what_it_starts_beside_itself_lives_as_long_as_the_executor(self) -> None:
        ended = threading.Event()

        async def aside() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        async def starts() -> None:
            tasks.append(asyncio.create_task(aside()))
            await asyncio.sleep(0)

        tasks: list[Any] = []
        with ThreadExecutor(1) as executor:
            delayed(starts)().compute(executor=executor)
            assert not ended.is_set()
        assert ended.wait(WAIT)


class TestStopping:
    def test_a_running_one_is_cancelled_by_force(self) -> None:
        begun, cleaned = threading.Event(), threading.Event()

        async def waits() -> None:
            try:
                begun.set()
                await asyncio.Event().wait()
            finally:
                cleaned.set()

        with ThreadExecutor(1) as executor:
            future = start(delayed(waits)(), executor=executor).futures[0]
            assert begun.wait(WAIT)
            assert future.cancel() is False
            assert future.cancel(force=True) is True
            assert cleaned.is_set()
            with pytest.raises(concurrent.futures.CancelledError):
                future.result(WAIT)
            assert twice(1).compute(executor=executor, timeout=WAIT) == 2

    def test_a_python_loop_is_stopped_by_force(self) -> None:
        begun = threading.Event()

        def spins() -> None:
            begun.set()
            while True:
                pass

        with ThreadExecutor(1) as executor:
            future = start(delayed(spins)(), executor=executor).futures[0]
            assert begun.wait(WAIT)
            assert future.cancel(force=True) is True
            with pytest.raises(concurrent.futures.CancelledError):
                future.result(WAIT)
            assert add(1).compute(executor=executor, timeout=WAIT) == 1

    def test_one_that_has_not_begun_never_does(self) -> None:
        begun: list[int] = []
        gate = asyncio.Event()
        full = threading.Event()

        async def stands(at: int) -> None:
            begun.append(at)
            if len(begun) == MOST:
                full.set()
            await gate.wait()

        with ThreadExecutor(1) as executor:
            run = start(*[delayed(stands)(at) for at in range(MOST + 1)], executor=executor, fail_fast=False)
            assert full.wait(WAIT)
            future = run.futures[next(iter({*range(MOST + 1)}.difference(begun)))]
            run.cancel()
            future.cancel(force=True)
        assert len(begun) <= MOST + 1

    def test_closing_without_waiting_cancels_what_is_awaited(self) -> None:
        begun, ended = threading.Event(), threading.Event()

        async def waits() -> None:
            try:
                begun.set()
                await asyncio.Event().wait()
            finally:
                ended.set()

        executor = ThreadExecutor(1)
        run = start(delayed(waits)(), executor=executor)
        assert begun.wait(WAIT)
        executor.close(wait=False)
        assert ended.wait(WAIT)
        assert run.futures[0].cancelled()

    def test_nothing_is_left(self, executor: Driver) -> None:
        class Value:
            pass

        gone = threading.Event()

        async def makes() -> Value:
            value = Value()
            weakref.finalize(value, gone.set)
            return value

        @delayed
        def reads(value: Value) -> str:
            return type(value).__name__

        assert reads(delayed(makes)()).compute(executor=executor) == "Value"
        add(1).compute(executor=executor)
        executor.close()
        gc.collect()
        assert gone.wait(WAIT)  # threads that have just told of it may still be on their way home
        assert not executor._busy
