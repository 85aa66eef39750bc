"""Promises of ours as a graph of dask's: what `dask.compute(promise)` asks for.

A call becomes a tuple as in dask's oldest graphs, `(Called, key, key, ...)`: every dask takes it, nothing in it can be
mistaken for a key, and no dask is imported to write it.  Under dask's own schedulers a call with options is run by our
sync executor inside of dask's task, so that retries, timeouts, `bind`, coroutines and `replace` mean what they mean;
what only a whole run can see to (rates, queues, places, callbacks) is refused.  Under `lazygraph.interop.dask.get` the
promises themselves come back, with all that was said of them.

Covers: that direction.
Does not cover: the other direction (planning.from_dask).
"""

from __future__ import annotations

from types import CoroutineType
from typing import TYPE_CHECKING, Any

from lazygraph.errors import NotImplementedYet
from lazygraph.language.calls import name_of
from lazygraph.language.promise import Delayed
from lazygraph.planning.lower import lower
from lazygraph.planning.sharing import share
from lazygraph.values.node import External, Node, Quoted, Replacement
from lazygraph.values.options import LABELS
from lazygraph.values.template import PLAIN, call

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from lazygraph.values.node import NodeScope, Site
    from lazygraph.values.options import TaskOptions
    from lazygraph.values.template import Template

WITHIN_A_TASK = frozenset({"retries", "timeout", "isolated", "bind", "cache"})
"""Options that can be seen to inside a task of dask's."""


class Fetched:
    """Called by dask: the value of a future of ours."""

    __slots__ = ("future",)

    def __init__(self, future: Any) -> None:
        self.future = future

    @property
    def lazy(self) -> Any:
        """What of ours it stands for."""
        return self.future

    def __call__(self) -> Any:
        """Wait for the value."""
        return self.future.result()

    def __dask_tokenize__(self) -> Any:
        return ("lazygraph future", self.future.key)


class Called:
    """Called by dask with the values of the inputs, each once: a call of ours.

    `arguments` say where they go: n >= 0 is the n-th input, n < 0 the constant ~n.  `lazy` is the promise itself, which
    stays behind when this travels.
    """

    __slots__ = ("arguments", "callbacks", "constants", "function", "key", "lazy", "options", "site", "template")

    def __init__(
        self,
        function: Callable[..., Any],
        template: Template | None,
        arguments: tuple[int, ...],
        constants: tuple[Any, ...],
        options: TaskOptions,
        site: Site | str,
        key: str,
        callbacks: bool = False,
        lazy: Node | None = None,
    ) -> None:
        self.function, self.template = function, template
        self.arguments, self.constants = arguments, constants
        self.options, self.site, self.key = options, site, key
        self.callbacks, self.lazy = callbacks, lazy

    @property
    def __name__(self) -> str:
        return self.options.name or name_of(self.function)

    def __call__(self, /, *values: Any) -> Any:
        """Make the call, as its options say.  Raises `NotImplementedYet` for what only a whole run can see to."""
        leaves = tuple(values[n] if n >= 0 else self.constants[~n] for n in self.arguments)
        asked = [name for name in self.options.asked() if name not in LABELS]
        if asked or self.callbacks:
            return self._run(leaves, asked)
        returned = self.function(*leaves) if self.template is None else call(self.function, self.template, leaves)
        if isinstance(returned, CoroutineType | Replacement | Node):
            settle = Delayed(_given, (Quoted(returned),), None, self.options, self.site)
            return settle.compute(executor="sync")
        return returned

    def _run(self, leaves: tuple[Any, ...], asked: list[str]) -> Any:
        beyond = [name for name in asked if name not in WITHIN_A_TASK]
        if self.callbacks:
            beyond.append("link, link_error and a group's on_error")
        if beyond:
            what = f"{beyond[0]} of node {self.__name__!r} (built at {self.site}) under dask's own schedulers"
            raise NotImplementedYet(what, "compute(..., scheduler=lazygraph.interop.dask.get) honours it")
        quoted = tuple(map(Quoted, leaves))
        return Delayed(self.function, quoted, self.template, self.options, self.site).compute(executor="sync")

    def __reduce__(self) -> tuple[Any, ...]:
        facts = (self.function, self.template, self.arguments, self.constants, self.options, str(self.site), self.key)
        return Called, (*facts, self.callbacks)

    def __dask_tokenize__(self) -> Any:
        return ("lazygraph call", self.key)


def _given(value: Any) -> Any:
    return value


def dask_graph_of(promise: Node) -> dict[Hashable, Any]:
    """Return the graph of a promise as dask writes graphs: tasks by key.

    Raises `DuplicateKey` if two different calls have one key.
    """
    graph: dict[Hashable, Any] = {}
    known: dict[Hashable, Any] = {}
    waiting: list[Any] = [promise]
    while waiting:
        lazy = waiting.pop()
        key = lazy.key
        first = known.setdefault(key, lazy)
        if key in graph:
            if first is not lazy:
                share(lower([first, lazy]))  # raises if the two are not the same work
            continue
        if isinstance(lazy, External):
            graph[key] = (Fetched(lazy),)
            continue
        reads: dict[Any, int] = {}
        constants: list[Any] = []
        arguments: list[int] = []
        for leaf in lazy._leaves:
            if type(leaf) not in PLAIN and isinstance(leaf, Node | External):
                arguments.append(reads.setdefault(leaf, len(reads)))
            else:
                arguments.append(~len(constants))
                constants.append(leaf.value if type(leaf) is Quoted else leaf)
        for other in lazy._after:
            reads.setdefault(other, len(reads))
        called = Called(
            lazy._function,
            lazy._template,
            tuple(arguments),
            tuple(constants),
            lazy._options,
            lazy._site,
            key,
            bool(lazy._links) or _is_answered(lazy._scope),
            lazy,
        )
        graph[key] = (called, *(read.key for read in reads))
        waiting.extend(reads)
    return graph


def _is_answered(scope: NodeScope | None) -> bool:
    """Whether somebody does something about a failure in a scope."""
    while scope is not None and not scope.handlers and not scope.contained:
        scope = scope.parent
    return scope is not None
