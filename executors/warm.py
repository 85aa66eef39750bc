"""Warm children: each runs one lease at a time, and is kept for the next unless it died.

Covers: taking a child for a lease and giving it back, what is reported of it, killing one, packing what children need.
Does not cover: the conversation with a child (executors.children), whose leases they are (executors.processes,
executors.isolated).
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from lazygraph.errors import TaskCancelled, TaskTimeout, Unserializable
from lazygraph.executors.children import NOTHING, Child, Overdue
from lazygraph.executors.cluster.net import codec
from lazygraph.executors.remote import Unsendable, opened, packed_lease, packed_plan, refused
from lazygraph.running.runner import Report, broken_of
from lazygraph.values.graph import Tables

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Sequence

    from lazygraph.executors.base import Work
    from lazygraph.running.program import Program
    from lazygraph.values.graph import Shape
    from lazygraph.values.options import TaskOptions


class Lease(Protocol):
    """What an isolated task needs to be known of its lease; the driver's `Work` is one."""

    @property
    def program(self) -> Program: ...

    @property
    def tasks(self) -> deque[int]: ...

    @property
    def values(self) -> Any: ...

    @property
    def attempt(self) -> int: ...

    @property
    def timeout(self) -> float | None: ...

    @property
    def began(self) -> Callable[[int], None] | None: ...

    @property
    def told(self) -> Callable[[int, float, float | None], None] | None: ...

    def report(self, report: Report, /) -> None: ...

    def lost(self, tasks: Sequence[int], suspect: int | None) -> None: ...


class _Held:
    """A lease that is with a child, or about to be; everything under the lock of whoever holds it."""

    def __init__(self, tasks: Sequence[int]) -> None:
        self.tasks = tasks
        self.child: Child | None = None
        self.halted = False  # nothing more of it is to begin
        self.killed: int | None = None  # for the sake of this task
        self.withdrawn: set[int] = set()  # have not begun, and never will: they have been reported already
        self.over = False
        self.left = threading.Event()

    def halt(self) -> None:
        """Have nothing more of it begin."""
        self.halted = True
        if self.child is not None:
            self.child.stop()

    def withdraw(self, task: int) -> bool:
        """Have a task not begin; return whether it has not."""
        if self.over or task in self.withdrawn or task not in self.tasks:
            return False
        self.halt()
        if self.child is not None:
            if len(self.tasks) == 1:
                return False  # nothing else is lost with its child, which may be at its inputs already
            at = self.child.at()  # after the halt: what it begins from now on it has noted before
            if at in self.tasks and self.tasks.index(task) <= self.tasks.index(at):
                return False
        self.withdrawn.add(task)
        return True

    def kill(self, task: int) -> bool:
        """Kill the child if it is at a task; return whether it is."""
        if self.over or self.child is None or (len(self.tasks) > 1 and self.child.at() != task):
            return False
        if self.killed is None:
            self.killed = task
            self.child.kill()
        return True


class _End(NamedTuple):
    """How it ended: with what came back, or the task a child was `at` when it died, was killed or was too late."""

    back: bytearray | None
    at: int
    killed: int | None
    overdue: bool
    untouched: bool


class Children:
    """As many children as leases were run at once; they start when they are needed and end with `close`.

    `replace`: one that was killed is replaced at once, not only when the next lease comes.
    """

    def __init__(self, replace: bool = True) -> None:
        self._replaces = replace
        self._idle: list[Child] = []
        self._held: dict[Any, _Held] = {}
        self._closed = False
        self._lock = threading.Lock()

    def run_isolated(self, lease: Lease) -> None:
        """Run the one task of a lease, and report."""
        held = _Held([*lease.tasks])
        with self._lock:
            self._held[lease] = held
        try:
            try:
                task = lease.tasks.popleft()
            except IndexError:  # it was taken back
                return
            self._run(lease, held, [task], [task])
        finally:
            self._over(lease, held)

    def run(self, work: Work) -> None:
        """Run a lease of any number of tasks, and report."""
        held = _Held([*work.tasks])
        with self._lock:
            self._held[work] = held

        def halt() -> None:
            with self._lock:
                held.halt()

        try:
            tasks, wanted = work.send(halt)
            held.tasks = tasks  # others may have been taken back
            if tasks:
                self._run(work, held, tasks, wanted)
        finally:
            self._over(work, held)

    def _over(self, lease: Any, held: _Held) -> None:
        with self._lock:
            self._held.pop(lease, None)
            child, held.child = held.child, None
        held.left.set()
        if child is not None:  # Ctrl-C before it was asked
            self._give_back(child, alive=False)

    def stop(self, lease: Any, task: int, timeout: float) -> bool:
        """Make a task of a lease leave, by killing its child; return whether it has within `timeout` seconds."""
        with self._lock:
            held = self._held.get(lease)
            if held is None:
                return True
            withdrawn = held.withdraw(task)
            if not withdrawn and not held.kill(task):
                return True  # it is over
        if withdrawn:
            lease.report(Report(broken=[broken_of(lease.program, task, TaskCancelled())]))
            return True
        return held.left.wait(timeout)

    def close(self) -> None:
        """End the children; one that is at a lease ends after it.  Safe to call twice."""
        with self._lock:
            self._closed, idle = True, self._idle
            self._idle = []
        for child in idle:
            child.leave()
        for child in idle:
            child.end()

    # -- one lease ---------------------------------------------------------------------------------

    def _run(self, lease: Lease, held: _Held, tasks: Sequence[int], wanted: Sequence[int]) -> None:
        program = lease.program
        try:
            if program.packed is None:  # it came here in parts
                program.packed = packed_isolated(program.shape, program.tables)
            say = lease.began is not None or lease.timeout is not None, lease.told is not None
            parcel = packed_lease(program, tasks, lease.values, wanted, lease.attempt, say)
            end = self._ask(lease, held, tasks, parcel)
            while end.untouched:
                end = self._ask(lease, held, tasks, parcel)
        except Unsendable as unsendable:
            lease.report(refused(program, self._still(held), unsendable))
        except Exception as error:  # Unserializable, OSError where the system gives no further process, any other
            lease.report(Report(broken=[broken_of(program, task, error) for task in self._still(held)]))
        else:
            _tell(lease, self._still(held), end)
            if end.killed is not None or end.overdue:
                self._replace()

    def _still(self, held: _Held) -> list[int]:
        """Return the tasks of a lease that is over which have not been reported yet."""
        with self._lock:
            held.over = True
            return [task for task in held.tasks if task not in held.withdrawn]

    def _ask(self, lease: Lease, held: _Held, tasks: Sequence[int], parcel: bytes) -> _End:
        """Have a lease run in a child; say how that ended."""
        child = self._take(held)
        used, back, overdue = child.used, None, False
        assert lease.program.packed is not None
        try:
            back = child.ask(lease.program.packed, parcel, lease.began, lease.told, lease.timeout)
        except Overdue:
            overdue = True
        finally:  # also after Ctrl-C
            at = child.at()
            with self._lock:
                died = back is None and held.killed is None and not overdue
                # One that was warm and has not begun anything may have been dead before it was asked.
                untouched = died and used and at == NOTHING
                held.child, held.over, killed = None, not untouched, held.killed
            self._give_back(child, back is not None and killed is None)
        return _End(back, at if at in tasks else tasks[0], killed, overdue, untouched)

    def _take(self, held: _Held) -> Child:
        """Return a child for a lease."""
        with self._lock:
            child = self._idle.pop() if self._idle else None
        child = child or Child()
        with self._lock:
            held.child = child
            if held.halted:
                child.stop()
        return child

    def _give_back(self, child: Child, alive: bool) -> None:
        if alive:
            child.rest()
            with self._lock:
                if not self._closed:
                    self._idle.append(child)
                    return
        else:
            child.kill()
        child.end()

    def _replace(self) -> None:
        """Have a child warm for the next lease, in the place of one that was killed."""
        if self._closed or not self._replaces:
            return
        try:
            self._give_back(Child(), alive=True)
        except OSError:  # the system gives no further process just now: it is tried again with the next lease
            return


def _tell(lease: Lease, tasks: Sequence[int], end: _End) -> None:
    """Report how a lease ended."""
    program = lease.program
    if end.killed is not None:
        lease.report(_without(program, tasks, end.killed, TaskCancelled()))
    elif end.overdue:
        assert lease.timeout is not None
        node, origin = program.place_of(end.at, None)
        lease.report(_without(program, tasks, end.at, TaskTimeout(node, lease.timeout, origin)))
    elif end.back is None:
        if tasks:
            lease.lost(tasks, end.at if end.at in tasks else tasks[0])
    else:
        try:
            report, values, _ = opened(end.back, program)
        except Exception as error:
            lease.report(Report(broken=[broken_of(program, task, error) for task in tasks]))
            return
        report.skipped = [task for task in report.skipped if task in tasks]
        for entry, value in values.items():
            lease.values[entry] = value
        lease.report(report)


def _without(program: Program, tasks: Sequence[int], task: int, error: BaseException) -> Report:
    """Return that a task was ended, and that no other of its lease has been done: what they made is gone."""
    return Report(broken=[broken_of(program, task, error)], skipped=[other for other in tasks if other != task])


# -- what children need ----------------------------------------------------------------------------


def _asks(row: TaskOptions) -> str | None:
    """Return the option for which tasks of a row run in a child, None when there is none."""
    return "timeout" if row.timeout is not None else "isolated" if row.isolated else None


def packed_isolated(shape: Shape, tables: Tables) -> bytes:
    """Return a plan as bytes, with the functions and arguments of isolated tasks only: others need not travel.

    Raises `Unserializable` naming the task, its option and what cannot be sent.
    """
    asking = [_asks(row) for row in shape.options]
    tasks = [at for at in range(shape.externals, len(shape)) if asking[shape.option[at]]]
    functions = {shape.function[at] for at in tasks}
    templates = {shape.template[at] for at in tasks}
    constants = {~n for at in tasks for n in _arguments_of(shape, at) if n < 0}
    needed = Tables(
        _only(tables.functions, functions), _only(tables.constants, constants), _only(tables.templates, templates)
    )
    try:
        return packed_plan(shape, needed)
    except Unserializable as error:
        raise _refusal(shape, tables, tasks, error) from error


def _arguments_of(shape: Shape, at: int) -> Sequence[int]:
    return shape.arguments[shape.argument_offsets[at] : shape.argument_offsets[at + 1]]


def _only(rows: Sequence[Any], kept: set[int]) -> tuple[Any, ...]:
    return tuple([row if at in kept else None for at, row in enumerate(rows)])


def _refusal(shape: Shape, tables: Tables, tasks: Sequence[int], error: Unserializable) -> Unserializable:
    """Find the task that has what cannot be sent."""
    for at in tasks:
        node, option = shape.name_of(at), _asks(shape.options[shape.option[at]])
        where = f"{option}= runs it in a process of its own; built at {shape.origin_of(at)}"
        constants = [tables.constants[~n] for n in _arguments_of(shape, at) if n < 0]
        function = tables.functions[shape.function[at]]
        for what, value in [(f"the function of {node!r}", function)] + [
            (f"argument {type(value).__name__} of {node!r}", value) for value in constants
        ]:
            try:
                codec.dumps(value)
            except Exception as own:
                return Unserializable(what, where, codec.reason_of(own))
    return error
