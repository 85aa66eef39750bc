"""Tasks that run tasks in one thread: as deep as elsewhere, although Python's stack is not."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from contextvars import ContextVar

import pytest

from lazygraph import delayed, start
from lazygraph.errors import NestingTooDeep
from lazygraph.running.context import MAX_NESTING
from lazygraph.testing.rigs import simulated

FRAMES_BETWEEN = 30
asked_by: ContextVar[str] = ContextVar("asked_by")


@delayed
def deep(levels: int) -> int:
    return _through(FRAMES_BETWEEN, levels) if levels else 0


def _through(frames: int, levels: int) -> int:
    """Compute one level less from within functions of one's own."""
    if frames:
        return _through(frames - 1, levels)
    return 1 + int(deep(levels - 1).compute())


@delayed
def whose(levels: int) -> tuple[str, threading.Thread]:
    if levels:
        return whose(levels - 1).compute()
    return asked_by.get(), threading.current_thread()


@delayed
def failing(levels: int) -> None:
    if not levels:
        raise ZeroDivisionError("at the bottom")
    failing(levels - 1).compute()


def test_so_deep() -> None:
    assert deep(MAX_NESTING).compute(executor="sync") == MAX_NESTING


def test_so_deep_on_virtual_time() -> None:
    with simulated(seed=1):
        assert deep(MAX_NESTING).compute() == MAX_NESTING


def test_and_no_deeper() -> None:
    with pytest.raises(NestingTooDeep, match=rf"{MAX_NESTING} tasks .* replace\(canvas\)"):
        deep(MAX_NESTING + 1).compute(executor="sync")
    assert deep(1).compute(executor="sync") == 1


def test_while_there_is_room_it_stays_in_the_calling_thread() -> None:
    asked_by.set("me")
    assert whose(3).compute(executor="sync") == ("me", threading.current_thread())


def test_the_context_goes_along() -> None:
    asked_by.set("me")
    who, thread = whose(MAX_NESTING).compute(executor="sync")
    assert who == "me"
    assert thread is not threading.current_thread()


def test_what_fails_at_the_bottom_is_raised_with_all_that_led_to_it() -> None:
    with pytest.raises(ZeroDivisionError, match="at the bottom") as caught:
        failing(MAX_NESTING).compute(executor="sync")
    assert len(caught.value.__notes__) == MAX_NESTING + 1


def test_no_thread_is_left() -> None:
    assert deep(MAX_NESTING).compute(executor="sync") == MAX_NESTING
    assert [thread.name for thread in threading.enumerate() if thread.name == "lazygraph-deeper"] == []


def test_what_is_deep_in_another_thread_leaves_with_the_task_that_waits_for_it() -> None:
    entered, left = threading.Event(), threading.Event()

    @delayed
    def turning(levels: int) -> None:
        if levels:
            turning(levels - 1).compute(executor="sync")
            return
        try:
            entered.set()
            while True:
                pass
        finally:
            left.set()

    run = start(turning(MAX_NESTING // 2 + 10), executor="threads")
    assert entered.wait(30)
    assert run.futures[0].cancel(force=True)
    assert left.wait(30)
    assert run.futures[0].cancelled()


INTERRUPTED = """
import _thread, os, signal, threading
from lazygraph import delayed

@delayed
def deep(levels):
    if levels:
        return deep(levels - 1).compute()
    assert threading.current_thread() is not threading.main_thread()
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
    threading.Event().wait()

try:
    deep(90).compute(executor="sync")
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_waits_for_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED],
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert (done.stdout, done.stderr, done.returncode) == ("interrupted\n", "", 0)
