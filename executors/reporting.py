"""What other people's executors call back only says so here; a thread of ours does what follows.

A done callback of a `concurrent.futures.Future` runs wherever that future ends: in the middle of the `submit` of a pool
that runs things at once, in the thread that a pool needs to go on, in a caller that holds the pool's own lock while it
cancels.  What follows from the end of a lease takes our locks, settles futures and submits the next lease, so in such a
place it would recurse or deadlock.  An engine over a foreign executor therefore has one `Reporter` and gives it

    future.add_done_callback(lambda done: self._reporter.soon(partial(self._back, work, done)))

and, where `submit` itself fails, `soon(partial(self._fail, work, error))`: `start` never reports by itself.

Covers: one thread, started when there is first something to do.
Does not cover: what is done (executors.pool, executors.elsewhere).
"""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING

from lazygraph.running.hosting import show_escaped

if TYPE_CHECKING:
    from collections.abc import Callable


class Reporter:
    """Does things one after the other in a daemon thread of its own; what fails there ends nothing else.

    The thread keeps nothing alive but what is still to be done.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._due: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._serving = self._closed = False
        self._guard = threading.Lock()

    def soon(self, do: Callable[[], object]) -> None:
        """Have `do()` called, after all that came before; returns at once.  After `close` as well."""
        self._due.put(do)
        with self._guard:
            if self._closed:
                self._due.put(None)
            if self._serving:
                return
            self._serving = True
        try:
            threading.Thread(target=self._serve, name=self._name, daemon=True).start()
        except RuntimeError:  # the system gives no further thread: this one does it
            self._due.put(None)
            self._serve()

    def close(self) -> None:
        """End the thread once it has done everything; waits for nothing.  Safe to call twice."""
        with self._guard:
            self._closed = True
            self._due.put(None)

    def _serve(self) -> None:
        while True:
            do = self._due.get()
            if do is None:
                with self._guard:
                    if self._due.empty():
                        self._serving = False
                        return
                continue
            try:
                do()
            except BaseException:
                show_escaped()
            del do  # an idle thread keeps no values alive
