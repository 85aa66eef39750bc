"""How long a graph will take, from how long its functions have taken before.

An estimate says what it rests on: how many calls, of how many observed runs, on which executor.  What has never been
measured is named, and counts as nothing.

Covers: samples by function, the time of a graph on so many slots.
Does not cover: measuring (running.observing).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, NamedTuple

from lazygraph.showing.seconds import seconds_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MOST_FUNCTIONS = 10_000
"""Functions of which samples are kept, per executor."""


class Sample(NamedTuple):
    """How long the calls of a function took: how many there were, their seconds in all, the shortest, the longest."""

    calls: int
    seconds: float
    least: float
    most: float

    @property
    def mean(self) -> float:
        """Seconds a call, on average."""
        return self.seconds / self.calls


class Samples:
    """What is known of functions from `runs` observed runs."""

    def __init__(self) -> None:
        self.runs = 0
        self._by_function: dict[str, Sample] = {}

    def of(self, function: str) -> Sample | None:
        """Return what is known of a function."""
        return self._by_function.get(function)

    def copy(self) -> Samples:
        """Return what is known now."""
        copied = Samples()
        copied.runs, copied._by_function = self.runs, dict(self._by_function)
        return copied

    def add(self, durations: Iterable[tuple[str, float]]) -> None:
        """Take in the calls of a run that has ended: functions, and seconds."""
        self.runs += 1
        for function, seconds in durations:
            old = self._by_function.get(function)
            if old is not None:
                least, most = min(old.least, seconds), max(old.most, seconds)
                self._by_function[function] = Sample(old.calls + 1, old.seconds + seconds, least, most)
            elif len(self._by_function) < MOST_FUNCTIONS:
                self._by_function[function] = Sample(1, seconds, seconds, seconds)


@lru_cache(maxsize=64)
def samples_on(executor: str) -> Samples:
    """Return what was measured in this process on an executor (its address, or else its name)."""
    return Samples()


@dataclass(frozen=True, slots=True)
class Estimate:
    """How long a graph may take on `slots` slots of `executor`.

    `elapsed` seconds by going through the graph with the mean durations; `work` is their sum, `longest` that of the
    longest way, which no number of slots makes shorter.  It rests on `calls` calls in `runs` runs.  `unknown` are the
    names of nodes that were never measured, `missing` how many there are: they count as nothing.
    """

    executor: str
    slots: int
    elapsed: float
    work: float
    longest: float
    calls: int
    runs: int
    missing: int
    unknown: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.calls:
            return f"unknown: no task of these functions has been measured on {self.executor!r} in this process"
        slots = f"{self.slots} slot{'s' * (self.slots != 1)}"
        text = f"about {seconds_text(self.elapsed)} on {slots}: {seconds_text(self.work)} of work, "
        text += f"{seconds_text(self.longest)} on the longest way; "
        text += f"from {_many(self.calls, 'call')} in {_many(self.runs, 'observed run')} on {self.executor!r} "
        text += "in this process"
        if self.missing:
            named = ", ".join(self.unknown[:3]) + (" …" if len(self.unknown) > 3 else "")
            text += f"; without {_many(self.missing, 'node')} never measured: {named}"
        return text

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain values; None for those that nothing is known of."""
        known = bool(self.calls)
        return {
            "executor": self.executor,
            "slots": self.slots,
            "elapsed": self.elapsed if known else None,
            "work": self.work if known else None,
            "longest": self.longest if known else None,
            "sample": {"calls": self.calls, "runs": self.runs},
            "nodes_without": self.missing,
            "names_without": list(self.unknown),
        }


def estimate(
    offsets: Sequence[int],
    inputs: Sequence[int],
    names: Sequence[str],
    functions: Sequence[str | None],
    samples: Samples,
    executor: str,
    slots: int,
) -> Estimate:
    """Estimate the time of a graph in topological order; `functions[i]` is what node i calls (None: nothing)."""
    found = [samples.of(function) if function is not None else None for function in functions]
    seconds = [sample.mean if sample is not None else 0.0 for sample in found]
    missing = [at for at, sample in enumerate(found) if sample is None and functions[at] is not None]
    return Estimate(
        executor,
        slots,
        elapsed=_elapsed(offsets, inputs, seconds, slots),
        work=sum(seconds),
        longest=longest_way(offsets, inputs, seconds),
        calls=sum(
            {function: sample.calls for function, sample in zip(functions, found, strict=True) if sample}.values()
        ),
        runs=samples.runs,
        missing=len(missing),
        unknown=tuple(dict.fromkeys(names[at] for at in missing)),
    )


def longest_way(offsets: Sequence[int], inputs: Sequence[int], seconds: Sequence[float]) -> float:
    """Return the seconds of the longest way through a graph in topological order."""
    ends: list[float] = []
    for at, own in enumerate(seconds):
        ends.append(own + max([ends[read] for read in inputs[offsets[at] : offsets[at + 1]]], default=0.0))
    return max(ends, default=0.0)


def _elapsed(offsets: Sequence[int], inputs: Sequence[int], seconds: Sequence[float], slots: int) -> float:
    """Return when a graph has ended whose nodes take `seconds`, each begun when a slot is free, the lowest first."""
    count = len(seconds)
    readers: list[list[int]] = [[] for _ in range(count)]
    missing = [offsets[at + 1] - offsets[at] for at in range(count)]
    for at in range(count):
        for read in inputs[offsets[at] : offsets[at + 1]]:
            readers[read].append(at)
    ready = [at for at in range(count) if not missing[at]]  # in order, so it is a heap
    running: list[tuple[float, int]] = []
    now = 0.0
    while ready or running:
        while ready and len(running) < slots:
            at = heappop(ready)
            heappush(running, (now + seconds[at], at))
        now, at = heappop(running)
        for reader in readers[at]:
            missing[reader] -= 1
            if not missing[reader]:
                heappush(ready, reader)
    return now


def _many(count: int, one: str) -> str:
    return f"{count} {one}{'' if count == 1 else 's'}"
