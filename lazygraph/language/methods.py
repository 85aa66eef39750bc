"""Methods that were made lazy: what `obj.method` is where `method` is a delayed function.

Covers: calls of it (the object is an argument like any other), its canvas verbs (the object belongs to the function).
Does not cover: methods of promised values (language.promise).
"""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Any

from lazygraph.language.calls import name_of, site_of
from lazygraph.language.travel import packed, unpacked
from lazygraph.values.node import Recipe

if TYPE_CHECKING:
    from collections.abc import Callable


class BoundFunction:
    """A plain function and the object it is called with first.  Travels as both, by name where that leads to it."""

    def __init__(self, function: Callable[..., Any], owner: Any) -> None:
        self.__func__, self.__self__ = function, owner
        self.__name__ = name_of(function)
        self.__doc__ = getattr(function, "__doc__", None)

    @property
    def __signature__(self) -> inspect.Signature:
        signature = inspect.signature(self.__func__)
        return signature.replace(parameters=list(signature.parameters.values())[1:])

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return self.__func__(self.__self__, *args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        return _bound_again, (packed(self.__func__), self.__self__)

    def __lazygraph_key__(self) -> Any:
        return self.__func__, self.__self__


def _bound_again(function: Any, owner: Any) -> BoundFunction:
    return BoundFunction(unpacked(function), owner)


class Method(Recipe):
    """A delayed function of an object: called, it is a promise of the call; it has the canvas verbs too."""

    __slots__ = ("__func__", "__self__")

    def __init__(self, function: Any, owner: Any) -> None:
        self.__func__, self.__self__ = function, owner

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        site = site_of(sys._getframe(1))
        if self.__func__._options_of_calls.bind:  # the attempt stands behind the object
            return self.bound().called(args, kwargs, site)
        return self.__func__.called((self.__self__, *args), kwargs, site)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.bound(), name)

    def __repr__(self) -> str:
        return f"<{self.__func__!r} of {self.__self__!r}>"

    def bound(self) -> Any:
        """Return the delayed function whose calls are calls of this method."""
        return self.__func__.like(BoundFunction(self.__func__.to_nodes(), self.__self__))

    def to_nodes(self, *args: Any) -> Any:
        """As an argument of another call, a method is its plain one."""
        return self.bound().to_nodes()

    def to_delayed(self, *args: Any) -> Any:
        """Return the delayed function of this method."""
        return self.bound()
