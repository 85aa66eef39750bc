"""Runs as they could have been seen: random graphs on random slots, on clocks that differ."""

from __future__ import annotations

import heapq
import random
from array import array
from dataclasses import dataclass
from time import perf_counter

from hypothesis import strategies as st

from lazygraph.running.observing import FAILED, WELL, Seen, Sights, Span
from lazygraph.values.graph import Shape, Tables, offsets_of
from lazygraph.values.node import identity

NAMES = ("load", "parse", "train")


@dataclass
class Told:
    """A run: its graph, what was seen of it, how long it took, on how many slots."""

    shape: Shape
    sights: Sights
    elapsed: float
    slots: int
    ran: int
    failed: int
    truth: dict[tuple[int, int], tuple[float, ...]]  # (task, attempt) -> handed, ready, began, ended


def shape_of(reads: list[list[int]], names: list[int]) -> Shape:
    """Return the shape of a graph whose nodes are called by their numbers in `NAMES`."""
    count = len(reads)
    inputs = array("i", [read for each in reads for read in each])
    zeros = array("i", bytes(4 * count))
    return Shape(
        externals=0,
        function=array("i", names),
        template=zeros,
        option=zeros,
        scope=zeros,
        origin=array("i", [-1] * count),
        input_offsets=offsets_of([len(each) for each in reads]),
        inputs=inputs,
        kinds=bytes(len(inputs)),
        argument_offsets=offsets_of([len(each) for each in reads]),
        arguments=array("i", [at for each in reads for at in range(len(each))]),
        outputs=array("i", [count - 1] if count else []),
        callbacks=array("i"),
        names=NAMES,
    )


def sights_of(shape: Shape) -> Sights:
    """Return the sights of a run of which nothing has been seen."""
    return Sights(shape, Tables((identity,) * len(NAMES), ()))


@st.composite
def told(draw: st.DrawFn) -> Told:
    """A run that has ended, with a retry here and there, on workers whose clocks are anything."""
    size = draw(st.integers(1, 14))
    reads = [sorted(draw(st.sets(st.integers(0, node - 1), max_size=3))) if node else [] for node in range(size)]
    names = draw(st.lists(st.integers(0, len(NAMES) - 1), min_size=size, max_size=size))
    slots, seed = draw(st.integers(1, 4)), draw(st.integers(0, 10**6))
    shape = shape_of(reads, names)
    return scheduled(shape, slots, random.Random(seed), apart=draw(st.booleans()))


def scheduled(shape: Shape, slots: int, chance: random.Random, apart: bool = False) -> Told:
    """Run a graph on slots as a scheduler could; `apart`: each slot is a worker with a clock of its own."""
    count, sights = len(shape), sights_of(shape)
    offset = [chance.uniform(-1e4, 1e4) if apart else 0.0 for _ in range(slots)]
    zero = sights.began = perf_counter()
    missing = [len(shape.inputs_of(at)) for at in range(count)]
    latest = [0.0] * count
    due = {at: 0.0 for at in range(count) if not missing[at]}
    free = [(0.0, slot) for slot in range(slots)]
    again: dict[int, int] = {}
    failed, end = 0, 0.0
    truth: dict[tuple[int, int], tuple[float, ...]] = {}
    readers = [[at for at in range(count) if read in shape.inputs_of(at)] for read in range(count)]
    while due:
        at = min(due, key=lambda one: (due[one], one))
        when, slot = heapq.heappop(free)
        handed = max(when, due.pop(at)) + chance.choice([0.0, chance.uniform(0, 0.1)])
        ready = handed + (chance.uniform(0, 0.2) if apart else 0.0)
        began = ready + chance.choice([0.0, 0.05])
        ended = began + chance.uniform(0.001, 1.0)
        number = again.get(at, 1)
        fails = chance.random() < 0.1 and number < 3
        heapq.heappush(free, (ended, slot))
        end = max(end, ended)
        truth[at, number] = moments = (handed, ready, began, ended)
        _tell(sights, at, number, slot, zero + offset[slot], moments, apart, fails)
        if fails:
            failed, again[at] = failed + 1, number + 1
            due[at] = ended + chance.choice([0.0, 0.3])
            continue
        for reader in readers[at]:
            missing[reader] -= 1
            latest[reader] = max(latest[reader], ended)
            if not missing[reader]:
                due[reader] = latest[reader]
    return Told(shape, sights, end, slots, count, failed, truth)


def _tell(
    sights: Sights,
    task: int,
    attempt: int,
    slot: int,
    zero: float,
    moments: tuple[float, float, float, float],
    apart: bool,
    fails: bool,
) -> None:
    handed, ready, began, ended = (zero + moment for moment in moments)
    span = Span(task, began, ended, FAILED if fails else WELL, f"thread-{slot}")
    if apart:
        sights.told("", attempt, {}, Seen(f"worker-{slot}", handed, ready, ended, [span]))
        sights.leases[-1].sent = [(ended, ended - zero + sights.began)]
    else:
        sights.told("", attempt, {}, Seen("", handed, ready, ended, [span]))
        sights.leases[-1].sent = [(ended, ended)]
