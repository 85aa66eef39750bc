"""What a test of options needs, and what it proves where that is not there.

An executor that honours what a test needs must pass it; one that does not must refuse the plan before anything runs.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from lazygraph.errors import UnsupportedByExecutor
from lazygraph.executors.registry import resolve

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., Any]")


def needs(*options: str) -> Callable[[F], F]:
    """Say which options a test uses: where one of them is not honoured, the test is that the plan is refused."""

    def mark(test: F) -> F:
        @functools.wraps(test)
        def proved(*args: Any, **kwargs: Any) -> None:
            missing = [option for option in options if option not in resolve(None).capabilities]
            if not missing:
                test(*args, **kwargs)
                return
            with pytest.raises(UnsupportedByExecutor, match="|".join(f"{option}=" for option in missing)):
                test(*args, **kwargs)

        proved.needs = options  # type: ignore[attr-defined]  # for the matrix
        return proved  # type: ignore[return-value]

    return mark
