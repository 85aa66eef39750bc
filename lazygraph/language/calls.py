"""Is this a call its function can take?  Answered when the call is written, at the user's line.

Covers: arity, names, and what of `pure=` and `dask_key_name=` is for us.
Does not cover: building nodes (language.delayed).
"""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Any

from lazygraph.errors import WrongCall
from lazygraph.values.node import Site
from lazygraph.values.options import changed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import FrameType

    from lazygraph.values.options import TaskOptions

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_UNLIMITED = sys.maxsize
OURS = ("pure", "dask_key_name")


def name_of(function: Any) -> str:
    """Return the display name of any callable: its own, or that of what it wraps, or of its class."""
    while not hasattr(function, "__name__") and hasattr(function, "func"):
        function = function.func  # functools.partial
    return str(getattr(function, "__name__", None) or type(function).__name__)


class Contract:
    """What a function can be called with.

    A plain positional call within `least` and `most` is right without asking `inspect` (which costs 2 us a call).
    """

    __slots__ = ("_signature", "least", "most", "name", "ours")

    def __init__(self, function: Callable[..., Any], bound: int = 0) -> None:
        self.name = name_of(function)
        self.ours: tuple[str, ...] = OURS
        try:
            signature = inspect.signature(function)
        except (TypeError, ValueError):  # builtins without a text signature take what they take
            self._signature, self.least, self.most = None, 0, _UNLIMITED
            return
        parameters = list(signature.parameters.values())
        if bound:  # `bind=True`: the context comes first and is not the caller's to give
            parameters = parameters[bound:]
            signature = signature.replace(parameters=parameters)
        self._signature = signature
        self._count(parameters)
        # The function itself gets `pure=` or `dask_key_name=` when it has a parameter of that name.
        self.ours = tuple(name for name in OURS if name not in signature.parameters)

    def _count(self, parameters: list[inspect.Parameter]) -> None:
        named = [p for p in parameters if p.kind in _POSITIONAL]
        self.least = sum(p.default is p.empty for p in named)
        self.most = _UNLIMITED if any(p.kind is p.VAR_POSITIONAL for p in parameters) else len(named)
        if any(p.kind is p.KEYWORD_ONLY and p.default is p.empty for p in parameters):
            self.least, self.most = 1, 0  # a positional call alone is never enough: always ask the signature

    def check(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], site: Site | str) -> None:
        """Raise `WrongCall` if the function cannot take these arguments."""
        self._bind(args, kwargs, site, whole=True)

    def check_part(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], site: Site | str) -> None:
        """Raise `WrongCall` if no further positional arguments could make this a right call."""
        if kwargs or len(args) > self.most:
            self._bind(args, kwargs, site, whole=False)

    def _bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], site: Site | str, *, whole: bool) -> None:
        if self._signature is None:
            return
        try:
            if whole:
                self._signature.bind(*args, **kwargs)
            else:
                self._signature.bind_partial(*args, **kwargs)
        except TypeError as error:
            raise WrongCall(self.name, str(self._signature), str(error), str(site)) from None


def taken(
    options: TaskOptions, where: str, kwargs: dict[str, Any], ours: Sequence[str] = OURS
) -> tuple[TaskOptions, dict[str, Any]]:
    """Take `pure=` and `dask_key_name=` out of a call's keywords; `ours`: the function has no such parameters."""
    mine = {name: kwargs[name] for name in ours if name in kwargs}
    if not mine:
        return options, kwargs
    given = {"key" if name == "dask_key_name" else name: value for name, value in mine.items() if value is not None}
    return changed(options, where, given), {name: value for name, value in kwargs.items() if name not in mine}


def site_of(frame: FrameType) -> Site:
    """Return where the code of a frame stands right now."""
    return Site(frame.f_code, frame.f_lasti)
