"""What a graph means does not depend on where it runs: these tests run in their own thread."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import lazygraph


@pytest.fixture(autouse=True)
def in_this_thread() -> Iterator[None]:
    """Make the sync executor the default."""
    with lazygraph.use("sync"):
        yield
