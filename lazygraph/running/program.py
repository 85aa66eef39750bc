"""A plan made ready to be called: what a runner needs of a shape and its tables.

Covers: gathering a task's arguments and calling it, fused tasks, which member of a fused task failed.
Does not cover: which task is next (running.frontier), catching exceptions (running.runner).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lazygraph.language.promise import Delayed
from lazygraph.values.graph import PREVIOUS, Fused
from lazygraph.values.node import Quoted, Replacement
from lazygraph.values.options import DEFAULT
from lazygraph.values.template import call

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lazygraph.values.graph import Shape, Tables


class FusedStepError(Exception):
    """Carries, as its cause, what a member of a fused task raised; says which member.  Never seen by users."""

    def __init__(self, step: int) -> None:
        super().__init__(step)
        self.step = step


class Program:
    """Call tasks by number.  `values` is anything indexed by entry: a list, or the dict of a worker's block."""

    __slots__ = (
        "_argument_bounds",
        "_arguments",
        "_function",
        "_input_bounds",
        "_inputs",
        "_template",
        "packed",
        "shape",
        "tables",
    )

    def __init__(self, shape: Shape, tables: Tables) -> None:
        self.shape, self.tables = shape, tables
        self.packed: bytes | None = None  # the plan as it travels, for engines in other processes
        self._function, self._template = shape.function, shape.template
        self._argument_bounds, self._arguments = shape.argument_offsets, shape.arguments
        self._input_bounds, self._inputs = shape.input_offsets, shape.inputs

    def run(self, task: int, values: Any) -> Any:
        """Call a task with its inputs' values; raises what the user's function raises."""
        bounds, inputs, constants = self._argument_bounds, self._inputs, self.tables.constants
        first = self._input_bounds[task]
        numbers = self._arguments[bounds[task] : bounds[task + 1]]
        function = self.tables.functions[self._function[task]]
        if isinstance(function, Fused):
            return self._run_steps(function, numbers, first, values)
        leaves = [values[inputs[first + n]] if n >= 0 else constants[~n] for n in numbers]
        template = self._template[task]
        if not template:
            return function(*leaves)
        return call(function, self.tables.templates[template], leaves)  # type: ignore[arg-type]

    def _run_steps(self, fused: Fused, numbers: Sequence[int], first: int, values: Any) -> Any:
        inputs, tables = self._inputs, self.tables
        constants, functions, templates = tables.constants, tables.functions, tables.templates
        value: Any = None
        at = step = 0
        try:
            for step, (row, template, count, _) in enumerate(fused.steps):
                leaves = [
                    values[inputs[first + n]] if n >= 0 else value if n == PREVIOUS else constants[~n]
                    for n in numbers[at : at + count]
                ]
                at += count
                function: Any = functions[row]
                value = function(*leaves) if not template else call(function, templates[template], leaves)  # type: ignore[arg-type]
                if isinstance(value, Replacement):
                    return self._continued(value, fused, step + 1, numbers[at:])
        except BaseException as error:
            raise FusedStepError(step) from error
        return value

    def _continued(self, value: Replacement, fused: Fused, first: int, numbers: Sequence[int]) -> Replacement:
        """A member of a fused task is to be replaced: what comes after it goes on with what it becomes."""
        tables, node, at = self.tables, value.lazy, 0
        for row, template, count, origin in fused.steps[first:]:
            leaves = tuple(node if n == PREVIOUS else Quoted(tables.constants[~n]) for n in numbers[at : at + count])
            at += count
            function: Any = tables.functions[row]
            node = Delayed(function, leaves, tables.templates[template], DEFAULT, self.shape.origins[origin])
        return Replacement(node)

    def is_last(self, task: int, step: int) -> bool:
        """Whether a member of a fused task is the one whose value is the task's."""
        function = self.tables.functions[self._function[task]]
        return not isinstance(function, Fused) or step == len(function.steps) - 1

    def place_of(self, task: int, step: int | None) -> tuple[str, str]:
        """Return the name and the file:line of a task, or of one member of a fused task."""
        function = self.tables.functions[self._function[task]]
        if step is None or not isinstance(function, Fused):
            return self.shape.name_of(task), self.shape.origin_of(task)
        member = function.steps[step]
        # Members of one fused task share their option row.
        own = self.shape.options[self.shape.option[task]].name
        return own or self.shape.names[member.function], str(self.shape.origins[member.origin])
