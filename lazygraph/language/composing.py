"""The words that compose: chain, group, chord.

Covers: the functions, and what type checkers know of them: every step takes what the one before it gives.
Does not cover: what is composed (language.canvas).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, overload

from lazygraph.errors import InvalidOption
from lazygraph.language.canvas import Canvas, Chain, Group, Header, as_part, as_step
from lazygraph.language.promise import Delayed

if TYPE_CHECKING:
    # With defaults: of what says nothing, nothing has to be said.
    from typing_extensions import TypeVar

    from lazygraph.values.verbs import Future

    A = TypeVar("A", default=Any)
    B = TypeVar("B", default=Any)
    C = TypeVar("C", default=Any)
    D = TypeVar("D", default=Any)
    E = TypeVar("E", default=Any)
    F = TypeVar("F", default=Any)
    G = TypeVar("G", default=Any)
    H = TypeVar("H", default=Any)
    J = TypeVar("J", default=Any)
    K = TypeVar("K", default=Any)
    M = TypeVar("M", default=Any)
    R = TypeVar("R", default=Any)
    W = TypeVar("W", default=Any)

    # Takes an A, gives a B, and starting what ends in it gives a W.
    Step: TypeAlias = Canvas[A, B, Any, W]
    First: TypeAlias = Canvas[A, B] | Delayed[B]
    # Takes an A; a group around it holds a B for it, of a group a B for each of its own.
    Part: TypeAlias = Canvas[A, Any, B, Any] | Delayed[B]


# Checkers follow up to ten steps and six members of different types; beyond them a chain is taken as it is.
@overload
def chain() -> Chain: ...
@overload
def chain(a: Delayed[B], /) -> Chain[object, B, Future[B]]: ...
@overload
def chain(a: Step[A, B, W], /) -> Chain[A, B, W]: ...
@overload
def chain(a: First[A, B], b: Step[B, C, W], /) -> Chain[A, C, W]: ...
@overload
def chain(a: First[A, B], b: Step[B, C, Any], c: Step[C, D, W], /) -> Chain[A, D, W]: ...
@overload
def chain(a: First[A, B], b: Step[B, C, Any], c: Step[C, D, Any], d: Step[D, E, W], /) -> Chain[A, E, W]: ...
@overload
def chain(
    a: First[A, B], b: Step[B, C, Any], c: Step[C, D, Any], d: Step[D, E, Any], e: Step[E, F, W], /
) -> Chain[A, F, W]: ...
@overload
def chain(
    a: First[A, B], b: Step[B, C, Any], c: Step[C, D, Any], d: Step[D, E, Any], e: Step[E, F, Any], f: Step[F, G, W], /
) -> Chain[A, G, W]: ...
@overload
def chain(
    a: First[A, B],
    b: Step[B, C, Any],
    c: Step[C, D, Any],
    d: Step[D, E, Any],
    e: Step[E, F, Any],
    f: Step[F, G, Any],
    g: Step[G, H, W],
    /,
) -> Chain[A, H, W]: ...
@overload
def chain(
    a: First[A, B],
    b: Step[B, C, Any],
    c: Step[C, D, Any],
    d: Step[D, E, Any],
    e: Step[E, F, Any],
    f: Step[F, G, Any],
    g: Step[G, H, Any],
    h: Step[H, J, W],
    /,
) -> Chain[A, J, W]: ...
@overload
def chain(
    a: First[A, B],
    b: Step[B, C, Any],
    c: Step[C, D, Any],
    d: Step[D, E, Any],
    e: Step[E, F, Any],
    f: Step[F, G, Any],
    g: Step[G, H, Any],
    h: Step[H, J, Any],
    j: Step[J, K, W],
    /,
) -> Chain[A, K, W]: ...
@overload
def chain(
    a: First[A, B],
    b: Step[B, C, Any],
    c: Step[C, D, Any],
    d: Step[D, E, Any],
    e: Step[E, F, Any],
    f: Step[F, G, Any],
    g: Step[G, H, Any],
    h: Step[H, J, Any],
    j: Step[J, K, Any],
    k: Step[K, M, W],
    /,
) -> Chain[A, M, W]: ...
@overload
def chain(
    a: Canvas | Delayed,
    b: Canvas,
    c: Canvas,
    d: Canvas,
    e: Canvas,
    f: Canvas,
    g: Canvas,
    h: Canvas,
    j: Canvas,
    k: Canvas,
    m: Canvas,
    /,
    *more: Canvas,
) -> Chain: ...
@overload
def chain(steps: Iterable[Canvas | Delayed], /) -> Chain: ...
def chain(*steps: Any) -> Any:
    """Compose steps, each fed by the one before: `chain(a, b)` is `a | b`.  An iterable of steps is taken too.

    >>> from lazygraph import delayed
    >>> chain(delayed(pow).s(2, 3), delayed(divmod).s(3)).compute()
    (2, 2)
    """
    return Chain(tuple(as_step(step) if at else as_part("chain", step) for at, step in enumerate(_members(steps))))


@overload
def group() -> Group: ...
@overload
def group(b: Part[A, B], c: Part[A, C], /) -> Group[A, B | C]: ...
@overload
def group(b: Part[A, B], c: Part[A, C], d: Part[A, D], /) -> Group[A, B | C | D]: ...
@overload
def group(b: Part[A, B], c: Part[A, C], d: Part[A, D], e: Part[A, E], /) -> Group[A, B | C | D | E]: ...
@overload
def group(
    b: Part[A, B], c: Part[A, C], d: Part[A, D], e: Part[A, E], f: Part[A, F], /
) -> Group[A, B | C | D | E | F]: ...
@overload
def group(
    b: Part[A, B], c: Part[A, C], d: Part[A, D], e: Part[A, E], f: Part[A, F], g: Part[A, G], /
) -> Group[A, B | C | D | E | F | G]: ...
@overload
def group(*members: Part[A, B], fail_fast: bool = False) -> Group[A, B]: ...
@overload
def group(members: Iterable[Part[A, B]], /, *, fail_fast: bool = False) -> Group[A, B]: ...
@overload
def group(*members: Any, on_error: str, fail_fast: bool = False) -> Group[Any, Any]: ...
def group(*members: Any, on_error: str = "raise", fail_fast: bool = False) -> Any:
    """Compose members side by side; the value is the list of theirs.  An iterable of members is taken too.

    `on_error`: what the list has for a member that has no value: nothing, as then there is no list ("raise"), its
    `Failure` ("collect"), or it is left out ("skip").  `fail_fast`: the first member that fails ends the others.

    >>> from lazygraph import delayed
    >>> group(delayed(abs).s(n) for n in (-1, 2, -3)).compute()
    [1, 2, 3]
    """
    return Group(tuple(as_part("group", member) for member in _members(members)), on_error, fail_fast)


@overload
def chord(header: Part[A, B] | Iterable[Part[A, B]], *, fail_fast: bool = False) -> Header[A, B]: ...
@overload
def chord(
    header: Part[A, B] | Iterable[Part[A, B]], body: Step[list[B], R, W], *, fail_fast: bool = False
) -> Chain[A, R, W]: ...
@overload
def chord(header: Any, *, on_error: str, fail_fast: bool = False) -> Header[Any, Any]: ...
@overload
def chord(header: Any, body: Step[list[Any], R, W], *, on_error: str, fail_fast: bool = False) -> Chain[Any, R, W]: ...
def chord(header: Any, body: Any = None, *, on_error: str = "raise", fail_fast: bool = False) -> Any:
    """Feed the list of what a header gives to a body: `group(header) | body`.

    Without a body it returns a header that, called with one, starts the chord.  A header that is one signature or
    chain is one member.  `on_error` and `fail_fast` as of `group`.

    >>> from lazygraph import delayed
    >>> chord([delayed(abs).s(-1), delayed(abs).s(2)], delayed(sum).s()).compute()
    3
    """
    if not isinstance(header, Group):
        members = _members((header,))
        header = Header(tuple(as_part("group", member) for member in members), on_error, fail_fast)
    elif on_error != "raise" or fail_fast:
        raise InvalidOption("chord(group(...), on_error=): the group says itself what it does about errors")
    if body is not None:
        return Chain((header, as_step(body)))
    return header if isinstance(header, Header) else Header((header,))


def _members(parts: tuple[Any, ...]) -> Iterable[Any]:
    if len(parts) != 1 or isinstance(parts[0], Canvas | Delayed):
        return parts
    if not isinstance(parts[0], Iterable) or isinstance(parts[0], str | bytes | Mapping):
        return parts  # `as_part` says what is wrong with it
    return parts[0]
