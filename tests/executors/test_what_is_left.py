"""Nothing stays behind: a run that nobody holds is forgotten, also when it failed and somebody caught that."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import pytest

import lazygraph
from lazygraph import chain, delayed, start
from lazygraph.executors import ThreadExecutor
from lazygraph.executors.driver import Driver
from tests.executors.driven import WAIT, inverse, nothing_left


@delayed
def same(value: Any) -> Any:
    return value


def test_an_exception_that_was_caught_keeps_no_run(executor: Driver) -> None:
    def catches() -> None:
        run = start(inverse(0), executor=executor)
        with pytest.raises(ZeroDivisionError):
            run.result()

    catches()
    assert nothing_left(executor)


def test_a_failed_future_that_another_run_reads_tells_it_why(executor: Driver) -> None:
    def reads() -> None:
        with lazygraph.use(executor):
            failed = inverse.delay(0)
            with pytest.raises(ZeroDivisionError):
                failed.get()
            gc.collect()
            [future] = start(same(failed), executor=executor).futures
            assert isinstance(future.exception(), ZeroDivisionError)

    reads()
    assert nothing_left(executor)


def test_a_handler_is_told_although_nobody_holds_the_run(executor: Driver) -> None:
    told: list[Any] = []
    handler = delayed(lambda failure: told.append((failure.node, str(failure.exception))))
    with lazygraph.use(executor):
        chain(same.s(0), inverse.s()).link_error(handler.s()).delay()
    assert nothing_left(executor)
    assert told == [("inverse", "division by zero")]


def test_what_stood_for_a_task_goes_with_its_run(executor: Driver) -> None:
    @delayed
    def grow(depth: int) -> Any:
        return lazygraph.replace(grow(depth - 1)) if depth else 0

    assert grow(20).compute(executor=executor) == 0
    assert nothing_left(executor)


def test_threads_that_awaited_something_end_with_their_executor() -> None:
    async def same_thread() -> threading.Thread:
        return threading.current_thread()

    executor = ThreadExecutor(1)
    loop = delayed(same_thread)().compute(executor=executor)
    known = weakref.ref(executor)
    del executor
    gc.collect()
    assert known() is None
    loop.join(WAIT)
    assert not loop.is_alive()
