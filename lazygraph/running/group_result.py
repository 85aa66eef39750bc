"""What starting a group gives: its members' futures.

Covers: waiting for all of them, in Celery's words too.
Does not cover: a run (running.run), how groups are started (language.canvas, running.steps).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, overload

from lazygraph.errors import NotImplementedYet
from lazygraph.running.background import in_thread
from lazygraph.running.completing import AsCompleted, as_completed, left_until
from lazygraph.running.futures import Future, futures_in
from lazygraph.values.lazy import T_co
from lazygraph.values.node import Recipe

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable


class GroupResult(Sequence[Future[T_co]], Recipe):
    """What starting a group gives: its members' futures, in declared order."""

    def __init__(
        self,
        futures: Iterable[Any],
        parent: Any = None,
        after: Sequence[Future[Any]] = (),
        on_error: str = "raise",
    ) -> None:
        """Make it of members; `parent` is the canvas step before, `after` are futures to wait for without a value."""
        self._members = list(futures)
        self._on_error = on_error
        self._parent = parent
        self._after = tuple(after)

    def to_nodes(self, *args: Any) -> list[Any]:
        """As an argument it is the list of its members' values."""
        if self._on_error != "raise":
            raise NotImplementedYet(
                f"the result of a group(on_error={self._on_error!r}) as an argument",
                "put the call behind the group: `|`",
            )
        return [member.to_nodes() if isinstance(member, GroupResult) else member for member in self._members]

    def __len__(self) -> int:
        return len(self._members)

    @overload
    def __getitem__(self, index: int) -> Future[T_co]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Future[T_co]]: ...
    def __getitem__(self, index: Any) -> Any:
        return self._members[index]

    def __repr__(self) -> str:
        return f"<GroupResult of {len(self)}, {self.completed_count()} completed>"

    def get(self, timeout: float | None = None, propagate: bool = True) -> list[T_co]:
        """Wait for all values, at most `timeout` seconds in all; the first failing member's exception is raised.

        With `propagate=False` it stands in its member's place instead.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        for future in self._after:
            future.get(left_until(deadline), propagate)
        if self._on_error != "raise":
            return self._tolerant(deadline)
        return [member.get(left_until(deadline), propagate) for member in self._members]

    join = result = get

    def _tolerant(self, deadline: float | None) -> list[Any]:
        values: list[Any] = []
        for member in self.flat():
            failure = member.failure(left_until(deadline))
            if failure is None:
                values.append(member.result(left_until(deadline)))
            elif self._on_error == "collect":
                values.append(failure)
        return values

    @property
    def results(self) -> list[Future[T_co]]:
        """The members."""
        return list(self._members)

    children = results

    @property
    def parent(self) -> Any:
        """The canvas step before: its Future, or the GroupResult of a group; None where nothing came before."""
        for future in futures_in(self._parent):
            future._asked = True
        return self._parent

    def completed_count(self) -> int:
        """How many members have succeeded."""
        return sum(member.successful() for member in self._members)

    def ready(self) -> bool:
        """Whether every member has ended."""
        return all(member.ready() for member in (*self._members, *self._after))

    def waiting(self) -> bool:
        """Whether some member has not ended."""
        return not self.ready()

    def successful(self) -> bool:
        """Whether every member has succeeded."""
        return all(member.successful() for member in (*self._members, *self._after))

    def failed(self) -> bool:
        """Whether some member has failed."""
        return any(member.failed() for member in (*self._members, *self._after))

    def as_completed(self) -> AsCompleted:
        """Yield futures as they end, those of groups within the group among them; for `async for` too."""
        return as_completed(self.flat())

    def flat(self) -> list[Any]:
        """Return the members' futures, those of groups within the group among them."""
        found: list[Any] = []
        stack = list(reversed(self._members))
        while stack:
            member = stack.pop()
            if isinstance(member, GroupResult):
                stack.extend(reversed(member._members))
            else:
                found.append(member)
        return found

    def __await__(self) -> Generator[Any, None, list[T_co]]:
        return self._gather().__await__()

    async def _gather(self) -> list[T_co]:
        for future in self._after:
            await future
        if self._on_error == "raise":
            return [await member for member in self._members]
        for member in self.flat():
            try:
                await member
            except BaseException:
                if not member.done():  # it is this coroutine that is cancelled
                    raise
        return self._tolerant(None)

    def cancel(self, force: bool = False) -> bool:
        """Cancel every member; True when all answered True.  `force` as in `Future.cancel`, of all at the same time."""
        # First those that have not started, or they would start in the place of those that are made to leave.
        left = [member for member in self.flat() if not member.cancel()]
        if not force or len(left) < 2:
            return not left or (force and left[0].cancel(force=True))
        answers = [in_thread(partial(member.cancel, force=True)) for member in left]
        return all(answer.result() for answer in answers)

    def revoke(self, terminate: bool = False) -> None:
        """`cancel`, as Celery calls it; `terminate=True` is `force=True`."""
        self.cancel(force=terminate)

    def forget(self) -> None:
        """Give up the values of all members and of the canvas steps before them."""
        for member in self._members:
            member.forget()
