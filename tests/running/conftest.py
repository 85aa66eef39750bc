"""What the tests of futures and runs share."""

from __future__ import annotations

import pytest

from lazygraph.running.run import Run
from tests.running.owners import Owner, run_of


@pytest.fixture
def owner() -> Owner:
    return Owner()


@pytest.fixture
def run(owner: Owner) -> Run:
    return run_of(3, owner)
