"""The oracle: how may each claimed output of a life end?  Rules, and what they give for one life.

Where nothing may go wrong an output ends with the value of a direct evaluation, inputs first, one call after another.
What may go wrong instead:

1. Own failure.  A task that raises ends as "raised" with its own exception, one that has become a plan with that of a
   task in it.
2. Lumps.  A value that cannot be pickled ends as "unsendable" for whoever needs it elsewhere: a client always, a reader
   perhaps (it may run where the value is), then as "raised" with `Unserializable`.
3. Loss.  A value that was sent ahead may be "lost" when a worker has died; computed values are computed again.
4. Poison.  When more than MAX_DEATHS workers have died, a task may have been running on all of them: "died".
5. Cancelling.  An output that its client cancelled, alone or with its run, may be "cancelled".
6. Inheritance.  What may happen to an input may happen to its readers, in this run and in those bound to it.
7. Failing fast.  In such a run, what may happen to one output may happen to all, and they may be "cancelled".
8. Options.  A task that expires may be "expired"; one that fails at first may end so, unless it is tried often enough;
   one that is begun at most once has "died" with any worker.  In a scope that fails as one, what may happen to one task
   may happen to all.  A run with a limit whose name means something else elsewhere may be "refused".
9. Going on.  What goes on without values does not inherit (6): its `Tally` says what has happened instead.

An exception that must come (1, and below it 6) leaves no room for a value.  Drops, scopes and other clients change
nothing.  (Which handlers are told of what: simulation.handlers.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lazygraph.running.frontier import MAX_DEATHS
from lazygraph.testing.simulation.asking import expires, gets_there, refusable
from lazygraph.testing.simulation.lives import Ref, inside, under
from lazygraph.testing.simulation.tasks import (
    ASKS,
    COLLECT,
    DIED,
    EXPIRED,
    NOTHING,
    SHAKY,
    SKIP,
    UNSENDABLE,
    Lump,
    Reason,
    Tally,
    may_raise,
    reason,
    value_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lazygraph.testing.simulation.hands import Ending
    from lazygraph.testing.simulation.lives import Life, RunSpec, Task


def values_of(life: Life, deaths: int = 0) -> dict[Ref, Any]:
    """Return what every task of a life gives, called directly; where it is a matter of luck, with luck."""
    values: dict[Ref, Any] = {}
    for run, spec in enumerate(life.runs):
        for at, task in enumerate(spec.tasks):
            inputs = [values[ref] for ref in task.inputs]
            held = task.kind == "held"
            # Losing an attempt is luck: it is one less that fails.
            fails = not deaths and not gets_there(task.kind, task.number, task.row)
            if held:
                values[Ref(run, at)] = task.number
            else:
                values[Ref(run, at)] = NOTHING if fails else value_of(task.kind, task.number, inputs)
    return values


class Oracle:
    """What may happen to the outputs of a life in which so many workers died."""

    def __init__(self, life: Life, deaths: int) -> None:
        self.life, self.deaths = life, deaths
        self.values = values_of(life, deaths)
        self.of_tasks: dict[tuple[int, Ref], frozenset[Any]] = {}  # (run, what a task of it reads) -> the same
        self.may: dict[tuple[int, Ref], frozenset[Any]] = {}  # (run, output of it) -> kinds, and numbers that may raise
        self._cancelled = {(act.first, act.second) for act in life.acts if act.what in ("cancel", "force")}
        rows = [task.row for spec in life.runs for task in spec.tasks]
        self.refused = {run for run, spec in enumerate(life.runs) if refusable([t.row for t in spec.tasks], rows)}
        for run, spec in enumerate(life.runs):
            self._run(run, spec)

    def _run(self, run: int, spec: RunSpec) -> None:
        """Apply the rules to one run; those it is bound to come before it."""
        may: dict[Ref, frozenset[Any]] = {}
        bound = [
            ref for refs in (spec.outputs, *(task.inputs for task in spec.tasks)) for ref in refs if ref.run != run
        ]
        if any("refused" in self.elsewhere(ref) for ref in bound):
            self.refused.add(run)  # with what it reads from

        cancelled = {spec.outputs[output] for r, output in self._cancelled if r == run and output >= 0}

        def of(refs: Sequence[Ref]) -> frozenset[Any]:
            above = [may[ref] if ref.run == run else self.elsewhere(ref) for ref in refs]
            return frozenset().union(*above, ["cancelled"] if cancelled.intersection(refs) else ())

        def tasks(shared: Mapping[int, frozenset[Any]]) -> None:
            for at, task in enumerate(spec.tasks):
                above = of(task.inputs) if task.kind not in (COLLECT, SKIP) else frozenset()
                may[Ref(run, at)] = above | self.own(task) | shared.get(at, frozenset())

        tasks({})
        tasks(_together(run, spec, may))
        for task in spec.tasks:
            self.of_tasks.update(((run, ref), of([ref])) for ref in task.inputs)
        every = {ref: of([ref]) for ref in spec.outputs}
        shared: frozenset[Any] = frozenset()
        if spec.fail_fast:
            shared = frozenset().union(*every.values())
            shared |= {"cancelled"} if shared else set()
        if (run, -1) in self._cancelled:
            shared |= {"cancelled"}
        if run in self.refused:
            shared |= {"refused"}
        for ref, own_may in every.items():
            self.may[run, ref] = own_may | shared

    def own(self, task: Task) -> frozenset[Any]:
        """Return what may happen to a task of itself."""
        own = set(may_raise(task.kind, task.number))
        if task.kind in (SHAKY, ASKS) and gets_there(task.kind, task.number, task.row):
            if not expires(task.row):  # what is late is not tried again
                own.clear()
        if expires(task.row):
            own.add(EXPIRED)
        if task.row.at_most_once and self.deaths:
            own.add(DIED)
        if any(isinstance(self.values[read], Lump) for read in task.inputs):
            own.add(UNSENDABLE)
        if task.kind == "held" and self.deaths:
            own.add("lost")
        if task.kind != "held" and self.deaths > MAX_DEATHS:
            own.add(DIED)
        return frozenset(own)

    def elsewhere(self, ref: Ref) -> frozenset[Any]:
        """Return what may happen to an output of an earlier run."""
        # Bound by a future of the run that computes it, or of one that passes it on: what may happen to any of them.
        return frozenset().union(*(may for (_, other), may in self.may.items() if other == ref))

    def wrong(self, run: int, ref: Ref, ending: Ending) -> str:
        """Return why an ending is not allowed, or an empty text."""
        may, value = self.may[run, ref], self.values[ref]
        if ending.kind == "value":
            if value is NOTHING:
                return "it has a value, and must not"
            if isinstance(value, Tally):
                return self._tally_wrong(ref, ending.thing)
            return "" if ending.thing == value else f"its value is {ending.thing!r} and not {value!r}"
        if ending.kind == "raised":
            return "" if reason(ending.thing) in may else f"it raised {ending.thing!r}, and only {set(may)} may be"
        if ending.kind == "gone":
            known = "forgotten" not in ending.thing or "refused" in may
            return "" if may and known else f"it is gone ({ending.thing})"
        return "" if ending.kind in may else f"it is {ending.kind}, and only {set(may)} may be"

    def _tally_wrong(self, ref: Ref, seen: Any) -> str:
        """Return why what was made of a group is not allowed: a member is as it must be, or its failure may be."""
        task = self.life.runs[ref.run].tasks[ref.at]
        whole = value_of(task.kind, task.number, [self.values[read] for read in task.inputs]).members
        may = [self.of_tasks[ref.run, read] | self._whole(ref.run) for read in task.inputs]
        there = seen.members if isinstance(seen, Tally) else ()
        told = {0}  # how many of them the members so far may stand for: equal ones may be one or the other
        for value, why in zip(whole, may, strict=True):
            after = {at for at in told if task.kind == SKIP and why}
            for at in told & set(range(len(there))):
                one = there[at]
                if (value is not NOTHING and one == value) or (isinstance(one, Reason) and one.why in why):
                    after.add(at + 1)
            told = after
        return "" if len(there) in told else f"of members {whole}, which may be {may}, it is {seen!r}"

    def _whole(self, run: int) -> frozenset[Any]:
        """Return what may happen to any task of a run because of all."""
        return frozenset({"cancelled"} if (run, -1) in self._cancelled else ())


def _together(run: int, spec: RunSpec, may: Mapping[Ref, frozenset[Any]]) -> dict[int, frozenset[Any]]:
    """Return what may happen to tasks because they stand in scopes that fail as one."""
    found: dict[int, frozenset[Any]] = {}
    for row, scope in enumerate(spec.scopes, 1):
        if scope.fail_fast:
            within = inside(spec, under(spec, row))
            shared = frozenset().union(*(may[Ref(run, at)] for at in within))
            for at in within if shared else ():
                found[at] = found.get(at, frozenset()) | shared | {"cancelled"}
    return found
