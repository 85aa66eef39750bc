"""Awaiting futures: `await future`, `await run`, `async for future in as_completed(...)`, under plain asyncio."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import threading
import weakref
from typing import Any

import pytest

import lazygraph
from lazygraph import as_completed, chain, delayed, group, start
from lazygraph.running.group_result import GroupResult
from lazygraph.running.run import Run
from lazygraph.values.outcome import Value
from lazygraph.values.status import Status
from tests.running.owners import Owner, raised, run_of


@delayed
def double(x: int) -> int:
    return 2 * x


@delayed
def fails() -> None:
    raise ValueError("as planned")


def settle_soon(run: Run, *order: int) -> None:
    """Have outputs end in this order, told by another thread as executors do."""
    threading.Thread(target=lambda: [run.settle(at, Status.SUCCEEDED, Value(at)) for at in order]).start()


async def settled(run: Run, *order: int) -> None:
    """Return when they have been told of, which happens in another thread."""
    await asyncio.to_thread(lambda: [run.settle(at, Status.SUCCEEDED, Value(at)) for at in order])


class TestAsyncFor:
    def test_in_the_order_in_which_they_end(self, run: Run) -> None:
        async def main() -> list[int]:
            found = as_completed(run.futures)
            settle_soon(run, 2, 0, 1)
            return [future.result() async for future in found]

        assert asyncio.run(main()) == [2, 0, 1]

    def test_with_results(self, run: Run) -> None:
        async def main() -> list[tuple[Any, int]]:
            found = as_completed(run.futures, with_results=True)
            settle_soon(run, 1, 2, 0)
            return [pair async for pair in found]

        assert asyncio.run(main()) == [(run.futures[1], 1), (run.futures[2], 2), (run.futures[0], 0)]

    def test_more_can_be_added(self, run: Run) -> None:
        async def main() -> list[int]:
            found, seen = as_completed(run.futures[:1]), []
            settle_soon(run, 0)
            async for future in found:
                seen.append(future.result())
                for other in run.futures:
                    found.add(other)
                if len(seen) == 1:
                    settle_soon(run, 2, 1)
            return seen

        assert asyncio.run(main()) == [0, 2, 1]

    def test_the_members_of_a_group(self, run: Run) -> None:
        async def main() -> list[int]:
            found = GroupResult([run.futures[0], GroupResult(run.futures[1:])]).as_completed()
            settle_soon(run, 1, 0, 2)
            return [future.result() async for future in found]

        assert asyncio.run(main()) == [1, 0, 2]

    def test_other_people_s_futures(self, run: Run) -> None:
        async def main() -> list[Any]:
            other: concurrent.futures.Future[int] = concurrent.futures.Future()
            found = as_completed([other, run.futures[0]])
            other.set_result(7)
            settle_soon(run, 0)
            return [future.result() async for future in found]

        assert asyncio.run(main()) == [7, 0]

    def test_a_timeout_says_how_many_are_missing(self, run: Run) -> None:
        async def main() -> None:
            run.settle(1, Status.SUCCEEDED, Value(1))
            found = as_completed(run.futures, timeout=0)
            assert await anext(found) is run.futures[1]
            with pytest.raises(TimeoutError, match="2 of 3 futures have not ended within 0 s"):
                await anext(found)

        asyncio.run(main())

    def test_none(self) -> None:
        async def main() -> list[Any]:
            return [future async for future in as_completed([])]

        assert asyncio.run(main()) == []

    def test_a_failure_comes_like_any_other(self, run: Run) -> None:
        async def main() -> list[Any]:
            found = as_completed(run.futures)
            run.settle(0, Status.FAILED, raised(ValueError("as planned")))
            settle_soon(run, 1, 2)
            return [future.exception() async for future in found]

        first, *others = asyncio.run(main())
        assert isinstance(first, ValueError) and others == [None, None]

    def test_whoever_stops_awaiting_loses_nothing(self, run: Run, owner: Owner) -> None:
        async def main() -> list[int]:
            found = as_completed(run.futures)
            for _ in range(3):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0):
                        await anext(found)
            settle_soon(run, 0, 1, 2)
            return [future.result() async for future in found]

        assert asyncio.run(main()) == [0, 1, 2]
        assert owner.cancelled == []

    def test_several_share_one(self) -> None:
        run = run_of(100)

        async def take(found: Any) -> list[int]:
            return [future.result() async for future in found]

        async def main() -> list[list[int]]:
            found = as_completed(run.futures)
            async with asyncio.TaskGroup() as tasks:
                takers = [tasks.create_task(take(found)) for _ in range(3)]
                settle_soon(run, *range(100))
            return [taker.result() for taker in takers]

        assert sorted(at for taken in asyncio.run(main()) for at in taken) == list(range(100))


class TestValuesThatAreElsewhere:
    def test_they_come_while_the_loop_goes_on(self, run: Run, owner: Owner) -> None:
        owner.gate.clear()

        async def main() -> list[Any]:
            for at in range(3):
                run.settle(at, Status.SUCCEEDED, None)  # the value is with a worker
            asyncio.get_running_loop().call_soon(owner.gate.set)  # a loop that waits for a transfer never comes here
            return [future.result(timeout=0) async for future in as_completed(run.futures)]

        assert asyncio.run(main()) == ["fetched"] * 3

    def test_one_that_is_here_does_not_wait_for_one_that_is_not(self, run: Run, owner: Owner) -> None:
        owner.gate.clear()

        async def main() -> list[Any]:
            run.settle(0, Status.SUCCEEDED, None)
            run.settle(1, Status.SUCCEEDED, Value("here"))
            seen = []
            async for future in as_completed(run.futures[:2]):
                seen.append(future.result(timeout=0))
                owner.gate.set()
            return seen

        assert asyncio.run(main()) == ["here", "fetched"]

    def test_many_at_once_take_few_threads(self, owner: Owner) -> None:
        run = run_of(200, owner)
        owner.gate.clear()

        async def main() -> tuple[int, int]:
            for at in range(200):
                run.settle(at, Status.SUCCEEDED, None)
            found = as_completed(run.futures)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await anext(found)
            started = len(owner.fetched)
            owner.gate.set()
            return started, len([future async for future in found])

        started, came = asyncio.run(main())
        assert started <= 8
        assert came == 200

    def test_awaiting_one(self, run: Run, owner: Owner) -> None:
        owner.gate.clear()

        async def main() -> Any:
            run.settle(0, Status.SUCCEEDED, None)
            asyncio.get_running_loop().call_soon(owner.gate.set)
            return await run.futures[0]

        assert asyncio.run(main()) == "fetched"


class TestAwait:
    def test_a_thousand_at_once(self) -> None:
        run = run_of(1000)

        async def main() -> list[int]:
            settle_soon(run, *reversed(range(1000)))
            return await asyncio.gather(*run.futures)

        assert asyncio.run(main()) == list(range(1000))

    def test_whoever_stops_awaiting_cancels_nothing(self, run: Run, owner: Owner) -> None:
        future = run.futures[0]

        async def main() -> Any:
            patient = asyncio.ensure_future(future)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(future, 0.001)
            hurried = asyncio.ensure_future(future)
            await asyncio.sleep(0)
            hurried.cancel()
            with pytest.raises(asyncio.CancelledError):
                await hurried
            assert not future.done()
            settle_soon(run, 0)
            return await patient

        assert asyncio.run(main()) == 0
        assert owner.cancelled == []
        assert not future.cancelled()

    def test_and_leaves_nothing_with_the_future(self, run: Run) -> None:
        future = run.futures[0]

        async def main() -> None:
            for _ in range(3):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0):
                        await future

        asyncio.run(main())
        assert future._waiters == []

    def test_what_was_cancelled_raises_an_exception_that_is_not_the_awaiting_task_s_own(self, run: Run) -> None:
        async def main() -> None:
            run.withdraw(0, "", concurrent.futures.CancelledError("not wanted"))
            with pytest.raises(concurrent.futures.CancelledError):
                await run.futures[0]

        asyncio.run(main())

    def test_a_failure_keeps_neither_future_nor_run_alive(self) -> None:
        run = run_of(1)
        run.settle(0, Status.FAILED, raised(ValueError("as planned")))

        async def main(future: Any) -> ValueError:
            with pytest.raises(ValueError) as caught:
                await future
            return caught.value

        gc.collect()
        gc.disable()
        try:
            error = asyncio.run(main(run.futures[0]))
            error.__traceback__ = None
            gone = weakref.ref(run)
            del run
            gc.collect()
            assert gone() is None
        finally:
            gc.enable()

    def test_it_awaits_settling_by_any_thread(self, run: Run) -> None:
        async def main() -> list[int]:
            awaiting = [asyncio.ensure_future(future) for future in run.futures]
            await settled(run, 1, 0, 2)
            return [await one for one in awaiting]

        assert asyncio.run(main()) == [0, 1, 2]


class TestAwaitARun:
    def test_gives_what_result_gives(self) -> None:
        async def main() -> Any:
            return await start([double(1), {"two": double(2)}], double(3), 7)

        assert asyncio.run(main()) == ([2, {"two": 4}], 6, 7)

    def test_one_output_that_fails_is_enough(self) -> None:
        run = run_of(3, fail_fast=True)

        async def main() -> Any:
            asyncio.get_running_loop().call_soon(run.settle, 1, Status.FAILED, raised(ValueError("as planned")))
            return await run

        with pytest.raises(ValueError, match="as planned"):
            asyncio.run(main())

    def test_unless_the_others_are_wanted_all_the_same(self, run: Run) -> None:
        run.settle(1, Status.FAILED, raised(ValueError("as planned")))

        async def main() -> None:
            awaiting = asyncio.ensure_future(run)
            await asyncio.sleep(0)
            assert not awaiting.done()
            settle_soon(run, 0, 2)
            await awaiting

        with pytest.raises(ValueError, match="as planned"):
            asyncio.run(main())
        assert run.done()


class TestOnThreads:
    """The same with an executor that really runs something."""

    def test_while_tasks_run_the_loop_does_too(self) -> None:
        gate = threading.Event()

        @delayed
        def waits() -> str:
            return "opened" if gate.wait(30) else "nobody opened"

        async def main() -> list[str]:
            with lazygraph.use("threads"):
                futures = start(waits(), waits()).futures
                asyncio.get_running_loop().call_soon(gate.set)
                return [future.result() async for future in as_completed(futures)]

        assert asyncio.run(main()) == ["opened", "opened"]

    def test_canvases(self) -> None:
        async def main() -> list[Any]:
            one = chain(double.s(1), double.s()).delay()
            many = group(double.s(i) for i in range(3)).delay()
            return [await one, await many, sorted([future.result() async for future in many.as_completed()])]

        assert asyncio.run(main()) == [4, [0, 2, 4], [0, 2, 4]]

    def test_the_original_exception(self) -> None:
        async def main() -> None:
            await fails.delay()

        with pytest.raises(ValueError, match="as planned") as caught:
            asyncio.run(main())
        assert any("node 'fails'" in note for note in caught.value.__notes__)
