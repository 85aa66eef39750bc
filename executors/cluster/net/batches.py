"""Calls gathered into one plan: what a client submits in one go is sent as one.

Covers: the batch, sending it, leaving out of it what cannot be sent.
Does not cover: the verbs (net.client), how plans travel (net.executor).
"""

from __future__ import annotations

import weakref
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from lazygraph.errors import UnsupportedByExecutor
from lazygraph.language.promise import Delayed
from lazygraph.planning.plan import plan_of
from lazygraph.running.run import Run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lazygraph.executors.cluster.net.executor import ClusterExecutor
    from lazygraph.executors.cluster.net.forms import Form
    from lazygraph.running.futures import Future
    from lazygraph.values.options import TaskOptions


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
        if len(alive) == 1 and (form := executor.forms.form_of(alive[0][0])) is not None:
            _send_one(executor, form, *alive[0])
        else:
            _send(executor, [node for node, _ in alive], [future for _, future in alive])


def _send_one(executor: ClusterExecutor, form: Form, node: Delayed, future: Future[Any]) -> None:
    """Send a call that looks like others before it."""
    plan = form.plan_of(node)
    try:
        executor.enter(plan, Run(plan, executor, [future]), packed=form.packed)
    except Exception as error:
        failed(executor, node._function, node._options, node._site, error, future)


def _send(executor: ClusterExecutor, nodes: Sequence[Delayed], futures: Sequence[Future[Any]]) -> None:
    """Send one plan; when something in it cannot be sent, only the calls it belongs to fail."""
    if not nodes:
        return
    try:
        plan = plan_of(nodes, fail_fast=False)
        run = Run(plan, executor, futures)
        executor.check(plan)
        again = partial(_send_singly, executor, nodes, [weakref.ref(future) for future in futures])
        executor.enter(plan, run, again if len(nodes) > 1 else None)
    except (TypeError, UnsupportedByExecutor) as error:
        _send_the_good(executor, nodes, futures, error)
    except Exception as error:  # the connection is over, or worse: whoever waits must hear of it
        for node, future in zip(nodes, futures, strict=True):
            failed(executor, node._function, node._options, node._site, error, future)


def failed(
    executor: ClusterExecutor,
    function: Any,
    options: TaskOptions,
    site: Any,
    error: BaseException,
    future: Future[Any] | None = None,
) -> Future[Any]:
    """Return the future (default: a new one) of a call that never came to run because of `error`."""
    plan = plan_of([Delayed(function, (), None, options, site)], fail_fast=False)
    run = Run(plan, executor, None if future is None else [future])
    run.fail(0, error)
    return run.let_go()[0]


def _send_singly(
    executor: ClusterExecutor, nodes: Sequence[Delayed], futures: Sequence[weakref.ref[Future[Any]]]
) -> None:
    """Send calls once more that have not run because of others they were sent with: each as a plan of its own."""
    alive = [(node, future) for node, ref in zip(nodes, futures, strict=True) if (future := ref()) is not None]
    ours = {id(node): future for node, future in alive}
    for node, future in alive:  # in the order of the calls: what one reads has moved before it
        leaves = tuple(ours.get(id(leaf), leaf) for leaf in node._leaves)
        _send(executor, [Delayed(node._function, leaves, node._template, node._options, node._site)], [future])


def _send_the_good(
    executor: ClusterExecutor, nodes: Sequence[Delayed], futures: Sequence[Future[Any]], error: Exception
) -> None:
    """Fail the calls that cannot be sent, and those that read them; send the others, once, together."""
    bad = _bad_calls(executor, nodes) or dict.fromkeys(map(id, nodes), error)
    good = [(node, future) for node, future in zip(nodes, futures, strict=True) if id(node) not in bad]
    for node, future in zip(nodes, futures, strict=True):
        if id(node) in bad:
            failed(executor, node._function, node._options, node._site, bad[id(node)], future)
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
