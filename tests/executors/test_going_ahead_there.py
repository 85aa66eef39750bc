"""Leases that real engines are given before their inputs are made, and workers that die meanwhile."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import pytest

from lazygraph import Status, delayed, start
from lazygraph.errors import WorkerDied
from lazygraph.executors import DaskExecutor, RayExecutor
from lazygraph.testing.conformance import tasks
from tests.executors import test_on_dask, test_on_ray

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lazygraph import Run
    from lazygraph.executors.elsewhere import ElsewhereDriver

WAIT = 60
dask, environment, ray = test_on_dask.dask, test_on_ray.environment, test_on_ray.ray
pytestmark = test_on_dask.pytestmark


@pytest.fixture(scope="module", params=["dask", "ray"])
def executor(request: pytest.FixtureRequest) -> Iterator[ElsewhereDriver]:
    client = request.getfixturevalue(request.param)
    here = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(here)
    with DaskExecutor(client) if request.param == "dask" else RayExecutor() as executor:
        yield executor
    cloudpickle.unregister_pickle_by_value(here)


@pytest.fixture
def gate(tmp_path: Path) -> str:
    """A place at which `tasks.wait_for` waits until somebody writes to it."""
    os.mkfifo(tmp_path / "gate")
    return str(tmp_path / "gate")


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
    large, late = made(str(tmp_path / "pid"), 1_000_000), tasks.wait_for(gate)
    has_begun = tasks.give("made")
    run = whole(executor, delayed(_sizes)(large, late), bound(has_begun, large), fail_fast=False)
    assert run.futures[1].result(WAIT) == "made"
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    open_gate(gate)
    assert run.futures[0].result(WAIT) == (1_000_000, "open")


def bound(lazy: Any, after: Any) -> Any:
    from lazygraph import bind

    return bind(lazy, after)


def _sizes(large: bytearray, late: str) -> tuple[int, str]:
    return len(large), late
