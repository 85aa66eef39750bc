"""Live a life and check it: every claimed output ends as the oracle allows, once, and nothing is left at the end.

Covers: the acts of a life, and what must hold when nothing can happen any more.
Does not cover: which endings are allowed (simulation.oracle).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lazygraph.executors.cluster import messages as m
from lazygraph.testing.simulation.asking import NAMES, QUEUES, SAVIORS
from lazygraph.testing.simulation.handlers import Handlers
from lazygraph.testing.simulation.ledger import Wrong
from lazygraph.testing.simulation.lives import Act, Life, Ref, to_plan
from lazygraph.testing.simulation.oracle import Oracle
from lazygraph.testing.simulation.world import Stuck, World
from lazygraph.values.status import State, in_states

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lazygraph.testing.simulation.hands import PretendClient


class Living:
    """A life while it is lived: which of its runs are which on the wire."""

    def __init__(self, life: Life, tell: Callable[[str, str, m.Message], None] | None = None) -> None:
        self.life = life
        ttl = TTL if any(act.what == "freeze" for act in life.acts) else None
        self.world = World(life.seed, life.inline_limit, tell or (lambda sender, receiver, message: None), ttl)
        if life.branching is not None:
            self.world.mind.branching, self.world.mind.fanout = life.branching, 1 + life.seed % 2
        self._joined = 0
        for threads in life.workers:
            self._add_worker(threads)
        self.clients = [self.world.add_client(life.grain) for _ in range(life.clients)]
        self.numbers: dict[int, int] = {}  # run of the life -> run of its client
        self.entries: dict[int, list[int]] = {}  # run -> the entry of each output

    # -- acts --------------------------------------------------------------------------------------

    def live(self) -> None:
        """Let everything happen that this life holds, and then all that follows from it."""
        for act in self.life.acts:
            self.world.run(act.after)
            _ACTS[act.what](self, act)
        self.world.run()
        self.world.thaw()
        self.world.run()
        if not self.world.workers:
            self.world.add_worker()
            self.world.run()
        self.check_stuck()
        if any(block.open for block in self.world.mind.frontier.blocks.values()):
            self._save()

    def _save(self) -> None:
        """Let workers come that take what nobody has taken."""
        for offer in SAVIORS:
            self.world.add_worker(1, offer)
        self.world.run()

    def _add_worker(self, threads: int) -> None:
        self.world.add_worker(threads, self.life.offer(self._joined))
        self._joined += 1

    def client(self, run: int) -> PretendClient:
        """Return whose run it is."""
        return self.clients[self.life.runs[run].client]

    def _submit(self, act: Act) -> None:
        spec = self.life.runs[act.first]
        if spec.held:
            number = self.client(act.first).hold([task.number for task in spec.tasks])
            self.entries[act.first] = list(range(len(spec.tasks)))
        else:
            plan, bound = to_plan(act.first, spec)
            self.entries[act.first] = list(plan.shape.outputs)
            bindings = [(-1, -1) if ref is None else self._future(spec.client, ref) for ref in bound]
            number = self.client(act.first).submit(plan, bindings)
        self.numbers[act.first] = number

    def _future(self, client: int, ref: Ref) -> tuple[int, int]:
        """Return (run, entry) of a future this client still holds of an output."""
        for run, spec in enumerate(self.life.runs):
            if spec.client == client and run in self.numbers and ref in spec.outputs:
                entry = self.entries[run][spec.outputs.index(ref)]
                if self.clients[client].claims[self.numbers[run], entry] > 0:
                    return self.numbers[run], entry
        raise AssertionError(f"no future of {ref} is held")

    def _drop(self, act: Act) -> None:
        self.client(act.first).drop(self.numbers[act.first], [self.entries[act.first][act.second]])

    def _want(self, act: Act) -> None:
        self.client(act.first).want(self.numbers[act.first], self.entries[act.first][act.second])

    def _cancel(self, act: Act) -> None:
        entry = self.entries[act.first][act.second] if act.second >= 0 else -1
        self.client(act.first).cancel(self.numbers[act.first], entry)

    def _force(self, act: Act) -> None:
        entry = self.entries[act.first][act.second] if act.second >= 0 else -1
        self.client(act.first).cancel(self.numbers[act.first], entry, force=True)

    def _take(self, act: Act) -> None:
        self._set_queues(NAMES[act.first], [QUEUES[act.second]], [])

    def _refuse(self, act: Act) -> None:
        self._set_queues(NAMES[act.first], [], [QUEUES[act.second]])

    def _set_queues(self, name: str, add: list[str], remove: list[str]) -> None:
        client = next(iter(self.world.clients.values()), None)
        if client is not None:
            client.set_queues(name, add, remove)

    def _leave(self, act: Act) -> None:
        self.world.leave(self.clients[act.first])

    def _join(self, act: Act) -> None:
        self._add_worker(act.first)

    def _kill(self, act: Act) -> None:
        workers = list(self.world.workers.values())
        if workers:
            self.world.kill(workers[act.first % len(workers)])

    def _kill_all(self, act: Act) -> None:
        for worker in list(self.world.workers.values()):
            self.world.kill(worker)

    def _drain(self, act: Act) -> None:
        workers = list(self.world.workers.values())
        if workers:
            workers[act.first % len(workers)].outbox.append((m.Leaving(), b""))

    def _freeze(self, act: Act) -> None:
        workers = list(self.world.workers.values())
        if workers:
            self.world.freeze(workers[act.first % len(workers)])

    def _thaw(self, act: Act) -> None:
        self.world.thaw()

    # -- what must hold ----------------------------------------------------------------------------

    def check_stuck(self) -> None:
        """What is ready, and not done, waits for a worker that takes it, or in line behind such a task."""
        places = self.world.ledger.places.values()
        for block in self.world.mind.frontier.blocks.values():
            for task in range(block.shape.externals, len(block)):
                if _READY[block.state[task]]:
                    row = block.shape.options[block.shape.option[task]]
                    able = [
                        place
                        for place in places
                        if row.queue in place.queues
                        and (not row.workers or place.name in row.workers)
                        and all(place.resources.get(name, 0.0) >= amount for name, amount in row.resources)
                    ]
                    state = State(block.state[task])
                    if able or state not in (State.QUEUED, State.SCHEDULED):
                        raise Stuck(f"nothing can happen, and task {task} of block {block.base} is {state.status}")

    def check_endings(self) -> None:
        """Every claimed output of a client that stayed has ended, as the oracle allows, and once."""
        oracle = Oracle(self.life, self.world.deaths)
        for client in self.world.clients.values():
            if client.waiting():
                raise Stuck(f"nothing can happen, and {client.address} waits for {client.waiting()[:5]}")
        for run, spec in enumerate(self.life.runs):
            client = self.client(run)
            if client.peer not in self.world.clients:
                continue
            for ref, entry in zip(spec.outputs, self.entries[run], strict=True):
                at = (self.numbers[run], entry)
                if client.claims[at] > 0:
                    self._check_output(oracle, client, run, ref, at)

    def _check_output(self, oracle: Oracle, client: PretendClient, run: int, ref: Ref, at: tuple[int, int]) -> None:
        who = f"output {at} of {client.address} (task {ref})"
        for ending in client.seen[at]:
            why = oracle.wrong(run, ref, ending)
            if why:
                raise Wrong(f"{who}: {why}")
        told = client.told[at]
        if told != sorted(told, reverse=True):
            raise Wrong(f"{who}: the scheduler said that it had ended badly, and then well")
        if len(told) != 1 and not self.world.deaths:
            raise Wrong(f"{who}: the scheduler said {len(told)} times that it ended")

    def check_handlers(self) -> None:
        """Those who answer failures have been told of them, and of nothing else."""
        why = Handlers(Oracle(self.life, self.world.deaths), self.numbers).wrong(self.world.answers)
        if why:
            raise Wrong(why)

    def check_work(self) -> None:
        """No task runs twice but to be retried, unless workers have died: then for each, and for all who ask for it."""
        # What each asks for is made again on its own: inputs that two of them share may be freed in between.
        askers = len(self.life.runs) + sum(client.wants for client in self.clients)
        self.world.ledger.check_numbers(self.world.deaths * (askers + 1))

    def check_kept(self) -> None:
        """Workers keep only what somebody claims; what they were to do is done."""
        mind = self.world.mind
        if mind._leaving or mind._silent or mind._carried_by:
            raise Wrong(f"left: {mind._leaving} want to leave, {mind._silent} are silent, {mind._carried_by}")
        for worker in self.world.workers.values():
            if worker.mind.leases or worker.mind._questions or worker.mind._coming:
                raise Wrong(f"{worker.address} is left with leases {worker.mind.leases}")
            if mind.workers[worker.peer].outstanding:
                raise Wrong(f"{mind.workers[worker.peer].outstanding} tasks are thought to be on {worker.address}")
            for base, held in worker.mind.blocks.items():
                block = mind.frontier.blocks.get(base)
                if block is None:
                    raise Wrong(f"{worker.address} remembers block {base}, which is over")
                idle = [entry for entry in held.values if not block.claims[entry]]
                if idle:
                    raise Wrong(f"{worker.address} keeps {idle} of block {base}, which nobody claims")

    def check_nothing_left(self) -> None:
        """When everybody has let go of everything, nothing is left anywhere."""
        for client in self.world.clients.values():
            client.drop_everything()
        self.world.run()
        mind = self.world.mind
        if mind.frontier.blocks:  # what was lost is made again, even when it is not wanted any more
            self.check_stuck()
            self._save()
        left: dict[str, Any] = {
            "records": mind.records,
            "blocks": mind.frontier.blocks,
            "failures": mind.outlived,
            "runs": [runs for runs in mind.clients.values() if runs],
            "permits": mind.frontier._grants,
            "calls for permits": mind.frontier._called,
            "questions": mind._stopping,
            "values": [worker.mind.blocks for worker in self.world.workers.values() if worker.mind.blocks],
        }
        for what, rest in left.items():
            if rest:
                raise Wrong(f"{what} are left: {rest}")
        for worker in mind.workers.values():
            if worker.left != worker.resources or worker.held:
                raise Wrong(f"of {worker.resources} worker {worker.id} has {worker.left} left, {worker.held} is held")
        for key, (_, limit) in mind.frontier._limits.items():
            if not limit.idle(self.world.now + _LONG) or limit._unreported:
                raise Wrong(f"limit {key} is not idle: {limit.running} run")


def check(life: Life, tell: Callable[[str, str, m.Message], None] | None = None) -> None:
    """Live a life; raise `Wrong` or `Stuck` for what must not be, and whatever the minds raise."""
    living = Living(life, tell)
    living.live()
    living.check_endings()
    living.check_handlers()
    living.check_work()
    living.check_kept()
    living.check_nothing_left()
    living.check_kept()


TTL = 60.0
"""Seconds of silence after which a worker is given up."""
_LONG = 1e9
"""Seconds after which no start counts any more."""
_READY = in_states(frozenset({State.SCHEDULED, State.QUEUED, State.RETRYING, State.LEASED, State.RUNNING}))

_ACTS: Mapping[str, Callable[[Living, Act], None]] = {
    "submit": Living._submit,
    "drop": Living._drop,
    "want": Living._want,
    "cancel": Living._cancel,
    "force": Living._force,
    "take": Living._take,
    "refuse": Living._refuse,
    "leave": Living._leave,
    "join": Living._join,
    "kill": Living._kill,
    "kill all": Living._kill_all,
    "drain": Living._drain,
    "freeze": Living._freeze,
    "thaw": Living._thaw,
}
