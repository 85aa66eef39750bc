"""Results that `dask.delayed` gets wrong, or accepts in silence, and what they are here."""

from __future__ import annotations

import operator
import pickle
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

import lazygraph
from lazygraph import bind, clone, compute, delayed, options, persist
from lazygraph.errors import DuplicateKey, WrongNumberOfOutputs
from lazygraph.planning.lower import lower
from lazygraph.planning.passes import PASSES
from lazygraph.planning.plan import plan_of


@pytest.fixture(params=["sync", "threads"], autouse=True)
def everywhere(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run each of these on both."""
    with lazygraph.use(request.param):
        yield


def add(x: Any, y: Any) -> Any:
    return x + y


a, b = delayed(add)(0, 1), delayed(add)(1, 1)
"""Promises of 1 and 2."""


# -- pure calls that look alike --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([a, b], [b, a]),
        ((a, b), (b, a)),
        ([a, b], (a, b)),
        ([[a], b], [a, [b]]),
        ({"x": a, "y": b}, {"x": b, "y": a}),
        ({a: "x", b: "y"}, {b: "x", a: "y"}),
        ({"x": a, "y": b}, {"y": a, "x": b}),
        (slice(a, b), slice(b, a)),
        ([a, 1], [a, True]),
        ([a, 1], [a, 1.0]),
        ([a, 0.0], [a, -0.0]),
        ([a, "1"], [a, b"1"]),
        ([a, None], [a, "None"]),
    ],
    ids=repr,
)
def test_pure_collections_that_differ_never_share_a_value(one: Any, other: Any) -> None:
    expected = [delayed(lambda x: x)(each).compute() for each in (one, other)]
    assert repr(expected[0]) != repr(expected[1])
    for make in (lambda x: delayed(x, pure=True), delayed(lambda x: x, pure=True)):
        assert [repr(value) for value in compute(make(one), make(other))] == [repr(value) for value in expected]


@dataclass
class Setting:
    """Says less of itself than it is."""

    name: str
    value: Any = field(repr=False)


def test_pure_calls_are_told_apart_by_content_not_by_repr() -> None:
    value_of = delayed(lambda setting: setting.value, pure=True)
    assert compute(value_of(Setting("s", 1)), value_of(Setting("s", 2))) == (1, 2)


def test_pure_calls_of_functions_that_differ_only_in_what_they_close_over() -> None:
    def times(factor: int) -> Callable[[int], int]:
        return lambda x: x * factor

    assert compute(delayed(times(2), pure=True)(5), delayed(times(3), pure=True)(5)) == (10, 15)


def test_pure_calls_of_partial_functions_and_methods_that_differ() -> None:
    class Scale:
        def __init__(self, by: int) -> None:
            self.by = by

        def apply(self, x: int) -> int:
            return self.by * x

    two, three = (delayed(Scale(by).apply, pure=True)(5) for by in (2, 3))
    assert compute(two, three) == (10, 15)


def test_pure_calls_with_the_same_arguments_under_other_names() -> None:
    minus = delayed(lambda x, y: x - y, pure=True)
    assert compute(minus(x=1, y=2), minus(x=2, y=1), minus(y=1, x=2)) == (-1, 1, 1)


def test_calls_are_not_pure_unless_somebody_says_so() -> None:
    numbers = iter(range(100))
    draw = delayed(lambda: next(numbers))
    assert len(set(compute(*[draw() for _ in range(10)]))) == 10


def test_many_long_names_that_start_alike() -> None:
    def named(at: int) -> Callable[[int], int]:
        def step(x: int) -> int:
            return 10 * x + at

        step.__name__ = "step_" * 60 + str(at)
        return step

    ends = []
    for first in range(20):
        end: Any = delayed(first)
        for at in (first % 7, first % 5):
            end = delayed(named(at), pure=True)(end)
        ends.append(end)
    assert compute(*ends) == tuple(100 * first + 10 * (first % 7) + first % 5 for first in range(20))


# -- literals are literals -------------------------------------------------------------------------


@pytest.mark.parametrize("nest", [lambda x: x, lambda x: [x], lambda x: {"k": (x,)}, lambda x: {x: x}])
def test_a_literal_that_is_equal_to_a_key_is_a_literal(nest: Callable[[Any], Any]) -> None:
    keyed = delayed(add)(2, 3, dask_key_name="b-key")
    same = delayed(lambda x, y: (x, y))(nest("b-key"), keyed)
    assert compute(same, keyed, nest("b-key")) == ((nest("b-key"), 5), 5, nest("b-key"))


def test_a_persisted_value_that_is_equal_to_a_key_is_a_value() -> None:
    (kept,) = persist(delayed(add)("b-", "key"))
    keyed = delayed(add)(2, 3, dask_key_name="b-key")
    assert compute(kept, keyed, delayed(lambda *x: x)(kept, keyed)) == ("b-key", 5, ("b-key", 5))


LOOKS_LIKE_A_TASK: list[Any] = [(len, "abc"), (sum, [1, 2]), [(len, "abc")], {"k": (max, 1, 2)}, (add, 1, 2)]


@pytest.mark.parametrize("value", LOOKS_LIKE_A_TASK, ids=repr)
def test_a_value_that_looks_like_a_task_is_a_value(value: Any) -> None:
    (kept,) = persist(delayed(lambda: value)())
    assert compute(kept, delayed(value), delayed(lambda x: x)(value), value) == (value,) * 4
    assert delayed(lambda x, y: (x, y))(kept, [value, a]).compute() == (value, [value, 1])


# -- several outputs -------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [(), (1,), (1, 2, 3), [1, 2, 3], {"a": 1}, "abc"], ids=repr)
def test_a_wrong_number_of_outputs_is_an_error_when_the_value_arrives(value: Any) -> None:
    first, second = delayed(lambda: value, nout=2)()
    for output in (first, second):
        with pytest.raises(WrongNumberOfOutputs, match=f"nout=2 was promised, but the value has {len(value)}"):
            output.compute()


def test_one_output_is_no_excuse_for_two() -> None:
    (only,) = delayed(lambda: (1, 2), nout=1)()
    with pytest.raises(ValueError, match="nout=1"):
        only.compute()


# -- values that are false -------------------------------------------------------------------------


class Unsure:
    """Has no truth, as an array of several numbers."""

    def __bool__(self) -> bool:
        raise ValueError("the truth of this is ambiguous")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Unsure)

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize("value", [0, 0.0, "", b"", (), [], {}, set(), None, False, Unsure()], ids=repr)
def test_a_value_that_is_false_or_neither_is_a_value(value: Any) -> None:
    made = delayed(lambda: value)()
    (kept,) = persist(made)
    assert compute(made, kept, delayed(lambda x: [x])(kept), kept == value) == (value, value, [value], True)
    assert delayed(lambda x: [x])(kept).persist().compute() == [value]


# -- keys ------------------------------------------------------------------------------------------


def test_one_key_for_different_work_is_an_error_that_names_both_places() -> None:
    first = delayed(add)(1, 1, dask_key_name="same")
    second = delayed(add)(10, 1, dask_key_name="same")
    with pytest.raises(DuplicateKey, match="two different calls have the key 'same'") as caught:
        compute(first, second)
    assert str(caught.value).count(__file__) == 2


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (lambda: delayed(add)(1, 1, dask_key_name="k"), lambda: delayed(operator.sub)(1, 1, dask_key_name="k")),
        (lambda: delayed(add)(a, 1, dask_key_name="k"), lambda: delayed(add)(b, 1, dask_key_name="k")),
        (lambda: delayed([1], name="k"), lambda: delayed([2], name="k")),
        (lambda: delayed([a, b], name="k"), lambda: delayed([b, a], name="k")),
        (lambda: delayed(add)(1, 1, dask_key_name="k"), lambda: delayed(add)(1, True, dask_key_name="k")),
    ],
)
def test_whatever_the_difference_is(one: Callable[[], Any], other: Callable[[], Any]) -> None:
    with pytest.raises(DuplicateKey):
        compute(one(), {"nested": [other()]})


def test_one_key_for_the_same_work_is_one_node() -> None:
    calls: list[int] = []
    note = delayed(lambda x: calls.append(x))
    compute(note(1, dask_key_name="once"), note(1, dask_key_name="once"))
    assert calls == [1]


def test_arguments_named_pure_or_dask_key_name_reach_the_function_that_has_them() -> None:
    honey = delayed(lambda x, pure=None, dask_key_name=None: (x, pure, dask_key_name))
    assert honey(1, pure="mine", dask_key_name="k").compute() == (1, "mine", "k")


# -- copies and order (dask copies the last node only: it computes what is above once, or finds it missing) --------


def test_a_clone_is_independent_down_to_its_first_inputs() -> None:
    calls: list[str] = []
    note = delayed(lambda name, *inputs: calls.append(name))
    end = note("end", note("middle", note("start")))
    compute(end, clone(end))
    assert sorted(calls) == ["end", "end", "middle", "middle", "start", "start"]


def test_what_has_inputs_can_be_bound_down_to_its_first_inputs() -> None:
    calls: list[str] = []
    note = delayed(lambda name, *inputs: calls.append(name))
    end = note("end", note("middle", note("start")))
    bind(end, note("parent", note("above it")), omit=note("elsewhere")).compute()
    assert calls == ["above it", "parent", "start", "middle", "end"]


# -- policy ----------------------------------------------------------------------------------------

QUEUES = ("gpu", "io", "mail", "slow")


def _chained(*queues: str) -> Any:
    """Return a chain with a pure call, equal calls and a leftover, each step with its own policy."""
    end: Any = delayed(add)(1, 2)
    for queue in queues:
        with options(queue=queue, retries=2):
            end = delayed(add, pure=True)(end, 1) + delayed(add, pure=True)(end, 1)
    return end


def test_policy_on_a_node_survives_every_pass() -> None:
    graph = lower([_chained(*QUEUES)])
    for name, one_pass in PASSES.items():
        graph = one_pass(graph)
        shape = graph.shape
        rows = [shape.options[shape.option[at]] for at in graph.tasks()]
        assert {row.queue for row in rows} == {*QUEUES, "default"}, name
        assert {row.retries for row in rows if row.queue != "default"} == {2}, name
    assert "share" in [change.name for change in plan_of([_chained(*QUEUES)]).history]


@pytest.mark.parametrize("optimize_graph", [True, False])
def test_a_plan_asks_for_what_its_nodes_ask_for(optimize_graph: bool) -> None:
    plan = plan_of([_chained(*QUEUES) * 2], optimize_graph=optimize_graph)
    assert {need.option for need in plan.needs()} == {"queue", "retries"}


def test_joining_steps_keeps_those_with_a_policy_apart() -> None:
    end: Any = delayed(1)
    for queue in ("default", "default", "io", "gpu", "gpu", "default", "default"):
        with options(queue=queue):
            end = delayed(add)(end, 1)
    plan = plan_of([end])
    queues = [plan.shape.options[row].queue for row in plan.shape.option]
    assert "fuse" in [change.name for change in plan.history]
    assert [queue for queue in queues if queue != "default"] == ["io", "gpu", "gpu"]


def test_attributes_items_and_operators_made_in_a_block_have_its_policy() -> None:
    value = delayed([3 + 4j])
    with options(priority=7):
        made = [value[0], value[0].real, value.count(1), value * 2, -value[0], divmod(value, 2)]
    assert [promise._options.priority for promise in made] == [7] * 6


def test_pure_calls_with_different_policy_are_two_calls() -> None:
    call = delayed(add, pure=True)
    plan = plan_of([call.options(queue="io")(1, 2), call.options(queue="gpu")(1, 2)])
    assert len(plan) == 2


def test_settings_of_one_thread_are_not_those_of_another() -> None:
    seen: list[Any] = []
    inside, seen_it = threading.Event(), threading.Event()

    def other() -> None:
        inside.wait(10)
        seen.append((delayed(add)(1, 2)._options.queue, delayed(threading.get_ident)().compute(executor="sync")))
        seen_it.set()

    thread = threading.Thread(target=other)
    thread.start()
    with options(queue="io"), lazygraph.use("sync"):
        inside.set()
        seen_it.wait(10)
    thread.join(10)
    assert seen == [("default", thread.ident)]


# -- literals that are large -----------------------------------------------------------------------


def test_a_large_literal_is_stored_once() -> None:
    large = bytes(500_000)
    lengths = [delayed(add)(delayed(len)(large), at) for at in range(20)]
    assert compute(*lengths) == tuple(500_000 + at for at in range(20))
    graph = lower(lengths)
    assert sum(constant is large for constant in graph.tables.constants) == 1
    assert len(pickle.dumps(graph)) < 600_000


def test_a_large_list_of_plain_things_is_one_argument() -> None:
    large = list(range(100_000))
    promise = delayed(sum)(large)
    assert promise._leaves[0] is large
    assert promise.compute() == sum(large)


# -- promises where values are expected ------------------------------------------------------------


def test_promises_in_collections_of_ones_own_reach_the_function_as_values() -> None:
    class Bag(dict[str, Any]):
        """A dict of its own kind."""

    got = delayed(lambda *x: x)(Bag(k=a), frozenset([b])).compute()
    assert got == ({"k": 1}, {2})
    assert type(got[0]) is Bag


def test_a_promise_that_a_task_returns_is_an_error_and_not_the_result() -> None:
    with pytest.raises(TypeError, match="replace"):
        delayed(lambda: a)().compute()


def test_decorated_functions_of_a_module_can_be_pickled_with_the_standard_library() -> None:
    again = pickle.loads(pickle.dumps(decorated))
    assert again(1, 2).compute() == 3
    assert pickle.loads(pickle.dumps(decorated(1, a))).compute() == 2


@delayed
def decorated(x: Any, y: Any) -> Any:
    """A function that its module knows only as decorated."""
    return x + y
