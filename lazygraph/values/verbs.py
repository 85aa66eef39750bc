"""The verbs of lazy things, and the one upward step of the house.

What a person wrote can be computed, persisted, drawn and explained; all of that lives on higher floors.  `_door` is the
only import that goes up, and it happens when a verb is called, never before.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

from lazygraph.values.node import Site

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

    # What verbs return, for the floors below to name it.
    from lazygraph.door import Account as Account
    from lazygraph.door import Future as Future
    from lazygraph.door import GroupResult as GroupResult


def _door() -> ModuleType:
    import lazygraph.door as door

    return door


class Verbs:
    """Mixed into every lazy thing: a `Delayed` and every canvas."""

    __slots__ = ()

    def compute(self, **kwargs: Any) -> Any:
        """Run this and everything it needs; return its value.  See `lazygraph.compute` for the keywords."""
        return _door().compute(self, **kwargs)[0]

    def persist(self, **kwargs: Any) -> Any:
        """Start this now, keep its value where it is computed, and return a promise of it."""
        return _door().persist(self, **kwargs)[0]

    def visualize(self, filename: str | None = None, **kwargs: Any) -> Any:
        """Draw the graph; with a filename also write it (the suffix says which format)."""
        return _door().visualize(self, filename=filename, **kwargs)

    def explain(self, **kwargs: Any) -> Any:
        """Say what would run, how wide and how deep, and what the optimizer did; nothing is run.

        With `analyze=True` it is run, and said how that went.  See `lazygraph.explain` for the keywords.
        """
        return _door().explain(self, **kwargs)

    @property
    def graph(self) -> Any:
        """The graph of this, as written (not optimized)."""
        return _door().graph_of(self)

    def _repr_svg_(self) -> str:
        return str(_door().picture_of(self))


class GraphVerbs:
    """Mixed into `Graph`."""

    __slots__ = ()

    def compute(self, **kwargs: Any) -> Any:
        """Run this; return a tuple with the value of each output.  See `lazygraph.compute` for the keywords.

        It is compiled once, however often it runs.
        """
        return _door().compute(self, **kwargs)

    def plan(self, optimize_graph: Any = True) -> Any:
        """Return what executors run of this, compiled once: `plan.compute()`, `plan.bind(name=value).compute()`."""
        return _door().planned(self, optimize_graph)

    def check(self, executor: Any = None) -> Any:
        """Return what is wrong with this, before anything runs: a list of findings.  See `lazygraph.check`."""
        return _door().check(self, executor=executor)

    def visualize(self, filename: str | None = None, **kwargs: Any) -> Any:
        """Draw this as it is; with a filename also write it (the suffix says which format)."""
        return _door().draw_graph(self, filename, **kwargs)

    def explain(self) -> Any:
        """Say what would run, how wide and how deep."""
        return _door().profile_of(self)

    def to_networkx(self) -> Any:
        """Return a `networkx.DiGraph` that says the same; its nodes are the entries of this, by number."""
        return _door().to_networkx(self)

    @staticmethod
    def from_networkx(nx_graph: Any) -> Any:
        """Return the graph that a directed networkx graph describes.

        A node has `function` (and `args`, `kwargs`, `options`) or `value`.  Raises `CyclicGraph` naming a cycle,
        `InvalidOption` for what is no call.
        """
        caller = sys._getframe(1)
        return _door().from_networkx(nx_graph, Site(caller.f_code, caller.f_lasti))

    def to_json(self) -> str:
        """Return a text that says the same, with functions by name.  Raises `InvalidOption` for what has none."""
        return str(_door().to_json(self))

    @staticmethod
    def from_json(text: str) -> Any:
        """Return the graph of such a text.  Imports the modules that it names: open only texts that you trust."""
        return _door().graph_from_json(text)

    def _repr_svg_(self) -> str:
        return str(_door().draw_graph(self).data.decode())


class PlanVerbs:
    """Mixed into `Plan`."""

    __slots__ = ()

    def compute(self, **kwargs: Any) -> Any:
        """Run this; return a tuple with the value of each output.  See `lazygraph.compute` for the keywords."""
        return _door().compute(self, **kwargs)

    def start(self, **kwargs: Any) -> Any:
        """Start this; return the `Run`.  See `lazygraph.start` for the keywords."""
        return _door().start(self, **kwargs)


class CanvasVerbs(Verbs):
    """Mixed into every canvas.  A promise has none of these: they may be methods of its value (of a table, say)."""

    __slots__ = ()

    def check(self, executor: Any = None) -> Any:
        """Return what is wrong with this, before anything runs: a list of findings.  See `lazygraph.check`."""
        return _door().check(self, executor=executor)

    def to_json(self) -> str:
        """Return a text that `lazygraph.from_json` makes the same canvas of, with functions by name."""
        return str(_door().to_json(self))


def here_and_now() -> Any:
    """Return a context in which what is started runs in this thread, to its end."""
    return _door().use("sync")


def start_detached(filled: Any, noted: Any) -> Any:
    """Start a canvas in the default executor; return its Future or GroupResult (`.delay`, `.apply_async`)."""
    return _door().start_canvas(filled, noted)


def future_at(address: str, key: str) -> Any:
    """Return the future of a key, through a client of that address (what a cluster's futures pickle to)."""
    return _door().future_at(address, key)


def start_on(executor: Any, lazies: Any, keywords: dict[str, Any]) -> Any:
    """Start lazy things on an executor, siblings of failures running on; return the Run (a client's `compute`)."""
    return _door().start(*lazies, executor=executor, fail_fast=False, **keywords)


def persist_on(executor: Any, lazies: Any, keywords: dict[str, Any]) -> Any:
    """Persist lazy things on an executor; return their promises (a client's `persist`)."""
    return _door().persist(*lazies, executor=executor, **keywords)


def default_store() -> Any:
    """Return the store of `cache=True`."""
    return _door().default_store()


def account_of(run: Any) -> Account:
    """Return how a run went, or goes (`run.explain`)."""
    account: Account = _door().account_of(run)
    return account


def frozen_graph(node: Any) -> Any:
    """Return the graph of a node, or of a list of nodes, for pickling without recursion."""
    return _door().graph_of(node)


def thawed_nodes(graph: Any) -> Any:
    """Return the nodes that a graph was made of, one for each output."""
    return _door().lift(graph)


def adopted(collections: Any) -> Any:
    """Return promises of ours that stand for dask's collections."""
    return _door().adopted(collections)


def dask_graph_of(promise: Any) -> Any:
    """Return the graph of a promise as dask writes graphs."""
    return _door().dask_graph_of(promise)


def thawed_from_dask(graph: Any, key: str, *, rename: Mapping[str, str] | None = None) -> Any:
    """Return a promise of what a graph of dask's has under a key, or under the key that is its new name."""
    return _door().promise_in(graph, (rename or {}).get(key, key))


def dasks_own(module: str, name: str) -> Any:
    """Return something of dask's; only dask asks for it, so it is there."""
    return getattr(importlib.import_module(f"dask.{module}"), name)


def thawed_node(graph: Any) -> Any:
    """Return the node that a graph was made of."""
    return _door().node_of(graph)
