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

An exception that must come (1, and below it 6) leaves no room for a value.  Drops, scopes and other clients change
nothing.  (Which handlers are told of what: simulation.handlers.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lazygraph.running.frontier import MAX_DEATHS
from lazygraph.testing.simulation.lives import Ref
from lazygraph.testing.simulation.tasks import DIED, NOTHING, UNSENDABLE, Lump, may_raise, reason, value_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lazygraph.testing.simulation.hands import Ending
    from lazygraph.testing.simulation.lives import Life, RunSpec, Task


def values_of(life: Life) -> dict[Ref, Any]:
    """Return what every task of a life gives, called directly."""
    values: dict[Ref, Any] = {}
    for run, spec in enumerate(life.runs):
        for at, task in enumerate(spec.tasks):
            inputs = [values[ref] for ref in task.inputs]
            held = task.kind == "held"
            values[Ref(run, at)] = task.number if held else value_of(task.kind, task.number, inputs)
    return values


class Oracle:
    """What may happen to the outputs of a life in which so many workers died."""

    def __init__(self, life: Life, deaths: int) -> None:
        self.life, self.deaths = life, deaths
        self.values = values_of(life)
        self.may: dict[tuple[int, Ref], frozenset[Any]] = {}  # (run, output of it) -> kinds, and numbers that may raise
        self._cancelled = {(act.first, act.second) for act in life.acts if act.what == "cancel"}
        for run, spec in enumerate(life.runs):
            self._run(run, spec)

    def _run(self, run: int, spec: RunSpec) -> None:
        """Apply the rules to one run; those it is bound to come before it."""
        may: dict[Ref, frozenset[Any]] = {}

        cancelled = {spec.outputs[output] for r, output in self._cancelled if r == run and output >= 0}

        def of(refs: Sequence[Ref]) -> frozenset[Any]:
            above = [may[ref] if ref.run == run else self.elsewhere(ref) for ref in refs]
            return frozenset().union(*above, ["cancelled"] if cancelled.intersection(refs) else ())

        for at, task in enumerate(spec.tasks):
            may[Ref(run, at)] = of(task.inputs) | self.own(task)
        every = {ref: of([ref]) for ref in spec.outputs}
        shared: frozenset[Any] = frozenset()
        if spec.fail_fast:
            shared = frozenset().union(*every.values())
            shared |= {"cancelled"} if shared else set()
        if (run, -1) in self._cancelled:
            shared |= {"cancelled"}
        for ref, own_may in every.items():
            self.may[run, ref] = own_may | shared

    def own(self, task: Task) -> frozenset[Any]:
        """Return what may happen to a task of itself."""
        own = set(may_raise(task.kind, task.number))
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
            return "" if ending.thing == value else f"its value is {ending.thing!r} and not {value!r}"
        if ending.kind == "raised":
            return "" if reason(ending.thing) in may else f"it raised {ending.thing!r}, and only {set(may)} may be"
        if ending.kind == "gone":
            return "" if may and "forgotten" not in ending.thing else f"it is gone ({ending.thing})"
        return "" if ending.kind in may else f"it is {ending.kind}, and only {set(may)} may be"
