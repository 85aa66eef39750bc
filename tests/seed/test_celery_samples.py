"""The seed's Celery samples with only their import line changed: in this process, and on a cluster."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lazygraph import Client, LocalCluster, Status, chord, delayed, wait


@pytest.fixture(scope="module")
def tasks() -> Iterator[Any]:
    """The module that the samples import as `tasks`: it lies beside this file, as beside the user's shell."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parent)
        patch.delitem(sys.modules, "tasks", raising=False)
        yield importlib.import_module("tasks")


@pytest.fixture(scope="module")
def cluster(tasks: Any) -> Iterator[LocalCluster]:
    with LocalCluster(n_workers=2) as cluster:
        yield cluster


@pytest.fixture(params=["threads", "cluster"])
def where(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where the samples run: nothing in them says so."""
    if request.param == "threads":
        yield "threads"
        return
    with Client(request.getfixturevalue("cluster")):
        yield "cluster"


@pytest.mark.usefixtures("where")
class TestSamples:
    def test_hello_world(self, tasks: Any) -> None:
        add = tasks.add
        assert add.delay(1, 1).get() == 2

    def test_a_thousand(self, tasks: Any) -> None:
        add = tasks.add
        futures = [add.delay(i, i) for i in range(1000)]
        results = [f.get() for f in futures]
        assert results == [2 * i for i in range(1000)]

    def test_simple_dependencies(self, tasks: Any) -> None:
        add = tasks.add
        future = add.apply_async((1, 2), link=add.s(3))
        # As in Celery, the caller sees the first task's value; the linked one's is among the children.
        assert future.get() == 3

    def test_complex_dependencies(self, tasks: Any) -> None:
        add, tsum = tasks.add, tasks.tsum
        assert chord(add.s(i, i) for i in range(100))(tsum.s()).get() == 9900

    def test_what_celery_calls_things(self, tasks: Any) -> None:
        future = tasks.add.delay(1, 1)
        wait([future])
        assert (future.ready(), future.successful(), future.failed()) == (True, True, False)
        assert (future.state, future.status) == ("SUCCESS", Status.SUCCEEDED)

    def test_a_task_that_fails(self, tasks: Any) -> None:
        future = tasks.add.delay(1, "1")
        with pytest.raises(TypeError, match="unsupported operand"):
            future.get()
        assert (future.failed(), future.state) == (True, "FAILURE")


@pytest.mark.usefixtures("where")
def test_a_linked_task_runs_once_with_the_value(tasks: Any, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    @delayed
    def tell(value: int) -> None:
        with pipe.open("w") as file:
            file.write(f"{value} ")

    future = tasks.add.apply_async((1, 2), link=tasks.add.s(3) | tell.s())
    # Opening the pipe waits for the linked task to open it, and reading ends when every writer has closed it.
    assert pipe.read_text() == "6 "
    assert future.get() == 3
