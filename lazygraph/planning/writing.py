"""Graphs and canvases as JSON texts: a plan made here runs there.

A graph is a list of nodes, inputs first, each with its function's name and its arguments; a canvas is a list of parts,
parts before wholes, the last one the whole, and the promises in it are one graph.  Both are flat, whatever is nested.

Covers: writing; what cannot be written is an error that names node, argument and type.
Does not cover: reading (planning.reading), values (values.tagged).
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from lazygraph.errors import InvalidOption
from lazygraph.language.canvas import Canvas, Chain, Group, Header
from lazygraph.language.dynamic import Each
from lazygraph.language.promise import is_lazy
from lazygraph.language.signature import Signature
from lazygraph.language.travel import Travelling
from lazygraph.planning.lower import function_of, lower
from lazygraph.planning.scoping import row_of
from lazygraph.values.graph import ORDER, Graph
from lazygraph.values.node import Caught, External, Node, Quoted, Recipe
from lazygraph.values.options import DEFAULT
from lazygraph.values.tagged import Writer, by_name, name_for
from lazygraph.values.template import PLAIN, put_together, take_apart

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from lazygraph.values.options import Said, TaskOptions

VERSION = 1


def to_json(thing: Graph | Canvas) -> str:
    """Return the text of a graph or a canvas.  Raises `InvalidOption` for what has no name or no JSON."""
    kind, written = ("graph", graph_written(thing)) if isinstance(thing, Graph) else ("canvas", canvas_written(thing))
    return json.dumps({"lazygraph": kind, "version": VERSION, **written}, allow_nan=False)


def _lazy_value(value: Any) -> Any:
    """Write something lazy that is data: a canvas or a promise that was quoted."""
    if isinstance(value, Canvas):
        return {"$canvas": canvas_written(value)}
    if isinstance(value, Recipe):
        return _delayed_function(value)
    if isinstance(value, Node):
        return {"$graph": graph_written(lower([value]))}
    if isinstance(value, Travelling):
        return {"$function": name_for(value.function)}
    if isinstance(value, External):
        raise InvalidOption(f"{value!r} is held by an executor and has no JSON; compute it and give its value")
    return None


def _delayed_function(value: Any) -> dict[str, Any]:
    name = name_for(value._leaves[0])
    if by_name(name) is not value and value._options_of_calls != DEFAULT:
        raise InvalidOption(f"{value!r} has options of its own and no name that leads to it; give it a name of its own")
    return {"$delayed": name}


def _options(writer: Writer, row: TaskOptions, where: str) -> dict[str, Any]:
    return {name: writer.write(getattr(row, name), f"{where}, option {name}=") for name in row.asked()}


def _said(writer: Writer, holds: Said, where: str) -> dict[str, Any]:
    return {name: writer.write(value, f"{where}, option {name}=") for name, value in holds}


def _filled(**said: Any) -> dict[str, Any]:
    """Return what says something."""
    return {name: value for name, value in said.items() if value not in (None, [], {}, False, "")}


# -- graphs ----------------------------------------------------------------------------------------


class _Leaf:
    """Stands in a call for a leaf: an input (n >= 0) or a constant."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number


def graph_written(graph: Graph) -> dict[str, Any]:
    """Return a graph as what json takes."""
    return _GraphWriter(graph).written()


class _GraphWriter:
    def __init__(self, graph: Graph) -> None:
        self.graph, self.shape, self.tables = graph, graph.shape, graph.tables
        self.lazy = False
        self.reads: Any = ()
        self.where = self.argument = ""
        self.writer = Writer(self._special)
        self._constants: dict[int, Any] = {}
        self._uses = Counter(self.shape.arguments)

    def written(self) -> dict[str, Any]:
        """Write nodes, outputs and scopes."""
        shape = self.shape
        callbacks = set(shape.callbacks)
        catches = shape.catches
        nodes: list[dict[str, Any]] = []
        for at, external in enumerate(self.graph.externals):
            if not isinstance(external, Caught) or at not in catches:
                raise InvalidOption(f"{external!r} is held by an executor and has no JSON; compute it first")
            nodes.append({"id": at, "failure_of": catches[at]})
        nodes.extend(self._node(at, callback=at in callbacks) for at in self.graph.tasks())
        scopes = [row_of(scope) for scope in shape.scopes[1:]]
        # The values last: they have been collected by now.
        return {**_filled(values=self.writer.values, scopes=scopes), "nodes": nodes, "outputs": list(shape.outputs)}

    def _node(self, at: int, *, callback: bool) -> dict[str, Any]:
        shape = self.shape
        self.reads = shape.inputs_of(at)
        kinds = shape.kinds[shape.input_offsets[at] : shape.input_offsets[at + 1]]
        self.where = f"node {shape.name_of(at)!r} ({shape.origin_of(at)})"
        try:
            function = name_for(function_of(self.tables, shape.function[at]))
        except InvalidOption as error:
            raise InvalidOption(f"{self.where}: {error}") from None
        args, kwargs = self._call(at)
        said = _filled(
            args=[self._argument(arg, f"argument {n}") for n, arg in enumerate(args, 1)],
            kwargs={name: self._argument(arg, f"argument {name}=") for name, arg in kwargs.items()},
            after=[read for read, kind in zip(self.reads, kinds, strict=True) if kind == ORDER],
            options=_options(self.writer, shape.options[shape.option[at]], self.where),
            scope=shape.scope[at],
            callback=callback,
            origin=shape.origin_of(at),
        )
        return {"id": at, "function": function, **said}

    def _argument(self, value: Any, name: str) -> Any:
        self.argument = f"{self.where}, {name}"
        return self.writer.write(value, self.argument)

    def _call(self, at: int) -> tuple[list[Any], dict[str, Any]]:
        shape = self.shape
        numbers = shape.arguments[shape.argument_offsets[at] : shape.argument_offsets[at + 1]]
        # None is written as it is: `_special` says None of what is not special.
        constants = self.tables.constants
        leaves = [None if n < 0 and constants[~n] is None else _Leaf(n) for n in numbers]
        template = self.tables.templates[shape.template[at]]
        if template is None:
            return leaves, {}
        whole = put_together(template.ops, leaves)
        positional = template.positional
        return whole[:positional], dict(zip(template.keywords, whole[positional:], strict=True))

    def _special(self, value: Any) -> Any:
        if type(value) is _Leaf:
            return {"$node": self.reads[value.number]} if value.number >= 0 else self._constant(value.number)
        written = _lazy_value(value)
        self.lazy = self.lazy or (written is not None and type(value) is not Travelling)
        return written

    def _constant(self, number: int) -> Any:
        """Write a constant; one that several nodes read is written once."""
        if number in self._constants:
            return self._constants[number]
        value = self.tables.constants[~number]
        self.lazy = False
        written = self.writer.write(value, self.argument)
        if self.lazy or isinstance(value, Quoted):
            # Or what is lazy in it would be taken for an input when it is read.
            written = {"$quote": written}
        if self._uses[number] > 1 and type(value) not in PLAIN:
            written = self.writer.apart(written)
        self._constants[number] = written
        return written


# -- canvases --------------------------------------------------------------------------------------


def canvas_written(canvas: Canvas) -> dict[str, Any]:
    """Return a canvas as what json takes."""
    return _CanvasWriter().written(canvas)


class _CanvasWriter:
    def __init__(self) -> None:
        self.parts: list[dict[str, Any]] = []
        self.promises: list[Node] = []
        self.writer = Writer(self._special)
        self._number: dict[int, int] = {}
        self._promise: dict[int, int] = {}
        self._keep: list[Any] = []

    def written(self, canvas: Canvas) -> dict[str, Any]:
        """Write parts before wholes, on a stack of our own."""
        stack: list[Canvas] = [canvas]
        while stack:
            top = stack[-1]
            missing = [part for part in _canvases_in(top) if id(part) not in self._number]
            if missing and id(top) not in self._number:
                stack.extend(missing)
                continue
            stack.pop()
            if id(top) not in self._number:
                self._keep.append(top)  # parts that were made for the asking stay, so that their ids stay theirs
                self._number[id(top)] = len(self.parts)
                self.parts.append(self._part(top))
        promises = graph_written(lower(self.promises)) if self.promises else None
        return {**_filled(values=self.writer.values, promises=promises), "parts": self.parts}

    def _part(self, canvas: Canvas) -> dict[str, Any]:
        write = _KINDS.get(type(canvas))
        if write is None:
            raise InvalidOption(f"a {type(canvas).__name__} has no JSON")
        callbacks = _filled(
            set=_said(self.writer, canvas._said, repr(canvas)),
            links=[self._number[id(link)] for link in canvas._links],
            handlers=[self._number[id(handler)] for handler in canvas._handlers],
        )
        return {**write(self, canvas), **callbacks}

    def signature(self, signature: Signature) -> dict[str, Any]:
        """Write one call."""
        where = f"{signature.contract.name!r} ({signature.site})"
        try:
            function = name_for(signature.function)
        except InvalidOption as error:
            raise InvalidOption(f"{where}: {error}") from None
        kwargs = signature.kwargs.items()
        said = _filled(
            args=[self.writer.write(arg, f"{where}, argument {n}") for n, arg in enumerate(signature.args, 1)],
            kwargs={name: self.writer.write(arg, f"{where}, argument {name}=") for name, arg in kwargs},
            immutable=signature.immutable,
            options=_options(self.writer, signature.options, where) if signature.options is not DEFAULT else None,
            origin=str(signature.site),
        )
        return {"signature": function, **said}

    def composed(self, canvas: Any) -> dict[str, Any]:
        """Write a chain, group or header."""
        return {_WORDS[type(canvas)]: [self._special(part) for part in canvas.parts], **canvas._ways()}

    def each(self, canvas: Each) -> dict[str, Any]:
        """Write a fan-out."""
        return {"each": self._special(canvas.member), "origin": str(canvas.site), **canvas._ways()}

    def _special(self, value: Any) -> Any:
        if isinstance(value, Canvas):
            return {"$part": self._number[id(value)]}
        if isinstance(value, Node) and not isinstance(value, Recipe):
            at = self._promise.get(id(value))
            if at is None:
                at = self._promise[id(value)] = len(self.promises)
                self.promises.append(value)
            return {"$promise": at}
        return _lazy_value(value)


_WORDS: Mapping[type, str] = {Chain: "chain", Group: "group", Header: "header"}
_KINDS: Mapping[type, Callable[[_CanvasWriter, Any], dict[str, Any]]] = {
    Signature: _CanvasWriter.signature,
    **dict.fromkeys(_WORDS, _CanvasWriter.composed),
    Each: _CanvasWriter.each,
}


def _canvases_in(canvas: Any) -> list[Canvas]:
    """Return the canvases that one is made of, one level deep: its parts, arguments and callbacks."""
    callbacks = [*canvas._links, *canvas._handlers]
    if isinstance(canvas, Signature):
        return [*_canvases_among([*canvas.args, *canvas.kwargs.values()]), *callbacks]
    parts = [canvas.member] if isinstance(canvas, Each) else canvas.parts
    return [*(part for part in parts if isinstance(part, Canvas)), *callbacks]


def _canvases_among(values: list[Any]) -> Iterator[Canvas]:
    waiting = [leaf for leaf in take_apart(values, is_lazy)[0] if is_lazy(leaf)]
    for leaf in waiting:  # grows
        if isinstance(leaf, Quoted):
            waiting.extend(inner for inner in take_apart([leaf.value], is_lazy)[0] if is_lazy(inner))
        elif isinstance(leaf, Canvas):
            yield leaf
