"""Calls that Ray has: what becomes of them, and taking back those that have not begun.

Covers: reports and what else calls end with, dropping calls, a Ray that is shut down meanwhile.
Does not cover: how calls are made (executors.on_ray), what they do over there (executors.ray_tasks).
"""

from __future__ import annotations

import concurrent.futures
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from lazygraph.errors import Closed, LostData
from lazygraph.executors.elsewhere import GivenUp, RunnerGone

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lazygraph.executors.hands import Hands

    Report = concurrent.futures.Future[bytes]

AT_ONCE = 0.1
"""Seconds within which Ray drops a call that it has not begun."""

PATIENCE = 20
"""How many times as long it may take, on a busy machine, as long as the call waits for what has not come."""

LOOK = 0.5
"""Seconds between looks whether Ray was shut down."""

NEEDED = "Ray's workers need lazygraph, as it is here"
"""What to do where something is not found there that is not the user's."""


class Sent(NamedTuple):
    """A call: references to its report and to what it leaves, and why it may not begin for long.

    `times` is how many workers it may die of; `asks`: for resources; `awaits` are reports of calls that it reads from.
    """

    name: str
    report: Any
    left: Any
    times: int
    asks: bool
    awaits: Sequence[Report]

    def may_wait_for_long(self) -> bool:
        """Whether it may have to wait for others, as far as that is known here."""
        return self.asks or not all(other.done() for other in self.awaits)


class Calls:
    """The calls that Ray has been given and has not answered, by the futures of their reports."""

    def __init__(self, ray: Any, hands: Hands) -> None:
        self._ray, self._hands = ray, hands
        self._guard = threading.Lock()
        self._sent: dict[Report, Sent] = {}
        self._coming: dict[Any, Report] = {}  # what a call will leave -> its report
        self._asking: set[Report] = set()
        self._withdrawing: dict[Report, Callable[[], object] | None] = {}
        self._session, self._wanted, self._over = _session_of(ray), threading.Event(), threading.Event()
        self._watcher: threading.Thread | None = None
        self._here = ray.put(None)
        kinds = ray.exceptions
        self._deaths = (
            kinds.WorkerCrashedError,
            kinds.NodeDiedError,
            kinds.OutOfMemoryError,
            kinds.LocalRayletDiedError,
        )

    @property
    def asking(self) -> int:
        """How many ask for resources, and may wait for those."""
        return len(self._asking)

    def add(self, name: str, report: Any, left: Any, reads: Sequence[Any], times: int, asks: bool) -> Report:
        """Ray has a call that reads what others have left, or will have; return the future of its report."""
        future: Report = concurrent.futures.Future()
        awaits = [self._coming[other] for other in reads if other in self._coming]
        sent = self._sent[future] = Sent(name, report, left, times, asks, awaits)
        self._coming[left] = future
        self._have_watched()
        if asks:
            self._asking.add(future)
            future.add_done_callback(self._asking.discard)
        # Ray calls in a thread of its own, which must not wait for anything.
        report.future().add_done_callback(lambda done: self._hands.call(self._come, sent, done, future))
        return future

    def close(self) -> None:
        """Watch no longer."""
        self._over.set()
        self._wanted.set()

    # -- what becomes of them ----------------------------------------------------------------------

    def _come(self, sent: Sent, done: Any, future: Report) -> None:
        """Take in what has come back."""
        with self._guard:
            if future in self._withdrawing:  # who withdraws it looks at it first
                self._withdrawing[future] = partial(self._come, sent, done, future)
                return
            if self._sent.pop(future, None) is None:
                return
            self._coming.pop(sent.left, None)
        error, kinds = done.exception(), self._ray.exceptions
        if error is None:
            future.set_result(done.result())
        elif isinstance(error, kinds.TaskCancelledError):
            future.cancel()
        else:
            future.set_exception(self._meant(sent, error))

    def _meant(self, sent: Sent, error: Any) -> Exception:
        with suppress(Exception):
            if self._same():
                self._ray.get(sent.left, timeout=0)  # or Ray would print that nobody has looked at it
        why = f"{type(error).__name__}: {getattr(error, 'cause', None) or error}"
        if isinstance(error, self._ray.exceptions.ObjectLostError):
            return LostData(f"an input of {sent.name!r}, or of what was sent with it,", why)
        if isinstance(error, self._deaths):
            return RunnerGone(why, sent.times)
        return GivenUp(why, NEEDED if "lazygraph" in why else "")

    # -- a Ray that is shut down -------------------------------------------------------------------

    def _same(self) -> bool:
        """Whether Ray is still the one that has the calls."""
        return _session_of(self._ray) == self._session

    def _have_watched(self) -> None:
        with self._guard:
            if self._watcher is None:
                self._watcher = threading.Thread(target=self._watch, name="lazygraph-ray-watches", daemon=True)
                self._watcher.start()
        self._wanted.set()

    def _watch(self) -> None:
        """Look whether Ray is still the same, as long as there are calls: of one that was shut down nothing comes."""
        while self._wanted.wait() and not self._over.is_set():
            self._wanted.clear()
            while self._sent and not self._over.wait(LOOK):
                if self._same():
                    continue
                with self._guard:
                    calls = list(self._sent)
                    self._sent.clear()
                    self._coming.clear()
                for call in calls:
                    self._hands.call(call.set_exception, Closed("Ray (by ray.shutdown())"))

    # -- taking back -------------------------------------------------------------------------------

    def cancel(self, report: Report) -> None:
        """Ray drops a call that has not begun; one that has begun does not notice."""
        self._hands.call(self._cancel, report)  # the collector may have asked, in any thread

    def _cancel(self, report: Report) -> None:
        """Cancel a call in the thread in which Ray brings calls their arguments, and takes in their results.

        Where another thread cancels a call just then, Ray (2.60) ends this process: "Check failed:
        submitted_task_ref_count > 0", or "Tried to complete task that was not pending".
        """
        sent = self._sent.get(report)
        if sent is not None and self._same():
            self._here._on_completed(lambda _: self._drop(sent.report))

    def _drop(self, reference: Any) -> None:
        with suppress(Exception):  # Ray has ended meanwhile
            self._ray.cancel(reference, recursive=False)

    def withdraw(self, report: Report) -> bool:
        """See whether Ray drops a call at once; only one that may wait for long is worth asking for."""
        with self._guard:
            sent = self._sent.get(report)
            if sent is None or report in self._withdrawing or not sent.may_wait_for_long():
                return False
            self._withdrawing[report] = None
        dropped = False
        try:
            self._cancel(report)
            dropped = self._dropped(sent)
        finally:
            with self._guard:
                come = self._withdrawing.pop(report)
                if dropped:
                    self._sent.pop(report, None)
                    self._coming.pop(sent.left, None)
                    self._asking.discard(report)
            if come is not None and not dropped:
                come()
        return dropped

    def _dropped(self, sent: Sent) -> bool:
        try:
            for _ in range(PATIENCE):
                if self._ray.wait([sent.report], timeout=AT_ONCE)[0]:
                    self._ray.get(sent.report)
                    return False
                if all(other.done() for other in sent.awaits):
                    return False
        except self._ray.exceptions.TaskCancelledError:
            return True
        except Exception:  # it has ended otherwise, or Ray has
            return False
        return False


def _session_of(ray: Any) -> str:
    """Return what this process is called by the Ray that it has initialised, "" by none; another one has another."""
    with suppress(Exception):  # it ends just now
        if ray.is_initialized():
            return str(ray.get_runtime_context().get_worker_id())
    return ""
