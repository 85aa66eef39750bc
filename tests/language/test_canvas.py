"""Signatures, chain, group, chord: the rules of composing, one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import lazygraph
from lazygraph import Signature, chain, chord, compute, delayed, group
from lazygraph.errors import EmptyCanvas, InvalidOption, UnknownOption, WrongCall, WrongCanvas
from lazygraph.language.canvas import Chain, Group
from lazygraph.language.filling import Before, Within, run
from lazygraph.values.options import said


@delayed
def add(x: Any, y: Any) -> Any:
    return x + y


@delayed
def word(*args: Any, **kwargs: Any) -> str:
    """The call as it was made, as text."""
    return ",".join([*map(str, args), *(f"{name}={value}" for name, value in kwargs.items())])


@delayed
def tsum(values: list[int]) -> int:
    return sum(values)


@delayed
def same(value: Any) -> Any:
    return value


def results(canvas: Any) -> Any:
    return canvas.compute()


# -- rule 1: what comes before is put in front -----------------------------------------------------


def test_upstream_values_are_prepended() -> None:
    assert results(word.s(1) | word.s(2, 3)) == "1,2,3"
    assert results(word.s("a", k=1) | word.s("b", k=2)) == "a,k=1,b,k=2"


def test_an_immutable_signature_waits_and_ignores_the_value() -> None:
    seen: list[str] = []

    @delayed
    def first() -> None:
        seen.append("first")

    @delayed
    def second() -> list[str]:
        return list(seen)

    assert results(first.s() | second.si()) == ["first"]
    assert results(group(first.s(), first.s()) | second.si()) == ["first"] * 3


def test_clone_puts_arguments_in_front_and_merges_keywords() -> None:
    base = word.s(1, k=1, m=1)
    assert results(base.clone((0,), {"k": 2})) == "0,1,k=2,m=1"
    assert results(base) == "1,k=1,m=1"
    assert results(word.si(1).clone((0,), {"k": 2})) == "1"
    assert base.clone(name="own").to_delayed()._options.name == "own"


def test_arguments_given_at_the_start_come_first() -> None:
    assert word.s("b").delay("a").get() == "a,b"
    assert word.s("b").apply_async(("a",), {"k": 1}).get() == "a,b,k=1"
    assert (word.s("b") | word.s("c")).delay("a").get() == "a,b,c"
    assert word.s("b").to_delayed("a").compute() == "a,b"


# -- rule 2: one normal form -----------------------------------------------------------------------

A, B, C, D = (word.s(name) for name in "abcd")


@pytest.mark.parametrize(
    "canvas",
    [
        A | B | C | D,
        A | (B | (C | D)),
        (A | B) | (C | D),
        chain(A, B, C, D),
        chain([A, B, C, D]),
        chain(step for step in (A, B, C, D)),
        chain(chain(A), chain(B, chain(C)), chain(), D),
        chain() | A | B | C | D | chain(),
    ],
)
def test_every_way_to_write_a_chain_is_the_same_chain(canvas: Chain) -> None:
    assert canvas.steps == (A, B, C, D)
    assert isinstance(canvas, Chain)
    assert results(canvas) == "a,b,c,d"


def test_the_type_of_a_canvas_does_not_depend_on_sizes() -> None:
    assert isinstance(chain(A), Chain)
    assert isinstance(chain(), Chain)
    assert [type(group([A] * n)) for n in (0, 1, 2)] == [Group] * 3
    assert [type(chord([A] * n, B)) for n in (0, 1, 2)] == [Chain] * 3


def test_the_empty_chain_is_the_identity_and_has_no_value_of_its_own() -> None:
    assert results(chain() | A) == "a"
    assert chain().to_delayed(5).compute() == 5
    with pytest.raises(EmptyCanvas, match=r"put a signature into it first"):
        chain().compute()


def test_composing_changes_no_operand() -> None:
    first, second = word.s("x"), group(A, B)
    before = (repr(first), repr(second), first.args, second.members)
    first | second | A
    chord(second, first)
    group(second, first)
    first.set(queue="io")
    first.link(A)
    first.clone((1,), {"k": 2})
    second.set(priority=3)
    assert (repr(first), repr(second), first.args, second.members) == before
    assert first.to_delayed()._options.queue == "default"
    assert len(first.to_delayed().graph) == 1


# -- rule 3: shapes never depend on cardinality ----------------------------------------------------


@pytest.mark.parametrize("n", [0, 1, 2, 7])
def test_a_group_gives_a_list_of_its_length(n: int) -> None:
    members = [add.s(i, i) for i in range(n)]
    doubled = [2 * i for i in range(n)]
    assert results(group(members)) == doubled
    assert results(group(members) | tsum.s()) == sum(doubled)
    assert results(chord(members, tsum.s())) == sum(doubled)
    assert results(same.s(1) | group([add.s(i) for i in range(n)])) == [1 + i for i in range(n)]
    assert results(same.s(1) | group([add.s(i) for i in range(n)]) | tsum.s()) == n + sum(range(n))
    assert results(group(members) | group([tsum.s()] * n)) == [sum(doubled)] * n


def test_what_follows_an_empty_group_still_waits() -> None:
    seen: list[str] = []

    @delayed
    def first() -> None:
        seen.append("first")

    @delayed
    def last(values: list[Any]) -> tuple[list[Any], list[str]]:
        return values, list(seen)

    assert results(first.s() | group([]) | last.s()) == ([], ["first"])
    assert results(first.s() | group([]) | group([]) | last.s()) == ([], ["first", "first"])
    assert results(first.s() | group([])) == []
    assert len(seen) == 3


# -- rule 4: groups in groups ----------------------------------------------------------------------


def test_a_group_directly_in_a_group_is_flattened() -> None:
    assert results(group(A, group(B, group(C)), D)) == ["a", "b", "c", "d"]
    assert group(A, group(B, group(C)), D).members == (A, B, C, D)


def test_a_canvas_that_ends_in_a_group_is_one_member() -> None:
    assert results(group(A, B | group(C, D))) == ["a", ["b,c", "b,d"]]
    assert results(group(A, chain(group(B, C)))) == ["a", ["b", "c"]]
    assert results(group(chain(group(chain(group(A)))))) == [[["a"]]]


def test_values_flatten_and_scopes_do_not() -> None:
    low = group(A, group(B, C).set(priority=5), D.set(priority=7)).set(queue="io")
    assert results(group(A, group(B, C).set(pure=True), D)) == ["a", "b", "c", "d"]
    found = [(node._options.priority, node._options.queue) for node in low.to_nodes()]
    assert found == [(0, "io"), (5, "io"), (5, "io"), (7, "io")]


# -- rule 5: one to many, many to many -------------------------------------------------------------


def test_every_member_gets_the_value() -> None:
    assert results(A | group(B, C)) == ["a,b", "a,c"]


def test_every_member_of_a_second_group_gets_the_whole_list() -> None:
    assert results(group(A, B) | group(word.s(), C)) == ["['a', 'b']", "['a', 'b'],c"]
    assert results(group(A, B) | group([same.s()] * 2) | same.s()) == [["a", "b"], ["a", "b"]]


def test_edges_between_groups_grow_with_the_sum_of_their_sizes() -> None:
    graph = (group(same.s(i) for i in range(100)) | group(same.s() for _ in range(100))).graph
    assert len(list(graph.edges())) == 200


# -- rule 6: chords --------------------------------------------------------------------------------


def test_a_chord_is_a_group_and_its_body() -> None:
    assert results(chord([A, B], word.s("end"))) == "['a', 'b'],end"
    assert results(chord((add.s(i, i) for i in range(100)), tsum.s())) == 9900
    assert results(chord(group(A, B), same.s())) == ["a", "b"]


@pytest.mark.parametrize("header", [A, A | B])
def test_a_header_that_is_one_signature_or_chain_is_one_member(header: Any) -> None:
    assert results(chord(header, same.s())) == [results(header)]
    assert results(chord([header], same.s())) == [results(header)]


def test_calling_a_header_with_its_body_starts_it() -> None:
    assert chord(add.s(i, i) for i in range(100))(tsum.s()).get() == 9900
    assert chord(group(A, B))(same.s()).get() == ["a", "b"]
    assert chord([A, B]).set(pure=True)(same.s()).get() == ["a", "b"]
    assert chord([])(tsum.s()).get() == 0


# -- rule 7: options -------------------------------------------------------------------------------


def test_options_of_a_canvas_reach_all_nodes_that_set_no_own() -> None:
    canvas = (A | group(B, C.set(queue="mine"))).set(queue="all", priority=2)
    nodes = canvas.to_nodes()
    assert [(n._options.queue, n._options.priority) for n in nodes] == [("all", 2), ("mine", 2)]


def test_a_default_can_be_set_too() -> None:
    patient = delayed(lambda: 1, retries=3, queue="io")
    options = patient.s().set(retries=0, queue="default").to_delayed()._options
    assert (options.retries, options.queue) == (0, "default")
    with lazygraph.options(retries=0):
        assert patient()._options.retries == 0


LEVELS = ("decorator", "options()", "apply_async", "outer canvas", "nearest canvas", "signature.set")


@pytest.mark.parametrize("highest", range(1, len(LEVELS)), ids=LEVELS[1:])
def test_precedence_of_options(highest: int) -> None:
    """Everything up to level `highest` says its own number; the highest holds."""

    def at(level: int) -> dict[str, Any]:
        return {"priority": level} if level <= highest else {}

    function = delayed(lambda: 1, priority=0)
    with lazygraph.options(**at(1)):
        signature = function.s()
    canvas = chain(chain(signature.set(**at(5))).set(**at(4))).set(**at(3))
    started = run(canvas.filling(Before(), Within(said("apply_async()", at(2)))))
    assert started.value._options.priority == highest


def test_options_are_captured_where_a_signature_is_made() -> None:
    with lazygraph.options(priority=4):
        inside = A.clone(), word.s("x"), word("x")
    assert [inside[1].to_delayed()._options.priority, inside[2]._options.priority] == [4, 4]
    assert inside[0].to_delayed()._options.priority == 0
    assert word.s("x").to_delayed()._options.priority == 0


def test_options_nest() -> None:
    with lazygraph.options(queue="a", priority=1):
        with lazygraph.options(queue="b"):
            inner = word()
        outer = word()
    assert (inner._options.queue, inner._options.priority) == ("b", 1)
    assert (outer._options.queue, outer._options.priority) == ("a", 1)


def test_labels_are_for_one_node() -> None:
    assert A.set(name="mine").to_delayed()._options.name == "mine"
    for wrong in ({"key": "k"}, {"name": "n"}, {"nout": 2}):
        for canvas in (A | B, group(A, B)):
            with pytest.raises(InvalidOption, match="would name many nodes alike"):
                canvas.set(**wrong)
            with pytest.raises(InvalidOption, match="would name many nodes alike"):
                canvas.apply_async(**wrong)
        with pytest.raises(InvalidOption):
            lazygraph.options(**wrong)


def test_unknown_options_suggest() -> None:
    with pytest.raises(UnknownOption, match=r"signature.set\(\) has no option 'retrys'; did you mean 'retries'"):
        A.set(retrys=1)
    with pytest.raises(UnknownOption, match="did you mean 'queue'"):
        A.apply_async(que="x")
    with pytest.raises(UnknownOption, match="did you mean 'queue'"):
        A.clone(que="x")


# -- promises and canvases -------------------------------------------------------------------------


def test_a_promise_starts_a_chain() -> None:
    promise = word("start")
    assert results(promise | A | B) == "start,a,b"
    assert results(chain(promise, A)) == "start,a"
    assert results(promise | group(A, B)) == ["start,a", "start,b"]
    assert (delayed(6) | 1).compute() == 7


def test_a_promise_is_a_member_of_a_group() -> None:
    promise = word("p")
    assert results(group(promise, A, promise)) == ["p", "a", "p"]
    assert results(B | group(promise, A)) == ["p", "b,a"]
    assert results(chord([promise, A], same.s())) == ["p", "a"]
    assert results(group(promise)) == ["p"]


def test_a_promise_used_in_two_canvases_runs_once() -> None:
    called: list[int] = []

    @delayed
    def note() -> int:
        called.append(1)
        return 1

    shared = note()
    assert compute(shared | add.s(1), group(shared, shared), shared | add.s(2)) == (2, [1, 1], 3)
    assert called == [1]


def test_a_signature_used_twice_is_two_nodes() -> None:
    called: list[int] = []

    @delayed
    def note() -> int:
        called.append(1)
        return len(called)

    signature = note.s()
    assert sorted(results(group(signature, signature))) == [1, 2]
    assert results(signature) == 3


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: A | word("p"),
        lambda: chain(A, word("p")),
        lambda: chord([A], word("p")),
        lambda: (A | (word("p") | B)).compute(),
    ],
)
def test_a_promise_behind_other_steps_is_refused(wrong: Callable[[], Any]) -> None:
    with pytest.raises(WrongCanvas, match="a promise takes no values"):
        wrong()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: A | word,
        lambda: word | A,
        lambda: word("p") | word,
        lambda: group(A, word),
        lambda: chain(word, A),
        lambda: chord(A, word),
        lambda: chord([word], A),
        lambda: A.link(word),
        lambda: group(A, abs),
        lambda: chain(A, abs),
    ],
)
def test_a_function_without_its_call_is_refused(wrong: Callable[[], Any]) -> None:
    with pytest.raises(WrongCanvas, match=r"\.s\("):
        wrong()


def test_what_is_no_canvas_does_not_compose() -> None:
    for wrong in (lambda: A | 5, lambda: 5 | A, lambda: group(5), lambda: chain(A, 5)):
        with pytest.raises(TypeError):
            wrong()


# -- holes -----------------------------------------------------------------------------------------


def test_a_hole_that_nobody_fills_is_an_error_at_the_users_line() -> None:
    with pytest.raises(WrongCall, match="missing a required argument: 'y'") as caught:
        add.s(1).compute()
    assert f"written at {__file__}:" in str(caught.value)
    with pytest.raises(WrongCall, match="too many positional arguments"):
        (add.s(1, 2) | add.s(3, 4)).compute()


def test_a_signature_that_no_value_could_make_right_is_refused_at_once() -> None:
    with pytest.raises(WrongCall, match="too many positional arguments"):
        add.s(1, 2, 3)
    with pytest.raises(WrongCall, match="unexpected keyword argument 'z'"):
        add.s(z=1)
    with pytest.raises(WrongCall, match="too many"):
        add.s(1, 2).clone((3,))


def test_keywords_go_where_the_arguments_go() -> None:
    named = word.s(a=1)
    assert results(chain(named, same.s()).to_delayed(7, b=2)) == results(word.s(7, a=1, b=2))
    both = group(named, word.si()).to_delayed(b=2, a=3).compute()
    assert both == [results(word.s(a=3, b=2)), results(word.si())]


# -- map, starmap, chunks --------------------------------------------------------------------------


def test_map_starmap_and_chunks_are_immutable_and_one_member_each() -> None:
    canvas = group(same.map([1, 2]), add.starmap([(1, 2)]), add.chunks([(1, 2), (3, 4), (5, 6)], 2))
    assert results(canvas) == [[1, 2], [3], [[3, 7], [11]]]
    assert results(A | add.chunks([(1, 2)], 1)) == [[3]]


# -- what a canvas is ------------------------------------------------------------------------------


def test_a_canvas_is_a_graph_like_any_other() -> None:
    canvas = add.s(1, 2) | add.s(3)
    assert len(canvas.graph) == 2
    assert "2 nodes" in str(canvas.explain(optimize_graph=False))
    assert canvas._repr_svg_().startswith("<svg")
    assert canvas.persist().compute() == 6


def test_texts() -> None:
    assert repr(add.s(1, y=2)) == "add.s(1, y=2)"
    assert repr(add.si(1, 2)) == "add.si(1, 2)"
    assert repr(A | B) == "word.s('a') | word.s('b')"
    assert repr(chain()) == "chain()"
    assert repr(group(A, B)) == "group(word.s('a'), word.s('b'))"
    assert repr(group([A] * 10)).endswith("… 10 in all)")
    assert repr(chord([A], B)) == "group(word.s('a')) | word.s('b')"
    assert repr(same.s([A, {"k": B}])) == "same.s([word.s('a'), {'k': word.s('b')}])"


def test_a_group_has_a_length_and_members() -> None:
    canvas = group(A, group(B, C))
    assert len(canvas) == 3
    assert list(canvas) == [A, B, C]
    assert all(isinstance(member, Signature) for member in canvas)


def test_lowering_twice_makes_fresh_nodes() -> None:
    canvas = A | group(B, C)
    first, second = canvas.to_nodes(), canvas.to_nodes()
    assert not set(first) & set(second)
