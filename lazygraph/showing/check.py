"""What is wrong with a graph, said before anything runs.

Every finding has a code that stays the same for ever (`CODES`); it says what is wrong, where, and what to do.  Nothing
of the user's is run, except what pickle calls to see whether a value could travel.

Covers: the checks, and what they have to know of an executor, as plain values.
Does not cover: finding out what an executor can do (door), refusing a plan (executors.base).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from lazygraph.errors import LargeLiteralWarning
from lazygraph.planning.faults import CYCLE, MISSING, NO_CALL, UNUSED
from lazygraph.planning.lower import function_of
from lazygraph.planning.plan import Plan
from lazygraph.showing.annotated import Annotated, element_of, never_fits, shown
from lazygraph.showing.sendable import LARGE, Attempt, attempt, attempts, culprit, resource, variables, without_repeats
from lazygraph.values.graph import DEEP, PREVIOUS, Fused, consumers_of

if TYPE_CHECKING:
    from lazygraph.planning.faults import Fault
    from lazygraph.values.graph import Graph, Shape
    from lazygraph.values.template import Template

Severity = Literal["error", "warning"]

CODES: Mapping[str, str] = {
    "LG001": "a cycle: a node waits for itself",
    "LG002": "a missing input: a node reads one that is not there",
    "LG003": "an argument that cannot be sent to another process",
    "LG004": "a function that cannot be sent to another process",
    "LG005": "a function that takes a large object along",
    "LG006": "a function that takes a lock, socket, file, generator or thread along",
    "LG007": "a large literal among the arguments",
    "LG008": "an option that the executor does not honour",
    "LG009": "a queue, resource or worker that no worker has",
    "LG010": "an edge whose annotated types cannot match",
    "LG011": "a node nobody uses",
    "LG012": "a node that is no call, or a call that its function cannot take",
}
"""What each code means.  A code is never given another meaning."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: `error` when the graph cannot run like this, `warning` when it may.

    `node` and `origin` (file:line) say where; the message says it too, and what to do.
    """

    code: str
    severity: Severity
    message: str
    node: str = ""
    origin: str = ""

    def __str__(self) -> str:
        return f"{self.code} {self.severity}: {self.message}"


class Target(NamedTuple):
    """What is known of the executor that is to run a graph.

    `sends`: whether graphs leave this process.  `offers`: what its workers have, for instance
    `{"queues": ["io"], "resources": {"gpu": 2}, "workers": ["w1"]}`; what is not in it is not checked.
    """

    name: str
    capabilities: Collection[str]
    sends: bool
    offers: Mapping[str, Any] = {}


def check(graph: Graph, target: Target | None = None) -> list[Finding]:
    """Return what is wrong with a graph, in the order of the codes; with a target also what that one cannot do.

    Costs about 0.1 s for ten thousand nodes: each function and each constant is looked at once.
    """
    asked = _Asked(graph, target)
    return [finding for look in _CHECKS for finding in look(asked)]


class _Asked:
    """A graph, a target, and who calls what."""

    def __init__(self, graph: Graph | Plan, target: Target | None) -> None:
        self.target = target
        self.shape, self.tables = graph.shape, graph.tables

    @property
    def sends(self) -> bool:
        """Whether the graph may leave this process: nobody has said that it will not."""
        return self.target is None or self.target.sends

    def at(self, entry: int, code: str, severity: Severity, message: str) -> Finding:
        """Return a finding about an entry; its name and place are put in front of the message."""
        return _finding(self.shape.name_of(entry), self.shape.origin_of(entry), code, severity, message)

    def of(self, call: _Call, code: str, severity: Severity, message: str) -> Finding:
        """Return a finding about a call; its name and place are put in front of the message."""
        return _finding(self.name(call), self.origin(call), code, severity, message)

    @property
    def unsendable(self) -> Severity:
        """How bad it is that something cannot travel: that depends on whether it must."""
        return "error" if self.target is not None and self.target.sends else "warning"

    def tasks(self) -> range:
        """Return the entries that are tasks."""
        return range(self.shape.externals, len(self.shape))

    def calls(self) -> Iterator[_Call]:
        """Yield every call of every task; a fused task has several."""
        shape, functions = self.shape, self.tables.functions
        for at in self.tasks():
            row = shape.function[at]
            function = functions[row]
            numbers = shape.arguments[shape.argument_offsets[at] : shape.argument_offsets[at + 1]]
            if not isinstance(function, Fused):
                yield _Call(at, row, shape.template[at], numbers, shape.origin[at])
                continue
            for step in function.steps:
                yield _Call(at, step.function, step.template, numbers[: step.arguments], step.origin)
                numbers = numbers[step.arguments :]

    def name(self, call: _Call) -> str:
        """Return what a call is named: as its node, or in a fused one as its function."""
        alone = self.shape.function[call.entry] == call.function
        return self.shape.name_of(call.entry) if alone else self.shape.names[call.function]

    def origin(self, call: _Call) -> str:
        """Return where a call was written."""
        return str(self.shape.origins[call.origin]) if call.origin >= 0 else ""


class _Call(NamedTuple):
    entry: int
    function: int
    template: int
    arguments: Any
    origin: int


def _finding(name: str, origin: str, code: str, severity: Severity, message: str) -> Finding:
    return Finding(code, severity, f"{place_of(name, origin)}: {message}", name, origin)


def place_of(name: str, origin: str) -> str:
    """Return how a finding names a node."""
    return f"node {name!r} ({origin})" if origin else f"node {name!r}"


# -- what travels ----------------------------------------------------------------------------------


def large_literals(plan: Graph | Plan) -> Iterator[LargeLiteralWarning]:
    """Yield a warning for each large literal of a plan that is about to be sent; each constant is pickled once."""
    asked = _Asked(plan, None)
    for call, where, _, how in _suspects(asked):
        if how.error is None:
            yield LargeLiteralWarning(f"{where} of {asked.name(call)!r}", how.size, asked.origin(call))


def _suspects(asked: _Asked) -> Iterator[tuple[_Call, str, Any, Attempt]]:
    """Yield each constant that is large or cannot travel, with the first call that reads it and as which argument."""
    constants = asked.tables.constants
    waiting = {~row: how for row, how in attempts(constants).items()}
    if not waiting:
        return
    for call in asked.calls():
        for leaf, number in enumerate(call.arguments):
            how = waiting.pop(number, None) if PREVIOUS + DEEP <= number < 0 else None
            if how is not None:
                template = asked.tables.templates[call.template]
                yield call, _leaf_names(template, len(call.arguments))[leaf], constants[~number], how
        if not waiting:
            return


def _arguments(asked: _Asked) -> Iterator[Finding]:
    for call, where, value, how in _suspects(asked):
        yield from _argument(asked, call, where, value, how)


def _argument(asked: _Asked, call: _Call, where: str, value: Any, how: Attempt) -> Iterator[Finding]:
    if how.error is not None:
        guilty = culprit(value, how.error)
        known = resource(guilty.thing)
        at = f", at {guilty.path.strip()}" if guilty.path else ""
        message = (
            f"{where}{at}: {_described(guilty.thing, known)} cannot be sent to another process "
            f"({_reason(guilty.error)}); {known[1] if known else 'make it inside the task, or send what it is made of'}"
        )
        yield asked.of(call, "LG003", asked.unsendable, message)
    elif asked.sends:
        message = (
            f"{where} is a literal of {_size(how)} that is sent with the graph every time; load it in a task, "
            f"or send it once with client.scatter(value) and use the future"
        )
        yield asked.of(call, "LG007", "warning", message)


def _functions(asked: _Asked) -> Iterator[Finding]:
    functions = asked.tables.functions
    rows = [row for row, function in enumerate(functions) if not isinstance(function, Fused)]
    found = attempts(without_repeats([functions[row] for row in rows]))
    troubled = {rows[at]: how for at, how in found.items()}
    carried = {row: taken for row in rows if (taken := variables(functions[row]))}
    waiting = {*troubled, *(row for row, taken in carried.items() if any(resource(v.value) for v in taken))}
    if not waiting:
        return
    for call in asked.calls():
        if call.function in waiting:
            waiting.remove(call.function)
            yield from _function(asked, call, troubled.get(call.function), carried.get(call.function, []))
        if not waiting:
            return


def _function(asked: _Asked, call: _Call, how: Attempt | None, carried: list[Any]) -> Iterator[Finding]:
    name = asked.shape.names[call.function]
    blamed = False
    for variable in carried:
        known = resource(variable.value)
        if known is None:
            continue
        blamed = True
        message = (
            f"function {name!r} takes a {known[0]} along ({variable.kind} {variable.name!r}: "
            f"{_described(variable.value, None)}), which belongs to this process; {known[1]}"
        )
        yield asked.of(call, "LG006", asked.unsendable, message)
    if how is None or blamed:
        return
    if how.error is not None:
        guilty = culprit(asked.tables.functions[call.function], how.error)
        at = f", because of{guilty.path}: {_described(guilty.thing, None)}" if guilty.path else ""
        message = (
            f"function {name!r} cannot be sent to another process{at} ({_reason(guilty.error)}); "
            f"define it in a module, or give what it needs as an argument that can be sent"
        )
        yield asked.of(call, "LG004", asked.unsendable, message)
    elif asked.sends:
        yield from _large_function(asked, call, how, carried)


def _large_function(asked: _Asked, call: _Call, how: Attempt, carried: list[Any]) -> Iterator[Finding]:
    name = asked.shape.names[call.function]
    sized = [(variable, attempt(variable.value)) for variable in carried]
    large = [f"{variable.kind} {variable.name!r} of {_size(one)}" for variable, one in sized if one.size > LARGE]
    what = ", ".join(large) or f"{_size(how)} in all"
    message = (
        f"function {name!r} takes a large object along ({what}), again for every graph that calls it; "
        f"give it as an argument that a task loads, or that was scattered"
    )
    yield asked.of(call, "LG005", "warning", message)


def _described(thing: Any, known: tuple[str, str] | None) -> str:
    kind = type(thing)
    name = getattr(thing, "__qualname__", None)
    if isinstance(name, str) and (callable(thing) or known):
        return f"{known[0] if known else kind.__name__} {name!r}"
    full = (
        kind.__qualname__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__qualname__}"
    )
    return f"{known[0]} <{full}>" if known else f"<{full}>"


def _reason(error: BaseException) -> str:
    text = f"{type(error).__name__}: {error}".replace("\n", " ")
    return text if len(text) <= 160 else f"{text[:157]}..."


def _size(how: Attempt) -> str:
    more = "more than " if how.size > 10 * LARGE else ""
    return f"{more}{min(how.size, 10 * LARGE) / 1e6:.0f} MB"


# -- what is asked of the executor -----------------------------------------------------------------


def _options(asked: _Asked) -> Iterator[Finding]:
    if asked.target is None:
        return
    for need in Plan(asked.shape, asked.tables).needs():
        if need.option not in asked.target.capabilities:
            message = (
                f"executor {asked.target.name!r} does not honour {need.option}=; "
                f"remove the option or choose another executor"
            )
            yield _finding(need.node, need.origin, "LG008", "error", message)


def _offers(asked: _Asked) -> Iterator[Finding]:
    offers = asked.target.offers if asked.target is not None else {}
    if not offers:
        return
    rows = {row: missing for row, o in enumerate(asked.shape.options) if (missing := list(_not_offered(o, offers)))}
    for at in asked.tasks() if rows else ():
        for what in rows.pop(asked.shape.option[at], ()):
            message = f"{what}; the node waits until one comes (start one, or correct the name)"
            yield asked.at(at, "LG009", "warning", message)


def _not_offered(row: Any, offers: Mapping[str, Any]) -> Iterator[str]:
    if "queues" in offers and row.queue not in offers["queues"]:
        yield f"no worker takes queue {row.queue!r} (there are: {_listed(offers['queues'])})"
    held: Collection[str] = offers.get("resources", ())
    for name, amount in row.resources if "resources" in offers else ():
        if name not in held:
            yield f"no worker has resource {name!r} (there are: {_listed(held)})"
        elif isinstance(held, Mapping) and held[name] < amount:
            yield f"no worker has {amount:g} of resource {name!r} (the most is {held[name]:g})"
    if row.workers and "workers" in offers and not set(row.workers) & set(offers["workers"]):
        yield f"there is no worker {_listed(row.workers)} (there are: {_listed(offers['workers'])})"


def _listed(names: Collection[str]) -> str:
    return ", ".join(map(repr, sorted(names))) or "none"


# -- types of edges --------------------------------------------------------------------------------


def _edges(asked: _Asked) -> Iterator[Finding]:
    """Compare what a node gives with what its reader's parameter wants; each pair of functions and place once."""
    shape, tables = asked.shape, asked.tables
    if any(isinstance(function, Fused) for function in tables.functions):
        return  # written for graphs as people write them
    known = _Known(asked)
    seen: set[tuple[int, int, bool, _Place | None]] = set()
    for at in asked.tasks():
        first, row, template = shape.input_offsets[at], shape.function[at], shape.template[at]
        bound = shape.options[shape.option[at]].bind
        numbers = shape.arguments[shape.argument_offsets[at] : shape.argument_offsets[at + 1]]
        for leaf, number in enumerate(numbers):
            read = shape.inputs[first + number] if number >= 0 else -1
            if read < shape.externals:
                continue
            place = known.place(template, leaf)
            edge = (shape.function[read], row, bound, place)
            if place is None or edge in seen:
                continue
            seen.add(edge)
            given = known.annotated(shape.function[read]).returns
            wanted = known.annotated(row, int(bound)).wants(place.parameter)
            wanted = element_of(wanted) if place.inside else wanted
            if never_fits(given, wanted):
                yield asked.at(at, "LG010", "warning", _mismatch(shape, read, place, given, wanted))


def _mismatch(shape: Shape, read: int, place: _Place, given: Any, wanted: Any) -> str:
    item = "each item of " if place.inside else ""
    return (
        f"{item}{_parameter(place.parameter)} is annotated {shown(wanted)}, but it is the value of "
        f"{place_of(shape.name_of(read), shape.origin_of(read))}, which is annotated {shown(given)}; "
        f"correct the call or one of the annotations"
    )


class _Place(NamedTuple):
    """Which parameter a leaf goes to: as it is, or `inside` of a list, set or frozenset."""

    parameter: int | str
    inside: bool


class _Known:
    """Annotations of functions and places of leaves, each worked out once."""

    def __init__(self, asked: _Asked) -> None:
        self.tables = asked.tables
        self._annotated: dict[tuple[int, int], Annotated] = {}
        self._places: dict[int, list[_Place | None]] = {}

    def annotated(self, row: int, bound: int = 0) -> Annotated:
        """Return the annotations of a function; `bound` first parameters are not the caller's."""
        known = self._annotated.get((row, bound))
        if known is None:
            known = self._annotated[row, bound] = Annotated(function_of(self.tables, row), bound)
        return known

    def place(self, row: int, leaf: int) -> _Place | None:
        """Return where a leaf of a call goes, or None when it is deep inside something."""
        template = self.tables.templates[row]
        if template is None:
            return _Place(leaf, inside=False)
        if row not in self._places:
            self._places[row] = _places(template)
        return self._places[row][leaf]


_LISTS = frozenset({"list", "set", "frozenset"})


def _places(template: Template) -> list[_Place | None]:
    """Run the template over the leaves' numbers and see where each arrives."""
    places: list[_Place | None] = [None] * template.leaves
    for parameter, arrived in zip(_parameters(template), _arrived(template), strict=True):
        if isinstance(arrived, int):
            places[arrived] = _Place(parameter, inside=False)
        elif arrived[0] in _LISTS:
            for part in arrived[1]:
                if isinstance(part, int):
                    places[part] = _Place(parameter, inside=True)
    return places


def _parameters(template: Template) -> list[int | str]:
    return [*range(template.positional), *template.keywords]


def _arrived(template: Template) -> list[Any]:
    """Return what is on the stack after a template: a leaf's number, or (kind, parts)."""
    stack: list[Any] = []
    leaf = 0
    for kind, size, _ in template.ops:
        if kind == "leaf":
            stack.extend(range(leaf, leaf + size))
            leaf += size
        else:
            first = len(stack) - size
            stack[first:] = [(kind, stack[first:])]
    return stack


def _leaf_names(template: Template | None, leaves: int) -> list[str]:
    """Return what people call each leaf of a call: the argument that it is, or that it is somewhere inside of."""
    if template is None:
        return [_parameter(at) for at in range(leaves)]
    names = [""] * leaves
    for parameter, arrived in zip(_parameters(template), _arrived(template), strict=True):
        waiting = [arrived]
        while waiting:
            top = waiting.pop()
            if isinstance(top, int):
                names[top] = _parameter(parameter)
            else:
                waiting.extend(top[1])
    return names


def _parameter(parameter: int | str) -> str:
    return f"argument {parameter + 1}" if isinstance(parameter, int) else f"argument {parameter}="


# -- what is there for nothing, and graphs that are none yet ---------------------------------------


def _unused(asked: _Asked) -> Iterator[Finding]:
    # Lowering walks from the outputs, so only a graph that was put together otherwise has such nodes.
    shape = asked.shape
    offsets, _ = consumers_of(shape)
    wanted = {*shape.outputs, *shape.callbacks}
    for at in asked.tasks():
        if offsets[at] == offsets[at + 1] and at not in wanted:
            yield asked.at(at, "LG011", "warning", "no output needs this node; remove it, or make it an output")


_CHECKS = (_arguments, _functions, _options, _offers, _edges, _unused)

_OF_FAULTS: Mapping[str, tuple[str, Severity]] = {
    CYCLE: ("LG001", "error"),
    MISSING: ("LG002", "error"),
    UNUSED: ("LG011", "warning"),
    NO_CALL: ("LG012", "error"),
}


def found_in(fault: Fault) -> Finding:
    """Return the finding for what is wrong with a description that is no graph yet (planning.faults)."""
    code, severity = _OF_FAULTS[fault.kind]
    return Finding(code, severity, fault.message, fault.node, fault.origin)
