"""What cannot travel is named, with where it was written; what can arrives as it was."""

from __future__ import annotations

import copyreg
import pickle
import sys
import threading
import traceback
import types
from collections import deque
from dataclasses import dataclass
from typing import Any

import cloudpickle
import pytest
import tblib.pickling_support  # type: ignore[import-untyped]

from lazygraph.errors import RemoteError, Unserializable
from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster.net import codec, parcels
from lazygraph.executors.cluster.worker_machine import MISSING, WorkerBlock, WorkLease
from lazygraph.language.delayed import delayed
from lazygraph.planning.plan import Plan, plan_of
from lazygraph.running.program import Program
from lazygraph.running.runner import Report, broken_of, run_lease


def plus(*inputs: Any) -> Any:
    return sum(inputs) + 1


def lock() -> Any:
    return threading.Lock()


class Stubborn:
    """Cannot be pickled, and says so."""

    def __reduce__(self) -> Any:
        raise TypeError("I stay\nhere")


def here() -> str:
    """The file:line of the caller."""
    frame = sys._getframe(1)
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def packed(plan: Plan) -> tuple[m.TablesOnWire, bytes]:
    tables, blobs = codec.pack_tables(plan.shape, plan.tables)
    return tables, b"".join(blobs)


def opened(plan: Plan) -> Program:
    return Program(plan.shape, codec.unpack_tables(plan.shape.names, *packed(plan)))


# -- tables ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimized", [True, False])
def test_tables_work_on_the_other_side(optimized: bool) -> None:
    node = delayed(plus)(delayed(plus)(4), [1, 2][0])
    plan = plan_of([node], optimize_graph=optimized)

    values: dict[int, Any] = {}
    run_lease(opened(plan), deque(range(len(plan))), values, lambda report: None)
    assert values[plan.shape.outputs[0]] == 7


def test_a_function_is_pickled_once_however_often_it_is_called() -> None:
    plan = plan_of([delayed(plus)(*[delayed(plus)(n) for n in range(50)])], optimize_graph=False)

    assert len(packed(plan)[0].functions) == 1


@pytest.mark.parametrize("optimized", [True, False])
def test_a_function_that_cannot_be_pickled_is_named_with_where_it_was_called(optimized: bool) -> None:
    held = Stubborn()

    def keeps_a_lock() -> Any:
        return held

    node, where = delayed(keeps_a_lock)(), here()

    with pytest.raises(Unserializable) as caught:
        packed(plan_of([delayed(plus)(node)], optimize_graph=optimized))
    assert "function 'keeps_a_lock'" in str(caught.value)
    assert "TypeError: I stay here" in str(caught.value)
    assert f"built at {where}" in str(caught.value)


def test_an_argument_that_cannot_be_pickled_is_named_with_where_it_was_given() -> None:
    node, where = delayed(plus)(1, Stubborn()), here()

    with pytest.raises(Unserializable) as caught:
        packed(plan_of([node, delayed(plus)(2)], optimize_graph=False))
    assert str(caught.value) == (
        f"argument Stubborn of 'plus' cannot be sent to another process: TypeError: I stay here (built at {where})"
    )


def test_a_module_that_the_worker_lacks_is_said_when_the_function_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("only_at_the_client")
    exec("def inner(): return 1", module.__dict__)
    monkeypatch.setitem(sys.modules, "only_at_the_client", module)
    plan = plan_of([delayed(module.inner)(), delayed(plus)()], optimize_graph=False)
    sent = packed(plan)
    monkeypatch.delitem(sys.modules, "only_at_the_client")

    program = Program(plan.shape, codec.unpack_tables(plan.shape.names, *sent))
    broken, fine = plan.shape.outputs
    with pytest.raises(Unserializable, match=r"function 'inner' .*register_pickle_by_value"):
        program.run(broken, {})
    assert program.run(fine, {}) == 1


# -- exceptions ------------------------------------------------------------------------------------


class TakesTwo(KeyError):
    """Survives pickling, but not unpickling: its arguments are not those of its class."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def round_trip(error: BaseException, text: str = "Traceback ...\nTakesTwo: 1 and 2\n") -> BaseException:
    return codec.unpack_exception(codec.pack_exception(error, text), "node", text)


def test_an_exception_arrives_as_it_was_with_its_remote_traceback() -> None:
    again = round_trip(ValueError(1, "two"))

    assert type(again) is ValueError and again.args == (1, "two")
    assert again.__notes__ == ["Remote traceback of 'node':\nTraceback ...\nTakesTwo: 1 and 2"]


@pytest.mark.parametrize("error", [TakesTwo(1, 2), type("Odd", (KeyError,), {"__reduce__": Stubborn.__reduce__})("x")])
def test_an_exception_that_does_not_survive_is_stood_in_for(error: KeyError) -> None:
    again = round_trip(error)

    assert isinstance(again, RemoteError) and isinstance(again, KeyError)
    assert (again.type_name, again.message) == (type(error).__qualname__, str(error))


def test_an_exception_that_cannot_be_stood_in_for_by_its_base_is_still_a_remote_error() -> None:
    class Strange(UnicodeDecodeError):
        __reduce__ = Stubborn.__reduce__

    again = round_trip(Strange("utf-8", b"\xff", 0, 1, "bad byte"))

    assert isinstance(again, RemoteError) and again.type_name.endswith("Strange")


def test_a_class_of_exceptions_that_is_not_here_becomes_a_remote_error() -> None:
    blob = cloudpickle.dumps(ValueError()).replace(b"ValueError", b"ValueErrox")

    again = codec.unpack_exception(blob, "node", "Traceback ...\npackage.Odd: it was so\n")
    assert isinstance(again, RemoteError)
    assert (again.type_name, again.message) == ("package.Odd", "it was so")


def test_a_group_of_exceptions_that_cannot_travel_has_a_stand_in() -> None:
    group = ExceptionGroup("some have failed", [Unsendable(threading.Lock())])

    again = codec.unpack_exception(codec.pack_exception(group, "Traceback ..."), "node", "")
    assert type(again) is RemoteError and again.type_name == "ExceptionGroup"
    assert again.message == "some have failed (1 sub-exception)"


class Unsendable(Exception):
    """Has something that cannot be pickled."""


@dataclass(frozen=True)
class Frozen(Exception):
    """Allows nothing to be set."""

    code: int

    def __reduce__(self) -> Any:
        return Frozen, (self.code,)


def test_a_frozen_exception_gets_its_note() -> None:
    again = codec.unpack_exception(codec.pack_exception(Frozen(3), ""), "node", "Traceback ...")

    assert again == Frozen(3) and again.__notes__ == ["Remote traceback of 'node':\nTraceback ..."]


def test_what_others_teach_pickle_of_exceptions_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    # As distributed does, when it is imported, to every class of exceptions there is.
    for kind in (Frozen, TakesTwo, BaseExceptionGroup):
        monkeypatch.setitem(copyreg.dispatch_table, kind, tblib.pickling_support.pickle_exception)

    test_a_frozen_exception_gets_its_note()
    test_an_exception_that_does_not_survive_is_stood_in_for(TakesTwo(1, 2))
    again = round_trip(BaseExceptionGroup("g", [SystemExit(1)]), "")
    assert isinstance(again, BaseExceptionGroup) and isinstance(again.exceptions[0], SystemExit)


def test_what_an_exception_went_through_before_is_told_once() -> None:
    error: BaseException = ValueError("bottom")
    error.add_note("mine")
    for level in range(3):
        text = "".join(traceback.format_exception(error))
        error = codec.unpack_exception(codec.pack_exception(error, text), f"level {level}", text)

    assert error.__notes__[0] == "mine" and len(error.__notes__) == 2
    assert [error.__notes__[1].count(f"level {level}") for level in range(3)] == [1, 1, 1]


def test_of_a_very_long_traceback_beginning_and_end_travel() -> None:
    text = "first\n" + "x" * 1_000_000 + "\nlast"
    lease, _ = ran(delayed(plus)())
    broken = broken_of(lease.program, 0, ValueError("why"))
    broken.text = text

    ((broke, _),) = codec.results(lease, Report(broken=[broken]))
    assert isinstance(broke, m.Broke) and len(broke.text) < 300_000
    assert broke.text.startswith("first") and broke.text.endswith("last")


class EndsWhoeverOpensIt:
    """Its pickle raises what is no `Exception`."""

    def __init__(self, how: type[BaseException]) -> None:
        self.how = how

    def __reduce__(self) -> Any:
        return raises, (self.how,)


def raises(how: type[BaseException]) -> None:
    raise how


@pytest.mark.parametrize("how", [SystemExit, GeneratorExit])
def test_what_ends_threads_is_an_ordinary_failure_in_a_pickle(how: type[BaseException]) -> None:
    with pytest.raises(pickle.PickleError, match=how.__name__):
        codec.loads(codec.dumps(EndsWhoeverOpensIt(how)))


def test_ctrl_c_while_a_pickle_is_opened_is_ctrl_c() -> None:
    with pytest.raises(KeyboardInterrupt):
        codec.loads(codec.dumps(EndsWhoeverOpensIt(KeyboardInterrupt)))


# -- values and results ----------------------------------------------------------------------------


def test_values_travel_one_by_one() -> None:
    lengths, problems, blobs = parcels.pack_values([1, MISSING, Stubborn(), "four"], MISSING)
    assert (lengths[1], lengths[2], len(blobs)) == (-1, -2, 2)
    assert problems == ["a Stubborn: TypeError: I stay here"]

    values, wrong = parcels.unpack_values(m.Values(1, lengths, problems), b"".join(blobs), MISSING)
    assert values == [1, MISSING, MISSING, "four"]
    assert wrong == {2: problems[0]}


def ran(*nodes: Any, wanted: bool = True) -> tuple[WorkLease, Report]:
    """A lease of all tasks of a plan, run, and what its runner reported."""
    plan = plan_of(nodes, optimize_graph=False)
    order = tuple(range(len(plan)))
    asked = frozenset(plan.shape.outputs) if wanted else frozenset()
    block = WorkerBlock(Program(plan.shape, plan.tables))
    lease = WorkLease(0, 1, deque(order), asked, block, order)
    whole = Report()

    def keep(report: Report) -> None:
        whole.done += report.done
        whole.broken += report.broken
        whole.skipped += report.skipped

    run_lease(lease.program, lease.tasks, lease.values, keep)
    return lease, whole


def test_small_results_ride_along_and_large_ones_stay() -> None:
    lease, report = ran(delayed(plus)(1), delayed(bytes)(1000))

    assert codec.results(lease, report, inline_limit=100) == [
        (m.Done(0, 1, m.ints([0, 1]), m.longs([28, 1050]), 0.0, m.ints([0])), codec.dumps([2])),
    ]


def test_results_that_nobody_waits_for_stay() -> None:
    lease, report = ran(delayed(plus)(1), wanted=False)

    assert codec.results(lease, report) == [(m.Done(0, 1, m.ints([0]), m.longs([28]), 0.0, b""), b"")]


def test_a_result_that_cannot_be_sent_is_named_with_where_it_was_built() -> None:
    (node, where), other = (delayed(lock)(), here()), delayed(plus)(1)
    lease, report = ran(node, other)

    done, (broke, body) = codec.results(lease, report)
    assert done == (m.Done(0, 1, m.ints([1]), m.longs([28]), 0.0, m.ints([1])), codec.dumps([2]))
    assert isinstance(broke, m.Broke) and (broke.task, broke.node, broke.origin) == (0, "lock", where)
    error = codec.unpack_exception(body, broke.node, "")
    assert isinstance(error, Unserializable)
    assert str(error).startswith("the result of 'lock', a lock, cannot be sent to another process: TypeError")
    assert str(error).endswith(f"(built at {where})")
    assert 0 not in lease.values  # nobody would ever free it


def test_failures_and_what_was_skipped_are_told_too() -> None:
    bad = delayed(divmod)(1, 0)
    lease, report = ran(bad, delayed(plus)(bad))

    (broke, body), skipped = codec.results(lease, report)
    assert isinstance(broke, m.Broke) and (broke.task, broke.attempt, broke.node) == (0, 1, "divmod")
    assert type(codec.loads(body)) is ZeroDivisionError
    assert skipped == (m.Returned(0, 1, m.ints([1]), []), b"")


def test_an_input_that_cannot_be_sent_is_told_for_each_reader() -> None:
    node, where = delayed(plus)(delayed(plus)()), here()
    lease, _ = ran(node)

    ((broke, body),) = codec.failed_input(lease, [1], "a lock: TypeError: no")
    assert isinstance(broke, m.Broke) and (broke.task, broke.node) == (1, "plus")
    error = codec.unpack_exception(body, "plus", "")
    assert (
        str(error) == f"an input of 'plus' cannot be sent to another process: a lock: TypeError: no (built at {where})"
    )


# -- sizes -----------------------------------------------------------------------------------------


class Raises:
    """An object that is no good at being looked at."""

    @property
    def nbytes(self) -> int:
        raise RuntimeError("do not look")


class Buffer:
    """As arrays have it."""

    nbytes = 8_000


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        (1, 20, 40),
        (None, 8, 40),
        ("x" * 1000, 1000, 1100),
        (b"x" * 1000, 1000, 1100),
        (Buffer(), 8_000, 8_200),
        ([], 40, 100),
        ([1] * 1000, 28_000, 40_000),
        (["x" * 100] * 1000, 100_000, 200_000),
        (dict.fromkeys(range(1000), "x" * 100), 100_000, 250_000),
        ({"all": ["x" * 100] * 1000}, 100_000, 200_000),
        ([[[1.5] * 100] * 100] * 100, 24_000_000, 50_000_000),
        ([(1, 2)] * 1000, 56_000, 160_000),
        ([Buffer()] * 10, 80_000, 82_000),
        (Stubborn(), 1, 2_000),
        (Raises(), 1, 2_000),
        ([Raises()] * 3, 1, 10_000),
        ({1.5, 2.5}, 50, 200),
        (Exception("x" * 5000), 5_000, 6_000),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, int) else str(value),
)
def test_sizes_are_about_right(value: Any, least: int, most: int) -> None:
    assert least <= codec.size_of(value) <= most


def test_a_value_that_holds_itself_has_a_size() -> None:
    knot: list[Any] = [1]
    knot.append(knot)

    assert 0 < codec.size_of(knot) < 10_000
