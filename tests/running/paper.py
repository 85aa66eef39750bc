"""A lease in the hands of a runner that exists only on paper."""

from __future__ import annotations

from dataclasses import dataclass, field

from lazygraph.running.lease import Lease


@dataclass(eq=False)
class OnPaper:
    """A lease on a runner: what it has not run yet, and the values it has at hand."""

    lease: Lease
    left: list[int]
    values: dict[int, int]
    gone: set[int] = field(default_factory=set)
    granted: float = 0.0
    begun: bool = False
