"""Leases in child processes: what has ended in one is told and kept, what is awaited in one holds up nothing."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lazygraph
from lazygraph import Status, delayed
from lazygraph.errors import WorkerDied
from lazygraph.executors import ProcessExecutor
from lazygraph.executors.remote import LeaseThere, opened, packed_lease, reads_of
from lazygraph.planning.plan import plan_of
from lazygraph.running.program import Program
from lazygraph.running.runner import Report

WAIT = 60


@pytest.fixture
def one() -> Iterator[ProcessExecutor]:
    with ProcessExecutor(1) as executor:
        yield executor


@delayed
def marked(folder: str, name: str) -> str:
    Path(folder, f"{name}-{os.getpid()}-{len(os.listdir(folder))}").touch()
    return name


@delayed
def heard(pipe: str) -> str:
    return Path(pipe).read_text(encoding="utf-8")


@delayed
def die_when_told(pipe: str, folder: str) -> str:
    if Path(folder, "died").exists():
        return "lived"
    Path(pipe).read_text(encoding="utf-8")
    Path(folder, "died").touch()
    os.kill(os.getpid(), signal.SIGKILL)
    return ""


@delayed
async def awaited(pipe: str, name: str) -> str:
    await asyncio.to_thread(Path(pipe).read_text, encoding="utf-8")
    return name


@delayed
async def for_ever(pipe: str) -> None:
    await asyncio.to_thread(Path(pipe).write_text, "begun", encoding="utf-8")
    await asyncio.Event().wait()


@delayed
async def dies_while_awaited() -> None:
    await asyncio.sleep(0)
    os.kill(os.getpid(), signal.SIGKILL)


@delayed
def echo(value: Any) -> Any:
    return value


def pipe_in(folder: Path, name: str) -> str:
    os.mkfifo(folder / name)
    return str(folder / name)


def test_what_had_ended_is_not_run_again_when_its_process_dies(one: ProcessExecutor, tmp_path: Path) -> None:
    folder = tmp_path / "marks"
    folder.mkdir()
    pipe = pipe_in(tmp_path, "pipe")
    run = lazygraph.start(
        marked(str(folder), "first"), die_when_told(pipe, str(tmp_path)), marked(str(folder), "last"), executor=one
    )
    assert run.futures[0].result(WAIT) == "first"
    Path(pipe).write_text("go", encoding="utf-8")
    assert run.result(WAIT) == ("first", "lived", "last")
    assert sorted(name.partition("-")[0] for name in os.listdir(folder)) == ["first", "last"]


def test_what_had_ended_is_not_run_again_when_its_neighbour_is_killed(one: ProcessExecutor, tmp_path: Path) -> None:
    folder = tmp_path / "marks"
    folder.mkdir()
    pipe = pipe_in(tmp_path, "pipe")
    parts = [marked(str(folder), "first"), heard(pipe), marked(str(folder), "last")]
    run = lazygraph.start(*parts, executor=one, fail_fast=False)
    assert run.futures[0].result(WAIT) == "first"
    assert run.futures[1].cancel(force=True)
    assert run.futures[2].result(WAIT) == "last"
    assert run.futures[1].status is Status.CANCELLED
    assert sorted(name.partition("-")[0] for name in os.listdir(folder)) == ["first", "last"]


def test_what_is_awaited_holds_up_nothing_in_its_process(one: ProcessExecutor, tmp_path: Path) -> None:
    pipe = pipe_in(tmp_path, "pipe")
    waiting = lazygraph.start(echo(awaited(pipe, "late")), echo(0), executor=one)
    assert echo(1).compute(executor=one) == 1
    assert not waiting.futures[0].done()
    Path(pipe).write_text("go", encoding="utf-8")
    assert waiting.result(WAIT) == ("late", 0)


def test_many_are_awaited_at_a_time_in_one_process(one: ProcessExecutor, tmp_path: Path) -> None:
    # The last one ends first: the others have begun before it and wait.
    pipes = [pipe_in(tmp_path, str(number)) for number in range(5)]
    run = lazygraph.start(*[awaited(pipe, pipe) for pipe in pipes], executor=one)
    for pipe in reversed(pipes):
        Path(pipe).write_text("go", encoding="utf-8")
    assert run.result(WAIT) == tuple(pipes)


def test_one_that_is_awaited_can_be_made_to_leave_and_its_process_lives(one: ProcessExecutor, tmp_path: Path) -> None:
    pipe = pipe_in(tmp_path, "pipe")
    pid = echo(delayed(os.getpid)()).compute(executor=one)
    [future] = lazygraph.start(for_ever(pipe), executor=one).futures
    assert Path(pipe).read_text(encoding="utf-8") == "begun"
    assert future.cancel(force=True)
    assert future.status is Status.CANCELLED
    assert echo(delayed(os.getpid)()).compute(executor=one) == pid


def test_one_that_kills_its_process_while_it_is_awaited_has_failed_and_only_it(
    one: ProcessExecutor, tmp_path: Path
) -> None:
    pipe = pipe_in(tmp_path, "pipe")
    other = lazygraph.start(awaited(pipe, "other"), executor=one)
    bad = lazygraph.start(dies_while_awaited(), executor=one, fail_fast=False)
    with pytest.raises(WorkerDied, match="dies_while_awaited"):
        bad.result(WAIT)
    Path(pipe).write_text("go", encoding="utf-8")
    assert other.result(WAIT) == ("other",)


# -- parcels on the way ------------------------------------------------------------------------------


@given(
    inputs=st.lists(st.sets(st.integers(0, 20), max_size=3), min_size=1, max_size=12),
    wanted=st.sets(st.integers(0, 11)),
    told=st.lists(st.booleans(), min_size=12, max_size=12),
)
def test_nothing_is_told_that_what_is_left_would_miss(
    inputs: list[set[int]], wanted: set[int], told: list[bool]
) -> None:
    nodes: list[Any] = []
    for at, reads in enumerate(inputs):
        nodes.append(echo([at, *[nodes[read] for read in sorted(reads) if read < at]]))
    plan = plan_of(nodes, optimize_graph=False)
    program, count = Program(plan.shape, plan.tables), len(plan.shape)
    wanted = {task for task in range(count) if task in wanted or not any_reader(plan.shape, task)}
    lease = LeaseThere(program, packed_lease(program, range(count), {}, wanted))
    known: dict[int, Any] = {}
    over: set[int] = set()
    for task in range(count):
        lease.tasks.popleft()
        lease.values[task] = program.run(task, lease.values)
        lease.made.add(Report(done=[task]))
        back = lease.made.so_far() if told[task] else None
        if back is not None:
            report, values, _ = opened(back, program)
            known.update(values)
            over.update(report.done)
        # Whoever runs the rest elsewhere, should this process die now, has what it reads; and nothing came before that.
        left = set(range(count)) - over
        assert {read for read in reads_of(plan.shape, left) if read in over} <= set(known)
        assert all(read in over for task in over for read in plan.shape.inputs_of(task))
        assert wanted & over <= set(known)
        read_by = {read: {one for one in range(count) if read in plan.shape.inputs_of(one)} for read in lease.values}
        assert not [entry for entry, readers in read_by.items() if over.issuperset({entry, *readers})]
    report, values, _ = opened(lease.made.all(()), program)
    assert over.union(report.done) == set(range(count))
    assert wanted <= {*known, *values}


def any_reader(shape: Any, task: int) -> bool:
    return any(task in shape.inputs_of(other) for other in range(len(shape)))
