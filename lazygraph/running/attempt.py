"""What a task with `bind=True` gets as its first argument: which attempt it is, and what it can ask for.

Covers: `self.request`, `self.retry`, `self.progress`.
Does not cover: whether and when an attempt is made again (running.frontier).
"""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from lazygraph.errors import InvalidOption, RetriesExhausted
from lazygraph.language.delayed import map_items, starmap_items
from lazygraph.running.mutation import innermost
from lazygraph.running.policy import ASKED, policy_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from lazygraph.values.options import TaskOptions

    Told = Callable[[int, float, float | None], None]


class Retry(BaseException):
    """Carries what `self.retry` was called with to the runner.  Users never see it, and `except Exception` does not."""

    def __init__(self, reason: BaseException, countdown: float | None, max_retries: int | None) -> None:
        super().__init__(reason, countdown, max_retries)
        self.reason, self.countdown, self.max_retries = reason, countdown, max_retries

    def place(self) -> TracebackType | None:
        """Return the traceback up to the line that asked."""
        whole = last = self.__traceback__
        while last is not None and last.tb_next is not None:
            if last.tb_next.tb_frame.f_code is Attempt.retry.__code__:
                last.tb_next = None
            last = last.tb_next
        return whole


class Request(NamedTuple):
    """Which attempt of what this is: the key of the task's future, and `attempt` from 1."""

    key: str
    attempt: int
    run_id: str
    worker: str

    @property
    def id(self) -> str:
        """The key, as Celery calls it."""
        return self.key

    @property
    def retries(self) -> int:
        """How many attempts came before this one."""
        return self.attempt - 1


class Attempt:
    """One attempt of a task that was made with `bind=True`."""

    __slots__ = ("_max_retries", "_task", "_told", "name", "request")

    def __init__(self, task: int, name: str, request: Request, options: TaskOptions, told: Told | None) -> None:
        self._task, self._told = task, told
        self.name, self.request = name, request
        self._max_retries = policy_of(options).retries.max_retries

    def __repr__(self) -> str:
        return f"<attempt {self.request.attempt} of {self.request.key}>"

    def __lazygraph_key__(self) -> str:
        return ""  # what a task makes is not to depend on which attempt it is: a kept value is found by any

    @property
    def max_retries(self) -> int:
        """How many retries the task has; when it says nothing, what `self.retry` has."""
        return self._max_retries or ASKED.max_retries

    def retry(
        self, *, exc: BaseException | None = None, countdown: float | None = None, max_retries: int | None = None
    ) -> NoReturn:
        """End this attempt and ask for another, `countdown` seconds from now (default: as the task's policy says).

        Once there have been `max_retries` (default: the policy's), the task has failed with `exc`; default: the
        exception that is being handled, or `RetriesExhausted` where there is none.  It never returns:
        `raise self.retry(exc=exc)` is written so that readers see it.
        """
        if not isinstance(exc, BaseException | None):
            raise InvalidOption(f"self.retry(exc={exc!r}): an exception is wanted, for instance the one being handled")
        for name, value in (("countdown", countdown), ("max_retries", max_retries)):
            if value is not None and not (type(value) in (int, float) and 0 <= value < float("inf")):
                raise InvalidOption(f"self.retry({name}={value!r}): a finite number of at least 0 is wanted")
        reason = exc if exc is not None else sys.exception()
        if reason is None:
            reason = RetriesExhausted(self.name, self.request.attempt)
        raise Retry(reason, countdown, max_retries)

    def progress(self, done: float, total: float | None = None) -> None:
        """Say how much is done, of how much in all when that is known, for those who look at the run."""
        done, total = float(done), None if total is None else float(total)
        if self._told is not None:
            self._told(self._task, done, total)


def bound_to(function: Callable[..., Any], attempt: Attempt) -> Callable[..., Any]:
    """Return the function with the attempt as its first argument; of many calls in one task, as that of each."""
    many = innermost(function)
    many = getattr(many, "function", many)  # what looks on while a test runs has it inside
    if many is map_items or many is starmap_items:
        return lambda each, items: function(partial(each, attempt), items)
    return partial(function, attempt)
