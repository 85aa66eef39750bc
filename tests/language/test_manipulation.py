"""`bind`, `wait_on`, `checkpoint`, `clone`: order without data, and work that is done once more."""

from __future__ import annotations

import operator
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lazygraph
from lazygraph import Delayed, bind, chain, checkpoint, clone, compute, delayed, group, wait_on
from lazygraph.errors import InvalidOption

add = delayed(operator.add)


class Diary:
    """Writes down which steps have run, in order."""

    def __init__(self) -> None:
        self.lines: list[Any] = []

    def step(self, name: str, *inputs: Any, **options: Any) -> Delayed:
        """Return a promise of `name` that is written down when it runs."""

        def run(name: str, *inputs: Any) -> str:
            self.lines.append(name)
            return name

        promise: Delayed = delayed(run, **options)(name, *inputs)
        return promise


@pytest.fixture
def diary() -> Diary:
    return Diary()


# -- bind ------------------------------------------------------------------------------------------


def test_bound_work_starts_after_its_parents(diary: Diary) -> None:
    child = diary.step("second", diary.step("first"))
    parent = diary.step("before")
    assert bind(child, parent).compute() == "second"
    assert diary.lines == ["before", "first", "second"]


def test_bound_work_starts_after_all_of_its_parents_also_in_many_threads(diary: Diary) -> None:
    parents = {i: [diary.step(f"parent {i}")] for i in range(20)}
    children = [diary.step(f"child {i}", diary.step(f"root {i}")) for i in range(20)]
    bound = bind(children, parents)
    assert compute(bound, executor="threads") == ([f"child {i}" for i in range(20)],)
    assert sorted(diary.lines[:20]) == sorted(f"parent {i}" for i in range(20))
    assert len(diary.lines) == 60


def test_the_original_does_not_wait_and_is_as_it_was(diary: Diary) -> None:
    child = diary.step("child")
    bound = bind(child, diary.step("parent"))
    assert bound is not child
    assert child.compute() == "child"
    assert diary.lines == ["child"]
    assert len(child.graph) == 1


def test_original_and_copy_in_one_computation_are_two_nodes(diary: Diary) -> None:
    child = diary.step("child")
    assert compute(child, bind(child, diary.step("parent"))) == ("child", "child")
    assert sorted(diary.lines) == ["child", "child", "parent"]


def test_what_is_omitted_stays_and_does_not_wait(diary: Diary) -> None:
    a = diary.step("a")
    b, c = diary.step("b", a), diary.step("c", a)
    bound = bind((b, c), a, omit=a)
    assert compute(*bound) == ("b", "c")
    assert diary.lines == ["a", "b", "c"]


def test_only_the_lowest_copies_wait_the_others_wait_for_them(diary: Diary) -> None:
    chained = diary.step("c", diary.step("b", diary.step("a")))
    graph = bind(chained, diary.step("parent")).graph
    assert (len(graph), len(list(graph.edges()))) == (5, 4)  # a checkpoint between the parent and its children


def test_a_node_reached_twice_is_copied_once(diary: Diary) -> None:
    top = diary.step("top")
    left, right = diary.step("left", top), diary.step("right", top)
    bound = bind([left, {"again": right}, diary.step("both", left, right)], diary.step("parent"))
    assert compute(bound) == (["left", {"again": "right"}, "both"],)
    assert sorted(diary.lines) == ["both", "left", "parent", "right", "top"]


class Pair(NamedTuple):
    x: Any
    y: Any


@dataclass(frozen=True)
class Report:
    body: Any
    title: str = "none"


@pytest.mark.parametrize(
    "nest",
    [
        lambda d: d,
        lambda d: [d, d],
        lambda d: (1, d),
        lambda d: {"k": {d}},
        lambda d: {d: "key"},
        lambda d: frozenset([d]),
        lambda d: OrderedDict(z=d, a=1),
        lambda d: deque([d], maxlen=3),
        lambda d: Pair(d, [d]),
        lambda d: Report(d, "mine"),
        lambda d: slice(d, None),
        lambda d: [],
        lambda d: 5,
    ],
)
@pytest.mark.parametrize("verb", [lambda x: bind(x, delayed(0) + 1), clone, wait_on], ids=["bind", "clone", "wait_on"])
def test_any_nesting_comes_back_as_it_was(nest: Callable[[Any], Any], verb: Callable[[Any], Any]) -> None:
    nested = nest(add(1, 2))
    again = verb(nested)
    assert type(again) is type(nested)
    assert compute(again) == compute(nested)


def test_lists_nested_deeper_than_python_recurses() -> None:
    nested: Any = add(1, 2)
    for _ in range(10_000):
        nested = [nested]
    for again in (bind(nested, add(1, 1)), clone(nested), wait_on(nested)):
        depth = 0
        while isinstance(again, list):
            again, depth = again[0], depth + 1
        assert (depth, again.compute()) == (10_000, 3)


def test_chains_longer_than_python_recurses() -> None:
    end = delayed(0)
    for _ in range(10_000):
        end = end + 1
    assert bind(end, end).compute() == 10_000
    assert clone(end).compute() == 10_000
    assert len(bind(end, end).graph) == 2 * len(end.graph) + 1


def test_bound_after_a_thousand_parents_has_an_edge_for_each_child_and_each_parent() -> None:
    parents, children = [add(i, 1) for i in range(1000)], [add(i, 2) for i in range(1000)]
    bound = bind(children, parents)
    graph = delayed(bound).graph
    assert len(list(graph.edges())) == 1000 + 1000 + 1000  # into the checkpoint, out of it, and into the list
    assert compute(bound) == ([i + 2 for i in range(1000)],)


def test_bound_to_nothing_is_a_copy(diary: Diary) -> None:
    assert bind(diary.step("child"), []).compute() == "child"
    assert bind(diary.step("child"), 5).compute() == "child"


def test_a_parent_that_fails_keeps_its_children_from_starting(diary: Diary) -> None:
    bound = bind(diary.step("child"), delayed(operator.truediv)(1, 0))
    with pytest.raises(ZeroDivisionError):
        bound.compute()
    assert diary.lines == []


def test_an_attribute_waits_also_when_it_is_called(diary: Diary) -> None:
    word = delayed("word")
    method = bind(word.upper, diary.step("parent"), omit=word)
    assert method().compute() == "WORD"
    assert diary.lines == ["parent"]


def test_calls_of_a_bound_function_wait(diary: Diary) -> None:
    function = delayed(str.upper)
    assert bind(function, diary.step("parent"))("a").compute() == "A"
    assert diary.lines == ["parent"]


def test_what_an_executor_holds_is_not_made_again_but_waits(diary: Diary) -> None:
    held = diary.step("held").persist()
    assert bind(add(held, "!"), diary.step("parent")).compute() == "held!"
    assert bind(held, diary.step("another")).compute() == "held"
    assert diary.lines == ["held", "parent", "another"]


def test_a_future_waits_too_unless_it_is_omitted(diary: Diary) -> None:
    (future,) = lazygraph.start(diary.step("held")).futures
    assert bind(future, diary.step("never"), omit=future) is future
    assert compute(bind([future, (future,)], diary.step("parent"))) == (["held", ("held",)],)
    assert diary.lines == ["held", "parent"]


def test_options_go_with_the_copy() -> None:
    pair = delayed(divmod, nout=2, name="parts")(7, 2)
    assert compute(*bind(pair, add(1, 1))) == (3, 1)
    patient = delayed(divmod, retries=3, queue="io", name="parts")(7, 2)
    with lazygraph.options(queue="other"):
        copies = [bind(patient, pair), clone(patient), bind(patient, [pair, 1], seed=2)]
    assert {(copy._options.retries, copy._options.queue, copy._options.name) for copy in copies} == {(3, "io", "parts")}


def test_what_is_made_to_wait_takes_the_options_around_it() -> None:
    with lazygraph.options(queue="io"):
        made = [checkpoint(add(1, 2)), wait_on(add(1, 2))]
    assert [promise._options.queue for promise in made] == ["io", "io"]


def test_a_canvas_is_bound_as_one_promise(diary: Diary) -> None:
    canvas = group(add.s(1, i) for i in range(3)) | delayed(sum).s()
    bound = bind({"total": canvas, "list": group(add.si(1, 1))}, chain(diary.step("parent"), add.s("!")))
    assert compute(bound) == ({"total": 6, "list": [2]},)
    assert diary.lines == ["parent"]


def test_callbacks_are_bound_too(diary: Diary) -> None:
    note = delayed(lambda value: diary.lines.append(f"linked {value}"))
    canvas = add.s(1, 2).link(note.s(), note.s())
    bound = bind(canvas.to_delayed(), diary.step("parent"))
    assert bound.compute() == 3
    assert diary.lines == ["parent", "linked 3", "linked 3"]


# -- clone -----------------------------------------------------------------------------------------


def test_a_clone_is_computed_again(diary: Diary) -> None:
    once = diary.step("a")
    assert compute(once, once, clone(once)) == ("a", "a", "a")
    assert diary.lines == ["a", "a"]


def test_a_clone_of_one_is_one_and_of_several_a_tuple() -> None:
    a, b = add(1, 2), add(3, 4)
    assert isinstance(clone(a), Delayed)
    assert isinstance(clone(a, b), tuple)
    assert compute(clone(a, [b])) == ((3, [7]),)


def test_clones_made_together_share_what_the_originals_share(diary: Diary) -> None:
    top = diary.step("top")
    b, c = clone(diary.step("b", top), diary.step("c", top))
    assert compute(b, c) == ("b", "c")
    assert diary.lines == ["top", "b", "c"]


def test_a_clone_keeps_what_is_omitted(diary: Diary) -> None:
    top = diary.step("top")
    below = diary.step("below", top)
    assert compute(below, clone(below, omit=[top])) == ("below", "below")
    assert diary.lines == ["top", "below", "below"]
    assert clone(top, omit=top) is top


def test_a_pure_call_is_computed_again_too(diary: Diary) -> None:
    def run(x: int) -> int:
        diary.lines.append(x)
        return x

    a, b = delayed(run, pure=True)(1), delayed(run)(1, pure=True)
    assert compute(a, b) == (1, 1)
    assert diary.lines == [1]
    assert compute(a, *clone(a, b)) == (1, 1, 1)
    assert diary.lines == [1, 1, 1]  # once more for the original, once for both copies
    assert compute(*clone(a, b, seed=1), clone(b, seed=1)) == (1, 1, 1)
    assert diary.lines == [1, 1, 1, 1]


def test_a_pure_call_above_a_copied_one_is_computed_again_too(diary: Diary) -> None:
    end = diary.step("end", diary.step("start", pure=True), pure=True)
    assert compute(end, clone(end)) == ("end", "end")
    assert sorted(diary.lines) == ["end", "end", "start", "start"]


def test_a_node_with_a_key_of_its_own_gets_another(diary: Diary) -> None:
    mine = diary.step("a", key="mine")
    copy = clone(mine)
    assert copy.key.startswith("mine-")
    assert clone(mine).key != copy.key
    assert compute(mine, copy) == ("a", "a")
    assert diary.lines == ["a", "a"]


@pytest.mark.parametrize("options", [{}, {"pure": True}, {"key": "mine"}], ids=["impure", "pure", "key"])
def test_with_a_seed_the_same_clone_twice(diary: Diary, options: dict[str, Any]) -> None:
    end = diary.step("end", diary.step("start", **options))
    one, two, other = clone(end, seed=7), clone(end, seed=7), clone(end, seed="seven")
    assert one.key == two.key != other.key
    assert compute(end, one, two, other) == ("end",) * 4
    assert sorted(diary.lines) == ["end"] * 3 + ["start"] * 3


def test_with_a_seed_other_work_has_another_key(diary: Diary) -> None:
    a, b = diary.step("a"), diary.step("b")
    clones = [clone(a, seed=1), clone(b, seed=1), bind(a, b, seed=1), bind(a, [b, b], seed=1), bind(b, a, seed=1)]
    above = diary.step("c", a)
    clones += [clone(above, seed=1), clone(above, omit=a, seed=1)]
    assert len({promise.key for promise in clones}) == 7
    assert compute(clones) == (["a", "b", "a", "a", "b", "c", "c"],)


def test_bound_twice_with_a_seed_is_bound_once(diary: Diary) -> None:
    child, parents = diary.step("child"), [diary.step("p"), diary.step("q")]
    assert compute(bind(child, parents, seed=1), bind(child, parents, seed=1)) == ("child", "child")
    assert sorted(diary.lines) == ["child", "p", "q"]


def test_a_seed_is_a_text_or_a_number() -> None:
    neither: Any = object()
    with pytest.raises(InvalidOption, match="a text or a number is wanted"):
        clone(add(1, 2), seed=neither)


def test_independent_draws_stay_independent() -> None:
    draws = iter(range(100))
    draw = delayed(lambda: next(draws))
    a, b = draw(), draw()
    c, d = clone(a, b)
    assert len(set(compute(a, b, c, d))) == 4


def test_a_delayed_function_is_its_own_clone() -> None:
    assert clone(add) is add
    assert clone([add, 1])[0] is add


def test_callbacks_run_for_the_clone_too(diary: Diary) -> None:
    note = delayed(lambda value, which: diary.lines.append((which, value)))
    promise = add.s(1, 2).link(note.s("first"), note.s("second") | note.si(0, "third")).to_delayed()
    assert compute(promise, clone(promise)) == (3, 3)
    assert sorted(diary.lines) == sorted([("first", 3), ("second", 3), ("third", 0)] * 2)
    diary.lines.clear()
    assert clone(promise).compute() == 3
    assert diary.lines == [("first", 3), ("second", 3), ("third", 0)]


@pytest.mark.parametrize("options", [{}, {"key": "mine"}, {"pure": True}], ids=["impure", "key", "pure"])
@pytest.mark.parametrize("seed", [None, 7])
def test_handlers_of_failures_run_once_for_every_copy(diary: Diary, seed: int | None, options: Any) -> None:
    note = delayed(lambda failure: diary.lines.append(failure.node))
    divided = delayed(operator.truediv).s(1, 0).set(**options)
    promise = chain(divided, add.s(1)).link_error(note.s()).to_delayed()
    run = lazygraph.start(promise, clone(promise, seed=seed), clone(promise, seed=seed), fail_fast=False)
    with pytest.raises(ZeroDivisionError):
        run.result()
    assert diary.lines == ["truediv"] * 3


def test_a_promise_that_was_given_to_a_canvas_fails_for_the_copy_too(diary: Diary) -> None:
    note = delayed(lambda failure: diary.lines.append(failure.node))
    promise = chain(delayed(operator.truediv)(1, 0), add.s(1)).link_error(note.s()).to_delayed()
    with pytest.raises(ZeroDivisionError):
        lazygraph.start(promise, clone(promise), fail_fast=False).result()
    assert diary.lines == ["truediv", "truediv"]


# -- wait_on and checkpoint ------------------------------------------------------------------------


def test_what_reads_one_waits_for_all(diary: Diary) -> None:
    a, b = wait_on(diary.step("a"), diary.step("b"))
    assert diary.step("reads a", a).compute() == "reads a"
    assert (sorted(diary.lines[:2]), diary.lines[2:]) == (["a", "b"], ["reads a"])
    assert compute(b) == ("b",)


def test_waiting_computes_nothing_twice(diary: Diary) -> None:
    a = diary.step("a")
    again, nested = wait_on(a, {"k": [a, diary.step("b", a)]})
    assert compute(a, again, nested) == ("a", "a", {"k": ["a", "b"]})
    assert diary.lines == ["a", "b"]


def test_waiting_keeps_several_outputs_several() -> None:
    quotient, rest = wait_on(delayed(divmod, nout=2)(7, 2))
    assert compute(quotient, rest) == (3, 1)


def test_waiting_of_a_thousand_has_two_edges_for_each() -> None:
    waiting = wait_on([add(i, 1) for i in range(1000)])
    assert len(list(delayed(waiting).graph.edges())) == 4000  # checkpoint in and out, the value, the list
    assert compute(waiting) == ([i + 1 for i in range(1000)],)


def test_a_checkpoint_is_none_when_all_is_done(diary: Diary) -> None:
    done = checkpoint(diary.step("a"), [diary.step("b"), {"c": diary.step("c")}], 5)
    assert isinstance(done, Delayed)
    assert done.compute() is None
    assert sorted(diary.lines) == ["a", "b", "c"]
    assert checkpoint().compute() is None


def test_a_checkpoint_of_a_canvas_waits_for_all_of_it(diary: Diary) -> None:
    note = delayed(lambda x: diary.lines.append(x))
    assert checkpoint(group(note.s(i) for i in range(3))).compute() is None
    assert sorted(diary.lines) == [0, 1, 2]


def test_a_checkpoint_that_cannot_be_reached_raises_what_went_wrong() -> None:
    with pytest.raises(ZeroDivisionError):
        checkpoint(add(1, 2), delayed(operator.truediv)(1, 0)).compute()


def test_dasks_tuning_words_are_taken() -> None:
    a = add(1, 2)
    assert checkpoint(a, split_every=2).compute() is None
    assert wait_on(a, split_every=False).compute() == 3
    assert bind(a, a, assume_layers=False, split_every=8).compute() == 3
    assert clone(a, assume_layers=False).compute() == 3


# -- any graph -------------------------------------------------------------------------------------


@given(
    reads=st.lists(st.lists(st.integers(0, 10_000), max_size=3), min_size=1, max_size=12),
    pure=st.sets(st.integers(0, 11)),
    omitted=st.sets(st.integers(0, 11), max_size=3),
    before=st.sets(st.integers(0, 11), max_size=3),
)
def test_any_graph_bound_to_any_part_of_it(
    reads: list[list[int]], pure: set[int], omitted: set[int], before: set[int]
) -> None:
    diary, nodes = Diary(), list[Delayed]()
    for at, wanted in enumerate(reads):
        inputs = [nodes[i % at] for i in wanted] if at else []
        nodes.append(diary.step(f"{at}", *inputs, pure=at in pure))
    kept = [nodes[at] for at in omitted if at < len(nodes)]
    parents = [nodes[at] for at in before if at < len(nodes)]
    keys = {node.key for node in nodes}

    bound = bind(nodes, parents, omit=kept)

    assert compute(bound) == ([f"{at}" for at in range(len(nodes))],)
    for at, (node, copy) in enumerate(zip(nodes, bound, strict=True)):
        assert (copy is node) is (at in omitted)
    # Every node that was not omitted has run once as a copy; its original only if somebody needs that.
    originals = {int(name) for node in [*kept, *parents] for name in _names_above(node)}
    expected = [at for at in range(len(nodes)) if at not in omitted] + sorted(originals)
    assert sorted(map(int, diary.lines)) == sorted(expected)
    assert {node.key for node in nodes} == keys


def _names_above(end: Delayed) -> set[str]:
    found, stack = set[Any](), [end]
    while stack:
        node = stack.pop()
        if node not in found:
            found.add(node)
            stack.extend(leaf for leaf in node._leaves if isinstance(leaf, Delayed))
    return {node._leaves[0] for node in found}
