"""Filling: what a canvas becomes when the values before it are known.

`filling` of a canvas is a generator: it yields the fillings of its parts and is sent what they became.  `run` drives
them on a stack of its own, so that no nesting of canvases is ever walked by recursion.

Covers: what a filling is given and what it results in, running one, callbacks.
Does not cover: what each kind of canvas does (language.canvas, language.signature, language.dynamic).
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from lazygraph.language.members import GATHERS
from lazygraph.language.promise import Delayed, build
from lazygraph.values.node import External, Node, NodeScope, identity
from lazygraph.values.options import Said, TaskOptions, together

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lazygraph.values.node import Site

Waited = tuple[Node | External, ...]
"""What must have ended although no value mentions it."""

GATHER = TaskOptions(name="gather")

FIRST_ONLY = frozenset({"countdown", "eta"})
"""Options that on a canvas hold back only what comes first in it."""


class Before(NamedTuple):
    """What comes before a canvas: values to put in front, what to wait for, keyword arguments to merge in.

    `step` is the canvas step that became these values.
    """

    values: tuple[Any, ...] = ()
    after: Waited = ()
    kwargs: Mapping[str, Any] = {}
    step: Filled | None = None


class Within(NamedTuple):
    """What a canvas stands in: options that hold unless a node says its own, and the scope that its nodes belong to.

    `noted` is for whoever starts it: each step's node, and the step it was filled behind.  `first` are options that
    hold only for the first nodes: a canvas is held back as a whole, not again at each step.
    """

    said: Said = ()
    scope: NodeScope | None = None
    noted: list[tuple[Node, Filled | None]] | None = None
    first: Said = ()

    def saying(self, own: Said) -> Within:
        """Return what stands in a canvas that says options itself."""
        if not own:
            return self
        ahead = tuple(one for one in own if one[0] in FIRST_ONLY)
        rest = tuple(one for one in own if one[0] not in FIRST_ONLY)
        return self._replace(said=together(self.said, rest), first=together(self.first, ahead))

    def of_call(self, own: Said) -> Said:
        """Return what holds for a call that says options itself."""
        return together(together(self.said, self.first) if self.first else self.said, own)

    def later(self) -> Within:
        """Return what the steps behind the first stand in."""
        return self._replace(first=()) if self.first else self


NOTHING, NOWHERE = Before(), Within()


class Filled(NamedTuple):
    """What a canvas became: a promise or nested lists of promises, and what to wait for that no value mentions.

    `given` says that the value, or its first, may be in other hands too: no callback may be hung on it; `before` is the
    step that a group was filled behind; `on_error` is what its group does about members that have no value; `takes` is
    whether a member of it got what comes before; `holders` are the nodes that callbacks of empty groups hang on.
    """

    value: Any
    after: Waited = ()
    given: bool = False
    before: Filled | None = None
    on_error: str = "raise"
    takes: bool = False
    holders: Waited = ()


Filling = Generator[Any, Any, Filled]


def run(filling: Filling) -> Filled:
    """Drive a filling, and those it asks for, to the end."""
    stack: list[Generator[Any, Any, Any]] = [filling]
    answer: Any = None
    while True:
        try:
            asked = stack[-1].send(answer)
        except StopIteration as end:
            answer = end.value
            stack.pop()
            if not stack:
                filled: Filled = answer
                return filled
        else:
            stack.append(asked)
            answer = None


def as_node(filled: Filled) -> Delayed:
    """Return one promise for what a canvas became: of a list where it ended in a group."""
    if isinstance(filled.value, Delayed) and not filled.after:
        return filled.value
    gather = GATHERS.get(filled.on_error, identity)
    return build(gather, (filled.value,), {}, GATHER, _site_of(filled.value), filled.after)


def behind(filled: Filled) -> Before:
    """Return what the next step has before it."""
    if filled.on_error in GATHERS:
        return Before((as_node(filled),), (), {}, filled)
    return Before((filled.value,), filled.after, {}, filled)


# -- callbacks -------------------------------------------------------------------------------------


def scoped(
    handlers: Sequence[Any], within: Within, fail_fast: bool = False, contained: bool = False
) -> Generator[Any, Any, Within]:
    """Open the scope that handlers of its failure answer for: each is a canvas that gets the `Failure`."""
    if not handlers and not fail_fast and not contained:
        return within
    scope = NodeScope(within.scope, fail_fast, contained)
    for canvas in handlers:
        handler = yield canvas.filling(Before((scope.caught,)), NOWHERE)
        scope.handlers.append(as_node(handler))
    return within._replace(scope=scope)


def ends_with(filled: Filled, within: Within) -> None:
    """Note that a scope has failed when what was filled has no value: what fails in it may be done without."""
    assert within.scope is not None
    within.scope.ends.extend(filled.value if isinstance(filled.value, list) else [filled.value])
    within.scope.ends.extend(filled.after)


def given_in(scope: NodeScope | None, node: Node | External) -> Filled:
    """Return what a promise that was made elsewhere becomes in a canvas: itself, and of its scope too."""
    if scope is not None:
        scope.given.append(node)
    return Filled(node, given=True)


def linked(filled: Filled, links: Sequence[Any], *, a_list: bool) -> Filling:
    """Hang callbacks on what a canvas became: each is a canvas that gets its value.  A list stays a list."""
    if not links:
        return filled
    filled, holder, whole = _held(filled, a_list)
    for canvas in links:
        callback = yield canvas.filling(Before((whole,)), NOWHERE)
        holder._links += (as_node(callback),)
    return filled


def _held(filled: Filled, a_list: bool, scope: NodeScope | None = None) -> tuple[Filled, Node, Node]:
    """Return the same with a node made here that callbacks can hang on, that node, and the one that holds the value.

    Never a node that somebody else has: lowering twice must not link twice.
    """
    values, given = filled.value, filled.given
    if a_list and values:
        first = build(identity, (values[0],), {}, GATHER, values[0]._site, (), scope) if given else values[0]
        filled = filled._replace(value=[first, *values[1:]], given=False)
        return filled, first, as_node(filled)
    node = as_node(filled)
    if given and node is values:
        node = build(identity, (node,), {}, GATHER, node._site, (), scope)
    # Nobody reads an empty list, but what comes next can wait for the node that holds it.
    empty = filled._replace(value=[], after=(node,), given=False, holders=(node,))
    return (empty if a_list else Filled(node)), node, node


def owned(filled: Filled, within: Within, *, a_list: bool) -> Filled:
    """Return the same with a node of the scope in it, if what it was filled with was all made elsewhere."""
    if not filled.given or (a_list and not filled.value):
        return filled
    return _held(filled, a_list, within.scope)[0]


def _site_of(value: Any) -> Site | str:
    while isinstance(value, list):
        if not value:
            return "an empty group"
        value = value[0]
    return value._site if isinstance(value, Node) else "a canvas"


def nodes_in(values: Sequence[Any]) -> Waited:
    """Return every promise in (nested lists of) promises, in order."""
    found: list[Node | External] = []
    stack = list(reversed(values))
    while stack:
        top = stack.pop()
        if isinstance(top, list):
            stack.extend(reversed(top))
        elif isinstance(top, Node | External):
            found.append(top)
    return tuple(found)
