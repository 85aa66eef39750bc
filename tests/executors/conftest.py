"""The executors whose mind is in this process, each with a gate to stand at."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lazygraph.executors.driver import Driver
from lazygraph.executors.sync import SyncExecutor
from lazygraph.executors.threads import ThreadExecutor
from tests.executors.driven import Gate


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open.set()


@pytest.fixture(params=[SyncExecutor, lambda: ThreadExecutor(1), lambda: ThreadExecutor(3)], ids=["sync", "1", "3"])
def executor(request: pytest.FixtureRequest) -> Iterator[Driver]:
    with request.param() as executor:
        yield executor


@pytest.fixture
def threads() -> Iterator[ThreadExecutor]:
    with ThreadExecutor(2) as executor:
        yield executor
