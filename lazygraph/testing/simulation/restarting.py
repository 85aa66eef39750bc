"""A pretend cluster whose scheduler keeps a journal, and may be killed at any step and started again on what it wrote.

What was not committed when it is killed is gone, and so is whatever was under way on a link.

Covers: the pretend disk, the scheduler's death, peers that come back.
Does not cover: everything else (simulation.world), real files and processes (tests/cluster/test_journal.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster import notes as n
from lazygraph.executors.cluster.net import codec
from lazygraph.executors.cluster.records import Held, Send
from lazygraph.executors.cluster.recovering import Recovering
from lazygraph.executors.cluster.work import handed, values_here
from lazygraph.testing.simulation.asking import PLAIN_OFFER, WALL_AHEAD
from lazygraph.testing.simulation.world import World

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lazygraph.testing.simulation.asking import Offer
    from lazygraph.testing.simulation.hands import Link, PretendClient, PretendWorker


class RestartingWorld(World):
    """A World with a journal.  `kill_scheduler` ends the mind and makes a new one of what is on the disk."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.epoch = 1
        self.mind: Recovering = Recovering(self.epoch)
        self.mind.frontier.wall_ahead = WALL_AHEAD
        self.disk: list[n.Note] = []
        self.behind: list[Any] = []  # notes that are not on the disk, and what waits for them
        self.sent: dict[tuple[int, int], tuple[m.Message, bytes]] = {}  # (client, run) -> what would be sent again
        self.deaths_of_scheduler = 0

    def add_worker(self, threads: int = 1, offer: Offer = PLAIN_OFFER) -> PretendWorker:
        """A worker joins."""
        worker = super().add_worker(threads, offer)
        worker.outbox[-1] = self._join(worker)
        return worker

    def _join(self, worker: PretendWorker) -> tuple[m.Message, bytes]:
        return m.Join(worker.address, worker.address, len(worker.threads), 0, ident=worker.address), b""

    def add_client(self, grain: int = 0) -> PretendClient:
        """A client joins, and says who it is."""
        client = super().add_client(grain)
        client.outbox.append((m.Present(client.address, []), b""))
        return client

    # -- the disk ----------------------------------------------------------------------------------

    def _route(self, sends: Sequence[Any]) -> None:
        for action in sends:
            if isinstance(action, Send) and not any(
                isinstance(other, Send | Held) and other.peer == action.peer for other in self.behind
            ):
                super()._route([action])
            else:
                self.behind.append(action)

    def commit(self, count: int | None = None) -> None:
        """Write what is to be written; only so much of it, if the process is killed meanwhile."""
        now, self.behind = self.behind[:count], self.behind[len(self.behind) if count is None else count :]
        for action in now:
            if isinstance(action, n.Note):
                self.disk.append(action._replace(entry=n.decode(n.encode(action.entry)), body=bytes(action.body)))
            elif isinstance(action, n.Erase):
                self.disk = [note for note in self.disk if note.about != action.about or action.when is not None]
            elif count is None:
                message = action.message
                if not isinstance(message, m.Do) or message.block in self.mind.frontier.blocks:
                    super()._route([Send(*action)])
                else:  # what writes down who was handed what knows nothing of a run that is over
                    self.workers[action.peer].inbox.append((message, b""))

    def _due(self) -> float | None:
        dues = [due for due in (super()._due(), self.mind.waits_until) if due is not None]
        return min(dues, default=None)

    def step(self) -> bool:
        """Do one thing that can happen."""
        if self.behind and self.random.random() < 0.1:
            self.commit()
            return True
        if super().step():
            return True
        if self.behind:
            self.commit()
            return True
        return False

    # -- the scheduler's death ---------------------------------------------------------------------

    def kill_scheduler(self) -> None:
        """It is killed, starts again on its journal, and everybody comes back."""
        self.deaths_of_scheduler += 1
        self.epoch += 1
        notes = [action for action in self.behind if isinstance(action, n.Note | n.Erase)]
        self.behind = notes
        self.commit(self.random.randint(0, len(notes)))
        self.behind = []
        self.mind = Recovering(self.epoch)
        self.mind.frontier.wall_ahead = WALL_AHEAD
        self.mind.restore([n.Record(about, entry, bytes(body), at) for about, entry, body, at in self.disk], self.now)
        for worker in self.workers.values():
            self._comes_back(worker)
        for client in self.clients.values():
            self._knows(client)
        self._undecided = True

    def _comes_back(self, worker: PretendWorker) -> None:
        worker.inbox.clear()
        worker.outbox.clear()
        given = handed(worker.mind.leases)
        worker.outbox.append(self._join(worker))
        worker.outbox.append((m.Back(values_here(worker.mind.blocks, codec.size_of), given), b""))

    def _knows(self, client: PretendClient) -> None:
        client.inbox.clear()
        unsent, client.outbox = list(client.outbox), type(client.outbox)()
        runs = sorted({run for (run, _), count in client.claims.items() if count > 0})
        if self.mind.returning(m.Present(client.address, runs)) is None:
            self.mind.client_joined(client.peer)
        client.outbox.append((m.Present(client.address, runs), b""))
        known = self.mind.clients[client.peer]
        fresh = {message.run for message, _ in unsent if isinstance(message, m.Submit | m.Hold)}
        for run in runs:
            if run not in known and run not in fresh:
                client.outbox.append(self.sent[client.peer, run])
        client.outbox.extend(one for one in unsent if not isinstance(one[0], m.Present | m.Want))
        for run, entry in [*client._questions.values()]:
            if (run, entry) not in client.seen:
                client.want(run, entry)

    def _to_mind(self, peer: int, address: str, outbox: Link) -> None:
        message, body = outbox[0]
        if isinstance(message, m.Submit):
            self.sent[peer, message.run] = message, body
        if isinstance(message, m.Join | m.Present):
            number = self.mind.returning(message)
            assert number in (None, peer), (number, peer)
            if isinstance(message, m.Present) and peer not in self.mind.clients:  # it came too late, and is a new one
                self.mind.client_joined(peer)
                self._knows(self.clients[peer])
                message, body = outbox[0]
        super()._to_mind(peer, address, outbox)

    def _write_down(self, peer: int, message: m.Message) -> None:
        if isinstance(message, m.Join):  # what one scheduler has heard need not be known to the next
            super()._write_down(peer, message)
