"""Shapes written by hand: who reads whom, and nothing else."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from random import Random

from hypothesis import strategies as st

from lazygraph.values.graph import DATA, ORDER, Shape, offsets_of
from lazygraph.values.options import DEFAULT, TaskOptions


def shape_of(
    reads: Sequence[Sequence[int]],
    outputs: Sequence[int],
    externals: int = 0,
    callbacks: Sequence[int] = (),
    order: Mapping[int, Sequence[int]] | None = None,
    alone: Sequence[int] = (),
) -> Shape:
    """Return the shape whose entry i reads `reads[i]`.

    `order[i]` are those of them whose value it does not take; tasks in `alone` are not plain: they share no lease.
    """
    n = len(reads)
    waits = order or {}
    kinds = [ORDER if read in waits.get(at, ()) else DATA for at in range(n) for read in reads[at]]
    return Shape(
        externals=externals,
        function=array("i", [-1] * externals + [0] * (n - externals)),
        template=array("i", [0] * n),
        option=array("i", [int(at in alone) for at in range(n)]),
        scope=array("i", [0] * n),
        origin=array("i", [-1] * externals + [0] * (n - externals)),
        input_offsets=offsets_of([len(row) for row in reads]),
        inputs=array("i", [read for row in reads for read in row]),
        kinds=bytes(kinds),
        argument_offsets=offsets_of([0] * n),
        arguments=array("i"),
        outputs=array("i", outputs),
        callbacks=array("i", callbacks),
        names=("task",),
        options=(DEFAULT, TaskOptions(queue="other")),
        origins=("somewhere:1",),
    )


def random_shape(random: Random, most: int = 12, externals: int = 0) -> Shape:
    """Return a shape in which every task is needed: by an output, or as a callback."""
    n = externals + random.randint(0 if externals else 1, most)
    tasks = range(externals, n)
    reads = [
        *([] for _ in range(externals)),
        *(sorted(random.sample(range(at), random.randint(0, min(at, 3)))) for at in tasks),
    ]
    read = {one for row in reads for one in row}
    ends = [at for at in range(externals, n) if at not in read]
    callbacks = [at for at in ends if reads[at] and random.random() < 0.2]
    outputs = [at for at in range(n) if (at in ends and at not in callbacks) or random.random() < 0.2]
    if outputs and random.random() < 0.2:
        outputs.append(random.choice(outputs))  # asked for twice
    order = {at: [one for one in reads[at] if one >= externals and random.random() < 0.15] for at in range(n)}
    alone = [at for at in range(externals, n) if random.random() < 0.1]
    return shape_of(reads, outputs, externals, callbacks, order, alone)


@st.composite
def shapes(draw: st.DrawFn, most: int = 12) -> Shape:
    """Random shapes."""
    return random_shape(Random(draw(st.integers(0, 2**32))), draw(st.integers(1, most)))
