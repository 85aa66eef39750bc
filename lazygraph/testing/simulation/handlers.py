"""Which handlers of a life are told of a failure, and of which.

A handler may be told, once, of what may happen to a task in its scope; more often only when workers have died, since
what is lost is done again.  It must be told when nothing can have come in between: a task in its scope fails for
certain, and nobody cancels or lets go of anything.

Covers: what each handler may and must hear.
Does not cover: how outputs end (simulation.oracle).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from lazygraph.running.frontier import MAX_DEATHS
from lazygraph.testing.simulation.lives import Ref, inside, under
from lazygraph.testing.simulation.tasks import DIED, EXPIRED, NOTHING, UNSENDABLE, grown, handlers_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lazygraph.testing.simulation.lives import RunSpec, Task
    from lazygraph.testing.simulation.oracle import Oracle
    from lazygraph.testing.simulation.tasks import Answered


class Handlers:
    """What the handlers of a life may hear and must hear; `submitted` are the runs that came to be."""

    def __init__(self, oracle: Oracle, submitted: Iterable[int]) -> None:
        self.oracle = oracle
        self.may: dict[int, frozenset[Any]] = {}  # handler -> what it may be told of
        self.must: set[int] = set()
        for run in submitted:
            self._may(oracle.life.runs[run])
            self._must(run, oracle.life.runs[run])

    def _may(self, spec: RunSpec) -> None:
        died = frozenset({DIED} if self.oracle.deaths > MAX_DEATHS else ())
        for row, scope in enumerate(spec.scopes, 1):
            tasks = [spec.tasks[at] for at in inside(spec, under(spec, row))]
            tasks += [task for other in spec.scopes for task in other.handlers if task.scope in under(spec, row)]
            may: frozenset[Any] = frozenset().union(*map(self.oracle.own, tasks))
            self.may.update((handler.number, may) for handler in scope.handlers)
        for task in spec.tasks:
            self.may.update((handler, may | died) for handler, may in handlers_in(task.kind, task.number).items())

    def _must(self, run: int, spec: RunSpec) -> None:
        life = self.oracle.life
        touched = any(act.what in ("cancel", "force", "drop") and act.first == run for act in life.acts)
        left = any(act.what == "leave" and act.first == spec.client for act in life.acts)
        refused = run in self.oracle.refused
        if (
            touched
            or left
            or refused
            or any(scope.fail_fast for scope in spec.scopes)
            or self.oracle.deaths > MAX_DEATHS
        ):
            return
        wanted, sure = wanted_of(run, spec), self._sure(run, spec)
        certain = {at for at in wanted if sure[at] and self._fails(run, spec, at)}
        unsure = {at for at in wanted if not sure[at] or self.oracle.own(spec.tasks[at])}
        read = [ref for at in wanted for ref in spec.tasks[at].inputs]
        if any(self.oracle.elsewhere(ref) for ref in (*spec.outputs, *read) if ref.run != run):
            return  # what only something cancelled wanted is not wanted any more
        known = {row for row in range(1, len(spec.scopes) + 1) if borne(spec, row, wanted)}
        for row, scope in enumerate(spec.scopes, 1):
            within = inside(spec, under(spec, row) & known)
            first = not spec.fail_fast or unsure <= within  # whatever fails first is in it
            if row in known and first and certain & within:
                self.must.update(handler.number for handler in scope.handlers if self._can_run(spec, handler, sure))
        for at in certain:
            task = spec.tasks[at]
            first = not spec.fail_fast or unsure == {at}
            becomes = task.kind == "grow" and not {UNSENDABLE, EXPIRED, DIED} & self.oracle.own(task)
            if becomes and first:
                self.must.update(handler for handler in [grown(task.number).handler] if handler is not None)

    def _can_run(self, spec: RunSpec, handler: Task, sure: Sequence[bool]) -> bool:
        own = handler.kind == "answer" and not self.oracle.own(handler)
        return own and all(sure[ref.at] and not self.oracle.own(spec.tasks[ref.at]) for ref in handler.inputs)

    def _sure(self, run: int, spec: RunSpec) -> list[bool]:
        """Whether each task is certain to be run: all above it end well, and are of this run."""
        sure: list[bool] = []
        for task in spec.tasks:
            above = [ref.run == run and sure[ref.at] and not self.oracle.own(spec.tasks[ref.at]) for ref in task.inputs]
            sure.append(all(above))
        return sure

    def _fails(self, run: int, spec: RunSpec, at: int) -> bool:
        values = self.oracle.values
        above = [values[ref] for ref in spec.tasks[at].inputs]
        return values[Ref(run, at)] is NOTHING and all(value is not NOTHING for value in above)

    def wrong(self, answers: Sequence[Answered]) -> str:
        """Return what is wrong with what handlers have been told, or an empty text."""
        for number, failure in answers:
            if failure not in self.may.get(number, ()):
                return f"handler {number} was told of {failure!r}, and only {set(self.may.get(number, ()))} may be"
        often = {number for number, count in Counter(number for number, _ in answers).items() if count > 1}
        if often and not self.oracle.deaths:
            return f"handlers {often} were told more than once"
        silent = self.must - {number for number, _ in answers}
        return f"handlers {silent} were not told" if silent else ""


def borne(spec: RunSpec, row: int, tasks: Iterable[int]) -> bool:
    """Whether one of the tasks was made in a scope, or in one in it: a plan knows of no others."""
    return any(spec.tasks[at].scope in under(spec, row) for at in tasks)


def wanted_of(run: int, spec: RunSpec) -> set[int]:
    """Return the tasks that some output needs."""
    wanted = {ref.at for ref in spec.outputs if ref.run == run}
    for at in reversed(range(len(spec.tasks))):
        if at in wanted:
            wanted.update(ref.at for ref in spec.tasks[at].inputs if ref.run == run)
    return wanted
