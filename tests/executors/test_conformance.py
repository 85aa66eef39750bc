"""The conformance suite over every executor there is."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING

import pytest

from lazygraph.executors.cluster.local import LocalCluster
from lazygraph.executors.cluster.net.client import Client
from lazygraph.executors.pool import PoolExecutor
from lazygraph.executors.processes import ProcessExecutor
from lazygraph.executors.sync import SyncExecutor
from lazygraph.executors.threads import ThreadExecutor
from lazygraph.testing.conformance.matrix import SAMPLES, matrix
from lazygraph.testing.conformance.suite import AsynchronousSuite, ConformanceSuite
from lazygraph.testing.sim import SimExecutor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lazygraph.executors.base import Executor


class TestSync(ConformanceSuite):
    in_process = True

    @pytest.fixture(scope="class")
    @classmethod
    def executor(cls) -> Iterator[Executor]:
        with SyncExecutor() as executor:
            yield executor


class TestThreads(AsynchronousSuite):
    tells_early = True
    says = True
    in_process = True

    @pytest.fixture(scope="class")
    @classmethod
    def executor(cls) -> Iterator[Executor]:
        with ThreadExecutor(2) as executor:
            yield executor


class TestProcesses(AsynchronousSuite):
    tells_early = True
    says = True

    @pytest.fixture(scope="class")
    @classmethod
    def executor(cls) -> Iterator[Executor]:
        with ProcessExecutor(2) as executor:
            yield executor


class TestThreadPool(AsynchronousSuite):
    """Somebody's own pool of threads."""

    tells_early = True
    says = True
    in_process = True
    lends = False

    @pytest.fixture(scope="class")
    @classmethod
    def executor(cls) -> Iterator[Executor]:
        with ThreadPoolExecutor(2) as pool, PoolExecutor(pool) as executor:
            yield executor


class TestProcessPool(AsynchronousSuite):
    """Somebody's own pool of processes."""

    lends = False

    @pytest.fixture(scope="class")
    @classmethod
    def executor(cls) -> Iterator[Executor]:
        with ProcessPoolExecutor(2, get_context("spawn")) as pool, PoolExecutor(pool) as executor:
            yield executor


class TestSimulated(ConformanceSuite):
    """The one of the pytest plugin: on virtual time, without processes."""

    in_process = True
    test_what_takes_too_long_is_killed = test_a_timeout_is_a_reason_to_try_again = None  # tests/plugin has its own
    test_an_isolated_task_has_a_process_of_its_own = None

    @pytest.fixture(scope="class")
    @classmethod
    def executor(cls) -> Iterator[Executor]:
        with SimExecutor(seed=1) as executor:
            yield executor


class TestCluster(AsynchronousSuite):
    """Two workers; both take tasks of two queues and have something to give."""

    tells_early = True
    says = True

    @pytest.fixture(scope="class")
    @classmethod
    def executor(cls) -> Iterator[Executor]:
        with (
            LocalCluster(n_workers=2, queues=["default", "other"], resources={"gpu": 1}) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            yield client.executor


def test_the_matrix_has_a_cell_for_every_option_and_executor():
    executors = [SyncExecutor(), ThreadExecutor(1)]
    table = matrix(executors)
    assert set(table) == set(SAMPLES)
    assert all(set(row) == {"sync", "threads"} for row in table.values())
    assert {cell for row in table.values() for cell in row.values()} <= {"honoured", "refused"}
