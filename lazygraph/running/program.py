"""A plan made ready to be called: what a runner needs of a shape and its tables.

Covers: gathering a task's arguments and calling it, fused tasks, which member of a fused task failed.
Does not cover: which task is next (running.frontier), catching exceptions (running.runner).
"""

from __future__ import annotations

from array import array
from operator import length_hint
from threading import current_thread
from typing import TYPE_CHECKING, Any, Protocol

from lazygraph.language.promise import Delayed
from lazygraph.running.attempt import Attempt, Request, bound_to
from lazygraph.running.mutation import unwatched
from lazygraph.values.graph import DEEP, PREVIOUS, Fused
from lazygraph.values.node import Quoted, Replacement
from lazygraph.values.options import DEFAULT, RetryPolicy
from lazygraph.values.template import call

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lazygraph.running.attempt import Told
    from lazygraph.values.graph import Shape, Step, Tables
    from lazygraph.values.options import TaskOptions

Classes = tuple[type[BaseException], ...]

_STEPS = PREVIOUS + DEEP
"""Arguments below this are values of steps of the same fused task."""

_PAIR = array("i", [PREVIOUS + 1, PREVIOUS])
"""The last two of them."""


class Caller(Protocol):
    """What calls a task with its inputs' values, behind its attempt if it takes that."""

    def __call__(self, task: int, values: Any, attempt: Attempt | None = None, /) -> Any: ...


class FusedStepError(Exception):
    """Carries, as its cause, what a member of a fused task raised; says which member.  Never seen by users."""

    def __init__(self, step: int) -> None:
        super().__init__(step)
        self.step = step


class Program:
    """Call tasks by number.  `values` is anything indexed by entry: a list, or the dict of a worker's block.

    Whoever makes it says whose it is: `label` is the part of keys that no other run has, `run_id` what the user calls
    the run, `worker` who runs it (where that is empty, the thread that does).  `bound` are the option rows of tasks
    that take their attempt first, `policies` the exceptions that rows try again, and the exceptions to that.
    """

    __slots__ = (
        "bound",
        "label",
        "packed",
        "policies",
        "run_id",
        "shape",
        "tables",
        "worker",
    )

    def __init__(self, shape: Shape, tables: Tables) -> None:
        self.shape, self.tables = shape, tables
        self.packed: bytes | None = None  # the plan as it travels, for engines in other processes
        self.label = self.run_id = self.worker = ""
        self.bound = frozenset(row for row, options in enumerate(shape.options) if options.bind)
        self.policies: dict[int, tuple[Classes, Classes]] = {
            row: _classes(options) for row, options in enumerate(shape.options) if options.retries
        }

    def run(self, task: int, values: Any, attempt: Attempt | None = None) -> Any:
        """Call a task with its inputs' values, behind `attempt` if given; raises what the user's function raises."""
        return self.caller()(task, values, attempt)

    def caller(self) -> Caller:
        """Return what calls tasks as `run` does.  For whoever calls many: what it needs is looked up once."""
        shape, tables = self.shape, self.tables
        function, template = shape.function, shape.template
        bounds, arguments = shape.argument_offsets, shape.arguments
        starts, inputs = shape.input_offsets, shape.inputs
        functions, constants, templates = tables.functions, tables.constants, tables.templates
        run_steps, run_reduction = self._run_steps, self._run_reduction

        def call_task(task: int, values: Any, attempt: Attempt | None = None) -> Any:
            called: Any = functions[function[task]]
            first, end = bounds[task], bounds[task + 1]
            form, fused = template[task], type(called) is Fused
            if attempt is not None:
                called = bound_to(called, attempt)
            elif not form and not fused:  # nearly all: one or two arguments need no list
                if end - first == 1:
                    n = arguments[first]
                    return called(values[inputs[starts[task] + n]] if n >= 0 else constants[~n])
                if end - first == 2:
                    start = starts[task]
                    n, m = arguments[first], arguments[first + 1]
                    return called(
                        values[inputs[start + n]] if n >= 0 else constants[~n],
                        values[inputs[start + m]] if m >= 0 else constants[~m],
                    )
            elif fused:
                run_all = run_reduction if called.reduces else run_steps
                return run_all(called, arguments[first:end], starts[task], values)
            start = starts[task]
            leaves = [values[inputs[start + n]] if n >= 0 else constants[~n] for n in arguments[first:end]]
            if not form:
                return called(*leaves)
            return call(called, templates[form], leaves)  # type: ignore[arg-type]

        return call_task

    def _run_steps(self, fused: Fused, numbers: Sequence[int], first: int, values: Any) -> Any:
        inputs, tables = self.shape.inputs, self.tables
        constants, functions, templates = tables.constants, tables.functions, tables.templates
        value: Any = None
        at = 0
        steps = iter(fused.steps)
        try:
            for row, template, count, _ in steps:
                function: Any = functions[row]
                if count == 1 and not template:
                    n = numbers[at]
                    at += 1
                    value = function(value if n == PREVIOUS else constants[~n] if n < 0 else values[inputs[first + n]])
                elif count == 2 and not template:
                    n, m = numbers[at], numbers[at + 1]
                    at += 2
                    value = function(
                        value if n == PREVIOUS else constants[~n] if n < 0 else values[inputs[first + n]],
                        value if m == PREVIOUS else constants[~m] if m < 0 else values[inputs[first + m]],
                    )
                else:
                    leaves = [
                        values[inputs[first + n]] if n >= 0 else value if n == PREVIOUS else constants[~n]
                        for n in numbers[at : at + count]
                    ]
                    at += count
                    value = call(function, templates[template], leaves) if template else function(*leaves)  # type: ignore[arg-type]
                if type(value) is Replacement:
                    rest = fused.steps[len(fused.steps) - length_hint(steps) :]
                    return self._continued(rest, numbers[at:], [value.lazy], first, values)
        except BaseException as error:
            raise FusedStepError(max(0, len(fused.steps) - length_hint(steps) - 1)) from error
        return value

    def _run_reduction(self, fused: Fused, numbers: Sequence[int], first: int, values: Any) -> Any:
        inputs, tables = self.shape.inputs, self.tables
        constants, functions, templates = tables.constants, tables.functions, tables.templates
        made: list[Any] = []  # what no step has taken yet
        at = 0
        steps = iter(fused.steps)
        try:
            for row, template, count, _ in steps:
                function: Any = functions[row]
                said = numbers[at : at + count]
                at += count
                if count == 2 and not template and said == _PAIR:
                    second = made.pop()
                    value = function(made.pop(), second)
                else:
                    leaves = [
                        values[inputs[first + n]] if n >= 0 else made[PREVIOUS - n - 1] if n < _STEPS else constants[~n]
                        for n in said
                    ]
                    if min(said, default=0) < _STEPS:
                        del made[-_taken(said) :]
                    value = call(function, templates[template], leaves) if template else function(*leaves)  # type: ignore[arg-type]
                if type(value) is Replacement:
                    rest = fused.steps[len(fused.steps) - length_hint(steps) :]
                    return self._continued(rest, numbers[at:], [*map(Quoted, made), value.lazy], first, values)
                made.append(value)
        except BaseException as error:
            raise FusedStepError(max(0, len(fused.steps) - length_hint(steps) - 1)) from error
        return made.pop()

    def _continued(
        self, steps: Sequence[Step], numbers: Sequence[int], made: list[Any], first: int, values: Any
    ) -> Replacement:
        """A member of a fused task is to be replaced: what comes after it goes on with what it becomes."""
        shape, tables, at = self.shape, self.tables, 0
        for row, template, count, origin in steps:
            said = numbers[at : at + count]
            at += count
            leaves = tuple(
                Quoted(values[shape.inputs[first + n]])
                if n >= 0
                else (made[PREVIOUS - n - 1] if n < _STEPS else Quoted(tables.constants[~n]))
                for n in said
            )
            if taken := _taken(said):
                del made[-taken:]
            function = unwatched(tables.functions[row])
            made.append(Delayed(function, leaves, tables.templates[template], DEFAULT, shape.origins[origin]))
        return Replacement(made.pop())

    def is_last(self, task: int, step: int) -> bool:
        """Whether a member of a fused task is the one whose value is the task's."""
        function = self.tables.functions[self.shape.function[task]]
        return not isinstance(function, Fused) or step == len(function.steps) - 1

    def attempt_of(self, task: int, attempt: int, told: Told | None) -> Attempt | None:
        """Return what a task takes first that was made with `bind=True`; None for others."""
        shape = self.shape
        if shape.option[task] not in self.bound:
            return None
        request = Request(self.key_of(task), attempt, self.run_id, self.worker or current_thread().name)
        return Attempt(task, self.place_of(task, None)[0], request, shape.options[shape.option[task]], told)

    def tries_again(self, task: int, error: BaseException) -> bool:
        """Whether what was said of a task has it tried again after this."""
        on, not_on = self.policies.get(self.shape.option[task], ((), ()))
        return isinstance(error, on) and not isinstance(error, not_on)

    def key_of(self, task: int) -> str:
        """Return the key of a task: what it is called (of fused ones the last), its run, its place."""
        shape = self.shape
        own = shape.options[shape.option[task]]
        function = self.tables.functions[self.shape.function[task]]
        last = shape.names[function.steps[-1].function] if isinstance(function, Fused) else shape.name_of(task)
        return f"{own.key or own.name or last}-{self.label}-{task}"

    def place_of(self, task: int, step: int | None) -> tuple[str, str]:
        """Return the name and the file:line of a task, or of one member of a fused task."""
        function = self.tables.functions[self.shape.function[task]]
        if step is None or not isinstance(function, Fused):
            return self.shape.name_of(task), self.shape.origin_of(task)
        member = function.steps[step]
        # Members of one fused task share their option row.
        own = self.shape.options[self.shape.option[task]].name
        return own or self.shape.names[member.function], str(self.shape.origins[member.origin])


def _classes(options: TaskOptions) -> tuple[Classes, Classes]:
    retries = options.retries
    return (retries.on, retries.not_on) if isinstance(retries, RetryPolicy) else ((Exception,), ())


def _taken(numbers: Sequence[int]) -> int:
    """Return how many values of steps a step with these arguments takes."""
    deepest = max((n for n in numbers if n < _STEPS), default=PREVIOUS - 1)
    return deepest - PREVIOUS + 1
