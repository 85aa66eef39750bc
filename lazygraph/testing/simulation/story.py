"""Messages as lines that people read: who told whom what, with the columns opened.

Covers: writing a message down.
Does not cover: which messages there are (cluster.messages).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lazygraph.executors.cluster import messages as m
from lazygraph.values.options import DEFAULT

if TYPE_CHECKING:
    from lazygraph.testing.simulation.lives import Act, Life

_MANY = 12
_WIDE = {"sizes", "lengths"}
"""Columns of 64-bit integers."""


def line(sender: str, receiver: str, message: m.Message) -> str:
    """Return one line for a message."""
    parts = [
        f"{name}={_value(name, getattr(message, name))}"
        for name in message.__struct_fields__
        if getattr(message, name) not in (b"", "", [], None)
    ]
    return f"{sender:>11} -> {receiver:<11} {type(message).__name__}({', '.join(parts)})"


def _value(name: str, value: Any) -> str:
    if isinstance(value, bytes):
        if name == "kinds":
            return str(list(value[:_MANY]))
        numbers = m.from_longs(value) if name in _WIDE else m.from_ints(value)
        rest = f" and {len(numbers) - _MANY} more" if len(numbers) > _MANY else ""
        return f"[{', '.join(map(str, numbers[:_MANY]))}{rest}]"
    if isinstance(value, m.ShapeOnWire):
        outputs = _value("", value.outputs)
        return f"<{len(value.functions) // 4} entries, {value.externals} external, outputs {outputs}>"
    if isinstance(value, m.TablesOnWire):
        return f"<{len(value.functions)} functions>"
    if isinstance(value, list):
        return "[" + ", ".join(_value(name, part) for part in value[:_MANY]) + "]"
    if isinstance(value, tuple):
        return "(" + ", ".join(_value("", part) for part in value) + ")"
    text = repr(value)
    return text if len(text) < 100 else text[:96] + "...'"


def about(life: Life) -> list[str]:
    """Return lines that say what a life holds."""
    lines = [f"seed {life.seed}: {life.clients} clients, workers with {list(life.workers)} threads"]
    for run, spec in enumerate(life.runs):
        how = "held values" if spec.held else f"{len(spec.tasks)} tasks, outputs {[tuple(o) for o in spec.outputs]}"
        lines.append(f"run {run} of client {spec.client}: {how}{', fail_fast' if spec.fail_fast else ''}")
        odd = [(at, task.kind) for at, task in enumerate(spec.tasks) if task.kind not in ("plain", "large", "held")]
        if odd:
            lines.append(f"    {odd}")
        for at, task in enumerate(spec.tasks):
            if task.row != DEFAULT:
                said = {name: getattr(task.row, name) for name in (*task.row.asked(), "limited_as")}
                lines.append(f"    task {at}: {said}")
        for row, scope in enumerate(spec.scopes, 1):
            inside = [at for at, task in enumerate(spec.tasks) if task.scope == row]
            handlers = [(task.kind, task.number) for task in scope.handlers]
            lines.append(f"    scope {row} in {scope.parent}: tasks {inside}, given {list(scope.given)}, {handlers}")
    return lines


def act_line(act: Act) -> str:
    """Return one line for an act."""
    return f"{'':>11}    -- {act.what} {act.first} {act.second}"
