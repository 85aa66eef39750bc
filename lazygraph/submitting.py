"""On the way from what a person passes to a run: collections are taken apart, a plan is made, an executor has it.

Covers: what is lazy in arguments and where its value goes, plans of promises, of graphs and of plans, values that
another executor holds.
Does not cover: what users call (door), how plans are made (planning).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lazygraph.errors import InvalidOption
from lazygraph.executors.explaining import submit_observed
from lazygraph.language.canvas import Canvas
from lazygraph.language.promise import Delayed, is_lazy, with_adopted
from lazygraph.planning.lower import lift
from lazygraph.planning.plan import Plan, plan_of, plan_of_graph
from lazygraph.running.futures import Future
from lazygraph.running.run import SKIPPED, Run
from lazygraph.values.graph import Graph
from lazygraph.values.node import Caught, External, Node, Quoted, Recipe
from lazygraph.values.outcome import Failure
from lazygraph.values.template import put_together, put_together_without, take_apart

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lazygraph.executors.base import Executor
    from lazygraph.executors.files.runs import NamedRun
    from lazygraph.planning.passes import Passes

    Lazies = Sequence[Node | External] | Graph | Plan


def submit(
    lazies: Lazies,
    executor: Executor,
    repack: Callable[[list[Any]], Any],
    optimize_graph: Passes = True,
    fail_fast: bool = True,
    name: str = "",
    skips: bool = False,
    observe: bool = False,
    resumed: NamedRun | None = None,
) -> Run:
    """Have an executor begin what is lazy; `repack` makes the run's result of the values.

    `resumed`: what is there of it is not made again; when it has ended whole, it is forgotten.
    """
    if resumed is not None and isinstance(lazies, Plan):
        raise InvalidOption(
            f"run_name={name!r}: values are kept by their place in a graph, and a plan has been optimized already; "
            f"compute its graph"
        )
    plan = _plan_for(executor, lazies, optimize_graph, fail_fast, name, skips, resumed)
    if resumed is not None:
        resumed.begin()
        repack = _and_forget(repack, resumed)
    run = submit_observed(executor, plan) if observe else executor.submit(plan)
    run.repack = repack
    return run


def _plan_for(
    executor: Executor,
    lazies: Lazies,
    optimize_graph: Passes,
    fail_fast: bool,
    name: str,
    skips: bool,
    resumed: NamedRun | None,
) -> Plan:
    if isinstance(lazies, Graph | Plan):
        made = plan_of_graph(lazies, optimize_graph, resumed) if isinstance(lazies, Graph) else lazies
        plan = replace(made, fail_fast=fail_fast, name=name, skips=skips)
    else:
        how: Any = {"optimize_graph": optimize_graph, "fail_fast": fail_fast, "name": name, "skips": skips}
        plan = plan_of(lazies, **how, resumed=resumed)
    foreign = {e: None for e in plan.externals if not isinstance(e, Caught) and not executor.owns(e)}
    if not foreign:
        return plan
    if isinstance(lazies, Plan):
        said = "a plan reads futures of another executor; run it there, or compute its graph, which fetches them"
        raise InvalidOption(f"{said}: {next(iter(foreign))!r}")
    # Held by another executor: fetched once, and in as constants.
    held: Mapping[External, Any] = {external: _value_of(external) for external in foreign}
    nodes = lift(lazies) if isinstance(lazies, Graph) else lazies
    how = {"optimize_graph": optimize_graph, "fail_fast": fail_fast, "name": name, "skips": skips}
    return plan_of(nodes, held=held, **how, resumed=resumed)


def _and_forget(repack: Callable[[list[Any]], Any], resumed: NamedRun) -> Callable[[list[Any]], Any]:
    """Return the same, and when nothing is missing the run is over: the next of its name begins anew."""

    def whole(values: list[Any]) -> Any:
        if any(value is SKIPPED or isinstance(value, Failure) for value in values):
            resumed.release()
        else:
            resumed.forget()
        return repack(values)

    return whole


def _value_of(external: External) -> Any:
    assert isinstance(external, Future)
    return external.result()


def unpack(args: Sequence[Any], traverse: bool) -> tuple[list[Node | External], Callable[[list[Any]], Any]]:
    """Return the lazy things in `args`, and what puts their values where they were."""
    if args and all(type(arg) is Delayed for arg in args):
        return list(args), without_skipped
    for arg in args:
        if isinstance(arg, Graph | Plan):
            said = "compute() and start() take a graph or plan alone, all else is asked of it: graph.explain(), ..."
            raise InvalidOption(f"{arg!r} is no promise: {said}")
    args = [list(arg) if isinstance(arg, Iterator) else arg for arg in args]  # what is read once would be used up
    if traverse:
        leaves, ops = take_apart(args, is_lazy)
        if any(isinstance(leaf, Recipe) for leaf in leaves):
            # A delayed function is a promise of the function, too.
            recipes = [isinstance(leaf, Recipe) and not isinstance(leaf, Node) for leaf in leaves]
            lowered = [leaf.to_nodes() if one else leaf for leaf, one in zip(leaves, recipes, strict=True)]
            leaves, ops = take_apart(put_together(ops, lowered), is_lazy)
    else:
        flat = [arg.to_delayed() if isinstance(arg, Canvas) else arg for arg in args]
        leaves, ops = flat, []
    leaves = list(with_adopted(leaves))
    places = [at for at, leaf in enumerate(leaves) if is_lazy(leaf) and not isinstance(leaf, Quoted)]
    leaves = [leaf.value if isinstance(leaf, Quoted) else leaf for leaf in leaves]
    lazies: list[Any] = [leaves[at] for at in places]

    def repack(values: list[Any]) -> Any:
        whole = list(leaves)
        for at, value in zip(places, values, strict=True):
            whole[at] = value
        if any(value is SKIPPED for value in values):
            return tuple(
                put_together_without(ops, whole, SKIPPED) if traverse else [one for one in whole if one is not SKIPPED]
            )
        return tuple(put_together(ops, whole) if traverse else whole)

    return lazies, repack


def without_skipped(values: list[Any]) -> tuple[Any, ...]:
    return tuple([value for value in values if value is not SKIPPED])
