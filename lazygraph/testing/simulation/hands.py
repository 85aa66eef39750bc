"""The pretend hands: workers and clients without sockets or threads, around the real minds and the real pickles.

Covers: what the servers and the client do with messages, one small step at a time.
Does not cover: who moves when (simulation.world), what is asked of the cluster (simulation.lives).
"""

from __future__ import annotations

from collections import Counter, deque
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from lazygraph.errors import TaskCancelled
from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster import worker_machine as w
from lazygraph.executors.cluster.net import codec, portions
from lazygraph.executors.cluster.net.failures import failure_of
from lazygraph.executors.cluster.net.parcels import pack_values, unpack_values
from lazygraph.executors.cluster.records import pack_shape
from lazygraph.running.runner import Report, broken_of, run_lease
from lazygraph.testing.simulation.asking import Offer
from lazygraph.testing.simulation.tasks import Answered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from random import Random

    from lazygraph.planning.plan import Plan
    from lazygraph.testing.simulation.ledger import Ledger

Link = deque[tuple[m.Message, bytes]]


class Surroundings(Protocol):
    """What a hand needs of the world it is in."""

    inline_limit: int
    now: float
    ledger: Ledger
    ran: Counter[tuple[int, int]]
    answers: list[Answered]
    filling: Random | None
    tell: Callable[[str, str, m.Message], None]

    def ask(self, asker: PretendWorker | PretendClient, address: str, get: m.Get) -> None:
        """Ask the worker at `address` for values."""

    def give_up(self, asker: PretendWorker | PretendClient, address: str) -> list[int]:
        """Take back what was asked of the worker at `address` and was not answered; return the questions."""
        ...

    def ends(self, worker: PretendWorker) -> None:
        """A worker has been told that nobody needs it."""


class Ending(NamedTuple):
    """How an entry ended, as a client saw it: "value", or what `Ended` or `Located` said instead."""

    kind: str
    thing: Any  # the value, the exception that was raised, or a sentence


class PretendThread:
    """A thread of a worker: runs one lease after another, and stands in the middle of a task between its steps."""

    def __init__(self, worker: PretendWorker) -> None:
        self.worker = worker
        self.lease: w.WorkLease | None = None
        self.task: int | None = None  # in the middle of it
        self.stop: int | None = None  # the question by which the task it is in was asked to leave
        self.gone: set[int] = set()  # of this lease: what failed, and what was skipped because of it
        self.report = Report()

    def step(self, random: Random) -> None:
        """End the task it is in, run some more, begin another; report now and then, and at the end of a lease."""
        if self.lease is None:
            self.lease, self.gone = self.worker.queue.popleft(), set()
        lease = self.lease
        for _ in range(random.choice((1, 1, 2, 8, 1000))):
            if self.task is not None:
                self._finish(lease, self.task, random)
            self.task = self._next(lease)
            if self.task is None:
                self.lease = None
                break
        if self.lease is None or self.report.broken or random.random() < 0.5:
            self.worker.jobs.append(partial(self.worker.report, lease, self.report))
            self.report = Report()

    def _next(self, lease: w.WorkLease) -> int | None:
        while lease.tasks:
            task = lease.tasks.popleft()
            if self.gone.isdisjoint(lease.program.shape.inputs_of(task)):
                self.worker.begins(lease, task)
                return task
            self.gone.add(task)
            self.report.skipped.append(task)
        return None

    def _finish(self, lease: w.WorkLease, task: int, random: Random) -> None:
        self.worker.world.ledger.ends(self.worker.peer, (lease.base, task, lease.attempt))
        question, self.stop = self.stop, None
        if question is not None:
            left = random.random() < 0.7  # or it was just about to end
            self.worker.jobs.append(partial(self.worker.stopped, question, left))
            if left:
                self.report.broken.append(broken_of(lease.program, task, TaskCancelled()))
                self.gone.add(task)
                return
        self.worker.world.ran[lease.base, task] += 1
        reports: list[Report] = []
        run_lease(lease.program, deque([task]), lease.values, reports.append, attempt=lease.attempt)
        for one in reports:
            self.report.done += one.done
            self.report.broken += one.broken
            self.report.replaced += one.replaced
            # In some blocks tasks are too short for leases of one, in others long enough.
            self.report.seconds += (0.001 if lease.base % 3 else 1e-6) * len(one.done)
            self.gone.update(broken.task for broken in one.broken)
            self.gone.update(task for task, _ in one.replaced)
        if isinstance(value := lease.block.values.get(task), Answered):
            self.worker.world.answers.append(value)


class PretendWorker:
    """A worker's hand."""

    def __init__(self, world: Surroundings, peer: int, threads: int, offer: Offer) -> None:
        self.world, self.peer, self.offer = world, peer, offer
        self.address = f"worker-{peer}"
        self.mind = w.WorkerMachine()
        self.threads = [PretendThread(self) for _ in range(threads)]
        self.queue: deque[w.WorkLease] = deque()
        self.jobs: deque[Callable[[], None]] = deque()  # what its threads want to have told, in order
        self.inbox: Link = deque()  # from the scheduler
        self.outbox: Link = deque()  # to the scheduler
        self.gets: deque[tuple[PretendWorker | PretendClient, m.Get]] = deque()  # others' questions
        self.later: dict[int, list[tuple[PretendWorker | PretendClient, m.Get]]] = {}  # that wait for one of ours
        self.answers: deque[tuple[int, Any, Any]] = deque()

    def deliver(self) -> None:
        """Take one message from the scheduler."""
        message, body = self.inbox.popleft()
        self.world.tell("scheduler", self.address, message)
        if isinstance(message, m.Load):
            self.mind.load(message.block, portions.opened(message, body), message.aliases)
        elif isinstance(message, m.Portion):
            program = self.mind.blocks[message.block].program
            assert program is not None
            portions.put(program, message, body)
        elif isinstance(message, m.Store):
            values, _ = unpack_values(m.Values(0, message.lengths, []), body, w.MISSING)
            self.mind.store(message.block, m.from_ints(message.entries), values)
        elif isinstance(message, m.Caught):
            self.mind.caught(message.block, message.entry, failure_of(message, body), message.member)
        elif isinstance(message, m.Stop):
            self._stop(message)
        elif isinstance(message, m.Leave):
            self.world.ends(self)
        elif isinstance(message, m.Away):
            self._away(message.address)
        elif not isinstance(message, m.Beat):
            self.act(self.mind.receive(message))

    def _away(self, address: str) -> None:
        for question in self.world.give_up(self, address):
            self.answers.append((question, None, {}))

    def act(self, actions: Sequence[w.Action]) -> None:
        """Do what the mind says."""
        for action in actions:
            if isinstance(action, w.Say):
                self.outbox.append((action.message, b""))
            elif isinstance(action, w.Start):
                self.queue.append(action.lease)
            elif isinstance(action, w.Fail):
                self.outbox.extend(codec.failed_input(action.lease, action.tasks, action.why))
            elif isinstance(action, w.Tell):
                self.outbox.extend(codec.results(action.lease, Report(done=action.tasks), self.world.inline_limit))
            else:
                get = m.Get(action.question, action.block, action.entries, turn=action.turn)
                self.world.ask(self, action.address, get)

    def tick(self) -> None:
        """A moment has passed; in some lives memory may be full now, or be so no more."""
        self.act(self.mind.tick())
        if self.world.filling is not None:
            self.act(self.mind.memory_is(self.world.filling.random() < 0.5, self.world.filling.random() < 0.3))

    def tell(self) -> None:
        """Tell the scheduler of one thing that its threads have said."""
        self.jobs.popleft()()

    def report(self, lease: w.WorkLease, report: Report) -> None:
        """Tell the scheduler of one report."""
        self.outbox.extend(codec.results(lease, report, self.world.inline_limit))
        self.mind.answered(lease, report)

    def begins(self, lease: w.WorkLease, task: int) -> None:
        """A task begins in one of its threads."""
        row = lease.program.shape.options[lease.program.shape.option[task]]
        self.world.ledger.begins(self.peer, (lease.base, task, lease.attempt), row, self.world.now)
        if lease.tell:
            self.jobs.append(partial(self._say, m.Began(lease.base, task, lease.attempt)))

    def stopped(self, question: int, left: bool) -> None:
        """Answer a `Stop`."""
        self._say(m.Stopped(question, left))

    def _say(self, message: m.Message) -> None:
        self.outbox.append((message, b""))

    def _stop(self, message: m.Stop) -> None:
        """Have an attempt leave: at once if it has not begun, with what is behind it, else (`force`) as it ends."""
        task, found = message.task, None
        for lease in self.mind.leases:
            if lease.base == message.block and lease.attempt == message.attempt and task in lease.order:
                found = lease
        thread = next((t for t in self.threads if t.lease is found and t.task == task), None)
        begun = found is None or task not in found.tasks
        if found is None or (begun and (thread is None or not message.force)):
            self.stopped(message.question, False)
        elif thread is not None:
            if thread.stop is not None:
                self.stopped(thread.stop, False)
            thread.stop = message.question
        else:
            behind: list[int] = []
            while found.tasks[-1] != task:
                behind.insert(0, found.tasks.pop())
            found.tasks.pop()
            self.report(found, Report(broken=[broken_of(found.program, task, TaskCancelled())], skipped=behind))
            self.stopped(message.question, True)

    def asked(self) -> None:
        """Answer one question for values."""
        asker, get = self.gets.popleft()
        entries = m.from_ints(get.entries)
        ours = self.mind.coming(get.block, entries, get.turn)
        if ours is not None:
            self.later.setdefault(ours, []).append((asker, get))
            return
        values = self.mind.lookup(get.block, entries)
        lengths, problems, blobs = pack_values(values, w.MISSING)
        answer = m.Values(get.question, lengths, problems)
        self.world.tell(self.address, asker.address, answer)
        opened, wrong = unpack_values(answer, b"".join(blobs), w.MISSING)
        asker.answers.append((get.question, opened, wrong))

    def take_answer(self) -> None:
        """Take one answer to a question of ours."""
        question, values, problems = self.answers.popleft()
        self.act(self.mind.fetched(question, values, problems))
        self.gets.extend(self.later.pop(question, ()))

    def asked_by(self) -> Iterator[tuple[PretendWorker | PretendClient, m.Get]]:
        """Yield the questions of others that have not been answered."""
        yield from self.gets
        yield from chain.from_iterable(self.later.values())


class PretendClient:
    """A client's hand: submits plans, holds futures, collects endings, asks workers for values."""

    def __init__(self, world: Surroundings, peer: int, grain: int = 0) -> None:
        self.world, self.peer = world, peer
        self.address = f"client-{peer}"
        self.inbox: Link = deque()
        self.outbox: Link = deque()
        self.answers: deque[tuple[int, Any, Any]] = deque()
        self.runs = 0
        self.grain = grain  # so many rows make a portion of its plans
        self.claims: Counter[tuple[int, int]] = Counter()  # (run, entry) -> futures held
        self.seen: dict[tuple[int, int], list[Ending]] = {}  # what was seen of a claimed entry, in order
        self.told: dict[tuple[int, int], list[bool]] = {}  # what the scheduler said of its end: well or badly
        self.wants = 0  # values asked for (again)
        self._questions: dict[int, tuple[int, int]] = {}
        self._asked = 0

    def submit(self, plan: Plan, bindings: Sequence[tuple[int, int]] = ()) -> int:
        """Send a plan and hold a future for each of its outputs; return the run's number."""
        self.runs += 1
        self.claims.update((self.runs, entry) for entry in plan.shape.outputs)
        tables, blobs = portions.divided(plan.shape, plan.tables, self.grain)
        flat = m.ints(part for pair in bindings for part in pair)
        message = m.Submit(self.runs, plan.name, plan.fail_fast, pack_shape(plan.shape), tables, flat, plan.skips)
        self.outbox.append((message, b"".join(blobs)))
        return self.runs

    def hold(self, values: Sequence[Any]) -> int:
        """Send values to be kept; return the run's number."""
        self.runs += 1
        self.claims.update((self.runs, entry) for entry in range(len(values)))
        blobs = [codec.dumps(value) for value in values]
        names = [f"held-{at}" for at in range(len(values))]
        hold = m.Hold(self.runs, [len(blob) for blob in blobs], names, broadcast=self.grain == 1)
        self.outbox.append((hold, b"".join(blobs)))
        return self.runs

    def drop(self, run: int, entries: Sequence[int]) -> None:
        """Let go of one future for each of the entries."""
        self.claims.subtract((run, entry) for entry in entries)
        self.outbox.append((m.Drop(run, m.ints(entries)), b""))

    def drop_everything(self) -> None:
        """Let go of every future."""
        by_run: dict[int, list[int]] = {}
        for (run, entry), count in self.claims.items():
            by_run.setdefault(run, []).extend([entry] * count)
        for run, entries in by_run.items():
            if entries:
                self.drop(run, entries)

    def cancel(self, run: int, entry: int, force: bool = False) -> None:
        """Ask to cancel an entry, or with -1 the whole run."""
        self.outbox.append((m.Cancel(0, run, entry, force), b""))

    def set_queues(self, name: str, add: Sequence[str], remove: Sequence[str]) -> None:
        """Ask that workers of a name take some queues, and others no more."""
        self.outbox.append((m.SetQueues(0, [name], list(add), list(remove)), b""))

    def want(self, run: int, entry: int) -> None:
        """Ask where a value is; then ask whoever has it."""
        self.wants += 1
        self._asked += 1
        self._questions[self._asked] = (run, entry)
        self.outbox.append((m.Want(self._asked, run, entry), b""))

    def deliver(self) -> None:
        """Take one message from the scheduler."""
        message, body = self.inbox.popleft()
        self.world.tell("scheduler", self.address, message)
        if isinstance(message, m.Succeeded):
            self._succeeded(message, body)
        elif isinstance(message, m.Ended):
            thing: Any = message.text
            if message.kind == "raised":
                thing = codec.unpack_exception(body, message.node, message.text)
            for entry in m.from_ints(message.entries):
                self.told.setdefault((message.run, entry), []).append(False)
                self._saw(message.run, entry, Ending(message.kind, thing))
        elif isinstance(message, m.Located):
            run, entry = self._questions.pop(message.question)
            if message.worker:
                self._get(run, entry, message.worker, message.block, message.entry)
            else:
                self._saw(run, entry, Ending("gone", message.why))
        elif isinstance(message, m.Away):
            for question in self.world.give_up(self, message.address):
                self.answers.append((question, None, {}))

    def _succeeded(self, message: m.Succeeded, body: bytes) -> None:
        inlined = m.from_ints(message.inlined)
        here = dict(zip(inlined, codec.loads(body) if inlined else (), strict=True))
        for entry in m.from_ints(message.entries):
            self.told.setdefault((message.run, entry), []).append(True)
            if entry in here:
                self._saw(message.run, entry, Ending("value", here[entry]))
            elif message.worker:
                self._get(message.run, entry, message.worker, message.block, entry)
            else:
                self.want(message.run, entry)

    def _get(self, run: int, entry: int, address: str, block: int, at: int) -> None:
        self._asked += 1
        self._questions[self._asked] = (run, entry)
        self.world.ask(self, address, m.Get(self._asked, block, m.ints([at])))

    def take_answer(self) -> None:
        """Take a worker's answer; when it has nothing, ask the scheduler."""
        question, values, problems = self.answers.popleft()
        run, entry = self._questions.pop(question)
        if problems:
            self._saw(run, entry, Ending("unsendable", problems[0]))
            return
        if values is not None and values[0] is not w.MISSING:
            self._saw(run, entry, Ending("value", values[0]))
        elif self.claims[run, entry] > 0:
            self.want(run, entry)

    def _saw(self, run: int, entry: int, ending: Ending) -> None:
        if self.claims[run, entry] > 0:
            self.seen.setdefault((run, entry), []).append(ending)

    def waiting(self) -> list[tuple[int, int]]:
        """Return the claimed entries that have not ended, and those that it still asks for."""
        unseen = [at for at, count in self.claims.items() if count > 0 and at not in self.seen]
        return unseen + [at for at in self._questions.values() if self.claims[at] > 0]
