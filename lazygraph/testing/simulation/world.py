"""The pretend network: what may happen next, and one thing of it at a time.

One step is one delivery, one batch of decisions, or one bit of work.

Covers: links, who moves next, joining, leaving, standing still and dying.
Does not cover: what the hands do with a message (simulation.hands), what must hold (simulation.oracle).
"""

from __future__ import annotations

from collections import Counter, deque
from random import Random
from typing import TYPE_CHECKING, Any

from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster.scheduler_machine import SchedulerMachine
from lazygraph.testing.simulation.asking import PLAIN_OFFER, WALL_AHEAD, Offer
from lazygraph.testing.simulation.hands import PretendClient, PretendWorker
from lazygraph.testing.simulation.ledger import Ledger, Wrong
from lazygraph.testing.simulation.tasks import Lump
from lazygraph.values.status import State

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lazygraph.executors.cluster.records import Send
    from lazygraph.testing.simulation.hands import Link
    from lazygraph.testing.simulation.tasks import Answered


class Stuck(AssertionError):
    """Nothing can happen any more and somebody still waits; or there is no end to what happens."""


class World:
    """One cluster.  Every choice comes from `random`, which the seed makes.

    `tell`, if given, hears of every message when it is taken: sender, receiver, message.
    """

    def __init__(
        self,
        seed: int,
        inline_limit: int = m.INLINE_LIMIT,
        tell: Callable[[str, str, m.Message], None] = lambda sender, receiver, message: None,
        worker_ttl: float | None = None,
    ) -> None:
        self.seed, self.random = seed, Random(seed)
        self.inline_limit, self.tell = inline_limit, tell
        self.mind = SchedulerMachine(worker_ttl)
        self.mind.frontier.wall_ahead = WALL_AHEAD
        self.ledger = Ledger()
        self.now = 0.0
        self.steps = 0
        self.deaths = 0
        self.ran: Counter[tuple[int, int]] = Counter()  # (block, task) -> how often it ran to its end
        filling = Random(f"memory of {seed}")
        self.filling = filling if filling.random() < 0.3 else None  # of lives whose workers have little memory
        self.answers: list[Answered] = []  # what handlers have been told
        self.workers: dict[int, PretendWorker] = {}
        self.clients: dict[int, PretendClient] = {}
        self.by_address: dict[str, PretendWorker] = {}
        self.frozen: dict[int, None] = {}  # workers that do and say nothing
        self._last: set[int] = set()  # workers that were told to leave when nobody could take what they had
        self._peers = 0
        self._undecided = False

    # -- coming and going --------------------------------------------------------------------------

    def add_worker(self, threads: int = 1, offer: Offer = PLAIN_OFFER) -> PretendWorker:
        """A worker joins."""
        self._peers += 1
        worker = self.workers[self._peers] = PretendWorker(self, self._peers, threads, offer)
        self.by_address[worker.address] = worker
        name = offer.name or worker.address
        join = m.Join(name, worker.address, threads, 0, list(offer.queues), dict(offer.resources))
        worker.outbox.append((join, b""))
        return worker

    def add_client(self, grain: int = 0) -> PretendClient:
        """A client joins whose plans go out in portions of so many rows (0: whole)."""
        self._peers += 1
        client = self.clients[self._peers] = PretendClient(self, self._peers, grain)
        self.mind.client_joined(self._peers)
        return client

    def kill(self, worker: PretendWorker) -> None:
        """A worker dies: what it had, and what was under way to and from it, is gone."""
        self.deaths += 1
        self._end(worker.peer, worker.address, worker.outbox)
        del self.workers[worker.peer], self.by_address[worker.address]
        self.frozen.pop(worker.peer, None)
        self.ledger.died(worker.peer)
        for asker, get in worker.asked_by():
            asker.answers.append((get.question, None, {}))

    def freeze(self, worker: PretendWorker) -> None:
        """A worker stands still, and its connections with it."""
        if worker.peer not in self.frozen:
            self.frozen[worker.peer] = None
            self.deaths += 1  # it may be given up

    def thaw(self) -> None:
        """Those that stand still go on."""
        self.frozen.clear()

    def ends(self, worker: PretendWorker) -> None:
        """A worker has been told that nobody needs it."""
        if self._is_needed(worker):  # by what cannot be sent, or because nobody else is there
            self.deaths += 1
        while worker.outbox:
            self._to_mind(worker.peer, worker.address, worker.outbox)
        self._end(worker.peer, worker.address, worker.outbox)
        del self.workers[worker.peer], self.by_address[worker.address]
        self.ledger.died(worker.peer)
        for asker, get in worker.asked_by():
            asker.answers.append((get.question, None, {}))

    def _is_needed(self, worker: PretendWorker) -> bool:
        """Whether a worker has the only copy of something.  Raises `Wrong` if others could have taken it."""
        for base, record in self.mind.records.items():
            for entry, home in enumerate(record.home):
                if home == worker.peer and record.block.state[entry] == State.SUCCEEDED:
                    value = worker.mind.lookup(base, [entry])[0]
                    if worker.peer not in self._last and not isinstance(value, Lump):
                        raise Wrong(f"{worker.address} may leave, and nobody has entry {entry} of block {base}")
                    return True
        return False

    def leave(self, client: PretendClient) -> None:
        """A client's connection ends."""
        self._end(client.peer, client.address, client.outbox)
        del self.clients[client.peer]

    def _end(self, peer: int, address: str, outbox: Link) -> None:
        # What it had sent before may still arrive: a connection's end comes after its last byte.
        while outbox and self.random.random() < 0.5:
            self._to_mind(peer, address, outbox)
        self.tell(address, "scheduler", _GONE)
        self._route(self.mind.lost(peer, self.now))
        self._undecided = True

    # -- links -------------------------------------------------------------------------------------

    def ask(self, asker: PretendWorker | PretendClient, address: str, get: m.Get) -> None:
        """Ask the worker at `address` for values."""
        holder = self.by_address.get(address)
        self.tell(asker.address, address, get)
        if holder is None:
            asker.answers.append((get.question, None, {}))
        else:
            holder.gets.append((asker, get))

    def give_up(self, asker: PretendWorker | PretendClient, address: str) -> list[int]:
        """Take back what was asked of the worker at `address` and was not answered; return the questions."""
        holder = self.by_address.get(address)
        if holder is None:
            return []
        given_up = [get.question for by, get in holder.asked_by() if by is asker]
        holder.gets = deque(one for one in holder.gets if one[0] is not asker)
        holder.later = {ours: [one for one in rest if one[0] is not asker] for ours, rest in holder.later.items()}
        return given_up

    def _route(self, sends: Sequence[Send]) -> None:
        for peer, message, body in sends:
            target = self.workers.get(peer) or self.clients.get(peer)
            if isinstance(message, m.Do):
                block = self.mind.frontier.blocks[message.block]
                for task in m.from_ints(message.tasks):
                    self.ledger.handed_out(peer, block, task, self.now)
            if isinstance(message, m.Leave) and len(self.mind._closed) == len(self.mind.workers):
                self._last.add(peer)
            if isinstance(message, m.Away) and message.address in self.by_address:
                self.ledger.given_up(self.by_address[message.address].peer)
            if target is not None:
                target.inbox.append((message, b"".join(bytes(part) for part in body)))

    def _to_mind(self, peer: int, address: str, outbox: Link) -> None:
        message, body = outbox.popleft()
        self.tell(address, "scheduler", message)
        self._write_down(peer, message)
        self._route(self.mind.receive(peer, message, body, self.now))
        for base in self.mind.records:
            self.ledger.admitted(base, self.now)
        self._undecided = True

    def _write_down(self, peer: int, message: m.Message) -> None:
        """Note what the scheduler hears that has to do with what may be handed out."""
        if isinstance(message, m.Join):
            self.ledger.joined(peer, message.name, message.queues, message.resources.items())
        elif isinstance(message, m.SetQueues):
            self.ledger.queues_set(message.add, message.remove, message.workers)
        elif isinstance(message, m.Broke) and message.retry:
            block = self.mind.frontier.blocks.get(message.block)
            if block is not None and block.attempt(message.task) == message.attempt:
                row = block.shape.options[block.shape.option[message.task]]
                self.ledger.failed(block.base, message.task, row, message.asked, message.countdown, self.now)

    def _decide(self) -> None:
        self._undecided = False
        self._route(self.mind.decide(self.now))

    # -- time --------------------------------------------------------------------------------------

    def _due(self) -> float | None:
        """Return when something is due in the mind; when all give signs of life, nobody has to look for silence."""
        mind = self.mind
        for peer in mind._heard:
            if peer not in self.frozen:
                self._undecided = self._undecided or peer in mind._silent
                mind._hears(peer, self.now)
        if all(mind.workers[peer].given_up for peer in self.frozen if peer in mind.workers):
            return min(
                [time for time in (mind.frontier.next_time(), mind._next_lapse()) if time is not None], default=None
            )
        return mind.next_time()

    def step(self) -> bool:
        """Do one thing that can happen; False when nothing can.  When nothing else can, time passes."""
        due = self._due()
        if due is not None and due <= self.now:
            self._undecided = True
        choices: list[tuple[Any, ...]] = []
        for peer, worker in self.workers.items():
            if peer in self.frozen:
                continue
            if worker.outbox:
                choices.append((self._to_mind, peer, worker.address, worker.outbox))
            if worker.inbox:
                choices.append((worker.deliver,))
            if worker.gets:
                choices.append((worker.asked,))
            if worker.answers:
                choices.append((worker.take_answer,))
            if worker.jobs:
                choices.append((worker.tell,))
            choices += [(t.step, self.random) for t in worker.threads if t.lease is not None or worker.queue]
        for peer, client in self.clients.items():
            if client.outbox:
                choices.append((self._to_mind, peer, client.address, client.outbox))
            if client.inbox:
                choices.append((client.deliver,))
            if client.answers:
                choices.append((client.take_answer,))
        if self._undecided:
            choices.append((self._decide,))
        if not choices:
            if self._fuller():
                return True
            if due is None:
                return False
            self.now = max(self.now, due)
            choices.append((self._decide,))
        elif due is not None and self.random.random() < 0.05:
            self.now += self.random.choice((0.01, 0.1, 1.0, max(0.0, due - self.now)))
        moving = [worker for worker in self.workers.values() if worker.peer not in self.frozen]
        if moving and self.random.random() < 0.02:
            choices = [(self.random.choice(moving).tick,)]
        self.now += 0.001
        self.steps += 1
        act, *args = self.random.choice(choices)
        act(*args)
        return True

    def _fuller(self) -> bool:
        """Nothing else happens: workers whose memory stays full look again; return whether that changes anything."""
        full = [w for w in self.workers.values() if w.mind._full and w.peer not in self.frozen]
        for worker in full:
            worker.act(worker.mind.memory_is(True, False))
        return any(worker.outbox for worker in full)

    def run(self, steps: int | None = None, limit: int = 100_000) -> None:
        """Let things happen: `steps` of them, or all that can.  Raises `Stuck` when there is no end to it."""
        left = limit if steps is None else steps
        while left and self.step():
            left -= 1
        if steps is None and not left:
            raise Stuck(f"still busy after {limit} steps")


class Gone(m.Message, tag=255, frozen=True):
    """Stands in a story for the end of a connection."""


_GONE = Gone()
