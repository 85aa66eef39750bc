"""What a task may return that is not its value: something to be done in its place, something to be awaited.

Covers: running coroutines to their end, the plan of a replacement, refusing bare promises.
Does not cover: what becomes of a replacement (running.frontier).
"""

from __future__ import annotations

import threading
from collections.abc import Coroutine
from contextvars import copy_context
from types import CoroutineType
from typing import TYPE_CHECKING, Any, NamedTuple

from lazygraph.errors import ReturnedPromise
from lazygraph.planning.plan import plan_of
from lazygraph.values.node import Caught, External, Node, Replacement

if TYPE_CHECKING:
    from lazygraph.planning.plan import Plan

UNUSUAL = (Node, Replacement, CoroutineType)
"""Types of what a task may return that is not its value."""


class Becomes(NamedTuple):
    """What is to be done in a task's place."""

    plan: Plan


def settled(returned: Any, lender: Any, later: bool = False) -> Any:
    """Return the value that a task means, or what it `Becomes`; `later`: what is to be awaited comes back as it is.

    Raises `ReturnedPromise` for a bare promise.
    """
    if isinstance(returned, Coroutine):
        if later:
            return returned
        returned = _awaited(returned)
    return meant(returned, lender)


def meant(returned: Any, lender: Any) -> Any:
    """Return the value that a task means that has nothing to be awaited, or what it `Becomes`."""
    if isinstance(returned, Replacement):
        return Becomes(plan_for(returned, lender))
    if isinstance(returned, Node):
        raise ReturnedPromise(repr(returned))
    return returned


def _awaited(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine on an event loop of its own, in this thread unless a loop runs here already."""
    import asyncio  # only those pay for it who write async tasks

    try:
        asyncio.get_running_loop()
        free = False
    except RuntimeError:
        free = True
    if free:  # not above: the task's own errors must not come "during handling" of this one
        return asyncio.run(coroutine)
    ended: list[Any] = []

    def work() -> None:
        try:
            ended.append((asyncio.run(coroutine), None))
        except BaseException as error:
            ended.append((None, error))

    thread = threading.Thread(target=copy_context().run, args=(work,), name="lazygraph-await", daemon=True)
    thread.start()
    thread.join()
    value, error = ended[0]
    if error is not None:
        raise error
    return value


def plan_for(replacement: Replacement, lender: Any) -> Plan:
    """Return the plan of what is to be done in a task's place.

    Values held by others than the executor that the task runs on are fetched and go in as constants.
    """
    plan = plan_of([replacement.lazy])
    owns = getattr(lender, "owns", None)
    foreign: dict[External, Any] = {
        external: external.result()  # type: ignore[attr-defined]
        for external in plan.externals
        if not isinstance(external, Caught) and not (owns is not None and owns(external))
    }
    return plan_of([replacement.lazy], held=foreign) if foreign else plan
