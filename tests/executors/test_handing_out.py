"""Which lease is handed out when: permits that come with time, tails taken back, what was replaced, what is urgent."""

from __future__ import annotations

import gc
import threading
import weakref
from collections import deque
from pathlib import Path
from typing import Any

import pytest

import lazygraph
from lazygraph import Limit, Rate, RetryPolicy, compute, delayed, start
from lazygraph.errors import InvalidOption, TaskCancelled
from lazygraph.executors.base import Engine, Work
from lazygraph.executors.clock import Clock
from lazygraph.executors.driver import Driver
from lazygraph.executors.processes import ProcessExecutor
from lazygraph.executors.threads import ThreadExecutor
from lazygraph.running.runner import Report
from lazygraph.values.status import Status
from tests.executors.driven import WAIT, Gate, add


class Watched(deque[int]):
    """Tasks of a lease; notes whether somebody has taken one back."""

    taken = False

    def pop(self) -> int:  # type: ignore[override]
        self.taken = True
        return super().pop()


class Paper(Engine):
    """Runs nothing."""

    slots = 2

    def __init__(self) -> None:
        self.works: list[Any] = []

    def start(self, work: Work) -> None:
        work.tasks = Watched(work.tasks)  # type: ignore[misc]
        self.works.append(work)

    def close(self) -> None:
        return


class Looked(Paper):
    """Runs nothing, and counts how often it is asked what has ended."""

    tells_early = True

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0

    def tell_early(self) -> None:
        self.looks += 1


class Still(Clock):
    """A time that stands still until it is set."""

    time = 0.0

    def now(self) -> float:
        return self.time


def test_what_takes_very_long_is_looked_at_less_and_less_often() -> None:
    clock, engine = Still(), Looked()
    driver = Driver(engine, "looked", clock)
    run = start(*[add(at, 1) for at in range(8)], executor=driver, fail_fast=False)
    for at in range(10_000):  # a hundred seconds
        clock.time = at / 100
        driver.tick()
    assert 190 < engine.looks < 220
    before, first = engine.looks, engine.works[0]
    first.report(Report(done=[first.tasks.popleft()], early=True))
    for _ in range(20):  # another may follow soon
        clock.time += 0.01
        driver.tick()
    assert engine.looks >= before + 4
    del run


def test_a_lease_that_was_taken_back_whole_gives_up_no_permit_of_the_next() -> None:
    clock, engine = Still(), Paper()
    driver = Driver(engine, "paper", clock)
    once = add.options(concurrency=1)
    run = start(once(1, 1), once(2, 2), executor=driver)
    clock.time = 1.0
    driver.tick()  # it has not begun for long, and there is another slot
    first, second = engine.works
    first.finished()
    assert engine.works == [first, second]
    second.began(second.order[0])
    second.report(Report(done=[second.tasks.popleft()]))
    second.finished()
    assert [len(work.tasks) for work in engine.works] == [0, 0, 1]
    del run


def test_what_waits_for_a_permit_begins_while_what_had_one_before_runs(threads: ThreadExecutor) -> None:
    both = threading.Barrier(2)

    @delayed(rate_limit=Rate("20/s", even=True))
    def meet(at: int) -> int:
        both.wait(WAIT)
        return at

    assert compute([meet(0), meet(1)], executor=threads) == ([0, 1],)


def test_a_tail_that_could_not_run_elsewhere_is_not_touched() -> None:
    # A lease that its runner has emptied is over: what is put back into it would never run.
    engine = Paper()
    driver = Driver(engine, "paper")
    chain = add(0, 1)
    for _ in range(5):
        chain = add(chain, 1)
    run = start(chain, executor=driver, optimize_graph=False)
    (work,) = engine.works
    assert len(work.tasks) == 6
    assert not work.tasks.taken
    run.release()


def test_a_replacement_that_names_a_limit_otherwise_fails_its_task(executor: Driver) -> None:
    calls = Limit("calls", concurrency=1)
    others = Limit("calls", concurrency=2)

    @delayed(limit=calls)
    def becomes() -> Any:
        return lazygraph.replace(add.options(limit=others)(1, 2))

    with pytest.raises(InvalidOption, match="one name is one limit"):
        compute(becomes(), executor=executor)
    assert compute(add(1, 2), executor=executor) == (3,)


def test_cancelling_a_member_lets_those_go_on_that_do_without_it(threads: ThreadExecutor, gate: Gate) -> None:
    with lazygraph.use(threads):
        members = lazygraph.group([add.s(1, 2), delayed(gate.stand).s(0).set(countdown=3600)], on_error="skip")
        body = (members | delayed(len).s()).delay()
        assert body.parent[0].result(WAIT) == 3
        assert body.parent[1].cancel()
        assert body.result(WAIT) == 1


class TestDetached:
    """What was started by `.delay` is done, although nobody holds its executor, and nothing of it runs yet."""

    def test_a_countdown(self) -> None:
        ran = threading.Event()
        with lazygraph.use(ThreadExecutor(1)):
            delayed(ran.set).s().apply_async(countdown=0.1)
        gc.collect()
        assert ran.wait(WAIT)

    def test_a_retry(self) -> None:
        ran, tries = threading.Event(), []

        def second_time() -> None:
            tries.append(1)
            if len(tries) == 1:
                raise OSError
            ran.set()

        with lazygraph.use(ThreadExecutor(1)):
            delayed(second_time, retries=RetryPolicy(1, delay=0.1)).delay()
        gc.collect()
        assert ran.wait(WAIT)

    def test_and_what_is_not_wanted_any_more_does_not_keep_its_executor(self) -> None:
        executor = ThreadExecutor(1)
        gone = weakref.ref(executor)
        run = start(add.options(countdown=3600)(1, 2), executor=executor)
        run.cancel()
        del run, executor
        gc.collect()
        assert gone() is None


class TestCallbacks:
    """They are called in threads of their own, so they may wait for what runs where they were called from."""

    def test_one_that_computes_on_the_one_thread(self, gate: Gate) -> None:
        answers: list[Any] = []
        called = threading.Event()

        def computes(future: Any) -> None:
            answers.append(compute(add(future.result(), 1), executor=executor)[0])
            called.set()

        with ThreadExecutor(1) as executor:
            (future,) = start(delayed(gate.stand)(5), executor=executor).let_go()
            future.add_done_callback(computes)
            gate.open.set()
            assert called.wait(WAIT)
        assert answers == [6]

    def test_one_that_waits_does_not_hold_up_time(self) -> None:
        executor, ended = ThreadExecutor(1), threading.Event()

        def computes(_: Any) -> None:
            compute(add.options(countdown=0.05)(1, 2), executor=executor)
            ended.set()

        late = add.options(countdown=3600, expires=0.05)(1, 2)
        expired = start(late, executor=executor, fail_fast=False).futures[0]
        expired.add_done_callback(computes)
        assert ended.wait(WAIT)
        executor.close()

    def test_one_that_waits_for_the_callback_of_another(self, threads: ThreadExecutor, gate: Gate) -> None:
        said = threading.Event()
        first, second = start(delayed(gate.stand)(1), delayed(gate.stand)(2), executor=threads).futures
        heard: list[bool] = []
        first.add_done_callback(lambda _: heard.append(said.wait(WAIT)))
        second.add_done_callback(lambda _: said.set())
        gate.open.set()
        threads.close()
        assert heard == [True]

    def test_closing_waits_for_those_that_are_due(self, gate: Gate) -> None:
        heard: list[int] = []
        with ThreadExecutor(2) as executor:
            for at in range(50):
                start(delayed(gate.stand)(at), executor=executor).futures[0].add_done_callback(
                    lambda future: heard.append(future.result())
                )
            gate.open.set()
        assert sorted(heard) == list(range(50))

    def test_one_may_close_its_executor(self, gate: Gate) -> None:
        executor, closed = ThreadExecutor(1), threading.Event()
        run = start(delayed(gate.stand)(1), executor=executor)

        def closes(_: Any) -> None:
            executor.close()
            closed.set()

        run.futures[0].add_done_callback(closes)
        gate.open.set()
        assert closed.wait(WAIT)


class TestForce:
    """`cancel(force=True)` of several: nothing is started in their place, and all leave at the same time."""

    def test_of_a_run(self) -> None:
        begun, hit = threading.Semaphore(0), threading.Barrier(3)

        with ThreadExecutor(3) as executor:
            run = start(*[delayed(until_hit)(begun, hit, at) for at in range(3)], executor=executor)
            assert all(begun.acquire(timeout=WAIT) for _ in range(3))
            run.cancel(force=True)
            assert not hit.broken

    def test_of_a_group(self) -> None:
        begun, hit = threading.Semaphore(0), threading.Barrier(2)
        ran: list[int] = []
        with ThreadExecutor(2):
            members = [delayed(until_hit, concurrency=9).s(begun, hit, at) for at in range(2)]  # a lease for each
            group = lazygraph.group([*members, *[delayed(ran.append).s(at) for at in range(4)]]).delay()
            assert all(begun.acquire(timeout=WAIT) for _ in range(2))
            assert group.cancel(force=True)
            assert not hit.broken
            assert {member.status for member in group} == {Status.CANCELLED}
        assert ran == []


def until_hit(begun: threading.Semaphore, hit: threading.Barrier, at: int) -> None:
    """A task that leaves only when the others are to leave too."""
    never = threading.Event()
    try:
        begun.release()
        while True:
            never.wait(0.01)
    except TaskCancelled:
        hit.wait(WAIT)
        raise


class TestUrgency:
    def test_what_is_urgent_goes_before_what_has_not_started(self, gate: Gate) -> None:
        order: list[str] = []
        with ThreadExecutor(1) as executor:
            low = start(
                delayed(gate.stand)(), *[delayed(order.append)(f"low {at}") for at in range(6)], executor=executor
            )
            assert gate.entered.wait(WAIT)
            high = start(delayed(order.append).options(priority=9)("high"), executor=executor)
            gate.open.set()
            low.result(WAIT)
            high.result(WAIT)
        assert order == ["high", *[f"low {at}" for at in range(6)]]

    def test_in_processes_too(self, tmp_path: Path) -> None:
        with ProcessExecutor(1) as executor:
            low = start(*[delayed(noted)(tmp_path, f"low {at}", "begun", "go") for at in range(6)], executor=executor)
            begun = tmp_path / "begun"
            while not begun.exists():
                assert not low.done()
            high = start(delayed(noted, priority=9)(tmp_path, "high", "", ""), executor=executor)
            (tmp_path / "go").touch()
            low.result(WAIT)
            high.result(WAIT)
        assert (tmp_path / "order").read_text().split("\n")[:2] == ["low 0", "high"]


def noted(folder: Path, what: str, begun: str, go: str) -> None:
    """Write down what runs; with `begun`, say so and wait until one may go."""
    with (folder / "order").open("a") as order:
        order.write(what + "\n")
    if begun:
        (folder / begun).touch()
        while not (folder / go).exists():
            pass


class TestLimitsOfWhatWaits:
    """A task that waits for others leaves its place under its limits to them, and goes on when it has one again."""

    def test_a_limited_task_that_starts_itself(self) -> None:
        @delayed(concurrency=4)
        def fib(n: int) -> int:
            return n if n < 2 else sum(compute(fib(n - 1), fib(n - 2)))

        with ThreadExecutor(2) as executor:
            assert start(fib(7), executor=executor).result(WAIT) == (13,)
