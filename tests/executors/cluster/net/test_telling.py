"""A worker tells what came of every task, also when that cannot be told or its thread has lost a lease."""

from __future__ import annotations

import queue
from collections import deque
from typing import Any

from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster.net.runners import Runners
from lazygraph.executors.cluster.net.worker_server import WorkerServer
from lazygraph.executors.cluster.offers import Offer
from lazygraph.executors.cluster.worker_machine import WorkLease
from lazygraph.language.delayed import delayed
from lazygraph.planning.plan import plan_of
from lazygraph.running.hooks import Hooks
from lazygraph.running.program import Program
from lazygraph.running.runner import Report


class Line:
    """The link to the scheduler: keeps what is said."""

    def __init__(self) -> None:
        self.said: list[m.Message] = []

    def queue(self, message: m.Message, *body: bytes) -> None:
        m.encode(message)
        self.said.append(message)

    def flush_now(self) -> None:
        """Nothing is held back."""


class Torn(deque[int]):
    """Tasks that cannot be taken, as if the thread that takes them had a fault of its own."""

    def popleft(self) -> int:
        super().popleft()
        raise SystemExit("torn")


def a_worker(tasks: int) -> tuple[WorkerServer, Line, WorkLease]:
    """A worker without a network, which has been given one lease."""
    runners = Runners(Offer("w"), Hooks(), None)  # type: ignore[arg-type]
    server: Any = WorkerServer("tcp://nowhere:1", "token", "127.0.0.1", runners)
    line = server._link = Line()
    plan = plan_of([delayed(abs)(-at) for at in range(tasks)], optimize_graph=False)
    server.mind.load(0, Program(plan.shape, plan.tables), ())
    server.mind.receive(m.Do(0, 1, m.ints(range(tasks)), b"", []))
    return server, line, server.mind.leases[0]


def outcomes(said: list[m.Message]) -> list[tuple[str, list[int]]]:
    """Return what was said of which tasks."""
    return [
        (type(one).__name__, [one.task] if isinstance(one, m.Broke) else list(m.from_ints(one.tasks)))
        for one in said
        if isinstance(one, m.Broke | m.Done | m.Returned)
    ]


def test_what_cannot_be_told_has_failed_and_nothing_else_is_lost() -> None:
    server, line, lease = a_worker(3)
    lease.tasks.clear()

    server._reported(lease, Report(done=[0], skipped=[1, 2]))  # there is no value of it
    assert outcomes(line.said) == [("Broke", [0]), ("Returned", [1, 2])]
    assert server.mind.leases == []


def test_a_lease_that_a_thread_has_lost_is_answered_for() -> None:
    server, line, lease = a_worker(4)
    lease.values[0] = 0
    lease.tasks.popleft()
    server._reported(lease, Report(done=[0]))
    lease.tasks.popleft()

    server._escaped(lease, RuntimeError("torn"))
    assert outcomes(line.said) == [("Done", [0]), ("Broke", [1]), ("Returned", [2, 3])]
    assert server.mind.leases == []


def test_the_thread_that_has_lost_a_lease_runs_the_next() -> None:
    _, _, lost = a_worker(2)
    _, _, good = a_worker(2)
    lost.tasks = Torn(lost.tasks)
    heard: queue.Queue[Any] = queue.Queue()

    class Listening:
        """Hears what runner threads say."""

        def __getattr__(self, name: str) -> Any:
            return lambda lease, *what: heard.put((name, lease, *what))

    runners = Runners(Offer("w"), Hooks(), None)  # type: ignore[arg-type]
    runners.start(Listening())
    runners.take(lost)
    runners.take(good)

    said = [heard.get(timeout=20) for _ in range(4)]
    assert [(name, lease is good) for name, lease, *_ in said] == [
        ("escaped", False),
        ("over", False),
        ("report", True),
        ("over", True),
    ]
    assert str(said[0][2]) == "torn" and said[2][2].done == [0, 1]
    runners.more(-1)
