"""A node before there is a graph: one call and what it reads.

Covers: what lowering needs to know of a promise.
Does not cover: how people write promises (language.delayed).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType

    from lazygraph.values.options import TaskOptions
    from lazygraph.values.template import Template


class Site(NamedTuple):
    """Where a node was written: a code object and an instruction in it, made readable only when asked for."""

    code: CodeType
    instruction: int

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (str(self),)  # code objects do not travel, and where they go only the text is of use

    def __str__(self) -> str:
        line = self.code.co_firstlineno
        for start, end, number in self.code.co_lines():
            if start <= self.instruction < end and number is not None:
                line = number
                break
        return f"{self.code.co_filename}:{line}"


class External:
    """Marks a value held by an executor (a Future, persisted or scattered data): to inherit from, nothing to call."""

    __slots__ = ()


class Caught(External):
    """Marks the `Failure` of a scope: a value that comes to be when a node of the scope fails, and else never."""

    __slots__ = ()


class NodeScope:
    """A stretch of nodes, and who is told when one of them fails.

    `handlers` are nodes that read `caught`; `given` are nodes in the stretch that were made elsewhere, and may stand in
    other stretches too.  `fail_fast`: its first failure ends all of it.  `contained`: no failure in it is one of those
    around it.  `ends` are the nodes without whose value it has failed (default: any).  Made while a canvas is filled,
    not changed afterwards.
    """

    __slots__ = ("caught", "contained", "ends", "fail_fast", "given", "handlers", "parent")

    def __init__(self, parent: NodeScope | None, fail_fast: bool = False, contained: bool = False) -> None:
        self.parent, self.fail_fast, self.contained = parent, fail_fast, contained
        self.caught = Caught()
        self.handlers: list[Node] = []
        self.given: list[Node | External] = []
        self.ends: list[Node | External] = []


class Quoted:
    """A value that is passed on as it is: nothing inside it is looked for."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        return f"quote({self.value!r})"


class Replacement:
    """What a task returns to say that something lazy is to be done in its place."""

    __slots__ = ("lazy",)

    def __init__(self, lazy: Any) -> None:
        self.lazy = lazy

    def __repr__(self) -> str:
        return f"replace({self.lazy!r})"


class Recipe:
    """Something that is lowered to nodes before it can be an argument: a canvas, a delayed function."""

    __slots__ = ()

    def to_nodes(self, *args: Any) -> Any:
        """Return fresh nodes (one, or nested lists of them) for this recipe, `args` put in front."""
        raise NotImplementedError

    def to_delayed(self, *args: Any) -> Any:
        """Return one fresh node for this recipe."""
        raise NotImplementedError


class Node:
    """One call, its leaves (values and other nodes, flat), and where it was written.  Never changed once made.

    `_template` is None for the common call: leaves are the positional arguments.  `_after` must end first and their
    values are not read; `_links` are nodes that read this one and that nobody waits for; `_scope` is the innermost
    stretch of nodes it belongs to whose failure is answered.  Names start with an underscore because a `Delayed` gives
    every other attribute to the value it promises.
    """

    __slots__ = ("_after", "_function", "_key", "_leaves", "_links", "_options", "_scope", "_site", "_template")

    _function: Callable[..., Any]
    _leaves: tuple[Any, ...]
    _template: Template | None
    _options: TaskOptions
    _site: Site | str
    _after: tuple[Node | External, ...]
    _links: tuple[Node, ...]
    _scope: NodeScope | None
    _key: str | None


def identity(value: Any) -> Any:
    """Return the value: the call of a node that only holds something."""
    return value
