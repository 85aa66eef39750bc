"""Calls that look alike: whoever submits one function again and again from one place has its plan made once.

Covers: which calls those are, their plan, the same for each but for its constants.
Does not cover: plans of several calls (net.batches), how a plan travels (net.executor).
"""

from __future__ import annotations

from types import BuiltinFunctionType, FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

from lazygraph.executors.cluster.records import pack_shape
from lazygraph.language.promise import Delayed, is_lazy
from lazygraph.planning.plan import Plan, plan_of
from lazygraph.values.graph import Tables
from lazygraph.values.node import Site
from lazygraph.values.options import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Callable

    from lazygraph.executors.cluster.messages import ShapeOnWire
    from lazygraph.values.graph import Change, Shape

MOST_PLACES = 32
"""Places in code that one function's forms are kept for."""

_FUNCTIONS = frozenset({FunctionType, BuiltinFunctionType})
_PLAIN = frozenset({int, float, str, bytes, bool, complex, type(None)})


class Form(NamedTuple):
    """What is the same in the plans of calls that look alike.  It does not hold their function, which may hold much."""

    shape: Shape
    packed: ShapeOnWire
    history: tuple[Change, ...]
    site: Site
    """Held, because it is known by the number of its code."""

    def plan_of(self, node: Delayed) -> Plan:
        """Return the plan of such a call."""
        return Plan(self.shape, Tables((node._function,), tuple(node._leaves)), (), self.history, fail_fast=False)


class Forms:
    """The forms of a client's calls.  A function that is gone takes its own with it."""

    def __init__(self) -> None:
        self._of: WeakKeyDictionary[Callable[..., Any], dict[tuple[int, int, int], Form]] = WeakKeyDictionary()

    def form_of(self, node: Delayed) -> Form | None:
        """Return the form of a call; None for one that is more than a function and plain arguments in their places."""
        if node._options is not DEFAULT or node._template is not None or type(node._site) is not Site:
            return None
        leaves, function = node._leaves, node._function
        if type(function) not in _FUNCTIONS or not (
            _PLAIN.issuperset(map(type, leaves)) or not any(map(is_lazy, leaves))
        ):
            return None
        code, at = node._site
        key = id(code), at, len(leaves)
        known = self._of.get(function)
        return known[key] if known is not None and key in known else self._made(node, key, node._site)

    def _made(self, node: Delayed, key: tuple[int, int, int], site: Site) -> Form | None:
        stand_ins = tuple(object() for _ in node._leaves)
        plan = plan_of([Delayed(node._function, stand_ins, None, DEFAULT, site)], fail_fast=False)
        if plan.tables.constants != stand_ins or plan.tables.templates != (None,) or len(plan.shape) != 1:
            return None
        forms = self._of.setdefault(node._function, {})
        if len(forms) >= MOST_PLACES:
            forms.clear()
        form = forms[key] = Form(plan.shape, pack_shape(plan.shape), plan.history, site)
        return form
