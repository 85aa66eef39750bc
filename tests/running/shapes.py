"""Shapes written by hand: who reads whom, and nothing else."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence

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


@st.composite
def shapes(draw: st.DrawFn, most: int = 12, externals: int = 0) -> Shape:
    """Random shapes in which every task is needed: by an output, or as a callback."""
    tasks = draw(st.integers(min_value=0 if externals else 1, max_value=most))
    n = externals + tasks
    reads: list[list[int]] = [[] for _ in range(externals)]
    for at in range(externals, n):
        reads.append(sorted(draw(st.sets(st.integers(0, at - 1), max_size=min(at, 3)))) if at else [])
    read = {one for row in reads for one in row}
    callbacks = sorted(at for at in range(externals, n) if at not in read and reads[at] and draw(st.booleans()))
    wanted = {at for at in range(externals, n) if at not in read and at not in callbacks}
    wanted |= draw(st.sets(st.integers(0, n - 1), max_size=3))
    outputs = sorted(wanted) + draw(st.lists(st.sampled_from(sorted(wanted)), max_size=1)) if wanted else []
    order = {at: [one for one in reads[at] if one >= externals and draw(st.integers(0, 5)) == 0] for at in range(n)}
    alone = [at for at in range(externals, n) if draw(st.integers(0, 7)) == 0]
    return shape_of(reads, outputs, externals, callbacks, order, alone)
