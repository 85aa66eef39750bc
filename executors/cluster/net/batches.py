"""Calls gathered into one plan: what a client submits in one go is sent as one.

Covers: the batch, sending it, leaving out of it what cannot be sent.
Does not cover: the verbs (net.client), how plans travel (net.executor).
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, Protocol

from lazygraph.errors import Closed, UnsupportedByExecutor
from lazygraph.language.promise import Delayed
from lazygraph.planning.plan import plan_of
from lazygraph.running.run import Run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lazygraph.executors.cluster.net.executor import ClusterExecutor
    from lazygraph.running.futures import Future


class Sender(Protocol):
    """What a batch needs of its client."""

    @property
    def executor(self) -> ClusterExecutor:
        """The cluster."""
        ...

    def flush(self) -> None:
        """Send the batch."""
        ...


class Batch:
    """Calls made since the last plan was sent.  Its futures move to a real run when it is sent."""

    def __init__(self, client: Sender) -> None:
        self._client = weakref.ref(client)
        self.nodes: list[Delayed] = []
        self.futures: list[weakref.ref[Future[Any]]] = []

    # What a Future asks of its run before there is one:

    def key_of(self, place: int) -> str:
        """Return the key of a call, which has one when it is sent."""
        future = self._sent(place)
        return future.key if future is not None else "gone"

    @property
    def id(self) -> str:
        """The run's name."""
        future = self._sent(0)
        return future.run_id if future is not None else "gone"

    @property
    def owner(self) -> ClusterExecutor | None:
        """Who computes it."""
        self._sent(0)  # from here on the future's run is a real one
        client = self._client()
        return client.executor if client is not None else None

    def dropped(self, place: int) -> None:
        """Dropped before it was sent: it is not sent at all (see `send`)."""

    def _sent(self, place: int) -> Future[Any] | None:
        client, future = self._client(), self.futures[place]()
        if client is not None:
            client.flush()
        return future

    def send(self, executor: ClusterExecutor) -> None:
        """Send those calls whose futures somebody holds."""
        alive = [(node, future) for node, ref in zip(self.nodes, self.futures, strict=True) if (future := ref())]
        _send(executor, [node for node, _ in alive], [future for _, future in alive])


def _send(executor: ClusterExecutor, nodes: Sequence[Delayed], futures: Sequence[Future[Any]]) -> None:
    """Send one plan; when something in it cannot be sent, only the calls it belongs to fail."""
    if not nodes:
        return
    plan = plan_of(nodes, fail_fast=False)
    run = Run(plan, executor, futures)
    try:
        executor.check(plan)
        executor.enter(plan, run)
    except (TypeError, UnsupportedByExecutor) as error:
        _send_the_good(executor, nodes, futures, error)
    except (ConnectionError, Closed) as error:
        for place in range(len(futures)):
            run.fail(place, error)


def _send_the_good(
    executor: ClusterExecutor, nodes: Sequence[Delayed], futures: Sequence[Future[Any]], error: Exception
) -> None:
    """Fail the calls that cannot be sent, and those that read them; send the others, once, together."""
    bad = _bad_calls(executor, nodes) or dict.fromkeys(map(id, nodes), error)
    good = [(node, future) for node, future in zip(nodes, futures, strict=True) if id(node) not in bad]
    for node, future in zip(nodes, futures, strict=True):
        if id(node) in bad:
            alone = Delayed(node._function, (), None, node._options, node._site)
            Run(plan_of([alone], fail_fast=False), executor, [future]).fail(0, bad[id(node)])
    _send(executor, [node for node, _ in good], [future for _, future in good])


def _bad_calls(executor: ClusterExecutor, nodes: Sequence[Delayed]) -> dict[int, Exception]:
    """Return why, by the number of its object, for each call that cannot be sent or reads one that cannot."""
    bad: dict[int, Exception] = {}
    ours = set(map(id, nodes))
    for node in nodes:  # in the order of the calls: what one reads comes before it
        cause = next((bad[id(leaf)] for leaf in node._leaves if id(leaf) in bad), None)
        leaves = tuple(None if id(leaf) in ours else leaf for leaf in node._leaves)
        alone = Delayed(node._function, leaves, node._template, node._options, node._site)
        found = cause or executor.why_not(plan_of([alone], fail_fast=False))
        if found is not None:
            bad[id(node)] = found
    return bad
