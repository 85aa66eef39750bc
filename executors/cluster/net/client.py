"""The client: dask.distributed's verbs over the cluster executor.

Covers: submit, map, gather, scatter, compute, persist, who_has and the like, calls gathered into one plan.
Does not cover: how plans and values travel (net.executor).
"""

from __future__ import annotations

import sys
import threading
import time
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from lazygraph.errors import Closed, NotImplementedYet, UnsupportedByExecutor
from lazygraph.executors.cluster.net.executor import ClusterExecutor
from lazygraph.executors.current import closed, enter, leave, opened
from lazygraph.language.calls import site_of
from lazygraph.language.delayed import DelayedFunction
from lazygraph.language.promise import Delayed, build, is_lazy
from lazygraph.planning.plan import plan_of
from lazygraph.running.futures import Future
from lazygraph.running.run import Run
from lazygraph.values.foreign import INSTEAD
from lazygraph.values.node import External
from lazygraph.values.options import DEFAULT, NAMES, changed, in_context
from lazygraph.values.template import put_together, take_apart
from lazygraph.values.verbs import persist_on, start_on

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from lazygraph.values.options import TaskOptions


class _Batch:
    """Calls made since the last plan was sent.  Its futures move to a real run when it is sent."""

    def __init__(self, client: Client) -> None:
        self._client = weakref.ref(client)
        self.nodes: list[Delayed] = []
        self.futures: list[weakref.ref[Future[Any]]] = []

    # What a Future asks of its run before there is one:

    def key_of(self, place: int) -> str:
        future = self._sent(place)
        return future.key if future is not None else "gone"

    @property
    def id(self) -> str:
        future = self._sent(0)
        return future.run_id if future is not None else "gone"

    @property
    def owner(self) -> ClusterExecutor | None:
        self._sent(0)  # from here on the future's run is a real one
        client = self._client()
        return client.executor if client is not None else None

    def dropped(self, place: int) -> None:
        """Dropped before it was sent: it is not sent at all (see `Client._send_batch`)."""

    def _sent(self, place: int) -> Future[Any] | None:
        client, future = self._client(), self.futures[place]()
        if client is not None:
            client.flush()
        return future


class Client:
    """A connection to a cluster, with the verbs of `dask.distributed.Client`.

    `Client("tcp://host:8786", token=...)`, `Client(cluster)`, or `Client()`, which starts a LocalCluster of its own.
    While it is open it is the process's default executor (`set_as_default=False` opts out).
    """

    def __init__(
        self,
        address: Any = None,
        *,
        token: str | None = None,
        timeout: float = 30.0,
        set_as_default: bool = True,
    ) -> None:
        self._own_cluster: Any = None
        if address is None:
            address = self._own_cluster = _start_cluster()
        token = token or getattr(address, "token", None)
        self.address: str = getattr(address, "address", address)
        try:
            self.executor = ClusterExecutor(self.address, token, timeout)
        except BaseException:
            self._close_own()
            raise
        self._lock = threading.Lock()
        self._batch: Any = None
        if set_as_default:
            opened(self.executor)

    def __repr__(self) -> str:
        return f"<Client of {self.address}{' (closed)' if self.executor.closed else ''}>"

    def __enter__(self) -> Self:
        enter(self.executor)
        return self

    def __exit__(self, *exc_info: object) -> None:
        leave(self.executor)
        self.close()

    def close(self) -> None:
        """Send what was submitted, release what is held, end the connection.  Safe to call twice."""
        closed(self.executor)
        if not self.executor.closed:
            with suppress(ConnectionError):
                self.flush()
        self.executor.close()
        self.flush()  # what another thread has submitted meanwhile ends with the error for it
        self._close_own()

    def _close_own(self) -> None:
        if self._own_cluster is not None:
            self._own_cluster.close()
            self._own_cluster = None

    # -- calls -------------------------------------------------------------------------------------

    def submit(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Future[Any]:
        """Call `function` on the cluster; return its Future.  Futures are accepted among the arguments.

        Calls made in one go travel as one plan.  Option names (`key, pure, priority, workers ...`) are options unless
        the function has such a parameter.
        """
        self.executor.check_usable()
        site = site_of(sys._getframe(1))
        function, options, kwargs = _call_of(function, kwargs)
        leaves, ops = _take_apart(args, kwargs)
        if any(self._needs_own_plan(leaf) for leaf in leaves):
            self.flush()
            return self._start([build(function, args, kwargs, options, site)])[0]
        with self._lock:
            batch = self._open_batch()
            # A future that has not been sent yet is its node: one plan, one edge.
            own = [batch.nodes[x.output] if isinstance(x, Future) and x.run is batch else x for x in leaves]
            if not all(a is b for a, b in zip(own, leaves, strict=True)):
                whole = put_together(ops, own)
                args, kwargs = tuple(whole[: len(args)]), dict(zip(kwargs, whole[len(args) :], strict=True))
            node = build(function, args, kwargs, options, site)
            future: Future[Any] = Future(batch, len(batch.nodes))
            batch.nodes.append(node)
            batch.futures.append(weakref.ref(future))
            if len(batch.nodes) == 1:
                self.executor.post(self.flush)
        return future

    def _open_batch(self) -> _Batch:
        if self._batch is None:
            self._batch = _Batch(self)
        batch: _Batch = self._batch
        return batch

    def _needs_own_plan(self, leaf: Any) -> bool:
        """Whether an argument is a graph, in which anything may be, or is held by somebody else."""
        if isinstance(leaf, External):
            mine = self._batch
            return not (isinstance(leaf, Future) and leaf.run is mine) and not self.executor.owns(leaf)
        return is_lazy(leaf)

    def _start(self, nodes: Sequence[Delayed]) -> list[Future[Any]]:
        """Send calls as a plan of their own; what others hold is fetched first, and goes in as constants."""
        plan = plan_of(nodes, fail_fast=False)
        held: dict[External, Any] = {
            x: x.result() for x in plan.externals if isinstance(x, Future) and not self.executor.owns(x)
        }
        if held:
            plan = plan_of(nodes, held=held, fail_fast=False)
        return self.executor.submit(plan).let_go()

    def flush(self) -> None:
        """Send the calls that have been gathered (this happens by itself, as soon as the client's thread is free)."""
        with self._lock:
            batch, self._batch = self._batch, None
            if batch is not None:
                self._send_batch(batch)

    def _send_batch(self, batch: _Batch) -> None:
        alive = [(node, future) for node, ref in zip(batch.nodes, batch.futures, strict=True) if (future := ref())]
        self._send_calls([node for node, _ in alive], [future for _, future in alive])

    def _send_calls(self, nodes: Sequence[Delayed], futures: Sequence[Future[Any]]) -> None:
        """Send one plan; when something in it cannot be sent, only the calls it belongs to fail."""
        if not nodes:
            return
        plan = plan_of(nodes, fail_fast=False)
        run = Run(plan, self.executor, futures)
        try:
            self.executor.check(plan)
            self.executor.enter(plan, run)
        except (TypeError, UnsupportedByExecutor) as error:
            self._send_the_good(nodes, futures, error)
        except (ConnectionError, Closed) as error:
            for place in range(len(futures)):
                run.fail(place, error)

    def _send_the_good(self, nodes: Sequence[Delayed], futures: Sequence[Future[Any]], error: Exception) -> None:
        """Fail the calls that cannot be sent, and those that read them; send the others, once, together."""
        bad = self._bad_calls(nodes) or dict.fromkeys(map(id, nodes), error)
        good = [(node, future) for node, future in zip(nodes, futures, strict=True) if id(node) not in bad]
        for node, future in zip(nodes, futures, strict=True):
            if id(node) in bad:
                alone = Delayed(node._function, (), None, node._options, node._site)
                Run(plan_of([alone], fail_fast=False), self.executor, [future]).fail(0, bad[id(node)])
        self._send_calls([node for node, _ in good], [future for _, future in good])

    def _bad_calls(self, nodes: Sequence[Delayed]) -> dict[int, Exception]:
        """Return why, by the number of its object, for each call that cannot be sent or reads one that cannot."""
        bad: dict[int, Exception] = {}
        ours = set(map(id, nodes))
        for node in nodes:  # in the order of the calls: what one reads comes before it
            cause = next((bad[id(leaf)] for leaf in node._leaves if id(leaf) in bad), None)
            leaves = tuple(None if id(leaf) in ours else leaf for leaf in node._leaves)
            alone = Delayed(node._function, leaves, node._template, node._options, node._site)
            found = cause or self.executor.why_not(plan_of([alone], fail_fast=False))
            if found is not None:
                bad[id(node)] = found
        return bad

    def map(self, function: Callable[..., Any], *iterables: Iterable[Any], **kwargs: Any) -> list[Future[Any]]:
        """Call `function` for each tuple of items; return the list of futures.  One plan, sent at once."""
        if any(hasattr(items, "get") and hasattr(items, "put") for items in iterables):
            raise NotImplementedYet("map over a queue.Queue", "submit what you take from it")
        self.executor.check_usable()
        function, options, kwargs = _call_of(function, kwargs)
        self.flush()
        site = site_of(sys._getframe(1))
        return self._start([build(function, args, kwargs, options, site) for args in zip(*iterables, strict=False)])

    def gather(self, futures: Any, errors: str = "raise") -> Any:
        """Return the values of futures, nested as they are; `errors="skip"` leaves failed ones out of lists."""
        if errors not in ("raise", "skip"):
            raise ValueError(f"gather(errors={errors!r}): it is 'raise' or 'skip'")
        if errors == "skip" and isinstance(futures, list | tuple):
            futures = [future for future in futures if not _has_failed(future)]
        leaves, ops = take_apart([futures], lambda value: isinstance(value, Future))
        values = [leaf.result() if isinstance(leaf, Future) else leaf for leaf in leaves]
        return put_together(ops, values)[0]

    def scatter(self, data: Any) -> Any:
        """Send values to the workers to be kept there; a dict gives a dict of futures, a list a list."""
        if isinstance(data, dict):
            keys, values = list(data), list(data.values())
            return dict(zip(keys, self._scatter(values, [str(key) for key in keys]), strict=True))
        if isinstance(data, list | tuple | set | frozenset):
            values = list(data)
            return self._scatter(values, [type(value).__name__ for value in values])
        return self._scatter([data], [type(data).__name__])[0]

    def _scatter(self, values: Sequence[Any], names: Sequence[str]) -> list[Future[Any]]:
        return self.executor.hold(values, names).let_go()

    def compute(self, lazy: Any, **kwargs: Any) -> Any:
        """Start something lazy; return its Future, of a list a list of futures."""
        many = isinstance(lazy, list | tuple)
        futures = start_on(self.executor, lazy if many else (lazy,), kwargs).let_go()
        return futures if many else futures[0]

    def persist(self, lazy: Any, **kwargs: Any) -> Any:
        """Start something lazy, keep the values on the workers; return promises of them."""
        many = isinstance(lazy, list | tuple)
        kept = persist_on(self.executor, lazy if many else (lazy,), kwargs)
        return list(kept) if many else kept[0]

    def cancel(self, futures: Any, force: bool = False) -> None:
        """Cancel one future or several."""
        for future in futures if isinstance(futures, list | tuple | set) else (futures,):
            future.cancel(force)

    def retry(self, futures: Any) -> Any:
        """Not built yet: make failed futures again."""
        raise NotImplementedYet("client.retry", "submit the call again")

    def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Not built yet: call a function on every worker."""
        raise NotImplementedYet("client.run", "submit the function as a task")

    def get_executor(self) -> Any:
        """Not built yet: a `concurrent.futures.Executor` of this cluster."""
        raise NotImplementedYet("client.get_executor", "client.submit and client.map give standard futures")

    # -- looking -----------------------------------------------------------------------------------

    def who_has(self, futures: Sequence[Future[Any]]) -> dict[str, list[str]]:
        """Return, for each future's key, the addresses of the workers that have its value."""
        self.flush()
        return dict(zip([f.key for f in futures], self.executor.state(futures).holders, strict=True))

    def has_what(self, futures: Sequence[Future[Any]]) -> dict[str, list[str]]:
        """Return, for each worker's address, the keys of those of the futures whose values it has."""
        self.flush()
        answer = self.executor.state(futures)
        found: dict[str, list[str]] = {address: [] for address in answer.workers}
        for future, addresses in zip(futures, answer.holders, strict=True):
            for address in addresses:
                found.setdefault(address, []).append(future.key)
        return found

    def scheduler_info(self) -> dict[str, Any]:
        """Return the scheduler's address and its workers (by address: name, threads, tasks outstanding)."""
        return {"address": self.address, "workers": dict(self.executor.state().workers)}

    def wait_for_workers(self, n: int, timeout: float = 30.0) -> None:
        """Return when at least `n` workers have joined; TimeoutError after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        pause = threading.Event()
        while len(found := self.executor.state().workers) < n:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(found)} of {n} workers have joined within {timeout} s")
            pause.wait(0.02)


def _take_apart(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Sequence[Any], Sequence[Any]]:
    """Return the leaves of a call's arguments, and how they were put together; nothing when nothing can be lazy."""
    if not kwargs and _PLAIN.issuperset(map(type, args)):
        return (), ()
    return take_apart([*args, *kwargs.values()], is_lazy)


_PLAIN = frozenset({int, float, str, bytes, bool, complex, type(None)})


def _has_failed(one: Any) -> bool:
    return isinstance(one, Future) and one.failure() is not None


def _start_cluster() -> Any:
    from lazygraph.executors.cluster.local import LocalCluster

    return LocalCluster()


def _call_of(function: Any, kwargs: dict[str, Any]) -> tuple[Any, TaskOptions, dict[str, Any]]:
    """Return the function to call, its options, and the keyword arguments that are its own."""
    base = DEFAULT
    if isinstance(function, DelayedFunction):
        base, function = function._options_of_calls, function._leaves[0]
    options = in_context(base)
    if not kwargs:
        return function, options, kwargs
    own, anything = _parameters(function)
    # Other libraries' options too, unless the function takes any keyword: the error then names ours.
    mine = {k: v for k, v in kwargs.items() if k not in own and (k in NAMES or (k in INSTEAD and not anything))}
    if mine:
        options = changed(options, "client.submit()", mine)
        kwargs = {k: v for k, v in kwargs.items() if k not in mine}
    return function, options, kwargs


def _parameters(function: Any) -> tuple[frozenset[str], bool]:
    """Return the names of a function's parameters, and whether it takes any keyword besides."""
    import inspect

    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return frozenset(), True
    return frozenset(parameters), any(p.kind is p.VAR_KEYWORD for p in parameters.values())
