"""Threads for what may wait: users' callbacks, and the values that they are called with.

Jobs run one after another, in the order in which they came, until one of them waits: those behind it are not to wait
for it, because it may be one of them that it waits for.

Covers: as many threads as wait, and one more.
Does not cover: what is called, and when (net.executor).
"""

from __future__ import annotations

import threading
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 0.01
"""Seconds after which a job is taken for one that waits: the next is begun beside it."""


class Callbacks:
    """A queue of jobs, and threads for them."""

    def __init__(self) -> None:
        self._jobs: deque[Callable[[], object]] = deque()
        self._changed = threading.Condition()
        self._at_work: threading.Thread | None = None  # whose job has not been running for long
        self._since = 0.0  # when that began
        self._idle = 0
        self._closed = False

    def submit(self, job: Callable[[], object]) -> None:
        """Do a job soon, in a thread of this; never waits."""
        with self._changed:
            self._jobs.append(job)
            self._have_one_look()
            self._changed.notify()

    def close(self) -> None:
        """Let threads end when there is nothing left to do."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _have_one_look(self) -> None:
        """See that a thread looks at what there is to do."""
        if not self._idle:
            self._idle += 1
            threading.Thread(target=self._serve, name="lazygraph-callbacks", daemon=True).start()

    def _serve(self) -> None:
        with self._changed:
            while self._idle <= 2:  # one that was waiting, and is not any more, is one too many
                if self._jobs and (self._at_work is None or monotonic() - self._since >= PATIENCE):
                    self._idle -= 1
                    self._do(self._jobs.popleft())
                    self._idle += 1
                elif self._jobs:
                    self._changed.wait(max(0.0, self._since + PATIENCE - monotonic()))
                elif self._closed:
                    break
                else:
                    self._changed.wait()
            self._idle -= 1

    def _do(self, job: Callable[[], object]) -> None:
        me = self._at_work = threading.current_thread()
        self._since = monotonic()
        if self._jobs:
            self._have_one_look()
        self._changed.release()
        try:
            job()
        finally:
            del job  # an idle thread keeps no values alive
            self._changed.acquire()
            if self._at_work is me:
                self._at_work = None
