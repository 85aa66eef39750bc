"""The Dask engine: the conformance suite on a real Dask cluster, and what is Dask's own."""

from __future__ import annotations

import gc
import os
import random
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

import lazygraph
from lazygraph import Status, delayed
from lazygraph.errors import CannotConnect, InvalidOption, Unserializable, UnsupportedByExecutor, WorkerDied
from lazygraph.executors import DaskExecutor
from lazygraph.testing.conformance import tasks
from lazygraph.testing.conformance.suite import AsynchronousSuite
from tests.language.canvases import Described, Language, Same, Speller, often
from tests.language.interpreter import Interpreter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lazygraph.executors.base import Executor

distributed = pytest.importorskip("distributed", reason="pip install 'lazygraph[dask]'")
dask_config = pytest.importorskip("dask.config")
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module")  # Dask does, in its own thread
WAIT = 30


@pytest.fixture(scope="module")
def dask() -> Iterator[Any]:
    """A client of a Dask cluster of two workers with one thread and one "gpu" each."""
    resources = {"nthreads": 1, "resources": {"gpu": 1}}
    worker = {"cls": distributed.Nanny, "options": resources}
    options = {"dashboard": False, "dashboard_address": "127.0.0.1:0", "host": "127.0.0.1", "port": 0}
    scheduler = {"cls": distributed.Scheduler, "options": options}
    with (
        dask_config.set({"distributed.deploy.lost-worker-timeout": "5m"}),  # a busy machine takes long to restart one
        distributed.SpecCluster(scheduler=scheduler, workers={"worker-1": worker, "worker-2": worker}) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        client.wait_for_workers(2)
        yield client


@pytest.fixture
def settled(dask: Any) -> Any:
    """The client, once both workers are there and their nannies know: one that dies before that has no successor."""
    dask.wait_for_workers(2, timeout=WAIT)
    while set(dask.run(_state_for_its_nanny, nanny=True).values()) != {"running"}:
        pass  # each a conversation with both
    return dask


@pytest.fixture
def once(settled: Any) -> Iterator[None]:
    """A task may see one worker die and is given up after the next: neither of them is a successor."""
    before = settled.run_on_scheduler(_allow, 1)
    yield
    settled.run_on_scheduler(_allow, before)


def _state_for_its_nanny(dask_worker: Any) -> str:
    process = dask_worker.process
    return "stopped" if process is None else str(process.status.name)


def _allow(failures: int, dask_scheduler: Any) -> int:
    before: int = dask_scheduler.allowed_failures
    dask_scheduler.allowed_failures = failures
    return before


@pytest.fixture(scope="module")
def executor(dask: Any) -> Iterator[DaskExecutor]:
    with DaskExecutor(dask) as executor:
        yield executor


class TestConformance(AsynchronousSuite):
    lends = False
    says, at_once = True, 2
    serves_every_queue = True

    @pytest.fixture(scope="class")
    @classmethod
    def executor(cls, dask: Any) -> Iterator[Executor]:
        with DaskExecutor(dask) as executor:
            yield executor


@often(20)
@given(Language(options=True, each=True, replace=True).described(), st.randoms(use_true_random=False))
def test_random_workflows_give_what_they_mean(executor: Any, said: Described, chance: random.Random) -> None:
    end = Interpreter(said.shared).end(said.canvas)
    assert Speller(said, chance, Same.SHAPE).canvas().compute(executor=executor, timeout=WAIT) == end.value


@often(20)
@given(Language(options=True, failing=True).described(), st.randoms(use_true_random=False))
def test_random_workflows_fail_as_they_must(executor: Any, said: Described, chance: random.Random) -> None:
    end = Interpreter(said.shared).end(said.canvas)
    canvas = Speller(said, chance, Same.SHAPE).canvas()
    if not end.faults:
        assert canvas.compute(executor=executor, timeout=WAIT) == end.value
        return
    with pytest.raises(tasks.Lasting) as caught:
        canvas.compute(executor=executor, timeout=WAIT)
    assert caught.value.code in {number for _, number in end.faults}


@delayed
def made(size: int) -> bytearray:
    return bytearray(size)


@delayed
def process(_: Any = None) -> int:
    return os.getpid()


@delayed(bind=True)
def who(self: Any) -> str:
    name: str = self.request.worker
    return name


@delayed
def dies(value: Any, marker: str, times: int) -> Any:
    """Kill the worker it runs on, so many times in all."""
    seen = Path(marker)
    died = len(seen.read_text()) if seen.exists() else 0
    if died < times:
        seen.write_text("x" * (died + 1))
        os.kill(os.getpid(), signal.SIGKILL)
    return value


def kept_on(dask: Any) -> list[str]:
    """The keys that Dask's workers have of `made`, without those of calls that only bring a report."""
    return [str(key) for keys in dask.has_what().values() for key in keys if str(key).startswith("made-")]


class TestValues:
    def test_they_stay_on_the_workers(self, executor: DaskExecutor, dask: Any) -> None:
        run = lazygraph.start(made(5_000_000), executor=executor)
        [future] = run.futures
        length = delayed(len)(future)
        assert length.compute(executor=executor) == 5_000_000
        assert kept_on(dask)
        assert len(future.result(WAIT)) == 5_000_000

    def test_they_are_given_up_there(self, executor: DaskExecutor, dask: Any) -> None:
        future = lazygraph.start(made(1_000_000), executor=executor).futures[0]
        assert len(future.result(WAIT)) == 1_000_000
        del future
        gc.collect()  # a run and its futures hold each other
        for _ in range(100):  # each a conversation with the scheduler, which has heard of it before
            if not kept_on(dask):
                return
        raise AssertionError(kept_on(dask))

    def test_many_small_ones_come_at_once(self, executor: DaskExecutor) -> None:
        texts = [delayed(str.ljust)(str(n), 9_000) for n in range(30)]  # several leases, too long for Dask's events
        assert lazygraph.compute(texts, executor=executor) == ([str(n).ljust(9_000) for n in range(30)],)

    def test_what_cannot_travel_is_named(self, executor: DaskExecutor) -> None:
        with pytest.raises(Unserializable, match=r"the result of 'give_lock', a .*test_on_dask"):
            tasks.give_lock().compute(executor=executor)

    def test_one_run_reads_what_another_has_left(self, executor: DaskExecutor) -> None:
        first = lazygraph.start(made(100_000), executor=executor).futures[0]
        others = [delayed(len)(first) for _ in range(5)]
        assert lazygraph.compute(*others, executor=executor) == (100_000,) * 5

    def test_another_executor_gets_it_from_there(self, executor: DaskExecutor) -> None:
        first = lazygraph.start(made(100_000), executor=executor).futures[0]
        assert delayed(len)(first).compute(executor="sync") == 100_000


class TestWorkers:
    @pytest.mark.usefixtures("settled")
    def test_one_that_dies_is_made_up_for(self, executor: DaskExecutor, tmp_path: Path) -> None:
        top = made(1000)
        values = [delayed(len)(dies(top, str(tmp_path / "died"), 1)), delayed(len)(top)]
        assert lazygraph.compute(*values, executor=executor, timeout=WAIT) == (1000, 1000)

    @pytest.mark.usefixtures("once")
    def test_a_task_that_always_kills_is_named(self, executor: DaskExecutor, tmp_path: Path) -> None:
        with pytest.raises(WorkerDied, match="dies"):
            dies(1, str(tmp_path / "died"), 1000).compute(executor=executor, timeout=WAIT)

    @pytest.mark.usefixtures("settled")  # of a name that is not there Dask takes the whole host
    def test_a_task_goes_to_those_that_are_named(self, executor: DaskExecutor) -> None:
        one = {process.options(workers=["worker-1"])(n).compute(executor=executor) for n in range(4)}
        two = {process.options(workers=["worker-2"])(n).compute(executor=executor) for n in range(4)}
        assert len(one) == len(two) == 1
        assert one != two

    @pytest.mark.usefixtures("settled")
    def test_one_is_called_by_the_name_that_it_goes_by(self, executor: DaskExecutor) -> None:
        assert who.options(workers=["worker-2"])().compute(executor=executor) == "worker-2"

    def test_what_has_ended_is_told_while_the_next_runs(
        self, executor: DaskExecutor, settled: Any, tmp_path: Path
    ) -> None:
        gates = [tmp_path / name for name in "012"]
        waits = []
        for gate, worker in zip(gates, ["worker-1", "worker-2", "worker-2"], strict=True):
            os.mkfifo(gate)
            waits.append(tasks.wait_for.options(workers=[worker])(str(gate)))
        run = lazygraph.start(*waits, executor=executor, fail_fast=False)
        while sum(len(keys) for keys in settled.processing().values()) < len(waits):
            pass  # each a conversation with the scheduler
        gates[1].write_text("1")
        try:
            assert run.futures[1].result(WAIT) == "1"
        finally:
            for at in (0, 2):
                gates[at].write_text(str(at))
        assert run.result(WAIT) == ("0", "1", "2")

    def test_what_waits_for_a_worker_keeps_nothing_else_from_going(self, executor: DaskExecutor) -> None:
        asking = process.options(resources={"gpu": 5})
        waiting = lazygraph.start(*[asking(n) for n in range(20)], executor=executor).futures
        assert process().compute(executor=executor) != os.getpid()
        assert all(future.status is not Status.SUCCEEDED for future in waiting)
        for future in waiting:
            future.cancel()

    def test_futures_may_be_collected_in_dasks_own_loop(self, executor: DaskExecutor, dask: Any) -> None:
        asking = process.options(resources={"gpu": 5})
        futures = [lazygraph.start(asking(n), executor=executor).futures[0] for n in range(5)]
        collected = threading.Event()

        def collect() -> None:
            futures.clear()
            gc.collect()  # a run and its futures know each other
            collected.set()

        dask.loop.add_callback(collect)
        assert collected.wait(WAIT)
        assert process().compute(executor=executor) != os.getpid()

    def test_what_dask_cannot_promise_is_refused(self, executor: DaskExecutor) -> None:
        with pytest.raises(UnsupportedByExecutor, match="at_most_once="):
            process.options(at_most_once=True)().compute(executor=executor)
        with pytest.raises(UnsupportedByExecutor, match="timeout="):
            process.options(timeout=3)().compute(executor=executor)


class TestMaking:
    def test_from_an_address_or_a_cluster(self, dask: Any) -> None:
        for given_one in (dask.scheduler.address, dask.cluster):
            with DaskExecutor(given_one) as executor:
                assert process().compute(executor=executor) != os.getpid()
        assert dask.status == "running"  # what was given to it stays as it was

    def test_nobody_at_the_address(self) -> None:
        with pytest.raises(CannotConnect, match=r"tcp://127\.0\.0\.1:1 "):
            DaskExecutor("tcp://127.0.0.1:1")

    def test_something_else(self) -> None:
        with pytest.raises(InvalidOption, match=r"a distributed\.Client"):
            DaskExecutor(5)
