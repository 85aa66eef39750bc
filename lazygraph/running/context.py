"""What code can know about the task it runs in."""

from __future__ import annotations

from contextvars import ContextVar

inside_task: ContextVar[bool] = ContextVar("lazygraph_inside_task", default=False)
"""Whether this context runs a task: `compute` in there runs inline, so that no slot waits for a slot."""
