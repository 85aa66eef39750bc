"""What one contender does of those rows of `benchmarks.cluster` that look at its processes, in a process of its own.

``python -m benchmarks.cluster_works WORK CONTENDER SIZE`` prints one line of JSON: ``{"samples": {part: [figure]}}``,
in the units that `benchmarks.cluster` shows.  The environment of the contender goes with it, as everywhere.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from benchmarks import watching
from benchmarks.contenders.harness import checked
from benchmarks.local_smallest import TWO_CORES

Samples = dict[str, list[float]]
MICRO = 1e6
REPETITIONS = 10
WARM = 200
WORKERS = 2


@dataclass(frozen=True)
class Engine:
    """A contender that runs: many calls in one go, waiting for them, their values; and which process is what."""

    map: Callable[[Callable[[int], Any], Iterable[int]], Any]
    wait: Callable[[Any], object]
    gather: Callable[[Any], list[Any]]
    submit: Callable[[Callable[[int], Any], int], Any]
    who: watching.Roles

    def warm(self) -> None:
        """Have every process do some of everything once."""
        for _ in range(3):
            checked(self.gather(self.map(double, range(WARM))), [2 * i for i in range(WARM)])
            checked(self.gather([self.submit(double, i) for i in range(WARM)]), [2 * i for i in range(WARM)])


def double(x: int) -> int:
    """Do next to nothing."""
    return x + x


def spin(turns: int) -> int:
    """Keep a processor busy: a loop of so many turns."""
    count = 0
    for _ in range(turns):
        count += 1
    return count


# -- contenders ------------------------------------------------------------------------------------


@contextmanager
def ours() -> Iterator[Engine]:
    """Lazygraph's LocalCluster."""
    from benchmarks.contenders.lazygraph_cluster import session
    from lazygraph import wait

    with session() as client:
        who = watching.roles(lambda c: "lazygraph.cli scheduler" in c, lambda c: "lazygraph.cli worker" in c)
        yield Engine(client.map, wait, client.gather, client.submit, who)


@contextmanager
def dask() -> Iterator[Engine]:
    """Distributed's LocalCluster: its scheduler is a part of the client's process."""
    module, distributed = _contender("on_dask"), import_module("distributed")
    with module.session() as client:
        workers = set(client.run(import_module("os").getpid).values())
        who = {"client": [import_module("os").getpid()], "scheduler": [], "worker": sorted(workers)}
        yield Engine(
            lambda function, items: client.map(function, list(items), pure=False),
            distributed.wait,
            client.gather,
            lambda function, x: client.submit(function, x, pure=False),
            who,
        )


@contextmanager
def ray() -> Iterator[Engine]:
    """Ray: what schedules are its servers."""
    module, library = _contender("on_ray"), import_module("ray")
    with module.session():
        remote: dict[Any, Any] = {}

        def call(function: Any, x: int) -> Any:
            if function not in remote:
                remote[function] = library.remote(function)
            return remote[function].remote(x)

        who = watching.roles(lambda c: "gcs_server" in c or "raylet" in c, lambda c: c.startswith("ray::"))
        yield Engine(
            lambda function, items: [call(function, x) for x in items],
            lambda held: library.wait(held, num_returns=len(held)),
            library.get,
            call,
            who,
        )


@contextmanager
def pool() -> Iterator[Engine]:
    """The standard library's processes."""
    from concurrent.futures import wait

    with _contender("process_pool").session() as executor:
        yield Engine(
            lambda function, items: [executor.submit(function, x) for x in items],
            wait,
            lambda held: [one.result() for one in held],
            executor.submit,
            watching.roles(lambda c: False, lambda c: True),
        )


def _contender(name: str) -> Any:
    return import_module(f"benchmarks.contenders.{name}")


ENGINES: Mapping[str, Callable[[], Any]] = {
    "lazygraph-cluster": ours,
    "dask": dask,
    "dask-inf": dask,
    "ray": ray,
    "process-pool": pool,
}


# -- works -----------------------------------------------------------------------------------------


def held(engine: Engine, size: int) -> Samples:
    """What each process grows by for a task that has ended and whose future is held, small results."""
    first = engine.map(double, range(size // 10))
    engine.wait(first)
    before = _settled(engine)
    futures = engine.map(double, range(size))
    engine.wait(futures)
    by_map = _settled(engine)
    looped = [engine.submit(double, i) for i in range(size)]
    engine.wait(looped)
    by_loop = _settled(engine)
    found = {role: [(by_map[role] - before[role]) / size] for role in before if engine.who[role]}
    found |= {f"{role} loop": [(by_loop[role] - by_map[role]) / size] for role in before if engine.who[role]}
    del first, futures, looped
    return found


def _settled(engine: Engine) -> dict[str, float]:
    """Return the memory of each role, once nothing more is on its way."""
    gc.collect()
    engine.gather([engine.submit(double, 1)])
    time.sleep(0.3)
    return watching.each(watching.resident, engine.who)


def million(engine: Engine, size: int) -> Samples:
    """So many tasks in one map, waited for, forgotten; then as many in ten repetitions, and what that leaves."""
    began = perf_counter()
    futures = engine.map(double, range(size))
    engine.wait(futures)
    del futures
    engine.gather([engine.submit(double, 1)])  # whoever answers this has heard that the others are forgotten
    whole = perf_counter() - began
    grown: list[dict[str, float]] = []
    began = perf_counter()
    for _ in range(REPETITIONS):
        engine.wait(engine.map(double, range(size // REPETITIONS)))
        engine.gather([engine.submit(double, 1)])
        grown.append(watching.each(watching.resident, engine.who))
    parts = perf_counter() - began
    last, second = grown[-1], grown[1]
    found = {"whole": [whole * MICRO / size], "parts": [parts * MICRO / size]}
    return found | {role: [(last[role] - second[role]) / 1e6] for role in last if engine.who[role]}


def idle(engine: Engine, size: int) -> Samples:
    """The share of a processor that all processes have together while nothing is to be done, for so many seconds."""
    time.sleep(min(1.0, size))
    before, began = watching.each(watching.seconds, engine.who), perf_counter()
    time.sleep(size)
    took = perf_counter() - began
    after = watching.each(watching.seconds, engine.who)
    found = {role: [(after[role] - before[role]) / took * 100] for role in before}
    return {"all": [sum(each[0] for each in found.values())], **found}


def dropped(engine: Engine, size: int) -> Samples:
    """How many messages let go of futures that are dropped at once, of one map and of a submit loop."""
    link: Any = import_module("lazygraph.executors.cluster.net.link")
    said: list[Any] = []
    encoded = link.encoded

    def noting(message: Any) -> bytes:
        said.append(message)
        header: bytes = encoded(message)
        return header

    def begin_map() -> Any:
        return engine.map(double, range(size))

    def begin_loop() -> Any:
        return [engine.submit(double, i) for i in range(size)]

    found: Samples = {}
    link.encoded = noting
    try:
        for part, begin in (("map", begin_map), ("loop", begin_loop)):
            futures = begin()
            engine.wait(futures)
            time.sleep(0.1)  # until what was dropped before has been told
            said.clear()
            del futures
            time.sleep(0.5)
            found[part] = [float(sum(type(message).__name__ == "Drop" for message in said))]
    finally:
        link.encoded = encoded
    return found


def round_trips(engine: Engine, size: int) -> Samples:
    """What a round trip costs each process, in processor time."""
    return _processor_time(engine, lambda: [engine.gather([engine.submit(double, i)]) for i in range(size)], size)


def mapped(engine: Engine, size: int) -> Samples:
    """What a task of a map costs each process, in processor time."""
    return _processor_time(engine, lambda: engine.gather(engine.map(double, range(size))), size)


def _processor_time(engine: Engine, work: Callable[[], object], size: int) -> Samples:
    before = watching.each(watching.seconds, engine.who)
    kept = work()
    after = watching.each(watching.seconds, engine.who)
    del kept
    return {role: [(after[role] - before[role]) * MICRO / size] for role in before if engine.who[role]}


def smallest(engine: Engine, size: int) -> Samples:
    """METG(50 %): the task, in ms, at which two workers are only as quick as one processor without anything between.

    A task is a loop in Python; `size` is the turns to begin with, halved until the workers are less than half as quick
    as two processors could be.  On a line between the last two.  No figure when two bare processes are not quicker.
    """
    speedup = _bare_speedup(size)
    found: Samples = {"speedup": [speedup]}
    if speedup < TWO_CORES:
        return found
    worth: tuple[float, float] | None = None
    turns = size
    while turns:
        seconds, efficiency = _efficiency(engine, turns)
        if efficiency < 0.5:
            if worth is not None:
                share = (worth[1] - 0.5) / (worth[1] - efficiency)
                found["figure"] = [(worth[0] + (seconds - worth[0]) * share) * 1e3]
            return found
        worth, turns = (seconds, efficiency), turns // 2
    found["figure"] = [worth[0] * 1e3 if worth else 0.0]
    return found


GO = 0.25
"""Seconds of work that are handed out in one go, where that is not too many tasks."""
MOST = 20_000


def _efficiency(engine: Engine, turns: int) -> tuple[float, float]:
    """Return the seconds of one call, and the work done in the time that two processors had for it: the best of 3."""
    began = perf_counter()
    spin(turns)
    count = int(min(MOST, max(8, GO / (perf_counter() - began))))
    alone, together = float("inf"), float("inf")
    for _ in range(3):
        began = perf_counter()
        for _ in range(count):
            spin(turns)
        between = perf_counter()
        values = engine.gather(engine.map(spin, [turns] * count))
        together = min(together, perf_counter() - between)
        alone = min(alone, between - began)
        checked(values, [turns] * count)
    return alone / count, alone / together / WORKERS


def _bare_speedup(turns: int) -> float:
    """Return how much quicker two bare processes do the work of one."""
    code = "import sys,time; from benchmarks.cluster_works import spin; n, c = map(int, sys.argv[1:])\n"
    code += "input(); b = time.perf_counter(); [spin(n) for _ in range(c)]; print(time.perf_counter() - b)"
    began = perf_counter()
    spin(turns)
    count = int(max(4, GO / (perf_counter() - began)))

    def run(processes: int) -> float:
        children = [
            subprocess.Popen(
                [sys.executable, "-c", code, str(turns), str(count)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )
            for _ in range(processes)
        ]  # fmt: skip
        time.sleep(0.3)  # until all of them read
        for child in children:
            assert child.stdin is not None
            child.stdin.write("\n")
            child.stdin.flush()
        return max(float(child.communicate()[0]) for child in children)

    return min(run(1) for _ in range(2)) * 2 / min(run(2) for _ in range(2))


STARTS = {
    "lazygraph-cluster": (
        "from lazygraph import Client, LocalCluster",
        "cluster = LocalCluster(2, 1); client = Client(cluster)",
        "client.submit(add, 1, 1).result()",
        "client.close(); cluster.close()",
    ),
    "dask": (
        "from distributed import Client, LocalCluster",
        """cluster = LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1",
            dashboard_address="127.0.0.1:0", scheduler_kwargs={"dashboard": False})
    client = Client(cluster)""",
        "client.submit(add, 1, 1).result()",
        "client.close(); cluster.close()",
    ),
    "ray": (
        "import ray",
        "ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, _node_ip_address='127.0.0.1')",
        "ray.get(ray.remote(add).remote(1, 1))",
        "ray.shutdown()",
    ),
}
_START = """
import time
began = time.perf_counter()
{imports}
between = time.perf_counter()
from benchmarks.contenders.functions import add
if __name__ == "__main__":
    {start}
    value = {first}
    end = time.perf_counter()
    assert value == 2
    print(between - began, end - between)
    {close}
"""


def start(contender: str, size: int) -> Samples:
    """From nothing to the first result, in a fresh interpreter: the import, and what follows."""
    imports, begin, first, close = STARTS["dask" if contender == "dask-inf" else contender]
    found: Samples = {"import": [], "start": [], "all": []}
    code = _START.format(imports=imports, start=begin, first=first, close=close)
    # Compiled modules are in a cache of their own, which the first go fills: what pip has installed has them.
    with TemporaryDirectory() as cache:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for _ in range(size + 1):
            output = subprocess.check_output([sys.executable, "-c", code], text=True, env=environment)
            took = [float(part) * 1e3 for part in output.split()]
            for part, figure in zip(found, (*took, sum(took)), strict=True):
                found[part].append(figure)
    return {part: figures[1:] for part, figures in found.items()}


def zero(_: str, size: int) -> Samples:
    """The scheduler's mind alone, with every message encoded and decoded: workers answer at once, compute nothing."""
    from benchmarks.simulate_plans import shape_of
    from benchmarks.simulate_zero import ZeroWorld

    found: Samples = {}
    for part, tasks, workers in (("small", size // 100, 2), ("large", size, 2), ("wide", size, 1000)):
        shape = shape_of("tree", tasks)
        ZeroWorld(workers, codec=True).run(shape_of("tree", max(1, tasks // 10)))
        cost = ZeroWorld(workers, codec=True).run(shape)
        found[part] = [cost.seconds * MICRO / cost.tasks]
    return found


ON_ENGINE: Mapping[str, Callable[[Engine, int], Samples]] = {
    "held": held,
    "million": million,
    "idle": idle,
    "dropped": dropped,
    "cpu-rtt": round_trips,
    "cpu-map": mapped,
    "metg": smallest,
}
ALONE: Mapping[str, Callable[[str, int], Samples]] = {"start": start, "zero": zero}


def main() -> None:
    """Do what the command line says and print the samples."""
    name, contender, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if name in ALONE:
        samples = ALONE[name](contender, size)
    else:
        with ENGINES[contender]() as engine:
            engine.warm()
            samples = ON_ENGINE[name](engine, size)
    sys.stdout.write(json.dumps({"samples": samples}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    # By its name, and so are the functions that processes run: those of `__main__` would travel by value.
    import_module("benchmarks.cluster_works").main()
