"""The order of running: as few values held as can be, in a time that grows with the graph."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lazygraph import Graph, chain, delayed
from lazygraph.language.promise import Delayed
from lazygraph.planning import holding, order
from lazygraph.planning.lower import lower
from lazygraph.planning.optimize import reorder
from lazygraph.planning.order import depth_first, needs, tries
from lazygraph.planning.selecting import select
from lazygraph.values.graph import Shape, Tables
from lazygraph.values.node import External

join = delayed(lambda *args: args)


def held(shape: Shape, done: Sequence[int]) -> int:
    """How many tasks among those that are done have a reader that is not: the definition, spelt out."""
    made = set(done)
    unread = {read for at in range(len(shape)) if at not in made for read in shape.inputs_of(at)}
    return len({at for at in made & unread if at >= shape.externals})


def peak(shape: Shape, order: Sequence[int]) -> int:
    return max(held(shape, order[:done]) for done in range(len(order) + 1))


def order_of(shape: Shape) -> list[int]:
    return depth_first(shape) or list(range(len(shape)))


def least_peak(shape: Shape) -> int:
    """The best of all orders, by trying them all: from which sets of finished tasks can one go on?"""
    everything = frozenset(range(len(shape)))
    limit = 0
    while True:
        seen = {frozenset(range(shape.externals))}
        stack = list(seen)
        while stack:
            done = stack.pop()
            if done == everything:
                return limit
            for at in everything - done:
                after = done | {at}
                ready = done.issuperset(shape.inputs_of(at))
                if ready and after not in seen and held(shape, list(after)) <= limit:
                    seen.add(after)
                    stack.append(after)
        limit += 1


# -- trees -----------------------------------------------------------------------------------------

# A tree as nested lists: a node is the list of its inputs.
TREES: st.SearchStrategy[list[Any]] = st.recursive(
    st.just([]), lambda inner: st.lists(inner, min_size=1, max_size=3), max_leaves=5
)


def size(tree: list[Any]) -> int:
    return 1 + sum(map(size, tree))


def promise(tree: list[Any]) -> Any:
    return join(*[promise(inner) for inner in tree])


SMALL_WOODS = st.lists(TREES, min_size=1, max_size=3).filter(lambda trees: sum(map(size, trees)) <= 9)


@given(SMALL_WOODS)
def test_no_order_of_trees_holds_less(trees: list[Any]) -> None:
    shape = lower([promise(tree) for tree in trees]).shape
    assert peak(shape, order_of(shape)) == least_peak(shape)


@given(TREES.filter(lambda tree: 1 < size(tree) <= 9))
def test_a_tree_needs_what_its_best_order_holds(tree: list[Any]) -> None:
    shape = lower([promise(tree)]).shape
    counts = [end - start for start, end in pairwise(shape.input_offsets)]
    assert needs(counts, shape.inputs)[shape.outputs[0]] == least_peak(shape)


@given(SMALL_WOODS, st.randoms(use_true_random=False))
def test_trees_are_put_in_order_whatever_order_they_have(trees: list[Any], random: Any) -> None:
    shape = lower([promise(tree) for tree in trees]).shape
    mixed = shuffled(shape, random)
    assert peak(mixed, order_of(mixed)) == least_peak(mixed)


def shuffled(shape: Shape, random: Any) -> Shape:
    """The same tasks, numbered in another order in which they could run."""
    return select(Graph(shape, Tables((), ())), any_order(shape, random)).shape


def any_order(shape: Shape, random: Any) -> list[int]:
    done: list[int] = list(range(shape.externals))
    while len(done) < len(shape):
        ready = [at for at in range(len(shape)) if at not in done and set(shape.inputs_of(at)) <= set(done)]
        done.append(random.choice(ready))
    return done


def test_the_hungriest_input_goes_first() -> None:
    light = join(1)
    heavy = join(join(join(1), join(2)), join(join(3), join(4)))
    shape = lower([join(light, heavy)]).shape
    assert peak(shape, range(len(shape))) == 4
    assert peak(shape, order_of(shape)) == 3


def test_of_inputs_that_need_the_same_the_first_goes_first() -> None:
    light, heavies = join(1), [join(join(n), join(n)) for n in range(3)]
    shape = lower([join(light, *heavies)]).shape
    made = order_of(shape)
    assert made == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 10]


def test_a_wide_reduction_holds_the_logarithm() -> None:
    level = [join(i) for i in range(1024)]
    while len(level) > 1:
        level = [join(a, b) for a, b in zip(level[::2], level[1::2], strict=True)]
    graph = reorder(lower(level))
    assert holding.peak(holding.edges_of(graph.shape), range(len(graph))) == 11


@pytest.mark.parametrize(
    "make",
    [
        lambda: [join(i) for i in range(10)],
        lambda: [join(*[join(i) for i in range(10)])],
        lambda: [join(join(join(i))) for i in range(10)],
        lambda: [join(join(join(1), join(2)), join(join(3), join(4)))],
        lambda: [join(join(join(1), join(2)), join(3)), join(join(4), join(5))],
    ],
    ids=["independent", "fan-in", "chains", "tree", "trees"],
)
def test_what_is_in_the_best_order_stays_as_it_is(make: Callable[[], list[Any]]) -> None:
    graph = lower(make())
    assert depth_first(graph.shape) is None
    assert reorder(graph) is graph


# -- any graph -------------------------------------------------------------------------------------


@st.composite
def dags(draw: st.DrawFn, largest: int = 15) -> list[Any]:
    """What is asked for of some tasks that read each other, values made elsewhere, and have callbacks."""
    made: list[Any] = [join(), External(), External()]
    for _ in range(draw(st.integers(0, largest))):
        made.append(join(*draw(st.lists(st.sampled_from(made), max_size=4, unique_by=id))))
    asked = draw(st.lists(st.sampled_from(made), min_size=1, max_size=3))
    if draw(st.booleans()):
        asked.append(chain(join.s(made[-1]).link(join.s(), join.s(made[0])), join.s()).to_delayed())
    return asked


@given(dags())
def test_every_entry_is_in_the_order_once_and_after_its_inputs(asked: list[Any]) -> None:
    shape = lower(asked).shape
    made = order_of(shape)
    assert sorted(made) == list(range(len(shape)))
    assert made[: shape.externals] == list(range(shape.externals))
    place = {at: rank for rank, at in enumerate(made)}
    assert all(place[read] < place[at] for at in range(len(shape)) for read in shape.inputs_of(at))
    assert {*shape.outputs, *shape.callbacks} <= set(made)


@given(dags())
def test_no_order_that_was_tried_holds_less_than_the_one_taken(asked: list[Any]) -> None:
    shape = lower(asked).shape
    externals = list(range(shape.externals))
    taken = peak(shape, order_of(shape))
    for tried in tries(holding.edges_of(shape)):
        assert taken <= peak(shape, externals + [at + len(externals) for at in tried])


@given(dags(), st.randoms(use_true_random=False))
def test_a_graph_stays_as_it_is_unless_something_holds_less(asked: list[Any], random: Any) -> None:
    shape = shuffled(lower(asked).shape, random)
    found = depth_first(shape)
    assert found is None or peak(shape, found) < peak(shape, range(len(shape)))


@given(dags(), st.randoms(use_true_random=False))
def test_the_moves_never_make_an_order_hold_more(asked: list[Any], random: Any) -> None:
    shape = lower(asked).shape
    k, edges = shape.externals, holding.edges_of(shape)
    some = [at - k for at in any_order(shape, random)[k:]]
    late = holding.later(edges, some)
    assert sorted(late) == sorted(some)
    moved = holding.sooner(edges, late, len(some) + 1)
    assert moved is not None
    soon, most = moved
    assert sorted(soon) == sorted(some)
    peaks = [peak(shape, [*range(k), *[at + k for at in each]]) for each in (some, late, soon)]
    assert peaks == sorted(peaks, reverse=True)
    assert peaks == [holding.peak(edges, each) for each in (some, late, soon)]
    assert most == peaks[-1]


@given(dags())
def test_reordering_a_graph_makes_its_numbers_the_order(asked: list[Any]) -> None:
    graph = lower(asked)
    shape = reorder(graph).shape
    assert peak(shape, range(len(shape))) == peak(graph.shape, order_of(graph.shape))
    assert all(read < at for read, at in reorder(graph).edges())


@given(dags(7))
def test_a_small_graph_holds_little_more_than_it_must(asked: list[Any]) -> None:
    shape = lower(asked).shape
    assert peak(shape, order_of(shape)) <= least_peak(shape) + 1


def test_values_made_elsewhere_are_held_by_nobody_here() -> None:
    held = External(), External(), External()
    shape = lower([join(join(*held), join(join(*held), join(*held)))]).shape
    assert peak(shape, order_of(shape)) == 2


def test_a_value_is_let_go_before_others_are_made() -> None:
    first, *others = [join(n) for n in range(50)]
    shape = lower([join(join(join(each), join(each, 1)), first) for each in others]).shape
    assert peak(shape, order_of(shape)) == 3


def test_running_sums_are_read_as_they_are_made() -> None:
    total, sums = join(0), []
    for n in range(100):
        part = join(n)
        total = join(total, part)
        sums.append(join(total, part))
    shape = lower(sums[::-1]).shape  # asked for the wrong way round
    assert peak(shape, range(len(shape))) > 100
    assert peak(shape, order_of(shape)) == 2


def test_what_is_free_at_once_runs_as_it_was_asked_for() -> None:
    middle = join(join(join(1), join(2)))
    spare = join(3)
    shape = lower([join(spare, middle), *[join(middle, n) for n in range(5)], join(spare)]).shape
    made = order_of(shape)
    asked = [made.index(at) for at in shape.outputs[1:6]]
    assert asked == sorted(asked)


# -- cost, in steps --------------------------------------------------------------------------------


def steps(work: Callable[[], Any]) -> int:
    """Count the lines of this floor's modules that run."""
    count = 0
    files = {order.__file__, holding.__file__}

    def step(frame: Any, event: str, arg: Any) -> Any:
        nonlocal count
        count += 1
        return step

    def enter(frame: Any, event: str, arg: Any) -> Any:
        return step if frame.f_code.co_filename in files else None

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def ladder(n: int) -> list[Any]:
    left, right = join(1), join(2)
    for _ in range(n // 2):
        left, right = join(left, right), join(right, 0)
    return [left, right]


def shared(n: int) -> list[Any]:
    source = join(1)
    return [join(*[join(source, i) for i in range(n)])]


def neighbours(n: int) -> list[Any]:
    level = [join(i) for i in range(n // 4)]
    for _ in range(3):
        level = [join(*level[max(0, i - 1) : i + 2]) for i in range(len(level))]
    return level


def sums(n: int) -> list[Any]:
    total, each = join(0), []
    for i in range(n // 2):
        total = join(total, i)
        each.append(join(total))
    return each[::-1]


def layers(n: int) -> list[Any]:
    level = [join(i) for i in range(5)]
    for _ in range(n // 5):
        level = [join(*level) for _ in range(5)]
    return level


@pytest.mark.parametrize("make", [ladder, shared, neighbours, sums, layers])
@pytest.mark.parametrize(("few", "many"), [(100, 1_000), (600, 6_000)], ids=["small", "larger"])
def test_every_node_costs_the_same_however_many_there_are(
    make: Callable[[int], list[Delayed]], few: int, many: int
) -> None:
    counted = []
    for n in (few, many):
        shape = lower(make(n)).shape
        counted.append(steps(lambda shape=shape: list(tries(holding.edges_of(shape))) and depth_first(shape)))
    assert 0 < counted[1] < 12 * counted[0]
