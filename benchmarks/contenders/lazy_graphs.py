"""Works written once for the libraries that build a lazy graph first: lazygraph and Dask.

They differ in how a call is made lazy and how a graph is run, and in nothing else that is timed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.contenders import harness, shapes
from benchmarks.contenders.harness import Function, Samples

Run = Callable[[Any], object]


@dataclass(frozen=True)
class Language:
    """The two lazy functions of a library and the way to run what they built."""

    add: Callable[..., Any]
    tsum: Callable[..., Any]
    run: Run

    def build_merge(self, size: int) -> object:
        """Build many adds and one sum that takes the list of them."""
        return self.tsum(shapes.independent(self.add, size))

    def merge(self, size: int) -> Samples:
        """Build and run the merge."""
        return harness.in_two_parts(lambda: self.build_merge(size), self.run, shapes.sum_of_independent(size))

    def tree(self, levels: int) -> Samples:
        """Build and run the pairwise tree."""
        expected = shapes.sum_of_independent(shapes.leaves(levels))
        return harness.in_two_parts(lambda: shapes.tree(self.add, levels), self.run, expected)

    def chain(self, size: int) -> Samples:
        """Build and run the chain, with whatever the library's optimizer makes of it."""
        return harness.in_two_parts(lambda: shapes.chain(self.add, size), self.run, size)

    def runs(self) -> Mapping[str, Function[Any]]:
        """Return the works that run a graph; they take the session and need nothing of it."""
        return {
            "merge": lambda _, size: self.merge(size),
            "tree": lambda _, size: self.tree(size),
            "chain": lambda _, size: self.chain(size),
        }

    def builds(self) -> Mapping[str, Function[Any]]:
        """Return the works that only build."""
        return {
            "build-independent": lambda _, n: harness.build_only(lambda: shapes.independent(self.add, n)),
            "build-tree": lambda _, n: harness.build_only(lambda: shapes.tree(self.add, n)),
            "build-chain": lambda _, n: harness.build_only(lambda: shapes.chain(self.add, n)),
            "build-fan-in": lambda _, n: harness.build_only(lambda: self.build_merge(n)),
        }
