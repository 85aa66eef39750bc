"""The cluster from asyncio: `async with`, `await`, `async for`, with a loop that nothing holds up."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lazygraph
from lazygraph import Client, LocalCluster, as_completed, delayed, group, start
from lazygraph.errors import CannotConnect, ClusterFailed

WAIT = 60


@delayed
def double(x: int) -> int:
    return 2 * x


class Heart:
    """Counts how often the loop comes round, while it is open."""

    async def __aenter__(self) -> Heart:
        self.beats = 0
        self._task = asyncio.create_task(self._beat())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._task.cancel()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(0)
            self.beats += 1


class TestAsyncWith:
    def test_a_cluster_and_a_client(self, ended: Callable[[int], bool]) -> None:
        async def main() -> tuple[Any, list[int]]:
            async with LocalCluster(1) as cluster, Client(cluster) as client:
                assert (await double.delay(2), await client.submit(abs, -3)) == (4, 3)
                run = start(double(4), [double(5)])
                return await run, list(cluster.workers.values())

        value, pids = asyncio.run(main())
        assert value == (8, [10])
        assert len(pids) == 1 and all(ended(pid) for pid in pids)

    def test_the_client_is_the_default_inside(self) -> None:
        async def main() -> list[str]:
            found = []
            async with LocalCluster(1) as cluster:
                async with Client(cluster, set_as_default=False):
                    found.append(lazygraph.start(double(1)).owner.name)
                found.append(lazygraph.start(double(1)).owner.name)
            return found

        assert asyncio.run(main()) == ["cluster", "threads"]

    def test_a_client_with_a_cluster_of_its_own(self) -> None:
        async def main() -> int:
            async with Client() as client:
                return await client.submit(abs, -3)

        assert asyncio.run(main()) == 3

    def test_starting_and_ending_do_not_hold_up_the_loop(self, tmp_path: Path) -> None:
        gate = tmp_path / "gate"
        os.mkfifo(gate)

        async def main() -> None:
            # The worker's set-up waits until somebody opens the other end, which a loop that is held up never does.
            opened = asyncio.create_task(asyncio.to_thread(gate.write_text, "go"))
            async with Heart() as heart:
                async with LocalCluster(1, setup=lambda: gate.read_text()) as cluster, Client(cluster):
                    assert opened.done()
                    before = heart.beats
                assert heart.beats > before  # a process has ended meanwhile

        asyncio.run(main())

    def test_outside_of_with_whoever_needs_it_waits_for_it(self) -> None:
        async def main() -> int:
            cluster = LocalCluster(1)
            try:
                client = Client(cluster)
                found: int = client.submit(abs, -3).result(WAIT)
                client.close()
            finally:
                cluster.close()
            return found

        assert asyncio.run(main()) == 3

    def test_a_plain_call_within_a_running_loop_is_a_plain_call(self) -> None:
        """As in a cell of a notebook: what has returned is there."""

        async def main() -> bool:
            def cell() -> bool:
                with LocalCluster(1) as cluster:
                    return "starting" not in repr(cluster)

            return cell()

        assert asyncio.run(main())

    def test_a_cluster_that_does_not_start(self) -> None:
        async def main() -> None:
            async with LocalCluster(1, setup=lambda: 1 / 0):
                pytest.fail("it has started")

        with pytest.raises(ClusterFailed, match="ZeroDivisionError"):
            asyncio.run(main())

    def test_a_client_that_nobody_answers(self) -> None:
        async def main() -> None:
            client = Client("tcp://127.0.0.1:1", token="x", timeout=10)
            with pytest.raises(CannotConnect):
                async with client:
                    pytest.fail("it is connected")
            client.close()

        asyncio.run(main())

    def test_whoever_stops_waiting_for_the_start_leaves_nothing_behind(
        self, ended: Callable[[int], bool], tmp_path: Path
    ) -> None:
        gate = tmp_path / "gate"
        os.mkfifo(gate)

        def setup() -> None:
            gate.write_text(str(os.getpid()))
            signal.pause()

        async def main() -> int:
            async def enter() -> None:
                async with LocalCluster(1, setup=setup):
                    pytest.fail("it has started")

            entering = asyncio.create_task(enter())
            pid = int(await asyncio.to_thread(gate.read_text))
            entering.cancel()
            with pytest.raises(asyncio.CancelledError):
                await entering
            return pid

        assert ended(asyncio.run(main()))


class TestAwait:
    def test_in_the_order_in_which_they_end(self, client: Client) -> None:
        async def main() -> list[int]:
            return [future.result(0) async for future in as_completed(client.map(abs, range(-50, 0)))]

        assert sorted(asyncio.run(main())) == list(range(1, 51))

    def test_large_values_come_while_the_loop_goes_on(self, client: Client) -> None:
        n = 1_000_000

        async def main() -> None:
            futures = client.map(bytes, [n] * 20)
            lazygraph.wait(futures, WAIT)  # all have ended, and are with the workers
            async with Heart() as heart:
                async for future in as_completed(futures):
                    assert len(future.result(0)) == n
                assert heart.beats > 0
            assert [len(await future) for future in futures] == [n] * 20

        asyncio.run(main())

    def test_a_thousand_at_once(self, client: Client) -> None:
        async def main() -> list[int]:
            return await asyncio.gather(*client.map(abs, range(-1000, 0)))

        assert asyncio.run(main()) == list(range(1000, 0, -1))

    def test_a_group(self, client: Client) -> None:
        async def main() -> Any:
            return await group(double.s(i) for i in range(3)).delay()

        assert asyncio.run(main()) == [0, 2, 4]

    def test_whoever_stops_awaiting_cancels_nothing(self, client: Client, tmp_path: Path) -> None:
        gate = tmp_path / "gate"
        os.mkfifo(gate)

        async def main() -> str:
            future = client.submit(gate.read_text)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(future, 0.01)
            assert not future.cancelled()
            await asyncio.to_thread(gate.write_text, "go on")
            return await future

        assert asyncio.run(main()) == "go on"
