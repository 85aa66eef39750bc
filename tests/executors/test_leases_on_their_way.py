"""Leases on their way to a child process: what is asked of them before they are there."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lazygraph
from lazygraph import Delayed, delayed
from lazygraph.errors import TaskCancelled
from lazygraph.executors import ProcessExecutor
from lazygraph.executors.children import Child
from lazygraph.executors.held import Held
from lazygraph.executors.remote import opened, packed_lease, packed_plan
from lazygraph.planning.plan import plan_of
from lazygraph.running.program import Program

WAIT = 60


class Slow:
    """Takes long to open, and leaves a mark where it has been opened."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, ...]:
        return _open_slowly, (self.folder,)


def _open_slowly(folder: str) -> Slow:
    Path(folder, f"{os.getpid()}-{len(os.listdir(folder))}").touch()
    threading.Event().wait(0.5)
    return Slow(folder)


@delayed
def slow(folder: str) -> Slow:
    return Slow(folder)


@delayed
def echo(value: Any, *ignored: object) -> Any:
    return value


@delayed
def heard(pipe: str) -> str:
    return Path(pipe).read_text(encoding="utf-8")


@pytest.mark.parametrize("starts", [False, True])
def test_what_takes_long_to_arrive_is_not_taken_back_on_its_way(starts: bool, tmp_path: Path) -> None:
    # There is a free slot, and what waits behind the first task could run there; `starts`: and its child does too.
    folder, pipe = tmp_path / "marks", tmp_path / "pipe"
    folder.mkdir()
    os.mkfifo(pipe)
    with ProcessExecutor(3) as executor:
        [value] = lazygraph.start(slow(str(folder)), executor=executor).futures
        value.result(WAIT)
        busy = lazygraph.start(heard(str(pipe)), executor=executor) if starts else None
        assert echo(echo(1, value)).compute(executor=executor, optimize_graph=False) == 1
        if busy is not None:
            pipe.write_text("go", encoding="utf-8")
            busy.result(WAIT)
    there = [mark for mark in os.listdir(folder) if not mark.startswith(f"{os.getpid()}-")]
    assert len(there) == 1


# -- asked to leave ----------------------------------------------------------------------------------


@delayed
async def awaited_for_ever() -> None:
    await asyncio.Event().wait()


@delayed
def runs_for_ever() -> None:
    while True:
        pass


class Heard:
    """Hears of a lease that is parked."""

    def __init__(self, over: threading.Event) -> None:
        self.parts: list[bytearray] = []
        self._over = over

    def later(self, data: bytearray, over: bool) -> None:
        self.parts.append(data)
        if over:
            self._over.set()

    def told(self, task: int, done: float, total: float | None) -> None:
        raise AssertionError("nothing is told")

    def lost(self, suspect: int | None) -> None:
        self._over.set()


@pytest.fixture
def child() -> Iterator[Child]:
    child = Child()
    yield child
    child.kill()
    child.end()


@pytest.mark.parametrize("task", [awaited_for_ever(), runs_for_ever()], ids=["awaited", "runs"])
def test_one_that_is_to_leave_before_its_lease_has_come_leaves(child: Child, task: Delayed[None]) -> None:
    plan = plan_of([task], optimize_graph=False)
    program = Program(plan.shape, plan.tables)
    child.leave_task(1, 0)
    answer = child.ask(packed_plan(plan.shape, plan.tables), packed_lease(program, [0], {}, [0], parks=True))
    assert answer is not None
    parked, back = answer
    parts = [back] if back else []
    if parked:
        over = threading.Event()
        hearing = Heard(over)
        child.park(hearing)
        assert over.wait(WAIT)
        parts += hearing.parts
    [broken] = [broken for part in parts for broken in opened(part, program)[0].broken]
    assert isinstance(broken.exception, TaskCancelled)


def test_a_lease_that_is_only_awaited_does_not_stop_the_one_that_runs_there(child: Child) -> None:
    plan = plan_of([echo(1)], optimize_graph=False)
    program = Program(plan.shape, plan.tables)
    held = Held([7])
    held.with_child(child)
    held.parked = True
    held.halt()
    answer = child.ask(packed_plan(plan.shape, plan.tables), packed_lease(program, [0], {}, [0]))
    assert answer is not None
    assert opened(answer[1], program)[0].done == [0]
