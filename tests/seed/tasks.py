"""The seed's tasks.py: `@app.task` has become `@delayed`, and there is no app."""

from __future__ import annotations

from lazygraph import delayed


@delayed
def add(x, y):  # type: ignore[no-untyped-def]
    """The seed's task, as it was written."""
    return x + y


@delayed
def tsum(numbers):  # type: ignore[no-untyped-def]
    """The sum that the seed's author "had to add to tasks.py"."""
    return sum(numbers)
