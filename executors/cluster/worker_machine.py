"""The worker's mind: what to fetch, what to run, what to keep.  No socket, no clock, no thread, no pickle.

Covers: leases and the inputs they wait for, giving back, values and when they are dropped.
Does not cover: bytes and threads (net.worker_server), running a lease (running.runner).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster.work import WorkerBlock as WorkerBlock
from lazygraph.executors.cluster.work import WorkLease as WorkLease
from lazygraph.values.graph import ORDER
from lazygraph.values.outcome import Missed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from lazygraph.running.program import Program
    from lazygraph.running.runner import Report
    from lazygraph.values.outcome import Failure

MISSING: Any = object()
"""What `lookup` gives for a value that is not here."""


@dataclass(frozen=True, slots=True)
class Say:
    """To the scheduler."""

    message: m.Message


@dataclass(frozen=True, slots=True)
class Fetch:
    """Ask the worker at `address` for values, on this `turn`; answer with `fetched(question, ...)`."""

    question: int
    address: str
    block: int
    entries: bytes
    turn: int = 0


@dataclass(frozen=True, slots=True)
class Start:
    """Run this lease when a thread is free; leases start in the order they are given."""

    lease: WorkLease


@dataclass(frozen=True, slots=True)
class Fail:
    """Report these tasks of a lease as failed: an input of theirs cannot be sent, and `why`."""

    lease: WorkLease
    tasks: list[int]
    why: str


@dataclass(frozen=True, slots=True)
class Tell:
    """Report these tasks of a lease as done: their values are here."""

    lease: WorkLease
    tasks: list[int]


Action = Say | Fetch | Start | Fail | Tell


class WorkerMachine:
    """The mind of one worker."""

    def __init__(self) -> None:
        self.blocks: dict[int, WorkerBlock] = {}
        self.leases: list[WorkLease] = []  # with tasks that have not been answered for, oldest first
        self._questions: dict[int, tuple[str, int, bytes, list[WorkLease]]] = {}
        self._asked = 0
        self._coming: dict[tuple[int, int], int] = {}  # (block, entry) -> the question that will bring it
        self._turns: dict[int, int] = {}  # of questions that were asked in turn
        self._carrying: set[tuple[int, int]] = set()  # (block, entry) of what is fetched from a worker that leaves
        self._actions: list[Action] = []
        self._full = False  # whether the scheduler was told that memory is

    def receive(self, message: m.Message) -> list[Action]:
        """Absorb one message of the scheduler; return what to do, in order."""
        _HANDLERS[type(message)](self, message)
        return self._take()

    def load(self, base: int, program: Program, aliases: Sequence[tuple[int, int]]) -> None:
        """A plan has come (opened by the hand)."""
        block = self._block(base)
        block.program, block.aliases = program, aliases

    def store(self, base: int, entries: Iterable[int], values: Iterable[Any]) -> None:
        """Values have come to be kept (opened by the hand)."""
        self._block(base).values.update(zip(entries, values, strict=True))

    def caught(self, base: int, entry: int, failure: Failure, member: bool) -> None:
        """What an external is, or what stands for a task that has no value (opened by the hand)."""
        block = self._block(base)
        if member:
            block.stand_ins[entry] = Missed(failure)
        else:
            block.values[entry] = failure

    def lookup(self, base: int, entries: Iterable[int]) -> list[Any]:
        """Return values, or MISSING in their places; of what is not in memory what stands for it (work.Spilled)."""
        block = self.blocks.get(base)
        if block is None:
            return [MISSING for _ in entries]
        return [block.values.held(entry, MISSING) for entry in entries]

    def memory_is(self, full: bool, can_spill: bool) -> list[Action]:
        """Hear whether memory is full, and whether something in it could still go to disk.

        The scheduler gives a full worker nothing, and asks back what has not begun.  When there is nothing to wait for
        it is to give something all the same: what has begun goes on, so that the next thing is done, and then the next.
        """
        full = full and not (self._full and not can_spill and not self.leases)
        if full != self._full:
            self._full = full
            self._say(m.Full(full))
        return self._take()

    def coming(self, base: int, entries: Iterable[int], turn: int) -> int | None:
        """Return a question of ours that one of these values will come with, and that was to be asked before `turn`.

        Whoever waits for it has a later turn than what he waits for: so nobody waits for himself in the end.
        """
        if turn and self._coming:
            for entry in entries:
                question = self._coming.get((base, entry))
                if question is not None and self._turns.get(question, 0) < turn:
                    return question
        return None

    def _block(self, base: int) -> WorkerBlock:
        found = self.blocks.get(base)
        if found is None:
            found = self.blocks[base] = WorkerBlock()
        return found

    def _take(self) -> list[Action]:
        actions, self._actions = self._actions, []
        return actions

    # -- leases ------------------------------------------------------------------------------------

    def _do(self, message: m.Do) -> None:
        tasks = deque(m.from_ints(message.tasks))
        wanted = frozenset(m.from_ints(message.wanted)) if message.wanted else frozenset()
        lease = WorkLease(message.block, message.attempt, tasks, wanted, self._block(message.block), tuple(tasks))
        lease.tell = message.tell
        self.leases.append(lease)
        questions: dict[int, None] = {}
        coming = bool(self._coming)
        for address, base, packed in message.where:
            values = self._block(base).values
            absent = []
            for entry in m.from_ints(packed):
                if entry in values:
                    continue
                question = self._coming.get((base, entry))
                if question is None:
                    absent.append(entry)
                else:
                    questions[question] = None
            if absent:
                questions[self._ask(address, base, absent, message.turn)] = None
        for question in questions:
            self._questions[question][3].append(lease)
        # An input that an earlier lease is still fetching was not named again: the scheduler knows we will have it.
        for question in self._still_coming(lease) if coming else ():
            if question not in questions:
                questions[question] = None
                self._questions[question][3].append(lease)
        lease.fetching = len(questions)
        if not questions:
            self._start(lease)

    def _still_coming(self, lease: WorkLease) -> dict[int, None]:
        shape, aliases, base, coming = lease.program.shape, lease.block.aliases, lease.base, self._coming
        k, bounds, inputs, kinds = shape.externals, shape.input_offsets, shape.inputs, shape.kinds
        found: dict[int, None] = {}
        for task in lease.tasks:
            for at in range(bounds[task], bounds[task + 1]):
                read = inputs[at]
                question = coming.get(aliases[read] if read < k else (base, read))
                if question is not None and kinds[at] != ORDER:
                    found[question] = None
        return found

    def reads(self, lease: WorkLease) -> Iterable[tuple[int, int]]:
        """Yield (block, entry) of every value that the lease's tasks read, as its owner numbers it."""
        for task in lease.tasks:
            yield from self._reads_of(lease, task)

    def _reads_of(self, lease: WorkLease, task: int) -> set[tuple[int, int]]:
        shape, aliases = lease.program.shape, lease.block.aliases
        first = shape.input_offsets[task]
        return {
            aliases[read] if read < shape.externals else (lease.base, read)
            for at, read in enumerate(shape.inputs_of(task), first)
            if shape.kinds[at] != ORDER
        }

    def _ask(self, address: str, base: int, entries: list[int], turn: int = 0) -> int:
        self._asked += 1
        packed = m.ints(entries)
        self._questions[self._asked] = (address, base, packed, [])
        for entry in entries:
            self._coming[base, entry] = self._asked
        if turn:
            self._turns[self._asked] = turn
        self._actions.append(Fetch(self._asked, address, base, packed, turn))
        return self._asked

    def fetched(self, question: int, values: Sequence[Any] | None, problems: Mapping[int, str]) -> list[Action]:
        """An answer: a value (or MISSING) for each entry asked for, or None when nobody answered.

        `problems` says for entries by position why they cannot be sent at all.
        """
        address, base, packed, leases = self._questions.pop(question)
        self._turns.pop(question, None)
        entries = m.from_ints(packed)
        got = [MISSING] * len(entries) if values is None else values
        absent, coming, block = [], self._coming, self.blocks.get(base)
        for at, (entry, value) in enumerate(zip(entries, got, strict=True)):
            if coming.get((base, entry)) != question:
                continue  # freed while it was on its way
            del coming[base, entry]
            if value is not MISSING:
                if block is None:
                    block = self._block(base)
                block.values[entry] = value
            elif at not in problems:
                absent.append(entry)
        # Said at once: the scheduler believes that we have it, and the leases that wait may end before they start.
        missing = [(address, base, m.ints(absent))] if absent else []
        if problems:
            missing.append(("", base, m.ints(entries[at] for at in problems)))
        if missing:
            self._say(m.Returned(-1, 0, b"", missing))
        if self._carrying:
            self._say_carried(base, entries)
        for lease in leases:
            lease.fetching -= 1
            lease.starved = lease.starved or bool(absent)
            for at, why in problems.items():
                lease.unsendable[base, entries[at]] = why
            if not lease.fetching:
                self._start(lease)
        return self._take()

    def _start(self, lease: WorkLease) -> None:
        """All fetches of a lease have been answered: run it, or say why not."""
        if lease not in self.leases:
            return
        rest, missing = list(lease.tasks), []
        if lease.unsendable:
            hit = {task for task in rest if not self._reads_of(lease, task).isdisjoint(lease.unsendable)}
            self._actions.append(Fail(lease, sorted(hit), next(iter(lease.unsendable.values()))))
            rest = [task for task in rest if task not in hit]
        elif not lease.starved:
            missing = self._fill_externals(lease)
            if not missing:
                self._actions.append(Start(lease))
                return
        lease.tasks.clear()
        if rest:
            self._say(m.Returned(lease.base, lease.attempt, m.ints(rest), missing))
        self.leases.remove(lease)

    def _fill_externals(self, lease: WorkLease) -> list[tuple[str, int, bytes]]:
        """Put values that belong to other runs where the lease's tasks read them; return those that are not here."""
        shape, aliases, values = lease.program.shape, lease.block.aliases, lease.block.values
        k, bounds, inputs, kinds = shape.externals, shape.input_offsets, shape.inputs, shape.kinds
        made = set(lease.tasks)
        absent: dict[int, list[int]] = {}
        for task in lease.tasks:
            for at in range(bounds[task], bounds[task + 1]):
                read = inputs[at]
                if kinds[at] == ORDER or read in made:
                    continue
                if read < k:
                    base, entry = aliases[read]
                    owner = self.blocks.get(base)
                    if owner is not None and entry in owner.values:
                        values.hold(read, owner.values.held(entry, MISSING))
                    else:
                        absent.setdefault(base, []).append(entry)
                elif read not in values and read not in lease.block.stand_ins:
                    absent.setdefault(lease.base, []).append(read)
        return [("", base, m.ints(entries)) for base, entries in absent.items()]

    def _say(self, message: m.Message) -> None:
        self._actions.append(Say(message))

    def answered(self, lease: WorkLease, report: Report) -> None:
        """The hand has told the scheduler of these; a lease with nothing left is forgotten."""
        lease.answered += len(report.done) + len(report.broken) + len(report.replaced) + len(report.skipped)
        lease.told.append(report.done)
        if report.broken or report.replaced or report.skipped:
            lease.told += ([one.task for one in report.broken], [task for task, _ in report.replaced], report.skipped)
        self._end_if_answered(lease)

    def unanswered(self, lease: WorkLease) -> list[int]:
        """Return the tasks of a lease of which the scheduler has not been told, and that a runner has taken."""
        known = {task for tasks in (*lease.told, list(lease.tasks)) for task in tasks}
        return [task for task in lease.order if task not in known]

    def _end_if_answered(self, lease: WorkLease) -> None:
        if lease.answered >= len(lease.order) and lease in self.leases:
            self.leases.remove(lease)

    def tick(self) -> list[Action]:
        """Say which tasks have been running since the last tick: they cannot be taken back."""
        for lease in self.leases:
            started = len(lease.order) - len(lease.tasks) - lease.returned
            running = started > lease.answered - lease.returned
            if running and started == lease.seen:
                self._say(m.Began(lease.base, lease.order[started - 1], lease.attempt))
                lease.said, lease.seen = started, 0
            elif started != lease.said:
                lease.seen = started
        return self._take()

    # -- giving back -------------------------------------------------------------------------------

    def _take_back(self, message: m.TakeBack) -> None:
        if message.block >= 0:
            wanted = set(m.from_ints(message.tasks))
            for lease in [x for x in self.leases if x.base == message.block]:
                self._give_back(lease, [task for task in list(lease.tasks) if task in wanted and _removed(lease, task)])
            return
        left = message.count
        answered = False
        running = any(map(_runs, self.leases))  # if nothing does, what came first is about to
        for lease in reversed(list(self.leases)):
            if left <= 0:
                break
            tail = _tail(lease, left, 0 if running or lease is not self.leases[0] else 1)
            if tail:
                left -= len(tail)
                self._give_back(lease, tail, asked=not answered)
                answered = True
        if not answered:
            self._say(m.Returned(-1, 0, b"", [], asked=True))

    def give_back(self) -> list[Action]:
        """Give back all that has not begun."""
        for lease in list(self.leases):
            tasks: list[int] = []
            while lease.tasks and not lease.fetching:
                try:
                    tasks.append(lease.tasks.pop())
                except IndexError:  # the runner was faster
                    break
            self._give_back(lease, tasks[::-1])
        return self._take()

    def _give_back(self, lease: WorkLease, tasks: list[int], asked: bool = False) -> None:
        if tasks:
            lease.answered += len(tasks)
            lease.returned += len(tasks)
            lease.told.append(tasks)
            self._say(m.Returned(lease.base, lease.attempt, m.ints(tasks), [], asked))
        self._end_if_answered(lease)

    # -- values ------------------------------------------------------------------------------------

    def _adopt(self, message: m.Adopt) -> None:
        """A value here is that of a task which has become what made it."""
        block = self._block(message.block)
        [value] = self.lookup(message.owner, (message.entry,))
        if value is MISSING:
            missing = [("", message.owner, m.ints((message.entry,)))]
            self._say(m.Returned(message.block, message.attempt, m.ints((message.task,)), missing))
            return
        block.values.hold(message.task, value)
        wanted = frozenset((message.task,) if message.wanted else ())
        lease = WorkLease(message.block, message.attempt, deque(), wanted, block, (message.task,))
        self._actions.append(Tell(lease, [message.task]))

    def _carry(self, message: m.Carry) -> None:
        """Fetch values for no lease: who has them leaves."""
        base, entries = message.block, m.from_ints(message.entries)
        values = self._block(base).values
        self._carrying.update((base, entry) for entry in entries)
        absent = [entry for entry in entries if entry not in values and (base, entry) not in self._coming]
        if absent:
            self._ask(message.address, base, absent)
        self._say_carried(base, entries)

    def _bring(self, message: m.Bring) -> None:
        """Fetch values for no lease yet."""
        base = message.block
        values = self._block(base).values
        absent = [e for e in m.from_ints(message.entries) if e not in values and (base, e) not in self._coming]
        if absent:
            self._ask(message.address, base, absent, message.turn)

    def _say_carried(self, base: int, entries: Iterable[int]) -> None:
        """Say which of these have come; of what is not on its way any more it has been said that it is missing."""
        block = self.blocks.get(base)
        over = [e for e in entries if (base, e) in self._carrying and (base, e) not in self._coming]
        self._carrying.difference_update((base, entry) for entry in over)
        here = [entry for entry in over if block is not None and entry in block.values]
        if here:
            self._say(m.Carried(base, m.ints(here)))

    def _free(self, message: m.Free) -> None:
        block = self.blocks.get(message.block)
        if block is not None:
            values, shared, coming = block.values, block.shared, self._coming
            for entry in m.from_ints(message.entries):
                values.drop(entry)
                if shared:
                    shared.pop(entry, None)
                if coming:
                    coming.pop((message.block, entry), None)

    def _forget(self, message: m.Forget) -> None:
        self.blocks.pop(message.block, None)
        self._coming = {key: question for key, question in self._coming.items() if key[0] != message.block}
        for lease in [x for x in self.leases if x.base == message.block]:
            taken = []
            while lease.tasks:
                try:
                    taken.append(lease.tasks.pop())
                except IndexError:  # the runner was faster
                    break
            self._give_back(lease, taken)


def _removed(lease: WorkLease, task: int) -> bool:
    try:
        lease.tasks.remove(task)
    except ValueError:  # it has started
        return False
    return True


def _runs(lease: WorkLease) -> bool:
    """Whether a task of a lease has been begun and has not been answered for."""
    return len(lease.order) - len(lease.tasks) > lease.answered


def _tail(lease: WorkLease, count: int, kept: int) -> list[int]:
    """Take `count` tasks from the right of a lease, or more, so that one of them could run elsewhere at once.

    Nothing, if that takes any of the first `kept`.
    """
    tasks = list(lease.tasks)  # a runner takes from the left meanwhile: what is taken is never put back
    made = set(tasks)
    shape, values = lease.program.shape, lease.values

    def free(task: int) -> bool:
        return all(read not in made and (read in values or lease.fetching) for read in shape.inputs_of(task))

    first = next((at for at in reversed(range(len(tasks))) if free(tasks[at])), -1)
    if first < kept:
        return []
    taken: list[int] = []
    for _ in range(max(len(tasks) - first, min(count, len(tasks) - kept))):
        try:
            taken.append(lease.tasks.pop())
        except IndexError:
            break
    taken.reverse()
    return taken


_HANDLERS: Mapping[type, Callable[[WorkerMachine, Any], None]] = {
    m.Do: WorkerMachine._do,
    m.TakeBack: WorkerMachine._take_back,
    m.Adopt: WorkerMachine._adopt,
    m.Carry: WorkerMachine._carry,
    m.Bring: WorkerMachine._bring,
    m.Free: WorkerMachine._free,
    m.Forget: WorkerMachine._forget,
}
