"""The pretend network and the pretend hands.  One step is one delivery, one batch of decisions, or one bit of work."""

from __future__ import annotations

from collections import deque
from random import Random
from typing import TYPE_CHECKING, Any

from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster import worker_machine as w
from lazygraph.executors.cluster.net import codec
from lazygraph.executors.cluster.records import pack_shape, unpack_shape
from lazygraph.executors.cluster.scheduler_machine import SchedulerMachine
from lazygraph.running.program import Program
from lazygraph.running.runner import run_lease

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lazygraph.planning.plan import Plan
    from lazygraph.running.runner import Report

Link = deque[tuple[m.Message, bytes]]


class Stuck(AssertionError):
    """Nothing can happen any more, and somebody still waits."""


class PretendWorker:
    """A worker's hand without sockets or threads: works off leases a few tasks at a time."""

    def __init__(self, world: World, peer: int, threads: int) -> None:
        self.world, self.peer, self.threads = world, peer, threads
        self.address = f"worker-{peer}"
        self.mind = w.WorkerMachine()
        self.queue: deque[w.WorkLease] = deque()
        self.busy: list[w.WorkLease] = []
        self.inbox: Link = deque()  # from the scheduler
        self.outbox: Link = deque()  # to the scheduler
        self.gets: deque[tuple[PretendWorker, int, int, bytes]] = deque()  # peers' questions
        self.answers: deque[tuple[int, Any, Any]] = deque()

    def deliver(self) -> None:
        """Take one message from the scheduler."""
        message, body = self.inbox.popleft()
        if isinstance(message, m.Load):
            shape = unpack_shape(message.shape)
            tables = codec.unpack_tables(shape.names, message.tables, body)
            self.mind.load(message.block, Program(shape, tables), message.aliases)
        elif isinstance(message, m.Store):
            values, at = [], 0
            for length in message.lengths:
                values.append(codec.loads(body[at : at + length]))
                at += length
            self.mind.store(message.block, m.from_ints(message.entries), values)
        else:
            self.act(self.mind.receive(message))

    def act(self, actions: Sequence[w.Action]) -> None:
        for action in actions:
            if isinstance(action, w.Say):
                self.outbox.append((action.message, b""))
            elif isinstance(action, w.Start):
                self.queue.append(action.lease)
            elif isinstance(action, w.Fail):
                self.outbox.extend(codec.failed_input(action.lease, action.tasks, action.why))
            else:
                self.world.get(self, action)

    def work(self, random: Random) -> None:
        """Run some tasks of one lease and report them."""
        if len(self.busy) < self.threads and self.queue:
            self.busy.append(self.queue.popleft())
        lease = random.choice(self.busy)
        part: deque[int] = deque()
        for _ in range(random.choice((1, 1, 2, 8, 1000))):
            if lease.tasks:
                part.append(lease.tasks.popleft())
        reports: list[Report] = []
        if part:
            self.world.ran(len(part))
            run_lease(lease.program, part, lease.values, reports.append)
        if not lease.tasks:
            self.busy.remove(lease)
        for report in reports:
            self._spoil(lease, report)
            self.mind.answered(lease, report)
            self.outbox.extend(codec.results(lease, report))

    def _spoil(self, lease: w.WorkLease, report: Report) -> None:
        # run_lease knows only this part: what it could not see failing is skipped here as it would be there.
        gone = self.world.gone.setdefault((self.peer, id(lease)), set())
        gone.update(broken.task for broken in report.broken)
        gone.update(report.skipped)
        inputs_of = lease.program.shape.inputs_of
        while lease.tasks and gone and any(not gone.isdisjoint(inputs_of(task)) for task in lease.tasks):
            bad = next(task for task in lease.tasks if not gone.isdisjoint(inputs_of(task)))
            lease.tasks.remove(bad)
            report.skipped.append(bad)
            gone.add(bad)

    def can_work(self) -> bool:
        return bool(self.busy or self.queue)


class PretendClient:
    """A client's hand without threads: submits plans, collects endings, asks workers for values."""

    def __init__(self, world: World, peer: int) -> None:
        self.world, self.peer = world, peer
        self.inbox: Link = deque()
        self.outbox: Link = deque()
        self.runs = 0
        self.plans: dict[int, Plan] = {}
        self.ended: dict[tuple[int, int], Any] = {}  # (run, entry) -> value, or an exception
        self.where: dict[int, tuple[int, int]] = {}  # question -> (run, entry)

    def submit(self, plan: Plan, bindings: Sequence[tuple[int, int]] = ()) -> int:
        self.runs += 1
        self.plans[self.runs] = plan
        tables, blobs = codec.pack_tables(plan.shape, plan.tables)
        flat = m.ints([part for pair in bindings for part in pair])
        message = m.Submit(self.runs, plan.name, plan.fail_fast, pack_shape(plan.shape), tables, flat)
        self.outbox.append((message, b"".join(blobs)))
        return self.runs

    def deliver(self) -> None:
        message, body = self.inbox.popleft()
        if isinstance(message, m.Succeeded):
            inlined = list(m.from_ints(message.inlined))
            for entry, value in zip(inlined, codec.loads(body) if inlined else (), strict=True):
                self.ended.setdefault((message.run, entry), value)
            for entry in m.from_ints(message.entries):
                if entry not in inlined and (message.run, entry) not in self.ended:
                    self.want(message.run, entry)
        elif isinstance(message, m.Ended):
            error: Any = RuntimeError(message.kind)
            if message.kind == "raised":
                error = codec.unpack_exception(body, message.node, message.text)
            for entry in m.from_ints(message.entries):
                self.ended.setdefault((message.run, entry), error)
        elif isinstance(message, m.Located):
            self._located(message)

    def want(self, run: int, entry: int) -> None:
        question = len(self.where) + 1
        self.where[question] = (run, entry)
        self.outbox.append((m.Want(question, run, entry), b""))

    def _located(self, message: m.Located) -> None:
        run, entry = self.where[message.question]
        holder = self.world.by_address.get(message.worker)
        if not message.worker:
            self.ended.setdefault((run, entry), RuntimeError(message.why))
            return
        value = holder.mind.lookup(message.block, [message.entry])[0] if holder else w.MISSING
        if value is w.MISSING:
            self.want(run, entry)
        else:
            self.ended.setdefault((run, entry), value)

    def waiting(self) -> list[tuple[int, int]]:
        return [
            (run, entry)
            for run, plan in self.plans.items()
            for entry in plan.shape.outputs
            if (run, entry) not in self.ended
        ]


class World:
    """One cluster life.  Every choice comes from `random`, which the seed makes."""

    def __init__(self, seed: int, workers: int = 2, threads: int = 1) -> None:
        self.seed, self.random = seed, Random(seed)
        self.mind = SchedulerMachine()
        self.now = 0.0
        self.tasks_run = 0
        self.gone: dict[tuple[int, int], set[int]] = {}
        self.peers = 0
        self.workers: dict[int, PretendWorker] = {}
        self.clients: dict[int, PretendClient] = {}
        self.by_address: dict[str, PretendWorker] = {}
        self.undecided = False
        for _ in range(workers):
            self.add_worker(threads)

    def ran(self, count: int) -> None:
        self.tasks_run += count

    def add_worker(self, threads: int = 1) -> PretendWorker:
        """A worker joins."""
        self.peers += 1
        worker = self.workers[self.peers] = PretendWorker(self, self.peers, threads)
        self.by_address[worker.address] = worker
        worker.outbox.append((m.Join(worker.address, worker.address, threads, 0), b""))
        return worker

    def add_client(self) -> PretendClient:
        """A client joins."""
        self.peers += 1
        client = self.clients[self.peers] = PretendClient(self, self.peers)
        self.mind.client_joined(self.peers)
        return client

    def kill(self, worker: PretendWorker) -> None:
        """A worker dies: what it had and what was under way to and from it is gone.

        What it had sent before may still arrive: a connection's end comes after its last byte.
        """
        while worker.outbox and self.random.random() < 0.5:
            self._to_mind(worker.peer, worker.outbox)
        del self.workers[worker.peer], self.by_address[worker.address]
        if worker.peer in self.mind.workers:
            self.route(self.mind.lost(worker.peer, self.now))
        self.undecided = True
        for asker, question, _, _ in worker.gets:
            asker.answers.append((question, None, {}))

    def get(self, asker: PretendWorker, fetch: w.Fetch) -> None:
        holder = self.by_address.get(fetch.address)
        if holder is None:
            asker.answers.append((fetch.question, None, {}))
        else:
            holder.gets.append((asker, fetch.question, fetch.block, fetch.entries))

    def route(self, sends: Sequence[Any]) -> None:
        for peer, message, body in sends:
            target: Any = self.workers.get(peer) or self.clients.get(peer)
            if target is not None:
                target.inbox.append((message, b"".join(bytes(part) for part in body)))

    def _to_mind(self, peer: int, outbox: Link) -> None:
        message, body = outbox.popleft()
        self.route(self.mind.receive(peer, message, body, self.now))
        self.undecided = True

    def _decide(self) -> None:
        self.undecided = False
        self.route(self.mind.decide(self.now))

    def _answer_get(self, holder: PretendWorker) -> None:
        asker, question, base, entries = holder.gets.popleft()
        values = holder.mind.lookup(base, m.from_ints(entries))
        lengths, problems, blobs = codec.pack_values(values, w.MISSING)
        opened, wrong = codec.unpack_values(m.Values(question, lengths, problems), b"".join(blobs), w.MISSING)
        asker.answers.append((question, opened, wrong))

    def _take_answer(self, worker: PretendWorker) -> None:
        question, values, problems = worker.answers.popleft()
        worker.act(worker.mind.fetched(question, values, problems))

    def step(self) -> bool:
        """Do one thing that can happen; False when nothing can."""
        choices: list[tuple[Any, ...]] = []
        for peer, worker in self.workers.items():
            if worker.outbox:
                choices.append((self._to_mind, peer, worker.outbox))
            if worker.inbox:
                choices.append((worker.deliver,))
            if worker.gets:
                choices.append((self._answer_get, worker))
            if worker.answers:
                choices.append((self._take_answer, worker))
            if worker.can_work():
                choices.append((worker.work, self.random))
        for peer, client in self.clients.items():
            if client.outbox:
                choices.append((self._to_mind, peer, client.outbox))
            if client.inbox:
                choices.append((client.deliver,))
        if self.undecided:
            choices.append((self._decide,))
        if not choices:
            return False
        self.now += 0.001
        act, *args = self.random.choice(choices)
        act(*args)
        return True

    def run(self, kills: int = 0, limit: int = 200_000) -> None:
        """Let everything happen until nothing can; kill workers on the way, and let others join."""
        steps = 0
        while True:
            if kills and self.random.random() < 0.02 and self.workers:
                kills -= 1
                self.kill(self.random.choice(list(self.workers.values())))
                self.add_worker(self.random.choice((1, 2)))
            if not self.step():
                break
            steps += 1
            if steps > limit:
                raise Stuck(f"seed {self.seed}: still busy after {limit} steps")
        for client in self.clients.values():
            if client.waiting():
                raise Stuck(f"seed {self.seed}: nothing happens and {client.waiting()[:5]} still wait")
