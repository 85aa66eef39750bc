"""What leases say while they run somewhere else: which task takes long, and how far tasks are.

Over there one thread of the process looks at the leases that run in it, and says what is new by a way that the engine
has (`Say`).  What is short costs no message: what its tasks have said comes back with the report.  Here it is known by
numbers which lease says it; of one that is over nothing is heard any more.

Covers: what is said, when, and what is made of it here.
Does not cover: the ways (executors.dask_tasks, executors.datagrams, executors.celery_tasks).
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Say = Callable[[bytes], object]

LOOK = 0.02
"""Seconds between looks at what runs; a task that is seen twice is said to have begun."""

TELLING = 0.05
"""Seconds at least between two messages of how far the tasks of a lease are."""

PATIENCE = 50
"""After so many looks with nothing to be seen the thread waits until something runs again."""


class Progress(NamedTuple):
    """How much of how much a task has done."""

    task: int
    done: float
    total: float | None


class Said(NamedTuple):
    """A message: the number of the lease, which task has begun (-1: none that is new), how far tasks are."""

    number: int
    begun: int
    progress: list[Progress]


_encode = msgspec.msgpack.Encoder().encode
_said_of = msgspec.msgpack.Decoder(Said).decode


# -- over there ------------------------------------------------------------------------------------


class Speaker:
    """A lease that runs in this process: at which task it is, and what its tasks have said."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._at = self._seen = self._begun = -1
        self._told: dict[int, Progress] = {}
        self._last: dict[int, Progress] = {}  # what was said last, by task
        self._when = 0.0

    def began(self, task: int) -> None:
        """A task begins: no more than noted."""
        self._at = task

    def told(self, task: int, done: float, total: float | None) -> None:
        """Note how far a task is.  Raises what `float` does of what is no number."""
        self._told[task] = Progress(task, float(done), None if total is None else float(total))

    def all_told(self) -> list[Progress]:
        """Return what was said last of each task that has said anything."""
        return list(self._told.values())

    def news(self, now: float) -> bytes | None:
        """Return a message of what is new since the last one, if anything is."""
        at, begun = self._at, -1
        if at == self._seen and at != self._begun:
            self._begun = begun = at
        self._seen = at
        progress: list[Progress] = []
        if self._told and now - self._when >= TELLING:
            progress = [one for one in list(self._told.values()) if self._last.get(one.task) is not one]
        if begun < 0 and not progress:
            return None
        if progress:
            self._when = now
            self._last.update((one.task, one) for one in progress)
        return _encode(Said(self._number, begun, progress))


class _Looking:
    """The thread that looks at what runs in this process, started with the first lease."""

    def __init__(self) -> None:
        self._running: dict[Speaker, Say] = {}
        self._wanted = threading.Event()
        threading.Thread(target=self._look, name="lazygraph-says", daemon=True).start()

    @contextmanager
    def at(self, speaker: Speaker, say: Say) -> Iterator[None]:
        """Look at a lease meanwhile."""
        self._running[speaker] = say
        if not self._wanted.is_set():  # else it looks anyway: a set costs more than the question
            self._wanted.set()
        try:
            yield
        finally:
            del self._running[speaker]

    def _look(self) -> None:
        idle = 0
        while True:
            time.sleep(LOOK)
            now = time.monotonic()
            running = list(self._running.items())
            for speaker, say in running:
                if (news := speaker.news(now)) is not None:
                    with suppress(Exception):  # nothing depends on it, and the next message says the same and more
                        say(news)
            idle = 0 if running else idle + 1
            del running
            if idle > PATIENCE:
                idle = 0
                self._wanted.clear()
                if not self._running:  # asked after the clearing: who comes now sets it
                    self._wanted.wait()


@lru_cache(maxsize=1)
def _looking_in(pid: int) -> _Looking:
    """Return the thread of this process: a child that was forked has one of its own."""
    return _Looking()


@contextmanager
def speaking(number: int, say: Say | None) -> Iterator[Speaker]:
    """Have said what is new of a lease that runs meanwhile; where nothing can be said, it is only noted."""
    speaker = Speaker(number)
    if say is None:
        yield speaker
        return
    with _looking_in(os.getpid()).at(speaker, say):
        yield speaker


# -- here ------------------------------------------------------------------------------------------


class Heard:
    """The leases that are somewhere else, and which of their tasks are known to have begun."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._number_of: dict[Any, int] = {}
        self._leases: dict[int, tuple[Any, set[int]]] = {}

    def expect(self, work: Any) -> int:
        """Return the number by which a lease is to speak of itself."""
        number = self._number_of[work] = next(self._numbers)
        self._leases[number] = work, set()
        return number

    def over(self, work: Any) -> set[int]:
        """Hear no more of a lease; return which of its tasks had been heard to begin."""
        number = self._number_of.pop(work, 0)
        _, begun = self._leases.pop(number, (None, set[int]()))
        return begun

    def hear(self, message: bytes) -> None:
        """Take in what a lease says, unless it is over."""
        number, begun, progress = _said_of(message)
        work, known = self._leases.get(number, (None, set[int]()))
        if work is None:
            return
        for task in {begun, *(one.task for one in progress)}.difference(known, [-1]):
            known.add(task)
            if work.began is not None:
                work.began(task)
        if work.told is not None:
            for one in progress:
                work.told(*one)

    def runs(self, block: Any, entry: int) -> bool:
        """Whether an entry has been heard to begin, in a lease that is not over."""
        return any(entry in begun and work.course.block is block for work, begun in list(self._leases.values()))
