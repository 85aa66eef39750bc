"""The plans of benchmarks.simulate, by shape and number of tasks.

They are built with `delayed` and planned as a user's would be, with the optimizer off: nothing is fused.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.simulate_bounds import Job
from lazygraph import delayed
from lazygraph.planning.plan import plan_of
from lazygraph.values.graph import Shape

CHAIN = 100
"""Tasks of a chain."""

WIDTH = 100
"""Tasks of a random layer; in small plans the square root of their tasks."""


@delayed
def work(*inputs: object) -> int:
    """Stand for a task; it is never called."""
    return len(inputs)


def independent(tasks: int) -> list[Any]:
    """Return so many calls without inputs."""
    return [work() for _ in range(tasks)]


def tree(tasks: int) -> list[Any]:
    """Return the root of a binary tree."""
    level = independent((tasks + 1) // 2)
    while len(level) > 1:
        odd = level[len(level) // 2 * 2 :]
        level = [work(a, b) for a, b in zip(level[::2], level[1::2], strict=False)] + odd
    return level


def chains(tasks: int) -> list[Any]:
    """Return the ends of chains of CHAIN calls."""
    ends = []
    for _ in range(max(1, tasks // CHAIN)):
        end = work()
        for _ in range(min(tasks, CHAIN) - 1):
            end = work(end)
        ends.append(end)
    return ends


def merge(tasks: int) -> list[Any]:
    """Return one call that reads all others."""
    return [work(*independent(tasks - 1))]


def layers(tasks: int) -> list[Any]:
    """Return the last of layers whose calls read one to three of the layer before, drawn from a seed."""
    draw = random.Random(7)
    width = min(WIDTH, max(1, int(tasks**0.5)))
    layer = independent(width)
    for _ in range(tasks // width - 1):
        layer = [work(*draw.sample(layer, min(width, draw.randint(1, 3)))) for _ in range(width)]
    return layer


PLANS: Mapping[str, Callable[[int], list[Any]]] = {
    "independent": independent,
    "tree": tree,
    "chains": chains,
    "merge": merge,
    "layers": layers,
}


MEAN_SECONDS = 0.1
"""What a task of a made job takes, on average."""


def made(name: str, tasks: int) -> Job:
    """Return a plan as a job: durations are drawn from a seed, exponentially, and values have a kilobyte."""
    shape, draw = shape_of(name, tasks), random.Random(7)
    seconds = [draw.expovariate(1 / MEAN_SECONDS) for _ in range(len(shape))]
    return Job(f"{name} {tasks}", shape, seconds, [1024] * len(shape))


def shape_of(name: str, tasks: int) -> Shape:
    """Return the shape of a plan."""
    return plan_of(PLANS[name](tasks), optimize_graph=False).shape
