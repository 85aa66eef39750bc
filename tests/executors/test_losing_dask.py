"""What becomes of a run when something of Dask's is lost in the middle of it: its scheduler, the client, a worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import wait
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import lazygraph
from lazygraph import delayed
from lazygraph.errors import Closed, ConnectionLost, EngineFailed, LostData
from lazygraph.executors import DaskExecutor
from lazygraph.testing.conformance.saying import Noticed, half_way
from lazygraph.testing.conformance.tasks import add
from tests.executors.celery_services import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

distributed = pytest.importorskip("distributed", reason="pip install 'lazygraph[dask]'")
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module")  # Dask does, in its own thread
WAIT = 30
HERE = "127.0.0.1"


@contextmanager
def running(*words: str) -> Iterator[subprocess.Popen[bytes]]:
    """Have one of Dask's programs run."""
    command = [sys.executable, "-m", *words, "--no-dashboard", "--dashboard-address", f"{HERE}:0"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait(WAIT)


@pytest.fixture
def client() -> Iterator[Any]:
    """A client of a cluster of two processes: its scheduler's, and a worker's with one thread."""
    address = f"tcp://{HERE}:{free_port()}"
    scheduler = running("distributed.cli.dask_scheduler", "--host", address)
    worker = running("distributed.cli.dask_worker", address, "--no-nanny", "--nthreads", "1")
    with scheduler, worker, distributed.Client(address, set_as_default=False, timeout=WAIT) as client:
        client.wait_for_workers(1)
        yield client


@delayed
def give(size: int) -> bytes:
    return bytes(size)


@delayed
def dies_once(marker: str, big: bytes) -> int:
    """Kill the worker that it runs on, the first time."""
    if not os.path.exists(marker):
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return len(big)


@pytest.fixture
def lost(client: Any, tmp_path: Path) -> Iterator[Callable[[type[Exception], str, Callable[[], object]], None]]:
    """Have something happen in the middle of a run, and see that all of it ends with the same error."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def lose(kind: type[Exception], match: str, happens: Callable[[], object]) -> None:
        executor = DaskExecutor(client)
        kept = lazygraph.start(give(50_000), executor=executor).futures[0]
        wait([kept], WAIT)
        run = lazygraph.start(half_way(str(pipe)), add(half_way(str(pipe)), "!"), executor=executor, fail_fast=False)
        Noticed(run).wait(1)
        happens()
        for future in run.futures:
            with pytest.raises(kind, match=match):
                future.result(WAIT)
        with pytest.raises(kind, match=match):
            add(1, 2).compute(executor=executor)
        with pytest.raises(LostData, match=match):
            kept.result(WAIT)
        executor.close()

    yield lose
    if os.path.exists(pipe):  # a worker may still be at it
        os.close(os.open(pipe, os.O_RDWR))


def test_a_scheduler_that_dies(lost: Any, client: Any) -> None:
    scheduler = client.run_on_scheduler(os.getpid)  # a process of this test's own
    lost(ConnectionLost, "tcp://127.0.0.1:.* ended: Dask's client", lambda: os.kill(scheduler, signal.SIGKILL))


def test_a_client_that_is_closed(lost: Any, client: Any) -> None:
    lost(Closed, "Dask's client is closed", client.close)


def test_a_cluster_without_workers_is_said_to_have_none(tmp_path: Path) -> None:
    address = f"tcp://{HERE}:{free_port()}"
    scheduler = running("distributed.cli.dask_scheduler", "--host", address)
    with scheduler, distributed.Client(address, set_as_default=False, timeout=WAIT) as client:
        with DaskExecutor(client) as executor:
            run = lazygraph.start(add(1, 2), executor=executor)
            assert str(run.explain()).endswith("is with dask: Dask's scheduler has no worker")
            with running("distributed.cli.dask_worker", address, "--no-nanny", "--nthreads", "1"):
                assert run.result(WAIT) == (3,)


def test_what_dask_cancels_is_not_run_again(client: Any, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with DaskExecutor(client) as executor:
        run = lazygraph.start(half_way(str(pipe)), executor=executor)
        Noticed(run).wait(1)
        client.restart(wait_for_workers=False)
        with pytest.raises(EngineFailed, match=r"dask has not brought 'half_way' to its end: .*ancelled"):
            run.result(WAIT)


def test_a_worker_that_dies_with_a_large_plan(client: Any, tmp_path: Path) -> None:
    """It has the only copy of the plan; another worker gets it again."""
    with DaskExecutor(client) as executor:
        run = lazygraph.start(dies_once(str(tmp_path / "died"), bytes(100_000)), executor=executor)
        with running("distributed.cli.dask_worker", str(client.scheduler.address), "--no-nanny", "--nthreads", "1"):
            assert run.result(WAIT) == (100_000,)
