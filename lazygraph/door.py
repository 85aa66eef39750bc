"""The door: what users call.  Collections in, plans to executors, values out in the same shape.

Covers: compute, persist, start, visualize, explain, check, graphs from outside, and what the verbs of lazy things need.
Does not cover: how any of it works (the floors below).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from lazygraph.errors import NotImplementedYet, UnknownOption
from lazygraph.executors.current import enter, leave
from lazygraph.executors.explaining import account_of as account_of
from lazygraph.executors.explaining import analyzed, foreseen
from lazygraph.executors.registry import resolve
from lazygraph.language.canvas import Canvas
from lazygraph.language.filling import Filled, as_node
from lazygraph.language.members import check_on_error
from lazygraph.language.promise import Delayed, build
from lazygraph.planning.caching import Caching, cached, has_cached
from lazygraph.planning.lower import lift, lower
from lazygraph.planning.optimize import cull, reorder
from lazygraph.planning.passes import Passes
from lazygraph.planning.passes import optimize as optimized
from lazygraph.planning.plan import Plan
from lazygraph.planning.plan import planned as planned
from lazygraph.planning.sharing import share
from lazygraph.running.context import patience
from lazygraph.running.futures import Future as Future
from lazygraph.running.run import Run
from lazygraph.running.steps import asked_of, wired
from lazygraph.showing.account import Account as Account
from lazygraph.showing.draw import to_svg
from lazygraph.showing.drawing import Drawing, draw
from lazygraph.showing.explain import Profile
from lazygraph.showing.graphs import fates_of
from lazygraph.showing.graphs import picture_of as picture_of_graph
from lazygraph.showing.graphs import profile_of as profile_of_graph
from lazygraph.submitting import submit, unpack, without_skipped
from lazygraph.values.graph import Graph
from lazygraph.values.node import Node, identity

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Unpack

    from lazygraph.executors.base import Executor
    from lazygraph.running.group_result import GroupResult as GroupResult
    from lazygraph.running.steps import Noted
    from lazygraph.showing.check import Finding
    from lazygraph.values.keywords import HowToPersist, HowToRun
    from lazygraph.values.lazy import Lazy

_KEYWORDS = (
    "executor traverse optimize_graph on_error fail_fast timeout run_name progress pdb scheduler num_workers"
).split()

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")
F = TypeVar("F")


# Checkers follow up to six things of different types; what is in collections they do not follow.
@overload
def compute(a: Lazy[A], /, **keywords: Unpack[HowToRun]) -> tuple[A]: ...
@overload
def compute(a: Lazy[A], b: Lazy[B], /, **keywords: Unpack[HowToRun]) -> tuple[A, B]: ...
@overload
def compute(a: Lazy[A], b: Lazy[B], c: Lazy[C], /, **keywords: Unpack[HowToRun]) -> tuple[A, B, C]: ...
@overload
def compute(a: Lazy[A], b: Lazy[B], c: Lazy[C], d: Lazy[D], /, **keywords: Unpack[HowToRun]) -> tuple[A, B, C, D]: ...
@overload
def compute(
    a: Lazy[A], b: Lazy[B], c: Lazy[C], d: Lazy[D], e: Lazy[E], /, **keywords: Unpack[HowToRun]
) -> tuple[A, B, C, D, E]: ...
@overload
def compute(
    a: Lazy[A], b: Lazy[B], c: Lazy[C], d: Lazy[D], e: Lazy[E], f: Lazy[F], /, **keywords: Unpack[HowToRun]
) -> tuple[A, B, C, D, E, F]: ...
@overload
def compute(*args: Lazy[A], **keywords: Unpack[HowToRun]) -> tuple[A, ...]: ...
@overload
def compute(*args: Any, **keywords: Unpack[HowToRun]) -> tuple[Any, ...]: ...
def compute(*args: Any, timeout: float | None = None, **kwargs: Any) -> tuple[Any, ...]:
    """Run everything lazy in `args`; return a tuple with each argument's value, nested as it was.

    `executor=` a name, address or instance (`scheduler=` is dask's word for it); `traverse=False` does not look into
    collections; `optimize_graph=False` runs the graph as written, a list names the passes to run (planning.passes);
    `fail_fast=False` lets siblings of a failed node run on before the exception is raised; `on_error="collect"` puts a
    `Failure` in the place of each value that is missing, `"skip"` leaves it out of whatever held it; `num_workers=` so
    many threads, for this once; `timeout=` seconds, then TimeoutError and the run is cancelled (on sync between two
    tasks: one that runs is waited for, what is awaited is not); `run_name=`: every value is kept until the whole has
    ended well, and a run that was killed, or failed, computes only what is missing when it is started again.
    A graph or a plan alone gives the values of its outputs; it is compiled once, however often it runs.
    Raises the user's own exception; `UnknownOption` for a keyword that is none.
    """
    for name in kwargs:
        if name not in _KEYWORDS:
            raise UnknownOption("compute()", name, _KEYWORDS)
    token = patience.set(timeout)
    try:
        run = start(*args, **kwargs)
    finally:
        patience.reset(token)
    try:
        return run.result(timeout)  # type: ignore[no-any-return]
    except (TimeoutError, KeyboardInterrupt):
        if not run.done():
            run.cancel()
        raise
    finally:
        run.release()


def start(
    *args: Any,
    executor: Any = None,
    traverse: bool = True,
    optimize_graph: Passes = True,
    on_error: str = "raise",
    fail_fast: bool = True,
    run_name: str | None = None,
    progress: bool = False,
    pdb: bool = False,
    scheduler: Any = None,
    num_workers: int | None = None,
    observe: bool = False,
    **unknown: Any,
) -> Run:
    """Start everything lazy in `args`; return the Run, whose `result()` is what `compute` returns.

    `observe=True` has noted when each task began and ended, and where, for `run.explain()`, `run.report(path)` and
    `run.events()`; that costs one or two microseconds a task.
    """
    for name in unknown:
        raise UnknownOption("start()", name, [*(known for known in _KEYWORDS if known != "timeout"), "observe"])
    for name, said in (("progress", progress), ("pdb", pdb)):
        if said:
            raise NotImplementedYet(f"compute({name}=...)")
    check_on_error("compute", on_error)
    lazies: Any
    repack: Callable[[list[Any]], Any]
    if len(args) == 1 and isinstance(args[0], Graph | Plan):
        lazies, repack = args[0], without_skipped
    else:
        lazies, repack = unpack(args, traverse)
    run = submit(
        lazies,
        resolve(executor if executor is not None else scheduler, num_workers),
        repack,
        optimize_graph,
        fail_fast and on_error == "raise",
        run_name or "",
        skips=on_error == "skip",
        observe=observe,
        resumed=named_run(run_name) if run_name else None,
    )
    run.on_error = on_error
    return run


@overload
def persist(a: Lazy[A], /, **keywords: Unpack[HowToPersist]) -> tuple[Delayed[A]]: ...
@overload
def persist(a: Lazy[A], b: Lazy[B], /, **keywords: Unpack[HowToPersist]) -> tuple[Delayed[A], Delayed[B]]: ...
@overload
def persist(
    a: Lazy[A], b: Lazy[B], c: Lazy[C], /, **keywords: Unpack[HowToPersist]
) -> tuple[Delayed[A], Delayed[B], Delayed[C]]: ...
@overload
def persist(
    a: Lazy[A], b: Lazy[B], c: Lazy[C], d: Lazy[D], /, **keywords: Unpack[HowToPersist]
) -> tuple[Delayed[A], Delayed[B], Delayed[C], Delayed[D]]: ...
@overload
def persist(
    a: Lazy[A], b: Lazy[B], c: Lazy[C], d: Lazy[D], e: Lazy[E], /, **keywords: Unpack[HowToPersist]
) -> tuple[Delayed[A], Delayed[B], Delayed[C], Delayed[D], Delayed[E]]: ...
@overload
def persist(
    a: Lazy[A], b: Lazy[B], c: Lazy[C], d: Lazy[D], e: Lazy[E], f: Lazy[F], /, **keywords: Unpack[HowToPersist]
) -> tuple[Delayed[A], Delayed[B], Delayed[C], Delayed[D], Delayed[E], Delayed[F]]: ...
@overload
def persist(*args: Lazy[A], **keywords: Unpack[HowToPersist]) -> tuple[Delayed[A], ...]: ...
@overload
def persist(*args: Any, **keywords: Unpack[HowToPersist]) -> tuple[Any, ...]: ...
def persist(
    *args: Any,
    executor: Any = None,
    traverse: bool = True,
    optimize_graph: Passes = True,
    scheduler: Any = None,
    **unknown: Any,
) -> tuple[Any, ...]:
    """Start everything lazy in `args` now, keep the values where they are computed; return the same with promises.

    `scheduler=` is dask's word for `executor=`.  Raises `UnknownOption` for a keyword that is none.
    """
    for name in unknown:
        raise UnknownOption("persist()", name, ("executor", "traverse", "optimize_graph", "scheduler"))
    lazies, repack = unpack(args, traverse)
    executor = resolve(executor if executor is not None else scheduler, waits=False)
    run = submit(lazies, executor, repack, optimize_graph, fail_fast=False)
    futures = run.let_go()
    pairs = zip(lazies, futures, strict=True)
    return repack([_kept(lazy, future) if isinstance(lazy, Delayed) else future for lazy, future in pairs])  # type: ignore[no-any-return]


def _kept(lazy: Delayed, future: Future[Any]) -> Delayed:
    """Return a promise of a value that is being made: called as the one it was, but other work than that."""
    kept = build(identity, (future,), {}, replace(lazy._options, key=None), lazy._site)
    kept._key = lazy.key
    return kept


def start_canvas(filled: Filled, noted: Noted) -> Any:
    """Start what a canvas was lowered to and keep the value of every step; return its Future or GroupResult."""
    if not isinstance(filled.value, list) and (filled.after or not isinstance(filled.value, Node)):
        filled = Filled(as_node(filled))
    asked = asked_of(filled, noted)
    run = submit(asked, resolve(None, waits=False), tuple, fail_fast=False)
    return wired(filled, noted, asked, run.detach())


def future_at(address: str, key: str) -> Future[Any]:
    """Return the future of a key, through the default client if it is one of this address, else through one of its own.

    That one finds its token as `Client(address)` does.  Raises `LostData` when the value is gone.
    """
    chosen: Any = resolve()
    if getattr(chosen, "address", None) != address or chosen.closed:
        chosen = resolve(address)
    found: Future[Any] = chosen.claimed(key)
    return found


def optimize(*args: Any, traverse: bool = True) -> tuple[Any, ...]:
    """Return everything lazy in `args` as promises of one merged graph: what is equal is one, nothing is computed.

    Chains are not fused (that is done when a plan is made), so what comes back can be built upon like any promise.
    """
    lazies, repack = unpack(args, traverse)
    graph = lower(lazies)
    for step in (cull, share, reorder):
        graph = step(graph)
    return repack(lift(graph))  # type: ignore[no-any-return]


class use:
    """`with lazygraph.use("sync"): ...` makes an executor (name, address or instance) the default of this context."""

    def __init__(self, executor: Any) -> None:
        self._executor = resolve(executor)

    def __enter__(self) -> Executor:
        enter(self._executor)
        chosen: Executor = self._executor
        return chosen

    def __exit__(self, *exc_info: object) -> None:
        leave(self._executor)


def named_run(name: str) -> Any:
    """Return what is known of the run of a name, or a new one."""
    # Needed only by those who name runs, and sqlite3 is not light.
    from lazygraph.executors.files.runs import NamedRun

    return NamedRun(name)


def default_store() -> Any:
    """Return the store of `cache=True`."""
    # Needed only by those who keep results, and sqlite3 is not light.
    from lazygraph.executors.files.store import default_store

    return default_store()


# -- looking at graphs -----------------------------------------------------------------------------


def graph_of(lazy: Any) -> Graph:
    """Return the graph of anything lazy, as written."""
    lazies, _ = unpack((lazy,), True)
    return lower(lazies)


def node_of(graph: Graph) -> Delayed:
    """Return the promise of a graph with one output."""
    return lift(graph)[0]


@overload
def explain(
    *args: Any,
    optimize_graph: Passes = ...,
    executor: Any = ...,
    analyze: Literal[False] = ...,
    run_name: str | None = ...,
) -> Profile: ...
@overload
def explain(
    *args: Any,
    optimize_graph: Passes = ...,
    executor: Any = ...,
    analyze: Literal[True],
    run_name: str | None = ...,
) -> Account: ...
def explain(
    *args: Any,
    optimize_graph: Passes = True,
    executor: Any = None,
    analyze: bool = False,
    run_name: str | None = None,
) -> Profile | Account:
    """Say what would run: nodes, width, critical path, what the optimizer did, what an executor will do.

    Nothing is run.  `executor=` (default: the default one) is asked what it will do about each option; how long it may
    take is estimated from observed runs on it in this process.  `analyze=True` runs it, drops what comes out and says
    how it went and what to change first, as `start(..., observe=True).explain()` does; it raises what `compute` does.
    `run_name=`: what of the run of that name is there already.
    """
    if analyze:
        how: Any = {"optimize_graph": optimize_graph, "executor": executor, "run_name": run_name}
        return analyzed(start(*args, **how, observe=True))
    lazies, _ = unpack(args, True)
    graph, kept = lower(lazies), None
    named = named_run(run_name) if run_name else None
    if named is not None or has_cached(graph):
        kept = Caching(graph, resumed=named)
        if named is not None:
            named.agree()
        graph = kept.graph()
    profile = foreseen(optimized(graph, optimize_graph, explained=True), resolve(executor))
    return profile if kept is None else replace(profile, cache=fates_of(kept.verdicts()))


def visualize(
    *args: Any, filename: str | None = None, optimize_graph: Passes = False, format: str | None = None
) -> Drawing:
    """Draw the graph of everything lazy in `args`; with a filename also write it (the suffix says the format).

    Returns an object that Jupyter shows as a picture.  SVG and dot need nothing; other formats need graphviz.
    """
    lazies, _ = unpack(args, True)
    graph = lower(lazies)
    graph = optimized(cached(graph) if optimize_graph else graph, optimize_graph)
    return draw(picture_of_graph(graph), filename, format)


def picture_of(lazy: Any) -> str:
    """Return the graph of something lazy as SVG text."""
    return to_svg(picture_of_graph(graph_of(lazy)))


# -- checking graphs, and graphs from outside ------------------------------------------------------

_IN_THIS_PROCESS = frozenset({"sync", "threads"})


def check(*args: Any, executor: Any = None) -> list[Finding]:
    """Return what is wrong with everything lazy in `args`, before anything runs; `[]` when nothing is.

    Graphs, networkx graphs and JSON texts are taken too, also such that are no graphs because of a cycle or a missing
    input.  `executor=` (a name, address or instance) adds what that one cannot do; without it, what could not be sent
    to another process is a warning.  Codes and their meanings: `lazygraph.showing.check.CODES`.
    """
    # Needed only by those who check, and not light.
    from lazygraph.planning.exchange import described
    from lazygraph.planning.reading import described_by
    from lazygraph.showing import check as checking

    target = None
    if executor is not None:
        chosen = resolve(executor)
        offers = getattr(chosen, "offers", None) or {}
        target = checking.Target(chosen.name, chosen.capabilities, chosen.name not in _IN_THIS_PROCESS, offers)
    findings: list[Finding] = []
    graphs: list[Graph] = []
    lazy: list[Any] = []
    for arg in args:
        if isinstance(arg, Graph):
            graphs.append(arg)
        elif isinstance(arg, str) or hasattr(type(arg), "is_directed"):
            graph, faults = described_by(arg) if isinstance(arg, str) else described(arg)
            findings.extend(map(checking.found_in, faults))
            graphs.extend([graph] if graph is not None else ())
        else:
            lazy.append(arg)
    if lazy:
        graphs.append(lower(unpack(lazy, True)[0]))
    for graph in graphs:
        findings.extend(checking.check(graph, target))
    return sorted(findings, key=lambda finding: finding.code)


def to_networkx(graph: Graph) -> Any:
    """Return a `networkx.DiGraph` that says what a graph says (planning.exchange)."""
    from lazygraph.planning.exchange import to_networkx

    return to_networkx(graph)


def from_networkx(nx_graph: Any, site: Any) -> Graph:
    """Return the graph that a networkx graph describes; `site` is where that was asked for."""
    from lazygraph.planning.exchange import from_networkx

    return from_networkx(nx_graph, site)


def to_json(thing: Graph | Canvas) -> str:
    """Return the text of a graph or canvas (planning.writing)."""
    from lazygraph.planning.writing import to_json

    return to_json(thing)


def from_json(text: str) -> Any:
    """Return the canvas or `Graph` of a text that `to_json` wrote.

    Imports the modules that the text names, and runs nothing else: open only texts that you trust.  Raises
    `InvalidOption` saying what is wrong and where, `CyclicGraph` naming a cycle, `WrongCall` for a call that its
    function cannot take.
    """
    from lazygraph.planning.reading import from_json

    return from_json(text)


def graph_from_json(text: str) -> Graph:
    """Return the `Graph` of a text."""
    from lazygraph.planning.reading import graph_from_json

    return graph_from_json(text)


def draw_graph(graph: Graph, filename: str | None = None, format: str | None = None) -> Drawing:
    """Draw a graph as it is."""
    return draw(picture_of_graph(graph), filename, format)


def profile_of(graph: Graph) -> Profile:
    """Say what would run of a graph as it is."""
    return profile_of_graph(graph)


# -- dask's graphs and collections -----------------------------------------------------------------


def adopted(collections: Sequence[Any]) -> list[Any]:
    """Return promises that stand for dask's collections (planning.from_dask)."""
    from lazygraph.planning.from_dask import adopted

    return adopted(collections)


def promise_in(graph: Any, key: Any) -> Delayed:
    """Return a promise of what a graph of dask's has under a key."""
    from lazygraph.planning.from_dask import as_promise, promises_of, written

    return as_promise(promises_of(written(graph), [key])[key])


def dask_graph_of(promise: Node) -> dict[Any, Any]:
    """Return the graph of a promise as dask writes graphs (planning.to_dask)."""
    from lazygraph.planning.to_dask import dask_graph_of

    return dask_graph_of(promise)
