"""What every contender module shares: timing, checking the value, and the one line of JSON it prints."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from time import perf_counter
from typing import TypeVar

from benchmarks.works import WORKS

Session = TypeVar("Session")
Built = TypeVar("Built")
Samples = dict[str, list[float]]
Function = Callable[[Session, int], Samples]


class WrongResult(AssertionError):
    """Raised when a contender's value is not the expected one: a fast wrong answer is not a figure."""

    def __init__(self, value: object, expected: object) -> None:
        super().__init__(f"the result is {value!r}, expected {expected!r}")


def checked(value: object, expected: object) -> None:
    """Raise ``WrongResult`` unless the value is the expected one."""
    if value != expected:
        raise WrongResult(value, expected)


def one_by_one(call: Callable[[int, int], int], size: int) -> Samples:
    """Time ``size`` calls one after another, each until its result is there."""
    samples: list[float] = []
    for i in range(size):
        start = perf_counter()
        value = call(i, i)
        samples.append(perf_counter() - start)
        checked(value, 2 * i)
    return {"total": samples}


def whole(call: Callable[[], object], expected: object) -> Samples:
    """Time one call from start to value."""
    start = perf_counter()
    value = call()
    total = perf_counter() - start
    checked(value, expected)
    return {"total": [total]}


def in_two_parts(build: Callable[[], Built], run: Callable[[Built], object], expected: object) -> Samples:
    """Time building and running what was built: the parts are "build" and "total", which has the build in it."""
    start = perf_counter()
    built = build()
    between = perf_counter()
    value = run(built)
    end = perf_counter()
    checked(value, expected)
    return {"build": [between - start], "total": [end - start]}


def unfused_too(samples: Samples) -> Samples:
    """Let a chain count as built and as unfused: for those that fuse nothing the two are the same work."""
    return {**samples, "unfused": samples["total"]}


def build_only(build: Callable[[], object]) -> Samples:
    """Time making a graph that nobody runs; dropping it afterwards is not timed."""
    start = perf_counter()
    built = build()
    end = perf_counter()
    del built
    return {"build": [end - start]}


def measure(function: Function[Session], session: Session, name: str, size: int) -> Samples:
    """Warm up with a small go, then collect the samples of as many goes as the work asks for."""
    work = WORKS[name]
    function(session, min(work.warm, size))
    samples: Samples = {}
    for _ in range(work.repeats):
        for part, values in function(session, size).items():
            samples.setdefault(part, []).extend(values)
    return samples


def main(
    functions: Mapping[str, Function[Session]],
    open_session: Callable[[], AbstractContextManager[Session]],
) -> None:
    """Run ``WORK SIZE`` of the command line and print one line of JSON: ``{"samples": {part: [seconds]}}``."""
    if len(sys.argv) != 3 or sys.argv[1] not in functions:
        sys.exit(f"usage: WORK SIZE, where WORK is one of: {', '.join(functions)}")
    name, size = sys.argv[1], int(sys.argv[2])
    with open_session() as session:
        samples = measure(functions[name], session, name, size)
    sys.stdout.write(json.dumps({"samples": samples}) + "\n")
    sys.stdout.flush()
