"""`Failure.worker` and the note: the name of what ran a task that has failed."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest

from lazygraph import compute, delayed
from lazygraph.executors import ProcessExecutor, SyncExecutor, ThreadExecutor


@delayed(bind=True)
def fail(self: Any) -> None:
    raise ValueError(self.request.worker, threading.current_thread().name, os.getpid())


@delayed
async def fail_later() -> None:
    raise ValueError


@pytest.mark.parametrize("executor", [SyncExecutor, lambda: ThreadExecutor(1)], ids=["sync", "threads"])
def test_in_this_process_it_is_the_thread(executor: Any) -> None:
    with executor() as opened:
        (failure,) = compute(fail(), executor=opened, on_error="collect")
        worker, thread, _ = failure.exception.args
        assert failure.worker == worker == thread
        with pytest.raises(ValueError, match=worker) as caught:
            fail().compute(executor=opened)
        assert f"attempt 1 on {worker})" in caught.value.__notes__[0]


@pytest.mark.parametrize("options", [{}, {"isolated": True}], ids=str)
@pytest.mark.parametrize(
    "executor", [lambda: ProcessExecutor(1), lambda: ThreadExecutor(1)], ids=["processes", "threads"]
)
def test_in_a_child_it_is_the_process(executor: Any, options: dict[str, bool]) -> None:
    with executor() as opened:
        (failure,) = compute(fail.options(**options)(), executor=opened, on_error="collect")
    worker, thread, pid = failure.exception.args
    assert failure.worker == worker == (thread if pid == os.getpid() else f"process-{pid}")
