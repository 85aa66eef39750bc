"""Equal pure calls are one node, and every key names one piece of work.

A literal is told by its content and an input by its position, so that no text can be taken for a reference, however
much it looks like one.  Constants and functions are digested once each (values.keys).

Covers: `share` (a pass), `content_keys` (what a call is, on every machine).
Does not cover: keeping values under their keys.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lazygraph.errors import DuplicateKey, Unkeyable
from lazygraph.planning.selecting import select
from lazygraph.values.canonical import CALL
from lazygraph.values.forms import Form, digest
from lazygraph.values.graph import DEEP, ORDER, PREVIOUS, Fused, Graph
from lazygraph.values.keys import Keys, as_key
from lazygraph.values.node import Node, Quoted, identity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lazygraph.values.graph import Shape
    from lazygraph.values.template import Template


def share(graph: Graph) -> Graph:
    """Merge pure nodes that make the same call with the same options, and nodes that were given the same key.

    Raises `DuplicateKey` if nodes with one key do different work, `Unkeyable` if an argument of a pure node has no
    content that could be compared.
    """
    shape = graph.shape
    named = _named(graph)
    pure = [row.key is None and row.is_pure for row in shape.options]
    if not named and not any(pure):
        return graph
    calls = Calls(graph)
    alias = list(range(len(shape)))
    seen: dict[Any, int] = {}
    for at in graph.tasks():
        if pure[shape.option[at]]:
            alias[at] = seen.setdefault(calls.identity(at, alias), at)
        elif at in named:
            alias[at] = calls.one_work(named[at], at, alias)
    keep = [at for at in range(len(shape)) if alias[at] == at]
    return graph if len(keep) == len(shape) else select(graph, keep, alias)


def _named(graph: Graph) -> dict[int, int]:
    """Map every entry that was given a key of an entry before it to the first one of that key."""
    shape = graph.shape
    keys = [row.key for row in shape.options]
    if not any(keys):
        return {}
    held = _holding(graph)
    first: dict[str, int] = {}
    named: dict[int, int] = {}
    for at in graph.tasks():
        key = keys[shape.option[at]]
        if key is None or (shape.function[at] in held and _is_external(shape, at)):
            continue  # what was persisted under a key is no other work than what it was made by
        if first.setdefault(key, at) != at:
            named[at] = first[key]
    return named


def _holding(graph: Graph) -> set[int]:
    """Return the rows of the function whose calls only hold something."""
    return {row for row, function in enumerate(graph.tables.functions) if function is identity}


def _is_external(shape: Shape, at: int) -> bool:
    reads = shape.inputs_of(at)
    return bool(reads) and max(reads) < shape.externals


def content_keys(graph: Graph) -> list[str | None]:
    """Return for each entry the key of its content if it and everything above it is pure, else None.

    Two entries with one key have equal values, in whatever graph, process or machine they are.  Options are not part
    of it: they say when and where, not what.  Raises `Unkeyable` as `share` does.
    """
    shape = graph.shape
    calls = Calls(graph)
    pure = [row.is_pure for row in shape.options]
    held = _holding(graph)
    tokens: list[bytes | None] = [None] * len(shape)
    for at in graph.tasks():
        if pure[shape.option[at]] or shape.function[at] in held:
            reads = [tokens[read] for read in shape.inputs_of(at)]
            if None not in reads:
                tokens[at] = calls.content(at, reads)  # type: ignore[arg-type]
    return [None if token is None else as_key(token) for token in tokens]


class Calls:
    """What the calls of a graph are made of, each function, template and constant digested at most once."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.keys = Keys()
        self._functions: dict[int, Any] = {}
        self._templates: dict[int, bytes] = {}
        self._constants: dict[int, bytes] = {}

    def identity(self, at: int, alias: Sequence[int]) -> tuple[Any, ...]:
        """Return what two entries have in common only if they are the same call of the same entries."""
        shape = self.graph.shape
        start, end = shape.input_offsets[at], shape.input_offsets[at + 1]
        reads = [alias[read] for read in shape.inputs[start:end]]
        given: list[Any] = []
        for number in shape.arguments[shape.argument_offsets[at] : shape.argument_offsets[at + 1]]:
            if number >= 0:
                given.append(reads[number])
            else:
                given.append(self._constants.get(number) or self._constant(number, at))
        return (
            self._functions.get(shape.function[at]) or self._function(shape.function[at], at),
            shape.template[at],
            shape.option[at],
            shape.scope[at],
            tuple(given),
            tuple(reads),
            shape.kinds[start:end],
        )

    def content(self, at: int, reads: Sequence[bytes]) -> bytes:
        """Return the token of a call whose inputs have these tokens, the same that the promise of it has."""
        shape = self.graph.shape
        tokens = [self._function(shape.function[at], at), self._template(shape.template[at])]
        numbers = shape.arguments[shape.argument_offsets[at] : shape.argument_offsets[at + 1]]
        tokens.extend(reads[number] if number >= 0 else self._constant(number, at) for number in numbers)
        kinds = shape.kinds[shape.input_offsets[at] : shape.input_offsets[at + 1]]
        tokens.extend(read for read, kind in zip(reads, kinds, strict=True) if kind == ORDER)
        return digest(Form(CALL), tokens)

    def function(self, at: int, also: Sequence[bytes] = ()) -> bytes:
        """Return the token of what an entry calls, and of what it waits for besides."""
        return digest(Form("function of a call"), [self._function(self.graph.shape.function[at], at), *also])

    def one_work(self, first: int, second: int, alias: Sequence[int]) -> int:
        """Return `first` if both entries do the same work, else raise `DuplicateKey`."""
        if self._whatever(first, alias) == self._whatever(second, alias):
            return first
        shape = self.graph.shape
        key = shape.options[shape.option[first]].key
        assert key is not None
        raise DuplicateKey(key, shape.origin_of(first), shape.origin_of(second))

    def _whatever(self, at: int, alias: Sequence[int]) -> tuple[Any, ...]:
        """Return the identity of an entry; what has no content there is the same only if it is one object."""
        try:
            return self.identity(at, alias)
        except Unkeyable:
            pass
        shape = self.graph.shape
        for number in shape.arguments[shape.argument_offsets[at] : shape.argument_offsets[at + 1]]:
            if number < 0:
                self._tolerated(self._constants, number, self._constant, at)
        self._tolerated(self._functions, shape.function[at], self._function, at)
        return self.identity(at, alias)

    @staticmethod
    def _tolerated(known: dict[int, Any], row: int, make: Any, at: int) -> None:
        try:
            make(row, at)
        except Unkeyable:
            known[row] = b"one %d" % row

    # -- rows --------------------------------------------------------------------------------------

    def _function(self, row: int, at: int) -> bytes:
        token: bytes | None = self._functions.get(row)
        if token is None:
            function = self.graph.tables.functions[row]
            try:
                token = self._fused(function, at) if isinstance(function, Fused) else self.keys.token(function)
            except Unkeyable as error:
                raise self._located(error, at, "its function") from None
            self._functions[row] = token
        return token

    def _fused(self, fused: Fused, at: int) -> bytes:
        steps = [
            token
            for step in fused.steps
            for token in (
                self._function(step.function, at),
                self._template(step.template),
                self.keys.token(step.arguments),
            )
        ]
        return digest(Form("calls one after another"), steps)

    def _template(self, row: int) -> bytes:
        token = self._templates.get(row)
        if token is None:
            token = self._templates[row] = self.keys.token(self.graph.tables.templates[row])
        return token

    def _constant(self, number: int, at: int) -> bytes:
        token = self._constants.get(number)
        if token is None:
            try:
                if number < PREVIOUS + DEEP:
                    token = b"P%d" % (number - PREVIOUS)
                else:
                    constant = self.graph.tables.constants[~number]
                    # Something lazy that is passed on as it is, is no input.
                    token = self.keys.token(Quoted(constant) if isinstance(constant, Node) else constant)
            except Unkeyable as error:
                raise self._located(error, at, self._argument(number, at)) from None
            self._constants[number] = token
        return token

    # -- sentences ---------------------------------------------------------------------------------

    def _located(self, error: Unkeyable, at: int, place: str) -> Unkeyable:
        shape = self.graph.shape
        path = f"{place}, {error.path}" if error.path else place
        return Unkeyable(error.thing, error.reason, path, f"pure node {shape.name_of(at)!r}, {shape.origin_of(at)}")

    def _argument(self, number: int, at: int) -> str:
        shape = self.graph.shape
        leaf = shape.arguments[shape.argument_offsets[at] : shape.argument_offsets[at + 1]].index(number)
        template = self.graph.tables.templates[shape.template[at]]
        return f"argument {leaf + 1}" if template is None else _place(template, leaf)


def _place(template: Template, leaf: int) -> str:
    """Return which argument of a call a leaf is in, and where inside of it."""
    places: list[dict[int, str]] = []  # for each thing on the stack: its leaves, and the way to them
    leaves = 0
    for kind, size, _ in template.ops:
        if kind == "leaf":
            places.extend({at: ""} for at in range(leaves, leaves + size))
            leaves += size
            continue
        first = len(places) - size
        step, word = (2, "value ") if kind in ("dict", "mapping", "defaultdict") else (1, "")
        items = enumerate(places[first:])
        places[first:] = [
            {at: f", [{word}{number // step}]{way}" for number, item in items for at, way in item.items()}
        ]
    names = [f"argument {at}" for at in range(1, template.positional + 1)]
    names.extend(f"argument {name!r}" for name in template.keywords)
    return next(name + place[leaf] for name, place in zip(names, places, strict=True) if leaf in place)
