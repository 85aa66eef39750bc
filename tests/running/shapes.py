"""Shapes written by hand: who reads whom, and nothing else; and plans whose tasks become other plans."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from hypothesis import strategies as st

from lazygraph.values.graph import DATA, MEMBER, ORDER, Scope, Shape, offsets_of
from lazygraph.values.options import DEFAULT, TaskOptions
from lazygraph.values.status import UNHAPPY, State


def shape_of(
    reads: Sequence[Sequence[int]],
    outputs: Sequence[int],
    externals: int = 0,
    callbacks: Sequence[int] = (),
    order: Mapping[int, Sequence[int]] | None = None,
    alone: Sequence[int] = (),
    scopes: Sequence[Scope] = (),
    scope: Mapping[int, int] | None = None,
    said: Mapping[int, TaskOptions] | None = None,
) -> Shape:
    """Return the shape whose entry i reads `reads[i]`.

    `order[i]` are those of them whose value it does not take; tasks in `alone` are not plain: they share no lease;
    `said[i]` are the options of task i.
    `scopes` are rows 1 and following; `scope[i]` is the row of entry i, 0 where nothing is said.
    """
    n = len(reads)
    waits, rows = order or {}, scope or {}
    asked = {at: TaskOptions(isolated=True) for at in alone} | dict(said or {})
    options = (DEFAULT, *dict.fromkeys(asked.values()))
    kinds = [ORDER if read in waits.get(at, ()) else DATA for at in range(n) for read in reads[at]]
    return Shape(
        externals=externals,
        function=array("i", [-1] * externals + [0] * (n - externals)),
        template=array("i", [0] * n),
        option=array("i", [options.index(asked.get(at, DEFAULT)) for at in range(n)]),
        scope=array("i", [rows.get(at, 0) for at in range(n)]),
        origin=array("i", [-1] * externals + [0] * (n - externals)),
        input_offsets=offsets_of([len(row) for row in reads]),
        inputs=array("i", [read for row in reads for read in row]),
        kinds=bytes(kinds),
        argument_offsets=offsets_of([0] * n),
        arguments=array("i"),
        outputs=array("i", outputs),
        callbacks=array("i", callbacks),
        names=("task",),
        options=options,
        scopes=(Scope(), *scopes),
        origins=("somewhere:1",),
    )


def random_shape(random: Random, most: int = 12, externals: int = 0, scopes: int = 0, outputs: int = 0) -> Shape:
    """Return a shape in which every task is needed: by an output, as a callback, or to answer a failure.

    Of its externals the first `externals` are values, the other `scopes` are failures of as many scopes.  With
    `outputs` it has exactly so many.
    """
    k = externals + scopes
    first = random.randint(0, scopes) if scopes else 0  # scopes from here on are of handlers, and so is their failure
    n = k + random.randint(0 if externals and not outputs else 1, most)
    reads: list[list[int]] = [[] for _ in range(k)]
    for at in range(k, n):
        known = [*range(externals), *range(k, at)]
        reads.append(sorted(random.sample(known, random.randint(0, min(len(known), 3)))))
    read = {one for row in reads for one in row}
    ends = [at for at in range(k, n) if at not in read]
    callbacks = [at for at in ends if reads[at] and random.random() < 0.2]
    asked = [at for at in (*range(externals), *range(k, n)) if (at in ends and at not in callbacks)]
    asked += [at for at in (*range(externals), *range(k, n)) if at not in asked and random.random() < 0.2]
    asked.sort()
    if asked and random.random() < 0.2:
        asked.append(random.choice(asked))  # asked for twice
    if outputs:
        asked = [n - 1] * outputs
        callbacks = [at for at in ends if at != n - 1]
    rows = {at: random.randint(0, first) for at in range(k, n)}
    parents = [0, *(random.randint(0, row) for row in range(scopes))]
    for row in range(1, scopes + 1):  # who answers for it, and where that stands
        length = random.choice((1, 1, 2, 3))
        for _ in range(length):
            at = len(reads)
            known = [*range(externals), *range(k, n)]
            some = random.sample(known, random.choice((0, 0, 0, 1, min(2, len(known)))) if known else 0)
            before = [at - 1] if at > n and random.random() < 0.7 and externals + row - 1 in reads[at - 1] else []
            reads.append(sorted({externals + row - 1, *some, *before}))
            # The failure of a handler is answered by a later one.
            rows[at] = random.randint(first + 1, scopes) if random.random() < 0.4 and first < scopes else 0
            if before:
                callbacks.remove(at - 1)
            callbacks.append(at)
    made = [
        Scope(
            parents[row],
            catch=externals + row - 1,
            given=tuple(at for at in (*range(externals), *range(k, n)) if random.random() < 0.08),
        )
        for row in range(1, scopes + 1)
    ]
    order = {
        at: [one for one in reads[at] if one >= externals and random.random() < (0.5 if one < k else 0.15)]
        for at in range(len(reads))
    }
    alone = [at for at in range(k, len(reads)) if random.random() < 0.1]
    return shape_of(reads, asked, k, sorted(set(callbacks)), order, alone, made, rows)


@st.composite
def shapes(draw: st.DrawFn, most: int = 12) -> Shape:
    """Random shapes."""
    return random_shape(Random(draw(st.integers(0, 2**32))), draw(st.integers(1, most)))


# -- plans whose tasks become other plans ----------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Recipe:
    """A plan: tasks in `bad` raise, those in `becomes` return another plan.

    Those in `above` raise in a member that is not their last.  What a task
    becomes reads the values of `bound`, which come to `worths`.
    """

    shape: Shape
    bad: frozenset[int] = frozenset()
    becomes: Mapping[int, Recipe] = field(default_factory=dict)
    bound: tuple[Any, ...] = ()
    worths: tuple[int, ...] = ()
    above: frozenset[int] = frozenset()

    @property
    def values(self) -> int:
        """How many of its externals are no failures."""
        return self.shape.externals - len(self.shape.catches)

    def ends(self, bound: Sequence[State] = ()) -> list[State | None]:
        """Return how every entry ends when nobody interferes; None: it waits for a failure that does not come."""
        failed: set[int] = set()
        while True:
            found = self._ends(bound, failed)
            failing = [at for at, end in enumerate(found) if end is State.FAILED or self._raises_above(at, found)]
            again = {row for at in failing for row in rows_of(self.shape, at)}
            if again <= failed:
                return found
            failed |= again

    def _ends(self, bound: Sequence[State], failed: set[int]) -> list[State | None]:
        found: list[State | None] = []
        for at in range(len(self.shape)):
            reads = [found[read] for read in needed(self.shape, at)]
            if at in self.shape.catches:
                found.append(State.SUCCEEDED if self.shape.catches[at] in failed else None)
            elif at < self.values:
                found.append(State.UPSTREAM_FAILED if bound and bound[at] in UNHAPPY else State.SUCCEEDED)
            elif any(end in UNHAPPY for end in reads):
                found.append(State.UPSTREAM_FAILED)
            elif None in reads:
                found.append(None)
            elif at in self.bad or (at in self.becomes and self._becomes(at) in UNHAPPY):
                found.append(State.UPSTREAM_FAILED if at in self.above else State.FAILED)
            else:
                found.append(State.SUCCEEDED)
        return found

    def _raises_above(self, at: int, found: Sequence[State | None]) -> bool:
        reads = [found[read] for read in needed(self.shape, at)]
        return at in self.above and None not in reads and not any(end in UNHAPPY for end in reads)

    def _becomes(self, at: int) -> State | None:
        inner = self.becomes[at]
        return inner.ends()[inner.shape.outputs[0]]

    def worth(self, label: object, bound: Sequence[int] = ()) -> list[int]:
        """Return what every entry comes to, by direct evaluation."""
        found: list[int] = []
        for at in range(len(self.shape)):
            if at < len(bound):
                found.append(bound[at])
            elif at in self.becomes:
                inner = self.becomes[at]
                found.append(inner.worth((label, at), inner.worths)[inner.shape.outputs[0]])
            else:
                found.append(hash((label, at, *(found[read] for read in needed(self.shape, at)))))
        return found


def needed(shape: Shape, entry: int) -> list[int]:
    """Return what an entry reads and cannot do without."""
    places = range(shape.input_offsets[entry], shape.input_offsets[entry + 1])
    return [shape.inputs[at] for at in places if shape.kinds[at] != MEMBER]


def with_members(random: Random, shape: Shape) -> Shape:
    """Return a shape some of whose tasks do without some of what they read, when that fails."""
    kinds = [
        MEMBER if kind == DATA and read not in shape.catches and random.random() < 0.3 else kind
        for read, kind in zip(shape.inputs, shape.kinds, strict=True)
    ]
    return replace(shape, kinds=bytes(kinds))


def rows_of(shape: Shape, entry: int) -> set[int]:
    """Return the rows of all scopes that an entry stands in."""
    rows = set[int]()
    for own in (shape.scope[entry], *(row for row, scope in enumerate(shape.scopes) if entry in scope.given)):
        row = own
        while row >= 0:
            rows.add(row)
            row = shape.scopes[row].parent
    return rows


def random_recipe(random: Random, most: int = 8, externals: int = 0, depth: int = 0, harm: float = 0.08) -> Recipe:
    """Return a plan with scopes; some tasks raise, some become plans that are up to `3 - depth` deep."""
    scopes = random.choice((0, 0, 1, 2, 4))
    shape = random_shape(random, most, externals, scopes, outputs=1 if depth else 0)
    shape = with_members(random, shape) if random.random() < 0.3 else shape
    tasks = range(shape.externals, len(shape))
    grow = 0.0 if depth >= 3 else random.choice((0.0, 0.1, 0.3))
    becomes = {at: random_recipe(random, 4, 0, depth + 1, harm) for at in tasks if random.random() < grow}
    bad = frozenset(at for at in tasks if at not in becomes and random.random() < harm)
    return Recipe(shape, bad, becomes, above=frozenset(at for at in bad if random.random() < 0.3))


@st.composite
def recipes(draw: st.DrawFn, most: int = 10) -> Recipe:
    """Random plans with scopes, whose tasks become other plans."""
    return random_recipe(Random(draw(st.integers(0, 2**32))), draw(st.integers(1, most)), harm=0.15)
