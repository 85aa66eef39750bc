"""Warm children: each runs one lease at a time, and is kept for the next unless it died.

A lease of which something is still awaited is parked in its child, and others run there meanwhile.  They die with it:
so a task that must not be run twice, or that `isolated=` or `timeout=` ends with its child, is neither parked nor with
one that has anything parked; any other that is to leave is asked first, and killed only if it does not.

Covers: taking a child for a lease and giving it back, what is reported of it, packing what children need.
Does not cover: the conversation with a child (executors.children), what can be asked of a lease that is with one
(executors.held), whose leases they are (executors.processes, executors.isolated).
"""

from __future__ import annotations

import math
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from lazygraph.errors import TaskCancelled, TaskTimeout, Unserializable
from lazygraph.executors.children import ANY, AWAITED, NOTHING, Child, Overdue
from lazygraph.executors.cluster.net import codec
from lazygraph.executors.held import Held
from lazygraph.executors.remote import Unsendable, opened, packed_lease, packed_plan, refused
from lazygraph.running.aside import serve_aside
from lazygraph.running.runner import Report, broken_of
from lazygraph.values.graph import Tables

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Sequence

    from lazygraph.executors.base import Work
    from lazygraph.executors.held import Leaving
    from lazygraph.running.program import Program
    from lazygraph.values.graph import Shape
    from lazygraph.values.options import TaskOptions

    Parked = Callable[[bool], None]

IDLE = 30.0
"""Seconds without a lease after which a child may be ended, if there are more than there are slots."""


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


class _End(NamedTuple):
    """How it ended: with what came back, or the task a child was `at` when it died, was killed or was too late.

    `parked` is the child when it has not ended, and is awaited there.
    """

    back: bytearray | None
    at: int
    killed: int | None
    overdue: bool
    untouched: bool
    parked: Child | None


class Children:
    """As many children as leases were run at once; they start when they are needed and end with `close`.

    `replace`: one that was killed is replaced at once, not only when the next lease comes.  `slots`: of more than so
    many that are idle, those are ended that have been for long (default: none).
    """

    def __init__(self, replace: bool = True, slots: float = math.inf) -> None:
        self._replaces, self._slots = replace, slots
        self._idle: list[Child] = []
        self._held: dict[Any, Held] = {}
        self._closed = False
        self._lock = threading.Lock()

    def run_isolated(self, lease: Lease) -> None:
        """Run the one task of a lease, and report."""
        held = Held([*lease.tasks])
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

    def run(self, work: Work, parked: Parked | None = None) -> bool:
        """Run a lease of any number of tasks, and report; return False when it goes on without this thread.

        Then `parked(True)` has been called before anything was reported, and `parked(False)` will be when it is over.
        """
        held = Held([*work.tasks])
        with self._lock:
            self._held[work] = held

        def halt() -> None:
            with self._lock:
                held.halt()

        def back(first: int | None) -> list[int]:
            with self._lock:
                return held.take_back(first)

        try:
            tasks, wanted = work.send(halt, back)
            held.tasks = tasks  # others may have been taken back
            if tasks:
                self._run(work, held, tasks, wanted, parked if _may_park(work) else None)
        finally:
            if not held.parked:
                self._over(work, held)
        return not held.parked

    def _over(self, lease: Any, held: Held) -> None:
        with self._lock:
            self._held.pop(lease, None)
            child, held.child = held.child, None
            held.has_left(everything=True)
        held.left.set()
        if child is not None and not held.parked:  # Ctrl-C before it was asked
            self._give_back(child, alive=False)

    def stop(self, lease: Any, task: int, timeout: float) -> bool:
        """Make a task of a lease leave; return whether it has within `timeout` seconds.

        It is killed with its child.  Where others would be lost with that it is asked first, and killed when it has not
        left in `GRACE` seconds or, if that is shorter, in `timeout`; without any it is only asked, until it has had
        its `GRACE`.
        """
        with self._lock:
            held = self._held.get(lease)
            if held is None or task not in held.tasks:
                return True
            alone = held.is_alone(task)
            # Nothing else is lost with the child of one task, which may be at its inputs already.
            taken = held.take_back(task) if not alone or len(held.tasks) > 1 or held.child is None else []
            killed = not taken and alone and held.kill(task)
            leaving = held.leave(task) if not taken and not killed else None
        if taken:
            broken = [broken_of(lease.program, task, TaskCancelled())] if task in taken else []
            lease.report(Report(broken=broken, skipped=[one for one in taken if one != task], early=True))
            return True
        return held.left.wait(timeout) if leaving is None else self._leaves(held, task, leaving, timeout)

    def _leaves(self, held: Held, task: int, leaving: Leaving, timeout: float) -> bool:
        """Wait for a task that was asked to leave; kill it when it has not in time."""
        deadline = time.monotonic() + timeout
        if leaving.gone.wait(max(0.0, min(deadline, leaving.until) - time.monotonic())):
            return True
        killed = False
        if timeout > 0 or time.monotonic() >= leaving.until:
            with self._lock:
                killed = held.kill(task)
        return (held.left if killed else leaving.gone).wait(max(0.0, deadline - time.monotonic()))

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

    def _run(
        self,
        lease: Lease,
        held: Held,
        tasks: Sequence[int],
        wanted: Sequence[int],
        parked: Parked | None = None,
    ) -> None:
        program = lease.program
        try:
            if program.packed is None:  # it came here in parts
                program.packed = packed_isolated(program.shape, program.tables)
            say = lease.began is not None or lease.timeout is not None, lease.told is not None
            parcel = packed_lease(program, tasks, lease.values, wanted, lease.attempt, say, parks=parked is not None)
            end = self._ask(lease, held, tasks, parcel, parked is None)
            while end.untouched:
                end = self._ask(lease, held, tasks, parcel, parked is None)
            if end.parked is not None and parked is not None:
                self._park(lease, held, end.parked, end.back, parked)
                return
        except Unsendable as unsendable:
            lease.report(refused(program, self._still(held), unsendable))
        except Exception as error:  # Unserializable, OSError where the system gives no further process, any other
            lease.report(Report(broken=[broken_of(program, task, error) for task in self._still(held)]))
        else:
            _tell(lease, self._still(held), end)
            if end.killed is not None or end.overdue:
                self._replace()

    def _still(self, held: Held) -> list[int]:
        with self._lock:
            return held.still()

    def _ask(self, lease: Lease, held: Held, tasks: Sequence[int], parcel: bytes, alone: bool) -> _End:
        """Have a lease run in a child, if `alone` in one that has nothing parked; say how that ended."""
        child = self._take(held, alone)
        used, back, parked, overdue = child.used, None, False, False
        assert lease.program.packed is not None
        try:
            part = partial(self._take_in, lease, held)
            answer = child.ask(lease.program.packed, parcel, lease.began, lease.told, lease.timeout, part)
            parked, back = answer or (False, None)
        except Overdue:
            overdue = True
        finally:  # also after Ctrl-C
            at = child.at()
            with self._lock:
                died = back is None and held.killed is None and not overdue
                # One that was warm and has not begun anything may have been dead before it was asked.
                untouched = died and used and at == NOTHING
                parked = parked and held.killed is None
                killed, held.parked = held.killed, parked
                if not parked:
                    held.child, held.over = None, not untouched
            if not parked:
                self._give_back(child, back is not None and killed is None)
        at = at if at in tasks else tasks[-1 if at == AWAITED else 0]
        return _End(back, at, killed, overdue, untouched, child if parked else None)

    def _park(self, lease: Any, held: Held, child: Child, back: bytearray | None, parked: Parked) -> None:
        """Have others run in a child where something of a lease is only awaited from now on."""
        parked(True)
        try:
            if back:
                self._take_in(lease, held, back)
            else:
                lease.report(Report())  # somebody else can have the slot
        finally:
            child.park(_Hearing(self, lease, held, parked))
            self._give_back(child, held.killed is None)

    def _take_in(self, lease: Lease, held: Held, data: bytearray) -> None:
        """Report what has ended in a lease that goes on."""
        report, values, _ = opened(data, lease.program)
        report.early = True
        with self._lock:
            held.settle(report)
        for entry, value in values.items():
            lease.values[entry] = value
        lease.report(report)
        with self._lock:
            held.has_left()

    def _take(self, held: Held, alone: bool) -> Child:
        """Return a child for a lease, if `alone` one that has nothing parked.

        Any other lease goes where least is parked, but something: the rest is for those that are alone.
        """
        with self._lock:
            fitting = [child for child in reversed(self._idle) if not (alone and child.parked)]
            found = min(fitting, key=lambda child: child.parked or math.inf, default=None)
            if found is not None:
                self._idle.remove(found)
        child = found or Child()
        with self._lock:
            held.with_child(child)
        return child

    def _give_back(self, child: Child, alive: bool) -> None:
        if alive:
            child.rest()
            with self._lock:
                if not self._closed:
                    self._idle.append(child)
                    spare = self._spare()
                    if spare is not None:
                        serve_aside(spare.end, "lazygraph-ends")
                    return
        else:
            child.kill()
        child.end()

    def _spare(self) -> Child | None:
        """Take out a child that has had nothing to do for long, if there are more such than slots."""
        child = next((child for child in self._idle if not child.parked), None)  # the first is idle for longest
        if child is None or len(self._idle) <= self._slots or time.monotonic() - child.since < IDLE:
            return None
        self._idle.remove(child)
        return child

    def _replace(self) -> None:
        """Have a child warm for the next lease, in the place of one that was killed."""
        if self._closed or not self._replaces or len(self._idle) >= self._slots:
            return
        try:
            self._give_back(Child(), alive=True)
        except OSError:  # the system gives no further process just now: it is tried again with the next lease
            return


def _may_park(work: Work) -> bool:
    """Whether what is awaited of a lease may be awaited beside others, and die with them."""
    policy = work.policy
    return not (work.isolated or work.timeout is not None or (policy is not None and policy.at_most_once))


class _Hearing:
    """Hears of a lease that is parked."""

    def __init__(self, children: Children, lease: Any, held: Held, parked: Parked) -> None:
        self._children, self._lease, self._held, self._parked = children, lease, held, parked

    def later(self, data: bytearray, over: bool) -> None:
        try:
            self._children._take_in(self._lease, self._held, data)
        except Exception as error:
            tasks = self._children._still(self._held)
            self._lease.report(Report(broken=[broken_of(self._lease.program, task, error) for task in tasks]))
        if over:
            self._end()

    def told(self, task: int, done: float, total: float | None) -> None:
        if self._lease.told is not None:
            self._lease.told(task, done, total)

    def lost(self, suspect: int | None) -> None:
        tasks = self._children._still(self._held)
        try:
            if suspect == ANY:
                for task in tasks:
                    self._lease.lost([task], task)
            elif tasks:
                self._lease.lost(tasks, suspect if suspect in tasks else None)
        finally:
            self._end()

    def _end(self) -> None:
        self._children._over(self._lease, self._held)
        self._parked(False)


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
