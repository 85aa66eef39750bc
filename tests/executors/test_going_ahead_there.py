"""Leases that engines of other people's are given before their inputs are made, and workers that die meanwhile."""

from __future__ import annotations

import os
import select
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import pytest

from lazygraph import Status, delayed, start, wait
from lazygraph.errors import WorkerDied
from lazygraph.executors import DaskExecutor, RayExecutor
from lazygraph.testing.conformance import tasks
from tests.executors import test_on_dask, test_on_ray

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lazygraph import Run
    from lazygraph.executors.elsewhere import ElsewhereDriver

WAIT = 30
dask, settled, once = test_on_dask.dask, test_on_dask.settled, test_on_dask.once
environment, ray = test_on_ray.environment, test_on_ray.ray
pytestmark = test_on_dask.pytestmark


@pytest.fixture(scope="module", autouse=True)
def travelling() -> Iterator[None]:
    """Workers need not find this module."""
    here = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(here)
    yield
    cloudpickle.unregister_pickle_by_value(here)


@pytest.fixture(scope="module")
def dask_executor(dask: Any) -> Iterator[ElsewhereDriver]:
    with DaskExecutor(dask) as executor:
        yield executor


@pytest.fixture
def on_dask(dask_executor: ElsewhereDriver, once: None) -> ElsewhereDriver:
    """Before each test both workers are there again."""
    return dask_executor


@pytest.fixture(scope="module")
def on_ray(ray: Any) -> Iterator[ElsewhereDriver]:
    with RayExecutor() as executor:
        yield executor


@pytest.fixture(params=["on_dask", "on_ray"])
def executor(request: pytest.FixtureRequest) -> ElsewhereDriver:
    """One with two workers that run one task each."""
    executor: ElsewhereDriver = request.getfixturevalue(request.param)
    return executor


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[str]:
    """A place at which `tasks.wait_for` waits until somebody writes to it."""
    gate = str(tmp_path / "gate")
    os.mkfifo(gate)
    yield gate
    os.close(os.open(gate, os.O_RDWR))  # after a failure a worker may still be there


def whole(executor: ElsewhereDriver, *lazy: Any, **options: Any) -> Run:
    """Start a run as it was written: nothing is fused."""
    return start(*lazy, executor=executor, optimize_graph=False, **options)


@delayed
def dies(value: Any, marker: str, times: int) -> Any:
    """Kill the worker it runs on, so many times in all."""
    seen = Path(marker)
    died = len(seen.read_text()) if seen.exists() else 0
    if died < times:
        seen.write_text("x" * (died + 1))
        os.kill(os.getpid(), signal.SIGKILL)
    return value


@delayed
def made(path: str, size: int) -> bytearray:
    """Make something large; say in which process."""
    Path(path).write_text(str(os.getpid()))
    return bytearray(size)


def open_gate(gate: str, text: str = "open") -> None:
    Path(gate).write_text(text)  # returns when somebody has begun to wait


def kill(pid: int) -> None:
    """End a process; when this returns it reads from no pipe any more."""
    process = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    select.select([process], [], [])
    os.close(process)


def sizes(large: bytearray, late: str) -> tuple[int, str]:
    return len(large), late


def test_a_reader_is_there_while_its_inputs_run(executor: ElsewhereDriver, gate: str) -> None:
    run = whole(executor, tasks.describe(tasks.wait_for(gate), tasks.give([1])))
    assert executor._waits is not None
    assert len(executor._waits) == 1
    assert run.futures[0].status is Status.WAITING
    open_gate(gate)
    assert run.result(WAIT) == ("('open', [1]) {}",)


def test_what_waits_there_can_be_cancelled(executor: ElsewhereDriver, gate: str, tmp_path: Path) -> None:
    one, two = tasks.wait_for(gate), tasks.give(2)
    run = whole(executor, tasks.marked(str(tmp_path), "ran", one, two), one, two, fail_fast=False)
    assert executor._waits is not None
    assert len(executor._waits) == 1
    assert run.futures[0].cancel()
    open_gate(gate)
    assert [future.result(WAIT) for future in run.futures[1:]] == ["open", 2]
    assert not list(tmp_path.glob("ran-*"))


def test_its_input_s_worker_may_die(executor: ElsewhereDriver, tmp_path: Path) -> None:
    dying = dies(1, str(tmp_path / "died"), 1)
    run = whole(executor, tasks.add(dying, tasks.give(2)), tasks.add(dying, tasks.give(3)))
    assert run.result(WAIT) == (3, 4)


def test_only_the_input_that_always_kills_is_named(executor: ElsewhereDriver, tmp_path: Path) -> None:
    dying = dies(1, str(tmp_path / "died"), 1000)
    run = whole(executor, dying, tasks.add(dying, tasks.give(2)), fail_fast=False)
    for future in run.futures:
        with pytest.raises(WorkerDied, match="dies"):
            future.result(WAIT)
    assert [future.status for future in run.futures] == [Status.FAILED, Status.UPSTREAM_FAILED]


def test_a_worker_may_die_that_has_what_is_waited_for(executor: ElsewhereDriver, gate: str, tmp_path: Path) -> None:
    large = whole(executor, made(str(tmp_path / "pid"), 1_000_000)).futures[0]
    wait([large], WAIT)
    late = tasks.wait_for(gate)
    run = whole(executor, delayed(sizes)(large, late), delayed(len)(late))  # had it one reader, both would be one lease
    assert executor._waits is not None
    assert len(executor._waits) == 1
    kill(int((tmp_path / "pid").read_text()))
    open_gate(gate)
    assert run.result(WAIT) == ((1_000_000, "open"), 4)
