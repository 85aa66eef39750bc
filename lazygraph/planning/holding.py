"""How many values an order holds, and moves within an order that never make it hold more.  O(V + E) each.

A value is held from when its task has run until its last reader has.  What nobody reads is not counted: it is given to
whoever asked for it, in any order.  So the count between two tasks is what Dask's `order.diagnostics` call pressure.

Two moves that cost nothing, whatever comes after (before) them:

* A task that is ready and lets go of a value may run now: it adds one value at most, and what it lets go of would have
  been held until it runs.
* Backwards the same: a task all of whose inputs but one are held for others anyway may run as late as its first
  reader lets it.  What has no inputs, above all, runs just before it is read.

Covers: tasks and their edges as lists, seen forwards or in the mirror; the two moves.
Does not cover: where an order comes from (planning.order).
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lazygraph.values.graph import Shape


class Edges(NamedTuple):
    """For each task what it reads and who reads it.  Tasks are numbered from 0; inputs have lower numbers."""

    inputs: list[list[int]]
    consumers: list[list[int]]


def edges_of(shape: Shape) -> Edges:
    """Return the edges between tasks."""
    inputs = inputs_of(shape)
    consumers: list[list[int]] = [[] for _ in inputs]
    for at, each in enumerate(inputs):
        for read in each:
            consumers[read].append(at)
    return Edges(inputs, consumers)


def inputs_of(shape: Shape) -> list[list[int]]:
    """Return the tasks that each task reads.  Their numbers are their entries less the externals, which run nowhere."""
    k = shape.externals
    reads, bounds = shape.inputs.tolist(), shape.input_offsets.tolist()
    inputs = [reads[start:end] for start, end in pairwise(bounds[k:])]
    return [[read - k for read in each if read >= k] for each in inputs] if k else inputs


def mirrored(edges: Edges) -> Edges:
    """Return the edges of the same tasks run backwards: the last is number 0, and a task reads its consumers."""
    last = len(edges.inputs) - 1
    inputs, consumers = edges
    return Edges(
        [[last - at for at in each[::-1]] for each in reversed(consumers)],
        [[last - at for at in each[::-1]] for each in reversed(inputs)],
    )


def peak(edges: Edges, order: Sequence[int]) -> int:
    """Return the most values that are held when a task starts."""
    inputs, consumers = edges
    unread = [len(each) for each in consumers]
    held = most = 0
    for at in order:
        if held > most:
            most = held
        for read in inputs[at]:
            unread[read] -= 1
            if not unread[read]:
                held -= 1
        if unread[at]:
            held += 1
    return most


def later(edges: Edges, order: Sequence[int]) -> list[int]:
    """Return the order in which what brings at most one value to be held before it runs as late as it can."""
    inputs, consumers = edges
    unmade = [len(each) for each in inputs]  # inputs that nothing later reads
    waiting = [len(each) for each in consumers]
    held, done = bytearray(len(order)), bytearray(len(order))
    backwards: list[int] = []
    free: list[int] = []
    for next_ in reversed(order):
        if done[next_]:
            continue
        free.append(next_)
        while free:
            at = free.pop()
            if done[at]:
                continue
            done[at] = 1
            backwards.append(at)
            for read in inputs[at]:
                if not held[read]:
                    held[read] = 1
                    for other in consumers[read]:
                        unmade[other] = left = unmade[other] - 1
                        if left == 1 and not waiting[other] and consumers[other]:
                            free.append(other)
                waiting[read] = left = waiting[read] - 1
                if not left and unmade[read] <= 1:
                    free.append(read)
    backwards.reverse()
    return backwards


def sooner(edges: Edges, order: Sequence[int], most: int) -> tuple[list[int], int] | None:
    """Return the order in which what lets go of a value runs as soon as it can, and its peak.  None from `most` on."""
    inputs, consumers = edges
    missing = [len(each) for each in inputs]
    unread = [len(each) for each in consumers]
    done = bytearray(len(order))
    moved: list[int] = []
    free: list[int] = []
    held = highest = 0
    for next_ in order:
        if done[next_]:
            continue
        free.append(next_)
        while free:
            at = free.pop()
            if done[at]:
                continue
            if held > highest:
                highest = held
                if highest >= most:
                    return None
            done[at] = 1
            moved.append(at)
            for read in inputs[at]:
                unread[read] = left = unread[read] - 1
                if not left:
                    held -= 1
                elif left == 1:
                    for reader in consumers[read]:
                        if not done[reader]:
                            if not missing[reader]:
                                free.append(reader)
                            break
            if not unread[at]:
                continue
            held += 1
            for reader in reversed(consumers[at]):  # the first is on top
                missing[reader] = left = missing[reader] - 1
                if not left:
                    for read in inputs[reader]:
                        if unread[read] == 1:
                            free.append(reader)
                            break
    return moved, highest
