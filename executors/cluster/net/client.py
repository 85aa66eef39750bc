"""The client: dask.distributed's verbs over the cluster executor.

Covers: submit, map, gather, scatter, compute, persist, futures found again and made again.
Does not cover: calls gathered into one plan (net.batches), questions about the cluster (net.looking), how plans and
values travel (net.executor).
"""

from __future__ import annotations

import queue
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from lazygraph.errors import InvalidOption
from lazygraph.executors.cluster.net.batches import Batch, failed
from lazygraph.executors.cluster.net.executor import ClusterExecutor
from lazygraph.executors.cluster.net.holding import ONE_DAY
from lazygraph.executors.cluster.net.looking import Looking
from lazygraph.executors.cluster.net.streams import AHEAD, NO_SENTINEL, QueueStream, Stream
from lazygraph.executors.current import closed, enter, leave, opened
from lazygraph.executors.standard import StandardExecutor, shown_as
from lazygraph.language.calls import site_of
from lazygraph.language.delayed import DelayedFunction
from lazygraph.language.promise import Delayed, build, is_lazy
from lazygraph.planning.plan import plan_of
from lazygraph.running.background import Opening, apart, called_by_coroutine, in_thread
from lazygraph.running.completing import as_completed, wait
from lazygraph.running.futures import Future
from lazygraph.values.foreign import INSTEAD
from lazygraph.values.node import External
from lazygraph.values.options import DEFAULT, NAMES, changed, in_context
from lazygraph.values.template import put_together, take_apart
from lazygraph.values.verbs import persist_on, start_on

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from lazygraph.executors.cluster.tls import TLS
    from lazygraph.running.completing import AsCompleted
    from lazygraph.running.run import Run
    from lazygraph.values.options import TaskOptions


GRACE = 10.0
"""Seconds that a client's runs go on when it has been killed."""


class Client(Looking):
    """A connection to a cluster, with the verbs of `dask.distributed.Client`.

    `Client("tcp://host:8786", token=...)`, `Client("tls://host:8786", tls=TLS(...))`, `Client(cluster)`, or `Client()`,
    which starts a LocalCluster of its own.
    While it is open it is the process's default executor (`set_as_default=False` opts out).

    What is started by `.delay`, `.apply_async` or `submit(..., detach=True)` belongs to the scheduler: it goes on when
    this client ends, and its values are kept for `result_ttl` seconds (default: a day) after all of that submission has
    ended, or until `future.forget()`.  `future(key)` finds it again, from any process.

    All else goes with this client: at once when it is closed, `grace` seconds after it was killed or its connection was
    cut; until then `attach(run_name)` and `future(key)` of another one may take it over.
    """

    def __init__(
        self,
        address: Any = None,
        *,
        token: str | None = None,
        timeout: float = 30.0,
        set_as_default: bool = True,
        result_ttl: float = ONE_DAY,
        grace: float = GRACE,
        tls: TLS | None = None,
    ) -> None:
        if not grace >= 0:
            raise InvalidOption(f"Client(grace={grace!r}): seconds, 0 or more")
        if not result_ttl >= 0:
            raise InvalidOption(f"Client(result_ttl={result_ttl!r}): seconds, 0 or more")
        self._own_cluster: Any = None
        self._set_as_default = set_as_default
        self._lock = threading.Lock()
        self._batch: Any = None
        self._result_ttl, self._grace = result_ttl, grace
        self._executor: ClusterExecutor | None = None  # while it is being opened
        self._closed = False
        self._opening = Opening(lambda: self._open(address, token, timeout, tls), background=called_by_coroutine())

    def _open(self, address: Any, token: str | None, timeout: float, tls: TLS | None) -> ClusterExecutor:
        if address is None:
            address = self._own_cluster = _start_cluster()
        try:
            executor = ClusterExecutor(
                getattr(address, "address", address),
                token or getattr(address, "token", None),
                timeout,
                self._result_ttl,
                self._grace,
                tls or getattr(address, "tls", None),
            )
        except BaseException:
            self._close_own()
            raise
        with self._lock:
            self._executor = executor
            if not self._closed:
                if self._set_as_default:
                    opened(executor)
                return executor
        executor.close()  # `close` was called before
        self._close_own()
        return executor

    @property
    def executor(self) -> ClusterExecutor:
        """The cluster as an executor."""
        return self._executor or self._opening.result()

    @property
    def address(self) -> str:
        """Where the scheduler listens."""
        return self.executor.address

    def __repr__(self) -> str:
        if self._executor is None:
            return "<Client, connecting>"
        return f"<Client of {self.address}{' (closed)' if self.executor.closed else ''}>"

    def __enter__(self) -> Self:
        enter(self.executor)
        return self

    def __exit__(self, kind: Any = None, *rest: object) -> None:
        leave(self.executor)
        self._close(wait=kind is None or not issubclass(kind, KeyboardInterrupt))

    async def __aenter__(self) -> Self:
        try:
            enter(await self._opening.ready())
        except BaseException:  # whoever awaits may be cancelled: nobody will leave what nobody has entered
            in_thread(self.close)
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        leave(self.executor)
        await apart(self.close)

    def close(self) -> None:
        """Send what was submitted, release what is held, end the connection.  Safe to call twice.

        What was detached is the scheduler's: this waits until it has that (30 s at most).
        """
        self._close(wait=True)

    def _close(self, wait: bool) -> None:
        with self._lock:
            self._closed, executor = True, self._executor
        if executor is None:  # whoever opens it closes it
            return
        closed(executor)
        if not executor.closed:
            with suppress(ConnectionError):
                self.flush()
        executor.close(wait)
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
        the function has such a parameter; so is `detach=True`: the call then belongs to the scheduler, see `Client`.
        """
        self.executor.wait_until_usable()
        site = site_of(sys._getframe(1))
        detach, kwargs = _taken(function, kwargs, "detach", False)
        function, options, kwargs = _call_of(function, kwargs)
        if detach:
            self.flush()
            return self._start([build(function, args, kwargs, options, site)], detach=True)[0]
        return self._submit(function, args, kwargs, options, site)

    def _submit(
        self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], options: TaskOptions, site: Any
    ) -> Future[Any]:
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
                if self.executor.idle:  # nothing to wait for that others could join it meanwhile
                    self._batch = None
                    batch.send(self.executor)
                else:
                    self.executor.post(self.flush)
        return future

    def _open_batch(self) -> Batch:
        if self._batch is None:
            self._batch = Batch(self)
        batch: Batch = self._batch
        return batch

    def _needs_own_plan(self, leaf: Any) -> bool:
        """Whether an argument is a graph, in which anything may be, or is held by somebody else."""
        if isinstance(leaf, External):
            mine = self._batch
            return not (isinstance(leaf, Future) and leaf.run is mine) and not self.executor.owns(leaf)
        return is_lazy(leaf)

    def _start(self, nodes: Sequence[Delayed], detach: bool = False) -> list[Future[Any]]:
        """Send calls as a plan of their own; what others hold is fetched first, and goes in as constants."""
        plan = plan_of(nodes, fail_fast=False)
        held: dict[External, Any] = {
            x: x.result() for x in plan.externals if isinstance(x, Future) and not self.executor.owns(x)
        }
        if held:
            plan = plan_of(nodes, held=held, fail_fast=False)
        run = self.executor.submit(plan)
        if detach:
            self.executor.keep(run)
        return run.let_go()

    def flush(self) -> None:
        """Send the calls that have been gathered (this happens by itself, as soon as the client's thread is free)."""
        with self._lock:
            batch, self._batch = self._batch, None
            if batch is not None:
                batch.send(self.executor)

    def map(self, function: Callable[..., Any], *iterables: Any, **kwargs: Any) -> Any:
        """Call `function` for each tuple of items; return the list of futures.  One plan, sent at once.

        Over an iterator (a generator, say) it returns an iterator of futures, which reads its source as calls end.
        Over instances of `queue.Queue` it returns a Queue of futures, as large as the first of them.  That ends when
        `sentinel=` (no parameter of the function) is taken from one, and is then put into it; when one is shut down
        (Python 3.13), or when this client closes.
        """
        self.executor.wait_until_usable()
        site = site_of(sys._getframe(1))
        sentinel, kwargs = _taken(function, kwargs, "sentinel", NO_SENTINEL)
        detach, kwargs = _taken(function, kwargs, "detach", False)
        function, options, kwargs = _call_of(function, kwargs)

        def call(*args: Any) -> Future[Any]:
            if detach:
                return self._start([build(function, args, kwargs, options, site)], detach=True)[0]
            return self._submit(function, args, kwargs, options, site)

        queues = [items for items in iterables if isinstance(items, queue.Queue)]
        if queues:
            if len(queues) < len(iterables):
                raise InvalidOption("client.map(): either all of what it reads are queues, or none")

            def failed_call(error: Exception) -> Future[Any]:
                return failed(self.executor, function, options, site, error)

            over = lambda: self._closed or self.executor.closed  # noqa: E731
            return QueueStream(call, queues, sentinel, over, failed_call).futures
        if sentinel is not NO_SENTINEL:
            raise InvalidOption("client.map(sentinel=): only what is read from a queue.Queue ends by one")
        if any(isinstance(items, Iterator) for items in iterables):
            threads = sum(worker["threads"] for worker in self.executor.state().workers.values())
            return Stream(call, zip(*iterables, strict=False), max(1, threads) * AHEAD)
        self.flush()
        nodes = [build(function, args, kwargs, options, site) for args in zip(*iterables, strict=False)]
        return self._start(nodes, detach)

    def gather(self, futures: Any, errors: str = "raise") -> Any:
        """Return the values of futures, nested as they are; `errors="skip"` leaves failed ones out of lists.

        Of an iterator of futures (see `map`) it is a list.
        """
        if errors not in ("raise", "skip"):
            raise ValueError(f"gather(errors={errors!r}): it is 'raise' or 'skip'")
        if isinstance(futures, Iterator):
            futures = list(futures)
        if errors == "skip" and isinstance(futures, list | tuple):
            futures = [future for future in futures if not _has_failed(future)]
        leaves, ops = take_apart([futures], lambda value: isinstance(value, Future))
        values = [leaf.result() if isinstance(leaf, Future) else leaf for leaf in leaves]
        return put_together(ops, values)[0]

    def scatter(self, data: Any, broadcast: bool = False) -> Any:
        """Send values to the workers to be kept there; a dict gives a dict of futures, a list a list.

        Large ones go to a worker without a detour, on this host through shared memory, and are there when this returns.
        `broadcast`: every worker that is there now fetches them all, one from the other.
        """
        if isinstance(data, dict):
            keys, values = list(data), list(data.values())
            return dict(zip(keys, self._scatter(values, [str(key) for key in keys], broadcast), strict=True))
        if isinstance(data, list | tuple | set | frozenset):
            values = list(data)
            return self._scatter(values, [type(value).__name__ for value in values], broadcast)
        return self._scatter([data], [type(data).__name__], broadcast)[0]

    def _scatter(self, values: Sequence[Any], names: Sequence[str], broadcast: bool) -> list[Future[Any]]:
        return self.executor.hold(values, names, broadcast).let_go()

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
        """Make those futures again that have ended badly, with whatever has failed above them; return the new ones.

        One future gives one, several give a list; in the places of those that are under way or have succeeded stand
        these themselves.
        """
        self.flush()
        asked = list(futures) if isinstance(futures, list | tuple | set) else [futures]
        by_run: dict[Run, list[Future[Any]]] = {}
        for future in dict.fromkeys(asked):
            if not self.executor.owns(future):
                raise InvalidOption(f"client.retry(): {future!r} is not this client's")
            if future.done() and not future.successful():
                by_run.setdefault(future.run, []).append(future)
        again: dict[Future[Any], Future[Any]] = {}
        for run, mine in by_run.items():
            again.update(zip(mine, self.executor.again(run, [one.output for one in mine]), strict=True))
        found = [again.get(future, future) for future in asked]
        return found if isinstance(futures, list | tuple | set) else found[0]

    def get_executor(
        self, initializer: Callable[..., object] | None = None, initargs: tuple[Any, ...] = (), **options: Any
    ) -> StandardExecutor:
        """Return this cluster as a `concurrent.futures.Executor`; `options` are those of every call.

        Every keyword of its `submit` reaches the function.  Its calls go on when nobody holds their futures.
        `initializer(*initargs)` is called before its first call in each worker process, also in one that has been
        started again; when it fails the calls raise `concurrent.futures.BrokenExecutor`.
        """
        row = changed(in_context(DEFAULT), "client.get_executor()", options) if options else None
        site = site_of(sys._getframe(1))

        def start(function: Any, calls: Sequence[Any], label: str) -> list[Future[Any]]:
            self.executor.check_usable()
            function, own, _ = _call_of(function, {})
            chosen = shown_as(row or own, label)
            return [self._submit(function, args, dict(kwargs), chosen, site) for args, kwargs in calls]

        return StandardExecutor(
            start,
            f"executor of {self!r}",
            self.executor.detached,
            self.executor,
            initializer=initializer,
            initargs=initargs,
        )

    # -- futures -----------------------------------------------------------------------------------

    def future(self, key: str) -> Future[Any]:
        """Return a future of what is known by `key`, whichever process started it.

        Raises `UnknownKey`, a KeyError, when the scheduler has nothing of that key (any more).
        """
        self.flush()
        return self.executor.future(key)

    def attach(self, run_name: str) -> Run:
        """Return a Run that stands for the one started as `run_name=`, or with that `run_id`, by whichever process.

        Its futures are those that somebody holds or that are kept, one for each output; cancelling it cancels the run.
        Raises `UnknownKey`, a KeyError, when there is none.
        """
        self.flush()
        return self.executor.attach(run_name)

    def fire_and_forget(self, futures: Any) -> None:
        """Have one future's work, or several's, done although nobody may hold them, also when this client ends."""
        self.flush()
        by_run: dict[Run, list[int]] = {}
        for future in futures if isinstance(futures, list | tuple | set) else (futures,):
            by_run.setdefault(future.run, []).append(future.run.entry_of(future.output))
        for run, entries in by_run.items():
            self.executor.keep(run, entries, seconds=0.0)

    def as_completed(
        self, futures: Iterable[Any], timeout: float | None = None, with_results: bool = False
    ) -> AsCompleted:
        """`lazygraph.as_completed`."""
        return as_completed(futures, timeout, with_results)

    def wait(self, futures: Iterable[Any], timeout: float | None = None, return_when: str = "ALL_COMPLETED") -> Any:
        """`lazygraph.wait`."""
        return wait(futures, timeout, return_when)


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


def _taken(function: Any, kwargs: dict[str, Any], name: str, default: Any) -> tuple[Any, dict[str, Any]]:
    """Take a keyword of ours out of those of a call, unless the function has such a parameter."""
    called = function._leaves[0] if isinstance(function, DelayedFunction) else function
    if name not in kwargs or name in _parameters(called)[0]:
        return default, kwargs
    return kwargs[name], {other: value for other, value in kwargs.items() if other != name}


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
