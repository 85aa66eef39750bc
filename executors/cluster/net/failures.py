"""The records of failures that arrive: at a client for its futures, at a worker for a task that asked for one.

Covers: what each kind of failure is as an exception.
Does not cover: how exceptions are pickled (net.codec).
"""

from __future__ import annotations

import concurrent.futures
from typing import TYPE_CHECKING

from lazygraph.errors import InvalidOption, LostData, ReplacedTooDeep, TaskExpired, WorkerDied
from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster.net.codec import unpack_exception
from lazygraph.running.frontier import MAX_REPLACEMENTS
from lazygraph.values.outcome import Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lazygraph.executors.cluster.net.codec import Buffer

Told = m.Ended | m.Caught | m.Retried


def failure_of(message: Told, body: Buffer) -> Failure:
    """Return the record that a message tells of."""
    error = _KINDS[message.kind](message, body)
    return Failure(
        message.node, message.key, message.attempt, error, message.text, message.worker, origin=message.origin
    )


def _cancelled(message: Told, body: Buffer) -> BaseException:
    return concurrent.futures.CancelledError(f"{message.node!r} was cancelled before it ran")


def _missing(message: Told, body: Buffer) -> BaseException:
    return LostData(f"the value of {message.node!r}", m.LOST_FOR_GOOD)


_KINDS: Mapping[str, Callable[[Told, Buffer], BaseException]] = {
    "raised": lambda message, body: unpack_exception(body, message.node, message.text),
    "died": lambda message, body: WorkerDied(message.node, message.times, message.worker, message.text),
    "too deep": lambda message, body: ReplacedTooDeep(message.node, MAX_REPLACEMENTS),
    "expired": lambda message, body: TaskExpired(message.node, message.origin),
    "refused": lambda message, body: InvalidOption(message.text),
    "lost": _missing,
    "cancelled": _cancelled,
}
