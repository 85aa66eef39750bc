"""Equal pure calls are one node; different ones never are; a key names one piece of work."""

from __future__ import annotations

import inspect
import operator
import threading
from collections import OrderedDict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lazygraph import Delayed, compute, delayed, persist
from lazygraph.errors import DuplicateKey, Unkeyable
from lazygraph.planning.lower import lower
from lazygraph.planning.sharing import content_keys, share
from lazygraph.values.keys import key_of
from tests.planning.graphs import Workflow, workflows

plus = delayed(operator.add)
pure_plus = delayed(operator.add, pure=True)
same = delayed(lambda *args, **kwargs: (args, kwargs), pure=True)
first = delayed(lambda x: x, pure=True)


def nodes(*promises: Any) -> int:
    """How many nodes are left of a graph when it has been shared."""
    return len(share(lower(promises)))


def line() -> int:
    """The line this is called from."""
    frame = inspect.currentframe()
    assert frame is not None and frame.f_back is not None
    return frame.f_back.f_lineno


# -- what is one node ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (lambda: same(1, k=[2]), lambda: same(1, k=[2])),
        (lambda: same({1, 2, 3}), lambda: same({3, 2, 1})),
        (lambda: same({"k": (1, None)}), lambda: same({"k": (1, None)})),
        (lambda: same(first(1)), lambda: same(first(1))),
        (lambda: same([first(1), {"k": first(2)}]), lambda: same([first(1), {"k": first(2)}])),
        (lambda: delayed([1, 2], pure=True), lambda: delayed([1, 2], pure=True)),
        (lambda: first.options(queue="io")(1), lambda: first.options(queue="io")(1)),
        (lambda: delayed(lambda x: x, pure=True)(1), lambda: delayed(lambda x: x, pure=True)(1)),
        (lambda: first(lambda x: x + 1), lambda: first(lambda x: x + 1)),
        (lambda: first.s(1).to_delayed(), lambda: first(1)),
        (lambda: plus(1, 2, pure=True), lambda: pure_plus(1, 2)),
    ],
)
def test_equal_calls_are_one_node(left: Any, right: Any) -> None:
    assert nodes(left(), right()) == nodes(left())


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (lambda: first(1), lambda: first(2)),
        (lambda: first(1), lambda: first(True)),
        (lambda: first(0.0), lambda: first(-0.0)),
        (lambda: first(None), lambda: first(False)),
        (lambda: first(0), lambda: first("")),
        (lambda: first(()), lambda: first([])),
        (lambda: first({}), lambda: first(OrderedDict())),
        (lambda: first({"a": 1, "b": 2}), lambda: first({"b": 2, "a": 1})),
        (lambda: same(1, 2), lambda: same(2, 1)),
        (lambda: same(1, 2), lambda: same((1, 2))),
        (lambda: same(1), lambda: same(k=1)),
        (lambda: same(j=1), lambda: same(k=1)),
        (lambda: first(1), lambda: first.options(queue="io")(1)),
        (lambda: first(1), lambda: first.options(retries=3)(1)),
        (lambda: first(1), lambda: first.options(priority=3)(1)),
        (lambda: first(1), lambda: delayed(lambda x: [x], pure=True)(1)),
        (lambda: first(lambda x: x + 1), lambda: first(lambda x: x + 2)),
        (lambda: plus(1, 2), lambda: plus(1, 2)),
        (lambda: plus(1, 2), lambda: pure_plus(1, 2)),
    ],
)
def test_different_calls_are_not(left: Any, right: Any) -> None:
    assert nodes(left(), right()) == nodes(left()) + nodes(right())


def test_equal_pure_calls_run_once() -> None:
    called: list[int] = []

    @delayed(pure=True)
    def f(x: int) -> int:
        called.append(x)
        return x

    assert compute(f(f(1)), f(f(1)), [f(1)]) == (1, 1, [1])
    assert called == [1, 1]


def test_pure_calls_of_one_impure_node_are_one_node() -> None:
    a, b = plus(1, 2), plus(1, 2)
    assert nodes(first(a), first(a)) == 2
    assert nodes(first(a), first(b)) == 4
    assert nodes(first(first(a)), first(first(a)), first(a)) == 3


# -- what other libraries get wrong --------------------------------------------------------------------


def test_the_order_of_a_list_counts() -> None:
    a, b = first(1), first(2)
    assert compute(delayed([a, b], pure=True), delayed([b, a], pure=True)) == ([1, 2], [2, 1])
    assert compute(first([a, b]), first([b, a])) == ([1, 2], [2, 1])
    assert compute(first((a, (b,))), first((b, (a,)))) == ((1, (2,)), (2, (1,)))


def test_the_pairing_of_a_dict_counts() -> None:
    a, b = first(1), first(2)
    assert compute(first({"x": a, "y": b}), first({"x": b, "y": a})) == ({"x": 1, "y": 2}, {"x": 2, "y": 1})
    assert compute(first({a: "x", b: "y"}), first({b: "x", a: "y"})) == ({1: "x", 2: "y"}, {2: "x", 1: "y"})
    assert compute(same(x=a, y=b), same(x=b, y=a)) == (((), {"x": 1, "y": 2}), ((), {"x": 2, "y": 1}))


def test_a_literal_equal_to_a_key_is_a_literal() -> None:
    a = first(5, dask_key_name="a-key")
    key = delayed(lambda: 0, pure=True)().key
    assert compute(same(a, "a-key"), same("a-key", a), first("a-key"), first(key)) == (
        ((5, "a-key"), {}),
        (("a-key", 5), {}),
        "a-key",
        key,
    )
    assert compute(first(key_of(a)), first(content_keys(lower([a]))[0])) == (key_of(a), key_of(a))


def test_a_value_that_looks_like_a_task_is_a_value() -> None:
    task = (len, "abc")
    assert compute(first(task), first([task, {"k": task}]), delayed(task, pure=True)) == (
        task,
        [task, {"k": task}],
        task,
    )
    assert nodes(first(task), first((len, "abcd")), first((max, "abc")), first(3)) == 4


def test_falsy_values_are_values() -> None:
    values = [0, 0.0, False, None, "", b"", [], (), {}, set(), frozenset(), 0j]
    promises = [first(value) for value in [*values, *values]]
    assert nodes(*promises) == len(values)
    found = compute(*promises)
    assert [(type(value), value) for value in found] == [(type(value), value) for value in [*values, *values]]


@given(workflows())
def test_sharing_changes_no_value(workflow: Workflow) -> None:
    assert list(compute(*workflow.promises(), executor="sync")) == workflow.values()


@given(workflows(), st.data())
def test_two_graphs_of_one_program_share_all_that_is_pure(workflow: Workflow, data: st.DataObject) -> None:
    once, twice = workflow.promises(), [*workflow.promises(), *workflow.promises()]
    keys = content_keys(lower(twice))
    impure = sum(key is None for key in content_keys(share(lower(once))))
    shared = share(lower(twice))
    known = [key for key in content_keys(shared) if key is not None]
    assert len(known) == len(set(known)) == len({key for key in keys if key is not None})
    assert len(shared) <= len(known) + 2 * impure


# -- given keys ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: plus(1, 2, dask_key_name="k"),
        lambda: delayed([1, {"a": 2}], name="k"),
        lambda: plus.options(key="k")([1], [2]),
    ],
)
def test_calls_with_one_key_are_one_node(make: Any) -> None:
    assert nodes(make(), make()) == 1
    assert nodes(plus(make(), 1), make()) == 2


def test_what_has_no_content_is_the_same_work_if_it_is_one_object() -> None:
    lock, other = threading.Lock(), threading.Lock()
    keep = delayed(lambda x: x)
    assert nodes(keep([lock], dask_key_name="k")) == 1
    kept = [lock]
    assert nodes(keep(kept, dask_key_name="k"), keep(kept, dask_key_name="k")) == 1
    assert nodes(keep(lock, dask_key_name="k"), keep(other, dask_key_name="m")) == 2
    with pytest.raises(DuplicateKey):
        share(lower([keep(lock, dask_key_name="k"), keep(other, dask_key_name="k")]))


def test_what_was_persisted_under_a_key_goes_with_what_it_was_made_by() -> None:
    made = plus(1, 2, dask_key_name="k")
    (kept,) = persist(made)
    (again,) = persist(made)
    assert compute(kept, made, [kept, again], plus(kept, made)) == (3, 3, [3, 3], 6)


def test_one_key_for_different_work_is_an_error() -> None:
    above = line()
    promises = [
        plus(1, 2, dask_key_name="total"),
        plus(1, 3, dask_key_name="total"),
    ]
    with pytest.raises(DuplicateKey) as caught:
        compute(*promises)
    assert isinstance(caught.value, ValueError)
    text = str(caught.value)
    assert "'total'" in text and f"{__file__}:{above + 2}" in text and f"{__file__}:{above + 3}" in text
    assert "give each a key of its own" in text


@pytest.mark.parametrize(
    "make",
    [
        lambda: [delayed(1, name="k"), delayed(2, name="k")],
        lambda: [delayed(1, name="k"), delayed(True, name="k")],
        lambda: [plus(1, 2, dask_key_name="k"), delayed(operator.sub)(1, 2, dask_key_name="k")],
        lambda: [plus(1, 2, dask_key_name="k"), plus.options(queue="io")(1, 2, dask_key_name="k")],
        lambda: [plus(plus(1, 1), 2, dask_key_name="k"), plus(plus(1, 1), 2, dask_key_name="k")],
        lambda: [pure_plus(1, 2, dask_key_name="k"), pure_plus(2, 1, dask_key_name="k")],
        lambda: [plus(plus(1, 2, dask_key_name="k"), 3, dask_key_name="k")],
    ],
)
def test_whatever_makes_it_different(make: Any) -> None:
    with pytest.raises(DuplicateKey, match="'k'"):
        share(lower(make()))


# -- what cannot be keyed ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "path"),
    [
        (lambda lock: same(1, {"config": lock}), "argument 2, ['config']: <lock>"),
        (lambda lock: same(1, k=[lock]), "argument 'k', [0]: <lock>"),
        (lambda lock: same([first(1), [2, lock]]), "argument 1, [1], [1]: <lock>"),
        (lambda lock: same(first(1), k={"a": [first(2), lock]}), "argument 'k', [value 0], [1]: <lock>"),
        (lambda lock: delayed(lambda: lock, pure=True)(), "its function, closure lock: <lock>"),
        (lambda lock: delayed([lock], pure=True), "argument 1, [0]: <lock>"),
    ],
)
def test_a_pure_call_of_what_has_no_content_is_an_error_before_anything_runs(make: Any, path: str) -> None:
    lock = threading.Lock()
    with pytest.raises(Unkeyable) as caught:
        compute(make(lock))
    text = str(caught.value)
    assert path in text and "pure=False" in text
    assert f"{__file__}:" in text and text.startswith("pure node ")


def test_what_is_not_pure_needs_no_key() -> None:
    lock = threading.Lock()
    keep = delayed(lambda x: x is lock)
    assert compute(keep(lock), keep(lock)) == (True, True)
    assert content_keys(lower([keep(lock)])) == [None]


# -- content keys --------------------------------------------------------------------------------------


def test_content_keys_are_those_of_the_promises() -> None:
    a, b = first(1), same(2, k=[first(3)])
    c = same([a, {"k": b}], a)
    keys = content_keys(lower([c]))
    assert keys[-1] == key_of(c)
    assert {key_of(a), key_of(b), key_of(c)} < set(keys)


def test_below_an_impure_node_there_are_none() -> None:
    impure = plus(1, 2)
    promises: list[Delayed] = [first(1), impure, first(impure), first([first(1), first(impure)])]
    graph = lower(promises)
    keys = content_keys(graph)
    assert [keys[at] is not None for at in graph.shape.outputs] == [True, False, False, False]


def test_a_wrapped_value_is_as_pure_as_what_is_in_it() -> None:
    keys = content_keys(lower([first(delayed([1, first(2)])), first(delayed([1, plus(1, 1)]))]))
    assert keys.count(None) == 3


def test_options_say_when_and_where_and_not_what() -> None:
    promises = [first(1), first.options(queue="io", retries=2)(1), first(1, dask_key_name="k")]
    assert len(set(content_keys(lower(promises)))) == 1


def test_a_hundred_thousand_steps() -> None:
    chain = first(0)
    for _ in range(100_000):
        chain = first(chain)
    assert nodes(chain, chain) == 100_001
    assert None not in content_keys(lower([chain]))
