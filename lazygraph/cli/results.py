"""Values as JSON for programs that read what a command prints.

None, truth, numbers, texts, lists and dicts with texts as keys are what they are in JSON, and a tuple is a list.  What
JSON has not is marked: `{"$repr": "datetime.date(2026, 1, 2)"}`, and a `Failure` is `{"$failure": {...}}`.  This is for
reading; what has to become the same value again is written by `to_json`.

Covers: values, failures, the two ways to tell them, keeping standard output for the one document.
Does not cover: plans (planning.writing).
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click

from lazygraph.values.outcome import Failure

Telling = Callable[[Sequence[Any] | None, Sequence[Failure]], None]
"""Tells what came out: the results (None: the run did not come to its end), and why outputs have none."""

DEEPEST = 100
"""So many levels are written; what is nested deeper is marked, as what contains itself is."""
_AS_THEY_ARE = (type(None), bool, int, str)


def jsonable(value: Any, within: tuple[int, ...] = ()) -> Any:
    """Return what the json module writes for a value; `within` are the ids of what it is nested in."""
    kind = type(value)
    if kind in _AS_THEY_ARE or (kind is float and math.isfinite(value)):
        return value
    if kind is Failure:
        return {"$failure": failure_as_json(value)}
    if id(value) not in within and len(within) < DEEPEST:
        inner = (*within, id(value))
        if kind in (list, tuple):
            return [jsonable(one, inner) for one in value]
        if kind is dict and all(type(name) is str and not name.startswith("$") for name in value):
            return {name: jsonable(one, inner) for name, one in value.items()}
    return {"$repr": shown(value)}


def failure_as_json(failure: Failure) -> dict[str, Any]:
    """Return a failure for json: its texts, and the exception by class and message."""
    error = failure.exception
    return {
        "node": failure.node,
        "key": failure.key,
        "attempt": failure.attempt,
        "exception": type(error).__name__,
        "message": str(error),
        "traceback": failure.traceback,
        "worker": failure.worker,
        "origin": failure.origin,
    }


def shown(value: Any) -> str:
    """Return the repr of a value; what has none is said to have none."""
    try:
        return repr(value)
    except Exception as error:  # a user's own, or nested too deep
        return f"<{type(value).__qualname__}, whose repr() raises {type(error).__name__}>"


@contextlib.contextmanager
def lines() -> Iterator[Telling]:
    """Tell results as lines; failures are the caller's to tell, on standard error."""

    def tell(results: Sequence[Any] | None, failures: Sequence[Failure]) -> None:
        for one in results or ():
            click.echo(shown(one))

    yield tell


@contextlib.contextmanager
def one_document() -> Iterator[Telling]:
    """Tell everything as one line of JSON; what is printed meanwhile, also by children, goes where errors go."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)

    def tell(results: Sequence[Any] | None, failures: Sequence[Failure]) -> None:
        found = None if results is None else [jsonable(one) for one in results]
        document = json.dumps({"results": found, "failures": [failure_as_json(one) for one in failures]})
        with open(kept, "w", encoding="utf-8", closefd=False) as out:
            out.write(f"{document}\n")

    try:
        yield tell
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
