"""Who takes part: every contender, what it needs, how it is started and which works it does.

The table is read by the program that starts contenders; it imports none of them.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata

from benchmarks.works import WORKS

BASELINE = "lazygraph-cluster"
EXTRA = "pip install 'lazygraph[bench]'"

RUNS = ("rtt", "adds", "map", "chord", "merge", "tree", "chain")
EVERYTHING = tuple(WORKS)


@dataclass(frozen=True)
class Contender:
    """One contender: its module, the works it does, the packages and programs it needs, its settings."""

    name: str
    module: str
    works: tuple[str, ...]
    what: str
    packages: tuple[str, ...] = ()
    programs: Mapping[str, str] = field(default_factory=dict)  # program -> how to install it
    environment: Mapping[str, str] = field(default_factory=dict)

    def command(self, work: str, size: int) -> list[str]:
        """Return the command that does one work in a fresh process; ``environment`` goes with it."""
        return [sys.executable, "-m", f"benchmarks.contenders.{self.module}", work, str(size)]

    def missing(self) -> str | None:
        """Say what is not installed and how to get it, or None when nothing is missing."""
        packages = [name for name in self.packages if not _installed(name)]
        programs = {name: how for name, how in self.programs.items() if shutil.which(name) is None}
        parts = [f"{', '.join(packages)}: {EXTRA}"] if packages else []
        parts += [f"{name}: {how}" for name, how in programs.items()]
        return "; ".join(parts) or None


def _installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


RAY_ON_LOOPBACK: Mapping[str, str] = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # Ray's own switch for "this host only": it binds to loopback
    "RAY_AUTH_MODE": "disabled",  # else it writes a token into the home directory
    "RAY_USAGE_STATS_ENABLED": "0",
}
DASK_SATURATED: Mapping[str, str] = {"DASK_DISTRIBUTED__SCHEDULER__WORKER_SATURATION": "inf"}
# Fusing has a row of its own: with it Dask 2026.8 fails on a delayed call that takes a list, as the merge does.
DASK_FUSED: Mapping[str, str] = {**DASK_SATURATED, "DASK_OPTIMIZATION__FUSE__DELAYED": "True"}

_ALL: tuple[Contender, ...] = (
    Contender(BASELINE, "lazygraph_cluster", EVERYTHING, "lazygraph, LocalCluster of 2 processes x 1 thread"),
    Contender("lazygraph-threads", "lazygraph_threads", RUNS, "lazygraph, 2 threads in process"),
    Contender("dask", "on_dask", EVERYTHING, "distributed, 2 processes x 1 thread, default settings",
              packages=("dask", "distributed")),
    Contender("dask-inf", "on_dask", RUNS, "distributed with worker-saturation inf",
              packages=("dask", "distributed"), environment=DASK_SATURATED),
    Contender("dask-fused", "on_dask", ("chain",), "distributed with worker-saturation inf and delayed chains fused",
              packages=("dask", "distributed"), environment=DASK_FUSED),
    Contender("celery", "on_celery", EVERYTHING, "prefork worker of 2 processes, redis as broker and backend",
              packages=("celery", "redis"), programs={"redis-server": "apt install redis-server"}),
    Contender("ray", "on_ray", EVERYTHING, "ray.init(num_cpus=2)", packages=("ray",), environment=RAY_ON_LOOPBACK),
    Contender("lazygraph-dask", "lazygraph_elsewhere", RUNS, "lazygraph, DaskExecutor on what `dask` has",
              packages=("dask", "distributed"), environment={"LAZYGRAPH_ENGINE": "dask"}),
    Contender("lazygraph-ray", "lazygraph_elsewhere", RUNS, "lazygraph, RayExecutor on what `ray` has",
              packages=("ray",), environment={**RAY_ON_LOOPBACK, "LAZYGRAPH_ENGINE": "ray"}),
    Contender("lazygraph-celery", "lazygraph_elsewhere", RUNS, "lazygraph, CeleryExecutor on what `celery` has",
              packages=("celery", "redis"), programs={"redis-server": "apt install redis-server"},
              environment={"LAZYGRAPH_ENGINE": "celery"}),
    Contender("lazygraph-celery256", "lazygraph_elsewhere", RUNS, "the same with up to 256 tasks a message",
              packages=("celery", "redis"), programs={"redis-server": "apt install redis-server"},
              environment={"LAZYGRAPH_ENGINE": "celery", "LAZYGRAPH_TOGETHER": "256"}),
    Contender("echo", "echo", ("rtt",), "limit: 200 bytes over two asyncio hops and back"),
    Contender("thread-pool", "thread_pool", RUNS, "limit: ThreadPoolExecutor(2), driven from outside"),
    Contender("process-pool", "process_pool", RUNS, "limit: ProcessPoolExecutor(2), driven from outside"),
    Contender("loop", "loop", RUNS, "limit: a plain loop"),
)  # fmt: skip

CONTENDERS: Mapping[str, Contender] = {contender.name: contender for contender in _ALL}
