"""What type checkers know of calls.  Never imported when a program runs.

A function whose calls are promises takes, for every positional argument, a value or something lazy that stands for one
(`Given`).  A ParamSpec cannot say that, so there is one overload for every number of leading arguments that may be
lazy; what follows them, keywords among it, is as the function has it.  The argument types come from a protocol with
the function in it (`Takes1` ...): both mypy and pyright solve that, and mypy does not solve a self type that names the
parameters (`self: Calls[[A], X]`).

Covers: calls, partial calls, what `delayed` makes of which callable.
Does not cover: canvases (language.composing).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    Literal,
    Never,
    ParamSpec,
    Protocol,
    Self,
    TypeAlias,
    TypeVar,
    overload,
)

from lazygraph.language.promise import Delayed
from lazygraph.language.signature import Signature
from lazygraph.values.lazy import Lazy

if TYPE_CHECKING:
    from lazygraph.values.verbs import Future

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
X = TypeVar("X")
R_co = TypeVar("R_co", covariant=True)
X_co = TypeVar("X_co", covariant=True)
T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")
F = TypeVar("F")
G = TypeVar("G")
H = TypeVar("H")
A_ = TypeVar("A_", contravariant=True)
B_ = TypeVar("B_", contravariant=True)
C_ = TypeVar("C_", contravariant=True)
D_ = TypeVar("D_", contravariant=True)
E_ = TypeVar("E_", contravariant=True)
F_ = TypeVar("F_", contravariant=True)
G_ = TypeVar("G_", contravariant=True)
H_ = TypeVar("H_", contravariant=True)

# Of what lies in containers they do not ask whether it fits: a list of promises is taken where a list is.
Held: TypeAlias = Lazy[Any] | Collection[Lazy[Any]] | Mapping[Any, Lazy[Any]]
Given: TypeAlias = T | Lazy[T] | Collection[Held] | Mapping[Any, Held] | Iterator[Lazy[Any]]


class Takes1(Protocol[A_, Q, X_co]):
    @property
    def _called(self) -> Callable[Concatenate[A_, Q], X_co]: ...


class Takes2(Protocol[A_, B_, Q, X_co]):
    @property
    def _called(self) -> Callable[Concatenate[A_, B_, Q], X_co]: ...


class Takes3(Protocol[A_, B_, C_, Q, X_co]):
    @property
    def _called(self) -> Callable[Concatenate[A_, B_, C_, Q], X_co]: ...


class Takes4(Protocol[A_, B_, C_, D_, Q, X_co]):
    @property
    def _called(self) -> Callable[Concatenate[A_, B_, C_, D_, Q], X_co]: ...


class Takes5(Protocol[A_, B_, C_, D_, E_, Q, X_co]):
    @property
    def _called(self) -> Callable[Concatenate[A_, B_, C_, D_, E_, Q], X_co]: ...


class Takes6(Protocol[A_, B_, C_, D_, E_, F_, Q, X_co]):
    @property
    def _called(self) -> Callable[Concatenate[A_, B_, C_, D_, E_, F_, Q], X_co]: ...


class Takes7(Protocol[A_, B_, C_, D_, E_, F_, G_, Q, X_co]):
    @property
    def _called(self) -> Callable[Concatenate[A_, B_, C_, D_, E_, F_, G_, Q], X_co]: ...


class Takes8(Protocol[A_, B_, C_, D_, E_, F_, G_, H_, Q, X_co]):
    @property
    def _called(self) -> Callable[Concatenate[A_, B_, C_, D_, E_, F_, G_, H_, Q], X_co]: ...


class Calls(Generic[P, X_co]):
    """What is called with `P`, up to eight leading arguments as promises, and returns an `X_co`."""

    @property
    def _called(self) -> Callable[P, X_co]:
        raise NotImplementedError

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> X_co: ...
    @overload
    def __call__(self: Takes1[A, Q, X], a: Given[A], /, *args: Q.args, **kwargs: Q.kwargs) -> X: ...
    @overload
    def __call__(self: Takes2[A, B, Q, X], a: Given[A], b: Given[B], /, *args: Q.args, **kwargs: Q.kwargs) -> X: ...
    @overload
    def __call__(
        self: Takes3[A, B, C, Q, X], a: Given[A], b: Given[B], c: Given[C], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> X: ...
    @overload
    def __call__(
        self: Takes4[A, B, C, D, Q, X],
        a: Given[A],
        b: Given[B],
        c: Given[C],
        d: Given[D],
        /,
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> X: ...
    @overload
    def __call__(
        self: Takes5[A, B, C, D, E, Q, X],
        a: Given[A],
        b: Given[B],
        c: Given[C],
        d: Given[D],
        e: Given[E],
        /,
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> X: ...
    @overload
    def __call__(
        self: Takes6[A, B, C, D, E, F, Q, X],
        a: Given[A],
        b: Given[B],
        c: Given[C],
        d: Given[D],
        e: Given[E],
        f: Given[F],
        /,
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> X: ...
    @overload
    def __call__(
        self: Takes7[A, B, C, D, E, F, G, Q, X],
        a: Given[A],
        b: Given[B],
        c: Given[C],
        d: Given[D],
        e: Given[E],
        f: Given[F],
        g: Given[G],
        /,
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> X: ...
    @overload
    def __call__(
        self: Takes8[A, B, C, D, E, F, G, H, Q, X],
        a: Given[A],
        b: Given[B],
        c: Given[C],
        d: Given[D],
        e: Given[E],
        f: Given[F],
        g: Given[G],
        h: Given[H],
        /,
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> X: ...
    # A parameter specification leaves no room for keywords of ours: with one of them, any arguments are taken.
    @overload
    def __call__(self, *args: Any, dask_key_name: str, pure: bool = ..., **kwargs: Any) -> X_co: ...
    @overload
    def __call__(self, *args: Any, pure: bool, **kwargs: Any) -> X_co: ...
    def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:  # type: ignore[misc]
        raise NotImplementedError


class Partials(Protocol[P, R_co]):
    """`f.s`: with all arguments but the first a signature that takes that one, with all of them one that takes nothing.

    Where both can be, it is the first: a signature that takes a value may stand first in a canvas all the same.
    """

    @property
    def _called(self) -> Callable[P, R_co]: ...
    @overload
    def __call__(self: Takes1[A, Q, R], *args: Q.args, **kwargs: Q.kwargs) -> Signature[A, R]: ...
    @overload
    def __call__(self: Takes2[A, B, Q, R], b: Given[B], /, *args: Q.args, **kwargs: Q.kwargs) -> Signature[A, R]: ...
    @overload
    def __call__(
        self: Takes3[A, B, C, Q, R], b: Given[B], c: Given[C], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> Signature[A, R]: ...
    @overload
    def __call__(
        self: Takes4[A, B, C, D, Q, R], b: Given[B], c: Given[C], d: Given[D], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> Signature[A, R]: ...
    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Signature[Never, R_co]: ...
    @overload
    def __call__(self: Takes1[A, Q, R], a: Given[A], /, *args: Q.args, **kwargs: Q.kwargs) -> Signature[Never, R]: ...
    @overload
    def __call__(
        self: Takes2[A, B, Q, R], a: Given[A], b: Given[B], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> Signature[Never, R]: ...
    @overload
    def __call__(
        self: Takes3[A, B, C, Q, R], a: Given[A], b: Given[B], c: Given[C], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> Signature[Never, R]: ...
    @overload
    def __call__(
        self: Takes4[A, B, C, D, Q, R],
        a: Given[A],
        b: Given[B],
        c: Given[C],
        d: Given[D],
        /,
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> Signature[Never, R]: ...
    # Two or three holes: a chain fills one only, `.delay(...)` and `.clone(...)` any number.
    @overload
    def __call__(self: Takes2[A, B, Q, R], *args: Q.args, **kwargs: Q.kwargs) -> Signature[Never, R]: ...
    @overload
    def __call__(self: Takes3[A, B, C, Q, R], *args: Q.args, **kwargs: Q.kwargs) -> Signature[Never, R]: ...


class Maps(Protocol[P, R_co]):
    """`f.map`."""

    @property
    def _called(self) -> Callable[P, R_co]: ...
    def __call__(self: Takes1[A, ..., R], items: Iterable[Given[A]]) -> Signature[object, list[R]]: ...


class Function(Calls[P, Delayed[R_co]], Delayed[Callable[P, R_co]]):
    """The base of a function whose calls are promises: what of it depends on its parameters."""

    @overload
    def __get__(self: Takes1[type[T], Q, X], instance: T | None, owner: type[T]) -> Calls[Q, X]: ...
    @overload
    def __get__(self, instance: None, owner: Any = None) -> Self: ...
    @overload
    def __get__(self: Takes1[T, Q, X], instance: T, owner: Any = None) -> Calls[Q, X]: ...
    @overload
    def __get__(self, instance: Any, owner: Any = None) -> Self: ...
    def __get__(self, instance: Any, owner: Any = None) -> Any: ...

    @property
    def s(self) -> Partials[P, R_co]:
        """Return a signature: a call whose first arguments come from what is before it in a canvas."""
        raise NotImplementedError

    @property
    def si(self) -> Calls[P, Signature[object, R_co]]:
        """Return an immutable signature: it waits for what is before it and ignores its value."""
        raise NotImplementedError

    @property
    def delay(self) -> Calls[P, Future[R_co]]:
        """Start one call in the default executor; return its Future."""
        raise NotImplementedError

    @property
    def map(self) -> Maps[P, R_co]:
        """Return one task that calls the function on each item and gives the list."""
        raise NotImplementedError


# -- what delayed() makes of which callable --------------------------------------------------------
#
# The parameters of a generic or overloaded function do not get through a class: mypy loses the type variables, and both
# see the first overload only.  `Loose` are those functions that give an `Odd` when they get one, or a list of them:
# only what is generic does.  Their calls are not checked.  A function that says nothing of its result (`-> Any`) seems
# to do the same, but it gives an `Even` as well: `Silent` are those, and they are checked.


class Even:
    """Nobody has one."""


class Odd:
    """Nobody has one; it can be compared and reckoned with."""

    def __lt__(self, other: Any, /) -> bool:
        raise NotImplementedError

    def __gt__(self, other: Any, /) -> bool:
        raise NotImplementedError

    def _one(self) -> Odd:
        raise NotImplementedError

    def _two(self, other: Any, /) -> Odd:
        raise NotImplementedError

    def __round__(self, ndigits: Any = ..., /) -> Odd:
        raise NotImplementedError

    def __pow__(self, other: Any, modulus: Any = ..., /) -> Odd:
        raise NotImplementedError

    __abs__ = __neg__ = __pos__ = __invert__ = _one
    __add__ = __sub__ = __mul__ = __matmul__ = __truediv__ = __floordiv__ = __mod__ = __divmod__ = _two
    __radd__ = __rsub__ = __rmul__ = __rmatmul__ = __rtruediv__ = __rfloordiv__ = __rmod__ = __rdivmod__ = _two
    __lshift__ = __rshift__ = __and__ = __or__ = __xor__ = __rpow__ = _two
    __rlshift__ = __rrshift__ = __rand__ = __ror__ = __rxor__ = _two


class SilentPair(Protocol[P, R_co]):
    """Takes any two, gives Any."""

    @overload
    def __call__(self, a: list[Odd], b: Odd, /) -> Even: ...
    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...


class Silent1(Protocol[P, R_co]):
    """Takes any list, gives Any."""

    @overload
    def __call__(self, a: list[Odd], /) -> Even: ...
    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...


class Silent2(Protocol[P, R_co]):
    """Takes any list and something else, gives Any."""

    @overload
    def __call__(self, a: list[Odd], b: Any, /) -> Even: ...
    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...


class Silent3(Protocol[P, R_co]):
    """Takes any list and two other things, gives Any."""

    @overload
    def __call__(self, a: list[Odd], b: Any, c: Any, /) -> Even: ...
    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...


class SilentList1(Protocol[P, R_co]):
    """Takes any list, gives list[Any]."""

    @overload
    def __call__(self, a: list[Odd], /) -> list[Even]: ...
    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...


class SilentList2(Protocol[P, R_co]):
    """Takes any list and something else, gives list[Any]."""

    @overload
    def __call__(self, a: list[Odd], b: Any, /) -> list[Even]: ...
    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...


class Open(Protocol[P, R_co]):
    """Gives Any, or a type variable: no coroutine, whatever it seems."""

    @overload
    def __call__(self, *args: Any, **kwargs: Any) -> Even: ...
    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...  # type: ignore[overload-cannot-match]


class MakesOne(Protocol[P, X_co]):
    """A class."""

    @property
    def __mro__(self) -> tuple[type, ...]: ...
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> X_co: ...


Silent: TypeAlias = Silent1[P, R] | Silent2[P, R] | Silent3[P, R] | SilentList1[P, R] | SilentList2[P, R]
Odds: TypeAlias = Odd | Literal[0] | Iterable[Odd] | Iterable[Iterable[Odd]] | Iterable[tuple[Any, Odd]]
LoosePair: TypeAlias = Callable[[Odd, Odd], Odds]
UpTo3: TypeAlias = Callable[[A], X] | Callable[[A, Any], X] | Callable[[A, Any, Any], X]
Loose: TypeAlias = (
    UpTo3[list[Odd], Odds] | UpTo3[Odd, Odds] | UpTo3[dict[str, Odd], Odds] | UpTo3[Callable[..., Odd], Odds]
)
# Classes with several ways to make one.
Builtin = TypeVar("Builtin", bound=int | str | bytes | dict[Any, Any] | range)
