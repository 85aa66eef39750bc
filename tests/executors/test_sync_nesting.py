"""Tasks that run tasks in one thread: deep, but not until Python gives up."""

from __future__ import annotations

import pytest

from lazygraph import delayed
from lazygraph.errors import NestingTooDeep
from lazygraph.executors.sync import DEEPEST


@delayed
def deep(levels: int) -> int:
    return 1 + deep(levels - 1).compute() if levels else 0


def test_so_deep() -> None:
    assert deep(DEEPEST).compute(executor="sync") == DEEPEST


def test_and_no_deeper() -> None:
    with pytest.raises(NestingTooDeep, match=rf"{DEEPEST} tasks .* replace\(canvas\)"):
        deep(DEEPEST + 1).compute(executor="sync")
    assert deep(1).compute(executor="sync") == 1
