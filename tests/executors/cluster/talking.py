"""Talking with a scheduler's mind: what its tests share."""

from __future__ import annotations

from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster.records import Send, pack_shape
from lazygraph.executors.cluster.scheduler_machine import SchedulerMachine
from lazygraph.language.delayed import delayed
from lazygraph.planning.plan import plan_of
from lazygraph.values.graph import Shape
from lazygraph.values.node import External
from lazygraph.values.status import State

CLIENT, FIRST, SECOND, THIRD = 1, 11, 12, 13
TABLES = m.TablesOnWire([], 0)


class Elsewhere(External):
    """Stands for a value of another run."""


@delayed
def step(*inputs: object) -> int:
    return len(inputs)


def shape_of(*outputs: object) -> Shape:
    return plan_of(outputs, optimize_graph=False).shape  # type: ignore[arg-type]


def chain(length: int) -> Shape:
    node = step()
    for _ in range(length - 1):
        node = step(node)
    return shape_of(node)


class Talk:
    """A mind with a client and workers of one thread; `now` matters only with a `worker_ttl`."""

    def __init__(self, *workers: int, worker_ttl: float | None = None) -> None:
        self.mind = SchedulerMachine(worker_ttl)
        self.now = 0.0
        self.mind.client_joined(CLIENT)
        for worker in workers:
            self.join(worker)

    def join(self, worker: int, threads: int = 1) -> list[Send]:
        return self.say(worker, m.Join(f"w{worker}", f"at{worker}", threads, 0))

    def say(self, peer: int, message: m.Message, body: bytes = b"") -> list[Send]:
        return [*self.mind.receive(peer, message, body, self.now), *self.mind.decide(self.now)]

    def lose(self, peer: int) -> list[Send]:
        return [*self.mind.lost(peer, self.now), *self.mind.decide(self.now)]

    def wait(self, seconds: float, *speaking: int) -> list[Send]:
        """Let time pass, a second at a time; these workers give signs of life."""
        sent: list[Send] = []
        for _ in range(int(seconds)):
            self.now += 1.0
            for worker in speaking:
                sent += self.say(worker, m.Alive(7))
            sent += self.mind.decide(self.now)
        return sent

    def submit(self, shape: Shape, run: int = 1, bindings: tuple[int, ...] = (), fail_fast: bool = True) -> list[Send]:
        message = m.Submit(run, "", fail_fast, pack_shape(shape), TABLES, m.ints(bindings))
        return self.say(CLIENT, message, b"tables")

    def done(self, worker: int, tasks: list[int], block: int = 0, attempt: int = 1, size: int = 28) -> list[Send]:
        sizes = m.longs([size] * len(tasks))
        return self.say(worker, m.Done(block, attempt, m.ints(tasks), sizes, 0.1, b""))


def load(
    worker: int, shape: Shape, block: int = 0, aliases: tuple[tuple[int, int], ...] = (), label: str = "1"
) -> Send:
    return Send(worker, m.Load(block, pack_shape(shape), TABLES, list(aliases), label), (b"tables",))


def do(
    worker: int,
    tasks: list[int],
    wanted: tuple[int, ...] = (),
    where: tuple[tuple[str, int, bytes], ...] = (),
    block: int = 0,
    attempt: int = 1,
    tell: bool = False,
    turn: int | None = None,
) -> Send:
    """A lease; `turn` is that of the first that was to ask somebody, if it is to."""
    turn = (1 if where else 0) if turn is None else turn
    return Send(worker, m.Do(block, attempt, m.ints(tasks), m.ints(wanted), list(where), tell, turn))


def lost(run: int, entry: int, state: State, name: str, kind: str = "lost", origin: str = "") -> Send:
    key = f"{name}-{run}-{entry}"
    return Send(CLIENT, m.Ended(run, m.ints([entry]), state, name, key, 1, kind, "", "", origin), (b"",))
