"""Which executor is the default here.

`executor=` > innermost `use`/`with` of this context > newest open client of this process > threads.
"""

from __future__ import annotations

import os
from contextvars import ContextVar
from typing import Any

from lazygraph.running.context import inside_task

_stack: ContextVar[tuple[tuple[Any, Any], ...]] = ContextVar("lazygraph_executors", default=())
"""What was entered, the newest last, each with the task (`inside_task`) in which it was."""

_clients: list[Any] = []  # the open clients of this process, newest last: one of the two registries


def enter(executor: Any) -> None:
    """Make `executor` (a name, an address or an instance) the default of this context."""
    _stack.set((*_stack.get(), (executor, inside_task.get())))


def leave(executor: Any) -> None:
    """Undo the newest `enter` of this executor."""
    stack = _stack.get()
    for at in range(len(stack) - 1, -1, -1):
        if stack[at][0] is executor:
            _stack.set((*stack[:at], *stack[at + 1 :]))
            return


def innermost() -> Any:
    """Return what this context names as its default, or None; in a task only what was named in it."""
    stack, task = _stack.get(), inside_task.get()
    return stack[-1][0] if stack and (task is None or stack[-1][1] is task) else None


def opened(client: Any) -> None:
    """Note a client that serves as the process's default while it is open."""
    _clients.append(client)


def closed(client: Any) -> None:
    """Forget a client."""
    if client in _clients:
        _clients.remove(client)


def newest_client() -> Any:
    """Return the newest open client of this process, or None."""
    return _clients[-1] if _clients else None


def _forget() -> None:
    # In a forked child the parent's connections are not ours.
    _clients.clear()
    _stack.set(())


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forget)
