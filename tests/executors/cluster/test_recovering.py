"""A scheduler's mind that is killed at any moment, and made anew of what it had noted by then."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest

from lazygraph import delayed
from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster import notes as n
from lazygraph.planning.plan import plan_of
from lazygraph.testing.simulation.restarting import RestartingWorld
from lazygraph.values.options import RetryPolicy

CALLS: Counter[Any] = Counter()


ONCE_WRONG = (1613, 3130, 3352, 4596, 4949, 4996, 6017)
"""Seeds that have found something; what, CHANGELOG says."""


def total(number: int, *inputs: int) -> int:
    return number + sum(inputs)


def shaky(number: int, *inputs: int) -> int:
    CALLS[number] += 1
    if CALLS[number] == 1:
        raise OSError(number)
    return number + sum(inputs)


def graph(random: Random, size: int) -> tuple[list[Any], list[int]]:
    """Return the last nodes of a random graph, some of which fail once and are tried again, and their values."""
    plain = delayed(total, pure=False)
    again = delayed(shaky, pure=False, retries=RetryPolicy(5, delay=random.choice((0.0, 0.5))))
    limited = plain.options(rate_limit="3/s")
    nodes: list[tuple[Any, int]] = []
    for _ in range(size):
        call = random.choice((plain, plain, plain, again, limited))
        number = random.randrange(1 << 30)
        reads = random.sample(nodes[-8:], min(len(nodes[-8:]), random.choice((0, 1, 2, 3))))
        nodes.append((call(number, *[node for node, _ in reads]), number + sum(value for _, value in reads)))
    return [node for node, _ in nodes[-5:]], [value for _, value in nodes[-5:]]


@pytest.mark.parametrize("seed", [*range(60), *ONCE_WRONG])
def test_killed_at_any_moment_it_goes_on_and_everything_has_the_value_it_must_have(seed: int) -> None:
    CALLS.clear()
    random = Random(seed)
    world = RestartingWorld(seed)
    for _ in range(random.choice((1, 2, 3))):
        world.add_worker(random.choice((1, 2)))
    client = world.add_client()
    expected: dict[tuple[int, int], Any] = {}
    for _ in range(random.choice((1, 2, 4))):
        nodes, values = graph(random, random.choice((3, 12, 40)))
        plan = plan_of(nodes, fail_fast=False)
        run = client.submit(plan)
        expected.update({(run, entry): value for entry, value in zip(plan.shape.outputs, values, strict=True)})
        world.run(random.choice((0, 5, 60)))
    for _ in range(random.choice((1, 2, 4))):
        world.run(random.randrange(120))
        if random.random() < 0.3 and len(world.workers) > 1:
            world.kill(next(iter(world.workers.values())))
            world.add_worker()
        world.kill_scheduler()
    world.run()
    seen = {at: client.seen[at][0] for at in expected if at in client.seen}
    assert {at: end.thing for at, end in seen.items()} == expected
    client.drop_everything()
    world.run()
    assert not world.mind.records, "something of a run is left that nobody wants"
    world.commit()
    assert {note.about for note in world.disk if note.about >= 0} == set(), "the journal keeps what is over"


def settled_world(random_seed: int = 1) -> tuple[RestartingWorld, Any]:
    world = RestartingWorld(random_seed)
    world.add_worker()
    return world, world.add_client()


class TestWhatIsNoted:
    def test_what_was_done_is_not_done_again(self) -> None:
        world, client = settled_world()
        node = delayed(total, pure=False)(1)
        for _ in range(20):
            node = delayed(total, pure=False)(1, node)
        run = client.submit(plan_of([node], optimize_graph=False))
        world.run()
        world.commit()
        ran = dict(world.ran)
        assert len(ran) == 21
        world.kill_scheduler()
        world.run()
        client.want(run, 20)
        world.run()
        assert world.ran == ran
        assert client.seen[run, 20][-1].thing == 21

    def test_of_what_is_over_nothing_is_kept(self) -> None:
        world, client = settled_world()
        for _ in range(5):
            run = client.submit(plan_of([delayed(total)(1)]))
            world.run()
            client.drop(run, [0])
            world.run()
        world.commit()
        assert [type(note.entry).__name__ for note in world.disk] == ["Peer", "Peer"]  # a worker and a client

    def test_a_rate_holds_over_a_restart(self) -> None:
        world, client = settled_world()
        call = delayed(total, pure=False).options(rate_limit="2/s")
        runs = [client.submit(plan_of([call(number)])) for number in range(6)]
        begun: list[float] = []
        begins = world.ledger.begins

        def noted(*about: Any) -> None:
            begun.append(world.now)
            begins(*about)

        world.ledger.begins = noted  # type: ignore[method-assign]
        for _ in range(40):
            world.run(12)
            world.kill_scheduler()
        world.run()
        assert [client.seen[run, 0][0].thing for run in runs] == list(range(6))
        assert len(begun) >= 6
        assert all(third - first >= 1.0 for first, third in zip(begun, begun[2:], strict=False)), begun

    def test_a_retry_waits_as_long_as_it_would_have(self) -> None:
        world, client = settled_world()
        CALLS.clear()
        call = delayed(shaky, pure=False, retries=RetryPolicy(2, delay=50.0))
        run = client.submit(plan_of([call(7)]))
        while not CALLS:
            world.step()
        failed_at = world.now
        while not any(note.entry.task == 0 for note in world.disk if isinstance(note.entry, n.Raised)):
            world.run(1)
            world.commit()
        world.kill_scheduler()
        while (run, 0) not in client.seen:
            world.step()
        assert client.seen[run, 0][0].thing == 7
        assert 50.0 <= world.now - failed_at < 52.0

    def test_at_most_once_is_not_begun_again(self) -> None:
        for seed in range(20):
            CALLS.clear()
            world, client = settled_world(seed)
            call = delayed(_counted, pure=False, at_most_once=True)
            run = client.submit(plan_of([call(3)]))
            world.run(Random(seed).randrange(30))
            world.kill_scheduler()
            world.run()
            assert CALLS[3] <= 1
            assert client.seen[run, 0][0].kind in ("value", "died")

    def test_detached_work_outlasts_its_client_and_the_scheduler(self) -> None:
        world, client = settled_world()
        run = client.submit(plan_of([delayed(_counted, pure=False)(9)]))
        client.outbox.append((m.Keep(run, m.ints([0]), 1000.0), b""))
        while not any(record.lasting for record in world.mind.records.values()):
            world.step()
        world.commit()
        world.leave(client)
        world.kill_scheduler()
        while not any(isinstance(note.entry, n.Made) for note in world.disk):
            world.run(1)
            world.commit()
        other = world.add_client()
        other.outbox.append((m.Open(0, 1, f"_counted-{run}-0"), b""))
        other.claims[1, 0] += 1
        while (1, 0) not in other.seen:
            world.run(1)
        assert other.seen[1, 0][0].thing == 9


def _counted(number: int) -> int:
    CALLS[number] += 1
    return number
