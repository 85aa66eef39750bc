"""What stands for a value, as type checkers see it.

Covers: `Lazy`, the common base of promises, canvases and futures.
Does not cover: what each of them is (language, running).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic

if TYPE_CHECKING:
    # With a default, so that a bare `Delayed` says `Delayed[Any]`.  Checkers know this module without it being there.
    from typing_extensions import TypeVar

    T_co = TypeVar("T_co", covariant=True, default=Any)
else:
    from typing import TypeVar

    T_co = TypeVar("T_co", covariant=True)


class Lazy(Generic[T_co]):
    """Stands for a value of type `T_co` that is not there yet.  It is accepted as an argument where the value is."""

    __slots__ = ()
