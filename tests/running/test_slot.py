"""Making a running attempt leave: it hits that attempt, at every moment, and never the runner or another task."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from lazygraph import delayed
from lazygraph.errors import TaskCancelled
from lazygraph.planning.plan import Plan, plan_of
from lazygraph.running import program, runner, slot
from lazygraph.running.program import Program
from lazygraph.running.runner import Report, run_lease
from lazygraph.running.slot import Slot

WAIT = 30
FILES = frozenset({runner.__file__, program.__file__, slot.__file__, __file__})


def work() -> int:
    return len([1, 2, 3])


def fails() -> None:
    raise ValueError("on its own account")


def swallows() -> str:
    try:
        work()
    except TaskCancelled:
        return "swallowed"
    return "never hit"


def turns() -> int:
    try:
        return work()
    except BaseException as error:
        raise KeyError("turned into another") from error


class Gathered:
    """What a lease has reported, task by task."""

    def __init__(self) -> None:
        self.done: list[int] = []
        self.broken: dict[int, BaseException] = {}

    def report(self, report: Report) -> None:
        self.done += report.done
        for broken in report.broken:
            assert broken.task not in self.broken
            self.broken[broken.task] = broken.exception


def lease_of(functions: Sequence[Any]) -> Plan:
    return plan_of([delayed(function)() for function in functions], optimize_graph=False)


class Moments:
    """Asks at the `at`-th opcode for a task to leave; has the exception come out so many opcodes `later`.

    It stands for a thread that runs between any two opcodes of the runner's, and for CPython, which lets the exception
    out when it pleases.
    """

    def __init__(self, slot: Slot, task: int, at: int, later: int) -> None:
        self.slot, self.task, self.at, self.later = slot, task, at, later
        self.count = 0
        self.asked = self.raised = self.pending = False

    def raise_in(self, thread: int) -> None:
        assert thread == threading.get_ident() and not self.raised
        self.raised = self.pending = True

    def take_back(self, thread: int) -> None:
        self.pending = False

    def __call__(self, frame: Any, event: str, arg: object) -> Any:
        if frame.f_code.co_filename not in FILES or frame.f_code in UNTRACED:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "opcode":
            self.count += 1
            # Who asks while the runner holds the lock waits for it.
            if self.count >= self.at and not self.asked and not self.slot._lock.locked():
                self.asked = True
                self.slot.stop(self.task, 0.0)
            if self.pending and self.count >= self.at + self.later:
                self.pending = False
                raise TaskCancelled
        return self


UNTRACED = {Gathered.report.__code__, Moments.raise_in.__code__, Moments.take_back.__code__}


@pytest.fixture
def untraced() -> Iterator[None]:
    """Whatever traces these tests has its trace function again afterwards."""
    before = sys.gettrace()
    yield
    sys.settrace(before)


@pytest.mark.parametrize(
    ("functions", "task"), [((work, fails), 0), ((fails, work), 1), ((turns, work), 0), ((swallows, work), 0)]
)
@pytest.mark.timeout(180)
def test_at_every_opcode(functions: Sequence[Any], task: int, monkeypatch: pytest.MonkeyPatch, untraced: None) -> None:
    plan = lease_of(functions)
    prepared = Program(plan.shape, plan.tables)
    hits = 0
    for later in (0, 3, 13):
        at, over = 0, False
        while not over:
            at += 1
            slot, gathered = Slot(), Gathered()
            moments = Moments(slot, task, at, later)
            monkeypatch.setattr("lazygraph.running.slot._raise_in", moments.raise_in)
            monkeypatch.setattr("lazygraph.running.slot._take_back", moments.take_back)
            values: list[Any] = [None, None]
            sys.settrace(moments)
            try:
                run_lease(prepared, deque([0, 1]), values, gathered.report, slot=slot)
            finally:
                sys.settrace(None)
            assert not moments.pending, (at, later)  # nothing is left that would hit what runs here next
            other = gathered.broken.get(1 - task)
            assert other is None or isinstance(other, ValueError | KeyError), (at, later)
            assert sorted([*gathered.done, *gathered.broken]) == [0, 1], (at, later)
            if isinstance(gathered.broken.get(task), TaskCancelled):
                hits += 1
            elif moments.raised and functions[task] is not swallows:
                assert task in gathered.done, (at, later)  # it had come to its end when it was asked to leave
            assert slot.stop(task, WAIT)
            over = not moments.asked
    assert hits > 10


class Running:
    """A lease in a thread of its own."""

    def __init__(self, *functions: Any) -> None:
        plan = lease_of(functions)
        self.program = Program(plan.shape, plan.tables)
        self.slot, self.gathered = Slot(), Gathered()
        self.values: list[Any] = [None] * len(functions)
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        tasks = deque(range(len(self.values)))
        run_lease(self.program, tasks, self.values, self.gathered.report, slot=self.slot)

    def ends(self) -> None:
        self.thread.join(WAIT)
        assert not self.thread.is_alive()


def test_a_python_loop_stops_and_the_next_task_runs() -> None:
    begun = threading.Event()

    def spins() -> None:
        begun.set()
        while True:
            pass

    running = Running(spins, work)
    assert begun.wait(WAIT)
    assert running.slot.stop(0, WAIT)
    assert isinstance(running.gathered.broken[0], TaskCancelled)  # known when `stop` has said so
    running.ends()
    assert (running.gathered.done, running.values[1]) == ([1], 3)


def test_what_waits_in_c_is_hit_when_it_comes_back() -> None:
    begun, gate = threading.Event(), threading.Lock()
    gate.acquire()

    def waits() -> None:
        begun.set()
        gate.acquire()
        work()

    running = Running(waits, work)
    assert begun.wait(WAIT)
    assert not running.slot.stop(0, 0.01)
    assert not running.slot.stop(0, 0.01)  # asking twice does not hit twice
    gate.release()
    running.ends()
    assert isinstance(running.gathered.broken[0], TaskCancelled)
    assert (running.gathered.done, running.slot.stop(0, 0.0)) == ([1], True)


def test_what_a_task_makes_of_it_does_not_matter() -> None:
    begun = threading.Event()

    def turns_it() -> None:
        begun.set()
        try:
            while True:
                pass
        except BaseException as error:
            raise ValueError("something else") from error

    running = Running(turns_it)
    assert begun.wait(WAIT)
    assert running.slot.stop(0, WAIT)
    running.ends()
    broken = running.gathered.broken[0]
    assert isinstance(broken, TaskCancelled)
    assert isinstance(broken.__context__, ValueError)


def test_except_exception_does_not_catch_it() -> None:
    begun = threading.Event()

    def goes_on() -> None:
        begun.set()
        while True:
            try:
                work()
            except Exception:
                continue

    running = Running(goes_on)
    assert begun.wait(WAIT)
    assert running.slot.stop(0, WAIT)
    running.ends()


def test_a_task_may_stop_itself() -> None:
    slots: list[Slot] = []

    def stops_itself() -> None:
        slots[0].stop(0, WAIT)

    plan = lease_of([stops_itself, work])
    slots.append(Slot())
    gathered = Gathered()
    run_lease(Program(plan.shape, plan.tables), deque([0, 1]), [None, None], gathered.report, slot=slots[0])
    assert (list(gathered.broken), gathered.done) == ([0], [1])


def test_a_tracer_works_afterwards(untraced: None) -> None:
    for _ in range(50):
        test_a_python_loop_stops_and_the_next_task_runs()
    seen: list[str] = []
    sys.settrace(lambda frame, event, arg: seen.append(frame.f_code.co_name))
    work()
    sys.settrace(None)
    assert "work" in seen


def test_many_short_tasks_under_fire() -> None:
    count = 20_000
    running = Running(*[work] * count)
    hits = 0
    while running.thread.is_alive():
        at = running.slot.task
        if at is None:
            time.sleep(0)  # gives the interpreter away
        else:
            assert running.slot.stop(at, WAIT)
            hits += 1
    running.ends()
    gathered = running.gathered
    assert sorted([*gathered.done, *gathered.broken]) == list(range(count))
    assert all(isinstance(error, TaskCancelled) for error in gathered.broken.values())
    assert hits >= len(gathered.broken)
