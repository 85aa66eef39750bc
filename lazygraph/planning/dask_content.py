"""What tasks of dask's with tasks inside are made of, whatever dask calls those.

Dask's own tokens are no content keys: a function of a module is its name there, and lists in another order are the
same.  The names of tasks are tokens too, and some are new each time.  So here tasks are told apart by what they call,
with what, and by where in them the others stand.

Covers: a callable that runs such a task and has a content key.
Does not cover: dask's graphs (planning.from_dask), keys (values.keys).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence

_SPEC = "dask._task_spec"


class Nested:
    """Calls a task of dask's with the values of what it reads.  What runs inside is nobody else's, so it is no node."""

    __slots__ = ("_reads", "_task")

    def __init__(self, task: Any, reads: Iterable[Hashable]) -> None:
        self._task, self._reads = task, tuple(reads)

    def __reduce__(self) -> tuple[Any, ...]:
        return Nested, (self._task, self._reads)

    def __call__(self, /, *values: Any) -> Any:
        return self._task(dict(zip(self._reads, values, strict=True)))

    def __lazygraph_key__(self) -> Any:
        return _content(self._task, {key: ("input", at) for at, key in enumerate(self._reads)})


def in_order_of_use(task: Any) -> list[Hashable]:
    """Return the keys that a task reads as they stand in it: dask puts them in the order of their hashes."""
    return list(dict.fromkeys(_read_by(task)))


def is_subgraph(task: Any) -> bool:
    """Whether several tasks of dask's have been made one."""
    function = getattr(task, "func", None)
    return function is not None and function is getattr(sys.modules.get(_SPEC), "_execute_subgraph", None)


def _read_by(task: Any) -> Iterator[Hashable]:
    if type(task).__module__ != _SPEC or hasattr(task, "value"):
        return
    if hasattr(task, "target"):
        yield task.target
    elif not hasattr(task, "func"):
        yield task.key  # a reference
    elif is_subgraph(task):
        tasks, out, reads, *values = task.args
        given = dict(zip(reads, values, strict=True))
        for key in _inside(tasks, out, reads):
            for read in _read_by(tasks[key]):
                yield from _read_by(given.get(read))
    else:
        for one in (*task.args, *task.kwargs.values()):
            yield from _read_by(one)


def _inside(tasks: Mapping[Hashable, Any], out: Hashable, reads: Sequence[Hashable]) -> Iterator[Hashable]:
    """Yield the keys of tasks that are one, each behind those that it reads, in the order in which they are read."""
    done = set(reads)
    waiting = [out]
    while waiting:
        key = waiting[-1]
        missing = [read for read in _read_by(tasks[key]) if read not in done] if key not in done else []
        if missing:
            waiting.extend(reversed(missing))
            continue
        waiting.pop()
        if key not in done:
            done.add(key)
            yield key


def _content(task: Any, names: Mapping[Hashable, Any]) -> Any:
    """Return plain data that says what a task does; `names` say what the keys that it reads stand for."""
    kind = type(task)
    if kind.__module__ != _SPEC:
        return "value", task
    if hasattr(task, "target"):
        return names[task.target]
    if hasattr(task, "value"):
        return "value", task.value
    if not hasattr(task, "func"):
        return names[task.key]
    if is_subgraph(task):
        tasks, out, reads, *given = task.args
        return _content_of_subgraph(tasks, out, reads, [_content(one, names) for one in given])
    args = [_content(one, names) for one in task.args]
    if kind.__name__ != "Task":  # a list or the like; it says again in keywords what it is
        return kind.__name__, args
    return "task", task.func, args, {name: _content(one, names) for name, one in task.kwargs.items()}


def _content_of_subgraph(
    tasks: Mapping[Hashable, Any], out: Hashable, reads: Sequence[Hashable], given: Sequence[Any]
) -> Any:
    """Return the contents of tasks that are one; the last is that of the whole."""
    names = dict(zip(reads, given, strict=True))
    contents: list[Any] = []
    for key in _inside(tasks, out, reads):
        contents.append(_content(tasks[key], names))
        names[key] = ("inside", len(contents))
    return "tasks", contents
