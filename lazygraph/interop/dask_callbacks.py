"""Dask's callbacks (`dask.diagnostics`: ProgressBar, Profiler, Cache ...) while our executors run a graph of dask's.

They are told what dask's own schedulers in one process tell them: the graph, each task before and after it runs, the
end.  Tasks are told of in the thread that runs them, one at a time.

Covers: that, on executors that share memory with the caller; on others, the graph and the end.
Does not cover: when values are let go, which nobody is told (`state["released"]` stays empty).
"""

from __future__ import annotations

import threading
import warnings
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from lazygraph.planning.from_dask import Written, written
from lazygraph.planning.to_dask import Called, Fetched

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator


@contextmanager
def told(graph: Written, shares_memory: bool) -> Iterator[Written]:
    """Give the graph to run in the block, so that dask's callbacks are told of it; without any, the graph itself.

    Those of a scheduler that is called in a task are left alone, as dask does.
    """
    from dask.callbacks import local_callbacks  # type: ignore[attr-defined, unused-ignore]

    callbacks: Any = local_callbacks
    with callbacks() as active:
        if not active:
            yield graph
            return
        dsk = dict(graph.tasks)
        begun, state, failed = [], _state_of(dsk), True
        try:
            for callback in active:
                if callback[0] is not None:
                    callback[0](dsk)  # it may put values into the graph
                begun.append(callback)
            tasks = written(dsk).tasks
            state = _state_of(tasks)
            for callback in active:
                if callback[1] is not None:
                    callback[1](dsk, state)
            watch = _Watch([one[2] for one in active if one[2]], [one[3] for one in active if one[3]], dsk, state)
            if watch.wanted and not shares_memory:
                warnings.warn(
                    "dask's callbacks hear of single tasks only from executors that share memory with the caller, as "
                    "'sync' and 'threads' do; here they hear of the beginning and the end",
                    stacklevel=4,
                )
                watch.wanted = False
            yield Written(watch.watched(tasks) if watch.wanted else tasks, graph.annotations)
            failed = False
        finally:
            for callback in begun:
                if callback[4] is not None:
                    callback[4](dsk, state, failed)


def _state_of(tasks: Any) -> dict[str, Any]:
    """Return what dask calls the state of a scheduler, of a graph that nobody has begun."""
    reads = {key: set(getattr(task, "dependencies", ())) for key, task in tasks.items()}
    dependents: dict[Hashable, set[Hashable]] = {key: set() for key in reads}
    for key, inputs in reads.items():
        for one in inputs:
            dependents.setdefault(one, set()).add(key)
    return {
        "dependencies": reads,
        "dependents": dependents,
        "waiting": {},
        "waiting_data": {},
        "cache": {},
        "ready": [],
        "running": set(),
        "finished": set(),
        "released": set(),
    }


class _Watch:
    """Who tells of tasks."""

    def __init__(self, before: list[Any], after: list[Any], dsk: dict[Hashable, Any], state: dict[str, Any]) -> None:
        self._before, self._after, self._dsk, self._state = before, after, dsk, state
        self._guard = threading.Lock()
        self.wanted = bool(before or after)

    def watched(self, tasks: Any) -> dict[Hashable, Any]:
        """Return the tasks with every call of a function told of."""
        from dask._task_spec import Task

        changed: dict[Hashable, Any] = dict(tasks)
        for key, task in tasks.items():
            if type(task) is Task and not isinstance(task.func, Called | Fetched):
                changed[key] = Task(key, partial(self._call, key, task.func), *task.args, **task.kwargs)
                self._state["waiting"][key] = self._state["dependencies"][key]
        return changed

    def _call(self, key: Hashable, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        with self._guard:
            self._state["waiting"].pop(key, None)
            self._state["running"].add(key)
            for tell in self._before:
                tell(key, self._dsk, self._state)
        value = function(*args, **kwargs)
        with self._guard:
            self._state["running"].discard(key)
            self._state["finished"].add(key)
            for tell in self._after:
                tell(key, value, self._dsk, self._state, threading.get_ident())
        return value
