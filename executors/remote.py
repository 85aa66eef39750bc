"""A lease in another process that shares nothing with this one: two parcels there, one parcel back.

Those there hold the plan, and the lease: tasks and the values they read.  The one back holds the report and those
values that somebody else may want.  All are bytes, so whatever carries them need not know what is in them.

Covers: packing and opening them, running a lease over there, what is reported of what could not go there.
Does not cover: who carries them (executors.pool, executors.children).
"""

from __future__ import annotations

import concurrent.futures
import os
from collections import deque
from dataclasses import replace
from functools import lru_cache, partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from lazygraph.errors import EngineFailed, Unserializable, WorkerDied
from lazygraph.executors.cluster.messages import ShapeOnWire, TablesOnWire
from lazygraph.executors.cluster.net import codec
from lazygraph.executors.cluster.records import pack_shape, unpack_shape
from lazygraph.executors.leaving import SMALL_ONES, bring
from lazygraph.executors.saying import Progress, speaking
from lazygraph.executors.tellable import Tellable
from lazygraph.running.observing import Seen, Watch, observed, sight_of
from lazygraph.running.program import Program
from lazygraph.running.runner import Broken, Report, broken_of, run_lease
from lazygraph.values.graph import ORDER
from lazygraph.values.options import RetryPolicy
from lazygraph.values.template import PLAIN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from lazygraph.executors.saying import Say
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
    not in `values` but comes beside it: an entry, in which of the inputs it is, and under which number.  `parks`: what
    is awaited may be told after the rest, when other leases run there.  `number` is by what the lease speaks of itself
    (executors.saying).  `watched`: `Back.seen` is wanted.
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
    parks: bool = False
    number: int = 0
    watched: bool = False


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
    worker: str = ""


class Back(NamedTuple):
    """What became of it.

    `plain` is one pickle of those wanted values that always open, `others` a pickle for each of the rest: one that
    cannot be opened must not take others along.  `replaced` has the pickled plan of what replaces a task.
    `stays` are wanted values that were left where they were made.  `told` is what tasks said last of how far they are,
    `seen` when they began and ended.
    """

    done: list[int]
    skipped: list[int]
    seconds: float
    plain: bytes
    others: list[tuple[int, bytes]]
    broken: list[BrokenThere]
    replaced: list[tuple[int, bytes]]
    stays: tuple[int, ...] = ()
    told: tuple[Progress, ...] = ()
    seen: Seen | None = None


_encode = msgspec.msgpack.Encoder().encode
_plan_of = msgspec.msgpack.Decoder(tuple[ShapeOnWire, TablesOnWire, bytes]).decode
_there_of = msgspec.msgpack.Decoder(There).decode
_back_of = msgspec.msgpack.Decoder(Back).decode


def packed_plan(shape: Shape, tables: Tables) -> bytes:
    """Return a plan as bytes.  Raises `Unserializable` naming the function or argument that cannot travel."""
    wire, blobs = codec.pack_tables(shape, tables)
    return os.urandom(PLAN_NAME) + _encode((pack_shape(shape), wire, b"".join(blobs)))


def opened_plan(plan: Buffer, worker: str = "") -> Program:
    """Return a plan that was packed, ready to be called by `worker`; its leases say whose it is."""
    wire, tables, body = _plan_of(memoryview(plan)[PLAN_NAME:])
    shape = unpack_shape(wire)
    classes = codec.unpack_policies(tables, body)
    options = tuple([_with_classes(row, classes.get(at)) for at, row in enumerate(shape.options)])
    program = Program(replace(shape, options=options), codec.unpack_tables(shape.names, tables, body))
    program.worker = worker
    return program


def _with_classes(row: TaskOptions, classes: tuple[Any, Any] | None) -> TaskOptions:
    """Return an option row with the classes of exceptions that it retries: they do not travel in it."""
    if classes is None or not isinstance(row.retries, RetryPolicy):
        return row
    return replace(row, retries=replace(row.retries, on=classes[0], not_on=classes[1]))


def reads_of(shape: Shape, tasks: Iterable[int]) -> set[int]:
    """Return the entries whose values tasks take."""
    first = shape.input_offsets
    tasks = [task for task in tasks if first[task] < first[task + 1]]
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
    parks: bool = False,
    number: int = 0,
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
    watched = sight_of(program) is not None
    return _encode(There(list(tasks), list(wanted), packed, *about, say, tuple(places), parks, number, watched))


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
    report, died = Report(), isinstance(error, concurrent.futures.BrokenExecutor)
    for task in tasks:
        name, why = program.place_of(task, None)[0], f"{type(error).__name__}: {error}"
        own = WorkerDied(name, 1, f"{where}: {why}") if died else EngineFailed(name, where, why)
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
    inputs: Sequence[Mapping[int, Any]] = (),
    leave: Callable[[int, Any], object] | None = None,
    say: Say | None = None,
) -> bytes:
    """Run a lease in this process; return what became of it.

    After a failure, which others may wait to hear of, the rest comes back as it is.  `inputs` have what comes beside
    the lease; `leave` is called with wanted values that are not small, which then do not come back; it raises if one
    cannot be left here.  `say` brings what it says while it runs to whoever sent it (executors.saying).
    """
    there = LeaseThere(program, lease, inputs=inputs, leave=leave)
    with speaking(there.number, say) as speaker:
        run_lease(
            there.program,
            there.tasks,
            there.values,
            there.made.add,
            interruptible=False,
            attempt=there.attempt,
            began=speaker.began if say is not None else None,
            told=speaker.told,
        )
    parcel = there.made.all(there.tasks, speaker.all_told())
    there.values.clear()  # a lease refers to itself, and the collector may not come for long
    return parcel


class LeaseThere:
    """A lease that was sent to this process, opened.

    `begins` is asked about each task before it begins; once it says no, the rest stays in `tasks`.  So it does after a
    failure.  `began` and `told` are called if whoever sent the lease wants it.
    """

    lender = True

    def __init__(
        self,
        program: Program,
        lease: Buffer,
        begins: Callable[[int], bool] | None = None,
        began: Callable[[int], None] | None = None,
        told: Callable[[int, float, float | None], None] | None = None,
        inputs: Sequence[Mapping[int, Any]] = (),
        leave: Callable[[int, Any], object] | None = None,
    ) -> None:
        tasks, wanted, packed, attempt, label, run_id, worker, say, places, parks, number, watched = _there_of(lease)
        watch = Watch() if watched else None
        # The same in all leases of a packed plan.
        program.label, program.run_id = label, run_id
        program.worker = worker or program.worker or f"process-{os.getpid()}"
        self.program: Program = program if watch is None else observed(program, watch)
        self.attempt, self.parks, self.number = attempt, parks, number
        self.began, self.told = began if say[0] else None, told if say[1] else None
        self.values: dict[int, Any] = {}
        self.made = _Made(self.program, tasks, wanted, self.values, leave)
        self._begins, self._complete = begins, True
        self.tasks: deque[int] = _Noting(tasks, self._goes_on)
        try:
            self.values.update(codec.loads(packed))
            self._complete = bring(self.values, inputs, places)
            if watch is not None:
                watch.has_inputs()
        except Exception as error:
            self.tasks.clear()
            self.made.add(Report(broken=[_unopened(program, task, error) for task in tasks]))

    def _goes_on(self, task: int) -> bool:
        return self._complete and not self.made.failed and (self._begins is None or self._begins(task))


class _Made:
    """What a lease has made and has not told; it is told in one parcel at the end, or in several on the way."""

    def __init__(
        self,
        program: Program,
        tasks: Sequence[int],
        wanted: Iterable[int],
        values: dict[int, Any],
        leave: Callable[[int, Any], object] | None,
    ) -> None:
        self._program, self._tasks, self._values, self._leave = program, tasks, values, leave
        self._wanted = set(wanted)
        self._new = Report()
        self._tellable: Tellable | None = None
        self.failed = False

    def add(self, part: Report) -> None:
        """Take in what the runner has done."""
        new = self._new
        self.failed = self.failed or bool(part.broken)
        new.done += part.done
        new.broken += part.broken
        new.replaced += part.replaced
        new.skipped += part.skipped
        new.seconds += part.seconds

    def all(self, left: Iterable[int], told: Sequence[Progress] = ()) -> bytes:
        """Return the last parcel; `left` has not begun."""
        self._new.skipped += left
        return self._parcel(self._new, told)

    def so_far(self, left: Iterable[int] = ()) -> bytes | None:
        """Return a parcel of what can be told while the lease goes on, if there is anything; `left` will not begin.

        Values that nothing here will read any more are gone then: what is still awaited may take long.
        """
        new, shape = self._new, self._program.shape
        new.skipped += left
        self._wanted |= reads_of(shape, new.skipped)  # these will run elsewhere
        tellable = self._tellable = self._tellable or Tellable(shape, self._tasks)
        told = tellable.now(new, self._wanted)
        if not told and not new.broken:
            return None
        part, self._new = Report(), Report()
        part.broken, part.seconds = new.broken, new.seconds
        for task in new.done:
            (part if task in told else self._new).done.append(task)
        for task, plan in new.replaced:
            (part if task in told else self._new).replaced.append((task, plan))
        part.skipped = new.skipped
        parcel = self._parcel(part)
        for entry in tellable.tell(told):
            self._values.pop(entry, None)
        return parcel

    def _parcel(self, whole: Report, told: Sequence[Progress] = ()) -> bytes:
        program, values, leave = self._program, self._values, self._leave
        # What was skipped will run elsewhere, and may read what was made here.
        kept = {*self._wanted, *reads_of(program.shape, whole.skipped)}.intersection(whole.done)
        plain = {task: values[task] for task in sorted(kept) if _is_plain(values[task], small=leave is not None)}
        others: list[tuple[int, Any]] = []
        replaced: list[tuple[int, Any]] = []
        for task in sorted(kept.difference(plain)):
            what = f"the result of {program.place_of(task, None)[0]!r}, a {type(values[task]).__name__},"
            packing = partial(codec.dumps, values[task]) if leave is None else partial(leave, task, values[task])
            _pack(program, task, packing, others, whole.broken, what)
        for task, becomes in whole.replaced:
            _pack(program, task, partial(_packed_replacement, becomes), replaced, whole.broken)
        small = codec.dumps(plain)
        if leave is not None and SMALL_ONES in self._wanted:
            leave(SMALL_ONES, small)
        lost = {broken.task for broken in whole.broken}
        self.failed = self.failed or bool(lost)
        return _encode(
            Back(
                [task for task in whole.done if task not in lost],
                whole.skipped,
                whole.seconds,
                small,
                others if leave is None else [],
                [_packed_broken(broken) for broken in whole.broken],
                replaced,
                tuple([task for task, _ in others]) if leave is not None else (),
                tuple(told),
                watch.new(program.worker) if (watch := sight_of(program)) is not None else None,
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


def _unopened(program: Program, task: int, error: Exception) -> Broken:
    node, origin = program.place_of(task, None)
    wrong = Unserializable(f"an input of {node!r}", f"built at {origin}", codec.reason_of(error))
    return Broken(task, wrong, str(wrong), node, origin)


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
        broken.worker,
    )


def _packed_replacement(plan: Plan) -> bytes:
    codec.pack_tables(plan.shape, plan.tables)  # names the function or argument that cannot travel
    return codec.dumps(plan)


# -- back again ------------------------------------------------------------------------------------


def opened(
    back: Buffer, program: Program, told: Callable[[int, float, float | None], None] | None = None
) -> tuple[Report, dict[int, Any], Sequence[int]]:
    """Return the report of a lease that has come back, the values of what ended well, and which of them stay there.

    `told` is called with what its tasks said last of how far they are.
    """
    parts = _back_of(back)
    if parts.seen is not None and (sight := sight_of(program)) is not None:
        sight.take(parts.seen, perf_counter())
    if told is not None:
        for one in parts.told:
            told(*one)
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
