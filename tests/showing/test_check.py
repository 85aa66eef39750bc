"""What is wrong with a graph is said before anything runs."""

from __future__ import annotations

import dataclasses
import operator
import socket
import threading
import tracemalloc
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NewType, Protocol, TypeVar, Union

import networkx
import numpy
import pytest

from lazygraph import chain, check, delayed, each, group
from lazygraph.errors import LargeLiteralWarning
from lazygraph.executors.sync import SyncExecutor
from lazygraph.planning.passes import optimize
from lazygraph.planning.plan import plan_of
from lazygraph.showing.annotated import never_fits
from lazygraph.showing.check import CODES, Finding, Target, large_literals
from lazygraph.showing.check import check as check_for
from lazygraph.values.options import NAMES

plus = delayed(operator.add)
ELSEWHERE = Target("elsewhere", NAMES, sends=True)
HERE = Target("here", NAMES, sends=False)
BIG = 50_000_000


def found(*things: Any, target: Target | None = None) -> list[Finding]:
    return [finding for thing in things for finding in check_for(thing.graph, target)]


def codes(*things: Any, target: Target | None = None) -> list[str]:
    return [finding.code for finding in found(*things, target=target)]


class Connection:
    def __init__(self, conn: Any) -> None:
        self.conn = conn


class Slotted:
    __slots__ = ("held",)

    def __init__(self, held: Any) -> None:
        self.held = held


class Careful(Connection):
    def __getstate__(self) -> dict[str, Any]:
        return {"conn": None}


@pytest.fixture
def a_socket() -> Iterator[socket.socket]:
    with socket.socket() as made:
        yield made


# -- findings ----------------------------------------------------------------------------------------


def test_nothing_is_wrong_with_most_graphs() -> None:
    shared = plus(1, [2, {"k": (3, 4)}])
    assert check(plus(shared, shared)) == []
    assert (plus.s(1, 2) | group(plus.s(3), plus.s(4)) | delayed(sum).s()).check() == []
    assert check([shared, {"in": plus(shared, 1)}], plus.s(1, 2), 7, executor="sync") == []
    assert check() == []


def test_a_finding_is_one_line_and_a_value() -> None:
    (finding,) = check(plus(threading.Lock(), 1))
    assert str(finding) == f"LG003 warning: {finding.message}"
    assert "\n" not in str(finding)
    assert (finding.node, finding.severity) == ("add", "warning")
    assert finding.origin.startswith(f"{__file__}:") and finding.origin in finding.message
    with pytest.raises(dataclasses.FrozenInstanceError):
        finding.code = "LG004"  # type: ignore[misc]
    assert finding == dataclasses.replace(finding)


def test_every_code_has_a_meaning_and_keeps_it() -> None:
    assert list(CODES) == [f"LG{number:03}" for number in range(1, 13)]
    assert CODES["LG001"].startswith("a cycle") and CODES["LG007"].startswith("a large literal")


# -- what cannot travel ------------------------------------------------------------------------------


def test_the_attribute_that_cannot_travel_is_named(a_socket: socket.socket) -> None:
    def sentence(argument: Any) -> str:
        (finding,) = found(delayed(repr)(argument), target=ELSEWHERE)
        assert (finding.code, finding.severity) == ("LG003", "error")
        return finding.message

    assert "argument 1, at .conn: socket <socket.socket> cannot be sent to another process" in sentence(
        Connection(a_socket)
    )
    assert "argument 1, at [1]['k'].conn.conn: socket" in sentence([0, {"k": Connection(Connection(a_socket))}])
    assert "argument 1, at .held[0]: lock <_thread.lock>" in sentence(Slotted((threading.Lock(),)))
    assert "argument 1, at .conn closure variable 'a_socket': socket" in sentence(Connection(lambda: a_socket))
    assert "argument 1: generator 'items' cannot" not in sentence(item for item in [1])
    assert "make a list of it first" in sentence(item for item in [1])
    assert "open it inside the task" in sentence(a_socket)


def test_the_argument_is_named_as_it_was_written() -> None:
    lock, one = threading.Lock(), plus(1, 2)
    assert "argument 2: lock" in found(plus(1, lock))[0].message
    assert "argument key=: lock" in found(delayed(sorted)([3], key=lock))[0].message
    assert "argument 1: lock" in found(delayed(len)([one, lock]))[0].message
    assert "argument default=, at ['b']: lock" in found(delayed(max)([one], default={"b": lock}))[0].message


def test_what_says_itself_how_to_travel_is_right(a_socket: socket.socket) -> None:
    assert codes(delayed(repr)(Careful(a_socket))) == []


def test_in_this_process_what_cannot_travel_is_no_error() -> None:
    bad = delayed(repr)(threading.Lock())
    assert [finding.severity for finding in found(bad)] == ["warning"]
    assert [finding.severity for finding in found(bad, target=HERE)] == ["warning"]
    assert [finding.severity for finding in found(bad, target=ELSEWHERE)] == ["error"]
    assert [finding.severity for finding in check(bad, executor="threads")] == ["warning"]


def test_too_deeply_nested_to_travel() -> None:
    deep: Any = []
    for _ in range(10_000):
        deep = [deep]
    (finding,) = found(delayed(len)(deep))
    assert finding.code == "LG003" and "RecursionError" in finding.message


def test_a_function_that_takes_along_what_it_must_not(a_socket: socket.socket, tmp_path: Path) -> None:
    lock, items = threading.Lock(), (item for item in [1])

    def sentence(function: Callable[..., Any]) -> str:
        (finding,) = found(delayed(function)(), target=ELSEWHERE)
        assert (finding.code, finding.severity) == ("LG006", "error")
        return finding.message

    def locked() -> Any:
        return lock

    assert "function 'locked' takes a lock along (closure variable 'lock'" in sentence(locked)
    assert "takes a socket along (closure variable 'a_socket'" in sentence(lambda: a_socket)
    assert "takes a generator along (closure variable 'items'" in sentence(lambda: items)
    assert "takes a lock along (default of 'held'" in sentence(lambda held=lock: held)
    with open(tmp_path / "text", "w+") as file:
        assert "takes a file along (closure variable 'file'" in sentence(lambda: file)
        assert "pass its path and open it inside the task" in sentence(lambda: file)


def test_a_function_that_cannot_travel_for_another_reason(a_socket: socket.socket) -> None:
    inner = Connection(a_socket)
    (finding,) = found(delayed(lambda: inner)())
    assert finding.code == "LG004"
    assert (
        "cannot be sent to another process, because of closure variable 'inner'.conn: <socket.socket>"
        in finding.message
    )


def test_a_function_of_a_module_travels_by_name() -> None:
    assert codes(delayed(threading.current_thread)()) == []
    assert codes(delayed(_uses_a_global_lock)()) == []


_LOCK = threading.Lock()


def _uses_a_global_lock() -> bool:
    return _LOCK.locked()


# -- what is large -----------------------------------------------------------------------------------


def test_a_large_literal_is_one_constant_and_one_finding() -> None:
    big = bytes(BIG)
    graph = delayed(sum)([delayed(len)(big) for _ in range(100)]).graph
    assert sum(constant is big for constant in graph.tables.constants) == 1
    (finding,) = graph.check()
    assert (finding.code, finding.severity, finding.node) == ("LG007", "warning", "len")
    assert "argument 1 is a literal of 50 MB" in finding.message
    assert "load it in a task, or send it once with client.scatter(value)" in finding.message


def test_large_values_of_any_kind_and_none_for_an_executor_in_this_process() -> None:
    for big in (bytearray(BIG), "x" * BIG, [bytes(BIG // 2), bytes(BIG // 2 + 1)], array("d", bytes(BIG))):
        assert codes(delayed(len)(big)) == ["LG007"]
        assert codes(delayed(len)(big), target=HERE) == []
    assert codes(delayed(len)(bytes(1_000_000))) == []
    assert "more than 100 MB" in found(delayed(len)(bytes(300_000_000)))[0].message


def test_a_large_array_is_measured_without_being_copied() -> None:
    array_of_zeros = numpy.zeros((5_000, 1_000))
    tracemalloc.start()
    (finding,) = found(delayed(len)([array_of_zeros]))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "argument 1 is a literal of 40 MB" in finding.message
    assert peak < 10_000_000


def test_a_function_that_takes_a_large_object_along() -> None:
    table = bytes(BIG)
    (finding,) = found(delayed(lambda: table)())
    assert (finding.code, finding.severity) == ("LG005", "warning")
    assert "takes a large object along (closure variable 'table' of 50 MB)" in finding.message
    assert codes(delayed(lambda: table)(), target=HERE) == []


def test_ten_thousand_functions_of_one_piece_of_code_are_looked_at_once_and_each_for_what_it_holds() -> None:
    calls = [delayed(lambda at=at: at)() for at in range(1000)]
    lock = threading.Lock()
    assert codes(delayed(list)([*calls, *(delayed(lambda at=at: at)() for at in (1, lock))])) == ["LG006"]


# -- what is asked of the executor -------------------------------------------------------------------


def test_an_option_that_the_executor_does_not_honour() -> None:
    node = plus.options(retries=3, priority=1, name="named")(1, 2)
    assert check(node) == []
    (finding,) = found(node, target=Target("modest", {"priority"}, sends=False))
    assert (finding.code, finding.severity, finding.node) == ("LG008", "error", "named")
    assert "executor 'modest' does not honour retries=; remove the option or choose another executor" in finding.message


class Offering(SyncExecutor):
    """Says what its workers have."""

    capabilities = NAMES
    offers = {"queues": ["default", "io"], "resources": {"gpu": 1}, "workers": ["w1", "w2"]}


def test_a_queue_a_resource_or_a_worker_that_is_not_there() -> None:
    def sentences(**options: Any) -> list[str]:
        findings = check(plus.options(**options)(1, 2), executor=Offering())
        assert {(finding.code, finding.severity) for finding in findings} <= {("LG009", "warning")}
        return [finding.message for finding in findings]

    assert sentences() == sentences(queue="io", resources={"gpu": 1}, workers=["w2", "w9"]) == []
    assert "no worker takes queue 'high' (there are: 'default', 'io')" in sentences(queue="high")[0]
    assert "no worker has resource 'tpu' (there are: 'gpu')" in sentences(resources={"tpu": 1})[0]
    assert "no worker has 2 of resource 'gpu' (the most is 1)" in sentences(resources={"gpu": 2})[0]
    assert "there is no worker 'w9' (there are: 'w1', 'w2')" in sentences(workers=["w9"])[0]


def test_an_executor_that_says_nothing_of_its_workers_is_not_asked() -> None:
    assert codes(plus.options(queue="high")(1, 2), target=ELSEWHERE) == []


def test_the_executor_may_be_named() -> None:
    assert [finding.code for finding in check(plus.options(workers=["w"])(1, 2), executor="sync")] == ["LG008"]
    with pytest.raises(ValueError, match="there is no executor 'snyc'; did you mean 'sync'"):
        check(plus(1, 2), executor="snyc")


# -- annotated types ---------------------------------------------------------------------------------


@delayed
def number(x: int = 0) -> int:
    return x


@delayed
def text(x: str) -> str:
    return x


@delayed
def numbers(x: list[int], *, by: str = "") -> list[int]:
    return x


def test_an_edge_whose_types_cannot_match() -> None:
    (finding,) = check(text(number(1)))
    assert (finding.code, finding.severity, finding.node) == ("LG010", "warning", "text")
    assert "argument 1 is annotated str, but it is the value of node 'number'" in finding.message
    assert "which is annotated int; correct the call or one of the annotations" in finding.message
    assert codes(number(text("a")), numbers([number(1)], by=number(1)), text(numbers([1]))) == ["LG010"] * 3
    (finding,) = check(numbers([number(1), text("a"), text("b")]))
    assert "each item of argument 1 is annotated int, but it is the value of node 'text'" in finding.message


def test_edges_of_canvases_too() -> None:
    assert codes(number.s(1) | text.s()) == ["LG010"]
    assert codes(group(number.s(1), text.s("a")) | numbers.s()) == ["LG010"]
    assert codes(chain(number.s(1), text.si("a")), number.s(1) | group(number.s(), text.si("a"))) == []


def test_types_that_may_match_are_no_finding() -> None:
    assert codes(number(number(1)), numbers([number(1), 2]), numbers(numbers([1]), by=text("a"))) == []
    assert codes(number(plus(1, 2)), plus(text("a"), number(1)), delayed(len)([text("a")])) == []


def test_classes_as_tasks() -> None:
    @delayed
    def wants(x: Connection) -> None: ...

    assert codes(wants(delayed(Connection)(1)), wants(delayed(Careful)(1))) == []
    assert codes(number(delayed(Connection)(1))) == ["LG010"]


def test_annotations_that_cannot_be_understood_are_silent() -> None:
    def missing(x: Missing) -> Missing: ...  # type: ignore[name-defined]  # noqa: F821

    def odd(x: Any) -> Any: ...

    odd.__annotations__ = {"x": "print('this is not run')", "return": "list["}
    assert codes(delayed(missing)(number(1)), number(delayed(missing)(1)), number(delayed(odd)(number(1)))) == []
    odd.__annotations__ = {"x": [1, {}], "return": {"not": "a type"}}
    assert codes(number(delayed(odd)(number(1)))) == []


def test_a_bound_task_gets_its_context_first() -> None:
    @delayed(bind=True)
    def bound(self: Any, x: str) -> None: ...

    assert codes(bound(text("a"))) == []
    assert codes(bound(number(1))) == ["LG010"]


def test_the_same_pair_is_said_once() -> None:
    assert codes(delayed(list)([text(number(at)) for at in range(100)])) == ["LG010"]


class Reads(Protocol):
    def read(self) -> str: ...


T = TypeVar("T")
UserId = NewType("UserId", int)


@pytest.mark.parametrize(
    ("given", "wanted", "expected"),
    [
        (int, str, True),
        (int, int, False),
        (bool, int, False),
        (int, float, False),
        (float, int, False),
        (int, object, False),
        (object, int, False),
        (type(None), int, True),
        (type(None), int | None, False),
        (int | None, int, False),
        (int | None, str | bytes, True),
        (Union[Any, str], bytes, False),  # noqa: UP007 - of the typing module
        (list[int], list[str], True),
        (list[int], list[float], False),
        (list[int], list, False),
        (list, list[str], False),
        (list[int], set[int], True),
        (list[list[int]], list[list[str]], True),
        (list[int], int, True),
        (int, Sequence[int], True),
        (list[int], Sequence[str], False),
        (str, Iterable[str], False),
        (Connection, Iterable, False),
        (Connection, Careful, False),
        (Connection, Slotted, True),
        (Connection, Reads, False),
        (int, Any, False),
        (Any, int, False),
        (int, T, False),
        (int, Literal["a"], False),
        (int, Callable[[], int], True),
        (UserId, int, False),
        (UserId, str, True),
        (bytes, bytearray, False),
        (dict[str, int], dict[int, str], False),
        (dict[str, int], list[int], True),
    ],
)
def test_only_what_is_certain_counts(given: Any, wanted: Any, expected: bool) -> None:
    assert never_fits(given, wanted) is expected


# -- graphs that are none ------------------------------------------------------------------------------


def test_a_networkx_graph_is_checked_before_it_is_a_graph() -> None:
    graph = networkx.DiGraph([("a", "b"), ("b", "a"), ("lost", "c")])
    for node in "abc":
        graph.nodes[node]["function"] = int
    assert [(finding.code, finding.severity) for finding in check(graph)] == [("LG001", "error"), ("LG002", "error")]
    assert "a -> b -> a" in check(graph)[0].message
    assert "'lost' has neither a function nor a value; 'c' reads it" in check(graph)[1].message


def test_a_node_that_nobody_uses() -> None:
    graph = networkx.DiGraph()
    graph.add_node("asked", function=int, output=True)
    graph.add_node("spare", function=int)
    (finding,) = check(graph)
    assert (finding.code, finding.severity, finding.node) == ("LG011", "warning", "spare")
    made = plus(1, 2).graph
    left = dataclasses.replace(made, shape=dataclasses.replace(made.shape, outputs=array("i")))
    assert [finding.code for finding in check(left)] == ["LG011"]
    assert codes(plus.s(1, 2).link(plus.s(3))) == []  # nobody waits for a callback, and it is wanted


def test_a_right_networkx_graph_is_checked_as_a_graph() -> None:
    graph = networkx.DiGraph()
    graph.add_node("a", function=number.__wrapped__, args=(1,), options={"workers": ["w"]})
    graph.add_node("b", function=text.__wrapped__)
    graph.add_edge("a", "b")
    assert [finding.code for finding in check(graph, executor="sync")] == ["LG008", "LG010"]


def test_a_promise_that_looks_like_a_networkx_graph_is_a_promise() -> None:
    assert check(plus(1, 2).is_directed) == []


# -- and it is cheap, and runs nothing -----------------------------------------------------------------


def test_nothing_is_run() -> None:
    ran: list[int] = []
    node = delayed(lambda: ran.append(1))()
    assert codes(node) == [] and ran == []


def test_each_constant_is_pickled_once_however_many_read_it() -> None:
    class Counting:
        tries = 0

        def __reduce__(self) -> Any:
            type(self).tries += 1
            return int, (1,)

    shared = Counting()
    assert codes(delayed(list)([delayed(repr)(shared) for _ in range(100)])) == []
    assert Counting.tries == 1


def test_a_fused_graph_can_be_checked_too() -> None:
    node = plus(plus(1, threading.Lock()), 2)
    graph = optimize(node.graph)
    assert len(graph) == 1
    (finding,) = check(graph)
    assert finding.code == "LG003" and "node 'add' (" in finding.message and "argument 2: lock" in finding.message


def test_wide_and_deep() -> None:
    deep = number(0)
    for _ in range(10_000):
        deep = number(deep)
    assert codes(deep, delayed(list)([text(str(at)) for at in range(10_000)])) == []
    assert codes(delayed(list).s([1]) | each(number.s())) == []


def test_a_plan_with_a_large_literal_has_a_warning_ready() -> None:
    big = bytes(BIG)
    plan = plan_of([delayed(sum)([plus(delayed(len)(big), 1) for _ in range(3)])])
    (warning,) = large_literals(plan)
    assert isinstance(warning, LargeLiteralWarning)
    assert str(warning).startswith(f"argument 1 of 'len' of 50 MB is part of the graph (built at {__file__}:")
    assert list(large_literals(plan_of([plus(1, threading.Lock())]))) == []
