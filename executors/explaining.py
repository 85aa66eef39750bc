"""What is known of an executor, for those who explain: what it does about options, its slots, how long tasks took.

Covers: EXPLAIN of a graph on an executor, the account of a run.
Does not cover: the figures (showing).
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lazygraph.executors.base import IN_A_CHILD, OF_EVERY_MIND, unsupported
from lazygraph.planning.plan import Need, Plan
from lazygraph.running.observing import functions_of
from lazygraph.showing.account import Account
from lazygraph.showing.advice import advice_on
from lazygraph.showing.analysis import course_of
from lazygraph.showing.estimating import samples_on
from lazygraph.showing.graphs import Willing, estimate_of, held_back, profile_of, uses_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lazygraph.executors.base import Executor
    from lazygraph.running.observing import Sights
    from lazygraph.running.run import Run
    from lazygraph.showing.advice import Advice
    from lazygraph.showing.analysis import Course
    from lazygraph.showing.estimating import Estimate
    from lazygraph.showing.explain import Profile
    from lazygraph.values.graph import Graph


def foreseen(graph: Graph, executor: Executor) -> Profile:
    """Return what would run of a graph, and what an executor would do about it.  Nothing is run."""

    def refusal(option: str, node: str, origin: str) -> str:
        return f"refused: {unsupported(executor.name, Need(option, node, origin))}"

    willing = Willing(executor.name, executor.capabilities, OF_EVERY_MIND, IN_A_CHILD, refusal)
    home = home_of(executor)
    return replace(
        profile_of(graph),
        executor=executor.name,
        options=uses_of(graph, willing),
        estimate=estimate_of(
            graph.shape, functions_of(graph.tables), samples_on(home), home, slots_of(executor) or os.cpu_count() or 1
        ),
    )


def home_of(executor: Executor) -> str:
    """Return by what name durations on an executor are kept: tasks take as long on all threads of this machine."""
    return str(getattr(executor, "address", "") or executor.name)


def slots_of(executor: Executor) -> int | None:
    """Return how many tasks an executor runs at once; None when it does not say."""
    return executor.n_slots


def submit_observed(executor: Executor, plan: Plan) -> Run:
    """Submit a plan whose tasks are to be seen; keep what is known before, to be compared with."""
    slots, known = slots_of(executor), samples_on(home_of(executor)).copy()
    run = executor.submit(replace(plan, observed=True))
    if run.seen is not None:
        run.seen.slots, run.seen.known = slots, known
    return run


def analyzed(run: Run) -> Account:
    """Wait for a run that is observed, let go of what came out, and return how it went.  Raises what it raises."""
    try:
        run.result()
        return account_of(run)
    finally:
        run.release()


def account_of(run: Run) -> Account:
    """Return how a run went, or how it goes and what it waits for."""
    owner: Any = run.owner  # an executor
    ended = run.done()
    waiting = () if ended else tuple(run.waits())
    done, tasks = run.progress()
    stats, seen = run.stats(), run.seen
    course: Course | None = None
    expected: Estimate | None = None
    advice: Sequence[Advice] = ()
    if seen is not None:
        shape = run.plan.shape
        course = course_of(shape, seen, stats["elapsed"], seen.slots)
        if seen.known is not None:
            expected = estimate_of(shape, seen.functions, seen.known, home_of(owner), course.slots.count)
        if ended:
            _learn(run, seen, course, owner)
            advice = advice_on(course, held_back(shape))
    return Account(
        run.id,
        owner.name,
        done,
        tasks,
        stats["elapsed"],
        ended,
        course,
        tuple(advice),
        waiting,
        expected,
        stats["bytes_kept"],
        stats["bytes_moved"],
    )


def _learn(run: Run, seen: Sights, course: Course, owner: Executor) -> None:
    """Keep how long functions took, once a run."""
    if not seen.noted:
        seen.noted = True
        rows = run.plan.shape.function
        own = [one for one in course.attempts if not one.part and not one.failed]
        samples_on(home_of(owner)).add((seen.functions[rows[one.task]], one.running) for one in own)
