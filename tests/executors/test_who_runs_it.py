"""`self.request.worker`: the name of what runs a task, on every executor."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from lazygraph import compute, delayed
from lazygraph.executors import PoolExecutor, SyncExecutor, ThreadExecutor
from lazygraph.testing.sim import SimExecutor


@delayed(bind=True)
def who(self: Any) -> tuple[str, str]:
    return self.request.worker, threading.current_thread().name


@pytest.mark.parametrize(
    "executor", [SyncExecutor, SimExecutor, lambda: ThreadExecutor(1)], ids=["sync", "sim", "threads"]
)
def test_in_this_process_it_is_the_thread(executor: Any) -> None:
    with executor() as opened:
        worker, thread = who().compute(executor=opened)
    assert worker == thread != ""


def test_in_a_pool_it_is_the_pools_thread() -> None:
    with ThreadPoolExecutor(1, thread_name_prefix="mine") as pool, PoolExecutor(pool) as opened:
        assert who().compute(executor=opened) == ("mine_0", "mine_0")


def test_two_that_run_at_once_have_two_names() -> None:
    both = threading.Barrier(2)

    @delayed(bind=True)
    def together(self: Any) -> str:
        both.wait(30)
        name: str = self.request.worker
        return name

    with ThreadExecutor(2) as opened:
        one, other = compute(together(), together(), executor=opened)
    assert one != other
