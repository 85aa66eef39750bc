"""What the recorder sees of a run in this process, and what it can be asked."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import pytest

from lazygraph import chain, compute, delayed, group, replace
from lazygraph.errors import InvalidOption
from lazygraph.executors import PoolExecutor, ProcessExecutor, SyncExecutor, ThreadExecutor
from lazygraph.testing.faults import InjectedFault
from lazygraph.testing.recorder import Call, Recorder
from lazygraph.testing.rigs import Rig, seen


@delayed
def add(x, y=0):
    return x + y


@delayed
def total(values):
    return sum(values)


@delayed
def twice(x):
    return replace(add.s(x, x) | add.s(0))


@delayed
async def later(x):
    await asyncio.sleep(0)
    return 1 / x


@delayed(bind=True)
def bound(self, x):
    return (x, self.request.attempt)


@pytest.fixture(params=[SyncExecutor, lambda: ThreadExecutor(2)], ids=["sync", "threads"])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    with request.param() as executor, seen(executor) as rig:
        yield rig


def test_every_member_of_a_chain_is_seen_with_what_it_was_given(rig: Rig):
    assert chain(add.s(1, y=2), add.s(10), add.s(100)).compute() == 113
    assert [(call.name, call.args, call.kwargs, call.value) for call in rig.calls] == [
        ("add", (1,), {"y": 2}, 3),
        ("add", (3, 10), {}, 13),
        ("add", (13, 100), {}, 113),
    ]


def test_a_task_goes_by_its_display_name(rig: Rig):
    assert compute(add.options(name="the sum")(1, 2), add(3, 4)) == (3, 7)
    assert sorted(rig.calls.names) == ["add", "the sum"]


def test_what_a_task_is_replaced_by_is_seen_once(rig: Rig):
    assert (twice.s(4) | add.s(1)).compute() == 9
    assert rig.calls.names == ["twice", "add", "add", "add"]
    assert rig.calls.given("add") == [(4, 4), (8, 0), (8, 1)]


def test_coroutines_are_seen_when_they_have_ended(rig: Rig):
    assert later(2).compute() == 0.5
    with pytest.raises(ZeroDivisionError):
        later(0).compute()
    good, bad = rig.calls
    assert (good.value, type(bad.exception)) == (0.5, ZeroDivisionError)
    assert None not in (good.ended, bad.ended)


def test_the_context_of_a_bound_task_is_not_what_it_was_given(rig: Rig):
    rig.fail("bound", exception=OSError("away"))
    assert bound.options(retries=1)("x").compute() == ("x", 2)
    assert [(call.args, call.attempt) for call in rig.calls] == [(("x",), 1), (("x",), 2)]
    assert isinstance(rig.calls.calls[0].exception, OSError)


def test_a_call_has_the_key_of_its_future(rig: Rig):
    future = add.delay(1, 2)
    assert future.get(30) == 3
    assert [call.key for call in rig.calls] == [future.key]


def test_an_exception_is_the_users_own_with_the_users_traceback(rig: Rig):
    with pytest.raises(TypeError) as caught:
        total(None).compute()
    [call] = rig.calls
    assert type(call.exception) is TypeError
    assert "total" in "\n".join(caught.value.__notes__)
    assert repr(call).startswith("<total(None): raised TypeError(")


def test_a_fault_without_an_exception_of_its_own_says_who_wanted_it(rig: Rig):
    rig.fail("add", attempt=1)
    with pytest.raises(InjectedFault, match="attempt 1 of 'add' was to fail"):
        add(1).compute()
    with pytest.raises(InvalidOption, match="count from 1"):
        rig.fail("add", attempt=0)


def test_what_has_not_gone_wrong_is_known(rig: Rig):
    rig.fail("laod", attempt=(1, 2))
    rig.kill_worker("add")
    assert add(1).compute() == 1
    assert rig.missed == ["fail attempt 1 and 2 of 'laod'"]


def test_a_worker_that_dies_in_a_thread_loses_nothing(rig: Rig):
    rig.kill_worker("add")
    assert (group(add.s(n) for n in range(20)) | total.s()).compute() == sum(range(20))
    # Those of its lease are lost with it: they are run again, by their second attempt.
    assert {call.args[0] for call in rig.calls.of("add") if call.exception is None} == set(range(20))


def test_nothing_is_seen_any_more_afterwards():
    with SyncExecutor() as executor:
        with seen(executor) as rig:
            add(1).compute()
        add(2).compute()
    assert rig.calls.given("add") == [(1,)]


def test_a_pool_of_threads_can_be_seen():
    with ThreadPoolExecutor(2) as pool, PoolExecutor(pool) as executor, seen(executor) as rig:
        assert (group(add.s(n) for n in range(4)) | total.s()).compute() == 6
        assert rig.calls.ran_before("add", "total")


@pytest.mark.parametrize("kind", ["processes", "pool"])
def test_what_runs_in_other_processes_is_refused_aloud(kind: str):
    with ProcessPoolExecutor(1) as pool:
        chosen: Any = ProcessExecutor(1) if kind == "processes" else PoolExecutor(pool)
        with chosen, pytest.raises(InvalidOption, match="in other processes"), seen(chosen):
            pass


def made(*rows: tuple[str, float, float | None]) -> Recorder:
    recorder = Recorder()
    recorder.calls.extend(Call(name, (), {}, 1, name, began, ended) for name, began, ended in rows)
    return recorder


def test_before_means_that_all_have_ended_before_any_begins():
    assert made(("a", 0, 1), ("b", 1, 2)).ran_before("a", "b")
    assert made(("a", 0, 1), ("a", 1, 2), ("b", 2, 3), ("c", 3, 4)).ran_before("a", "b", "c")
    assert not made(("a", 0, 2), ("b", 1, 2)).ran_before("a", "b")
    assert not made(("b", 0, 1), ("a", 1, 2)).ran_before("a", "b")
    assert not made(("a", 0, 1), ("b", 1, 2), ("a", 2, 3)).ran_before("a", "b")
    assert not made(("a", 0, None), ("b", 1, 2)).ran_before("a", "b")
    assert not made(("a", 0, 1)).ran_before("a", "b")


def test_clearing_forgets_what_has_run():
    recorder = made(("a", 0, 1), ("b", 1, 2))
    assert (recorder.count("a"), len(recorder), repr(recorder)) == (1, 2, "<Recorder of 2: a, b>")
    recorder.clear()
    assert (recorder.names, len(recorder)) == ([], 0)
