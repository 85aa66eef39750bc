"""The steps of a started canvas: which future comes before which.

A canvas that is started by `delay` asks for the value of every step, so that each can be reached from its result.

Covers: wiring the futures of one start, what comes next to a future, giving up steps that nobody wants any more.
Does not cover: how a canvas is filled (language.filling), one future (running.futures).
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from lazygraph.language.filling import nodes_in
from lazygraph.running.futures import Future, futures_in
from lazygraph.running.group_result import GroupResult
from lazygraph.values.node import Node

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from lazygraph.language.filling import Filled
    from lazygraph.values.node import External

    Noted = Sequence[tuple[Node, Filled | None]]
    """Each step's node, and what it was filled behind."""


class Steps:
    """The futures of one started canvas.

    Futures hold those before them; those that come next are known here, and weakly: no future is kept by one that it
    keeps, so that the values go when the last result is dropped.
    """

    def __init__(self, futures: Iterable[Future[Any]]) -> None:
        self._futures = [weakref.ref(future) for future in futures]
        self._next: dict[int, list[weakref.ref[Future[Any]]]] | None = None

    def next_of(self, future: Future[Any]) -> list[Future[Any]]:
        """Return the futures of the steps that come next and that somebody holds."""
        if self._next is None:
            self._next = {}
            for ref in self._futures:
                one = ref()
                for before in futures_in(one._before) if one is not None else ():
                    self._next.setdefault(before.output, []).append(ref)
        return [one for ref in self._next.get(future.output, ()) if (one := ref()) is not None]

    def withdraw_before(self, cancelled: Sequence[Future[Any]]) -> None:
        """Give up the steps before cancelled ones that nothing else needs and that nobody has asked for."""
        over = set(cancelled)
        left = list(cancelled)
        while left:
            future = left.pop()
            for before in futures_in(future._before):
                if before in over or before.done() or before._asked:
                    continue
                readers = (*self.next_of(before), *before._linked)
                if all(reader in over or reader.done() for reader in readers):
                    before.withdraw(future.key)
                    over.add(before)
                    left.append(before)


def asked_of(filled: Filled, noted: Noted) -> list[Node | External]:
    """Return everything a started canvas asks for: its result, every step, and their callbacks."""
    found: dict[int, Node | External] = {}
    left: list[Node | External] = [node for node, _ in noted]
    for one in _all_filled(filled, noted):
        left += (*nodes_in([one.value]), *one.after)
    for node in left:  # grows while it is walked
        if id(node) not in found:
            found[id(node)] = node
            left.extend(node._links if isinstance(node, Node) else ())
    return list(found.values())


def _all_filled(filled: Filled, noted: Noted) -> Iterable[Filled]:
    seen: dict[int, Filled] = {}
    left: list[Filled | None] = [filled, *(behind for _, behind in noted)]
    for one in left:  # grows while it is walked
        if one is not None and id(one) not in seen:
            seen[id(one)] = one
            left.append(one.before)
    return seen.values()


def wired(filled: Filled, noted: Noted, asked: Sequence[Node | External], futures: Sequence[Future[Any]]) -> Any:
    """Tell the futures of what was asked for which comes before which; return the result: a Future or GroupResult."""
    made = {id(node): future for node, future in zip(asked, futures, strict=True)}
    steps = Steps(futures)
    for future in futures:
        future._steps = steps
    results: dict[int, Any] = {}
    for node, behind in noted:
        if behind is not None:
            made[id(node)]._before = _result_of(behind, made, results)
    for one in asked:
        if isinstance(one, Node) and one._links:
            holder = made[id(one)]
            holder._linked = tuple(made[id(link)] for link in one._links)
            for future in holder._linked:
                future._before = weakref.ref(holder)
    return _result_of(filled, made, results)


def _result_of(filled: Filled, made: Mapping[int, Future[Any]], results: dict[int, Any]) -> Any:
    """Return the Future or GroupResult of what a canvas became; groups behind groups as deep as they go."""
    stack = [filled]
    while stack:
        top = stack[-1]
        before = top.before if isinstance(top.value, list) else None
        if before is not None and id(before) not in results:
            stack.append(before)
            continue
        stack.pop()
        if id(top) not in results:
            results[id(top)] = _one_result(top, made, None if before is None else results[id(before)])
    return results[id(filled)]


def _one_result(filled: Filled, made: Mapping[int, Future[Any]], parent: Any) -> Any:
    after = [made[id(node)] for node in filled.after]
    if isinstance(filled.value, list):
        return GroupResult([made[id(node)] for node in filled.value], parent, after, filled.on_error)
    return made[id(filled.value)]
