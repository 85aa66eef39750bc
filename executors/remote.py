"""A lease in another process that shares nothing with this one: two parcels there, one parcel back.

Those there hold the plan, and the lease: tasks and the values they read.  The one back holds the report and those
values that somebody else may want.  All are bytes, so whatever carries them need not know what is in them.

Covers: packing and opening them, running a lease over there, what is reported of what could not go there.
Does not cover: who carries them (executors.pool, executors.children).
"""

from __future__ import annotations

import os
from collections import deque
from dataclasses import replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from lazygraph.errors import Unserializable, WorkerDied
from lazygraph.executors.cluster.messages import ShapeOnWire, TablesOnWire
from lazygraph.executors.cluster.net import codec
from lazygraph.executors.cluster.records import pack_shape, unpack_shape
from lazygraph.running.program import Program
from lazygraph.running.runner import Broken, Report, broken_of, run_lease
from lazygraph.values.graph import ORDER
from lazygraph.values.options import RetryPolicy
from lazygraph.values.template import PLAIN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from lazygraph.planning.plan import Plan
    from lazygraph.values.graph import Shape, Tables
    from lazygraph.values.options import TaskOptions

Buffer = bytes | bytearray

SMALL = 10_000
"""A text or bytes longer than this is left where it was made, if it can be; numbers always come back."""

PLAN_NAME = 16
"""A packed plan begins with so many bytes that no other begins with."""


class There(NamedTuple):
    """A lease on its way: tasks in order, whose values are wanted, what they read, what they can know of their run.

    `say` is whether somebody wants to hear when a task begins, and how far it is.  `places` are what they read that is
    not in `values` but comes beside it: an entry, in which of the inputs it is, and under which number.
    """

    tasks: list[int]
    wanted: list[int]
    values: bytes
    attempt: int
    label: str
    run_id: str
    worker: str
    say: tuple[bool, bool]
    places: tuple[tuple[int, int, int], ...] = ()


class BrokenThere(NamedTuple):
    """`Broken`, with a pickled exception."""

    task: int
    exception: bytes
    text: str
    node: str
    origin: str
    step: int | None
    retry: bool
    asked: bool
    countdown: float | None
    max_retries: int | None


class Back(NamedTuple):
    """What became of it.

    `plain` is one pickle of those wanted values that always open, `others` a pickle for each of the rest: one that
    cannot be opened must not take others along.  `replaced` has the pickled plan of what replaces a task.
    `stays` are wanted values that were left where they were made.
    """

    done: list[int]
    skipped: list[int]
    seconds: float
    plain: bytes
    others: list[tuple[int, bytes]]
    broken: list[BrokenThere]
    replaced: list[tuple[int, bytes]]
    stays: tuple[int, ...] = ()


_encode = msgspec.msgpack.Encoder().encode
_plan_of = msgspec.msgpack.Decoder(tuple[ShapeOnWire, TablesOnWire, bytes]).decode
_there_of = msgspec.msgpack.Decoder(There).decode
_back_of = msgspec.msgpack.Decoder(Back).decode


def packed_plan(shape: Shape, tables: Tables) -> bytes:
    """Return a plan as bytes.  Raises `Unserializable` naming the function or argument that cannot travel."""
    wire, blobs = codec.pack_tables(shape, tables)
    return os.urandom(PLAN_NAME) + _encode((pack_shape(shape), wire, b"".join(blobs)))


def opened_plan(plan: Buffer) -> Program:
    """Return a plan that was packed, ready to be called; its leases say whose it is."""
    wire, tables, body = _plan_of(memoryview(plan)[PLAN_NAME:])
    shape = unpack_shape(wire)
    classes = codec.unpack_policies(tables, body)
    options = tuple([_with_classes(row, classes.get(at)) for at, row in enumerate(shape.options)])
    return Program(replace(shape, options=options), codec.unpack_tables(shape.names, tables, body))


def _with_classes(row: TaskOptions, classes: tuple[Any, Any] | None) -> TaskOptions:
    """Return an option row with the classes of exceptions that it retries: they do not travel in it."""
    if classes is None or not isinstance(row.retries, RetryPolicy):
        return row
    return replace(row, retries=replace(row.retries, on=classes[0], not_on=classes[1]))


def reads_of(shape: Shape, tasks: Iterable[int]) -> set[int]:
    """Return the entries whose values tasks take."""
    first = shape.input_offsets
    return {
        read for task in tasks for at, read in enumerate(shape.inputs_of(task), first[task]) if shape.kinds[at] != ORDER
    }


def packed_lease(
    program: Program,
    tasks: Sequence[int],
    values: Any,
    wanted: Iterable[int],
    attempt: int = 1,
    say: tuple[bool, bool] = (False, False),
    places: Sequence[tuple[int, int, int]] = (),
) -> bytes:
    """Return a lease as bytes, but for what comes beside it.  Raises `Unsendable`: which value cannot travel."""
    shape = program.shape
    beside = {entry for entry, _, _ in places}
    taken = {read: values[read] for read in sorted(reads_of(shape, tasks).difference(tasks, beside))}
    try:
        packed = codec.dumps(taken)
    except Exception as error:
        raise _culprit(shape, taken, error) from error
    about = attempt, program.label, program.run_id, program.worker
    return _encode(There(list(tasks), list(wanted), packed, *about, say, tuple(places)))


class Unsendable(Exception):
    """A value that tasks read cannot travel: which entry, and what to tell those tasks.  Never seen by users."""

    def __init__(self, entry: int, error: Unserializable) -> None:
        super().__init__(entry, error)
        self.entry, self.error = entry, error


def refused(program: Program, tasks: Sequence[int], unsendable: Unsendable) -> Report:
    """Return that tasks which read what cannot be sent have failed; the others have not started."""
    report = Report()
    for task in tasks:
        if unsendable.entry in reads_of(program.shape, [task]):
            report.broken.append(broken_of(program, task, unsendable.error))
        else:
            report.skipped.append(task)
    return report


def unknown(program: Program, tasks: Sequence[int], error: BaseException, where: str) -> Report:
    """Return that tasks have failed because nobody can say what became of them."""
    report = Report()
    for task in tasks:
        own = WorkerDied(program.place_of(task, None)[0], 1, f"{where}: {type(error).__name__}: {error}")
        own.__cause__ = error
        report.broken.append(broken_of(program, task, own))
    return report


def _culprit(shape: Shape, values: Mapping[int, Any], error: Exception) -> Exception:
    for entry, value in values.items():
        try:
            codec.dumps(value)
        except Exception as own:
            what = f"the result of {shape.name_of(entry)!r}, a {type(value).__name__},"
            wrong = Unserializable(what, f"built at {shape.origin_of(entry)}", codec.reason_of(own))
            return Unsendable(entry, wrong)
    return error


# -- over there ------------------------------------------------------------------------------------


class _Noting(deque[int]):
    """Tasks to run; each is asked for before it begins, and if the answer is no, none is left to take."""

    def __init__(self, tasks: Iterable[int], begins: Callable[[int], bool]) -> None:
        super().__init__(tasks)
        self._begins = begins

    def popleft(self) -> int:
        task = self[0]  # an IndexError tells the runner that there is none, as a deque's own would
        if not self._begins(task):
            raise IndexError
        return super().popleft()


def run_parcels(plan: bytes, lease: bytes) -> bytes:
    """Run a lease in this process; return what became of it."""
    return run(program_of(plan), lease)


program_of = lru_cache(maxsize=8)(opened_plan)
"""`opened_plan`, which keeps the last few."""


def run(
    program: Program,
    lease: Buffer,
    begins: Callable[[int], bool] | None = None,
    began: Callable[[int], None] | None = None,
    told: Callable[[int, float, float | None], None] | None = None,
    inputs: Sequence[Mapping[int, Any]] = (),
    leave: Callable[[int, Any], object] | None = None,
) -> bytes:
    """Run a lease in this process; return what became of it.

    `begins` is asked about each task before it begins; once it says no, the rest comes back as it is.  So it does after
    a failure, which others may wait to hear of.  `began` and `told` are called if whoever sent the lease wants it.
    `inputs` have what comes beside the lease; `leave` is called with wanted values that are not small, which then do
    not come back; it raises if one cannot be left here.
    """
    tasks, wanted, packed, attempt, label, run_id, worker, say, places = _there_of(lease)
    program.label, program.run_id, program.worker = label, run_id, worker  # the same in all leases of a packed plan
    try:
        values: dict[int, Any] = codec.loads(packed)
        values.update((entry, inputs[at][number]) for entry, at, number in places)
    except Exception as error:
        return _encode(Back([], [], 0.0, codec.dumps({}), [], [_unopened(program, task, error) for task in tasks], []))
    whole = Report()

    failed = False

    def go_on(task: int) -> bool:
        return not failed and (begins is None or begins(task))

    def report(part: Report) -> None:
        nonlocal failed
        failed = failed or bool(part.broken)
        whole.done += part.done
        whole.broken += part.broken
        whole.replaced += part.replaced
        whole.skipped += part.skipped
        whole.seconds += part.seconds

    left = _Noting(tasks, go_on)
    run_lease(
        program,
        left,
        values,
        report,
        interruptible=False,
        attempt=attempt,
        began=began if say[0] else None,
        told=told if say[1] else None,
    )
    whole.skipped += left
    # What was skipped will run elsewhere, and may read what was made here.
    kept = {*wanted, *reads_of(program.shape, whole.skipped)}.intersection(whole.done)
    plain = {task: values[task] for task in sorted(kept) if _is_plain(values[task], small=leave is not None)}
    others: list[tuple[int, Any]] = []
    replaced: list[tuple[int, Any]] = []
    for task in sorted(kept.difference(plain)):
        what = f"the result of {program.place_of(task, None)[0]!r}, a {type(values[task]).__name__},"
        packing = partial(codec.dumps, values[task]) if leave is None else partial(leave, task, values[task])
        _pack(program, task, packing, others, whole.broken, what)
    for task, becomes in whole.replaced:
        _pack(program, task, partial(_packed_replacement, becomes), replaced, whole.broken)
    lost = {broken.task for broken in whole.broken}
    return _encode(
        Back(
            [task for task in whole.done if task not in lost],
            whole.skipped,
            whole.seconds,
            codec.dumps(plain),
            others if leave is None else [],
            [_packed_broken(broken) for broken in whole.broken],
            replaced,
            tuple([task for task, _ in others]) if leave is not None else (),
        )
    )


def _is_plain(value: Any, small: bool) -> bool:
    return type(value) in PLAIN and not (small and type(value) in (str, bytes) and len(value) > SMALL)


def _pack(
    program: Program,
    task: int,
    packed: Callable[[], object],
    into: list[tuple[int, Any]],
    broken: list[Broken],
    what: str = "",
) -> None:
    """Pickle something of a task; what cannot be pickled has failed the task."""
    try:
        into.append((task, packed()))
    except Exception as error:
        node, origin = program.place_of(task, None)
        wrong = error if not what else Unserializable(what, f"built at {origin}", codec.reason_of(error))
        broken.append(Broken(task, wrong, str(wrong), node, origin))


def _unopened(program: Program, task: int, error: Exception) -> BrokenThere:
    node, origin = program.place_of(task, None)
    wrong = Unserializable(f"an input of {node!r}", f"built at {origin}", codec.reason_of(error))
    return _packed_broken(Broken(task, wrong, str(wrong), node, origin))


def _packed_broken(broken: Broken) -> BrokenThere:
    return BrokenThere(
        broken.task,
        codec.pack_exception(broken.exception, broken.text),
        broken.text,
        broken.node,
        broken.origin,
        broken.step,
        broken.retry,
        broken.asked,
        broken.countdown,
        broken.max_retries,
    )


def _packed_replacement(plan: Plan) -> bytes:
    codec.pack_tables(plan.shape, plan.tables)  # names the function or argument that cannot travel
    return codec.dumps(plan)


# -- back again ------------------------------------------------------------------------------------


def opened(back: Buffer, program: Program) -> tuple[Report, dict[int, Any], Sequence[int]]:
    """Return the report of a lease that has come back, the values of what ended well, and which of them stay there."""
    parts = _back_of(back)
    report = Report(list(parts.done), skipped=list(parts.skipped), seconds=parts.seconds)
    values: dict[int, Any] = codec.loads(parts.plain)
    for sent in parts.broken:
        error = codec.unpack_exception(sent.exception, sent.node, sent.text)
        report.broken.append(Broken(sent.task, error, *sent[2:]))
    for task, blob in (*parts.others, *parts.replaced):
        try:
            value = codec.loads(blob)
        except Exception as error:
            node, origin = program.place_of(task, None)
            wrong = Unserializable(f"the result of {node!r}", f"built at {origin}", codec.reason_of(error))
            report.broken.append(Broken(task, wrong, str(wrong), node, origin))
            report.done = [other for other in report.done if other != task]
        else:
            values[task] = value
    report.replaced.extend((task, values.pop(task)) for task, _ in parts.replaced if task in values)
    return report, values, parts.stays
