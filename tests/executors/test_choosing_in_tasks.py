"""Which executor is the default inside a task: the run's own, unless the task itself names another."""

from __future__ import annotations

import threading
from typing import Any

import lazygraph
from lazygraph import compute, delayed
from lazygraph.executors.driver import Driver
from lazygraph.executors.registry import resolve
from lazygraph.executors.threads import ThreadExecutor
from tests.executors.driven import WAIT


def test_what_the_task_names_counts(executor: Driver, threads: ThreadExecutor) -> None:
    def names() -> list[Any]:
        with lazygraph.use(threads):
            inside = resolve()
            with lazygraph.use("sync"):
                innermost = resolve().name
        return [inside is threads, innermost, resolve() is threads]

    assert compute(delayed(names)(), executor=executor) == ([True, "sync", False],)


def test_what_is_named_around_it_does_not(threads: ThreadExecutor) -> None:
    with lazygraph.use(threads):
        assert compute(delayed(lambda: resolve().name)(), executor="sync") == ("sync",)


def test_nor_what_a_task_around_it_names(threads: ThreadExecutor) -> None:
    def outer() -> Any:
        with lazygraph.use(threads):
            return compute(delayed(lambda: resolve().name)(), executor="sync")

    assert compute(delayed(outer)(), executor=threads) == (("sync",),)


def test_a_coroutine_starts_on_the_run_s_own_what_it_will_await(threads: ThreadExecutor) -> None:
    async def awaits() -> tuple[bool, str]:
        return resolve(waits=False) is threads, resolve().name

    assert compute(delayed(awaits)(), executor=threads) == ((True, "sync"),)


def test_what_coroutines_start_runs_side_by_side(threads: ThreadExecutor) -> None:
    met = threading.Barrier(2)

    @delayed
    def leaf() -> bool:
        return met.wait(WAIT) >= 0

    async def awaits() -> Any:
        return await leaf.delay()

    assert compute(delayed(awaits)(), delayed(awaits)(), executor=threads) == (True, True)
