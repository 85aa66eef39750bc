"""What a promise is called: the key it was given, the content of a pure call, or a name that no other has.

Made when asked for, never while building.

Covers: `.key` of promises.
Does not cover: the same for whole graphs, and for values on disk (planning.sharing).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

from lazygraph.language.calls import name_of
from lazygraph.values.keys import Keys, Unkeyable, as_key
from lazygraph.values.node import Node

if TYPE_CHECKING:
    from collections.abc import Sequence


def named(end: Node) -> str:
    """Return the key of a promise; equal pure calls of the same inputs have the same.

    What a pure call reads is named first, on a stack of its own: chains may be longer than Python recurses.
    """
    stack, keys = [end], Keys()
    while stack:
        node = stack[-1]
        if node._key is None:
            reads = _reads(node) if node._options.pure else ()
            missing = [one for one in reads if isinstance(one, Node) and one._key is None]
            if missing:
                stack.extend(missing)
                continue
            node._key = f"{node._options.name or name_of(node._function)}-{_distinction(node, keys)}"
        stack.pop()
    assert end._key is not None
    return end._key


def _distinction(node: Node, keys: Keys) -> str:
    if node._options.pure:
        try:
            # An input is told by its key and a literal by its content: no text is ever taken for an input.
            told = [(one._key, None) if isinstance(one, Node) else (None, one) for one in _reads(node)]
            return as_key(keys.token((node._function, node._template, len(node._leaves), told)))
        except Unkeyable:
            pass  # nobody has asked for a value yet: computing will say which argument it is
    return uuid4().hex


def _reads(node: Node) -> Sequence[Any]:
    return (*node._leaves, *node._after)
