"""What a promise is called: the key it was given, the content of a pure call, or a name that no other has.

Made when asked for, never while building.

Covers: `.key` of promises.
Does not cover: what the content of a call is (values.keys), the same for whole graphs (planning.sharing).
"""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from lazygraph.language.calls import name_of
from lazygraph.values.canonical import form_of
from lazygraph.values.forms import Form
from lazygraph.values.keys import Keys, Unkeyable, as_key
from lazygraph.values.node import Node


def named(node: Node) -> str:
    """Return the key of a promise; equal pure calls of the same inputs have the same."""
    if node._key is None:
        try:
            distinction = as_key(Keys(form=_form).token(node)) if node._options.pure else uuid4().hex
        except Unkeyable:  # nobody has asked for a value yet: computing will say which argument it is
            distinction = uuid4().hex
        node._key = f"{node._options.name or name_of(node._function)}-{distinction}"
    return node._key


def _form(value: Any) -> Form:
    """An input that is not pure is itself, however equal another may look."""
    apart = isinstance(value, Node) and not value._options.pure
    return Form("promise", named(value).encode()) if apart else form_of(value)
