"""What is known only while a graph runs: fan-outs over a list that a task returns, tasks that return more to do.

Covers: `each`, `replace`, `quote`.
Does not cover: how a replacement is admitted (running.frontier).
"""

from __future__ import annotations

import sys
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar, overload

from lazygraph.errors import WrongCanvas
from lazygraph.language.calls import site_of
from lazygraph.language.canvas import DEEPEST_SHOWN, Canvas, Gives, Takes
from lazygraph.language.filling import (
    NOWHERE,
    Before,
    Filled,
    Within,
    as_node,
    ends_with,
    linked,
    owned,
    run,
    scoped,
)
from lazygraph.language.members import check_on_error
from lazygraph.language.promise import Delayed, build
from lazygraph.language.travel import Row, promises_in, rows_of, thawed
from lazygraph.values.node import Quoted, Recipe, Replacement, Site, identity
from lazygraph.values.options import Said, TaskOptions, over
from lazygraph.values.template import PLAIN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from lazygraph.language.filling import Filling
    from lazygraph.values.lazy import Lazy
    from lazygraph.values.verbs import Future  # noqa: F401  # in the text of a base

A = TypeVar("A")
T = TypeVar("T")

_AS_USUAL: Mapping[str, Any] = MappingProxyType({})
_OF_THE_FAN_OUT = frozenset({"queue", "priority", "workers"})
"""Options of a fan-out that say where its members run, and so where it runs itself."""


def replace(lazy: Lazy[T]) -> T:
    """Return this from a task to say what is to be done in its place: a canvas without holes, or a `Delayed`.

    The node becomes that graph: its slot is free while it runs, and what comes after goes on with the final value (of a
    canvas that ends in a group: the list).  The task's own options apply to its own attempts only.  Raises
    `WrongCanvas` for anything that is not lazy, `WrongCall` for a canvas with a hole that nobody fills.

    >>> from lazygraph import delayed
    >>> @delayed
    ... def halved(n):
    ...     return n if n % 2 else replace(halved.s(n // 2))
    >>> halved(24).compute()
    3
    """
    if isinstance(lazy, Canvas):
        return Replacement(lazy.to_delayed())  # type: ignore[return-value]  # what becomes the value
    if isinstance(lazy, Delayed) and not isinstance(lazy, Recipe):
        return Replacement(lazy)  # type: ignore[return-value]
    raise WrongCanvas(
        f"replace({lazy!r}): a task is replaced by a signature, a canvas or a delayed call; "
        f"return any other value as it is, and for a function f write replace(f.s(...))"
    )


def quote(value: T) -> T:
    """Pass a canvas, a promise or a collection of them to a task as it is, instead of what it would become.

    >>> from lazygraph import delayed
    >>> delayed(repr)(quote(delayed(abs).s(-1))).compute()
    'abs.s(-1)'
    """
    return Quoted(value)  # type: ignore[return-value]  # the task gets the value


@overload
def each(canvas: Canvas[A, T], *, fail_fast: bool = False) -> Each[Iterable[A], list[T]]: ...
@overload
def each(canvas: Canvas[A, Any], *, on_error: str, fail_fast: bool = False) -> Each[Iterable[A], Any]: ...
def each(canvas: Canvas, *, on_error: str = "raise", fail_fast: bool = False) -> Each:
    """Compose a fan-out: one member for every item of the list that comes before it; the value is the list of theirs.

    The list is known only at run time: `load.s() | each(parse.s()) | total.s()`.  No items give `[]`.  `on_error` and
    `fail_fast` as of `group`.  Raises `WrongCanvas` for what is no canvas, `InvalidOption` for another `on_error`.

    >>> from lazygraph import delayed
    >>> (delayed(range).s(3) | each(delayed(str).s())).compute()
    ['0', '1', '2']
    """
    if not isinstance(canvas, Canvas):
        raise WrongCanvas(f"each({canvas!r}): a member is a signature or a canvas; for a function f write f.s()")
    return Each(canvas, site_of(sys._getframe(1)), on_error, fail_fast)


class Each(Canvas[Takes, Gives, Gives, "Future[Gives]"]):
    """One member for every item of a list that is known only at run time.

    `on_error`: what the value has for a member that has none; `fail_fast`: the first that fails ends the others.
    """

    __slots__ = ("fail_fast", "member", "on_missing", "site")

    member: Canvas[Any, Any, Any]
    site: Site | str
    on_missing: str
    fail_fast: bool

    def __init__(self, member: Canvas, site: Site | str, on_error: str = "raise", fail_fast: bool = False) -> None:
        check_on_error("each", on_error)
        object.__setattr__(self, "member", member)
        object.__setattr__(self, "site", site)
        object.__setattr__(self, "on_missing", on_error)
        object.__setattr__(self, "fail_fast", fail_fast)
        self._said, self._links, self._handlers = (), (), ()

    def _ways(self) -> dict[str, Any]:
        """Return what else it was made with."""
        ways = {"on_error": self.on_missing, "fail_fast": self.fail_fast}
        return {name: way for name, way in ways.items() if way not in ("raise", False)}

    def shown(self, depth: int) -> str:
        """Return `each(f.s())`."""
        member = self.member.shown(depth + 1) if depth <= DEEPEST_SHOWN else "…"
        return f"each({', '.join([member, *(f'{name}={way!r}' for name, way in self._ways().items())])})"

    def filling(self, before: Before, within: Within) -> Filling:
        """Make the one node that becomes the members when it runs."""
        if self._handlers:
            within = yield scoped(self._handlers, within)
        holds = within.of_call(self._said)
        own = tuple(pair for pair in holds if pair[0] in _OF_THE_FAN_OUT)
        items, *rest = before.values or (None,)
        if not before.values:
            raise WrongCanvas(f"{self!r} stands behind nothing, so there is no list to fan out over ({self.site})")
        # Once with nothing, so that a hole that no item can fill is found now and not when it runs.
        run(self.member.filling(Before((Quoted(None), *rest), (), before.kwargs), NOWHERE))
        member, promises = _apart(self.member)
        args = (items, Quoted(member), promises, Quoted(holds), Quoted(dict(before.kwargs)), *rest)
        options = over(TaskOptions(name=self.shown(DEEPEST_SHOWN - 1)), own)
        ways = self._ways()
        kwargs = {"ways": Quoted(ways)} if ways else {}
        node = build(spread, args, kwargs, options, self.site, before.after, within.scope)
        if within.noted is not None:
            within.noted.append((node, before.step))
        done: Filled = yield linked(Filled(node), self._links, a_list=False)
        return done

    def state(self) -> tuple[Callable[..., Any], Sequence[Any], Any]:
        """Return the maker, the member and callbacks, and the rest."""
        rest = (str(self.site), len(self._links), self._said, self._ways())
        return _each_again, (self.member, *self._links, *self._handlers), rest


def _each_again(parts: list[Any], rest: tuple[str, int, Said, dict[str, Any]]) -> Each:
    site, links, holds, ways = rest
    member, *callbacks = parts
    again = Each(member, site, **ways)
    again._said, again._links, again._handlers = holds, tuple(callbacks[:links]), tuple(callbacks[links:])
    return again


Rows = tuple[list[Row], list[int]]
"""A canvas in rows, and which of them are promises."""


def _apart(member: Canvas) -> tuple[Canvas | Rows, list[Any]]:
    """Return a canvas without the promises in it, and those: they are inputs of the fan-out like any other."""
    rows = rows_of(member)
    places = promises_in(rows)
    if not places:
        return member, []
    promises = [rows[at][2] for at in places]
    for at in places:
        rows[at] = (None, (), None)
    return (rows, places), promises


def _together(rows: list[Row], places: list[int], values: list[Any]) -> Canvas:
    """Return the canvas of rows, with what its promises have become."""
    rows = list(rows)
    for at, value in zip(places, values, strict=True):
        rows[at] = (None, (), Delayed(identity, (Quoted(value),)))
    canvas: Canvas = thawed(rows)
    return canvas


def spread(
    items: Any,
    member: Canvas | Rows,
    promises: list[Any],
    holds: Said,
    kwargs: Mapping[str, Any],
    *rest: Any,
    ways: Mapping[str, Any] = _AS_USUAL,
) -> Replacement:
    """Become one member for every item: the task behind `each`.  `ways`: what was said of failures."""
    canvas = _together(*member, promises) if isinstance(member, tuple) else member
    try:
        found = list(items)
    except TypeError:
        raise WrongCanvas(f"each() fans out over a list, but what came before it is {type(items).__name__}") from None
    following = tuple(map(_as_data, rest))
    before = [Before((_as_data(item), *following), (), kwargs) for item in found]
    return Replacement(as_node(run(_members(canvas, before, Within(holds), **ways))))


def _members(
    canvas: Canvas, before: Sequence[Before], within: Within, on_error: str = "raise", fail_fast: bool = False
) -> Filling:
    """Fill a canvas once behind each of these, as a group fills its members."""
    within = yield scoped((), within, fail_fast, contained=on_error != "raise")
    values: list[Any] = []
    given = False
    for one in before:
        filled = yield canvas.filling(one, within)
        given = filled.given if not values else given
        values.append(as_node(filled))
    whole = Filled(values, given=given, on_error=on_error)
    if fail_fast:
        ends_with(whole, within)
        whole = owned(whole, within, a_list=True)
    return whole


def _as_data(item: Any) -> Any:
    # A value may look like anything: nothing in it is searched for promises.
    return item if type(item) in PLAIN else Quoted(item)
