"""Graphs and canvases from JSON texts.  Everything is looked at before anything is made of it.

Reading imports the modules that a text names, and nothing else is run; open only texts that you trust.

Covers: both kinds, what is wrong with a text (planning.faults), clear errors.
Does not cover: writing (planning.writing), values (values.tagged).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lazygraph.errors import InvalidOption, LazyGraphError, WrongCanvas
from lazygraph.language.calls import Contract
from lazygraph.language.canvas import Canvas
from lazygraph.language.composing import chain, chord, group
from lazygraph.language.delayed import DelayedFunction
from lazygraph.language.dynamic import Each
from lazygraph.language.promise import Delayed, build
from lazygraph.language.signature import Signature
from lazygraph.planning.faults import (
    MISSING,
    NO_CALL,
    UNUSED,
    Fault,
    Told,
    in_order,
    missing_inputs,
    raise_first,
    unused,
)
from lazygraph.planning.lower import lower
from lazygraph.planning.scoping import Scopes, flag, listed, only
from lazygraph.planning.writing import VERSION
from lazygraph.values.node import identity
from lazygraph.values.options import DEFAULT, NAMES, TaskOptions, changed, said
from lazygraph.values.tagged import Reader, by_name, mentioned, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

    from lazygraph.values.graph import Graph

_HEAD = frozenset({"lazygraph", "version", "values"})
_GRAPH = _HEAD | {"nodes", "outputs", "scopes"}
_NODE = frozenset({"id", "function", "value", "failure_of"} | {"args", "kwargs", "after", "options"})
_NODE |= {"scope", "callback", "origin"}
_CANVAS = _HEAD | {"parts", "promises"}
_PART = frozenset({"set", "links", "handlers"})


def from_json(text: str) -> Graph | Canvas:
    """Return the graph or the canvas of a text.

    Raises `InvalidOption` saying what is wrong with it and where, `CyclicGraph` naming a cycle, `WrongCall` for a call
    that its function cannot take.
    """
    written = _parsed(text)
    return _graph(written)[0] if written["lazygraph"] == "graph" else _canvas(written)


def graph_from_json(text: str) -> Graph:
    """Return the graph of a text; the text of a canvas is refused."""
    written = _parsed(text)
    if written["lazygraph"] != "graph":
        raise InvalidOption("this is the text of a canvas, not of a graph; use lazygraph.from_json(text)")
    return _graph(written)[0]


def described_by(text: str) -> tuple[Graph | None, list[Fault]]:
    """Return everything that is wrong with the text of a graph or canvas, and the graph, if it is one."""
    try:
        written = _parsed(text)
        if written["lazygraph"] == "canvas":
            return lower([_canvas(written).to_delayed()]), []
        told = _told(written)
    except LazyGraphError as error:
        return None, [Fault(NO_CALL, str(error))]
    # Where no output is named, all that nothing reads is one: then everything is needed.
    faults = [*_faults(written, told), *(unused(told, _wanted(written, told)) if written.get("outputs") else ())]
    if any(fault.kind != UNUSED for fault in faults):
        return None, faults
    try:
        return _graph(written)[0], faults
    except LazyGraphError as error:
        return None, [*faults, Fault(NO_CALL, str(error))]


def _parsed(text: str) -> dict[str, Any]:
    try:
        written = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidOption(f"this is no JSON: {error}") from None
    if not isinstance(written, dict) or written.get("lazygraph") not in ("graph", "canvas"):
        raise InvalidOption('this is not the text of a graph or canvas: it does not begin with {"lazygraph": ...}')
    version = written.get("version")
    if version != VERSION:
        raise InvalidOption(
            f"this text is of version {version!r}, and this lazygraph reads version {VERSION}; "
            f"write it again with the same lazygraph, or install the one that wrote it"
        )
    return written


def _lazy_tags() -> dict[str, Callable[[Any], Any]]:
    return {
        "$canvas": lambda body: _canvas(only(body, _CANVAS, "a canvas among the arguments")),
        "$graph": lambda body: _graph(only(body, _GRAPH, "a promise among the arguments"))[1][0],
        "$delayed": _delayed_function,
    }


def _delayed_function(name: Any) -> Any:
    found = by_name(name)
    return found if isinstance(found, DelayedFunction) else DelayedFunction(found, DEFAULT, "")


def _read_options(reader: Reader, row: Mapping[str, Any], where: str) -> TaskOptions:
    given = only(row.get("options", {}), NAMES, f"{where}, options")
    return changed(
        DEFAULT, where, {name: reader.read(value, f"{where}, option {name}=") for name, value in given.items()}
    )


def _read_call(reader: Reader, row: Mapping[str, Any], where: str) -> tuple[list[Any], dict[str, Any]]:
    args = [reader.read(one, f"{where}, argument {n}") for n, one in enumerate(listed(row, "args", where), 1)]
    kwargs = row.get("kwargs", {})
    if not isinstance(kwargs, dict):
        raise InvalidOption(f"{where}: 'kwargs' is {type(kwargs).__name__}, and an object is wanted")
    return args, {name: reader.read(one, f"{where}, argument {name}=") for name, one in kwargs.items()}


class _Functions:
    """Functions by name and what they can be called with, each looked up once."""

    def __init__(self) -> None:
        self._known: dict[tuple[Any, bool], tuple[Callable[..., Any], Contract]] = {}

    def named(self, name: Any, options: TaskOptions, where: str) -> tuple[Callable[..., Any], Contract]:
        """Return a function and its contract.  Raises `InvalidOption` saying what is not there."""
        known = self._known.get((name, options.bind)) if isinstance(name, str) else None
        if known is not None:
            return known
        try:
            found = plain(by_name(name))
        except InvalidOption as error:
            raise InvalidOption(f"{where}: {error}") from None
        if not callable(found):
            raise InvalidOption(f"{where}: {name!r} is {type(found).__name__}, and cannot be called")
        made = self._known[name, options.bind] = found, Contract(found, bound=int(options.bind))
        return made


# -- graphs ----------------------------------------------------------------------------------------


def _told(written: Mapping[str, Any]) -> dict[Hashable, Told]:
    """Return what each node reads, by its id."""
    only(written, _GRAPH, "the graph")
    told: dict[Hashable, Told] = {}
    mentions = _Mentions(listed(written, "values", "the graph"))
    for at, one in enumerate(listed(written, "nodes", "the graph")):
        row = only(one, _NODE, f"node number {at}")
        node = row.get("id")
        if not isinstance(node, str | int) or node in told:
            raise InvalidOption(f"node number {at} has the id {node!r}; each needs a text or number of its own")
        args, after = listed(row, "args", f"node {node!r}"), listed(row, "after", f"node {node!r}")
        for read in after:
            if not isinstance(read, str | int):
                raise InvalidOption(f"node {node!r}: 'after' has {read!r}, and the id of a node is wanted")
        reads = [*mentions.nodes([*args, row.get("kwargs"), row.get("value")]), *after]
        told[node] = Told(list(dict.fromkeys(reads)), str(row.get("origin", "")))
    return told


class _Mentions:
    """Which nodes some JSON mentions, also through the values it refers to; each value is searched once."""

    def __init__(self, values: Sequence[Any]) -> None:
        self.values = values
        self._found: dict[int, tuple[list[Any], list[Any]]] = {}

    def nodes(self, said: Any) -> list[Hashable]:
        """Return the ids, in order."""
        found = [*mentioned(said, "$node")]
        waiting, seen = [*mentioned(said, "$value")], set()
        while waiting:
            number = waiting.pop()
            if not isinstance(number, int) or number in seen or not 0 <= number < len(self.values):
                continue  # a number that is not there is found when it is read
            seen.add(number)
            if number not in self._found:
                value = self.values[number]
                self._found[number] = [*mentioned(value, "$node")], [*mentioned(value, "$value")]
            nodes, values = self._found[number]
            found += nodes
            waiting += values
        return [node if isinstance(node, str | int) else repr(node) for node in found]


def _outputs(written: Mapping[str, Any], told: Mapping[Hashable, Told]) -> list[Hashable]:
    """Return the outputs, or where none are named all that nothing reads."""
    named = listed(written, "outputs", "the graph")
    if named:
        return [node if isinstance(node, str | int) else repr(node) for node in named]
    read = {read for one in told.values() for read in one.reads}
    return [
        row["id"] for row in listed(written, "nodes", "the graph") if row["id"] not in read and not row.get("callback")
    ]


def _wanted(written: Mapping[str, Any], told: Mapping[Hashable, Told]) -> list[Hashable]:
    return [
        *_outputs(written, told),
        *(row["id"] for row in listed(written, "nodes", "the graph") if row.get("callback")),
    ]


def _faults(written: Mapping[str, Any], told: Mapping[Hashable, Told]) -> list[Fault]:
    missing = [output for output in _outputs(written, told) if output not in told]
    lost = [Fault(MISSING, f"the outputs name node {output!r}, and there is no such node") for output in missing]
    return [*in_order(told)[1], *missing_inputs(told), *lost]


def _graph(written: Mapping[str, Any]) -> tuple[Graph, list[Any]]:
    told = _told(written)
    raise_first(_faults(written, told))
    reader = _GraphReader(written, told)
    outputs = reader.read()
    return lower(outputs), outputs


class _GraphReader:
    def __init__(self, written: Mapping[str, Any], told: Mapping[Hashable, Told]) -> None:
        self.written, self.told = written, told
        self.rows = {row["id"]: row for row in listed(written, "nodes", "the graph")}
        self.made: dict[Hashable, Any] = {}
        self.functions = _Functions()
        values = listed(written, "values", "the graph")
        self.reader = Reader({"$node": lambda body: self.made[body], **_lazy_tags()}, values)
        self.scopes = Scopes(listed(written, "scopes", "the graph"))

    def read(self) -> list[Any]:
        """Make a promise of every node, inputs first; return those that are the outputs."""
        for node in in_order(self.told)[0]:
            row = self.rows[node]
            caught = "failure_of" in row
            self.made[node] = self.scopes.failure_of(row["failure_of"], node) if caught else self._node(node, row)
        self.scopes.enclose(self.made)
        outputs = _outputs(self.written, self.told)
        callbacks = [node for node, row in self.rows.items() if row.get("callback")]
        self.scopes.hang(
            ((self.made[node], map(self.made.get, self.told[node].reads)) for node in callbacks),
            [self.made[node] for node in outputs],
        )
        return [self.made[node] for node in outputs]

    def _node(self, node: Hashable, row: Mapping[str, Any]) -> Delayed:
        where = f"node {node!r}" + (f" ({row['origin']})" if row.get("origin") else "")
        site = str(row.get("origin") or "a JSON text")
        after = tuple(self.made[read] for read in listed(row, "after", where))
        scope = self.scopes.at(row.get("scope", 0))
        options = _read_options(self.reader, row, where)
        if "function" not in row:
            if "value" not in row:
                raise InvalidOption(f"{where} has neither a function nor a value")
            value = self.reader.read(row["value"], where)
            named = options if options.name else changed(options, where, {"name": str(node)})
            return build(identity, (value,), {}, named, site, after, scope)
        function, contract = self.functions.named(row["function"], options, where)
        args, kwargs = _read_call(self.reader, row, where)
        contract.check(tuple(args), kwargs, site)
        return build(function, args, kwargs, options, site, after, scope)


# -- canvases --------------------------------------------------------------------------------------


def _canvas(written: Mapping[str, Any]) -> Canvas:
    only(written, _CANVAS, "the canvas")
    promises = written.get("promises")
    made = _graph(only(promises, _GRAPH, "the promises"))[1] if promises is not None else []
    reader = _CanvasReader(made, listed(written, "values", "the canvas"))
    for at, row in enumerate(listed(written, "parts", "the canvas")):
        reader.part(row, f"part {at}")
    if not reader.made:
        raise InvalidOption("the canvas has no parts")
    return reader.made[-1]


class _CanvasReader:
    def __init__(self, promises: list[Any], values: Sequence[Any]) -> None:
        self.made: list[Canvas] = []
        self.functions = _Functions()
        special = {"$part": self._at(self.made), "$promise": self._at(promises), **_lazy_tags()}
        self.reader = Reader(special, values)

    @staticmethod
    def _at(things: Sequence[Any]) -> Callable[[Any], Any]:
        def find(body: Any) -> Any:
            if not isinstance(body, int) or not 0 <= body < len(things):
                raise InvalidOption(f"there is no part or promise {body!r} before it")
            return things[body]

        return find

    def part(self, row: Any, where: str) -> None:
        """Read one part."""
        kind = next((kind for kind in _KINDS if isinstance(row, dict) and kind in row), None)
        if kind is None:
            raise InvalidOption(f"{where} is none of {', '.join(_KINDS)}")
        make, fields = _KINDS[kind]
        try:
            canvas = make(self, only(row, _PART | fields | {kind}, where), where)
        except WrongCanvas as error:
            raise InvalidOption(f"{where}: {error}") from None
        holds = only(row.get("set", {}), NAMES, f"{where}, set")
        canvas._said = said(where, {name: self.reader.read(one, f"{where}, {name}=") for name, one in holds.items()})
        canvas._links = tuple(self._callbacks(row, "links", where))
        canvas._handlers = tuple(self._callbacks(row, "handlers", where))
        self.made.append(canvas)

    def _callbacks(self, row: Mapping[str, Any], name: str, where: str) -> Iterator[Canvas]:
        for number in listed(row, name, where):
            yield self.reader.read({"$part": number}, f"{where}, {name}")

    def signature(self, row: Mapping[str, Any], where: str) -> Signature:
        """Read one call."""
        options = _read_options(self.reader, row, where)
        function, contract = self.functions.named(row["signature"], options, where)
        args, kwargs = _read_call(self.reader, row, where)
        site = str(row.get("origin") or "a JSON text")
        contract.check_part(tuple(args), kwargs, site)
        return Signature(function, contract, options, tuple(args), kwargs, row.get("immutable") is True, site)

    def chain(self, row: Mapping[str, Any], where: str) -> Canvas:
        """Read a chain."""
        return chain(self._parts(row, "chain", where))

    def group(self, row: Mapping[str, Any], where: str) -> Canvas:
        """Read a group."""
        made: Canvas = group(self._parts(row, "group", where), **_ways(row, where))
        return made

    def header(self, row: Mapping[str, Any], where: str) -> Canvas:
        """Read a chord's header without its body."""
        made: Canvas = chord(self._parts(row, "header", where), **_ways(row, where))
        return made

    def each(self, row: Mapping[str, Any], where: str) -> Canvas:
        """Read a fan-out."""
        member = self.reader.read(row["each"], where)
        if not isinstance(member, Canvas):
            raise InvalidOption(f"{where}: each is of a canvas, not of {member!r}")
        return Each(member, str(row.get("origin") or "a JSON text"), **_ways(row, where))

    def _parts(self, row: Mapping[str, Any], kind: str, where: str) -> list[Any]:
        return [self.reader.read(one, where) for one in listed(row, kind, where)]


def _ways(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    ways = {name: row[name] for name in ("on_error", "fail_fast") if name in row}
    flag(row, "fail_fast", where)
    return ways


_KINDS: Mapping[str, tuple[Callable[[_CanvasReader, Mapping[str, Any], str], Canvas], frozenset[str]]] = {
    "signature": (_CanvasReader.signature, frozenset({"args", "kwargs", "immutable", "options", "origin"})),
    "chain": (_CanvasReader.chain, frozenset()),
    "group": (_CanvasReader.group, frozenset({"on_error", "fail_fast"})),
    "header": (_CanvasReader.header, frozenset({"on_error", "fail_fast"})),
    "each": (_CanvasReader.each, frozenset({"origin", "on_error", "fail_fast"})),
}
"""What a part can be, how it is read, and which fields it may have."""
