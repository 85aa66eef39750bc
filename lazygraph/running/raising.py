"""What a future raises: the user's exception as it was first raised, or what its cancellation says.

Covers: raising again and again without adding to the traceback or keeping frames.
Does not cover: which of them a future raises (running.futures).
"""

from __future__ import annotations

import concurrent.futures
from typing import TYPE_CHECKING, Any, NoReturn

from lazygraph.values.outcome import Failure, Outcome, add_place

if TYPE_CHECKING:
    from types import TracebackType


def cancellation(outcome: Outcome) -> concurrent.futures.CancelledError:
    """Return what a cancelled future raises: it says what was cancelled, or what failed so that this was."""
    if isinstance(outcome, Failure) and isinstance(outcome.exception, concurrent.futures.CancelledError):
        return concurrent.futures.CancelledError(str(outcome.exception))
    if isinstance(outcome, Failure):
        return concurrent.futures.CancelledError(
            f"cancelled, because {outcome.node!r} raised {type(outcome.exception).__name__}: {outcome.exception}"
        )
    return concurrent.futures.CancelledError()


class _Original:
    """The traceback of an exception's first raise.  Stays behind when the exception is pickled."""

    def __init__(self, traceback: TracebackType | None = None, left_behind: bool = True) -> None:
        self.traceback, self.left_behind = traceback, left_behind

    def __reduce__(self) -> tuple[Any, ...]:
        return _Original, ()


def raise_original(failure: Failure) -> NoReturn:
    """Raise the user's exception from its own traceback, with the note that says where it happened."""
    error = failure.exception
    add_place(error, failure.node, failure.key, failure.attempt, failure.worker, failure.origin)
    # A second raise starts from the original traceback again, or each would add the frames of the one before.
    original = error.__traceback__
    if hasattr(error, "__dict__"):
        kept = error.__dict__.get("_lazygraph_traceback")
        if kept is None or kept.left_behind:
            error.__dict__["_lazygraph_traceback"] = _Original(original, left_behind=False)
        else:
            original = kept.traceback
        del kept
    try:
        raise error.with_traceback(original)
    finally:
        del error, failure, original  # or the traceback and this frame would keep each other
