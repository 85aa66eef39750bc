"""What one contender does of one row of `benchmarks.local`, in a process of its own.

``python -m benchmarks.local_works WORK CONTENDER WARM SIZE`` does it once in small and once in earnest, and prints its
figures as one line of JSON: ``{"figures": {part: figure}}``, in the units that `benchmarks.local` shows.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import statistics
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, NamedTuple

from benchmarks.contenders.functions import add, tsum
from benchmarks.contenders.harness import checked
from benchmarks.local_smallest import MICRO, THREADS, dask_threads, our_threads, smallest_task

Figures = dict[str, float]
Work = Callable[[int], Figures]
"""Takes a size, gives figures."""

GOES, ENOUGH = 5, 0.5
"""A figure is the median of so many goes in a process, of fewer when they have taken so many seconds."""
CHAIN = 100
"""How long each of many chains is."""


def noop(x: Any) -> Any:
    """Do nothing: what is measured is what stands around it."""
    return x


def timed(work: Callable[[], Any], check: Callable[[Any], None]) -> float:
    """Return the median seconds of some goes; each result is checked, neither that nor dropping it is timed."""
    samples: list[float] = []
    while len(samples) < GOES and sum(samples) < ENOUGH:
        gc.collect()
        began = perf_counter()
        made = work()
        samples.append(perf_counter() - began)
        check(made)
        del made
    return statistics.median(samples)


def per_node(work: Callable[[], Any], check: Callable[[Any], None], nodes: int) -> Figures:
    """Return the one figure of most works: microseconds per node."""
    return {"figure": timed(work, check) * MICRO / nodes}


def expects(value: object) -> Callable[[Any], None]:
    """Return the check that a result is this value."""
    return lambda found: checked(found, value)


# -- shapes ----------------------------------------------------------------------------------------


def joined(call: Callable[[Any, Any], Any], row: list[Any]) -> Any:
    """Join pairwise until one is left; so many leaves make that many nodes less one."""
    while len(row) > 1:
        odd = row[len(row) & ~1 :]
        row = [*map(call, row[0::2], row[1::2]), *odd]
    return row[0]


def sum_below(leaves: int) -> int:
    """Return what the leaves 0, 1, 2, ... of a tree sum to."""
    return leaves * (leaves - 1) // 2


def chained(call: Callable[[Any, int], Any], length: int) -> Any:
    """Make a chain of calls, each adding one; its value is its length."""
    node = call(0, 1)
    for _ in range(length - 1):
        node = call(node, 1)
    return node


class Raw:
    """A graph as Dask's schedulers take it: tasks by key, made without `dask.delayed`, ready to be run."""

    def __init__(self) -> None:
        spec: Any = import_module("dask._task_spec")
        self._task, self._ref = spec.Task, spec.TaskRef
        self.tasks: dict[str, Any] = {}

    def call(self, function: Callable[..., Any], *args: Any) -> str:
        """Add a task, return its key; texts among the arguments are keys."""
        key = f"n{len(self.tasks)}"
        self.tasks[key] = self._task(key, function, *[self._ref(a) if isinstance(a, str) else a for a in args])
        return key

    def tree(self, leaves: int) -> str:
        """Add a binary tree."""
        return str(joined(partial(self.call, add), [self.call(noop, i) for i in range(leaves)]))

    def chain(self, length: int) -> str:
        """Add a chain."""
        return str(chained(partial(self.call, add), length))


# -- building --------------------------------------------------------------------------------------


class Language(NamedTuple):
    """How a library makes calls lazy, and runs one in the calling thread."""

    delayed: Callable[..., Any]
    run: Callable[[Any], Any]


def lazygraph_language() -> Language:
    """Return ours."""
    from lazygraph import delayed

    return Language(delayed, lambda node: node.compute(executor="sync"))


def dask_language() -> Language:
    """Return Dask's."""
    delayed: Any = import_module("dask").delayed
    return Language(delayed, lambda node: node.compute(scheduler="sync"))


def build_independent(language: Callable[[], Language], size: int) -> Figures:
    """Make calls that need nothing from each other."""
    delayed, run = language()
    lazy = delayed(noop)

    def check(nodes: list[Any]) -> None:
        checked((len(nodes), run(nodes[-1])), (size, size - 1))

    return per_node(lambda: [lazy(i) for i in range(size)], check, size)


def build_chain(language: Callable[[], Language], size: int) -> Figures:
    """Make a chain of calls."""
    delayed, run = language()
    lazy = delayed(add)
    return per_node(lambda: chained(lazy, size), lambda node: checked(run(node), size), size)


def fan_in(language: Callable[[], Language], size: int) -> Figures:
    """Make the one call that takes a list of so many, which are there already."""
    delayed, run = language()
    lazy, leaf = delayed(tsum), delayed(noop)
    leaves = [leaf(i) for i in range(size)]
    return per_node(lambda: lazy(leaves), lambda node: checked(run(node), sum_below(size)), size)


def memory(language: Callable[[], Language], size: int) -> Figures:
    """Count the bytes of calls with one argument; the arguments themselves are there before."""
    delayed, run = language()
    lazy, numbers = delayed(noop), [*range(size)]
    with _bytes_of(size) as bytes_per_node:
        nodes = [lazy(i) for i in numbers]
        found = {"nodes": bytes_per_node()}
    checked(run(nodes[-1]), size - 1)
    if language is lazygraph_language:
        from lazygraph.planning.plan import plan_of

        with _bytes_of(size) as bytes_per_node:
            plan = plan_of(nodes)
            found["plan"] = bytes_per_node()
        checked(len(plan), size)
    return found


@contextmanager
def _bytes_of(nodes: int) -> Iterator[Callable[[], float]]:
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    try:
        yield lambda: (tracemalloc.get_traced_memory()[0] - before) / nodes
    finally:
        tracemalloc.stop()


# -- planning --------------------------------------------------------------------------------------


def plan_tree(size: int) -> Figures:
    """Lower, optimize, order and seal a binary tree of about so many nodes."""
    delayed, run = lazygraph_language()
    leaves = (size + 1) // 2
    tree = joined(delayed(add), [*map(delayed(noop), range(leaves))])
    checked(run(tree), sum_below(leaves))
    return _plan([tree], 2 * leaves - 1, 2 * leaves - 1)


def plan_chains(size: int) -> Figures:
    """The same for many chains of a hundred."""
    lazy = lazygraph_language().delayed(add)
    return _plan([chained(lazy, CHAIN) for _ in range(size // CHAIN)], size // CHAIN * CHAIN, size // CHAIN)


def _plan(ends: list[Any], nodes: int, tasks: int) -> Figures:
    from lazygraph.planning.plan import plan_of

    return per_node(lambda: plan_of(ends), lambda plan: checked(len(plan), tasks), nodes)


def dask_plan_tree(size: int) -> Figures:
    """Cull, fuse and order the same tree, which is a ready dict."""
    raw = Raw()
    return _dask_plan(raw, [raw.tree((size + 1) // 2)], len(raw.tasks))


def dask_plan_chains(size: int) -> Figures:
    """The same for the chains."""
    raw = Raw()
    return _dask_plan(raw, [raw.chain(CHAIN) for _ in range(size // CHAIN)], size // CHAIN)


def _dask_plan(raw: Raw, ends: list[str], tasks: int) -> Figures:
    spec: Any = import_module("dask._task_spec")
    cull, order = import_module("dask.optimization").cull, import_module("dask.order").order

    def plan() -> Any:
        kept, _ = cull(raw.tasks, ends)
        fused = spec.fuse_linear_task_spec(kept, {*ends})
        return {end: fused[end] for end in ends}, order(fused)

    # Dask leaves a second name for the end of each chain that it fuses.
    return per_node(plan, lambda made: checked(len(made[1]) - sum(_is_alias(made[0])), tasks), len(raw.tasks))


def _is_alias(tasks: Mapping[str, Any]) -> list[bool]:
    return [type(task).__name__ == "Alias" for task in tasks.values()]


# -- running ---------------------------------------------------------------------------------------


def noops_on_threads(size: int) -> Figures:
    """Build calls that do nothing and run them, from the first call to the last value."""
    from lazygraph.executors import ThreadExecutor

    return _noops(ThreadExecutor(THREADS), size)


def noops_on_processes(size: int) -> Figures:
    """The same in processes that are there."""
    from lazygraph.executors import ProcessExecutor

    return _noops(ProcessExecutor(THREADS), size)


def _noops(executor: Any, size: int) -> Figures:
    from lazygraph import compute, delayed

    lazy = delayed(noop)
    with executor:
        compute(*map(lazy, range(100)), executor=executor)
        everything = tuple(range(size))
        return per_node(
            lambda: compute(*[lazy(i) for i in range(size)], executor=executor), expects(everything), size
        )  # fmt: skip


def dask_noops(size: int) -> Figures:
    """The same with Dask."""
    dask: Any = import_module("dask")
    lazy = dask.delayed(noop)

    def work() -> Any:
        return dask.compute(*[lazy(i) for i in range(size)], scheduler="threads", num_workers=THREADS)

    return per_node(work, expects(tuple(range(size))), size)


def thread_pool_noops(size: int) -> Figures:
    """Submit all, then take every result."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(THREADS) as pool:

        def work() -> list[Any]:
            return [future.result() for future in [pool.submit(noop, i) for i in range(size)]]

        return per_node(work, expects([*range(size)]), size)


def process_pool_noops(chunk: int, size: int) -> Figures:
    """Map with a chunk size, in processes that are there."""
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(THREADS) as pool:
        checked([*pool.map(noop, range(100))], [*range(100)])
        return per_node(lambda: [*pool.map(noop, range(size), chunksize=chunk)], expects([*range(size)]), size)


def run_tree(executor: str, leaves: int) -> Figures:
    """Run a binary tree whose plan is there."""
    from lazygraph import compute, delayed
    from lazygraph.executors import SyncExecutor, ThreadExecutor

    plan = joined(delayed(add), [*map(delayed(noop), range(leaves))]).graph.plan()
    with SyncExecutor() if executor == "sync" else ThreadExecutor(THREADS) as chosen:
        return per_node(lambda: compute(plan, executor=chosen), expects((sum_below(leaves),)), len(plan))


def dask_run_tree(scheduler: str, leaves: int) -> Figures:
    """Run the tree as a ready dict with one of Dask's schedulers, which orders it each time."""
    raw = Raw()
    end = raw.tree(leaves)
    if scheduler == "sync":
        work = partial(import_module("dask.local").get_sync, raw.tasks, end)
    else:
        work = partial(import_module("dask.threaded").get, raw.tasks, end, num_workers=THREADS)
    return per_node(work, expects(sum_below(leaves)), len(raw.tasks))


def run_chain(size: int) -> Figures:
    """Run a chain that has become one task."""
    from lazygraph import compute, delayed
    from lazygraph.executors import SyncExecutor

    plan = chained(delayed(add), size).graph.plan()
    checked(len(plan), 1)
    with SyncExecutor() as executor:
        return _over_bare(lambda: compute(plan, executor=executor)[0], size)


def dask_run_chain(size: int) -> Figures:
    """Run the chain as Dask fuses it, which is done before."""
    raw = Raw()
    end = raw.chain(size)
    fused = import_module("dask._task_spec").fuse_linear_task_spec(raw.tasks, {end})
    return _over_bare(partial(import_module("dask.local").get_sync, fused, end), size)


def _over_bare(work: Callable[[], Any], size: int) -> Figures:
    whole = timed(work, expects(size)) * MICRO / size
    bare = timed(lambda: chained(add, size), expects(size)) * MICRO / size
    return {"whole": whole, "bare": bare, "over": whole - bare}


def million(leaves: int) -> Figures:
    """Build a tree, plan it, run it; how many seconds each takes, and the most memory the process had."""
    from lazygraph import compute, delayed

    moments = [perf_counter()]
    tree = joined(delayed(add), [*map(delayed(noop), range(leaves))])
    moments.append(perf_counter())
    plan = tree.graph.plan()
    moments.append(perf_counter())
    values = compute(plan, executor="sync")
    moments.append(perf_counter())
    checked(values, (sum_below(leaves),))
    start, built, planned, end = moments
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {
        "build": built - start,
        "plan": planned - built,
        "run": end - planned,
        "all": end - start,
        "peak": peak / 1e6,
    }


def again(leaves: int) -> Figures:
    """Run a graph, then the same one again."""
    from lazygraph import delayed

    tree = joined(delayed(add), [*map(delayed(noop), range(leaves))])
    return _twice(lambda: tree.graph, lambda graph: graph.compute(executor="sync")[0], leaves)


def dask_again(leaves: int) -> Figures:
    """The same with Dask."""
    delayed, run = dask_language()
    tree = joined(delayed(add), [*map(delayed(noop), range(leaves))])
    return _twice(lambda: tree, run, leaves)


def _twice(made: Callable[[], Any], run: Callable[[Any], Any], leaves: int) -> Figures:
    nodes, samples = 2 * leaves - 1, list[tuple[float, float]]()
    while len(samples) < GOES and sum(map(sum, samples)) < ENOUGH:
        gc.collect()
        moments = [perf_counter()]
        graph = made()
        for _ in range(2):
            value = run(graph)
            moments.append(perf_counter())
            checked(value, sum_below(leaves))
        samples.append((moments[1] - moments[0], moments[2] - moments[1]))
    first, second = (statistics.median(column) for column in zip(*samples, strict=True))
    return {"first": first * MICRO / nodes, "again": second * MICRO / nodes, "share": second / first}


# -- importing -------------------------------------------------------------------------------------

HEAVY = ("tornado", "networkx", "numpy", "graphviz")


def importing(package: str, size: int) -> Figures:
    """Start Python bare and with an import, in turns; the figures are milliseconds over the bare one.

    Compiled modules are in a cache of their own that the first start fills: a checkout may have none, what pip has
    installed has them, and who is compiled at each start would be slower for that alone.
    """
    statements = {"bare": "pass", "package": f"import {package}", "delayed": f"from {package} import delayed"}
    samples: dict[str, list[float]] = {name: [] for name in statements}
    with TemporaryDirectory() as cache:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for statement in statements.values():
            found = _started(statement + _LOOK, environment)
            checked(found if package == "lazygraph" else "[]\n", "[]\n")
        for _ in range(size):
            for name, statement in statements.items():
                began = perf_counter()
                _started(statement, environment)
                samples[name].append((perf_counter() - began) * 1e3)
    bare, *rest = (statistics.median(each) for each in samples.values())
    return {"package": rest[0] - bare, "delayed": rest[1] - bare}


_LOOK = f"\nimport sys; print([name for name in {HEAVY!r} if name in sys.modules])"


def _started(statement: str, environment: Mapping[str, str]) -> str:
    return subprocess.check_output([sys.executable, "-c", statement], env=environment, text=True)


# -- one of them -----------------------------------------------------------------------------------


def _both(work: Callable[[Callable[[], Language], int], Figures]) -> dict[str, Work]:
    return {"lazygraph": partial(work, lazygraph_language), "dask": partial(work, dask_language)}


CHAINS = _both(build_chain)

WORKS: Mapping[str, Mapping[str, Work]] = {
    "build-independent": _both(build_independent),
    "build-chain-10k": CHAINS,
    "build-chain-100k": CHAINS,
    "build-chain-1m": CHAINS,
    "fan-in": _both(fan_in),
    "plan-tree": {"lazygraph": plan_tree, "dask": dask_plan_tree},
    "plan-chains": {"lazygraph": plan_chains, "dask": dask_plan_chains},
    "noops-threads": {"lazygraph": noops_on_threads, "dask": dask_noops, "thread-pool": thread_pool_noops},
    "tree-sync": {"lazygraph": partial(run_tree, "sync"), "dask": partial(dask_run_tree, "sync")},
    "tree-threads": {"lazygraph": partial(run_tree, "threads"), "dask": partial(dask_run_tree, "threads")},
    "chain-sync": {"lazygraph": run_chain, "dask": dask_run_chain},
    "noops-processes": {
        "lazygraph": noops_on_processes,
        "process-pool": partial(process_pool_noops, 1),
        "process-pool-100": partial(process_pool_noops, 100),
    },
    "memory": _both(memory),
    "million": {"lazygraph": million},
    "import": {"lazygraph": partial(importing, "lazygraph"), "dask": partial(importing, "dask")},
    "metg": {"lazygraph": partial(smallest_task, our_threads), "dask": partial(smallest_task, dask_threads)},
    "again": {"lazygraph": again, "dask": dask_again},
}
"""By the names of the row and of the contender."""


def main() -> None:
    """Do what the command line says, in small and then in earnest, and print the figures."""
    name, contender, warm, size = sys.argv[1:]
    work = WORKS[name][contender]
    work(int(warm))
    sys.stdout.write(json.dumps({"figures": work(int(size))}) + "\n")


if __name__ == "__main__":
    # By its name, and so are the functions that processes run: those of `__main__` would travel by value.
    import_module("benchmarks.local_works").main()
