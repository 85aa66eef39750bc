"""Which executor is the default here.

`executor=` > innermost `use`/`with` of this context > newest open client of this process > threads.
"""

from __future__ import annotations

import os
from contextvars import ContextVar
from typing import Any

_stack: ContextVar[tuple[Any, ...]] = ContextVar("lazygraph_executors", default=())
_clients: list[Any] = []  # the open clients of this process, newest last: one of the two registries


def enter(executor: Any) -> None:
    """Make `executor` (a name, an address or an instance) the default of this context."""
    _stack.set((*_stack.get(), executor))


def leave(executor: Any) -> None:
    """Undo the newest `enter` of this executor."""
    stack = _stack.get()
    for at in range(len(stack) - 1, -1, -1):
        if stack[at] is executor:
            _stack.set((*stack[:at], *stack[at + 1 :]))
            return


def innermost() -> Any:
    """Return what this context names as its default, or None."""
    stack = _stack.get()
    return stack[-1] if stack else None


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
