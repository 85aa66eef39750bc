"""The joblib backend: joblib says what to call and when, an executor of ours calls it.

Covers: batches of calls as calls of an executor, how many at once, aborting, nested calls.
Does not cover: dispatching, timeouts, generators, sizes of batches: those are joblib's.
"""

from __future__ import annotations

import concurrent.futures
import threading
import traceback
import uuid
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from joblib.parallel import (  # type: ignore[import-untyped]
    BACKENDS,
    AutoBatchingMixin,
    FallbackToBackend,
    ParallelBackendBase,
    SequentialBackend,
)
from joblib.parallel import register_parallel_backend as register_parallel_backend

from lazygraph.executors.registry import resolve
from lazygraph.language.calls import name_of
from lazygraph.running.context import lent_slot
from lazygraph.values.options import Limit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lazygraph.executors.base import Executor
    from lazygraph.executors.standard import StandardExecutor
    from lazygraph.running.futures import Future

JOBLIBS = frozenset({"context", "max_nbytes", "mmap_mode", "prefer", "require", "temp_folder", "verbose"})
"""What joblib gives every backend; it is about processes of joblib's own."""


class LazygraphBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]
    """Runs the batches of a `joblib.Parallel` on an executor of ours.

    `n_jobs=-1` is all slots that the executor has, `n_jobs=1` joblib's plain loop in the calling thread.  Calls of
    `Parallel` in its tasks follow joblib's rule: threads on the first level, a plain loop below.  Where these are told
    to use this backend again, they run on the task's own executor, and the task lends it its slot.
    """

    supports_retrieve_callback = True
    default_n_jobs = -1

    def __init__(
        self,
        nesting_level: int | None = None,
        inner_max_num_threads: int | None = None,
        executor: Any = None,
        **options: Any,
    ) -> None:
        """Make one; `executor` as in `compute`, None for the default of the place where `Parallel` is called."""
        super().__init__(nesting_level=nesting_level, inner_max_num_threads=inner_max_num_threads)
        self._chosen, self._options, self._asked = executor, options, options
        self._executor: Executor | None = None  # while a Parallel is at it
        self._pool: StandardExecutor | None = None
        self._n_jobs = 1
        self.parallel: Any = None
        self._guard: Any = threading.RLock()  # the Parallel's own, which its callbacks take

    def __reduce__(self) -> tuple[Any, ...]:
        # It travels with what a task may call; over there the task's own executor is the one that is meant.
        return type(self), (self.nesting_level,)

    # -- where, and how much at once ---------------------------------------------------------------

    @property
    def executor(self) -> Executor:
        """Where the calls go."""
        return self._executor or resolve(self._chosen)

    @property
    def supports_sharedmem(self) -> bool:
        """Whether what a call changes is seen here (`require="sharedmem"`)."""
        return self.executor.shares_memory

    uses_threads = supports_sharedmem

    # joblib's own signatures say less than its documentation.
    def effective_n_jobs(self, n_jobs: int | None) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return how many batches run at once: `n_jobs`, but no more than the executor has slots."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        executor = self.executor
        slots = slots_of(executor)
        if not executor.shares_memory:
            # With one job joblib would call everything here, and not where it was told to; without any, nothing.
            slots = max(slots, 2)
        wanted = slots if n_jobs is None else n_jobs
        return min(wanted, slots) if wanted > 0 else max(1, slots + 1 + wanted)

    def configure(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, n_jobs: int = 1, parallel: Any = None, executor: Any = None, **given: Any
    ) -> int:
        """Get ready for a Parallel; return how many batches will run at once.

        `executor` and options may also be given to `Parallel` itself.  Raises `UnknownOption`.
        """
        if self._pool is not None:  # all of a parallel_config are given one backend, and another of them is at it
            raise FallbackToBackend(self._another())
        self.parallel, self._guard = parallel, getattr(parallel, "_lock", self._guard)
        self._executor = resolve(executor if executor is not None else self._chosen)
        self._n_jobs = self.effective_n_jobs(n_jobs)
        if self._n_jobs == 1:
            self._executor = None
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        self._asked = self._options | {name: value for name, value in given.items() if name not in JOBLIBS}
        self._pool = self._open()
        return self._n_jobs

    def _another(self) -> LazygraphBackend:
        return type(self)(self.nesting_level, self.inner_max_num_threads, self._chosen, **self._options)

    def _open(self) -> StandardExecutor:
        executor, options = self.executor, dict(self._asked)
        if self._n_jobs < slots_of(executor):
            options.setdefault("limit", Limit(f"joblib-{uuid.uuid4().hex}", concurrency=self._n_jobs))
        return executor.get_executor(**options)

    def terminate(self) -> None:
        """End a Parallel; what runs ends by itself, and the executor stays open."""
        with self._guard:
            pool, self._pool, self._executor = self._pool, None, None
        if pool is not None:
            pool.shutdown(wait=False)
        self.reset_batch_stats()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Start nothing more of what was submitted; what runs ends by itself, and nobody waits for it."""
        with self._guard:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)
        if ensure_ready:
            self._pool = self._open()

    # -- calls -------------------------------------------------------------------------------------

    def submit(self, func: Any, callback: Callable[[Any], Any] | None = None) -> Any:
        """Begin a batch of calls; `callback` is called with its future."""
        pool = self._pool
        if pool is None:  # it was on its way when the Parallel ended
            return _given_up(callback)
        call = func if self.executor.shares_memory else partial(_registered, func)
        future: Future[Any] = pool.begin(call, label=_label(func))
        if callback is not None:
            future.add_done_callback(partial(self._told, pool, callback))
        return future

    def _told(self, pool: StandardExecutor, callback: Callable[[Any], Any], future: Future[Any]) -> None:
        """Tell joblib of a batch, unless its Parallel has ended: joblib would take it for one of the next call's."""
        with self._guard:
            if self._pool is pool:
                callback(future)

    def retrieve_result_callback(self, out: Future[Any]) -> Any:
        """Return the values of a batch, or raise what a call has raised, with its traceback in a note.

        joblib takes the traceback off: it would hold whatever the frames hold.
        """
        error = out.exception()
        if error is not None and self.executor.shares_memory:  # elsewhere it has such a note already
            text = out.traceback or "".join(traceback.format_exception(error))
            error.add_note(f"The traceback of the call:\n{text}")
        return out.result()

    @contextmanager
    def retrieval_context(self) -> Iterator[None]:
        """Lend the slot of the task in which the results are waited for, if it is one."""
        with lent_slot([self._executor]):
            yield


def _given_up(callback: Callable[[Any], Any] | None) -> Any:
    future: concurrent.futures.Future[Any] = concurrent.futures.Future()
    future.cancel()
    if callback is not None:
        callback(future)
    return future


def slots_of(executor: Any) -> int:
    """Return how many calls an executor makes at once: its threads, its processes, those of its cluster's workers."""
    engine = getattr(executor, "_engine", None)
    if engine is not None:
        return int(engine.slots)
    return sum(worker["threads"] for worker in executor.state().workers.values())


def _registered(batch: Any) -> Any:
    """Make the calls of a batch in another process, where they may name this backend."""
    BACKENDS.setdefault("lazygraph", LazygraphBackend)
    return batch()


def _label(batch: Any) -> str:
    """Return what a batch is shown as: the first function that it calls."""
    items = getattr(batch, "items", None)
    return name_of(items[0][0]) if items else name_of(batch)
