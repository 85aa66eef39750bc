"""`cache=`: which results are there already, and how the others come to be kept.

The key of a task is its content: its function, its arguments, and the same of all that it reads.  Where all of that is
pure or cached, the key is known before the run: what a store has under it is fetched, and nothing above it runs.  Below
an impure task the key is made of the inputs' values once they are there, and only the task itself is saved.

This is done to every graph before the optimizer: fusing would change what a call is made of.

Covers: keys, what is found, the graph that is run, a sentence for each node.
Does not cover: what such tasks do when they run (planning.keeping), stores (executors.files).
"""

from __future__ import annotations

import io
import operator
import pickle
from array import array
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from lazygraph.errors import Unkeyable
from lazygraph.language.members import READS_MEMBERS
from lazygraph.language.promise import take_output
from lazygraph.planning.keeping import Found, Kept
from lazygraph.planning.lower import lift
from lazygraph.planning.optimize import cull, needed_by
from lazygraph.planning.resuming import kept_by_place, parts_of
from lazygraph.planning.selecting import rewired, select
from lazygraph.planning.sharing import Calls
from lazygraph.values.graph import ORDER, Change, Fused, Graph, Scope, Tables
from lazygraph.values.keys import as_key
from lazygraph.values.node import identity
from lazygraph.values.options import TaskOptions
from lazygraph.values.verbs import default_store

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lazygraph.language.promise import Delayed
    from lazygraph.planning.resuming import Resumed
    from lazygraph.planning.selecting import Call
    from lazygraph.values.graph import Shape
    from lazygraph.values.storing import ResultStore

_OPERATORS = "add sub mul matmul truediv floordiv mod lshift rshift and_ or_ xor lt le eq ne ge gt getitem neg pos abs"
CLEAR = frozenset(
    map(id, (identity, take_output, getattr, pow, divmod, round, *(getattr(operator, n) for n in _OPERATORS.split())))
)
"""Functions of ours and Python's whose calls are as pure as what they read: what `d[0]`, `a + b` or a group becomes."""
_TOLERANT = frozenset(map(id, READS_MEMBERS))
"""Functions whose values depend on which of their inputs fail."""
_NEVER = frozenset(map(id, (identity, take_output))) | _TOLERANT
"""Functions whose values are not worth keeping, or are not theirs."""

MOST = 16 * 2**20
"""Bytes of recipes that travel with a plan.  Without them a value that is lost on the way is an error."""

LOADED, ABOVE, KEPT, LATER, ALWAYS, RUNS = range(6)
"""What becomes of a node; see `SENTENCES`."""

SENTENCES = (
    "found: is loaded",
    "does not run: what reads it was found",
    "not found: runs, and is kept",
    "runs unless its inputs' values were seen before, and is kept: {}",
    "runs, and is not kept: {}",
    "runs: is not cached",
)


class Verdict(NamedTuple):
    """What becomes of a node, and why."""

    node: str
    origin: str
    fate: int
    why: str = ""

    @property
    def sentence(self) -> str:
        """Say it."""
        return SENTENCES[self.fate].format(self.why)


def has_cached(graph: Graph) -> bool:
    """Whether somebody has said `cache=` of a node."""
    return any(row.cache is not False for row in graph.shape.options)


def cached(graph: Graph, *, template: bool = False, resumed: Resumed | None = None) -> Graph:
    """Return the graph with what is in the stores fetched from there, and the rest of what is cached kept.

    `template`: it is to be run more than once, with other values under the names of wrapped ones; so nothing is looked
    for now, and what reads those has its key when they are there.  `resumed`: its calls are kept by their place, too.
    Raises `Unkeyable` as sharing does.
    """
    return Caching(graph, template, resumed).graph() if resumed is not None or has_cached(graph) else graph


@dataclass(frozen=True, slots=True)
class _Known:
    """The tokens of a graph's entries, and for those that have none which entry is why, and a sentence."""

    tokens: list[bytes | None]
    blame: list[int]
    why: dict[int, str]


class Caching:
    """What is to be done about the cached nodes of one graph."""

    def __init__(self, graph: Graph, template: bool = False, resumed: Resumed | None = None) -> None:
        self._given = graph
        self._calls = Calls(graph)
        self._known = self._keys(graph, template)
        self._graph = self._wrapped()
        if resumed is not None:
            resumed.parts = parts_of(graph)
            self._graph = kept_by_place(self._graph, resumed)
        self._found = set() if template else set(self._in_stores())

    # -- keys --------------------------------------------------------------------------------------

    def _keys(self, graph: Graph, template: bool) -> _Known:
        shape, functions = graph.shape, graph.tables.functions
        pure = [row.is_pure for row in shape.options]
        clear = [id(function) in CLEAR for function in functions]
        known = _Known([None] * len(shape), [*range(len(shape))], dict.fromkeys(range(shape.externals), "is held"))
        tokens, blame = known.tokens, known.blame
        for at in graph.tasks():
            row, function = shape.function[at], functions[shape.function[at]]
            if isinstance(function, Kept) and function.key is not None:
                tokens[at] = b"#" + bytes.fromhex(function.key)
            elif template and function is identity and shape.options[shape.option[at]].key is not None:
                known.why[at] = "is an input of the plan"
            elif pure[shape.option[at]] or clear[row]:
                self._token(at, known, forgiving=not pure[shape.option[at]])
            else:
                known.why[at] = "goes on without members" if id(function) in _TOLERANT else "is not pure"
            if tokens[at] is not None:
                blame[at] = -1
        return known

    def _token(self, at: int, known: _Known, forgiving: bool) -> None:
        """Find the token of an entry that is as pure as what it reads."""
        reads = self._given.shape.inputs_of(at)
        of_reads = [known.tokens[read] for read in reads]
        if None in of_reads:
            known.blame[at] = known.blame[reads[of_reads.index(None)]]
            return
        try:
            known.tokens[at] = self._calls.content(at, of_reads)  # type: ignore[arg-type]
        except Unkeyable as error:
            if not forgiving:
                raise
            known.why[at] = f"has no key ({error})"

    def _why(self, at: int) -> str:
        blamed = self._known.blame[at]
        return f"{self._given.shape.name_of(blamed)!r} {self._known.why.get(blamed, 'is held')}"

    # -- nodes that are kept -----------------------------------------------------------------------

    def _wrapped(self) -> Graph:
        """Return the graph in which whatever is cached calls what keeps its value."""
        shape, tables = self._given.shape, self._given.tables
        functions, names = list(tables.functions), list(shape.names)
        column = array("i", shape.function)
        rows: dict[Any, int] = {}
        for at, store in self._cached():
            if self._waits_in_vain(at):
                continue
            token, row = self._known.tokens[at], shape.function[at]
            said = (row, token, store, shape.option[at], tuple(self._ordered(at)))
            if said not in rows:
                rows[said] = len(functions)
                key = None if token is None else as_key(token)
                functions.append(self._kept(at, key, store))
                names.append(shape.names[row])
            column[at] = rows[said]
        options = tuple(replace(row, cache=True) if row.cache is not False else row for row in shape.options)
        changed = replace(shape, function=column, names=tuple(names), options=options)
        return replace(self._given, shape=changed, tables=Tables(tuple(functions), tables.constants, tables.templates))

    def _kept(self, at: int, key: str | None, store: ResultStore) -> Kept:
        shape = self._given.shape
        function: Any = self._given.tables.functions[shape.function[at]]
        token = self._calls.function(at, self._ordered(at)) if key is None else b""
        return Kept(function, key, token, store, shape.name_of(at), shape.origin_of(at))

    def _cached(self) -> Iterator[tuple[int, ResultStore]]:
        """Yield each entry that is cached and not wrapped yet, and its store."""
        shape, functions = self._given.shape, self._given.tables.functions
        for at in self._given.tasks():
            said, function = shape.options[shape.option[at]].cache, functions[shape.function[at]]
            if said is not False and not isinstance(function, Kept | Found | Fused) and id(function) not in _NEVER:
                yield at, default_store() if said is True else said

    def _ordered(self, at: int) -> list[bytes]:
        """Return the tokens of what an entry waits for and does not read."""
        shape, tokens = self._given.shape, self._known.tokens
        kinds = shape.kinds[shape.input_offsets[at] : shape.input_offsets[at + 1]]
        waits = [read for read, kind in zip(shape.inputs_of(at), kinds, strict=True) if kind == ORDER]
        return [tokens[read] or b"" for read in waits]

    def _waits_in_vain(self, at: int) -> bool:
        """Whether an entry waits for something of which nothing is known before, or after: it has no key."""
        return b"" in self._ordered(at)

    # -- what is found -----------------------------------------------------------------------------

    def _in_stores(self) -> Iterator[int]:
        """Yield the entries that are needed and that a store has; what only those need is not looked for."""
        shape, functions = self._graph.shape, self._graph.tables.functions
        seen = bytearray(len(shape))
        stack = [*shape.outputs, *shape.callbacks]
        while stack:
            at = stack.pop()
            if seen[at]:
                continue
            seen[at] = 1
            function = functions[shape.function[at]] if at >= shape.externals else None
            if isinstance(function, Kept) and function.key is not None and function.store.find(function.key):
                yield at
            else:
                stack.extend(shape.inputs_of(at))

    def graph(self) -> Graph:
        """Return the graph that is run."""
        before, found = self._graph, self._found
        after = cull(self._with_loads()) if found else before
        kept = sum(type(after.tables.functions[after.shape.function[at]]) is Kept for at in after.tasks())
        why = f"{len(found)} found, to be loaded; {kept} to be kept"
        return replace(after, history=(*after.history, Change("cache", len(before), len(after), why)))

    def _with_loads(self) -> Graph:
        """Return the graph in which what was found is fetched, and reads nothing."""
        shape, tables, found = self._graph.shape, self._graph.tables, self._found
        functions, names, options = list(tables.functions), list(shape.names), list(shape.options)
        column, template, option = array("i", shape.function), array("i", shape.template), array("i", shape.option)
        recipes = ~len(tables.constants)
        rows: dict[int, int] = {}
        loads: dict[int, int] = {}
        calls: dict[int, Call] = {}
        for at in range(len(shape)):
            if at in found:
                row = rows.setdefault(shape.function[at], len(functions))
                if row == len(functions):
                    kept: Any = tables.functions[shape.function[at]]
                    functions.append(Found(kept.key, kept.store, kept.node, kept.origin))
                    names.append(shape.names[shape.function[at]])
                how = loads.setdefault(shape.option[at], len(options))
                if how == len(options):
                    options.append(_to_load(shape.options[shape.option[at]]))
                column[at], template[at], option[at] = row, 0, how
                calls[at] = (), b"", (recipes,)
        said = {"function": column, "template": template, "option": option}
        changed = rewired(shape, calls, **said, names=tuple(names), options=tuple(options))
        constants = (*tables.constants, Recipes(self._graph, sorted(found)))
        return replace(self._graph, shape=changed, tables=Tables(tuple(functions), constants, tables.templates))

    # -- what is said ------------------------------------------------------------------------------

    def verdicts(self) -> list[Verdict]:
        """Return what becomes of each node, in the order of the graph."""
        shape, functions = self._graph.shape, self._graph.tables.functions
        needed = needed_by(shape, self._found)
        said = [row.cache is not False for row in shape.options]
        verdicts = []
        for at in self._graph.tasks():
            function, why = functions[shape.function[at]], ""
            if at in self._found:
                fate = LOADED
            elif not needed[at]:
                fate = ABOVE
            elif isinstance(function, Kept):
                fate = KEPT if function.key is not None else LATER
                why = self._why(at) if function.key is None else ""
            elif said[shape.option[at]] and id(function) not in _NEVER:
                fate, why = ALWAYS, f"it waits for what it does not read, and {self._why(at)}"
            else:
                fate = RUNS
            verdicts.append(Verdict(shape.name_of(at), shape.origin_of(at), fate, why))
        return verdicts


def _to_load(row: TaskOptions) -> TaskOptions:
    """Return the options of a task that only fetches: where it runs, what it is called.  It needs no other care."""
    return TaskOptions(
        queue=row.queue,
        priority=row.priority,
        workers=row.workers,
        pure=True,
        key=row.key,
        cache=True,
        nout=row.nout,
        name=row.name,
    )


# -- what makes them again -------------------------------------------------------------------------


class Recipes:
    """How to make again what was found, should it be gone when it is fetched.

    One for all of a plan: it is pickled once.  In a pickle there is as much as `MOST` bytes, else nothing.
    """

    __slots__ = ("_graph", "_keys", "_packed")

    def __init__(self, graph: Graph | None, found: Sequence[int] = (), packed: bytes = b"") -> None:
        self._graph, self._keys, self._packed = graph, list(found), packed

    def promise(self, key: str) -> Delayed | None:
        """Return the promise of what has a key, or None where its recipe did not travel."""
        if self._graph is None and self._packed:
            whole: Graph = pickle.loads(self._packed)
            self._graph, self._keys, self._packed = whole, list(whole.shape.outputs), b""
        if self._graph is None:
            return None
        shape: Shape = self._graph.shape
        functions: list[Any] = list(self._graph.tables.functions)
        at = next(at for at in self._keys if functions[shape.function[at]].key == key)
        return lift(_above(self._graph, [at]))[0]

    def __reduce__(self) -> tuple[Any, ...]:
        if self._packed or self._graph is None:
            return Recipes, (None, (), self._packed)
        import cloudpickle  # only those pay for it whose plans travel

        file = _Limited()
        try:
            cloudpickle.Pickler(file, protocol=5).dump(_above(self._graph, self._keys))
        except Exception:  # something above cannot travel, or is too large: it is needed only if a value is lost
            return Recipes, (None,)
        return Recipes, (None, (), file.getvalue())

    def __lazygraph_key__(self) -> Any:
        return ()


def _above(graph: Graph, entries: Sequence[int]) -> Graph:
    """Return the graph of some entries and what they need, without whatever else stands in it."""
    shape = graph.shape
    needed = needed_by(replace(shape, outputs=array("i", entries), callbacks=array("i")))
    whole = replace(graph, shape=replace(shape, outputs=array("i", entries), callbacks=array("i")), history=())
    part = select(whole, [at for at in range(len(shape)) if needed[at]])
    alone = array("i", bytes(4 * len(part.shape)))
    return replace(part, shape=replace(part.shape, externals=0, scope=alone, scopes=(Scope(),)), externals=())


class _TooLarge(Exception):
    """More was to be pickled than may travel."""


class _Limited(io.BytesIO):
    """Takes so much and no more."""

    def write(self, data: Any) -> int:
        """Write, or raise `_TooLarge`."""
        if self.tell() + len(data) > MOST:
            raise _TooLarge
        return super().write(data)
