"""Processes that die in the middle: workers, the scheduler, the client.

What is not here: Ctrl-C (test_interrupt).
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from operator import add
from pathlib import Path
from typing import Any

import pytest

import lazygraph
from lazygraph import Client, LocalCluster, compute, delayed
from lazygraph.errors import ConnectionLost, LostData, WorkerDied


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    """A cluster for one test: what these tests leave behind is not for others."""
    with LocalCluster(n_workers=2) as cluster:
        yield cluster


def kill(pid: int, ended: Callable[[int], bool]) -> None:
    os.kill(pid, signal.SIGKILL)
    assert ended(pid)


class TestWorkers:
    def test_one_is_killed_in_the_middle_of_a_run(self, client: Client, cluster: LocalCluster, tmp_path: Path) -> None:
        bell = tmp_path / "bell"
        os.mkfifo(bell)

        def step(x: int, bell: Path | None = None) -> int:
            if bell is not None and not bell.with_name("rung").exists():
                bell.with_name("rung").touch()
                bell.write_text(str(os.getpid()))
                while True:  # until it is killed
                    signal.pause()
            return x + 1

        dstep = delayed(step)
        first = [dstep(i) for i in range(200)]
        second = [dstep(x, bell) if i == 150 else dstep(x) for i, x in enumerate(first)]
        run = lazygraph.start(delayed(sum)(second))
        os.kill(int(bell.read_text()), signal.SIGKILL)
        assert run.result(40) == (sum(range(200)) + 400,)
        client.wait_for_workers(2)
        assert client.gather(client.map(add, range(10), range(10))) == [2 * i for i in range(10)]

    def test_the_one_with_a_persisted_value(
        self, client: Client, cluster: LocalCluster, ended: Callable[[int], bool], tmp_path: Path
    ) -> None:
        ran = tmp_path / "ran"

        def make(letter: bytes) -> bytes:
            with ran.open("a") as file:
                file.write(letter.decode())
            return letter * 1_000_000

        kept = client.persist(delayed(make)(b"a"))
        future = kept._leaves[0]
        lazygraph.wait([future])
        ((holder,),) = client.who_has([future]).values()
        name = client.scheduler_info()["workers"][holder]["name"]
        kill(cluster.workers[name], ended)
        assert delayed(len)(kept).compute() == 1_000_000
        assert ran.read_text() == "aa"
        assert future.result(30) == b"a" * 1_000_000

    def test_a_scattered_value_cannot_be_made_again(
        self, client: Client, cluster: LocalCluster, ended: Callable[[int], bool]
    ) -> None:
        futures = client.scatter([bytes(100_000)] * 4)
        holders = client.who_has(futures)
        lost = futures[0]
        name = client.scheduler_info()["workers"][holders[lost.key][0]]["name"]
        kill(cluster.workers[name], ended)
        with pytest.raises(LostData, match=r"'bytes'.*cannot be made again"):
            lost.result(30)
        with pytest.raises(LostData, match="cannot be made again"):
            client.submit(len, lost).result(30)

    def test_a_task_that_kills_every_worker(self, client: Client) -> None:
        def deadly() -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        future = client.submit(deadly)
        below = client.submit(add, future, 1)
        with pytest.raises(WorkerDied, match="'deadly' was running on"):
            future.result(50)
        with pytest.raises(WorkerDied, match="deadly"):
            below.result(10)
        client.wait_for_workers(2)
        assert client.gather(client.map(add, range(10), range(10))) == [2 * i for i in range(10)]

    def test_many_tasks_that_kill_every_worker(self, client: Client) -> None:
        futures = [client.submit(lambda: os.kill(os.getpid(), signal.SIGKILL)) for _ in range(3)]
        for future in futures:
            with pytest.raises(WorkerDied):
                future.result(50)
        assert client.submit(add, 1, 1).result(30) == 2

    def test_the_cluster_ends_when_no_worker_can_be_started_again(
        self, client: Client, cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(sys, "executable", "/bin/false")
        (pid, _) = cluster.workers.values()
        future = client.submit(signal.pause)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(ConnectionLost):
            future.result(30)
        assert "no worker could be started again" in caplog.text

    def test_all_are_killed_at_once(self, client: Client, cluster: LocalCluster, ended: Callable[[int], bool]) -> None:
        (kept,) = lazygraph.persist(delayed(add)(20, 22))
        pids = list(cluster.workers.values())
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        assert all(ended(pid) for pid in pids)
        assert (kept + 0).compute() == 42

    def test_what_is_known_of_their_ends_is_said(self, client: Client) -> None:
        def deadly() -> None:
            sys.stderr.write("the last word\n")
            sys.stderr.flush()
            os.kill(os.getpid(), signal.SIGKILL)

        with pytest.raises(WorkerDied) as told:
            client.submit(deadly).result(50)
        ends = told.value.ends.splitlines()
        assert len(ends) == 2 * 4
        for line, printed in zip(ends[::2], ends[1::2], strict=True):
            assert re.match(
                r"worker-\d+ \(tcp://\S+, process \d+\): it was killed by SIGKILL, as the kernel does", line
            )
            assert printed == "    | the last word"
        assert str(told.value).endswith(ends[-1])

    def test_a_task_beside_one_that_kills_is_not_blamed(self, client: Client) -> None:
        kills = [delayed(os.kill)(delayed(os.getpid)(), signal.SIGKILL)]
        beside = [delayed(add)(n, 1) for n in range(8)]
        futures = client.compute([*beside[:4], *kills, *beside[4:]])
        with pytest.raises(WorkerDied):
            futures[4].result(50)
        assert [future.result(30) for future in (*futures[:4], *futures[5:])] == list(range(1, 9))

    def test_what_is_to_run_at_most_once_has_failed(self, client: Client, tmp_path: Path) -> None:
        def deadly(ran: Path) -> None:
            with ran.open("a") as file:
                file.write("x")
            os.kill(os.getpid(), signal.SIGKILL)

        once = delayed(deadly).options(at_most_once=True)(tmp_path / "ran")
        with pytest.raises(WorkerDied, match="'deadly' was running on 1 worker"):
            once.compute()
        assert (tmp_path / "ran").read_text() == "x"

    def test_a_value_with_another_copy_is_not_made_again(
        self, client: Client, cluster: LocalCluster, ended: Callable[[int], bool], tmp_path: Path
    ) -> None:
        ran = tmp_path / "ran"

        def make() -> bytes:
            with ran.open("a") as file:
                file.write("x")
            return bytes(100_000)

        info = client.scheduler_info()["workers"]
        here, there = (worker["name"] for worker in info.values())
        made = client.submit(make, workers=[here])
        assert client.submit(len, made, workers=[there]).result(30) == 100_000  # fetched: now both have it
        kill(cluster.workers[here], ended)
        assert client.submit(len, made).result(30) == len(made.result(30)) == 100_000
        assert ran.read_text() == "x"


class TestSilentWorkers:
    def test_what_a_frozen_one_runs_is_run_again_and_what_it_says_late_is_not_heard(self, tmp_path: Path) -> None:
        ran, bell, go = tmp_path / "ran", tmp_path / "bell", tmp_path / "go"
        os.mkfifo(bell)
        os.mkfifo(go)

        def work() -> int:
            with ran.open("a") as file:
                file.write("x")
            if ran.read_text() == "x":  # the first one
                bell.write_text("here")
                go.read_text()
            return os.getpid()

        with LocalCluster(n_workers=2, worker_ttl=3.0) as cluster, Client(cluster) as client:
            client.wait_for_workers(2)
            future = client.submit(work)
            assert bell.read_text() == "here"
            workers = client.scheduler_info()["workers"].values()
            [frozen] = [cluster.workers[worker["name"]] for worker in workers if worker["outstanding"]]
            os.kill(frozen, signal.SIGSTOP)
            try:
                assert future.result(30) != frozen
            finally:
                os.kill(frozen, signal.SIGCONT)
            go.write_text("go on")  # it ends its attempt, which is not current any more
            # It was not killed, and is given tasks again.
            others: dict[str, Any] = {}
            while len(others) < 2 or any(worker["state"] for worker in others.values()):
                others = client.scheduler_info()["workers"]
            assert frozen in client.run(os.getpid).values()
            assert future.result() != frozen
            assert ran.read_text() == "xx"

    def test_one_that_holds_the_interpreter_is_left_alone(self, tmp_path: Path) -> None:
        def holds() -> int:  # no other thread of its process runs meanwhile
            ctypes.PyDLL(None).usleep(1_600_000)
            return os.getpid()

        with LocalCluster(n_workers=2, worker_ttl=10.0) as cluster, Client(cluster) as client:
            client.wait_for_workers(2)
            before = dict(cluster.workers)
            future = client.submit(holds)
            states: set[str] = set()
            while not future.done():
                states.update(worker["state"] for worker in client.scheduler_info()["workers"].values())
            assert future.result() in before.values()
            assert "silent" in states
            assert cluster.workers == before


class TestTasksAndTheirPrograms:
    def test_standard_input_is_empty(self, client: Client) -> None:
        assert client.submit(lambda: subprocess.run(["cat"], capture_output=True, check=True).stdout).result() == b""
        assert client.submit(lambda: sys.stdin.read()).result() == ""

    def test_what_a_task_prints_goes_to_the_errors(self, client: Client, capfd: pytest.CaptureFixture[str]) -> None:
        client.submit(lambda: os.write(1, b"printed by a task")).result()
        assert "printed by a task" not in capfd.readouterr().out

    def test_programs_that_tasks_started_end_with_the_cluster(self, tmp_path: Path) -> None:
        held = tmp_path / "held"
        os.mkfifo(held)

        def starts() -> int:
            with held.open("w") as writer:
                script = "import signal; signal.pause()"
                return subprocess.Popen([sys.executable, "-c", script], stdout=writer).pid

        with LocalCluster(n_workers=1) as cluster, Client(cluster) as client:
            future = client.submit(starts)
            reader = held.open()
            assert future.result() > 0
        with reader:
            assert reader.read() == ""  # nobody holds its other end any more


class TestTheScheduler:
    def test_its_end_ends_what_waits(
        self, client: Client, cluster: LocalCluster, ended: Callable[[int], bool], tmp_path: Path
    ) -> None:
        bell = tmp_path / "bell"
        os.mkfifo(bell)

        def waits() -> None:
            bell.write_text("here")
            while True:
                signal.pause()

        future = client.submit(waits)
        below = [client.submit(add, future, i) for i in range(10)]
        assert bell.read_text() == "here"
        workers = list(cluster.workers.values())
        os.kill(cluster._scheduler.process.pid, signal.SIGKILL)
        for one in (future, *below):
            with pytest.raises(ConnectionLost):
                one.result(30)
        with pytest.raises(ConnectionLost):
            client.submit(add, 1, 1)
        with pytest.raises(ConnectionLost):
            delayed(add)(1, 1).compute()
        client.close()
        cluster.close()
        assert all(ended(pid) for pid in workers)
        assert cluster.workers == {}

    def test_its_end_ends_a_compute(self, client: Client, cluster: LocalCluster) -> None:
        scheduler = cluster._scheduler.process.pid

        def kills(pid: int) -> None:
            os.kill(pid, signal.SIGKILL)
            while True:
                signal.pause()

        with pytest.raises(ConnectionLost):
            compute(delayed(kills)(scheduler))


class TestTheClient:
    SCRIPT = """
import os, sys
from lazygraph import Client, LocalCluster
cluster = LocalCluster(n_workers=2)
client = Client(cluster)
client.wait_for_workers(2)
def busy():
    import signal
    while True:
        signal.pause()
futures = [client.submit(busy) for _ in range(2)]
print(cluster._scheduler.process.pid, *cluster.workers.values(), flush=True)
input()
"""

    def test_its_end_ends_everything_it_started(self, ended: Callable[[int], bool]) -> None:
        with subprocess.Popen(
            [sys.executable, "-c", self.SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            pids = [int(word) for word in process.stdout.readline().split()]
            assert len(pids) == 3
            process.kill()
            # The pipe is held open by everybody who inherited it: its end is the end of all of them.
            assert process.stdout.read() == ""
        assert all(ended(pid) for pid in pids)

    def test_its_end_frees_what_it_held(self, cluster: LocalCluster, tmp_path: Path) -> None:
        told = tmp_path / "told"
        os.mkfifo(told)
        script = f"""
import os, signal, weakref
from pathlib import Path
from lazygraph import Client, wait
client = Client({cluster.address!r}, token={cluster.token!r}, grace=0)
class Value:
    def __init__(self):
        weakref.finalize(self, Path({str(told)!r}).write_text, "freed").atexit = False
future = client.submit(lambda: Value())
wait([future])
os.kill(os.getpid(), signal.SIGKILL)
"""
        process: Any = subprocess.run([sys.executable, "-c", script], check=False, timeout=40)
        assert process.returncode == -signal.SIGKILL
        assert told.read_text() == "freed"

    @pytest.mark.parametrize("taken_over", [True, False])
    def test_what_it_wanted_goes_on_for_a_while_and_somebody_may_take_it_over(
        self, cluster: LocalCluster, tmp_path: Path, taken_over: bool
    ) -> None:
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        script = f"""
import os, signal
from pathlib import Path
from lazygraph import Client, delayed, start
grace = {60 if taken_over else 0.5}
client = Client({cluster.address!r}, token={cluster.token!r}, grace=grace)
run = start(delayed(len)(delayed(Path.read_text)(Path({str(pipe)!r}))), run_name="missed")
run.futures[0].accepted(30)
os.kill(os.getpid(), signal.SIGKILL)
"""
        process: Any = subprocess.run([sys.executable, "-c", script], check=False, timeout=40)
        assert process.returncode == -signal.SIGKILL
        with Client(cluster) as client:
            if taken_over:
                run = client.attach("missed")
                pipe.write_text("four")
                assert run.result(30) == (4,)
            else:
                while client.scheduler_info()["runs"]:
                    pass
                with pytest.raises(KeyError):
                    client.attach("missed")
                writer = os.open(pipe, os.O_RDWR)  # so that its task ends, if it has begun
                os.write(writer, b"four")
                os.close(writer)

    def test_after_a_fork_the_child_is_told(self, client: Client) -> None:
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:  # the child: says what it sees, and ends without any clean-up
            try:
                client.submit(add, 1, 1)
            except lazygraph.LazyGraphError as error:
                os.write(writer, type(error).__name__.encode())
            finally:
                os._exit(0)
        os.close(writer)
        os.waitpid(pid, 0)
        with open(reader, "rb") as file:
            assert file.read() == b"UsedAfterFork"
        assert client.submit(add, 1, 1).result() == 2
