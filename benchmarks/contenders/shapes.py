"""The shapes of graph that contenders build, each with the value it must come to.

A shape is given ``call(x, y)``, which makes a node (or a future, or the sum itself) out of two inputs; so one
description of the shape serves every library.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Node = TypeVar("Node")
Call = Callable[..., Node]


def independent(call: Call[Node], size: int) -> list[Node]:
    """Make ``size`` calls that need nothing from each other."""
    return [call(i, i) for i in range(size)]


def sum_of_independent(size: int) -> int:
    """Return what the results of ``independent`` sum to."""
    return size * (size - 1)


def tree(call: Call[Node], levels: int) -> Node:
    """Join ``2 ** (levels - 1)`` independent calls pairwise until one is left."""
    level = independent(call, leaves(levels))
    while len(level) > 1:
        level = [call(left, right) for left, right in zip(level[::2], level[1::2], strict=True)]
    return level[0]


def leaves(levels: int) -> int:
    """Return how many independent calls a tree of so many levels starts from."""
    return 1 << (levels - 1)


def chain(call: Call[Node], size: int) -> Node:
    """Make ``size`` calls, each adding one to the value of the one before; the value is ``size``."""
    node = call(0, 1)
    for _ in range(size - 1):
        node = call(node, 1)
    return node
