"""Filling: what a canvas becomes when the values before it are known.

`filling` of a canvas is a generator: it yields the fillings of its parts and is sent what they became.  `run` drives
them on a stack of its own, so that no nesting of canvases is ever walked by recursion.

Covers: the result of a filling, running one, making one promise of it, callbacks.
Does not cover: what each kind of canvas does (language.canvas, language.signature).
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any, NamedTuple

from lazygraph.language.promise import Delayed, build
from lazygraph.values.node import External, Node, identity
from lazygraph.values.options import TaskOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lazygraph.values.node import Site

Waited = tuple[Node | External, ...]
"""What must have ended although no value mentions it."""

GATHER = TaskOptions(name="gather")


class Filled(NamedTuple):
    """What a canvas became: a promise or nested lists of promises, and what to wait for that no value mentions.

    `given` says that the value, or its first, may be in other hands too: no callback may be hung on it.
    """

    value: Any
    after: Waited = ()
    given: bool = False


Filling = Generator[Any, Filled, Filled]


def run(filling: Filling) -> Filled:
    """Drive a filling, and those it asks for, to the end."""
    stack = [filling]
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
    return build(identity, (filled.value,), {}, GATHER, _site_of(filled.value), filled.after)


def linked(filled: Filled, links: Sequence[Any], *, a_list: bool) -> Filling:
    """Hang callbacks on what a canvas became: each is a canvas that gets its value.  A list stays a list."""
    if not links:
        return filled
    filled, holder, whole = _held(filled, a_list)
    for canvas in links:
        callback = yield canvas.filling((whole,), (), ())
        holder._links += (as_node(callback),)
    return filled


def _held(filled: Filled, a_list: bool) -> tuple[Filled, Node, Node]:
    """Return the same with a node made here that callbacks can hang on, that node, and the one that holds the value.

    Never a node that somebody else has: lowering twice must not link twice.
    """
    values, after, given = filled
    if a_list and values:
        first = build(identity, (values[0],), {}, GATHER, values[0]._site) if given else values[0]
        filled = Filled([first, *values[1:]], after)
        return filled, first, as_node(filled)
    node = as_node(filled)
    if given and node is values:
        node = build(identity, (node,), {}, GATHER, node._site)
    # Nobody reads an empty list, but what comes next can wait for the node that holds it.
    return (Filled([], (node,)) if a_list else Filled(node)), node, node


def _site_of(value: Any) -> Site | str:
    while isinstance(value, list):
        if not value:
            return "an empty group"
        value = value[0]
    return value._site if isinstance(value, Node) else "a canvas"


def nodes_in(value: Any) -> Waited:
    """Return every promise in (nested lists of) promises, in order."""
    found: list[Node | External] = []
    stack = [value]
    while stack:
        top = stack.pop()
        if isinstance(top, list):
            stack.extend(reversed(top))
        elif isinstance(top, Node | External):
            found.append(top)
    return tuple(found)
