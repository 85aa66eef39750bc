"""An engine of somebody else's on paper: it has what it is called with, and the test says what becomes of that."""

from __future__ import annotations

import concurrent.futures
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from lazygraph.executors.cluster.net import codec
from lazygraph.executors.elsewhere import ElsewhereDriver, RunnerGone
from lazygraph.executors.remote import program_of, run
from tests.executors.driven import WAIT

if TYPE_CHECKING:
    from collections.abc import Callable

    from lazygraph.executors.elsewhere import Call, Kept


class Held:
    """A call, and what it has left once it has run."""

    def __init__(self, call: Call) -> None:
        self.call, self.report = call, concurrent.futures.Future[bytes]()
        self.left: dict[int, Any] | None = None
        self.error: BaseException | None = None
        self.began = self.cancelled = False

    @property
    def waits(self) -> bool:
        """Whether something that it reads has not ended."""
        return any(one.left is None and one.error is None and not one.cancelled for one in self.call.inputs)

    def run(self) -> None:
        """Run it, or let it end as what it reads has ended."""
        assert not self.waits
        wrong = next((one for one in self.call.inputs if one.left is None), None)
        if wrong is not None and wrong.cancelled:
            self.cancel()
        elif wrong is not None:
            self.fail(wrong.error)
        else:
            self.began = True
            inputs = [one.left for one in self.call.inputs]
            left: dict[int, Any] = {}
            program, leave = program_of(self.call.plan, "paper"), left.__setitem__
            report = run(program, self.call.lease, inputs=inputs, leave=leave, say=lambda _: None)
            self.left = left
            self.report.set_result(report)

    def fail(self, error: BaseException | None = None) -> None:
        """Let it end without a report: of a death, if nothing is said."""
        self.error = error or RunnerGone("its worker has died")
        self.report.set_exception(self.error)

    def cancel(self) -> None:
        """Let it never begin."""
        self.cancelled = True
        self.report.cancel()
        self.report.set_running_or_notify_cancel()


class PaperSite:
    """Keeps calls in the order in which they were made."""

    most = 256

    def __init__(self, slots: int = 2, ahead: bool = True) -> None:
        self.slots, self.sends_ahead = slots, ahead
        self.came: SimpleQueue[Held] = SimpleQueue()
        self.withdrawn: SimpleQueue[Held] = SimpleQueue()
        self.calls: dict[concurrent.futures.Future[bytes], Held] = {}

    def place(self, plan: bytes) -> bytes:
        return plan

    def call(self, call: Call) -> tuple[Held, concurrent.futures.Future[bytes]]:
        held = Held(call)
        self.calls[held.report] = held
        self.came.put(held)
        return held, held.report

    def fetch(self, kept: Kept, timeout: float | None) -> tuple[bool, bytes]:
        return True, codec.dumps(kept.left.left[kept.entry])

    def cancel(self, report: concurrent.futures.Future[bytes]) -> None:
        if not self.calls[report].began and not report.done():
            self.calls[report].cancel()

    def withdraw(self, report: concurrent.futures.Future[bytes]) -> bool:
        held = self.calls[report]
        if held.began or report.done():
            return False
        held.cancelled = True
        self.withdrawn.put(held)
        return True

    def lacks(self) -> str:
        return ""

    def listen(self, hear: Callable[[bytes], object]) -> None:
        return

    def close(self) -> None:
        return

    def next(self) -> Held:
        """Return the next call that was made and not seen yet, as soon as there is one."""
        return self.came.get(timeout=WAIT)


class PaperDriver(ElsewhereDriver):
    """A driver whose engine is a `PaperSite`."""

    def __init__(self, slots: int = 2, ahead: bool = True) -> None:
        self.paper = PaperSite(slots, ahead)
        super().__init__(self.paper, "paper")

    def told(self) -> None:
        """Return when everything has been taken in that calls have ended with by now."""
        done: concurrent.futures.Future[None] = concurrent.futures.Future()
        # Twice: what a report has kept back is called after it.
        self._elsewhere._reporter.soon(lambda: self._elsewhere._reporter.soon(lambda: done.set_result(None)))
        done.result(WAIT)

    def more(self) -> list[Held]:
        """Return the calls that were made and not seen yet, when all is quiet."""
        self.told()
        found = []
        while not self.paper.came.empty():
            found.append(self.paper.came.get())
        return found
