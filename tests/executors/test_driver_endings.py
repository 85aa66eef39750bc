"""The driver over its two engines: cancelling, dropping, closing, Ctrl-C and fork."""

from __future__ import annotations

import concurrent.futures
import gc
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

import lazygraph
from lazygraph import RetryPolicy, compute, delayed, start
from lazygraph.errors import Closed, TaskExpired, UsedAfterFork
from lazygraph.executors.driver import Driver
from lazygraph.executors.sync import SyncExecutor
from lazygraph.executors.threads import ThreadExecutor
from lazygraph.values.status import Status
from tests.executors.driven import WAIT, Gate, add, nothing_left


class TestCancelling:
    def test_what_has_not_started(self, threads: ThreadExecutor, gate: Gate) -> None:
        ran: list[int] = []
        stand = delayed(gate.stand)
        second = stand(2)
        run = start(stand(1), second, delayed(ran.append)(second), executor=threads, fail_fast=False)
        assert gate.entered.wait(WAIT)
        assert run.futures[2].cancel() is True
        with pytest.raises(concurrent.futures.CancelledError, match="was cancelled before it ran"):
            run.futures[2].result(WAIT)
        gate.open.set()
        assert [future.result(WAIT) for future in run.futures[:2]] == [1, 2]
        assert ran == []

    def test_what_is_behind_it_in_the_same_lease(self, gate: Gate) -> None:
        ran: list[int] = []
        with ThreadExecutor(1) as executor:
            entered = [delayed(gate.stand)(at) for at in range(1)]
            calls = [delayed(ran.append)(at) for at in range(7)]
            run = start(*entered, *calls, executor=executor, fail_fast=False, optimize_graph=False)
            assert gate.entered.wait(WAIT)
            assert all(future.cancel() for future in run.futures[1:])
            gate.open.set()
            assert run.futures[0].result(WAIT) == 0
        assert ran == []

    def test_what_runs_goes_on(self, threads: ThreadExecutor, gate: Gate) -> None:
        run = start(delayed(gate.stand)("value"), executor=threads)
        assert gate.entered.wait(WAIT)
        assert run.futures[0].cancel() is False
        gate.open.set()
        assert run.result(WAIT) == ("value",)

    def test_what_has_ended(self, executor: Driver) -> None:
        run = start(add(1, 1), executor=executor)
        run.result(WAIT)
        assert run.futures[0].cancel() is False

    def test_a_whole_run(self, threads: ThreadExecutor, gate: Gate) -> None:
        ran: list[int] = []
        stands = [delayed(gate.stand)(at) for at in range(2)]
        run = start(delayed(ran.append)(stands), executor=threads)
        assert gate.entered.wait(WAIT)
        run.cancel()
        with pytest.raises(concurrent.futures.CancelledError):
            run.result(WAIT)
        gate.open.set()
        threads.close()
        assert ran == []
        assert run.futures[0].cancelled()

    def test_a_task_that_is_given_up_while_it_runs_still_has_its_inputs(self, gate: Gate) -> None:
        """Its inputs are freed with the run, but not under its hands."""
        seen: list[Any] = []
        began, go_on, ended = threading.Event(), threading.Event(), threading.Event()

        class Slow(list[int]):
            def __reduce__(self) -> Any:
                raise TypeError

        @delayed
        def make() -> Slow:
            return Slow([1])

        @delayed
        def wait_first(x: Slow) -> Slow:
            began.set()
            assert go_on.wait(WAIT)
            return x

        @delayed
        def read(x: Slow, y: Slow) -> None:
            seen.append((x, y))
            ended.set()

        with ThreadExecutor(1) as executor:
            value = make()
            first = wait_first(value)
            run = start(read(first, value), executor=executor, optimize_graph=False)
            assert began.wait(WAIT)
            run.cancel()
            go_on.set()
        assert seen in ([], [([1], [1])])

    def test_cause_names_what_was_cancelled(self, threads: ThreadExecutor, gate: Gate) -> None:
        stand = delayed(gate.stand)
        first, other = stand(1), stand(2)
        middle = add(first, other)
        run = start(middle, add(middle, 1), first, other, executor=threads, fail_fast=False)
        assert gate.entered.wait(WAIT)
        assert run.futures[0].cancel() is True
        assert run.futures[1].status is Status.CANCELLED
        assert (run.futures[0].cause, run.futures[1].cause) == (None, run.futures[0].key)

    def test_a_run_that_times_out_is_cancelled(self, threads: ThreadExecutor, gate: Gate) -> None:
        ran: list[int] = []
        with pytest.raises(TimeoutError, match="has not ended within"):
            compute(delayed(ran.append)(delayed(gate.stand)(1)), executor=threads, timeout=0.01)
        gate.open.set()
        threads.close()
        assert ran == []
        assert nothing_left(threads)


class TestDropping:
    def test_dropping_the_last_future_drops_what_has_not_started(self, threads: ThreadExecutor, gate: Gate) -> None:
        ran: list[int] = []
        with ThreadExecutor(1) as executor:
            calls = [delayed(ran.append)(at) for at in range(7)]
            futures = start(delayed(gate.stand)(0), *calls, executor=executor, fail_fast=False).let_go()
            assert gate.entered.wait(WAIT)
            del futures[1:6]  # handed out with the first, and not started
            gate.open.set()
            assert [future.result(WAIT) for future in futures] == [0, None, None]
        assert ran == [5, 6]

    def test_a_run_that_nobody_holds_is_dropped(self, gate: Gate) -> None:
        ran: list[int] = []
        with ThreadExecutor(1) as executor:
            first = start(delayed(gate.stand)(0), executor=executor)
            start(delayed(ran.append)(1), executor=executor)
            gc.collect()
            gate.open.set()
            assert first.result(WAIT) == (0,)
        assert ran == []

    def test_one_that_somebody_is_called_for_is_kept(self, gate: Gate) -> None:
        called = threading.Event()
        with ThreadExecutor(1) as executor:
            first = start(delayed(gate.stand)(0), executor=executor)
            start(add(1, 1), executor=executor).futures[0].add_done_callback(lambda _: called.set())
            gc.collect()
            gate.open.set()
            assert first.result(WAIT) == (0,)
            assert called.wait(WAIT)
            assert executor.detached == set()

    def test_what_was_detached_runs_all_the_same(self, threads: ThreadExecutor, gate: Gate) -> None:
        ran: list[int] = []
        with lazygraph.use(threads):
            stands = [delayed(gate.stand).delay() for _ in range(2)]
            delayed(ran.append).delay(1)
            delayed(ran.append).s(2).apply_async(link=delayed(ran.extend).si([3]))
        gate.open.set()
        assert [future.result(WAIT) for future in stands] == [None, None]
        stands.clear()
        threads.close()
        assert sorted(ran) == [1, 2, 3]
        assert nothing_left(threads)


class TestClosing:
    def test_finishes_what_was_submitted(self) -> None:
        ran: list[int] = []
        executor = ThreadExecutor(2)
        run = start(*[delayed(ran.append)(at) for at in range(100)], executor=executor)
        executor.close()
        assert run.done()
        assert len(ran) == 100
        executor.close()

    def test_without_waiting_starts_nothing_more(self, gate: Gate) -> None:
        ran: list[int] = []
        executor = ThreadExecutor(1)
        run = start(delayed(ran.append)(delayed(gate.stand)()), executor=executor)
        assert gate.entered.wait(WAIT)
        executor.close(wait=False)
        with pytest.raises(concurrent.futures.CancelledError):
            run.result(WAIT)
        gate.open.set()
        assert ran == []

    def test_does_not_wait_for_what_was_given_up(self, gate: Gate) -> None:
        executor = ThreadExecutor(1)
        run = start(delayed(gate.stand)(), add(1, 1), executor=executor)
        assert gate.entered.wait(WAIT)
        run.cancel()
        executor.close()  # the gate is still shut
        assert not gate.open.is_set()

    def test_while_others_wait(self, gate: Gate) -> None:
        executor = ThreadExecutor(1)
        run = start(add(delayed(gate.stand)(1), 1), executor=executor)
        assert gate.entered.wait(WAIT)
        closer = threading.Thread(target=executor.close)
        closer.start()
        gate.open.set()
        assert run.result(WAIT) == (2,)
        closer.join(WAIT)
        assert not closer.is_alive()

    def test_after_that_nothing_is_taken(self, executor: Driver) -> None:
        executor.close()
        with pytest.raises(Closed):
            add(1, 1).compute(executor=executor)

    def test_from_within_a_task_or_a_callback(self) -> None:
        executor = ThreadExecutor(1)
        assert compute(delayed(executor.close)(), executor=executor) == (None,)
        other = ThreadExecutor(1)
        closed = threading.Event()
        start(add(1, 1), executor=other).futures[0].add_done_callback(lambda _: (other.close(), closed.set()))
        assert closed.wait(WAIT)

    def test_an_executor_that_nobody_holds_ends_its_threads(self) -> None:
        executor = ThreadExecutor(2)
        (name,) = compute(delayed(threading.current_thread)(), executor=executor)
        thread: threading.Thread = name
        del executor
        gc.collect()
        thread.join(WAIT)
        assert not thread.is_alive()


class TestInterruption:
    def test_ctrl_c_in_a_sync_task_leaves_the_executor_usable(self) -> None:
        ran: list[int] = []

        @delayed
        def interrupted() -> None:
            raise KeyboardInterrupt

        with SyncExecutor() as executor:
            with pytest.raises(KeyboardInterrupt):
                compute(interrupted(), *[delayed(ran.append)(at) for at in range(30)], executor=executor)
            assert add(1, 1).compute(executor=executor) == 2
        assert ran == []
        assert nothing_left(executor)

    def test_raised_by_a_task_in_a_thread_it_reaches_the_caller(self, threads: ThreadExecutor) -> None:
        @delayed
        def interrupted() -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted().compute(executor=threads)
        assert add(1, 1).compute(executor=threads) == 2

    @pytest.mark.parametrize("name", ["sync", "threads"])
    @pytest.mark.parametrize("caught", [True, False])
    def test_ctrl_c_ends_the_process_at_once(self, name: str, caught: bool) -> None:
        script = f"""
import os, signal, sys, threading
from lazygraph import compute, delayed

signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background begins with it ignored

@delayed
def stand(at):
    os.write(1, b"ready\\n")
    threading.Event().wait({WAIT * 4})

@delayed
def never(x):
    print("never", flush=True)

try:
    compute([never(stand(at)) for at in range(8)], executor={name!r}, optimize_graph=False)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    sys.exit(130) if {caught} else None
    raise
"""
        with subprocess.Popen(
            [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline() == "ready\n"
                process.send_signal(2)
                out, err = process.communicate(timeout=WAIT)
            finally:
                process.kill()
        assert "never" not in out
        # A second task may be beginning at that very moment, and say so afterwards.
        assert "interrupted" in out.splitlines()
        assert process.returncode == (130 if caught else -2), err

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
    def test_a_forked_child_cannot_use_it_and_has_its_own_default(self, threads: ThreadExecutor, gate: Gate) -> None:
        script = """
import os, threading
from lazygraph import compute, delayed, start, use
from lazygraph.errors import UsedAfterFork
from lazygraph.executors import ThreadExecutor

gate = threading.Event()
with ThreadExecutor(2) as executor, use(executor):
    run = start(delayed(gate.wait)(60))
    child = os.fork()
    if child == 0:
        for wrong in (lambda: compute(delayed(len)([]), executor=executor), run.result, run.futures[0].result):
            try:
                wrong()
            except UsedAfterFork:
                continue
            os._exit(1)
        os._exit(0 if compute(delayed(len)([1])) == (1,) else 2)
    _, status = os.waitpid(child, 0)
    gate.set()
    assert run.result(60) == (True,)
raise SystemExit(os.waitstatus_to_exitcode(status))
"""
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, timeout=WAIT
        )
        assert done.returncode == 0, done.stderr
        with pytest.raises(UsedAfterFork):
            _in_a_child(threads, lambda: compute(add(1, 1), executor=threads))


def _in_a_child(executor: Driver, act: Callable[[], Any]) -> None:
    mine, executor._pid = executor._pid, -1  # as it looks from there
    try:
        act()
    finally:
        executor._pid = mine


def test_what_expires_between_two_attempts_has_expired(threads: ThreadExecutor) -> None:
    flaky = delayed(fails, retries=RetryPolicy(3, delay=3600), expires=0.3)
    run = start(flaky(OSError("not this one")), executor=threads, fail_fast=False)
    with pytest.raises(TaskExpired):
        run.futures[0].result(WAIT)
    failure = run.futures[0].failure()
    assert failure is not None
    assert (run.futures[0].status, failure.attempt, failure.when > 0) == (Status.EXPIRED, 2, True)
    assert [str(one.exception) for one in run.history[run.futures[0].key]] == ["not this one"]


def test_what_is_cancelled_between_two_attempts_was_cancelled(threads: ThreadExecutor) -> None:
    run = start(delayed(fails, retries=RetryPolicy(3, delay=3600))(OSError("not this one")), executor=threads)
    assert threads._idle.wait_for(lambda: bool(run.history), WAIT)
    assert run.futures[0].cancel()
    with pytest.raises(concurrent.futures.CancelledError) as caught:
        run.futures[0].result(WAIT)
    assert "not this one" not in str(caught.value)


def fails(error: Exception) -> None:
    raise error
